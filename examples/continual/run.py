"""Continue a proxy on two domains: how much of the new one before the old one gets worse?

    python examples/continual/run.py continual_out                      # a few minutes on two cores
    python examples/continual/run.py continual_out --corpora PATH       # text of your own: old.jsonl.zst, new.jsonl.zst
    python examples/continual/run.py continual_out --corpora PATH --old books-en --new code-rust

1. A proxy is trained on 95% old and 5% new text, and written as a Hugging Face folder, as any published model is.
2. Runs at six shares continue it. A law of the loss on the old text gives the critical proportion: the largest share of
   new text whose loss on the old stays within a tolerance.
3. Further runs at that proportion, under other seeds, say whether it is true.

Without --corpora the old text is the documentation in Python's standard library and the new one its source code.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from mixlaw import Observations, Schedule, Study
from mixlaw.errors import MixlawError, MixlawWarning
from mixlaw.kit.store import Store
from mixlaw.optimize import critical_from_observations
from mixlaw.study.quickstart.text import write_domains


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--corpora", type=Path, help="folder with the text of both domains")
    parser.add_argument("--old", default="old", help="name of the old text's file there, without its ending")
    parser.add_argument("--new", default="new")
    parser.add_argument("--base-tokens", type=int, default=2_000_000)
    parser.add_argument("--tokens", type=int, default=300_000, help="of each run that continues")
    parser.add_argument("--tolerance", type=float, default=0.02, help="nats per token that the old text may lose")
    parser.add_argument("--seeds", type=int, default=4, help="runs at the critical proportion")
    parser.add_argument("--update", choices=["full", "lora"], default="full")
    options = parser.parse_args()
    folder = options.folder.resolve()
    domains = texts(options, folder)

    # 1. the model to continue: any checkpoint folder would do; here we make one
    base = study(folder / "base", domains, options.base_tokens, old=(0.95, 0.95), runs=1)
    base.tokenize()
    (first,) = base.design()
    check(base.train())
    model = folder / "model"
    if not model.exists():
        base.export_model(first.id, model)

    # 2. the same model continued with six shares of old text, from 4% to 80%
    rate = {"name": "cosine", "peak": 1e-3 if options.update == "full" else 4e-3, "warmup": 0.05}
    continuing = {"start": str(model), "update": options.update, "learning_rate": rate}
    tokenizer = str(model / "tokenizer.json")
    after = study(folder / "continued", domains, options.tokens, (0.04, 0.8), 6, tokenizer, continuing)
    after.tokenize()
    specs = sorted(after.design(), key=lambda spec: spec.schedule.mixture["old"])
    check(after.train())
    seen = after.observations().select([spec.id for spec in specs])  # without the runs that judge, of an earlier time
    before = {row["target"]: row["value"] for row in seen.values.to_pylist() if row["metric"] == "start_loss"}
    print(f"\n{first.tokens} tokens of 95% old text, then {options.tokens} more; nats per token\n")
    print("| share of new text | loss on old | change | loss on new | change |\n|--:|--:|--:|--:|--:|")
    for spec in specs:
        ends = losses(after, spec)
        cells = [f"{ends[name]:.4f} | {ends[name] - before[name]:+.4f}" for name in ("old", "new")]
        print(f"| {1 - spec.schedule.mixture['old']:.2f} | {cells[0]} | {cells[1]} |")
    with warnings.catch_warnings():
        warnings.simplefilter("always", MixlawWarning)
        found = critical_from_observations(seen, "old", {"old": 1.0}, "start", tolerance=options.tolerance)
    print(
        f"\nThe loss on old text before was {before['old']:.4f}; it may end {options.tolerance:g} above that.\n{found}"
    )
    if not np.isfinite(found.proportion):
        raise SystemExit("No share between those that were tried keeps the old text's loss there: try others.")
    print(f"The largest share of new text: {found.new:.3f} [{max(0.0, 1 - found.high):.3f}, {1 - found.low:.3f}] (90%)")

    # 3. is it true? Runs at that proportion, under seeds that no run above had
    share = round(found.proportion, 4)
    critical = after.template().replace(schedule=Schedule.constant({"old": share, "new": 1 - share}))
    again = [critical.replace(seed=1000 + i) for i in range(options.seeds)]
    check(after.train(again))
    change = np.array([losses(after, spec)["old"] for spec in again]) - before["old"]
    half = student.ppf(0.95, len(change) - 1) * change.std(ddof=1) / len(change) ** 0.5
    print(
        f"Trained at that share with {len(change)} seeds, the loss on old text moved by {change.mean():+.4f} "
        f"[{change.mean() - half:+.4f}, {change.mean() + half:+.4f}] (90%); foreseen was {options.tolerance:+.4f}."
    )


def texts(options: argparse.Namespace, folder: Path) -> dict[str, str]:
    """Paths of the two domains."""
    if options.corpora is None:
        found = write_domains(Store(folder), "text")
        return {"old": found["prose"], "new": found["code"]}
    paths = {}
    for name, stem in (("old", options.old), ("new", options.new)):
        there = sorted(options.corpora.glob(f"{stem}.*"))
        if not there:
            raise SystemExit(f"There is no {stem}.* in {options.corpora}. Name the files with --old and --new.")
        paths[name] = str(there[0])
    return paths


def study(
    folder: Path,
    domains: dict[str, str],
    tokens: int,
    old: tuple[float, float],
    runs: int,
    tokenizer: str | None = None,
    training: dict[str, Any] | None = None,
) -> Study:
    """A study of runs with a share of old text between two limits; one that is there is opened again."""
    if (folder / "study.yaml").exists():
        return Study(folder)
    given = {
        "corpus": {"domains": domains, "tokenizer": tokenizer, "validation_tokens": 32_768},
        "objective": {"old": 1.0, "new": 1.0},
        "budget": {"tokens": tokens, "floors": {"old": old[0]}, "caps": {"old": old[1]}},
        "training": {"tokens": tokens, "evaluations": 1, **(training or {})},
        "design": {"sampler": "low_discrepancy", "num": runs, "replicates": 0},
        "reference": {"old": old[1], "new": 1 - old[1]},
    }
    return Study.create(folder, given)


def check(failures: dict[str, MixlawError]) -> None:
    for run, error in failures.items():
        raise SystemExit(f"Run {run} failed: {error}")


def losses(of: Study, spec: Any) -> dict[str, float]:
    """Loss of each domain at the end of a run."""
    rows = Observations.load(of.folder / "runs" / spec.id).values.to_pylist()
    return {row["target"]: float(row["value"]) for row in rows if row["metric"] == "loss"}


if __name__ == "__main__":
    main()

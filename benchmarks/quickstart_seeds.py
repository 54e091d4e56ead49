"""The quickstart study under several seeds: does the predicted sign of the gain hold, and is a null a null?

    python benchmarks/quickstart_seeds.py --seeds 10 --minutes 2

Each seed is a whole study on the text that Python brings along, which is tokenised once: its own swarm, law, recipe,
ledger entry and paired verification runs. The control at the end pins the recipe to the natural mixture (floors and
caps within 1% of it), so that there is nothing to gain; its verdict should be a null.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from mixlaw.kit.store import Store
from mixlaw.study.quickstart.plan import run
from mixlaw.study.quickstart.text import OBJECTIVE, write_domains
from mixlaw.study.study import Study


def row(study: Study) -> dict:
    recipe, verification = study.recipe(), study.verification()
    return {
        "predicted": recipe.difference,
        "measured": verification.differences["natural"],
        "verdict": verification.verdict,
        "inside": verification.inside_interval,
        "saved": verification.steps_saved["natural"]["recipe_reaches_reference_at"],
        "tokens": study.config.training.tokens,
        "seeds": verification.num_seeds,
        "runs": len(study.specs()),
    }


def control(folder: Path, like: Study) -> Study:
    """A study whose budget leaves only mixtures within 1% of natural."""
    natural = like.corpus.natural.to_dict()
    config = json.loads(like.config.model_dump_json())
    config["budget"]["floors"] = {d: round(w * 0.99, 6) for d, w in natural.items()}
    config["budget"]["caps"] = {d: round(w * 1.01, 6) for d, w in natural.items()}
    config["budget"]["max_epochs"] = None
    study = Study.create(folder, config)
    study.tokenize()
    study.design()
    study.train()
    study.fit()
    study.optimize()
    study.verify()
    study.report()
    return study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=Path("studies/quickstart-seeds"))
    parser.add_argument("--quick", action="store_true", help="two seeds of one minute")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.minutes = 2, 1.0
    text = args.out / "text"
    write_domains(Store(args.out), "text")
    rows = []
    for seed in range(args.seeds):
        folder = args.out / f"seed-{seed}"
        if seed and not folder.exists():
            folder.mkdir(parents=True)
            for name in ("tokens", "corpus.json", "tokenizer.json", "token_bytes.npy"):
                source = args.out / "seed-0" / name
                if source.is_dir():
                    shutil.copytree(source, folder / name)
                elif source.exists():
                    shutil.copy2(source, folder / name)
        run(folder, minutes=args.minutes, corpus=text, objective=OBJECTIVE, seed=seed, say=lambda text: None)
        rows.append(row(Study(folder)))
        r = rows[-1]
        said = f"seed {seed}: predicted {r['predicted']}, measured {r['measured'].mean:.3f}, {r['verdict']}"
        print(said, file=sys.stderr, flush=True)
    null = control(args.out / "control", Study(args.out / "seed-0"))
    print(f"Each study takes {args.minutes:g} minutes.\n")
    print(
        "| seed | runs x tokens | predicted gain, nats | measured gain, nats | verdict | measured loss inside "
        "the predicted interval | steps to natural's loss |"
    )
    print("|--:|---|---|---|---|---|--:|")
    for seed, r in enumerate(rows):
        m, p = r["measured"], r["predicted"]
        saved = f"{r['saved']['mean']:.0%}" if r["saved"] else "-"
        print(
            f"| {seed} | {r['runs']} x {r['tokens'] / 1e6:.2f}M | {p.mean:+.3f} [{p.low:+.3f}, {p.high:+.3f}] "
            f"| {m.mean:+.3f} [{m.low:+.3f}, {m.high:+.3f}] | {r['verdict']} "
            f"| {'yes' if r['inside'] else 'no'} | {saved} |"
        )
    held = sum((r["measured"].mean < 0) == (r["predicted"].mean < 0) for r in rows)
    inside = sum(r["inside"] for r in rows)
    n = null.verification().differences["natural"]
    print(
        f"\nThe sign of the gain was right in {held} of {len(rows)} studies; the measured loss was inside the "
        f"interval in {inside} of {len(rows)}."
    )
    print(
        f"Control pinned to natural: {n.mean:+.3f} [{n.low:+.3f}, {n.high:+.3f}], "
        f"verdict: {null.verification().verdict}."
    )


if __name__ == "__main__":
    main()

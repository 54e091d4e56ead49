"""One expert per domain against a swarm of 24 runs, at equal tokens and at a quarter of them, on real text.

    python benchmarks/experts.py                # about 10 minutes of one core; continues where it was stopped
    python benchmarks/experts.py --tokens 2048000 --seeds 3 --megabytes 30     # longer runs, more seeds
    python benchmarks/experts.py --quick        # one setting, one seed, runs of 20k tokens

In each of two settings and as many seeds as asked: 24 mixtures from scratch (the swarm), 10 held-out mixtures, trunk
and experts, the same experts from scratch, the swarm's mixtures again as branches of the trunk, and the optimum that
each way of predicting recommends, trained. Tokens are counted in whole runs (trunk and experts together).
"""

import argparse
import json
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from mixlaw import Mixture, Schedule
from mixlaw.design import propose
from mixlaw.design.trunk import branch_of, trunk_of
from mixlaw.errors import MixlawWarning
from mixlaw.laws import MDE, GaussianProcess, LogLinear, MixMin
from mixlaw.laws.choose.league import spearman
from mixlaw.study.steps.experts import expert_scores
from mixlaw.study.study import Study
from mixlaw.text.readers import find_files, read_documents

from _data import corpora

SETTINGS = {
    "prose and code": (
        ["books-en", "code-python", "docs-prose", "encyclopedia-en", "web"],
        {"docs-prose": 0.35, "web": 0.25, "encyclopedia-en": 0.2, "code-python": 0.1, "news-en": 0.1},
        "news-en",
    ),
    "far apart": (
        ["code-c", "dialogue-irc", "law-us", "papers-latex"],
        {"papers-latex": 0.4, "law-us": 0.2, "code-c": 0.2, "commit-logs": 0.2},
        "commit-logs",
    ),
}
SHARE = 0.5
SWARM, QUARTER, HELD = 24, 6, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("studies/experts"))
    parser.add_argument("--tokens", type=int, default=102_400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--megabytes", type=float, default=3.0, help="text of each domain")
    parser.add_argument("--print-only", action="store_true", help="print the cells that are done")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    settings = list(SETTINGS)
    if args.quick:
        args.tokens, args.seeds, args.out, settings = 20_480, 1, args.out.with_name("experts-quick"), settings[1:]
    warnings.simplefilter("ignore", MixlawWarning)
    cells, missing = [], []
    for seed in range(args.seeds):
        for name in settings:
            kept = args.out / f"{name.replace(' ', '-')}-{seed}.json"
            if not kept.exists() and not args.print_only:
                found = cell(args.out, name, seed, args.tokens, args.megabytes)
                kept.write_text(json.dumps(found))
            if kept.exists():
                cells.append(json.loads(kept.read_text()))
            else:
                missing.append(f"{name}, seed {seed}")
    show(cells, args.tokens)
    if missing:
        print(f"\nNot done: {'; '.join(missing)}.")


# ---- one setting, one seed ------------------------------------------------------------------------------
def cell(out: Path, name: str, seed: int, tokens: int, megabytes: float) -> dict:
    """Everything that is trained in a setting under a seed, and how well it predicts the rest."""
    study, scratch = studies(out, name, seed, tokens, megabytes)
    corpus, weights = study.corpus, study.config.objective_weights()
    names, sets = list(corpus.names), [v.name for v in corpus.validation]
    W = np.array([weights.get(s, 0.0) for s in sets])
    base = study.template()
    swarm = study.mixtures()
    held = propose(corpus, study.budget, HELD, seed=900 + seed, sampler="experts")
    held_specs = [base.replace(schedule=s, seed=5000 + 100 * seed + i) for i, s in enumerate(held)]
    trunk = trunk_of(base, SHARE, corpus.natural, seed=1000 * seed)
    assert trunk.id == study.shared().trunk
    branch = branch_of(base, trunk, SHARE)
    branches = [branch.replace(schedule=s.schedule, seed=s.seed) for s in swarm]
    for specs, what in ((None, "swarm and experts"), (held_specs, "held out"), (branches, "branches")):
        failed = study.train(specs, what)
        assert not failed, failed
    assert not scratch.train(what="experts from scratch")
    X, Y = measured(study, swarm, names, sets)
    Xh, Yh = measured(study, held_specs, names, sets)
    _, Yb = measured(study, branches, names, sets)
    trunk_scores, scratch_scores = (expert_scores(s).packed() for s in (study, scratch))
    own = study.own_domains()
    K = len(names)
    cost = {"trunk": SHARE + K * (1 - SHARE), "scratch": float(K)}
    rng = np.random.default_rng(seed)
    grid = np.vstack([rng.dirichlet(np.ones(K), 2000), rng.dirichlet(np.full(K, 0.4), 2000), np.eye(K)])

    def fitted(law, rows, Y=Y, X=X):
        return law.fit(dict(zip(names, X[rows].T)), dict(zip(sets, Y[rows].T)))

    def predict(law, R):
        return np.asarray(law.predict(dict(zip(names, R.T)))).reshape(len(R), -1)

    rows: dict[str, list] = {}
    optima: dict[str, np.ndarray] = {}

    def score(label, price, guess, law=None):
        level = (guess - Yh).mean(axis=0)
        pick = int(np.argmin(guess @ W))
        rows.setdefault(label, []).append(
            {
                "tokens": price,
                "spearman": spearman(guess @ W, Yh @ W),
                "spearman_sets": float(np.nanmean([spearman(guess[:, t], Yh[:, t]) for t in range(len(sets))])),
                "mae": float(np.abs(guess - Yh).mean()),
                "mae_level": float(np.abs(guess - level - Yh).mean()),
                "pick": float((Yh @ W)[pick] - (Yh @ W).min()),
            }
        )
        if law is not None and label not in optima:
            optima[label] = grid[int(np.argmin(predict(law, grid) @ W))]

    def swarm_laws(label, m, price, Y=Y, X=X, optimum=True):
        for _ in range(1 if m == len(X) else 4):
            chosen = rng.permutation(len(X))[:m]
            for law_name, law in (("log-linear", LogLinear()), ("Gaussian process", GaussianProcess(own, draws=False))):
                law = fitted(law, chosen, Y, X)
                score(f"{label}, {law_name}", price, predict(law, Xh), law if optimum else None)

    swarm_laws(f"swarm of {SWARM}", SWARM, SWARM)
    swarm_laws(f"swarm of {QUARTER}", QUARTER, QUARTER)
    swarm_laws(
        "as many runs as the experts cost", max(4, round(cost["trunk"])), max(4, round(cost["trunk"])), optimum=False
    )
    for label, scores, price in (("trunk", trunk_scores, cost["trunk"]), ("scratch", scratch_scores, cost["scratch"])):
        law = fitted(MixMin(scores), np.arange(SWARM))
        score(f"MixMin, experts from {'a trunk' if label == 'trunk' else 'scratch'}", price,
              predict(law, Xh) - law.shift_, law)  # fmt: skip
    for m in (max(3, int(QUARTER - cost["trunk"])), 9, SWARM):
        for _ in range(1 if m == SWARM else 4):
            law = fitted(MDE(trunk_scores, own, draws=False), rng.permutation(SWARM)[:m])
            score(f"MDE, experts and {m} mixtures", cost["trunk"] + m, predict(law, Xh), law if m < 9 else None)
    merged = np.array([list(study.merged_losses(dict(zip(names, r))).values()) for r in Xh])
    score("merged experts", cost["trunk"], merged)
    swarm_laws(f"{SWARM} branches of a trunk", SWARM, SHARE + SWARM * (1 - SHARE), Y=Yb)
    lineage = SHARE * corpus.natural.array(names) + (1 - SHARE) * X
    swarm_laws(f"{SWARM} branches, as the average of trunk and branch", SWARM, SHARE + SWARM * (1 - SHARE), Y=Yb,
               X=lineage, optimum=False)  # fmt: skip
    few = int((QUARTER - SHARE) / (1 - SHARE))
    swarm_laws(f"{few} branches of a trunk", few, SHARE + few * (1 - SHARE), Y=Yb, optimum=False)

    best_specs = {
        label: base.replace(schedule=Schedule.constant(Mixture.from_array(tuple(names), r)), seed=7000 + 100 * seed)
        for label, r in optima.items()
    }
    assert not study.train(list({s.id: s for s in best_specs.values()}.values()), "recommended mixtures")
    got = {label: float(measured(study, [s], names, sets)[1][0] @ W) for label, s in best_specs.items()}
    everything = np.concatenate([Y @ W, Yh @ W, list(got.values())])
    both = [spearman(Yb[:, t], Y[:, t]) for t in range(len(sets))]
    return {
        "setting": name,
        "seed": seed,
        "domains": K,
        "rows": {label: {k: float(np.mean([r[k] for r in found])) for k in found[0]} for label, found in rows.items()},
        "regret": {label: value - float(everything.min()) for label, value in got.items()},
        "spread": float(np.std(Y @ W)),
        "bias": {
            "spearman": spearman(Yb @ W, Y @ W),
            "spearman_sets": float(np.nanmean(both)),
            "objective": float(((Yb - Y) @ W).mean()),
            "objective_sd": float(((Yb - Y) @ W).std(ddof=1)),
            "sets": float((Yb - Y).mean()),
            "span": float(np.ptp(Yb @ W) / np.ptp(Y @ W)),
        },
    }


def studies(out: Path, name: str, seed: int, tokens: int, megabytes: float) -> tuple[Study, Study]:
    """The study with trunk, experts and swarm, and one of experts from scratch on the same tokens."""
    domains, objective, beside = SETTINGS[name]
    root = beginnings(out.resolve() / "text", [*domains, beside], megabytes)
    config = {
        "corpus": {
            "domains": {d: str(root / f"{d}.jsonl") for d in domains},
            "validation": {beside: str(root / f"{beside}.jsonl")},
            "vocab_size": 2048,
            "validation_tokens": 8192,
        },
        "objective": objective,
        "budget": {"tokens": tokens},
        "training": {
            "model": {"preset": "d64"},
            "tokens": tokens,
            "batch": 4,
            "context": 128,
            "learning_rate": {"name": "wsd", "peak": 4e-3, "warmup": 0.05, "decay": 0.2},
            "evaluations": 1,
        },
        "design": {"sampler": "experts", "num": SWARM, "trunk": SHARE, "seed": seed},
        "executor": {"workers": 1},
    }
    here = out / f"{name.replace(' ', '-')}-{seed}"
    study = Study.create(here, config, progress=_line())
    first = out / f"{name.replace(' ', '-')}-0"
    if seed == 0:
        study.tokenize()
    else:
        same_tokens(first, here)
    study.design()
    alone = here.with_name(f"{here.name}-scratch")
    design = {"sampler": "experts", "trunk": 0, "seed": seed}
    scratch = Study.create(alone, {**config, "design": design}, progress=_line())
    same_tokens(first, alone)
    scratch.design()
    return study, scratch


def beginnings(folder: Path, names: list[str], megabytes: float) -> Path:
    """The first megabytes of each file: much more than any run sees."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / f"{name}.jsonl"
        if path.exists():
            continue
        lines, size = [], 0
        for text in read_documents(find_files([str(corpora("pretraining") / f"{name}.jsonl.zst")])):
            lines.append(json.dumps({"text": text}))
            size += len(text)
            if size > megabytes * 1e6:
                break
        path.write_text("\n".join(lines))
    return folder


def same_tokens(first: Path, here: Path) -> None:
    """The text is tokenised once for a setting."""
    if not (here / "corpus.json").exists():
        shutil.rmtree(here / "tokens", ignore_errors=True)
        shutil.copytree(first / "tokens", here / "tokens")
        shutil.copy(first / "corpus.json", here / "corpus.json")


def measured(study: Study, specs, names, sets) -> tuple[np.ndarray, np.ndarray]:
    """Mixtures (n, K) and losses (n, T) of runs, in the order of ``specs``."""
    table = study.observations(specs).table(sets)
    order = [list(table.runs).index(s.id) for s in specs]
    y = np.column_stack([table.y.column(s).to_numpy() for s in sets])[order]
    return np.array([s.schedule.mixture.array(tuple(names)) for s in specs]), y


# ---- what is printed ---------------------------------------------------------------------------------------
def show(cells: list[dict], tokens: int) -> None:
    if not cells:
        sys.exit("No cell is done yet.")
    print(f"{len(cells)} cells of settings and seeds: " + "; ".join(f"{c['setting']}, seed {c['seed']}" for c in cells))
    print(f"Runs of {tokens:,} tokens, d64. Losses in nats per token; the objective of the swarm has a standard")
    print(f"deviation of {np.mean([c['spread'] for c in cells]):.3f}.\n")
    print("| way of predicting | tokens, in runs | Spearman, objective | Spearman, sets | MAE | MAE, level removed | "
          "regret of the pick among 10 | regret of its optimum, trained |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    labels = list(dict.fromkeys(label for c in cells for label in c["rows"]))
    for label in labels:
        rows = [c["rows"][label] for c in cells if label in c["rows"]]
        regret = [c["regret"][label] for c in cells if label in c["regret"]]
        mean = {k: np.mean([r[k] for r in rows]) for k in rows[0]}
        shown = f"{np.mean(regret):.4f} ({min(regret):.4f} to {max(regret):.4f})" if regret else "-"
        print(f"| {label} | {mean['tokens']:.1f} | {mean['spearman']:.3f} | {mean['spearman_sets']:.3f} | "
              f"{mean['mae']:.4f} | {mean['mae_level']:.4f} | {mean['pick']:.4f} | {shown} |")  # fmt: skip
    print(
        "\nThe same mixtures from scratch and as branches of one trunk (half of the tokens, natural mixture), at equal"
    )
    print("total tokens of a run:\n")
    print("| setting, seed | Spearman, objective | Spearman, sets | branch - scratch, objective | its sd over "
          "mixtures | spread, branch / scratch |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|")
    for c in cells:
        b = c["bias"]
        print(f"| {c['setting']}, {c['seed']} | {b['spearman']:.3f} | {b['spearman_sets']:.3f} | "
              f"{b['objective']:+.4f} | {b['objective_sd']:.4f} | {b['span']:.2f} |")  # fmt: skip
    verdict(cells)


def verdict(cells: list[dict]) -> None:
    """Whether experts have the swarm's regret at a quarter of its tokens."""
    print("\nTarget: the regret of a swarm of 24 runs at a quarter of its training tokens. Difference of the regret of")
    print("the trained optimum to that of the swarm under the same settings and seed, in nats with 95% intervals:\n")
    experts = ("MixMin, experts from a trunk", "MixMin, experts from scratch", "MDE")
    for start in (*experts, f"swarm of {QUARTER}, log-linear", f"swarm of {QUARTER}, Gaussian process"):
        found = [next((v for k, v in c["regret"].items() if k.startswith(start)), np.nan) for c in cells]
        for law in ("log-linear", "Gaussian process"):
            off = np.array(found) - [c["regret"][f"swarm of {SWARM}, {law}"] for c in cells]
            if len(off) < 2:
                print(f"- {start} less the swarm's {law}: {off[0]:+.4f}. One cell decides nothing.")
                continue
            half = float(student.ppf(0.975, len(off) - 1)) * off.std(ddof=1) / np.sqrt(len(off))
            answer = "as good" if off.mean() + half <= 0.01 else "worse" if off.mean() > half else "not told apart"
            print(f"- {start} less the swarm's {law}: {off.mean():+.4f} ± {half:.4f}: {answer}.")


def _line():
    last: dict[str, float] = {}

    def progress(what: str, done: float, total: float) -> None:
        percent = int(100 * done / total) if total else 0
        if percent >= last.get(what, -10) + 10:
            last[what] = percent
            print(f"{what}: {percent}%", file=sys.stderr, flush=True)

    return progress


if __name__ == "__main__":
    main()

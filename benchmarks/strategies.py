"""Do online strategies beat a fixed mixture at equal cost? Nine of them, four fixed ones and our recipe on real text.

    python benchmarks/strategies.py --seeds 5

Every strategy gets one budget: 2M tokens of a d64 model. Runs before the final one (references, proxies, a graph, the
swarm of the recipe) and probes are paid from it, so its final run is shorter. Five settings of real text, one model,
one trainer, one evaluation, the same seeds for all. Continues where it was stopped, seed by seed.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import mixlaw as ml
from mixlaw import design, laws
from mixlaw.data.comparison import Comparison, StrategyArm
from mixlaw.errors import MixlawError
from mixlaw.study.steps.strategies import STRATEGY_SEED
from mixlaw.study.study import Study
from mixlaw.train import throughput
from mixlaw.verify.compared import comparison_text

from _data import corpora

SETTINGS = {
    "three": (("books-en", "code-python", "news-en"), None),
    "languages": (("books-de", "books-en", "code-rust", "encyclopedia-zh"), None),
    "seven": (
        ("books-en", "code-python", "dialogue-irc", "encyclopedia-en", "law-us", "news-en", "papers-latex"),
        None,
    ),
    "uneven": (
        ("books-en", "code-python", "docs-prose", "encyclopedia-en", "web"),
        {"docs-prose": 0.4, "web": 0.25, "encyclopedia-en": 0.2, "code-python": 0.15},
    ),
    "outside": (("books-en", "dialogue-irc", "docs-prose", "law-us", "web"), {"news-en": 1.0}),
}
"""Training domains and the objective; None: the held-out part of every domain alike."""

BASELINE = "uniform"
ARMS = (
    "uniform",
    "natural",
    "temperature",
    "replan",
    "aioli",
    "ado",
    "odm",
    "doremi",
    "doge",
    "doge_objective",
    "skill_it",
    "tikmix",
)
VARIANTS = {"doge_objective": {"name": "doge", "label": "doge_objective", "options": {"towards": "objective"}}}
BLIND = ("natural", "temperature", "ado", "odm", "doremi", "doge")
"""Strategies that do not know the objective: where it is uneven, or of no domain, they aim at something else."""
SWARM = 12
SEARCH = 0.25
LEVEL = 0.9


def study_of(name: str, root: Path, tokens: str) -> Study:
    domains, objective = SETTINGS[name]
    text = corpora("pretraining")
    outside = [] if objective is None else [one for one in objective if one not in domains]
    return Study.create(
        root / name,
        {
            "corpus": {
                "domains": {d: str(text / f"{d}.jsonl.zst") for d in domains},
                "validation": {one: str(text / f"{one}.jsonl.zst") for one in outside},
                "vocab_size": 2048,
                "validation_tokens": 16_384,
            },
            "objective": objective or dict.fromkeys(domains, 1.0),
            "budget": {"tokens": tokens},
            "training": {
                "model": {"preset": "d64"},
                "tokens": tokens,
                "batch": 8,
                "context": 128,
                "learning_rate": {"name": "wsd", "peak": 6e-3, "warmup": 0.05, "decay": 0.2},
                "evaluations": 2,
                "options": {"keep": "weights", "checkpoint_seconds": 600},
            },
        },
    )


def recipe_arm(study: Study, seeds: int) -> StrategyArm:
    """The static recipe: a swarm of small runs on a quarter of the budget, a law, its optimum, a run on the rest."""
    corpus, base, weights = study.corpus, study.template(), study.config.objective_weights()
    small = {"width": 32, "layers": 2, "heads": 2, "mlp_width": 88}
    per_step = base.batch * base.context
    ratio = throughput.flops(base, 2048) / throughput.flops(base.replace(model=small), 2048)
    each = int(SEARCH * base.tokens * ratio / SWARM // per_step) * per_step
    left = int((1 - SEARCH) * base.tokens // per_step) * per_step
    finals, runs, mixtures, lost = {}, {}, {}, {}
    for number in range(seeds):
        seed = STRATEGY_SEED + number
        schedules = design.propose(corpus, study.budget, SWARM, seed=seed, sampler="dirichlet")
        swarm = [base.replace(schedule=s, tokens=each, model=small, seed=seed) for s in schedules]
        study.train(swarm, "swarm")
        X, y = study.observations(swarm).table(metric="loss")
        try:
            law = laws.LAWS["effective_tokens"]().fit(X, y)
            mixture = ml.optimize(law, weights, study.budget, corpus).schedule.mixture
        except MixlawError as error:
            lost[seed] = str(error)
            continue
        final = base.replace(
            tokens=left, seed=seed, strategy={"name": "recipe", "options": {"weights": mixture.to_dict()}}
        )
        study.train([final], "recipe")
        finals[seed], mixtures[seed] = study.observations([final]), mixture
        runs[seed] = (*(spec.id for spec in swarm), final.id)
    losses = {seed: last_losses(found) for seed, found in finals.items()}
    sets = sorted({name for one in losses.values() for name in one})
    return StrategyArm(
        "recipe",
        {},
        {name: {seed: one[name] for seed, one in losses.items()} for name in sets},
        {seed: sum(w * one[name] for name, w in weights.items()) for seed, one in losses.items()},
        float(base.tokens),
        SEARCH * base.tokens,
        mixtures,
        runs,
        lost,
    )


def last_losses(found) -> dict[str, float]:
    rows = [row for row in found.values.to_pylist() if row["metric"] == "loss"]
    last = max(row["step"] for row in rows)
    return {row["target"]: row["value"] for row in rows if row["step"] == last}


def run_setting(name: str, root: Path, tokens: str, seeds: int, arms: tuple[str, ...]) -> Comparison:
    study = study_of(name, root, tokens)
    study.tokenize()
    found = study.compare([VARIANTS.get(arm, arm) for arm in arms], seeds, search=SEARCH)
    return Comparison({**found.arms, "recipe": recipe_arm(study, seeds)}, found.tokens, found.charged)


def pooled(found: dict[str, Comparison], a: str, b: str) -> tuple[float, float, float, float]:
    """Mean over settings of a - b with its interval (LEVEL, two-sided), and the one-sided bound at 95%.

    The settings are these five; seeds vary: the standard error adds up the variances of the settings' means.
    """
    from scipy.stats import t

    means, variances, freedom = [], [], 0
    for one in found.values():
        gaps = np.array([x - y for x, y in one.pairs(a, b)])
        if len(gaps) < 2:
            continue
        means.append(gaps.mean())
        variances.append(gaps.var(ddof=1) / len(gaps))
        freedom += len(gaps) - 1
    if not means:
        return (float("nan"),) * 4
    error = np.sqrt(sum(variances)) / len(means)
    mean = float(np.mean(means))
    half = float(t.ppf((1 + LEVEL) / 2, freedom) * error)
    return mean, mean - half, mean + half, mean + float(t.ppf(0.95, freedom) * error)


def tables(found: dict[str, Comparison]) -> None:
    labels = list(next(iter(found.values())).arms)
    print("## All settings\n")
    print("Objective minus that of equal weights, nats per token, mean over the settings; better and worse count the")
    print(
        f"settings whose own {LEVEL:.0%} interval lies below and above 0. Not told the objective: {', '.join(BLIND)}.\n"
    )
    print("| strategy | minus equal weights | better in | worse in | largest difference | before the final run |")
    print("|---|---|---|---|---|---|")
    from mixlaw.verify.compared import difference

    rows = []
    for label in labels:
        if label == BASELINE:
            continue
        mean, low, high, _ = pooled(found, label, BASELINE)
        each = [
            difference(one, label, BASELINE, LEVEL) for one in found.values() if len(one.pairs(label, BASELINE)) > 1
        ]
        better, worse = sum(d.high < 0 for d in each), sum(d.low > 0 for d in each)
        search = np.mean([one.arms[label].search / one.tokens for one in found.values()])
        most = max((d.mean for d in each), default=float("nan"))
        rows.append(
            (
                mean,
                f"| {label} | {mean:+.4f} [{low:+.4f}, {high:+.4f}] | {better} of {len(each)} | "
                f"{worse} of {len(each)} | {most:+.4f} | {search:.0%} |",
            )
        )
    for _, line in sorted(rows, key=lambda row: row[0]):
        print(line)
    for other in ("aioli", "recipe"):
        if "replan" in labels and other in labels:
            mean, low, high, _ = pooled(found, "replan", other)
            print(f"\nreplan minus {other}: {mean:+.4f} [{low:+.4f}, {high:+.4f}]")
    if "replan" in labels:
        print(f"\nreplan minus equal weights, one-sided 95% bound: {pooled(found, 'replan', BASELINE)[3]:+.4f}")
    for name, one in found.items():
        domains, objective = SETTINGS[name]
        print(f"\n## {name}\n\nDomains: {', '.join(domains)}. Objective: {objective or 'every domain alike'}.\n")
        print(f"```text\n{comparison_text(one, LEVEL)}\n```")
        sets = list(one.arms[BASELINE].losses)
        print(f"\n| strategy | {' | '.join(sets)} | average weights ({', '.join(domains)}) |")
        print("|---|" + "---|" * (len(sets) + 1))
        for label, arm in one.arms.items():
            if not arm.objective:
                continue
            shown = [f"{np.mean(list(arm.losses[s].values())):.3f}" for s in sets]
            weights = np.mean([mixture.array(domains) for mixture in arm.weights.values()], axis=0)
            print(f"| {label} | {' | '.join(shown)} | {', '.join(f'{w:.2f}' for w in weights)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("studies/strategies"))
    parser.add_argument("--tokens", default="2M")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--quick", action="store_true", help="two settings, 200k tokens, 2 seeds")
    args = parser.parse_args()
    if args.quick:
        args.tokens, args.seeds, args.settings, args.out = "200k", 2, ["three", "outside"], args.out.with_name("quick")
    started, found = time.monotonic(), {}
    for seeds in range(1, args.seeds + 1):
        for name in args.settings:
            found[name] = run_setting(name, args.out, args.tokens, seeds, tuple(args.arms))
            spent = (time.monotonic() - started) / 60
            print(f"{name}: {seeds} seeds after {spent:.0f} min", file=sys.stderr, flush=True)
    tables(found)
    print(f"\nThis call took {(time.monotonic() - started) / 60:.0f} minutes (runs done before are not counted).")


if __name__ == "__main__":
    main()

"""A record with phases, made here because none is published: 28 two-phase proxies on real text, a third held out.

    python benchmarks/two_phase_study.py [--quick]

Trains the swarm (pairs of the same two mixtures in both orders), fits a law over phases without a third of the runs,
shows predicted against measured, then trains the best schedule and the best constant mixture with five paired seeds and
shows how they came out: once with all the text there is, once with the most wanted domain limited to a fifth of the
run's tokens, where order can gain something. Continues where it was stopped.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import two_phase
from mixlaw.data.budget import Budget
from mixlaw.data.mixture import Schedule
from mixlaw.data.recipe import Recipe
from mixlaw.data.verification import verdict
from mixlaw.errors import RunError
from mixlaw.optimize import PhaseLaw, best_schedule
from mixlaw.study.study import Study
from mixlaw.verify.paired import objective_curves, paired_difference

from _data import corpora

DOMAINS = ["code-python", "dialogue-irc", "docs-prose", "encyclopedia-en"]
SCARCE = "docs-prose"
OBJECTIVE = {"docs-prose": 0.6, "encyclopedia-en": 0.3, "code-python": 0.1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("studies/two-phase"))
    parser.add_argument("--runs", type=int, default=28)
    parser.add_argument("--tokens", type=int, default=600_064)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="12 runs of 100k tokens, 2 seeds")
    args = parser.parse_args()
    if args.quick:
        args.runs, args.tokens, args.seeds = 12, 100_352, 2
        args.out = args.out.with_name("two-phase-quick")
    root = corpora("pretraining")
    study = Study.create(
        args.out,
        {
            "corpus": {
                "domains": {d: str(root / f"{d}.jsonl.zst") for d in DOMAINS},
                "vocab_size": 2048,
                "validation_tokens": 16_384,
            },
            "objective": OBJECTIVE,
            "budget": {"tokens": args.tokens},
            "training": {
                "tokens": args.tokens,
                "batch": 4,
                "context": 128,
                "learning_rate": {"name": "wsd", "peak": 3e-3, "warmup": 0.05, "decay": 0.2},
                "evaluations": 1,
            },
            "design": {"sampler": "phases", "num": args.runs, "replicates": 0},
            "verify": {"seeds": args.seeds},
        },
    )
    study.tokenize()
    study.design()
    failures = study.train()
    if failures:
        sys.exit(f"runs failed: {failures}")
    sys.argv = ["two_phase.py", str(args.out), "--objective", *(f"{k}={v}" for k, v in OBJECTIVE.items())]
    two_phase.main()

    compare(study, study.schedule(), args.seeds, "Trained: best schedule beside best constant mixture")

    # a schedule can only gain where a limit binds: the wanted domain is scarce, a fifth of the run's tokens
    scarce = Budget(tokens=study.budget.tokens, caps={SCARCE: 0.2})
    X, y = study.observations().table(features="phases")
    recipe = best_schedule(
        PhaseLaw(fractions=[0.5, 0.5]).fit(X, y), study.config.objective_weights(), scarce, study.corpus
    )
    print(f"\n## {SCARCE} is scarce: at most 20% of the run's tokens\n")
    print(f"{recipe.certificate}\n\n| domain | phase 1 | phase 2 | best constant |\n|---|--:|--:|--:|")
    first, second = (p.mixture for p in recipe.schedule.phases)
    for d in DOMAINS:
        print(f"| {d} | {first[d]:.3f} | {second[d]:.3f} | {recipe.reference[d]:.3f} |")
    compare(study, recipe, args.seeds, f"Trained: {SCARCE} scarce")


def compare(study: Study, recipe: Recipe, seeds: int, title: str) -> None:
    """Train the recipe's schedule and the best constant mixture with the same seeds; print what came out."""
    template = study.template()
    arms = {"best schedule": recipe.schedule, "best constant mixture": Schedule.constant(recipe.reference)}
    specs = {
        (name, seed): template.replace(schedule=schedule, seed=seed)
        for seed in range(1000, 1000 + seeds)
        for name, schedule in arms.items()
    }
    failed: dict[str, RunError] = study.train(list(specs.values()), what="verify")
    if failed:
        sys.exit(f"runs failed: {failed}")
    observed = study.observations(list(specs.values()))
    curves = objective_curves(observed.values.to_pylist(), study.config.objective_weights())
    finals = {name: [curves[specs[name, k].id][-1][1] for k in range(1000, 1000 + seeds)] for name in arms}
    if seeds > 1:
        difference = paired_difference(*finals.values())
        measured = f"{difference}: {verdict(difference)}"
    else:
        first, second = (losses[0] for losses in finals.values())
        measured = f"{first - second:+.4f}: one seed has no interval and so no verdict"
    print(f"\n## {title}\n")
    print("| arm | objective, mean of seeds, nats | each seed, nats |\n|---|--:|---|")
    for name, losses in finals.items():
        print(f"| {name} | {np.mean(losses):.4f} | {', '.join(f'{v:.4f}' for v in losses)} |")
    print(f"\nPredicted difference {recipe.difference}; measured {measured}.")


if __name__ == "__main__":
    main()

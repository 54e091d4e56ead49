"""Two-phase proxies: predicted against measured on a held-out third, best schedule beside best constant mixture.

    python benchmarks/two_phase.py FOLDER [--objective set=weight ...] [--tokens N] [--max-epochs E]

FOLDER is a study (its designed runs count) or a folder with runs.parquet, values.parquet and corpus.json,
whose runs have two or more phases, for instance from ``mixlaw design --sampler phases``. Constant runs among them take
part as schedules with equal phases.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.observations import Observations
from mixlaw.errors import MixlawWarning
from mixlaw.laws.mixture.phase_law import STRUCTURES, PhaseLaw
from mixlaw.optimize.schedules.best import best_schedule
from mixlaw.study.study import Study


def read(folder: Path) -> Observations:
    if (folder / "runs.parquet").exists():
        return Observations.load(folder)
    return Study(folder).observations()  # the designed runs; not those that verified a recipe


def phases_of(observations: Observations, domains: list[str]):
    """Run ids, phase weights (n, P, K) and fractions (P,); runs with other fractions are left out and counted."""
    schedules = observations.schedules()
    several = [s for s in schedules.values() if s.num_phases > 1]
    if not several:
        sys.exit("No run has more than one phase.")
    shapes = [tuple(round(p.fraction, 6) for p in s.phases) for s in several]
    fractions = max(set(shapes), key=shapes.count)
    ids, weights = [], []
    for run, schedule in schedules.items():
        mixtures = [p.mixture.array(domains) for p in schedule.phases]
        if schedule.num_phases == 1:
            mixtures = mixtures * len(fractions)
        elif tuple(round(p.fraction, 6) for p in schedule.phases) != fractions:
            continue
        ids.append(run)
        weights.append(mixtures)
    if len(ids) < len(schedules):
        print(f"{len(schedules) - len(ids)} runs with other phase lengths are left out.")
    return ids, np.array(weights), np.array(fractions)


def fit(structure: str, fractions, X, Y, names, sets) -> PhaseLaw:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        law = PhaseLaw(structure=structure, fractions=fractions.tolist())
        return law.fit(dict(zip(names, X.T)), dict(zip(sets, Y.T)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--objective", nargs="*", default=[], metavar="SET=WEIGHT")
    parser.add_argument("--tokens", type=int, help="budget (default: that of the runs)")
    parser.add_argument("--max-epochs", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="fewer refits")
    options = parser.parse_args()
    observations = read(options.folder)
    corpus = Corpus.load(options.corpus or options.folder / "corpus.json")
    domains = list(corpus.names)
    table = observations.table()
    y, sets = table.y, list(table.y.column_names)
    losses = dict(zip(table.runs, np.column_stack([y.column(s).to_numpy() for s in sets])))
    ids, weights, fractions = phases_of(observations, domains)
    keep = [i for i, run in enumerate(ids) if run in losses]
    X = weights[keep].reshape(len(keep), -1)
    Y = np.array([losses[ids[i]] for i in keep])
    names = [f"{d}@{p + 1}" for p in range(len(fractions)) for d in domains]
    # the same mixtures in another order are held out with their partner: order itself is what must be predicted
    pairs: dict[tuple, list[int]] = {}
    for row, i in enumerate(keep):
        pairs.setdefault(tuple(sorted(map(tuple, weights[i].round(6)))), []).append(row)
    groups = list(pairs.values())
    held_rows: list[int] = []
    for g in np.random.default_rng(options.seed).permutation(len(groups)):
        if len(held_rows) < len(X) / 3:
            held_rows += groups[g]
    held = np.array(sorted(held_rows))
    train = np.setdiff1d(np.arange(len(X)), held)
    print(
        f"{len(X)} runs in {len(groups)} groups of the same mixtures, {len(fractions)} phases with fractions "
        f"{fractions.tolist()}; "
        f"{len(held)} runs held out, each with its reverse.\n"
    )

    print("## Held-out third: predicted against measured\n")
    print(
        "| law over phases | log of the recency factor | mean absolute error, nats | share of variance "
        "explained | rank correlation |"
    )
    print("|---|---|--:|--:|--:|")
    from scipy.stats import spearmanr

    for structure in (*STRUCTURES, "cv"):
        law = fit(structure, fractions, X[train], Y[train], names, sets)
        predicted = law.predict(dict(zip(names, X[held].T)))
        error = predicted - Y[held]
        explained = 1 - (error**2).sum(0) / ((Y[held] - Y[held].mean(0)) ** 2).sum(0)
        ranks = np.mean([spearmanr(predicted[:, t], Y[held][:, t]).statistic for t in range(len(sets))])
        label = f"chosen by cross-validation: {law.structure_}" if structure == "cv" else structure
        print(
            f"| {label} | {np.mean(law.log_rho_):+.2f} | {np.abs(error).mean():.4f} | {explained.mean():.3f} "
            f"| {ranks:.3f} |"
        )
    law = fit("cv", fractions, X[train], Y[train], names, sets)
    predicted = law.predict(dict(zip(names, X[held].T)))
    print("\n| held-out run | " + " | ".join(f"{s}: predicted / measured, nats" for s in sets) + " |")
    print("|---" * (1 + len(sets)) + "|")
    for number, (row, i) in enumerate(enumerate(held), 1):
        cells = " | ".join(f"{predicted[row, t]:.3f} / {Y[i, t]:.3f}" for t in range(len(sets)))
        print(f"| {number} | {cells} |")

    given = {k: float(v) for k, _, v in (item.partition("=") for item in options.objective)}
    weights_of = given or dict.fromkeys(sets, 1.0)
    tokens = options.tokens or int(np.nanmax([t or 0 for t in observations.runs.column("tokens").to_pylist()]))
    law = fit("cv", fractions, X, Y, names, sets)
    recipe = best_schedule(
        law,
        weights_of,
        Budget(tokens=tokens, max_epochs=options.max_epochs),
        corpus,
        num_bootstrap=15 if options.quick else 60,
    )
    scores = ", ".join(f"{k} {v:.4f}" for k, v in law.scores_.items())
    print("\n## Best schedule beside the best constant mixture\n")
    print(
        f"{recipe.certificate}; law: {law.structure_}; held-out squared error "
        f"over the variance of the losses: {scores}\n"
    )
    phases = recipe.schedule.phases
    print("| domain | " + " | ".join(f"phase {p + 1}" for p in range(len(phases))) + " | best constant | epochs |")
    print("|---" * (3 + len(phases)) + "|")
    for d in domains:
        cells = " | ".join(f"{p.mixture[d]:.3f}" for p in phases)
        print(f"| {d} | {cells} | {recipe.reference[d]:.3f} | {recipe.epochs[d]:.2f} |")
    print(
        f"\nSchedule minus best constant: {recipe.difference}, better with probability {recipe.probability_better:.0%}."
    )
    for warning in recipe.warnings:
        print(f"- {warning}")


if __name__ == "__main__":
    main()

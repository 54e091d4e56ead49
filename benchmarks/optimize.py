"""The optimiser against its peers: certified optimum, prices of random search, frontier, robustness, critical share.

    python benchmarks/optimize.py [--quick] [--only certified large lattice pareto robust critical]

Peers are written from their descriptions: *random* is ten rounds of 100,000 Dirichlet samples, each round centred on
the best of the last (olmix), *grid* the exponentially spaced grid of Data Mixing Laws (largest domains first, each
share its cap times 2^-s, the last takes the rest). Times are one run on a busy machine; compare ratios.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pyarrow.parquet as pq

from mixlaw.data.budget import Budget, Constraints
from mixlaw.data.corpus import Corpus
from mixlaw.errors import MixlawWarning
from mixlaw.laws import LAWS
from mixlaw.laws.core.atoms import Atoms
from mixlaw.optimize.around.pareto import frontier
from mixlaw.optimize.around.resample import bootstrap_laws, weighed
from mixlaw.optimize.around.robust import robust_problem
from mixlaw.optimize.critical_share import critical
from mixlaw.optimize.optimum import optimize
from mixlaw.optimize.pose.forms import combine
from mixlaw.optimize.pose.objective import mean
from mixlaw.optimize.pose.rows import Rows
from mixlaw.optimize.pose.view import LawView
from mixlaw.optimize.solve.convex import solve

from _data import experiments

PILE_TOKENS = 250e9  # size of the made-up corpus that the 17 domains are shares of


def regmix(n: int | None = None, seed: int = 0):
    """Weights, losses and names of RegMix's 1M runs; rounded weights are rescaled."""
    table = pq.read_table(experiments("regmix_1m_train.parquet")).to_pandas()
    X = table[[c for c in table if c.startswith("weight_")]].to_numpy()
    Y = table[[c for c in table if c.startswith("loss_")]].to_numpy()
    names = [c.removeprefix("weight_") for c in table if c.startswith("weight_")]
    sets = [c.removeprefix("loss_") for c in table if c.startswith("loss_")]
    X = X / X.sum(axis=1, keepdims=True)
    if n is not None:
        rows = np.random.default_rng(seed).choice(len(X), n, replace=False)
        X, Y = X[rows], Y[rows]
    return X, Y, names, sets


def fit(name: str, X, Y, names, sets, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        return LAWS[name](**options).fit(dict(zip(names, X.T)), dict(zip(sets, Y.T)))


def setting(X, names):
    """A corpus whose natural mixture is the swarm's mean, and a budget that repeats small domains up to 4 times."""
    corpus = Corpus.declared(
        {n: int(s * PILE_TOKENS) for n, s in zip(names, X.mean(axis=0))}, source="mean of the RegMix swarm"
    )
    return corpus, Budget(tokens=int(PILE_TOKENS), max_epochs=4)


# ---- peers -------------------------------------------------------------------------------------------------
def random_search(value, c: Constraints, centre, rounds=10, samples=100_000, seed=0):
    """Ten rounds of Dirichlet samples around the best so far, growing ever tighter; infeasible ones are dropped."""
    rng = np.random.default_rng(seed)
    best, best_value = None, np.inf
    for step in range(rounds):
        strength = np.exp(rng.uniform(np.log(0.1), np.log(5.0), samples)) * len(centre) * 1.8**step
        gamma = rng.standard_gamma(np.maximum(centre[None] * strength[:, None], 1e-3))
        points = gamma / np.maximum(gamma.sum(axis=1, keepdims=True), 1e-300)
        ok = (points <= c.high).all(axis=1) & (points >= c.low).all(axis=1)
        if not ok.any():
            continue
        values = value(points[ok])
        i = int(np.argmin(values))
        if values[i] < best_value:
            best, best_value = points[ok][i], float(values[i])
            centre = best
    return best, best_value


def grid_search(value, c: Constraints, samples=200_000, seed=0):
    """Double-diminishing grid: shares are caps times 2^-s, the last domain takes what is left. Sampled where it is too
    large to enumerate (9^16 points for 17 domains)."""
    rng = np.random.default_rng(seed)
    order = np.argsort(-c.high)
    best, best_value = None, np.inf
    for _ in range(max(1, samples // 50_000)):
        points = np.zeros((50_000, len(c.high)))
        s = rng.integers(0, 9, size=points.shape)
        points[:, order] = np.where(s[:, order] < 8, c.high[order] * 2.0 ** -s[:, order], 0.0)
        rest = 1.0 - points[:, order[1:]].sum(axis=1)
        points[:, order[0]] = rest
        ok = (rest >= 0) & (rest <= c.high[order[0]])
        if ok.any():
            values = value(points[ok])
            i = int(np.argmin(values))
            if values[i] < best_value:
                best, best_value = points[ok][i], float(values[i])
    return best, best_value


# ---- tables ------------------------------------------------------------------------------------------------
def certified(quick: bool) -> None:
    print("\n## 17 domains, 13 targets, at most 4 epochs: certified optimum against search\n")
    print(
        "| law | objective | certified optimum, nats | gap, nats | CPU milliseconds | random search, nats above "
        "| seconds | grid, nats above | seconds |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    X, Y, names, sets = regmix(128 if quick else None)
    corpus, budget = setting(X, names)
    c = budget.check(corpus)
    for name in ("m4", "effective_tokens"):
        law = fit(name, X, Y, names, sets)
        atoms = LawView(law, corpus, budget).atoms()
        convex = atoms.convex()
        for what, W in (
            ("13-loss mean", np.where(convex, 1.0, 0.0) / convex.sum()),
            ("Pile-CC", np.eye(len(sets))[sets.index("pile_cc")]),
        ):
            problem = mean(c, W)
            if not problem.certifiable(atoms):
                print(f"| {name} | {what} | not convex | | | | | | |")
                continue
            program = problem.program(atoms)
            solve(program)
            times = []
            for _ in range(9):
                start = time.process_time()  # of this process alone: the machine is shared
                found = solve(program)
                times.append(time.process_time() - start)
            one = combine(atoms, W)
            value = lambda R, one=one: one.value(R)[:, 0]  # noqa: E731
            size = 10_000 if quick else 100_000
            start = time.perf_counter()
            _, random = random_search(value, c, corpus.natural.array(), samples=size)
            middle = time.perf_counter()
            _, grid = grid_search(value, c, samples=50_000 if quick else 400_000)
            end = time.perf_counter()
            note = "" if convex.all() or what == "Pile-CC" else f" ({int(convex.sum())} convex)"
            print(
                f"| {name} | {what}{note} | {found.value[0]:.6f} | {found.gap[0]:.1e} | {1e3 * np.median(times):.1f} | "
                f"+{random - found.value[0]:.6f} | {middle - start:.1f} "
                f"| +{grid - found.value[0]:.6f} | {end - middle:.1f} |"
            )


def synthetic(K: int, T: int, seed: int, kind: str) -> Atoms:
    rng = np.random.default_rng(seed)
    if kind == "exp":
        linear = rng.uniform(-0.8, 0.6, (T, K))
        linear[np.arange(T), np.arange(T) % K] -= 1.8
        return Atoms(
            rng.uniform(1.2, 2.2, T),
            np.arange(T),
            np.full(T, kind),
            rng.uniform(0.6, 1.4, T),
            linear,
            np.zeros(T),
            np.zeros(T),
        )
    linear = np.exp(rng.uniform(-4, -1.5, (T, K)))
    linear[np.arange(T), np.arange(T) % K] = 1.0
    return Atoms(
        rng.uniform(1.0, 2.0, T),
        np.arange(T),
        np.full(T, kind),
        rng.uniform(0.5, 1.0, T),
        linear,
        np.full(T, 0.02),
        rng.uniform(0.2, 0.5, T),
    )


def large(quick: bool) -> None:
    print(
        "\n## 1,000 domains, 50 targets\n\n| law | epoch caps | gap, nats | steps | seconds | CPU seconds "
        "|\n|---|---|--:|--:|--:|--:|"
    )
    K = 200 if quick else 1000
    for kind in ("exp", "power"):
        for capped in (False, True):
            unique = np.exp(np.random.default_rng(1).normal(0, 1, K))
            corpus = Corpus.declared({f"d{j}": int(1e6 * u) + 1 for j, u in enumerate(unique)}, source="synthetic")
            budget = Budget(tokens=int(1e6 * unique.sum()), max_epochs=4 if capped else None)
            program = mean(budget.check(corpus), np.full(50, 0.02)).program(synthetic(K, 50, 0, kind))
            start, cpu = time.perf_counter(), time.process_time()
            found = solve(program)
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            caps = "4 epochs" if capped else "none"
            print(f"| {kind} | {caps} | {found.gap[0]:.1e} | {found.iterations} | {wall:.2f} | {cpu:.2f} |")


def lattice(quick: bool) -> None:
    from itertools import combinations

    print("\n## Brute-force lattice, 3 and 4 domains, random problems\n")
    rng = np.random.default_rng(0)
    worst, largest_gap, problems = -np.inf, 0.0, 40 if quick else 200
    for trial in range(problems):
        K = 3 + trial % 2
        steps = 120 if K == 3 else 48
        atoms = synthetic(K, int(rng.integers(1, 7)), trial, ("exp", "power")[trial // 2 % 2])
        W = rng.dirichlet(np.ones(len(atoms.const)))
        caps = np.clip(rng.uniform(1.1 / K, 1.6, K), 0, 1)
        corpus = Corpus.declared({f"d{j}": 10**6 for j in range(K)}, source="synthetic")
        c = Budget(tokens=10**6, caps={f"d{j}": float(v) for j, v in enumerate(caps)}).check(corpus)
        found = solve(mean(c, W).program(atoms))
        cuts = np.array(list(combinations(range(steps + K - 1), K - 1)))
        edges = np.hstack([np.full((len(cuts), 1), -1), cuts, np.full((len(cuts), 1), steps + K - 1)])
        points = (np.diff(edges, axis=1) - 1) / steps
        points = points[(points <= c.high + 1e-12).all(axis=1)]
        best = combine(atoms, W).value(points)[:, 0].min()
        worst, largest_gap = max(worst, float(found.value[0] - best)), max(largest_gap, float(found.gap[0]))
    print(
        f"{problems} problems: the certified optimum minus the best lattice point is at most {worst:+.1e} nats; "
        f"the largest gap is {largest_gap:.1e} nats."
    )


def pareto(quick: bool) -> None:
    X, Y, names, sets = regmix(128 if quick else None)
    corpus, budget = setting(X, names)
    law = fit("effective_tokens", X, Y, names, sets)
    start = time.perf_counter()
    front = frontier(law, ["pile_cc", "github", "wikipedia_en"], budget, corpus, num=200)
    seconds = time.perf_counter() - start
    print("\n## Pareto frontier of 3 targets, 200 points\n")
    print(f"{len(front)} points in {seconds:.2f} s; the largest gap is {front.gap.max():.1e} nats.")


def robust(quick: bool) -> None:
    """Truth: a law fitted to all runs. A user sees ``n`` noisy runs of it, fits, and optimises."""
    X, Y, names, sets = regmix()
    corpus, budget = setting(X, names)
    c = budget.check(corpus)
    W = np.full(len(sets), 1 / len(sets))
    truth = LawView(fit("effective_tokens", X, Y, names, sets), corpus, budget)
    best = float(solve(mean(c, W).program(truth.atoms())).value[0])
    residual = Y - truth.predict(X)
    users, refits, n = (12, 40, 32) if quick else (100, 40, 32)
    regret: dict[str, list[float]] = {"plug-in": [], "mean": [], "cvar": [], "regret": []}
    rng = np.random.default_rng(0)
    for user in range(users):
        rows = rng.choice(len(X), n, replace=False)
        noisy = truth.predict(X[rows]) + residual[rng.choice(len(X), n)]
        law = fit("effective_tokens", X[rows], noisy, names, sets)
        view = LawView(law, corpus, budget)
        runs = (dict(zip(names, X[rows].T)), dict(zip(sets, noisy.T)))
        laws = [v.atoms() for v in bootstrap_laws(Rows.of(view, runs), refits, seed=user, weights=weighed)]
        answers = {"plug-in": solve(mean(c, W).program(view.atoms())).z[0]}
        for measure in ("mean", "cvar", "regret"):
            problem, atoms = robust_problem(measure, c, view.atoms(), laws, W, reference=corpus.natural.array())
            answers[measure] = solve(problem.program(atoms)).z[0, : len(names)]
        for name, r in answers.items():
            regret[name].append(float(truth.predict(r[None])[0] @ W) - best)
    print(f"\n## Robust optimum: realised regret over {users} simulated users ({n} runs, {refits} refits each)\n")
    print(
        "| optimum | mean regret, 1e-3 nats | mean of the worst decile, 1e-3 nats | better than plug-in for "
        "|\n|---|--:|--:|--:|"
    )
    base = np.array(regret["plug-in"])
    for name, values in regret.items():
        v = np.array(values)
        tail = np.sort(v)[-max(1, len(v) // 10) :].mean()
        print(f"| {name} | {1e3 * v.mean():.2f} | {1e3 * tail:.2f} | {(v < base).mean():.0%} |")


def critical_share(quick: bool) -> None:
    table = pq.read_table(experiments("dml_continual.parquet")).to_pandas()
    import pandas as pd

    weights = pd.read_csv(experiments("dml_validation_weights.csv")).set_index("validation_domain")["weight"]
    final = table[table.step == table.step.max()].pivot(
        index="weight_Pile", columns="validation_domain", values="loss"
    )[weights.index]
    before = table[table.run == "base"].set_index("validation_domain").loss[weights.index]
    start = time.perf_counter()
    found = critical(final.index.to_numpy(), final.to_numpy(), before.to_numpy(), weights=weights.to_numpy())
    seconds = time.perf_counter() - start
    print(
        "\n## Critical proportion from the four mixtures of dml_continual (published 0.2862; verified run at 0.2852)\n"
    )
    print(f"{found}; {seconds:.2f} s")


def whole(quick: bool) -> None:
    """The complete recipe, intervals and prices included."""
    X, Y, names, sets = regmix(128)
    corpus, budget = setting(X, names)
    law = fit("effective_tokens", X, Y, names, sets)
    print("\n## The whole recipe (128 runs, 17 domains, 13 targets)\n\n| refits | seconds |\n|--:|--:|")
    for refits in (0, 10):
        start = time.perf_counter()
        optimize(law, sets, budget, corpus, num_bootstrap=refits)
        print(f"| {refits} | {time.perf_counter() - start:.2f} |")


PARTS = {
    "certified": certified,
    "large": large,
    "lattice": lattice,
    "pareto": pareto,
    "robust": robust,
    "critical": critical_share,
    "recipe": whole,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS))
    options = parser.parse_args()
    for part in options.only:
        PARTS[part](options.quick)

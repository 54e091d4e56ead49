"""Do the intervals of a recipe hold what its run would measure? At the law's own optimum, on truths it does not know.

    python benchmarks/recipe_intervals.py [--quick] [--worlds 40] [--auto 10] [--families m4 ...] [--seed 1000]

Each world is a truth (losses of 3 validation sets as a function of the shares of 5 domains, parameters drawn at
random), n runs at Dirichlet mixtures with noise of 0.005 nats, a law fitted to them, and its own recipe for the mean of
the three sets, without limits. The recipe is then run on the truth. Truths are of the law's own form or of another one,
two of which no family of mixlaw has; with RegMix's records the recipe is the best of the 256 held-out mixtures by the
law, so that what its run measured is on record, and the gain is over a random one of the others.
"""

import argparse
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise

import numpy as np

from design import read
from mixlaw import Budget, Corpus, MixlawError, MixlawWarning, optimize
from mixlaw.laws import LAWS
from mixlaw.optimize.around.form_error import FormError
from mixlaw.optimize.around.gain import predicted_gain
from mixlaw.optimize.around.predictions import predictions
from mixlaw.optimize.around.resample import refits_for
from mixlaw.optimize.pose.request import Request

K, T, NOISE = 5, 3, 0.005
FAMILIES = ("m4", "m2", "effective_tokens", "log_linear", "bi_mix", "auto_scale", "gaussian_process", "auto")
RUNS = (10, 20, 40, 64)
KEYS = ("alone", "loss", "gain", "sets")


# ---- truths: losses (n, T) of mixtures R (n, K) -------------------------------------------------------
def _own(low, high, rng):
    """(T, K) random numbers, those of a set's own domain between ``high``, the others between ``low``."""
    values = rng.uniform(*low, (T, K))
    values[np.arange(T), np.arange(T)] = rng.uniform(*high, T)
    return values


def m4(rng):
    c, a, t = rng.uniform(1.5, 2.5, T), rng.uniform(0.4, 1.2, T), _own((-0.8, 0.6), (-2.3, -0.9), rng)
    return lambda R: c + a * np.exp(R @ t.T)


def m2(rng):
    c, a, t = rng.uniform(1.5, 2.5, T), _own((0.0, 0.5), (0.6, 1.1), rng), rng.uniform(-6, -0.5, (T, K))
    return lambda R: c + np.einsum("tk,ntk->nt", a, np.exp(R[:, None] * t))


def effective_tokens(rng):
    c, a, g = rng.uniform(1.5, 2.5, T), rng.uniform(0.4, 1.0, T), rng.uniform(0.15, 0.6, T)
    eps, w = rng.uniform(0.005, 0.05, T), np.exp(_own((-4.5, -1.0), (0.0, 0.0), rng))
    return lambda R: c + a * (eps + R @ w.T) ** -g


def log_linear(rng):
    c, b, eps = rng.uniform(1.5, 2.5, T), _own((-0.1, 0.05), (-0.4, -0.1), rng), np.exp(rng.uniform(-5, -2, T))
    return lambda R: c + np.einsum("tk,ntk->nt", b, np.log(R[:, None] + eps[:, None]))


def bi_mix(rng):
    c, a, g = rng.uniform(1.5, 2.5, T), _own((0.0, 0.08), (0.25, 0.33), rng), rng.uniform(0.1, 0.5, (T, K))
    return lambda R: c + np.einsum("tk,ntk->nt", a, (R[:, None] + 0.01) ** -g)


def auto_scale(rng):
    c, n, g = rng.uniform(0.5, 1.5, T), rng.uniform(0.05, 0.5, (T, K)), _own((0.02, 0.15), (0.2, 0.4), rng)
    return lambda R: c + np.einsum("ntk->nt", (n + 3.0 * R[:, None]) ** -g)


def capacity(rng):  # powers of shares in a denominator: a cliff at zero (Shukor et al. 2025, arXiv:2507.09404)
    e, c, g = rng.uniform(1.5, 2.2, T), _own((0.1, 1.0), (1.6, 2.5), rng), rng.uniform(0.1, 0.7, (T, K))
    return lambda R: e + 1 / (np.einsum("tk,ntk->nt", c, np.maximum(R, 0.0)[:, None] ** g) + 0.3)


def quadratic(rng):  # domains help and hinder each other in pairs
    c, b, q = rng.uniform(2, 3, T), _own((-0.4, 0.4), (-1.0, -0.2), rng), 0.35 * rng.normal(size=(T, K, K))
    return lambda R: c + R @ b.T + np.einsum("ni,tij,nj->nt", R, q, R)


TRUTHS = (m4, m2, effective_tokens, log_linear, bi_mix, auto_scale, capacity, quadratic)
OWN = {truth.__name__: truth for truth in TRUTHS}


# ---- one world ----------------------------------------------------------------------------------------
def made_up(family, n, own, seed):
    """What was said of the recipe and what it measured, one dict; ``own``: the truth has the law's form."""
    rng = np.random.default_rng([seed, n, own, FAMILIES.index(family)])
    others = [truth for truth in TRUTHS if truth.__name__ != family]
    truth = (OWN[family] if own else others[seed % len(others)])(rng)
    R = rng.dirichlet(np.ones(K), n)
    names, sets = [f"d{j}" for j in range(K)], [f"s{t}" for t in range(T)]
    runs = dict(zip(names, R.T)), dict(zip(sets, (truth(R) + NOISE * rng.normal(size=(n, T))).T))
    corpus = Corpus.declared(dict.fromkeys(names, 10**9), source="made up")
    law = LAWS[family]().fit(*runs)
    recipe = optimize(law, sets, Budget(tokens=10**6), corpus, runs=runs)
    r = recipe.mixture.array(names)
    both = truth(np.stack([r, recipe.reference.array(names)]))
    run = both[0] + NOISE * rng.normal(size=T)
    q = Request.of(law, sets, Budget(tokens=10**6), corpus, runs=runs)
    alone = predictions(q, lambda y: y @ q.W, r)[0]["objective"]
    return _score(recipe.predictions, sets, recipe.difference, recipe.probability_better, run, run.mean(),
                  both[0].mean() - both[1].mean(), bool((r < 1e-6).any()), alone)  # fmt: skip


def on_record(family, n, seed):
    """The same with RegMix: 17 domains, 13 sets, the best held-out mixture by the law."""
    X, Y, names, sets = read()
    shuffled = np.random.default_rng(0).permutation(len(X))
    test, rng = shuffled[512:], np.random.default_rng([seed, n, FAMILIES.index(family)])
    rows = rng.choice(shuffled[:512], n, replace=False)
    runs = dict(zip(names, X[rows].T)), dict(zip(sets, Y[rows].T))
    law = LAWS[family]().fit(*runs)
    W = dict(zip(sets, rng.dirichlet(np.full(len(sets), 0.3))))  # an objective of a few sets, another in each world
    corpus = Corpus.declared({d: int(1e9 * s) + 1 for d, s in zip(names, X.mean(axis=0))}, source="mean mixture")
    weights = np.array(list(W.values()))
    there = np.asarray(law.predict(dict(zip(names, X[test].T)))) @ weights
    best, other = test[np.argmin(there)], rng.choice(test)
    q = Request.of(law, W, Budget(tokens=10**6), corpus, dict(zip(names, X[other])), runs=runs)
    form, said = FormError.of(q), []
    table, half = predictions(q, lambda y: y @ q.W, X[best], form)
    drawn, _ = refits_for(q, said)
    found = predicted_gain(q, lambda y: y @ q.W, X[best], drawn, half, said, form)
    alone = predictions(q, lambda y: y @ q.W, X[best])[0]["objective"]
    return _score(table, sets, found.prediction, found.probability, Y[best], Y[best] @ weights,
                  (Y[best] - Y[other]) @ weights, bool((X[best] < 1e-6).any()), alone)  # fmt: skip


def _score(table, sets, gain, probability, run, loss, change, at_zero, alone):
    objective = table["objective"]
    return {
        "alone": alone.low <= loss <= alone.high,
        "loss": objective.low <= loss <= objective.high, "gain": gain.low <= change <= gain.high,
        "sets": float(np.mean([table[s].low <= v <= table[s].high for s, v in zip(sets, run)])),
        "width": (objective.high - objective.low) / 2, "off": abs(objective.mean - loss),
        "probability": probability, "better": change < 0, "zero": at_zero,
    }  # fmt: skip


def world(job):
    kind, family, n, seed = job
    warnings.simplefilter("ignore")
    try:
        found = on_record(family, n, seed) if kind == "record" else made_up(family, n, kind == "own form", seed)
    except MixlawError as error:
        return job, {"refused": type(error).__name__}
    return job, found


# ---- the tables ---------------------------------------------------------------------------------------
def mean(rows, key):
    return float(np.mean([row[key] for row in rows])) if rows else float("nan")


def binomial_high(hits, n, level=0.99):
    """Upper end of the exact binomial interval (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    return 1.0 if hits >= n else float(beta.ppf(0.5 + level / 2, hits + 1, n - hits))


def report(done):
    kinds = ("own form", "other form", "record")
    print("## 90% intervals at the law's own optimum\n")
    print(
        "Coverage of the recipe's loss / of its gain / of single sets; half width and mean error of the loss in nats.\n"
    )
    print("| law | runs | " + " | ".join(kinds) + " | all |")
    print("|---|--:|" + "--:|" * (len(kinds) + 1))
    families = list(dict.fromkeys(job[1] for job in done))
    low = []
    for family in families:
        for n in dict.fromkeys(job[2] for job in done):
            cells, pooled = [], []
            for kind in kinds:
                rows = [v for job, v in done.items() if job[:3] == (kind, family, n) and "refused" not in v]
                if not rows:
                    cells.append("-")
                    continue
                pooled.append(rows)
                held = "{:.0%} -> {:.0%} / {:.0%} / {:.0%}".format(*(mean(rows, key) for key in KEYS))
                cells.append(f"{held}; {mean(rows, 'width'):.3f}, {mean(rows, 'off'):.3f}")
                for key in ("loss", "gain"):
                    if binomial_high(sum(r[key] for r in rows), len(rows)) < 0.8:
                        low.append(f"{family}, {n} runs, {kind}, {key}: {mean(rows, key):.0%} of {len(rows)}")
            over = [np.mean([mean(rows, key) for rows in pooled]) for key in KEYS]
            cells.append("{:.0%} -> {:.0%} / {:.0%} / {:.0%}".format(*over))
            print(f"| {family} | {n} | " + " | ".join(cells) + " |")
    every = [v for v in done.values() if "refused" not in v]
    print("\nCells whose 99% binomial interval lies below 80%: " + ("; ".join(low) or "none") + ".\n")
    print("| truths | worlds | loss, the law alone | loss | gain | single sets |\n|---|--:|--:|--:|--:|--:|")
    for kind in kinds:
        for zero in (False, True):
            rows = [v for job, v in done.items() if job[0] == kind and "refused" not in v and v["zero"] == zero]
            if rows:
                print(f"| {kind}, {'some share 0' if zero else 'all shares positive'} | {len(rows)} | "
                      + " | ".join(f"{mean(rows, key):.0%}" for key in KEYS) + " |")  # fmt: skip
    print(f"| all | {len(every)} | " + " | ".join(f"{mean(every, key):.0%}" for key in KEYS) + " |")
    print("\n## Is the probability of a gain true?\n\n| said | worlds | mean said | truly better |\n|---|--:|--:|--:|")
    edges = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 1.01)
    for a, b in pairwise(edges):
        rows = [v for v in every if a <= v["probability"] < b]
        if rows:
            print(f"| {a:.2f} to {min(b, 1):.2f} | {len(rows)} | {mean(rows, 'probability'):.2f} "
                  f"| {mean(rows, 'better'):.2f} |")  # fmt: skip
    refused = len(done) - len(every)
    if refused:
        print(f"\n{refused} worlds were refused by a law (too few runs for its parameters) and are not counted.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 laws, 20 runs, 6 worlds")
    parser.add_argument("--worlds", type=int, default=40, help="per cell, of parametric laws")
    parser.add_argument("--auto", type=int, default=10, help="per cell, of Auto and the Gaussian process")
    parser.add_argument("--families", nargs="+", default=None)
    parser.add_argument("--seed", type=int, default=1000, help="first seed; choices were made on seeds below 1000")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    warnings.simplefilter("ignore", MixlawWarning)
    began = time.perf_counter()
    families = options.families or (("m4", "log_linear") if options.quick else FAMILIES)
    jobs = []
    for family in families:
        slow = family in ("auto", "gaussian_process")
        number = 6 if options.quick else options.auto if slow else options.worlds
        for n in (20,) if options.quick else RUNS:
            for kind in ("own form", "other form", "record"):
                if kind != "own form" or family in OWN:
                    jobs += [(kind, family, n, options.seed + i) for i in range(number)]
    with ProcessPoolExecutor(options.workers) as pool:
        done = dict(pool.map(world, jobs, chunksize=4))
    report(done)
    print(f"\n{len(jobs)} worlds, {time.perf_counter() - began:.0f} s on {options.workers} processes")


if __name__ == "__main__":
    main()

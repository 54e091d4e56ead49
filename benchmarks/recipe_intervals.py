"""Do the intervals of a recipe hold what its run would measure? At the law's own optimum, on truths it does not know.

    python benchmarks/recipe_intervals.py [--quick] [--worlds 200] [--seed 1000] [--minutes 60] [--kept FILE]

A *world* is a truth (losses of 3 validation sets as a function of the shares of 5 domains, parameters drawn at random)
and n runs at Dirichlet mixtures with noise of 0.005 nats. Laws are fitted to them, each finds its own recipe for the
mean of the three sets, without limits, and the recipe is then run on the truth. Truths are of one of six families of
mixlaw, whose law scores its own form there and another law another form, or of one of two forms that no family has. On
*record* the runs are RegMix's, the recipe is the best of the 256 held-out mixtures by the law, so that what its run
measured is on record, and the gain is over a random one of the others. *At size* a law of mixtures and sizes is asked
for its recipe three times as large and eight times as long as any of its runs.

All laws of a world share the families that are fitted for their intervals. Worlds come in rounds, one of every kind in
each; Auto and the Gaussian process, which take longer, are asked in three of ten. With --kept, finished worlds are
written to a file, one line of JSON each, and not done again: a run that was stopped (or ran out of --minutes) goes on.
"""

import argparse
import json
import time
import warnings
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import pairwise
from pathlib import Path

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
PARAMETRIC = ("m4", "m2", "effective_tokens", "log_linear", "bi_mix", "auto_scale")
SLOW = ("gaussian_process", "auto")
OVER_SIZES = ("joint", "nested")
FAMILIES = PARAMETRIC + SLOW + OVER_SIZES
RUNS = (10, 20, 40, 64)
MIXTURES = 16  # of a world at size
KINDS = ("own form", "other form", "record", "at size, own form", "at size, other form")
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


def _growing(rng, varies):
    """Losses of mixtures R (n, K) at N parameters and D tokens (n,): of the law's form, with a level and a data term
    for each mixture; or with exponents of size that differ by set and by mixture, which no law of mixlaw has."""
    level = effective_tokens(rng)
    data, size = rng.uniform(0.2, 0.4, (T, K)), rng.uniform(0.2, 0.5, T)
    slower = rng.uniform(-0.08, 0.08, (T, K)) if varies else np.zeros((T, K))

    def losses(R, N, D):
        terms = level(R) + size * (N[:, None] / 3e7) ** (-0.25 + 0.5 * (R @ slower.T))
        return terms + (R @ data.T) * (D[:, None] / 1e9) ** (-0.35 + R @ slower.T)

    return losses


# ---- one world ----------------------------------------------------------------------------------------
NAMES, SETS = [f"d{j}" for j in range(K)], [f"s{t}" for t in range(T)]
CORPUS = Corpus.declared(dict.fromkeys(NAMES, 10**12), source="made up")


def made_up(truth, n, seed, laws):
    """What was said of each law's recipe and what it measured, one dict for each law."""
    rng = np.random.default_rng([seed, n, [one.__name__ for one in TRUTHS].index(truth)])
    losses = OWN[truth](rng)
    R = rng.dirichlet(np.ones(K), n)
    runs = dict(zip(NAMES, R.T)), dict(zip(SETS, (losses(R) + NOISE * rng.normal(size=(n, T))).T))
    noise = NOISE * rng.normal(size=T)

    def of(family):
        return _made_up(LAWS[family]().fit(*runs), runs, Budget(tokens=10**6), losses, noise)

    return _each(laws, of)


def at_size(varies, seed, laws):
    """The same of laws of mixtures and sizes, at a size that none of the runs has."""
    rng = np.random.default_rng([seed, int(varies)])
    losses = _growing(rng, varies)
    rows = [
        (r, N, D)
        for r in rng.dirichlet(np.ones(K), MIXTURES)
        for N in (1e7, 3e7, 1e8)
        for D in (3e8, 5e8, 8e8, 1.2e9, 2e9)
    ]
    R, N, D = (np.array([row[i] for row in rows]) for i in range(3))
    y = losses(R, N, D) + NOISE * rng.normal(size=(len(rows), T))
    runs = dict(zip(NAMES, R.T)) | {"params": N, "tokens": D}, dict(zip(SETS, y.T))
    noise, params, tokens = NOISE * rng.normal(size=T), 3e8, 16e9

    def there(mixtures):
        return losses(mixtures, np.full(len(mixtures), params), np.full(len(mixtures), tokens))

    def of(family):
        law = LAWS[family](mixture_law=LAWS["effective_tokens"]()).fit(*runs)
        return _made_up(law, runs, Budget(tokens=tokens, params=params), there, noise)

    return _each(laws, of)


def _made_up(law, runs, budget, losses, noise):
    recipe = optimize(law, SETS, budget, CORPUS, runs=runs)
    r = recipe.mixture.array(NAMES)
    both = losses(np.stack([r, recipe.reference.array(NAMES)]))
    run = both[0] + noise
    q = Request.of(law, SETS, budget, CORPUS, runs=runs, num_bootstrap=0)
    alone = predictions(q, lambda y: y @ q.W, r)[0]["objective"]
    change = both[0].mean() - both[1].mean()
    said = recipe.predictions, SETS, recipe.difference, recipe.probability_better
    return _score(*said, run, run.mean(), change, bool((r < 1e-6).any()), alone)


def on_record(n, seed, laws):
    """The same with RegMix: 17 domains, 13 sets, the best held-out mixture by the law."""
    X, Y, names, sets = read()
    shuffled = np.random.default_rng(0).permutation(len(X))
    test, rng = shuffled[512:], np.random.default_rng([seed, n])
    rows = rng.choice(shuffled[:512], n, replace=False)
    runs = dict(zip(names, X[rows].T)), dict(zip(sets, Y[rows].T))
    W = dict(zip(sets, rng.dirichlet(np.full(len(sets), 0.3))))  # an objective of a few sets, another in each world
    corpus = Corpus.declared({d: int(1e9 * s) + 1 for d, s in zip(names, X.mean(axis=0))}, source="mean mixture")
    weights, other = np.array(list(W.values())), rng.choice(test)

    def of(family):
        law = LAWS[family]().fit(*runs)
        there = np.asarray(law.predict(dict(zip(names, X[test].T)))) @ weights
        best = test[np.argmin(there)]
        q = Request.of(law, W, Budget(tokens=10**6), corpus, dict(zip(names, X[other])), runs=runs)
        form, said = FormError.of(q), []
        table, half = predictions(q, lambda y: y @ q.W, X[best], form)
        drawn, _ = refits_for(q, said)
        found = predicted_gain(q, lambda y: y @ q.W, X[best], drawn, half, said, form)
        alone = predictions(q, lambda y: y @ q.W, X[best])[0]["objective"]
        loss, change = Y[best] @ weights, (Y[best] - Y[other]) @ weights
        answer = table, sets, found.prediction, found.probability
        return _score(*answer, Y[best], loss, change, bool((X[best] < 1e-6).any()), alone)

    return _each(laws, of)


def _each(laws, of):
    out = {}
    for family in laws:
        try:
            out[family] = of(family)
        except MixlawError as error:
            out[family] = {"refused": type(error).__name__}
    return out


def _score(table, sets, gain, probability, run, loss, change, at_zero, alone):
    objective = table["objective"]
    return {
        "alone": bool(alone.low <= loss <= alone.high),
        "loss": bool(objective.low <= loss <= objective.high), "gain": bool(gain.low <= change <= gain.high),
        "sets": float(np.mean([table[s].low <= v <= table[s].high for s, v in zip(sets, run)])),
        "width": (objective.high - objective.low) / 2, "off": float(abs(objective.mean - loss)),
        "gain width": (gain.high - gain.low) / 2, "gain off": float(abs(gain.mean - change)),
        "probability": float(probability), "better": bool(change < 0), "zero": at_zero,
    }  # fmt: skip


def jobs_of(round_, seed, families, slow):
    """The worlds of a round: (truth, n, seed, laws). ``slow``: whether laws that take longer are asked too."""
    at, out = seed + round_, []
    for n in RUNS:
        for i, truth in enumerate(one.__name__ for one in TRUTHS):
            laws = [truth, PARAMETRIC[(i + 1 + round_ % 5) % 6]] if truth in PARAMETRIC else []
            if truth not in PARAMETRIC and round_ % 6 == 0:  # then the forms without a family are met as often
                laws = list(PARAMETRIC)
            if slow and i == (round_ + RUNS.index(n)) % len(TRUTHS):
                laws += SLOW
            out.append((truth, n, at, laws))
        out.append(("record", n, at, [*PARAMETRIC, *(SLOW if slow else ())]))
    if slow:
        out += [(kind, MIXTURES, at, list(OVER_SIZES)) for kind in KINDS[3:]]
    kept = [(truth, n, at, tuple(law for law in laws if law in families)) for truth, n, at, laws in out]
    return [job for job in kept if job[3]]


def world(job):
    truth, n, seed, laws = job
    warnings.simplefilter("ignore")
    if truth == "record":
        return job, on_record(n, seed, laws)
    return job, at_size("other" in truth, seed, laws) if truth in KINDS else made_up(truth, n, seed, laws)


def kind_of(truth, family):
    if truth == "record" or truth in KINDS:
        return truth
    return "own form" if truth == family else "other form"


# ---- the tables ---------------------------------------------------------------------------------------
def mean(rows, key):
    return float(np.mean([row[key] for row in rows])) if rows else float("nan")


def binomial_high(hits, n, level=0.99):
    """Upper end of the exact binomial interval (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    return 1.0 if hits >= n else float(beta.ppf(0.5 + level / 2, hits + 1, n - hits))


def report(done):
    rows_of = {}
    for (truth, n, _, _), scores in done:
        for family, row in scores.items():
            rows_of.setdefault((kind_of(truth, family), family, n), []).append(row | {"truth": truth})
    refused = [row for rows in rows_of.values() for row in rows if "refused" in row]
    rows_of = {key: [row for row in rows if "refused" not in row] for key, rows in rows_of.items()}
    print("## 90% intervals at the law's own optimum\n")
    print(
        "Worlds; coverage of the recipe's loss by the law alone -> as printed / of its gain / of single sets; half "
        "width and mean error of the loss, then of the gain, in nats.\n"
    )
    low, thin = [], []
    for kinds in (KINDS[:3], KINDS[3:]):
        cells = [(family, n) for family in FAMILIES for n in (*RUNS, MIXTURES)]
        cells = [cell for cell in cells if any(rows_of.get((kind, *cell)) for kind in kinds)]
        if not cells:
            continue
        runs = "mixtures" if kinds[0] == KINDS[3] else "runs"
        print(f"| law | {runs} | " + " | ".join(kinds) + " | all |\n|---|--:|" + "--:|" * (len(kinds) + 1))
        for family, n in cells:
            line, pooled = [], []
            for kind in kinds:
                rows = rows_of.get((kind, family, n), [])
                if not rows:
                    line.append("-")
                    continue
                pooled.append(rows)
                held = "{:.0%} -> {:.0%} / {:.0%} / {:.0%}".format(*(mean(rows, key) for key in KEYS))
                size = ", ".join(f"{mean(rows, k):.3f}" for k in ("width", "off", "gain width", "gain off"))
                line.append(f"{len(rows)}: {held}; {size}")
                for key in ("loss", "gain", "sets"):
                    hits = sum(r[key] for r in rows)
                    if binomial_high(hits, len(rows)) < 0.8:
                        low.append(f"{family}, {n} {runs}, {kind}, {key}: {mean(rows, key):.0%} of {len(rows)}")
                    elif hits < 0.8 * len(rows):
                        thin.append(f"{family}, {n} {runs}, {kind}, {key}: {mean(rows, key):.0%} of {len(rows)}")
            over = [np.mean([mean(rows, key) for rows in pooled]) for key in KEYS]
            line.append("{:.0%} -> {:.0%} / {:.0%} / {:.0%}".format(*over))
            print(f"| {family} | {n} | " + " | ".join(line) + " |")
        print()
    every = [row for rows in rows_of.values() for row in rows]
    print("Cells whose 99% binomial interval lies below 80%: " + ("; ".join(low) or "none") + ".\n")
    print("Other cells in which fewer than 80% were held: " + ("; ".join(thin) or "none") + ".\n")
    print("| truths | recipes | loss, the law alone | loss | gain | single sets |\n|---|--:|--:|--:|--:|--:|")

    def line(name, rows):
        if rows:
            print(f"| {name} | {len(rows)} | " + " | ".join(f"{mean(rows, key):.0%}" for key in KEYS) + " |")

    for kind in KINDS:
        for zero in (False, True):
            rows = [row for key, found in rows_of.items() if key[0] == kind for row in found if row["zero"] == zero]
            line(f"{kind}, {'some share 0' if zero else 'all shares positive'}", rows)
    for truth in ("capacity", "quadratic"):
        line(f"{truth}, a form that no family has", [row for row in every if row["truth"] == truth])
    line("all", every)
    print("\n## Is the probability of a gain true?\n\n| said | recipes | mean said | truly better |\n|---|--:|--:|--:|")
    edges = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 1.01)
    for a, b in pairwise(edges):
        rows = [v for v in every if a <= v["probability"] < b]
        if rows:
            print(f"| {a:.2f} to {min(b, 1):.2f} | {len(rows)} | {mean(rows, 'probability'):.2f} "
                  f"| {mean(rows, 'better'):.2f} |")  # fmt: skip
    if refused:
        print(f"\n{len(refused)} recipes were refused by a law (too few runs for its parameters) and are not counted.")


def read_kept(path):
    """Finished worlds: a list of (job, scores)."""
    lines = path.read_text().splitlines() if path is not None and path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]  # the last line of a killed run may be torn
    return [((truth, n, seed, tuple(laws)), scores) for (truth, n, seed, laws), scores in
            ((one["job"], one["scores"]) for one in found)]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of two laws")
    parser.add_argument("--worlds", type=int, default=200, help="rounds; a cell of a parametric law has as many worlds")
    parser.add_argument("--families", nargs="+", default=FAMILIES)
    parser.add_argument("--seed", type=int, default=1000, help="first seed; choices were made on seeds below 1000")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no world after so long")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kept", type=Path, help="file of finished worlds, read and added to")
    options = parser.parse_args()
    warnings.simplefilter("ignore", MixlawWarning)
    began = time.perf_counter()
    families, rounds = (("m4", "log_linear"), 1) if options.quick else (options.families, options.worlds)
    slow = [i * 3 // 10 != (i - 1) * 3 // 10 for i in range(rounds)]  # three of ten
    jobs = [job for i in range(rounds) for job in jobs_of(i, options.seed, families, slow[i])]
    done = [one for one in read_kept(options.kept) if one[0] in set(jobs)]
    left = [job for job in jobs if job not in {one[0] for one in done}]
    before = len(done)
    if options.kept is not None:
        options.kept.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(options.workers) as pool:
        running = set()
        while (left and time.perf_counter() - began < 60 * options.minutes) or running:
            while left and len(running) < options.workers and time.perf_counter() - began < 60 * options.minutes:
                running.add(pool.submit(world, left.pop(0)))
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for job, scores in (one.result() for one in finished):
                done.append((job, scores))
                if options.kept is not None:
                    with options.kept.open("a") as out:
                        out.write(json.dumps({"job": job, "scores": scores}) + "\n")
    report(done)
    print(f"\n{len(done)} worlds of {len(jobs)}, {len(done) - before} of them in the last "
          f"{time.perf_counter() - began:.0f} s on {options.workers} processes")  # fmt: skip


if __name__ == "__main__":
    main()

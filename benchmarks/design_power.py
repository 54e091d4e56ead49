"""Power: regret predicted from pilots of 32 runs against the regret that studies then have.

    python benchmarks/design_power.py [--quick] [--pilots 2] [--studies 96] [--worlds 48]

Two truths. surrogate: the mean of a law fitted on all of RegMix's 768 runs, with its noise, which everybody is told
(replicates are taken to have measured it) and which the targets of a run share as much as its residuals correlate.
table: the 768 measured losses, looked up; a run repeats exactly, so everybody is told noise=0. Pilots and designs are
random ones of the published mixtures; a study chooses among 192 published mixtures and its own runs. Predicted and
realised studies share sampler, law, rule of choice and decisions; worlds come from power_analysis' own default law. As
power_analysis does, realised studies leave out the draws of hyperparameters below 48 runs, which cost ten times the
fit. Per objective: the mean over pilots of the predicted regret, the mean over studies of the realised one, their
ratio with its standard error, and in how many pilots the 80% interval of the prediction holds the realised mean.

Last: studies realised in worlds drawn from the law on all 768 runs, which are as rough as the data allow (the surrogate
is their mean), and how much the regret differs between them: no pilot can predict one world's better than that.
"""

import argparse
import sys
import time
import warnings

import numpy as np

from design import fit, objectives_of, predicted, read, space
from mixlaw import MixlawWarning, Mixture, Observations, Schedule
from mixlaw.design import SAMPLERS, Polytope, power_analysis
from mixlaw.design.adaptive.recommendation import choose_among
from mixlaw.laws import GaussianProcess

from _spread import NONE, standard_error

COUNTS = (16, 32, 64)
PILOT = 32


def study_law():
    return GaussianProcess(members=("bc/log",), iterations=10)


def realised(X, exact, noise, domains, names, w, decisions, studies):
    """(studies, counts) regret of studies on the truth: ``exact`` (n, T) losses at the published mixtures X; ``noise``
    (T, T) is a root of the covariance of a run's noise."""
    value = exact @ w
    floor = value[decisions].min()
    out = np.empty((studies, len(COUNTS)))
    for s in range(studies):
        rng = np.random.default_rng(70_000 + s)
        rows = rng.choice(len(X), max(COUNTS), replace=False)
        runs = exact[rows] + rng.standard_normal((len(rows), noise.shape[1])) @ noise.T
        for c, n in enumerate(COUNTS):
            law = study_law()
            law.set_params(draws=False)
            law.fit(dict(zip(domains, X[rows[:n]].T)), dict(zip(names, runs[:n].T)))
            options = np.concatenate([decisions, rows[:n]])
            known = float(np.linalg.norm(w @ noise))
            picked = choose_among(law, X[rows[:n]], runs[:n], w, X[options], rng, known, 16).index
            out[s, c] = max(value[options[picked]] - floor, 0.0)
    return out


def compare(part, X, exact, noise, domains, targets, objectives, corpus, budget, decisions, options):
    """The table of one truth: ``exact`` (n, T) losses and a root ``noise`` (T, T) of a run's covariance."""
    mixtures = [Mixture.from_array(domains, x) for x in X]
    print(f"\n## {part}: predicted from {options.pilots} pilots of {PILOT} runs, {options.worlds} simulated "
          f"truths each; "
          f"{options.studies} studies realised\n")  # fmt: skip
    print(
        "| objective | runs | predicted regret, nats | realised regret, nats (se) | ratio (se) | 80% intervals "
        "that contain the realised mean |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    every, held = [], []
    for name, w in objectives.items():
        used = np.flatnonzero(w)
        names, weights = [targets[t] for t in used], w[used]
        part_noise = noise[used]
        sds = np.linalg.norm(part_noise, axis=1)
        real = realised(X, exact[:, used], part_noise, domains, names, weights, decisions, options.studies)
        points = []
        for pilot in range(options.pilots):
            rng = np.random.default_rng(90_000 + pilot)
            rows = rng.choice(len(X), PILOT, replace=False)
            losses = exact[rows][:, used] + rng.standard_normal((PILOT, noise.shape[1])) @ part_noise.T
            records = Observations.from_records(
                [{"run": f"p{r}", "schedule": mixtures[r]} for r in rows],
                [{"run": f"p{r}", "target": t, "value": float(v)} for r, row in zip(rows, losses)
                 for t, v in zip(names, row)],
            )  # fmt: skip
            found = power_analysis(
                corpus, budget, COUNTS, pilot=records, fit=study_law(),
                objective=dict(zip(names, map(float, weights))), noise=dict(zip(names, map(float, sds))),
                sampler="published", decisions=[mixtures[d] for d in decisions], worlds=options.worlds,
                seed=1000 * pilot,
            )  # fmt: skip
            points.append(found.points)
        for c, n in enumerate(COUNTS):
            guess, mean = np.array([p[c].regret for p in points]), real[:, c].mean()
            ratio, error = _ratio(guess, real[:, c])
            holds = [p[c].low <= mean <= p[c].high for p in points]
            held.append(holds)
            spread = standard_error(real[:, c])
            print(f"| {name} | {n} | {guess.mean():.4f} | {mean:.4f} ({spread}) "
                  f"| {ratio:.2f} ({_two(error)}) | {sum(holds)} of {options.pilots} |", flush=True)  # fmt: skip
            every.append((n, guess.mean(), mean, ratio, error))
        print(f"  {part}, {name}: {time.process_time():.0f} s", file=sys.stderr, flush=True)
    print(
        "\n| all objectives | mean predicted regret, nats | mean realised regret, nats | ratio of the means (se "
        "over objectives) |"
    )
    print("|--:|--:|--:|--:|")
    for n in COUNTS:
        guess, real = (np.array([e[i] for e in every if e[0] == n]) for i in (1, 2))
        draws = np.random.default_rng(0).integers(len(guess), size=(2000, len(guess)))
        error = (guess[draws].mean(axis=1) / np.maximum(real[draws].mean(axis=1), 1e-9)).std()
        print(f"| {n} runs | {guess.mean():.4f} | {real.mean():.4f} | {guess.mean() / real.mean():.2f} ({error:.2f}) |")
    near = sum(abs(e[3] - 1) <= 0.3 for e in every)
    could = sum(abs(e[3] - 1) <= 0.3 + (e[4] or 0.0) for e in every)
    print(f"\nWithin 30%: {near} of {len(every)} objectives and counts; {could} within 30% and one standard error. The "
          f"80% intervals contain the realised mean in {np.mean(held):.0%} of {np.size(held)} "
          f"predictions.")  # fmt: skip


def limit(X, Y, domains, targets, objectives, decisions, worlds, studies=16):
    """Regret in worlds drawn from the law on all runs, and how much it differs between them."""
    means, spreads = [], []
    for name, w in objectives.items():
        used = np.flatnonzero(w)
        names = [targets[t] for t in used]
        law = fit(X, Y[:, used], domains, names)
        regrets = np.array([
            realised(X, world, _root(law), domains, names, w[used], decisions, studies)
            for world in law.sample(X, worlds, np.random.default_rng(0))
        ])  # fmt: skip
        each, within = regrets.mean(axis=1), regrets.var(axis=1, ddof=1).mean(axis=0) / studies
        means.append(each.mean(axis=0))
        spreads.append(np.sqrt(np.maximum(each.var(axis=0, ddof=1) - within, 0)) / np.maximum(each.mean(axis=0), 1e-9))
        print(f"  worlds, {name}: {time.process_time():.0f} s", file=sys.stderr, flush=True)
    print(f"\n## Studies in {worlds} truths drawn from the law on all 768 runs, {studies} in each\n")
    print(
        "| runs | mean regret of all objectives, nats | relative standard deviation between truths: median | "
        "quartiles |"
    )
    print("|--:|--:|--:|--:|")
    for n, mean, spread in zip(COUNTS, np.mean(means, axis=0), np.array(spreads).T):
        low, middle, high = np.quantile(spread, [0.25, 0.5, 0.75])
        print(f"| {n} | {mean:.4f} | {middle:.2f} | {low:.2f} to {high:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 objectives, 4 worlds, 8 studies")
    parser.add_argument("--pilots", type=int, default=2)
    parser.add_argument("--studies", type=int, default=None)
    parser.add_argument("--worlds", type=int, default=None)
    options = parser.parse_args()
    options.studies = options.studies or (8 if options.quick else 96)
    options.worlds = options.worlds or (4 if options.quick else 48)
    warnings.simplefilter("ignore", MixlawWarning)
    X, Y, domains, targets = read()
    corpus, budget = space(X, domains)
    decisions = np.flatnonzero(Polytope.of(corpus, budget).contains(X))[::4]
    published = [Schedule.constant(Mixture.from_array(domains, x)) for x in X]

    def some(corpus, budget, num, observations=None, seed=0):
        """Random ones of the published mixtures, as a sampler."""
        return [published[r] for r in np.random.default_rng(seed).choice(len(X), num, replace=False)]

    SAMPLERS.register("published", some)
    objectives = objectives_of(targets, ["pile_cc", "github"] if options.quick else targets)
    law = fit(X, Y, domains, targets)
    for part, exact, noise in (
        ("surrogate", predicted(law, X), _root(law)),
        ("table", Y, np.zeros((len(targets), len(targets)))),
    ):
        compare(part, X, exact, noise, domains, targets, objectives, corpus, budget, decisions, options)
    limit(X, Y, domains, targets, objectives, decisions, 4 if options.quick else 8)
    print(f"\n{time.process_time():.0f} s of processor time")


def _root(law):
    """(T, T) root of the covariance of a run's noise."""
    return law.seed_noise()[:, None] * np.linalg.cholesky(law.residual_correlation())


def _two(error):
    return NONE if error is None else f"{error:.2f}"


def _ratio(guess, real):
    """Ratio of the means and its standard error, from the spread over pilots and over studies (None of one each)."""
    if real.mean() <= 0:
        return float("inf"), None
    if len(guess) < 2 or len(real) < 2:
        return guess.mean() / real.mean(), None
    a = guess.std(ddof=1) / len(guess) ** 0.5 / max(guess.mean(), 1e-12)
    b = real.std(ddof=1) / len(real) ** 0.5 / real.mean()
    return guess.mean() / real.mean(), guess.mean() / real.mean() * float(np.hypot(a, b))


if __name__ == "__main__":
    main()

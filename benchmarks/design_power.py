"""Power: regret predicted from pilots of 32 runs against the regret that studies then have.

    python benchmarks/design_power.py [--quick] [--pilots 3] [--studies 16] [--worlds 8]

The truth is a law fitted on all of RegMix's 768 runs, with its noise (replicates are taken to have measured that);
pilots and designs are random ones of the published mixtures; a study chooses among 192 published mixtures and its own
runs. Predicted and realised studies share sampler, law, rule of choice and decisions. Per objective: the mean over
pilots of the predicted regret, the mean over studies of the realised one, their ratio with its standard error, and in
how many pilots the 80% interval of the prediction holds the realised mean.
"""

import argparse
import sys
import time
import warnings

import numpy as np

from design import fit, objectives_of, predicted, read, space
from mixlaw import MixlawWarning, Mixture, Observations, Schedule
from mixlaw.design import SAMPLERS, Polytope, power_analysis
from mixlaw.design.recommendation import choose_among
from mixlaw.laws import GaussianProcess

COUNTS = (16, 32, 64)
PILOT = 32


def realised(X, exact, noise, domains, names, w, decisions, studies):
    """(studies, counts) regret of studies on the truth: ``exact`` (n, T) losses at the published mixtures X."""
    value = exact @ w
    floor = value[decisions].min()
    out = np.empty((studies, len(COUNTS)))
    for s in range(studies):
        rng = np.random.default_rng(70_000 + s)
        rows = rng.choice(len(X), max(COUNTS), replace=False)
        runs = exact[rows] + noise * rng.standard_normal((len(rows), len(noise)))
        for c, n in enumerate(COUNTS):
            law = fit(X[rows[:n]], runs[:n], domains, names)
            options = np.concatenate([decisions, rows[:n]])
            known = float(np.sqrt((w**2 * noise**2).sum()))
            picked = choose_among(law, X[rows[:n]], runs[:n], w, X[options], rng, known, 16).index
            out[s, c] = max(value[options[picked]] - floor, 0.0)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 objectives, 2 pilots")
    parser.add_argument("--pilots", type=int, default=None)
    parser.add_argument("--studies", type=int, default=16)
    parser.add_argument("--worlds", type=int, default=8)
    options = parser.parse_args()
    pilots = options.pilots or (2 if options.quick else 3)
    warnings.simplefilter("ignore", MixlawWarning)
    X, Y, domains, targets = read()
    corpus, budget = space(X, domains)
    truth = fit(X, Y, domains, targets)
    exact, seed_noise = predicted(truth, X), truth.seed_noise()
    decisions = np.flatnonzero(Polytope.of(corpus, budget).contains(X))[::4]
    mixtures = [Mixture.from_array(domains, x) for x in X]

    def published(corpus, budget, num, observations=None, seed=0):
        """Random ones of the published mixtures, as a sampler."""
        rows = np.random.default_rng(seed).choice(len(mixtures), num, replace=False)
        return [Schedule.constant(mixtures[r]) for r in rows]

    SAMPLERS.register("published", published)
    objectives = objectives_of(targets, ["pile_cc", "github"] if options.quick else targets)
    print(f"### Power: predicted from {pilots} pilots of {PILOT} runs, {options.worlds} worlds each; "
          f"{options.studies} studies realised\n")  # fmt: skip
    print("| objective | runs | predicted | realised (se) | ratio (se) | intervals that hold it |")
    print("|---|--:|--:|--:|--:|--:|")
    every, held = [], []
    for name, w in objectives.items():
        used = np.flatnonzero(w)
        names, part = [targets[t] for t in used], w[used]
        truth_regret = realised(X, exact[:, used], seed_noise[used], domains, names, part, decisions, options.studies)
        points = []
        for pilot in range(pilots):
            rng = np.random.default_rng(90_000 + pilot)
            rows = rng.choice(len(X), PILOT, replace=False)
            losses = exact[rows][:, used] + seed_noise[used] * rng.standard_normal((PILOT, len(used)))
            records = Observations.from_records(
                [{"run": f"p{r}", "schedule": mixtures[r]} for r in rows],
                [{"run": f"p{r}", "target": t, "value": float(v)} for r, row in zip(rows, losses)
                 for t, v in zip(names, row)],
            )  # fmt: skip
            law = GaussianProcess(members=("bc/log",), iterations=10)
            found = power_analysis(
                corpus, budget, COUNTS, pilot=records, law=law, fit=law, objective=dict(zip(names, map(float, part))),
                noise=dict(zip(names, map(float, seed_noise[used]))), sampler="published",
                decisions=[mixtures[d] for d in decisions], worlds=options.worlds, seed=1000 * pilot,
            )  # fmt: skip
            points.append(found.points)
        for c, n in enumerate(COUNTS):
            guess, real = np.array([p[c].regret for p in points]), truth_regret[:, c]
            ratio, error = _ratio(guess, real)
            holds = [p[c].low <= real.mean() <= p[c].high for p in points]
            held.append(holds)
            spread = real.std(ddof=1) / len(real) ** 0.5
            print(f"| {name} | {n} | {guess.mean():.4f} | {real.mean():.4f} ({spread:.4f}) "
                  f"| {ratio:.2f} ({error:.2f}) | {sum(holds)} of {pilots} |", flush=True)  # fmt: skip
            every.append((n, guess.mean(), real.mean()))
        print(f"  {name}: {time.process_time():.0f} s", file=sys.stderr, flush=True)
    print("\n| all objectives | mean predicted | mean realised | ratio of the means (se over objectives) |")
    print("|--:|--:|--:|--:|")
    for n in COUNTS:
        guess = np.array([g for m, g, _ in every if m == n])
        real = np.array([r for m, _, r in every if m == n])
        draws = np.random.default_rng(0).integers(len(guess), size=(2000, len(guess)))
        error = (guess[draws].mean(axis=1) / real[draws].mean(axis=1)).std()
        print(f"| {n} runs | {guess.mean():.4f} | {real.mean():.4f} | {guess.mean() / real.mean():.2f} ({error:.2f}) |")
    near = sum(abs(g / max(r, 1e-9) - 1) <= 0.3 for _, g, r in every)
    print(f"\nWithin 30%: {near} of {len(every)} objectives and counts. The 80% intervals hold the realised mean in "
          f"{np.mean(held):.0%} of {np.size(held)} predictions.")  # fmt: skip
    print(f"\n{time.process_time():.0f} s of processor time")


def _ratio(guess, real):
    """Ratio of the means and its standard error, from the spread over pilots and over studies."""
    if real.mean() <= 0:
        return float("inf"), float("nan")
    a = guess.std(ddof=1) / len(guess) ** 0.5 / max(guess.mean(), 1e-12)
    b = real.std(ddof=1) / len(real) ** 0.5 / real.mean()
    return guess.mean() / real.mean(), guess.mean() / real.mean() * float(np.hypot(a, b))


if __name__ == "__main__":
    main()

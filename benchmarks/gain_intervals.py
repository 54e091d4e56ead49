"""How often the 90% interval of a difference between two mixtures holds what was measured: RegMix, held-out mixtures.

    python benchmarks/gain_intervals.py [--quick] [--pairs 100]

Laws fitted on n random ones of the 768 runs; predicted and measured difference of the objective between a random one
of the others and another of them or, half of the time, one that was fitted. Refits alone (bootstrap) against refits
stretched to what held-out runs show, which is what ``optimize`` prints. The record has no replicates, so seed noise
counts as error on both sides.
"""

import argparse
import time
import warnings
from statistics import NormalDist

import numpy as np

from design import read
from mixlaw import Budget, Corpus, MixlawWarning
from mixlaw.laws import LAWS
from mixlaw.optimize.around.difference import difference_error, objective_half_width
from mixlaw.optimize.around.gain import gain
from mixlaw.optimize.around.resample import bootstrap_laws
from mixlaw.optimize.pose.rows import Rows
from mixlaw.optimize.pose.view import LawView

OBJECTIVES = ("mean of 13", "pile_cc", "github", "hackernews", "wikipedia_en")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="30 pairs, one law")
    parser.add_argument("--pairs", type=int, default=None)
    options = parser.parse_args()
    pairs = options.pairs or (30 if options.quick else 100)
    warnings.simplefilter("ignore", MixlawWarning)
    X, Y, domains, targets = read()
    shuffled = np.random.default_rng(0).permutation(len(X))
    test = shuffled[512:]
    corpus = Corpus.declared({d: int(1e6 * s) + 1 for d, s in zip(domains, X.mean(axis=0))}, source="mean mixture")
    print(f"## 90% intervals of a difference, {pairs} pairs of held-out mixtures\n")
    print(
        "| law | runs | objective | root mean square error, nats | refits: half width in nats, share of pairs "
        "inside | as printed: half width in nats, share of pairs inside |"
    )
    print("|---|--:|---|--:|--:|--:|")
    z = NormalDist().inv_cdf(0.95)
    everything = []
    for name in ("effective_tokens",) if options.quick else ("effective_tokens", "m4", "gp"):
        for n in (24, 64, 512) if name != "gp" else (24, 64):
            rows = shuffled[:n]
            data = dict(zip(domains, X[rows].T)), dict(zip(targets, Y[rows].T))
            law = LAWS[name]().fit(*data)
            view = LawView(law, corpus, Budget(tokens=10**6))
            seen = Rows.of(view, data)
            drawn = [law.predict(X) for law in bootstrap_laws(seen, 40 if name != "gp" else 12)]
            guess = view.predict(X)
            for objective in OBJECTIVES:
                weights = np.full(len(targets), 1 / len(targets))
                if objective in targets:
                    weights = np.eye(len(targets))[targets.index(objective)]
                rng = np.random.default_rng(0)
                chosen = [rng.choice(test, 2, replace=False) for _ in range(pairs)]
                for pair in chosen[::2]:  # against a run
                    pair[1] = rng.choice(rows)
                found = []
                for a, b in chosen:
                    predicted, real = (guess[a] - guess[b]) @ weights, (Y[a] - Y[b]) @ weights
                    draws = np.array([(w[a] - w[b]) @ weights for w in drawn])
                    low, high = view.interval(X[a][None], 0.9)
                    half = objective_half_width(weights, (high - low)[0] / 2, seen)
                    error = difference_error(seen, weights, lambda y, w=weights: y @ w, X[a], X[b], half, 0.9)
                    alone = z * draws.std(ddof=1)
                    full = gain(float(predicted), draws, 0.0, 0.0, 0.9, False, error).prediction
                    found.append((real - predicted, alone, full.high - full.low, full.low <= real <= full.high))
                off, alone, wide, holds = (np.array(column) for column in zip(*found))
                covers = float((np.abs(off) <= alone).mean()), float(holds.mean())
                everything.append(covers)
                rms = np.sqrt((off**2).mean())
                print(f"| {name} | {n} | {objective} | {rms:.4f} | {alone.mean():.4f}, {covers[0]:.0%} "
                      f"| {wide.mean() / 2:.4f}, {covers[1]:.0%} |", flush=True)  # fmt: skip
    both = np.mean(everything, axis=0)
    print(f"\nMean coverage: refits alone {both[0]:.0%}, as printed {both[1]:.0%}.")
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    main()

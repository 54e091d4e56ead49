"""Worlds and noise of an objective over several targets against its held-out error, on RegMix's training runs.

    python benchmarks/design_noise.py [--quick]

Targets of one run err together. The expected error of an objective is the spread of its draws and its noise; beside
it, what it would be if each target erred on its own.
"""

import argparse
import time
import warnings

import numpy as np

from design import fit, predicted, read
from mixlaw import MixlawWarning


def together(X, Y, domains, targets, subsets=4, num=64):
    """Held-out error over the error expected, of the mean of all losses and of single ones, from ``num`` runs."""
    w = np.full(len(targets), 1 / len(targets))
    rows = []
    for subset in range(subsets):
        some = np.random.default_rng(subset).choice(512, num, replace=False)
        rest = np.setdiff1d(np.arange(512), some)
        law = fit(X[some], Y[some], domains, targets)
        error = predicted(law, X[rest]) - Y[rest]
        draws = law.sample(X[rest], 64, np.random.default_rng(0))
        each = draws.var(axis=0).mean(axis=0) + law.seed_noise() ** 2
        whole = (draws @ w).var(axis=0).mean() + law.residual_sd_of(w) ** 2
        found = ((error @ w) ** 2).mean()
        pairs = np.corrcoef(error.T)[np.triu_indices(len(targets), 1)]
        single = np.sqrt((error**2).mean(axis=0) / each).mean()
        rows.append([np.sqrt(found / whole), np.sqrt(found / (w**2 @ each)), single, pairs.mean()])
    rows = np.array(rows)
    print(f"## {num} runs, {subsets} subsets of the training rows: held-out error over the error expected\n")
    print("| what | mean | least | most |")
    print("|---|--:|--:|--:|")
    names = (
        "mean of 13",
        "mean of 13, if the errors of the losses were independent",
        "single losses",
        "correlation of held-out residuals",
    )
    for name, column in zip(names, rows.T):
        print(f"| {name} | {column.mean():.2f} | {column.min():.2f} | {column.max():.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 subsets")
    options = parser.parse_args()
    warnings.simplefilter("ignore", MixlawWarning)
    together(*read(), subsets=2 if options.quick else 4)
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    main()

"""Designs where a law fitted on all of RegMix's 768 runs is the truth, with its noise.

    python benchmarks/design_surrogate.py [--quick] [--part replay|samplers] [--replicates 6]

replay     as benchmarks/design.py, but runs are the truth's values plus noise, nobody is told how large that is, and
           the chosen mixture may lie anywhere in the bounded simplex; regret is without noise.
samplers   which sampler's 32 runs give the best law and the least regret for the mean of the 13 losses.
"""

import argparse
import time
import warnings

import numpy as np

from design import fit, objectives_of, predicted, read, replay, show, space
from mixlaw import MixlawWarning
from mixlaw.design import Polytope, propose
from mixlaw.design.recommendation import answer
from mixlaw.design.worlds import minimise


class Truth:
    """The surrogate: a law on all 768 runs, its noise, and its best mixture for every objective."""

    def __init__(self, X, Y, domains, targets, polytope, objectives, quick):
        self.law = fit(X, Y, domains, targets, 10)
        self.noise = self.law.seed_noise()
        rng = np.random.default_rng(0)
        self.best = {}
        for name, w in objectives.items():
            order = np.argsort(predicted(self.law, X) @ w)[:20]
            finds = [minimise(self.law, polytope, w, rng, X[order]) for _ in range(1 if quick else 2)]
            self.best[name] = min(f[1] for f in finds)

    def runs(self, X, rng):
        return predicted(self.law, X) + self.noise * rng.standard_normal((len(X), len(self.noise)))

    def regret(self, name, w, x):
        value = float((predicted(self.law, x[None]) @ w)[0])
        self.best[name] = min(self.best[name], value)  # nobody knows the exact optimum: take the best ever seen
        return value


def samplers(X, Y, domains, targets, corpus, budget, polytope, truth, objectives, replicates):
    """Law and choice from 32 runs of each sampler, on the surrogate truth; tested on the published mixtures."""
    from scipy.stats import spearmanr

    name, w = next(iter(objectives.items()))
    exact = predicted(truth.law, X)
    print(f"\n### 32 runs by each sampler, surrogate truth, {replicates} replicates\n")
    print(f"| sampler | RMSE on the published mixtures, nats | Spearman | regret, {name} | seconds to propose |")
    print("|---|--:|--:|--:|--:|")
    for sampler in (
        "dirichlet",
        "double_diminishing",
        "lattice",
        "maximin",
        "low_discrepancy",
        "d_optimal",
        "i_optimal",
    ):
        errors, ranks, losses, seconds = [], [], [], []
        for replicate in range(replicates):
            rng = np.random.default_rng(replicate)
            began = time.perf_counter()
            design = propose(corpus, budget, 32, sampler=sampler, seed=replicate)
            seconds.append(time.perf_counter() - began)
            D = np.array([s.mixture.array(corpus.names) for s in design])
            Y32 = truth.runs(D, rng)
            law = fit(D, Y32, domains, targets)
            guess = predicted(law, X)
            errors.append(np.sqrt(np.mean((guess - exact) ** 2)))
            ranks.append(np.mean([spearmanr(guess[:, t], exact[:, t])[0] for t in range(len(targets))]))
            losses.append(truth.regret(name, w, answer(law, D, Y32, w, polytope, rng)[0]))
        regret = np.mean(losses) - truth.best[name]
        print(
            f"| {sampler} | {np.mean(errors):.4f} | {np.mean(ranks):.4f} | {regret:.4f} | {np.mean(seconds):.2f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 replicates, one loss and the mean")
    parser.add_argument("--part", choices=["replay", "samplers"], default=None)
    parser.add_argument("--replicates", type=int, default=None)
    options = parser.parse_args()
    replicates = options.replicates or (2 if options.quick else 6)
    warnings.simplefilter("ignore", MixlawWarning)
    X, Y, domains, targets = read()
    corpus, budget = space(X, domains)
    polytope = Polytope.of(corpus, budget)
    singles = ["pile_cc"] if options.quick else ["pile_cc", "dm_mathematics"]
    objectives = objectives_of(targets, singles)
    truth = Truth(X, Y, domains, targets, polytope, objectives, options.quick)
    if options.part != "samplers":
        scores = replay("surrogate", X, Y, domains, targets, polytope, objectives, replicates, truth)
        show("surrogate", scores, objectives, replicates)
    if options.part != "replay":
        samplers(X, Y, domains, targets, corpus, budget, polytope, truth, objectives, replicates)
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    main()

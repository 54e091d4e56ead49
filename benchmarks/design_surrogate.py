"""Designs where a law fitted on all of RegMix's 768 runs is the truth, without and with its noise.

    python benchmarks/design_surrogate.py [--quick] [--part exact|noisy|samplers] [--replicates 20]

exact      as benchmarks/design.py, but runs are the truth's values, and the chosen mixture may lie anywhere in the
           bounded simplex. Runs repeat exactly, and every strategy is told so (``noise=0``). Batches are of 16.
noisy      the same with the law's noise on every run, correlated between the losses of a run as the law's held-out
           residuals are; nobody is told how large it is, and regret is without it.
samplers   which sampler's 32 noisy runs give the best law and the least regret for the mean of the 13 losses.
"""

import argparse
import time
import warnings

import numpy as np

from design import fit, objectives_of, predicted, read, replay, show, space
from mixlaw import MixlawWarning
from mixlaw.design import Polytope, propose
from mixlaw.design.adaptive.recommendation import answer
from mixlaw.design.adaptive.surrogate import minimise
from mixlaw.laws import GaussianProcess

LAW = {"members": GaussianProcess().members, "iterations": None}
"""What :func:`mixlaw.design.plan` and :func:`mixlaw.design.recommend` fit where no law is given."""


class Truth:
    """The surrogate: a law on all 768 runs, the noise of a run, and the least value of every objective.

    ``told`` is the noise that strategies know of: 0 while runs repeat exactly, None (find out) while they do not.
    """

    def __init__(self, X, Y, domains, targets, polytope, objectives, quick):
        self.law = fit(X, Y, domains, targets, 10)
        factor = np.linalg.cholesky(self.law.residual_correlation())
        self.noise = self.law.seed_noise()[:, None] * factor  # errors of a run's targets: normal @ noise.T
        self.told = None
        rng = np.random.default_rng(0)
        self.best = {}
        for name, w in objectives.items():
            order = np.argsort(predicted(self.law, X) @ w)[:20]
            finds = [minimise(self.law, polytope, w, rng, X[order]) for _ in range(1 if quick else 2)]
            self.best[name] = min(f[1] for f in finds)

    def runs(self, X, rng):
        exact = predicted(self.law, X)
        return exact if self.told == 0.0 else exact + rng.standard_normal(exact.shape) @ self.noise.T

    def regret(self, name, w, x):
        value = float((predicted(self.law, x[None]) @ w)[0])
        self.best[name] = min(self.best[name], value)  # nobody knows the exact optimum: take the best ever seen
        return value


def samplers(X, Y, domains, targets, corpus, budget, polytope, truth, objectives, replicates):
    """Law and choice from 32 runs of each sampler, on the surrogate truth; tested on the published mixtures."""
    from scipy.stats import spearmanr

    name, w = next(iter(objectives.items()))
    exact = predicted(truth.law, X)
    print(f"\n## 32 runs by each sampler, surrogate truth, {replicates} replicates\n")
    print(
        f"| sampler | RMSE on the published mixtures, nats | mean Spearman | regret of the {name}, nats | "
        f"seconds to propose |"
    )
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
            law = fit(D, Y32, domains, targets, **LAW)
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
    parser.add_argument("--part", choices=["exact", "noisy", "samplers"], default=None)
    parser.add_argument("--replicates", type=int, default=None)
    options = parser.parse_args()
    replicates = options.replicates or (2 if options.quick else 20)
    warnings.simplefilter("ignore", MixlawWarning)
    X, Y, domains, targets = read()
    corpus, budget = space(X, domains)
    polytope = Polytope.of(corpus, budget)
    objectives = objectives_of(targets, ["pile_cc"] if options.quick else ["pile_cc", "dm_mathematics"])
    truth = Truth(X, Y, domains, targets, polytope, objectives, options.quick)
    for part, told in (("exact", 0.0), ("noisy", None)):
        if options.part in (None, part):
            truth.told = told
            name = "surrogate without noise" if part == "exact" else "surrogate with noise"
            scores = replay(name, X, Y, domains, targets, polytope, objectives, replicates, truth, 16, **LAW)
            show(name, scores, objectives, replicates)
    if options.part in (None, "samplers"):
        truth.told = None
        samplers(X, Y, domains, targets, corpus, budget, polytope, truth, objectives, min(replicates, 6))
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    main()

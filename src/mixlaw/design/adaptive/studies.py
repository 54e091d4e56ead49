"""Whole studies simulated: a design, noisy runs, a law, a choice, and what the choice loses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import rounded
from mixlaw.data.seams import SAMPLERS
from mixlaw.design.adaptive.recommendation import choose_among
from mixlaw.design.adaptive.surrogate import fresh, minimise, mutate
from mixlaw.design.adaptive.truth import Truth
from mixlaw.design.polytope import Array, Polytope
from mixlaw.design.samplers.maximin import spread
from mixlaw.errors import ConfigError, FitError
from mixlaw.laws.core.base import Law

__all__ = ["STUDIES", "Size", "decide_among", "simulate"]

STUDIES = 2
"""Studies simulated under each draw of the losses: two tell what differs between draws from what differs between
designs."""


@dataclass(frozen=True)
class Size:
    """A size of proxy one could run.

    Args:
        name: for the table.
        cost: of one run, in any unit (FLOPs, hours).
        noise: its seed noise relative to the pilot's.
        mismatch: how far its objective ranks mixtures differently from the target's: standard deviation over
            mixtures of (its loss - target's loss) after removing the mean, in the objective's unit. 0 = the size
            at which the mixture will be used.

    Raises:
        ConfigError: a cost that is not positive, or a negative noise or mismatch.

    Example:
        >>> Size("small", cost=0.2, noise=1.5, mismatch=0.01).cost
        0.2
    """

    name: str = "proxy"
    cost: float = 1.0
    noise: float = 1.0
    mismatch: float = 0.0

    def __post_init__(self) -> None:
        if not self.cost > 0 or self.noise < 0 or self.mismatch < 0:
            raise ConfigError(f"A size needs cost > 0, noise >= 0 and mismatch >= 0, got {self}.")


def decide_among(truth: Truth, polytope: Polytope, rng: np.random.Generator) -> Array:
    """Mixtures (N, K) that simulated studies choose among: spread over the feasible set, most of them near the optimum
    of the law.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 9_000_000}, source="example")
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> X, Y = np.column_stack([web, 1 - web]), 4 - np.log(web + 0.1) - np.log(1.1 - web)  # best at half and half
        >>> law = LogLinear().fit(dict(zip(corpus.names, X.T)), {"all": Y})
        >>> polytope = Polytope.of(corpus, Budget(tokens="1M"))
        >>> truth = Truth.from_law(corpus, law, objective=None, noise=0.01)
        >>> pool = decide_among(truth, polytope, np.random.default_rng(0))
        >>> pool.shape[1], pool[0].round(2).tolist()  # the law's own optimum comes first
        (2, [0.5, 0.5])
    """
    best, _ = minimise(truth.law, polytope, truth.all_weights, rng, polytope.centre[None])
    near = [mutate(best[None], polytope, rng, 70, step) for step in (0.6, 0.3, 0.1)]
    return np.vstack([best, *near, spread(polytope, 200, rng)])


def simulate(
    truth: Truth,
    polytope: Polytope,
    corpus: Corpus,
    budget: Budget,
    counts: Sequence[int],
    size: Size,
    sampler: str,
    fit: Law | None,
    draws: int,
    seed: int,
    pool: Array | None = None,
) -> tuple[Array, float]:
    """(draws, studies per draw, counts) regret of choosing after so many runs, and that of the natural mixture.

    Args:
        size, sampler: the proxy that is run, and the name of the design.
        counts: numbers of runs, rising; every study buys the last and its choice is read after each.
        fit: unfitted law of the studies; None: the Gaussian process.
        draws: how often the losses are drawn.
        pool: (N, K) mixtures to choose among; None: :func:`decide_among`.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 9_000_000}, source="example")
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> X, Y = np.column_stack([web, 1 - web]), 4 - np.log(web + 0.1) - np.log(1.1 - web)  # best at half and half
        >>> law = LogLinear().fit(dict(zip(corpus.names, X.T)), {"all": Y})
        >>> polytope = Polytope.of(corpus, Budget(tokens="1M"))
        >>> truth = Truth.from_law(corpus, law, objective=None, noise=0.01)
        >>> what = (truth, polytope, corpus, Budget(tokens="1M"), (4, 8), Size(), "dirichlet", LogLinear())
        >>> regret, natural = simulate(*what, draws=2, seed=0)
        >>> regret.shape == (2, STUDIES, 2), bool((regret >= 0).all())
        (True, True)
    """
    rng = np.random.default_rng(seed)
    if pool is None:
        pool = decide_among(truth, polytope, rng)
    natural = polytope.project(corpus.natural.array())
    out, lost = np.empty((draws, STUDIES, len(counts))), []
    factor = np.linalg.cholesky(truth.correlation)
    for s in range(draws):
        designs = []
        for r in range(STUDIES):
            found = SAMPLERS[sampler](corpus, budget, counts[-1], None, seed + 1 + STUDIES * s + r)
            designs.append(rng.permutation(np.array([x.mixture.array(corpus.names) for x in found])))
        everything, where = _distinct(np.vstack([natural, pool, *designs]))
        losses = truth.draw(everything, rng)[where]
        floor = float((losses[1 : len(pool) + 1] @ truth.weights).min())
        lost.append(float(losses[0] @ truth.weights) - floor)
        for r, design in enumerate(designs):
            start = 1 + len(pool) + r * counts[-1]
            values = losses[start : start + counts[-1]]
            runs = values + size.noise * truth.noise * (rng.standard_normal(values.shape) @ factor.T)
            if size.mismatch > 0:
                runs = runs + _mismatch(design, size.mismatch, rng)[:, None] / max(truth.weights.sum(), 1e-12)
            known = None if size.mismatch > 0 else truth.noise_of(size.noise)
            bought = _Study(corpus.names, design, runs, values, known)
            for c, n in enumerate(counts):
                value = _chosen(truth, bought, n, pool, losses[1 : len(pool) + 1], fit, seed, rng)
                out[s, r, c] = lost[-1] if value is None else max(value - floor, 0.0)
    return out, float(np.mean(lost))


@dataclass(frozen=True)
class _Study:
    """Runs of one study: mixtures (n, K), measured and true losses (n, T), and the objective's seed noise if known."""

    domains: tuple[str, ...]
    design: Array
    runs: Array
    values: Array
    noise: float | None


def _chosen(
    truth: Truth,
    study: _Study,
    n: int,
    pool: Array,
    losses: Array,
    fit: Law | None,
    seed: int,
    rng: np.random.Generator,
) -> float | None:
    """True objective of the mixture that a study chooses after ``n`` runs; None where its law cannot be fitted on so
    few: one keeps the natural mixture."""
    law = fresh(fit, seed)
    law.set_params(**law.quick_options)
    design, runs = study.design[:n], study.runs[:n]
    try:
        law.fit(dict(zip(study.domains, design.T)), dict(zip(truth.targets, runs.T)))
    except FitError:
        return None
    options = np.vstack([pool, design])
    picked = choose_among(law, design, runs, truth.weights, options, rng, study.noise, 16).index
    chosen = losses[picked] if picked < len(pool) else study.values[picked - len(pool)]
    return float(chosen @ truth.weights)


def _distinct(X: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """Distinct rows of X, and where each row is among them."""
    _, first, where = np.unique(rounded(X), axis=0, return_index=True, return_inverse=True)
    return X[first], where.ravel()


def _mismatch(X: Array, sd: float, rng: np.random.Generator) -> Array:
    """A smooth random function of the mixture with that standard deviation over X: how a proxy's ranking differs."""
    features = np.log(X + 0.01)
    value = (features - features.mean(axis=0)) @ rng.standard_normal(X.shape[1])
    scale = float(value.std())
    return np.asarray(sd * value / scale if scale > 0 else np.zeros(len(X)))

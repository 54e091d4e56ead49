"""A law as the surrogate of a design: an unfitted copy, the objective's weights, noise between replicates, and where it
predicts the least.

Sequential designs and power analysis need more than an error bar per mixture: they need to know which mixture *wins*
under each draw of the losses that the observations allow. Those draws are the law's own,
:meth:`mixlaw.laws.Law.sample`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.base import clone

from mixlaw.data.mixture import rounded
from mixlaw.design.polytope import Array, Polytope
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.replicates import SeedNoise, pooled_noise

__all__ = ["fresh", "minimise", "mutate", "objective_weights", "replicate_sd", "seed_noise"]


def objective_weights(objective: Mapping[str, float] | None, targets: list[str]) -> dict[str, float]:
    """``{target: weight}`` as given, or equal weights that sum to one.

    Raises:
        ConfigError: an unknown target, or weights that are negative or all zero.

    Example:
        >>> objective_weights(None, ["qa", "bugs"])
        {'qa': 0.5, 'bugs': 0.5}
    """
    if objective is None:
        return {t: 1.0 / len(targets) for t in targets}
    for name, weight in objective.items():
        if name not in targets:
            raise ConfigError(f"The objective names {name!r}, which was not measured.{did_you_mean(name, targets)}")
        if not np.isfinite(weight) or weight < 0:
            raise ConfigError(f"The objective's weight of {name!r} must be non-negative, got {weight!r}.")
    chosen = {t: float(w) for t, w in objective.items() if w > 0}
    if not chosen:
        raise ConfigError(f"The objective {dict(objective)} gives no target any weight.")
    return chosen


def seed_noise(X: Array, value: Array) -> SeedNoise:
    """Noise of ``value`` (n,) between rows of X (n, K) with the same mixture, to the precision of designs.

    Example:
        >>> found = seed_noise(np.array([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]]), np.array([2.0, 2.5, 3.0]))
        >>> round(found.sd, 6), found.dof
        (0.353553, 1)
    """
    _, group = np.unique(rounded(X), axis=0, return_inverse=True)
    return pooled_noise(group.reshape(-1).astype(np.int64), value)


def replicate_sd(X: Array, value: Array) -> float | None:
    """Standard deviation of ``value`` (n,), in its unit, between rows of X (n, K) with the same mixture, pooled over
    mixtures. None where fewer than two degrees of freedom are left.

    Example:
        >>> round(replicate_sd(np.full((3, 2), 0.5), np.array([2.0, 2.1, 2.2])), 6)
        0.1
    """
    found = seed_noise(X, value)
    return found.sd if found.dof >= 2 else None


def fresh(law: Law | None, seed: int) -> Law:
    """An unfitted copy of ``law``; without one, the Gaussian process with both members: with one, choices from noisy
    runs lost nearly twice as much (docs/design.md).

    Args:
        seed: of the Gaussian process.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> law = LogLinear().fit([[0.2, 0.8], [0.4, 0.6], [0.6, 0.4], [0.9, 0.1]], [3.0, 2.5, 2.4, 2.6])
        >>> fresh(law, seed=0).fitted, type(fresh(None, seed=0)).__name__
        (False, 'GaussianProcess')
    """
    if law is None:
        from mixlaw.laws.mixture.gaussian_process import GaussianProcess

        return GaussianProcess(seed=seed)
    copy: Law = clone(law)
    return copy


def minimise(
    law: Law,
    polytope: Polytope,
    weights: Array,
    rng: np.random.Generator,
    starts: Array,
    rounds: int = 10,
    descents: int = 6,
    steps: int = 40,
) -> tuple[Array, float]:
    """(mixture (K,), objective) where the law predicts the least weighted loss: a shrinking random search, then
    projected gradient descents from the best points found.

    Good enough to aim a design; the answer itself comes from :func:`mixlaw.optimize.optimize`.

    Args:
        weights: (T,) of the objective.
        starts: (s, K) mixtures to begin with.
        rounds, descents, steps: of the random search; descents made; steps of each.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> X, Y = np.column_stack([web, 1 - web]), 4 - np.log(web + 0.1) - np.log(1.1 - web)  # best at half and half
        >>> law = LogLinear().fit(X, Y)
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 9_000_000}, source="example")
        >>> polytope = Polytope.of(corpus, Budget(tokens="1M"))
        >>> r, value = minimise(law, polytope, np.ones(1), np.random.default_rng(0), polytope.centre[None])
        >>> r.round(2).tolist()
        [0.5, 0.5]
    """

    def value(X: Array) -> Array:
        return np.asarray(np.asarray(law.predict(X)).reshape(len(X), -1) @ weights)

    pool = np.vstack([starts, polytope.sample(100, rng, np.full(len(polytope.domains), 0.5))])
    values = value(pool)
    keep = 16
    order = np.argsort(values, kind="stable")[:keep]
    pool, values = pool[order], values[order]
    for step in np.geomspace(0.7, 0.05, rounds):
        trial = mutate(pool, polytope, rng, 6, float(step))
        pool, values = np.vstack([pool, trial]), np.concatenate([values, value(trial)])
        order = np.argsort(values, kind="stable")[:keep]
        pool, values = pool[order], values[order]
    X, best = pool[:descents], values[:descents]
    rate, slope = np.full(len(X), 0.0), np.zeros_like(X)
    fresh = np.ones(len(X), dtype=bool)
    for _ in range(steps):
        if fresh.any():
            gradient = np.asarray(law.gradient(X[fresh])).reshape(int(fresh.sum()), -1, X.shape[1])
            new = np.einsum("ntk,t->nk", gradient, weights)
            slope[fresh] = new - new.mean(axis=1, keepdims=True)
        size = np.abs(slope).max(axis=1)
        rate = np.where(rate > 0, rate, 0.05 / np.maximum(size, 1e-12))
        trial = polytope.project(X - rate[:, None] * slope)
        found = value(trial)
        fresh = found < best
        X = np.where(fresh[:, None], trial, X)
        best = np.where(fresh, found, best)
        rate = np.where(fresh, 1.6 * rate, 0.4 * rate)
        if (rate * size < 1e-5).all():
            break
    winner = int(np.argmin(best))
    return X[winner], float(best[winner])


def mutate(X: Array, polytope: Polytope, rng: np.random.Generator, each: int, step: float) -> Array:
    """``each`` feasible neighbours of every row of X: a share of the weight moves towards or away from a domain or
    between two domains.

    Args:
        X: (n, K).
        step: largest share of the tokens that moves.

    Returns:
        (n * each, K).

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 9_000_000}, source="example")
        >>> polytope = Polytope.of(corpus, Budget(tokens="1M"))
        >>> near = mutate(np.array([[0.5, 0.5]]), polytope, np.random.default_rng(0), each=20, step=0.1)
        >>> near.shape, bool(polytope.contains(near).all())
        ((20, 2), True)
    """
    n, k = X.shape
    rows = np.repeat(np.arange(n), each)
    base = X[rows]
    to = rng.integers(k, size=len(rows))
    size = step * rng.random(len(rows))
    away = rng.random(len(rows)) < 0.35
    moved = base.copy()
    line = np.arange(len(rows))
    # towards: everything shrinks to make room; away: the weight goes to one other domain in use
    toward = ~away
    moved[toward] *= 1 - size[toward, None]
    moved[line[toward], to[toward]] += size[toward]
    source = np.argmax(base * rng.random(base.shape), axis=1)
    amount = base[line, source] * np.where(rng.random(len(rows)) < 0.3, 1.0, size)
    moved[line[away], source[away]] -= amount[away]
    moved[line[away], to[away]] += amount[away]
    bad = ~polytope.contains(moved)
    if bad.any():
        moved[bad] = polytope.pull(moved[bad]) if step > 0.2 else polytope.project(moved[bad])
    return moved

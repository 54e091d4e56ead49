"""Evenly spread mixtures: every part of the feasible set gets its share of runs.

Sources: Fang and Wang 1994 (uniform designs on the simplex from quasi-random points); Chen, Welling and Smola 2010
(arXiv 1203.3472, kernel herding), used where the budget leaves too little of the simplex.
"""

from __future__ import annotations

import numpy as np

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Schedule
from mixlaw.data.observations import Observations
from mixlaw.design.polytope import Array, apart_rows, begin, finish

__all__ = ["herd", "propose", "simplex_points"]


def simplex_points(cube: Array) -> Array:
    """Points of the unit cube (n, K - 1) as mixtures (n, K): uniform points become uniform mixtures.

    Weight j is the share ``1 - (1 - u) ** (1 / (K - j))`` of what weights 1..j-1 left (stick breaking).

    Example:
        >>> simplex_points(np.array([[0.75, 0.5]])).round(3).tolist()
        [[0.5, 0.25, 0.25]]
    """
    n, k = cube.shape[0], cube.shape[1] + 1
    left, out = np.ones(n), np.empty((n, k))
    for j in range(k - 1):
        out[:, j] = left * -np.expm1(np.log1p(-np.minimum(cube[:, j], 1 - 1e-16)) / (k - 1 - j))
        left = np.maximum(left - out[:, j], 0.0)
    out[:, -1] = left
    return out


def herd(pool: Array, num: int, avoid: Array | None = None) -> np.ndarray:
    """Indices of ``num`` rows of ``pool`` that together resemble all of it (energy distance, greedily).

    Args:
        pool: (N, K) a large random sample of what is to be covered.
        avoid: (n, K) points that are there already and count as covered.

    Example:
        >>> pool = np.random.default_rng(0).dirichlet([1, 1, 1], 200)
        >>> chosen = herd(pool, 20)
        >>> bool(np.abs(pool[chosen].mean(axis=0) - pool.mean(axis=0)).max() < 0.05)
        True
    """
    from scipy.spatial.distance import cdist

    attract = cdist(pool, pool).mean(axis=1)
    given = avoid if avoid is not None else np.empty((0, pool.shape[1]))
    repel = cdist(pool, given).sum(axis=1) if len(given) else np.zeros(len(pool))
    chosen: list[int] = []
    free = np.ones(len(pool), dtype=bool)
    for step in range(min(num, len(pool))):
        count = len(given) + step
        score = np.where(free, attract - repel / max(count + 1, 1), np.inf)
        best = int(np.argmin(score))
        chosen.append(best)
        free[best] = False
        repel += np.sqrt(((pool - pool[best]) ** 2).sum(axis=1))
    return np.array(chosen, dtype=np.int64)


def propose(
    corpus: Corpus, budget: Budget, num: int, observations: Observations | None = None, seed: int = 0
) -> list[Schedule]:
    """Scrambled Sobol points mapped to the simplex; under a tight budget, herded points of the feasible set.

    Use it to cover the feasible set evenly for a flexible law. With many domains most uniform mixtures are bland
    (every weight near 1/K), so for 10 domains or more :mod:`~mixlaw.design.samplers.dirichlet` tells laws more.

    Raises:
        ConfigError: num <= 0.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: observations over other domains.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> corpus = Corpus.declared({"web": 9_000, "wiki": 1_000}, source="example")
        >>> mixtures = [s.mixture for s in propose(corpus, Budget(tokens=8_000, max_epochs=4), 3, seed=0)]
        >>> len(mixtures), all(m["wiki"] <= 0.5 for m in mixtures)  # 4 epochs of wiki are half of the budget
        (3, True)
    """
    start = begin(corpus, budget, num, observations, seed)
    polytope, k = start.polytope, len(corpus.names)
    if k > 1 and polytope.dimension == k - 1 and not len(start.observed):
        from scipy.stats import qmc

        sobol = qmc.Sobol(k - 1, scramble=True, seed=start.rng)
        kept: list[Array] = []
        power = max(int(np.ceil(np.log2(num))), 3)
        for _ in range(5):  # each further block continues the same sequence
            points = simplex_points(np.asarray(sobol.random(2**power)))
            kept.append(points[polytope.contains(points)])
            pool = np.vstack(kept)
            pool = pool[apart_rows(pool, num)]
            if len(pool) >= num:
                return finish(start, pool)
    pool = polytope.sample(min(max(10 * num, 500), 3000), start.rng)
    pool = pool[apart_rows(pool, num, start.observed)]
    return finish(start, pool[herd(pool, num, start.observed)])

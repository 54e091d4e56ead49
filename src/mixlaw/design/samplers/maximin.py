"""Mixtures that keep their distance from one another and from those observed.

Source: Johnson, Moore and Ylvisaker 1990 (maximin distance designs); the greedy start is Gonzalez 1985.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Schedule
from mixlaw.data.observations import Observations
from mixlaw.design.polytope import Array, begin, finish, unique_rows
from mixlaw.errors import ConfigError

__all__ = ["farthest", "propose"]


def farthest(
    pool: Array, num: int, avoid: Array | None = None, near: npt.ArrayLike | None = None
) -> npt.NDArray[np.int64]:
    """Indices of ``num`` rows of ``pool``: each next one farthest from ``avoid`` and from those before it.

    Greedy choice comes within a factor of two of the largest possible smallest distance.

    Args:
        pool: (N, K) candidates.
        avoid: (n, K) points to keep away from.
        near: (K,) where to begin if ``avoid`` is empty; default the row farthest from the pool's mean.

    Example:
        >>> farthest(np.array([[0.0], [0.4], [1.0]]), 2).tolist()  # the two ends
        [2, 0]
    """
    if avoid is not None and len(avoid):
        gap = np.full(len(pool), np.inf)
        for row in avoid:
            gap = np.minimum(gap, ((pool - row) ** 2).sum(axis=1))
        chosen: list[int] = []
    else:
        centre = pool.mean(axis=0) if near is None else np.asarray(near, dtype=float)
        first_gap = ((pool - centre) ** 2).sum(axis=1)
        first = int(np.argmax(first_gap) if near is None else np.argmin(first_gap))
        chosen, gap = [first], ((pool - pool[first]) ** 2).sum(axis=1)
        gap[first] = -1.0
    while len(chosen) < min(num, len(pool)):
        best = int(np.argmax(gap))
        chosen.append(best)
        gap = np.minimum(gap, ((pool - pool[best]) ** 2).sum(axis=1))
        gap[chosen] = -1.0
    return np.array(chosen[:num], dtype=np.int64)


def propose(
    corpus: Corpus,
    budget: Budget,
    num: int,
    observations: Observations | None = None,
    seed: int = 0,
    *,
    metric: str = "hellinger",
    candidates: int = 4000,
) -> list[Schedule]:
    """Mixtures whose smallest distance to each other and to the observed ones is as large as we can make it.

    Greedy farthest points from a pool spread over the feasible set (uniform points, near-pure points and points on
    its boundary), then exchanges of the closest pair's members while that widens the smallest distance.

    Args:
        metric: ``"hellinger"`` (distance of square roots: 0 against 0.01 counts as much as 0.25 against 0.36) or
            ``"weights"`` (distance of the weights themselves).
        candidates: size of the pool.

    Raises:
        ConfigError: num <= 0 or an unknown metric.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: observations over other domains.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> corpus = Corpus.declared({"web": 9_000, "wiki": 1_000}, source="example")
        >>> mixtures = [s.mixture for s in propose(corpus, Budget(tokens=8_000, max_epochs=4), 3, seed=0)]
        >>> len(mixtures), all(m["wiki"] <= 0.5 for m in mixtures)  # 4 epochs of wiki are half of the budget
        (3, True)
    """
    if metric not in ("hellinger", "weights"):
        raise ConfigError(f"Unknown metric {metric!r}. Use 'hellinger' or 'weights'.")
    start = begin(corpus, budget, num, observations, seed)
    pool = spread(start.polytope, max(candidates, 4 * num), start.rng)
    pool = pool[unique_rows(pool, start.observed)]
    if len(pool) <= num:
        return finish(start, pool)
    view = np.sqrt if metric == "hellinger" else np.asarray
    points, seen = view(pool), view(start.observed)
    chosen = farthest(points, num, seen, near=view(corpus.natural.array()))
    chosen = _exchange(points, chosen, seen, rounds=10 * num)
    return finish(start, pool[chosen])


def spread(polytope, num: int, rng: np.random.Generator) -> Array:  # type: ignore[no-untyped-def]
    """About ``num`` feasible mixtures that cover the inside, the edges and the corners."""
    k = len(polytope.domains)
    inner = polytope.sample(num // 2, rng)
    sparse = polytope.sample(num // 4, rng, np.full(k, 0.2))
    corners = polytope.pull(np.vstack([np.eye(k), (np.eye(k)[rng.integers(k, size=num // 4)] + inner[: num // 4]) / 2]))
    return np.vstack([inner, sparse, corners])


def _exchange(points: Array, chosen: npt.NDArray[np.int64], seen: Array, rounds: int) -> npt.NDArray[np.int64]:
    chosen = chosen.copy()
    for _ in range(rounds):
        design = np.vstack([points[chosen], seen])
        distance = ((design[:, None] - design[None, : len(chosen)]) ** 2).sum(axis=2)
        distance[np.arange(len(chosen)), np.arange(len(chosen))] = np.inf
        smallest = distance.min(axis=0)  # (num,)
        worst = int(np.argmin(smallest))
        others = np.delete(design, worst, axis=0)
        gap = np.full(len(points), np.inf)
        for row in others:
            gap = np.minimum(gap, ((points - row) ** 2).sum(axis=1))
        best = int(np.argmax(gap))
        if gap[best] <= smallest[worst] * (1 + 1e-9):
            break
        chosen[worst] = best
    return chosen

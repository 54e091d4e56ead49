"""Weights in halving steps below each domain's maximum, so that exp(t r) is evenly spread.

Source: Data Mixing Laws, Ye et al. 2024 (arXiv 2403.16952), appendix on sampling and ``pipeline/find_opt.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Schedule
from mixlaw.data.observations import Observations
from mixlaw.design.grid import Grid
from mixlaw.design.polytope import Array, begin, finish, unique_rows
from mixlaw.errors import ConfigError, FitError, MixlawError

__all__ = ["Resample", "levels", "propose", "resample"]


def levels(maximum: float, grid: float) -> list[float]:
    """Weights a domain may take: the largest multiple of ``grid`` within ``maximum``, its halvings down to ``grid``, 0.

    Example:
        >>> levels(0.5857, 1 / 16)
        [0.5625, 0.28125, 0.140625, 0.0703125, 0.0]
    """
    value, result = math.floor(maximum / grid + 1e-9) * grid, []
    while value >= grid * (1 - 1e-9):
        result.append(value)
        value /= 2
    return [*result, 0.0]


def propose(
    corpus: Corpus,
    budget: Budget,
    num: int,
    observations: Observations | None = None,
    seed: int = 0,
    *,
    grid: float = 1 / 16,
    zero_weight: float = 0.5,
) -> list[Schedule]:
    """Double-diminishing mixtures.

    Domains are ordered by their unique tokens, largest first. Each but the last takes one of :func:`levels` of its
    cap; the last takes what is left if that is within its cap. Of all such mixtures ``num`` are drawn without
    repetition, each zero in a mixture multiplying its chance by ``zero_weight``, because mixtures with zeros are
    by far the most numerous. Floors are given first and the procedure divides the rest.

    The paper draws 40, trains them, and keeps the 20 on which a law fits all 40 best: :func:`resample`.

    Args:
        grid: g, smallest non-zero weight before halving stops; a power of 1/2. It is halved, and that is the only
            change, until there are ``num`` such mixtures; with two or three domains there may never be, and what is
            short is then drawn uniformly from the feasible set.

    Raises:
        ConfigError: num <= 0, ``grid`` not a power of 1/2, or ``zero_weight`` not in (0, 1].
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: observations over other domains.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> corpus = Corpus.declared({"web": 9_000, "wiki": 1_000}, source="example")
        >>> mixtures = [s.mixture for s in propose(corpus, Budget(tokens=8_000, max_epochs=4), 3, seed=0)]
        >>> len(mixtures), all(m["wiki"] <= 0.5 for m in mixtures)  # 4 epochs of wiki are half of the budget
        (3, True)
    """
    power = round(math.log2(1 / grid)) if 0 < grid <= 0.5 else 0
    if power < 1 or abs(grid - 2.0**-power) > 1e-12:
        raise ConfigError(f"grid must be a power of 1/2 such as 1/16, got {grid!r}.")
    if not 0 < zero_weight <= 1:
        raise ConfigError(f"zero_weight must be in (0, 1], got {zero_weight!r}.")
    start = begin(corpus, budget, num, observations, seed)
    polytope = start.polytope
    floor, free = polytope.low, 1.0 - float(polytope.low.sum())
    pool = np.empty((0, len(floor)))
    if free > 1e-9 and polytope.dimension > 0:
        caps = np.minimum((polytope.high - floor) / free, 1.0)
        order = np.argsort(-np.array([d.unique_tokens for d in corpus.domains]), kind="stable")
        for finer in range(power, max(power, 8) + 1):
            found = _draw(caps[order], 2.0**-finer, num, zero_weight, start.rng)
            mixed = np.empty_like(found)
            mixed[:, order] = found
            pool = floor + free * mixed
            pool = pool[polytope.contains(pool)]
            pool = pool[unique_rows(pool, start.observed)]
            if len(pool) >= num:
                break
    return finish(start, pool)


def _draw(caps: Array, grid: float, num: int, zero_weight: float, rng: np.random.Generator) -> Array:
    """Double-diminishing mixtures (at most 40 num, distinct, in random order) of domains already in order."""
    unit = grid * grid  # halving g * whole number at most log2(1/g) times keeps whole units
    total = round(1 / unit)
    table = [[round(v / unit) for v in levels(cap, grid)] for cap in caps[:-1]]
    weights = [[zero_weight if v == 0 else 1.0 for v in row] for row in table]
    choices = Grid(table, total, weights, rest=math.floor(caps[-1] / unit + 1e-9))
    if choices.count < 1 or not choices.ways[0, total] > 0:
        return np.empty((0, len(caps)))
    if choices.count <= 4000:
        rows = choices.all()
        # without replacement with these chances: exponential races
        zeros = (rows == 0).sum(axis=1)
        race = rng.standard_exponential(len(rows)) / zero_weight**zeros
        rows = rows[np.argsort(race, kind="stable")]
    else:
        rows = choices.draw(40 * num, rng)
        rows = rows[np.sort(np.unique(rows, axis=0, return_index=True)[1])]
    return np.asarray(rows * unit, dtype=np.float64)


@dataclass(frozen=True)
class Resample:
    """The subset of runs to fit on, and how well that fit predicts all of them.

    ``runs``: (chosen,) indices of the chosen rows; ``error``: mean absolute error, in the unit of the losses, of the
    law fitted on them over all rows;
    ``error_all``: the same of a law fitted on all rows; ``tried``: fitted subsets.

    Example:
        >>> found = Resample(runs=np.array([0, 3]), error=0.02, error_all=0.03, tried=10)
        >>> found.error < found.error_all
        True
    """

    runs: npt.NDArray[np.int64]
    error: float
    error_all: float
    tried: int


def resample(law: Any, X: Any, y: Any, size: int = 20, tries: int = 100, seed: int = 0) -> Resample:
    """The paper's second step: of the trained runs keep ``size`` on which the law predicts all runs best.

    Random subsets are fitted with copies of ``law``. Those left out serve as validation, so this chooses a subset
    less spoilt by outliers; it is no estimate of error on new mixtures.

    Args:
        law: unfitted law; it is copied, not changed.
        X, y: arrays (n, K) and (n,) or (n, T) of all trained runs.
        size: runs to keep, fewer than n.

    Raises:
        ConfigError: size not in 1..n-1 or tries < 1.
        FitError: the law could not be fitted on any subset.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> R = np.random.default_rng(0).dirichlet([1, 1, 1], 20)
        >>> found = resample(LogLinear(ridge=0.01), R, 2 + np.exp(-R[:, 0]), size=12, tries=3)
        >>> len(found.runs), found.tried
        (12, 3)
    """
    from sklearn.base import clone

    from mixlaw.laws.core.table import as_matrix, as_targets

    matrix, targets = as_matrix(X)[0], as_targets(y)[0]
    if not 1 <= size < len(matrix) or tries < 1:
        raise ConfigError(f"resample needs 1 <= size < {len(matrix)} runs and tries >= 1, got {size=} and {tries=}.")
    rng = np.random.default_rng(seed)

    def error(rows: npt.NDArray[np.int64]) -> float:
        fitted = clone(law).fit(matrix[rows], targets[rows])
        return float(np.abs(fitted.predict(matrix) - targets).mean())

    best, best_error, done = None, math.inf, 0
    last: MixlawError | None = None
    for _ in range(tries):
        rows = np.sort(rng.choice(len(matrix), size, replace=False))
        try:
            value = error(rows)
        except FitError as failure:  # some subsets cannot identify the law; another may
            last = failure
            continue
        done += 1
        if value < best_error:
            best, best_error = rows, value
    if best is None:
        raise FitError(
            f"{type(law).__name__} could not be fitted on any of {tries} subsets of {size} runs; the last one "
            f"failed with: {last}. Keep more runs."
        )
    return Resample(best, best_error, error(np.arange(len(matrix))), done)

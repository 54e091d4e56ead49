"""Simplex lattice: mixtures in equal steps.

Source: Scheffe 1958, "Experiments with mixtures" (the {K, m} simplex lattice), with lower bounds as
pseudo-components and upper bounds as limits on the levels.
"""

from __future__ import annotations

import numpy as np

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Schedule
from mixlaw.data.observations import Observations
from mixlaw.design.grid import Grid
from mixlaw.design.polytope import begin, finish, unique_rows
from mixlaw.design.samplers.maximin import farthest
from mixlaw.errors import ConfigError

__all__ = ["propose"]

_LIST = 4000
"""Up to so many lattice points are listed; beyond, so many are drawn."""


def propose(
    corpus: Corpus,
    budget: Budget,
    num: int,
    observations: Observations | None = None,
    seed: int = 0,
    *,
    steps: int | None = None,
) -> list[Schedule]:
    """Points of the simplex lattice with weights in steps of ``1 / steps`` above the floors.

    With ``steps=None`` the coarsest lattice with at least four times ``num`` points is taken, and ``num`` of them are
    chosen to lie far apart (each next one farthest from those before, first the one nearest the natural mixture).

    Args:
        steps: m of the {K, m} lattice.

    Raises:
        ConfigError: num <= 0, steps < 1, or a given ``steps`` has fewer than ``num`` feasible points.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: observations over other domains.

    Example:
        >>> corpus = Corpus.declared({"a": 1_000, "b": 1_000, "c": 1_000}, source="example")
        >>> sorted(s.mixture.weights for s in propose(corpus, Budget(tokens=1_000), 6, steps=2))[0]
        (0.0, 0.0, 1.0)
    """
    if steps is not None and steps < 1:
        raise ConfigError(f"A lattice needs at least one step, got steps={steps!r}.")
    start = begin(corpus, budget, num, observations, seed)
    polytope = start.polytope
    floor = polytope.low
    free = 1.0 - float(floor.sum())
    pool = np.empty((0, len(floor)))
    if free > 1e-9 and polytope.dimension > 0:
        for m in (steps,) if steps is not None else _resolutions():
            top = np.minimum(np.floor((polytope.high - floor) / free * m + 1e-9), m).astype(int)
            grid = Grid([range(t + 1) for t in top], m)
            if grid.count < 1 or (steps is None and grid.count < 4 * num):
                continue
            units = grid.all() if grid.count <= _LIST else grid.draw(_LIST, start.rng)
            pool = floor + free * units / m
            pool = pool[polytope.contains(pool)]
            pool = pool[unique_rows(pool, start.observed)]
            if len(pool) >= num:
                break
    if steps is not None and len(pool) < num:
        raise ConfigError(
            f"The lattice with steps={steps} has {len(pool)} feasible points that are not observed yet, fewer than "
            f"the {num} asked for. Use more steps, or steps=None to have the lattice chosen."
        )
    if len(pool) > num:
        pool = pool[farthest(pool, num, start.observed, near=corpus.natural.array())]
    return finish(start, pool)


def _resolutions() -> list[int]:
    fine = list(range(1, 33))
    while fine[-1] < 512:
        fine.append(fine[-1] + fine[-1] // 4)
    return fine

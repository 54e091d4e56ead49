"""How far each weight can move before the objective is worse by a given share: flat directions made visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mixlaw.laws.base import Atoms
from mixlaw.optimize.convex import solve
from mixlaw.optimize.objective import Function, Problem

__all__ = ["near_optimal", "sampled_near_optimal"]

Array = npt.NDArray[np.float64]


def near_optimal(problem: Problem, atoms: Atoms, optimum: float, allowance: float, domains: Sequence[int]) -> Array:
    """Exact range (len(domains), 2) of each weight over ``{r feasible: objective <= optimum + allowance}``.

    One convex program per end, all in one batch.
    """
    problem = _with_room(problem)
    n = problem.num_weights + problem.num_extra
    objective, *others = problem.functions
    limit = replace(objective, const=objective.const - optimum - allowance)
    blank = Function(np.zeros(len(atoms.const)), linear=np.zeros(n))
    program = replace(problem, functions=(blank, limit, *others)).program(atoms)
    directions = np.zeros((2 * len(domains), 1, n))
    for i, j in enumerate(domains):
        directions[2 * i, 0, j], directions[2 * i + 1, 0, j] = 1.0, -1.0
    rest = np.broadcast_to(program.linear[:, 1:], (len(directions), len(problem.functions), n))
    linear = np.concatenate([directions, rest], axis=1)
    # the set is thin: start on the central path of the original problem, strictly inside it
    inside = solve(problem.program(atoms), tol=0.5 * allowance, centre=0.2 * allowance)
    found = solve(replace(program, linear=linear, start=inside.z[0]), tol=1e-7)
    ends = found.z[np.arange(2 * len(domains)), np.repeat(list(domains), 2)]
    return np.sort(ends.reshape(-1, 2), axis=1)


def _with_room(problem: Problem) -> Problem:
    """The same set of mixtures without limits that floors alone use up (a budget of 0, a group capped at its
    floors): what they hold is fixed instead, since no point lies strictly inside of such a limit."""
    c = problem.constraints
    if not len(c.upper):
        return problem
    room = c.upper - c.matrix @ c.low
    spent = (c.matrix >= 0).all(axis=1) & (room <= 1e-12 * np.maximum(c.matrix.max(axis=1), 1e-300))
    held = (c.matrix[spent] > 0).any(axis=0)
    kept = replace(
        c,
        high=np.where(held, c.low, c.high),
        matrix=c.matrix[~spent],
        upper=c.upper[~spent],
        labels=tuple(label for label, gone in zip(c.labels, spent) if not gone),
    )
    return replace(problem, constraints=kept)


def sampled_near_optimal(R: Array, values: Array, best: Array, optimum: float, allowance: float) -> Array:
    """Inner estimate (K, 2) from mixtures R (n, K) with objective ``values`` that a search has seen."""
    good = np.vstack([best[None], R[values <= optimum + allowance]])
    return np.column_stack([good.min(axis=0), good.max(axis=0)])

"""How far each weight can move before the objective is worse by a given share: flat directions made visible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mixlaw.errors import ConvergenceError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.optimize.pose.objective import Function, Problem
from mixlaw.optimize.solve.convex import Program, solve
from mixlaw.optimize.solve.general import complete, has_slopes, local_search, random_feasible

__all__ = ["near_optimal", "searched_near_optimal", "worse_by"]
Losses = Callable[[Array], Array]


def worse_by(problem: Problem, kind: str, loss: float, near: float) -> tuple[Problem, float]:
    """The problem and the allowance (in its objective's units) that stand for *worse by a share ``near`` of the loss*.

    The loss is the weighted mean of the objective's sets at the optimum, whatever is minimised: a mean and the largest
    excess may rise by ``near * loss`` nats, and so may a mean with a KL term (the KL divergence itself is no loss, and
    a limit on it stays). Where the fewest tokens are to move for a gain, the gain may be missed by as much and a share
    ``near`` of the tokens more may move: their least number is no loss either, and alone it leaves nothing to choose.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> from mixlaw.optimize.pose.objective import mean
        >>> problem, allowance = worse_by(mean(limits, np.ones(1)), "mean", loss=2.5, near=0.001)
        >>> allowance  # nats
        0.0025
    """
    nats = near * max(abs(loss), 1e-12)
    if kind != "least_change":
        return problem, nats
    moved, wanted, *guards = problem.functions
    return replace(problem, functions=(moved, replace(wanted, const=wanted.const - nats), *guards)), near


def near_optimal(problem: Problem, atoms: Atoms, optimum: float, allowance: float, domains: Sequence[int]) -> Array:
    """Exact range (len(domains), 2) of each weight over ``{r feasible: objective <= optimum + allowance}``.

    One convex program per end, all in one batch.

    Raises:
        ConvergenceError: an end is not known to 1e-4; names none, since the ranges belong together.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> from mixlaw.laws.core.atoms import Atoms
        >>> from mixlaw.optimize.pose.objective import mean
        >>> target, zeros = np.zeros(2, int), np.zeros(2)
        >>> atoms = Atoms(np.zeros(1), target, np.full(2, "exp"), np.ones(2), -np.eye(2), zeros, zeros)
        >>> problem = mean(limits, np.ones(1))  # exp(-web) + exp(-code): 1.2131 at half and half
        >>> near_optimal(problem, atoms, optimum=2 * np.exp(-0.5), allowance=0.01, domains=[0]).round(2).tolist()
        [[0.37, 0.63]]
    """
    problem = _with_room(problem)
    n = problem.num_weights + problem.num_extra
    objective, *others = problem.functions
    limit = replace(objective, const=objective.const - optimum - allowance)
    blank = Function(np.zeros(len(atoms.const)), linear=np.zeros(n))
    posed = problem.program(atoms)
    program = _paired_rows_as_equalities(replace(problem, functions=(blank, limit, *others)).program(atoms))
    directions = np.zeros((2 * len(domains), 1, n))
    for i, j in enumerate(domains):
        directions[2 * i, 0, j], directions[2 * i + 1, 0, j] = 1.0, -1.0
    rest = np.broadcast_to(program.linear[:, 1:], (len(directions), len(problem.functions), n))
    linear = np.concatenate([directions, rest], axis=1)
    # the set is thin: start on the central path of the original problem, strictly inside it
    inside = solve(_paired_rows_as_equalities(posed), tol=0.5 * allowance, centre=0.2 * allowance)
    found = solve(replace(program, linear=linear, start=inside.z[0]), tol=1e-7)
    if found.gap.max() > 1e-4:
        raise ConvergenceError(f"one end of a range is known to {found.gap.max():.1e} only.")
    ends = found.z[np.arange(2 * len(domains)), np.repeat(list(domains), 2)]
    return np.sort(ends.reshape(-1, 2), axis=1)


def _paired_rows_as_equalities(program: Program) -> Program:
    """A group's floor that equals its cap leaves no room between two rows: they are one equality instead."""
    matrix, upper = program.matrix[0], program.upper[0]
    size = np.maximum(np.abs(matrix).max(axis=1, initial=0.0), 1e-300)
    gone, equal, right = np.zeros(len(upper), dtype=bool), [*program.equal], [*program.right[0]]
    for i in range(len(upper)):
        for j in range(i + 1, len(upper)):
            opposed = np.abs(matrix[i] + matrix[j]).max() <= 1e-12 * size[i]
            if not gone[i] and not gone[j] and opposed and upper[i] + upper[j] <= 1e-12 * size[i]:
                gone[[i, j]] = True
                if np.linalg.matrix_rank(np.array([*equal, matrix[i]])) > len(equal):
                    equal.append(matrix[i])
                    right.append(upper[i])
    if not gone.any():
        return program
    return replace(
        program,
        matrix=program.matrix[:, ~gone],
        upper=program.upper[:, ~gone],
        equal=np.array(equal),
        right=np.array(right)[None],
    )


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


def searched_near_optimal(
    problem: Problem, predict: Losses, gradient: Losses, r: Array, optimum: float, allowance: float, seed: int = 0
) -> Array:
    """Inner estimate (K, 2) of the same set for laws that cannot be certified: every end was seen to be allowed, wider
    ones may exist.

    Random mixtures, alone and drawn towards the optimum ``r``, come first; laws with gradients then climb along every
    coordinate from the optimum and, where that leads no farther, from the widest mixture seen.

    Args:
        predict, gradient: as in :func:`~mixlaw.optimize.solve.general.search`.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> from mixlaw.optimize.pose.objective import mean
        >>> loss, slope = (lambda R: (R**2).sum(axis=1)[:, None]), (lambda R: 2 * R[:, None])
        >>> best = np.array([0.5, 0.5])  # 0.5, and 0.58 at weights of 0.3 and 0.7
        >>> searched_near_optimal(mean(limits, np.ones(1)), loss, slope, best, 0.5, allowance=0.08).round(2).tolist()
        [[0.3, 0.7], [0.3, 0.7]]
    """
    k, (objective, *others) = problem.num_weights, problem.functions
    limit = replace(objective, const=objective.const - optimum - allowance)
    posed = replace(problem, functions=(Function(np.zeros(len(objective.weights))), limit, *others))
    pool = random_feasible(problem, 2000, seed + 7)
    close = r + np.linspace(0, 1, 12)[1:, None, None] ** 3 * (pool[:180] - r)
    seen = _allowed(posed, predict, np.vstack([r[None], pool, close.reshape(-1, k)]), always=1)
    if not has_slopes(predict, gradient, pool[:16]):
        return np.column_stack([seen.min(axis=0), seen.max(axis=0)])
    low, high, extra = problem.low[:k], problem.high[:k], np.zeros(problem.num_extra)
    largest = np.argsort(-r, kind="stable")[: k if k <= 64 else 16]  # as many as exact ranges are given for
    for j in largest[(high - low)[largest] > 1e-12]:
        for sign in (1.0, -1.0):
            widest = seen[int(np.argmin(sign * seen[:, j]))]
            if abs(widest[j] - (low if sign > 0 else high)[j]) < 1e-6:
                continue  # seen at the bound itself, on the way along another coordinate
            along = np.concatenate([sign * np.eye(k)[j], extra])
            climb = replace(posed, functions=(replace(posed.functions[0], linear=along), *posed.functions[1:]))
            for begin in (r, widest):
                end = local_search(climb, predict, gradient, begin[None], steps=30)
                # an end may miss the limit by the search's tolerance: a tiny step back towards the optimum it holds
                tried = r + np.array([1.0, 0.999, 0.99, 0.9])[:, None] * (end - r)
                seen = np.vstack([seen, _allowed(posed, predict, tried)])
                if (sign * seen[:, j]).min() < sign * widest[j] - 1e-4:
                    break  # farther than any mixture seen before
    return np.column_stack([seen.min(axis=0), seen.max(axis=0)])


def _allowed(problem: Problem, predict: Losses, R: Array, always: int = 0) -> Array:
    """Those of the mixtures R that satisfy all functions and the budget (the first ``always`` in any case)."""
    _, _, violation = complete(problem, R, predict(R))
    c, k = problem.constraints, problem.num_weights
    outside = [problem.low[:k] - R, R - problem.high[:k], (R @ c.matrix.T - c.upper) / np.maximum(1e3, np.abs(c.upper))]
    ok = (violation <= 1e-9) & (np.hstack(outside).max(axis=1) <= 1e-12)
    ok[:always] = True
    return R[ok]

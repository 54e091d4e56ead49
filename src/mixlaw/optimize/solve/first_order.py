"""How far a convex objective can still fall from a mixture, by its slope alone."""

from __future__ import annotations

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.optimize.pose.objective import Problem

__all__ = ["first_order_gap"]


def first_order_gap(problem: Problem, slope: Array, r: Array) -> float:
    """``max_s slope . (r - s)`` over the mixtures s that the limits allow: a convex objective with this slope (K,) at r
    (K,) is at most so far above its least value there. One linear program.

    Args:
        problem: with one function and no further variables.

    Returns:
        The gap in the objective's unit; infinite where the linear program was not solved.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.optimize.pose.objective import mean
        >>> corpus = Corpus.declared({"web": 9_000, "code": 9_000}, source="example")
        >>> problem = mean(Budget(tokens=1_000).check(corpus), np.ones(1))
        >>> r = np.array([0.6, 0.4])  # of r . r, which is 0.52 here and 0.5 at its least
        >>> round(first_order_gap(problem, 2 * r, r), 3)
        0.24

    Source: Frank & Wolfe 1956; as a certificate, Jaggi 2013, Revisiting Frank-Wolfe, section 2.
    """
    from scipy.optimize import linprog

    limits = {} if not len(problem.upper) else {"A_ub": problem.matrix, "b_ub": problem.upper}
    found = linprog(
        slope, **limits, A_eq=problem.equal, b_eq=[1.0], bounds=np.column_stack([problem.low, problem.high]),
        method="highs",
    )  # fmt: skip
    return max(float(slope @ r - found.fun), 0.0) if found.status == 0 else float("inf")

"""How far the weights of an optimum may move at nearly the same objective."""

from __future__ import annotations

import numpy as np

from mixlaw.errors import ConvergenceError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.optimize.pose.objective import Problem
from mixlaw.optimize.pose.problem import losses_and_slopes
from mixlaw.optimize.pose.request import Request
from mixlaw.optimize.solve.convex import Solution
from mixlaw.optimize.solve.general import complete
from mixlaw.optimize.solve.near_optimal import near_optimal, searched_near_optimal, worse_by

__all__ = ["near_table"]

_ALL, _SOME = 64, 16
"""Up to how many domains all ranges are given, and of how many (those of most weight) beyond that."""


def near_table(
    q: Request, problem: Problem, atoms: Atoms | None, solution: Solution | None, r: Array, warnings: list[str]
) -> dict[str, tuple[float, float]]:
    """``{domain: (lowest, highest weight)}`` around ``r`` (K,): exact where a certified ``solution`` is given, else
    found by search. Empty, with a warning, where the exact ranges could not be found.

    Args:
        problem, atoms: what was solved.
        warnings: a sentence is added where the ranges could not be found.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> from mixlaw.optimize.pose.objective import mean
        >>> from mixlaw.optimize.solve.convex import solve
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus)
        >>> problem, atoms = mean(q.constraints, q.W), q.view.atoms()
        >>> found = solve(problem.program(atoms))
        >>> table = near_table(q, problem, atoms, found, found.z[0], warnings=[])
        >>> tuple(round(end, 2) for end in table["web"])
        (0.46, 0.54)
    """
    predict, gradient = losses_and_slopes(q)
    loss = float(predict(r[None])[0] @ q.W)
    posed, allowance = worse_by(problem, q.kind, loss, q.near)
    if solution is not None and atoms is not None:
        chosen = list(range(len(r))) if len(r) <= _ALL else sorted(np.argsort(-r)[:_SOME].tolist())
        try:
            ranges = near_optimal(posed, atoms, _value(problem, atoms, solution), allowance, chosen)
        except ConvergenceError as error:
            warnings.append(f"How far weights may move near the optimum could not be found: {error}")
            return {}
        return {q.domains[j]: (float(min(a, r[j])), float(max(b, r[j]))) for j, (a, b) in zip(chosen, ranges)}
    value = float(complete(problem, r[None], predict(r[None]))[1][0])
    ranges = searched_near_optimal(posed, predict, gradient, r, value, allowance, q.seed)
    warnings.append(
        "How far weights may move near the optimum was found by search, since the law is not convex for this "
        "objective: both ends of each range were reached, and it may be wider."
    )
    return {d: (float(a), float(b)) for d, (a, b) in zip(q.domains, ranges)}


def _value(problem: Problem, atoms: Atoms, solution: Solution) -> float:
    """The problem's objective at a solution (that of a robust problem answers another question)."""
    z = solution.z[:1]
    if z.shape[1] != problem.num_weights + problem.num_extra:
        z = z[:, : problem.num_weights]
    return float(problem.program(atoms).functions(z)[0, 0])

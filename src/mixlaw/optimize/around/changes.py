"""Set by set, what the recipe changes against the reference, and what it costs that no set gets worse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mixlaw.data.prediction import Prediction
from mixlaw.errors import ConvergenceError, InfeasibleBudgetError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.optimize.around.baselines import feasible
from mixlaw.optimize.around.difference import Score
from mixlaw.optimize.pose.objective import Function
from mixlaw.optimize.pose.problem import Posed, pose, solve_bounded
from mixlaw.optimize.pose.request import Request
from mixlaw.optimize.solve.convex import Solution, solve

__all__ = ["WORSE", "changes"]

WORSE = 5e-5
"""Nats by which a set must rise to count as worse: what four printed digits show."""

_MOST = 8
"""Of so many sets, the ones that get worse by most, the cost of a guard is found."""

_STEPS = np.linspace(0.0, 1.0, 101)


def changes(
    q: Request,
    posed: Posed,
    atoms: Atoms | None,
    solution: Solution | None,
    score: Score,
    r: Array,
    predicted: Mapping[str, Prediction],
) -> dict[str, dict[str, Any]]:
    """By set: ``"reference"``, its loss at the reference in nats; and of those that get worse ``"guard_costs"``, by how
    much the objective rises if the set may not be worse than at the reference (None: no mixture under the budget
    keeps it there), with ``"at_most"`` where that is a mixture on the way back to the reference and no optimum.

    Args:
        posed, atoms, solution: the problem as it was solved, the law's atoms, and the certified answer if there is one.
        score: losses to objective.
        r: the recipe's weights (K,).
        predicted: the recipe's predictions by set.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize import optimize
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> losses = {"exam": 3 - np.log(web + 0.1), "bugs": 3 - np.log(1.1 - web)}
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, losses)
        >>> corpus = Corpus.declared({"web": 5_000, "code": 5_000}, source="example")
        >>> found = optimize(law, {"exam": 0.7, "bugs": 0.3}, Budget(tokens=1_000), corpus, num_bootstrap=0).changes
        >>> sorted(found["exam"]), found["bugs"]["guard_costs"] > 0
        (['reference'], True)
    """
    before = dict(zip(q.view.targets, q.at_reference.tolist()))
    out: dict[str, dict[str, Any]] = {t: {"reference": before[t]} for t in q.view.targets if np.isfinite(before[t])}
    rise = {t: predicted[t].mean - before[t] for t in out if t in predicted}
    worse = sorted((t for t in rise if rise[t] > WORSE), key=lambda t: -rise[t])
    if q.kind == "least_change" or q.robust is not None or q.several_tasks:
        return out
    for name in worse[:_MOST]:
        out[name] |= _cost(q, posed, atoms, solution, score, r, name, before[name])
    return out


def _cost(
    q: Request,
    posed: Posed,
    atoms: Atoms | None,
    solution: Solution | None,
    score: Score,
    r: Array,
    name: str,
    before: float,
) -> dict[str, Any]:
    i = list(q.view.targets).index(name)
    if solution is not None:
        guard = Function(np.eye(len(q.W))[i], const=-before, label=f"{name}: not above the reference")
        guarded = pose(replace(q, guards=(*q.guards, guard)), atoms, [], warnings=[])
        best = None
        try:
            if guarded.convex and guarded.atoms is not None:
                best = solve(guarded.exact.program(guarded.atoms))
            elif not posed.convex:
                best = solve_bounded(guarded.exact, guarded.atoms, excluded=False)
        except (ConvergenceError, InfeasibleBudgetError):
            return {"guard_costs": None}
        if best is not None and best.gap[0] <= 1e-6:
            return {"guard_costs": max(0.0, float(best.value[0] - solution.value[0]))}
    if q.guards or not feasible(q.today, q.constraints):
        return {}
    way = (1 - _STEPS)[:, None] * r + _STEPS[:, None] * q.today
    losses = q.view.predict(way)
    kept = losses[:, i] <= before + WORSE
    value = score(losses)
    return {"guard_costs": max(0.0, float(value[kept].min() - value[0])), "at_most": True}

"""The best schedule of mixtures over phases, beside the best constant mixture it must beat.

Limits on epochs, floors, caps, groups and further budgets hold for the whole run (the token-weighted average of the
phases); inside a phase anything goes unless ``phase_caps`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Phase, Schedule
from mixlaw.data.prediction import Prediction
from mixlaw.data.recipe import Certificate, Recipe
from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array
from mixlaw.optimize.around.advice import standing
from mixlaw.optimize.around.baselines import baselines, feasible
from mixlaw.optimize.around.gain import credible, gain
from mixlaw.optimize.around.resample import drawn
from mixlaw.optimize.pose.view import law_hash
from mixlaw.optimize.schedules.order_effect import order_error
from mixlaw.optimize.schedules.phased import PhasedRequest

__all__ = ["best_schedule"]


def best_schedule(
    law: Any,
    objective: str | Sequence[str] | Mapping[str, float],
    budget: Budget,
    corpus: Corpus,
    *,
    phase_caps: Mapping[str, Sequence[float]] | None = None,
    runs: tuple[Any, Any] | None = None,
    num_bootstrap: int = 60,
    level: float = 0.9,
    rank_transfer: str | float | None = None,
    seed: int = 0,
) -> Recipe:
    """Certified best schedule under a law over phases.

    The recipe's ``reference`` is the **best constant mixture** under the same law and budget, and ``difference``
    says by how much the schedule is predicted to beat it. Its interval holds what bootstrap refits differ by (each
    chooses structure and recency anew) and how much of a predicted effect of order came true in held-out runs
    (:mod:`~mixlaw.optimize.schedules.order_effect`). Where the observations identify no effect of order, or the
    schedule gains nothing, the recipe is that constant mixture and says so.

    Args:
        law: fitted :class:`~mixlaw.laws.mixture.phase_law.PhaseLaw` whose base law is convex.
        objective: as in :func:`mixlaw.optimize.optimize`.
        phase_caps: ``{domain: [largest weight in each phase]}``.
        runs: ``(X, y)`` with phase columns, for the interval of the difference (a law fitted here brings its own).
        rank_transfer: rank correlation measured between proxies and the target size, or a sentence; printed.

    Raises:
        ConfigError: another law, unknown names, or a base law that cannot be certified.
        DataError: fewer than half of the bootstrap refits succeeded.
        InfeasibleBudgetError: no mixture satisfies the budget.

    Example:
        >>> from mixlaw.laws.mixture.phase_law import PhaseLaw
        >>> early, late = np.repeat([0.2, 0.8], 12), np.tile(np.linspace(0.1, 0.9, 12), 2)
        >>> X = {"web@1": early, "code@1": 1 - early, "web@2": late, "code@2": 1 - late}
        >>> seen = 0.25 * early + 0.75 * late  # late tokens count three times
        >>> law = PhaseLaw().fit(X, {"qa": 2 + (seen + 0.1) ** -0.3})
        >>> corpus = Corpus.declared({"web": 500, "code": 5_000}, source="example")
        >>> budget = Budget(tokens=1_000, max_epochs=1)
        >>> recipe = best_schedule(law, "qa", budget, corpus, num_bootstrap=0)
        >>> [round(phase.mixture["web"], 2) for phase in recipe.schedule.phases]  # all of the web there is comes last
        [0.0, 1.0]
    """
    q = PhasedRequest.of(law, objective, budget, corpus, phase_caps, level)
    warnings = standing(q.corpus, budget, rank_transfer)
    warnings.append(
        "Intervals take the form of the law over phases as given: no other form is fitted beside it, and the schedule "
        "lies where no run was. Train it before relying on it."
    )
    found = q.optima(q.atoms)
    assert found is not None  # the request is certifiable
    best, flat = found
    z, r = best.z[0], flat.z[0]
    advantage = float(best.value[0] - flat.value[0])
    same = advantage > -1e-7  # limits that differ between phases let a schedule gain even where order means nothing
    if same:
        z, advantage = q.always(r), 0.0
        warnings.append(
            "The observations identify no effect of order: the best schedule is the best constant mixture."
            if q.law.structure_ == "constant"
            else "No schedule is predicted to beat the best constant mixture under this budget."
        )
    z = _without_traces(z.reshape(q.shape))
    constant = Mixture.from_array(q.constraints.domains, _without_traces(r))
    draws, optimism = (None, 0.0) if same else _refits(q, runs, z.ravel(), r, num_bootstrap, seed)
    if draws is not None and q.law.structure_ != "constant":
        draws = _with_order_error(q, runs, draws, advantage, warnings, seed)
    predictions, half = _predictions(q, z.ravel())
    if draws is not None:
        draws = draws[credible(draws, advantage, half, warnings)]
    change = gain(advantage, draws, optimism, half, level, same)
    if not same and change.prediction.high >= 0:
        warnings.append(
            f"The advantage over the best constant mixture ({change.prediction}) is not distinguishable from nothing."
        )
    table = {"best constant": constant} | baselines(q.corpus, budget)
    return Recipe(
        schedule=Schedule(
            tuple(Phase(float(f), Mixture.from_array(q.constraints.domains, w)) for f, w in zip(q.fractions, z))
        ),
        tokens=budget.tokens,
        corpus=q.corpus,
        objective={"kind": "mean", "weights": q.weights},
        predictions=predictions,
        reference=constant,
        difference=change.prediction,
        probability_better=change.probability,
        certificate=Certificate("certified", gap=float(max(best.gap[0], 0.0)), solver="mixlaw interior point"),
        baselines={name: _row(q, mixture, half) for name, mixture in table.items()},
        law=_facts(q.law),
        law_hash=law_hash(q.law),
        budget=budget.to_dict(),
        warnings=tuple(warnings),
    )


def _without_traces(weights: Array) -> Array:
    """Weights (..., K) that sum to one, those the solver left within rounding error of zero set to it."""
    kept = np.where(weights < 1e-8, 0.0, weights)
    return np.asarray(kept / kept.sum(axis=-1, keepdims=True))


def _facts(law: Any) -> dict[str, Any]:
    """What the recipe says of the law."""
    return {
        "name": "PhaseLaw",
        "structure": law.structure_,
        "log_rho": law.log_rho_.tolist(),
        "heldout": dict(law.scores_),
        "runs": law.num_runs_,
    }


def _refits(q: PhasedRequest, runs: Any, z: Array, r: Array, num: int, seed: int) -> tuple[Array | None, float]:
    """Differences schedule minus constant under refits, and how much an optimised schedule flatters itself."""
    if num <= 0 or (runs is None and q.law.training is None):
        return None, 0.0
    weights = drawn(q.law.num_runs_, num, seed)
    both = np.stack([z, q.always(r)])
    draws, flattery = [], []
    for refit in q.law.reweighted(weights, *(runs or ())):
        if refit is None:
            continue  # a resample can leave too few different mixtures
        scored = q.losses(both, refit) @ q.W
        draws.append(scored[0] - scored[1])
        atoms = refit.atoms()
        found = None if atoms is None else q.optima(atoms)
        if found is not None:
            best, flat = found
            claimed = float(best.value[0] - flat.value[0])
            real = q.losses(np.clip(np.stack([best.z[0], q.always(flat.z[0])]), 0, 1)) @ q.W
            flattery.append(float(real[0] - real[1]) - claimed)
    if len(draws) < max(4, num / 2):
        raise DataError(f"Only {len(draws)} of {num} bootstrap refits of the law over phases succeeded; add runs.")
    return np.array(draws), float(np.mean(flattery)) if flattery else 0.0


def _with_order_error(
    q: PhasedRequest, runs: Any, draws: Array, advantage: float, warnings: list[str], seed: int
) -> Array:
    """Draws (num,) of the advantage that also vary by how much of a predicted effect of order came true in held-out
    runs; where that was not measured, the same draws and a warning more."""
    fault = order_error(q.law, q.W, seed, runs)
    if fault is None:
        warnings.append(
            "No four runs differ from others in nothing but the order of their phases, so how much of a predicted "
            "effect of order comes true was not measured: the interval shows the uncertainty of the law's parameters "
            "only."
        )
        return draws
    return np.asarray(draws + advantage * fault * _normal(len(draws), seed))


def _normal(num: int, seed: int) -> Array:
    """Standard normal numbers (num,) at equal steps of probability, in random order."""
    steps = [NormalDist().inv_cdf((i + 0.5) / num) for i in range(num)]
    return np.random.default_rng(seed + 1).permutation(steps)


def _predictions(q: PhasedRequest, z: Array) -> tuple[dict[str, Prediction], float]:
    values, (low, high) = q.losses(z)[0], (side[0] for side in q.interval(z))
    table = {
        name: Prediction(float(v), float(min(a, v)), float(max(b, v)), q.level)
        for name, v, a, b in zip(q.targets, values, low, high)
    }
    half, centre = float(q.W @ (high - low) / 2), float(q.W @ values)
    return table | {"objective": Prediction(centre, centre - half, centre + half, q.level)}, half


def _row(q: PhasedRequest, mixture: Mixture, half: float) -> dict[str, Any]:
    value = float(q.losses(q.always(mixture.array()))[0] @ q.W)
    return {
        "weights": mixture.to_dict(),
        "prediction": Prediction(value, value - half, value + half, q.level).to_dict(),
        "feasible": feasible(mixture.array(q.constraints.domains), q.constraints),
    }

"""``optimize``: from a fitted law and a budget to a recipe that says how far it can be believed."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.objective import Objective
from mixlaw.data.recipe import Certificate, Recipe
from mixlaw.errors import ConfigError, ConvergenceError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.optimize.around import advice
from mixlaw.optimize.around.baselines import baselines
from mixlaw.optimize.around.changes import changes
from mixlaw.optimize.around.form_error import FormError
from mixlaw.optimize.around.gain import predicted_gain
from mixlaw.optimize.around.near import near_table
from mixlaw.optimize.around.predictions import baseline, bounded, predictions, scorer
from mixlaw.optimize.around.prices import prices
from mixlaw.optimize.around.resample import refits_for
from mixlaw.optimize.pose.objective import mean
from mixlaw.optimize.pose.problem import (
    Posed,
    best_of_starts,
    pose,
    snap,
    solve_bounded,
    solve_certified,
    why_not,
)
from mixlaw.optimize.pose.request import KINDS, Kind, Request
from mixlaw.optimize.pose.task import TaskLaw
from mixlaw.optimize.solve.convex import Solution, solve
from mixlaw.optimize.solve.first_order import first_order_gap

__all__ = ["KINDS", "answer", "optimize"]


def optimize(
    law: Any,
    objective: str | Sequence[str] | Mapping[str, float] | Objective,
    budget: Budget,
    corpus: Corpus,
    reference: Mixture | Mapping[str, float] | None = None,
    *,
    kind: Kind = "mean",
    guard: Mapping[str, float] | None = None,
    gain: float | None = None,
    task: Mapping[str, TaskLaw] | None = None,
    kl_weight: float = 0.0,
    kl_to: Mixture | Mapping[str, float] | str = "natural",
    kl_limit: float | None = None,
    repetition: bool | float | None = None,
    robust: Literal["mean", "cvar", "regret"] | None = None,
    runs: tuple[Any, Any] | None = None,
    num_bootstrap: int | None = None,
    level: float = 0.9,
    near: float = 1e-3,
    rank_transfer: str | float | None = None,
    starts: int = 32,
    seed: int = 0,
) -> Recipe:
    """Find the best mixture under a budget.

    Laws that are sums of convex atoms (M4, M1, M2, log-linear, effective tokens, ...) are solved to a certified global
    optimum; others by multi-start. The first line of the recipe says which.

    Args:
        law: a fitted mixture or joint law; its features are the corpus' domains.
        objective: a validation set, several (equal weights), ``{set: weight}`` (rescaled to sum to one), or an
            :class:`~mixlaw.data.objective.Objective` of kind ``"loss"`` or ``"worst"``.
        budget: tokens and limits; checked against ``corpus``.
        corpus: domains with their unique tokens.
        reference: today's mixture (default natural): what gains, guards and changes are measured from.
        kind: ``"mean"``: weighted mean of losses. ``"worst"``: the largest excess of a set over the best it could
            reach under this budget, ``weight / largest weight * (loss - best)``. ``"guard"``: the mean, with ``guard``
            required. ``"least_change"``: move the fewest tokens away from ``reference`` for ``gain``.
        guard: ``{set: x}``: that set may get at most ``x`` nats worse than at the reference (negative: must improve).
        gain: nats by which the weighted mean must fall below the reference's (``"least_change"`` only).
        task: ``{set: TaskLaw}``: maximise accuracy instead of minimising loss for these sets. One task keeps the
            certificate; a mean of several sigmoids is not convex.
        kl_weight, kl_to: adds ``kl_weight * KL(r || kl_to)`` to what is minimised; ``kl_to`` is a mixture,
            ``"natural"``, ``"uniform"`` or ``"reference"``.
        kl_limit: instead of, or beside, a weight: at most so many nats of KL divergence to ``kl_to``.
        repetition: count repeated tokens by their effective worth inside the law: True for the published decay constant
            (15.39 epochs), or a number of epochs.
        robust: optimise over bootstrap laws instead of the fitted one (see :mod:`mixlaw.optimize.around.robust`).
        runs: ``(X, y)`` the law was fitted on: for the interval of the gain, distance to the observed mixtures, and
            ``robust``. A law fitted in this process brings its own.
        num_bootstrap: refits for the interval of the gain (default 40 for parametric laws, 12 for others; 0: none).
        level: of all intervals.
        near: share of the loss that ``near_optimal`` allows to lose: exact ranges where the optimum is certified, inner
            ones (found by search) elsewhere. Whatever ``kind`` minimises may get worse by that share of the weighted
            mean loss; for ``"least_change"`` the gain may be missed by as much and that share of tokens more may move.
        rank_transfer: rank correlation measured between proxies and the target size, or a sentence; printed.
        starts: local searches where nothing can be certified.

    Raises:
        ConfigError: unknown names, contradicting arguments.
        InfeasibleBudgetError: no mixture satisfies the limits, the guards or the wanted gain; says which.
        ConvergenceError: the solver found no feasible point though one exists.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> runs = {"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)}
        >>> corpus = Corpus.declared({"web": 9_000, "code": 9_000}, source="example")
        >>> recipe = optimize(LogLinear().fit(*runs), "all", Budget(tokens=1_000), corpus)
        >>> round(recipe.mixture["web"], 2), str(recipe.certificate).partition(" (")[0]
        (0.5, 'certified optimum')
    """
    request = Request.of(
        law, objective, budget, corpus, reference,
        kind=kind, guard=guard, gain=gain, task=task, kl_weight=kl_weight, kl_to=kl_to, kl_limit=kl_limit,
        repetition=repetition, robust=robust, runs=runs, num_bootstrap=num_bootstrap, level=level, near=near,
        rank_transfer=rank_transfer, starts=starts, seed=seed,
    )  # fmt: skip
    return answer(request)


def answer(q: Request) -> Recipe:
    """The recipe that answers a request: what :func:`optimize` gives for the arguments the request was made of.

    Raises:
        ConfigError: a robust optimum of a law that is not convex, or without runs.
        InfeasibleBudgetError: no mixture satisfies the limits, the guards or the wanted gain; says which.
        ConvergenceError: the solver found no feasible point though one exists.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 9_000}, source="example")
        >>> recipe = answer(Request.of(law, "all", Budget(tokens=1_000), corpus))
        >>> recipe.certificate.kind, round(recipe.mixture["web"], 2)
        ('certified', 0.5)
    """
    warnings = advice.standing(q.corpus, q.budget, q.rank_transfer, q.repetition)
    if q.view.law.caution:
        warnings.append(q.view.law.caution)
    atoms = q.view.atoms()
    drawn, weighed = refits_for(q, warnings)
    posed = pose(q, atoms, weighed, warnings)
    found = _find(q, posed, atoms, warnings)
    mixture = Mixture.from_array(q.domains, found.weights)
    r = mixture.array()
    score = scorer(q, posed.problem)
    form = FormError.of(q)
    predicted, half = predictions(q, score, r, form)
    predicted = bounded(q, predicted, warnings)
    change = predicted_gain(q, score, r, drawn, half, warnings, form)
    known = baselines(q.corpus, q.budget, q.reference if q.reference_given else None)
    unconstrained = _unconstrained(q, posed)
    asked, its_atoms = _plainly(q, posed, atoms)
    near = near_table(q, asked, its_atoms, found.solution if posed.convex else None, r, warnings)
    priced = []
    if found.solution is not None and posed.atoms is not None and q.robust is None:
        priced = prices(q, posed.exact, posed.atoms, found.solution)
    if q.rows is not None:
        advice.outside_hull(q.rows.weights, r, warnings)
        advice.unidentified(q.rows.weights, q.domains, r, near, warnings)
        wider = None if form is None else float(np.sqrt(1 + form.beyond(r)[0]))
        advice.untried_zeros(q.rows.weights, q.domains, r, wider, warnings)
        if form is None and q.num_refits:
            warnings.append(
                "No other family could be compared with this law (too few runs for them, or too many domains and "
                "sets): the intervals hold on mixtures like the runs, and do not allow for a wrong form elsewhere."
            )
    advice.shape(q, posed.problem, r, near, change.prediction, warnings)
    info, law_hash = q.view.describe()
    beside = changes(q, posed, atoms, found.solution, score, r, predicted)
    return Recipe(
        schedule=Schedule.constant(mixture),
        tokens=q.budget.tokens,
        corpus=q.corpus,
        objective=_describe(q),
        predictions=predicted,
        reference=q.reference,
        changes=beside,
        difference=change.prediction,
        probability_better=change.probability,
        shadow_prices=tuple(priced),
        certificate=found.certificate,
        unconstrained=unconstrained,
        near_optimal=near,
        baselines={name: baseline(q, score, other, form) for name, other in known.items()},
        law=info,
        law_hash=law_hash,
        budget=q.budget.to_dict(),
        warnings=tuple(dict.fromkeys(warnings)),
        versions=_versions(),
    )


_FIRST_ORDER = 1e-3
"""Nats by which an optimum that a law's slope certifies may still fall."""

_CONVEX_STARTS = 4
"""Starts where every local optimum is a global one."""


@dataclass(frozen=True)
class _Found:
    """The best weights (K,), how sure that is, and the certified solution where there is one."""

    weights: Array
    certificate: Certificate
    solution: Solution | None


def _find(q: Request, posed: Posed, atoms: Atoms | None, warnings: list[str]) -> _Found:
    """The best mixture: certified where the problem is convex or its concave terms can be branched on, else the best
    of many starts."""
    k = len(q.domains)
    if posed.convex and posed.atoms is not None:
        solution = snap(posed.exact, posed.atoms, solve_certified(q, posed.exact, posed.atoms))
        gap = float(solution.gap[0]) + posed.loose
        if gap > 1e-8 * max(1.0, abs(float(solution.value[0]))):
            warnings.append(f"The duality gap {gap:.1e} is wider than 1e-8; the optimum is that loose.")
        certificate = Certificate("certified", gap=gap, solver="mixlaw interior point")
        return _Found(solution.z[0, :k], certificate, solution)
    branched = solve_bounded(posed.exact, posed.atoms, q.several_tasks or q.robust is not None)
    if branched is not None and posed.atoms is not None and branched.gap[0] <= 1e-6:
        solution = snap(posed.exact, posed.atoms, branched)
        certificate = Certificate("certified", gap=float(solution.gap[0]), solver="mixlaw branch and bound")
        return _Found(solution.z[0, :k], certificate, solution)
    if q.robust is not None:
        raise ConfigError(
            f"robust={q.robust!r} needs a law that is convex for this objective; {why_not(q.view, atoms)}."
        )
    convex = atoms is None and q.view.law.convex and _plain_mean(q, posed)
    searched = best_of_starts(q, posed.problem, min(q.starts, _CONVEX_STARTS) if convex else q.starts)
    r = searched.z[:k]
    if convex:
        gap = first_order_gap(posed.problem, q.W @ q.view.gradient(r[None])[0], r)
        if gap <= _FIRST_ORDER:
            return _Found(r, Certificate("certified", gap=gap, solver="SLSQP, certified by the law's slope"), None)
    warnings.append(f"No certificate: {'a mean of sigmoids' if q.several_tasks else why_not(q.view, atoms)}.")
    if branched is not None:
        value = float(branched.value[0])
        if value < searched.value:
            r = branched.z[0, :k]
        short = min(searched.value, value) - (value - float(branched.gap[0]))
        warnings.append(f"Branch and bound shows that no mixture under this budget is better by more than {short:.2g}.")
    return _Found(r, Certificate("best_of", starts=searched.starts, solver="SLSQP multi-start"), None)


def _plain_mean(q: Request, posed: Posed) -> bool:
    """Whether what is minimised is a weighted mean of losses over the budget's mixtures, and nothing else."""
    only = len(posed.problem.functions) == 1 and not posed.problem.num_extra and not posed.problem.functions[0].kl
    return (
        only and q.kind == "mean" and not q.tasks and not q.guards and q.repetition is None and bool((q.W >= 0).all())
    )


def _plainly(q: Request, posed: Posed, atoms: Atoms | None) -> tuple[Any, Atoms | None]:
    """The problem that ranges near the optimum refer to, and its atoms: of a robust request the plain mean."""
    if not posed.convex:
        return posed.problem, posed.atoms
    if q.robust is not None:
        return mean(q.constraints, q.W, q.guards, **q.options), atoms
    return posed.exact, posed.atoms


def _unconstrained(q: Request, posed: Posed) -> Mixture | None:
    """The optimum on the whole simplex: what the budget's limits keep one from."""
    k = len(q.domains)
    try:
        if posed.convex and posed.atoms is not None:
            z = solve(posed.exact.without_limits().program(posed.atoms)).z[0]
        else:
            z = best_of_starts(q, posed.problem.without_limits(), max(q.starts // 4, 4)).z
    except ConvergenceError:
        return None  # for instance an epoch-free optimum at which the law is not defined
    r = np.where(z[:k] < 1e-8, 0.0, z[:k])
    return Mixture.from_array(q.domains, r / r.sum())


def _describe(q: Request) -> dict[str, Any]:
    out: dict[str, Any] = {"kind": q.kind, "weights": q.weights}
    if q.guards:
        out["guards"] = [g.label for g in q.guards]
    if q.kind == "least_change":
        out["gain"] = q.gain
    if q.kl_weight:
        out["kl_weight"] = q.kl_weight
    if q.kl_limit is not None:
        out["kl_limit"] = q.kl_limit
    if q.repetition is not None:
        out["repetition_half_life_epochs"] = q.repetition.decay
    if q.robust:
        out["robust"] = q.robust
    if q.tasks:
        out["tasks"] = {k: str(v) for k, v in q.tasks.items()}
    return out


def _versions() -> dict[str, str]:
    import scipy

    import mixlaw

    return {
        "mixlaw": mixlaw.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "python": platform.python_version(),
    }

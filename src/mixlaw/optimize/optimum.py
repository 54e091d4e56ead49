"""``optimize``: from a fitted law and a budget to a recipe that says how far it can be believed."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.prediction import Prediction
from mixlaw.data.recipe import Certificate, Recipe
from mixlaw.errors import ConfigError, ConvergenceError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.optimize.around import advice
from mixlaw.optimize.around.baselines import baselines, feasible
from mixlaw.optimize.around.gain import Gain, difference_error, gain, objective_half_width
from mixlaw.optimize.around.prices import prices
from mixlaw.optimize.around.resample import bootstrap_laws, weighed
from mixlaw.optimize.around.robust import plug_in_optima
from mixlaw.optimize.pose.forms import combine
from mixlaw.optimize.pose.objective import Problem, mean, pooled
from mixlaw.optimize.pose.problem import (
    best_of_starts,
    losses_and_slopes,
    pose,
    snap,
    solve_bounded,
    solve_certified,
    why_not,
    with_tasks,
)
from mixlaw.optimize.pose.request import KINDS, Kind, Request, read_request
from mixlaw.optimize.pose.task import TaskLaw
from mixlaw.optimize.pose.view import LawView
from mixlaw.optimize.solve.convex import Solution, solve
from mixlaw.optimize.solve.general import General, complete
from mixlaw.optimize.solve.near_optimal import near_optimal, searched_near_optimal, worse_by

__all__ = ["KINDS", "optimize"]


def optimize(
    law: Any,
    objective: str | Sequence[str] | Mapping[str, float],
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
        objective: a validation set, several (equal weights), or ``{set: weight}`` (rescaled to sum to one).
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
        >>> recipe = optimize(law, {"pile_cc": 0.7, "github": 0.3}, budget, corpus)      # doctest: +SKIP
        >>> print(recipe.certificate)                                                    # doctest: +SKIP
        certified optimum (gap 3.1e-10)
    """
    if not 0 < level < 1:
        raise ConfigError(f"level={level!r} must lie between 0 and 1, for example 0.9.")
    if not 0 < near < np.inf:
        raise ConfigError(f"near={near!r} must be a positive share of the objective, for example 0.001.")
    request = read_request(
        law,
        objective,
        budget,
        corpus,
        reference,
        kind,
        guard,
        gain,
        task,
        kl_weight,
        kl_to,
        kl_limit,
        repetition,
        robust,
    )
    view, c = request.view, request.constraints
    rows = runs if runs is not None else _own_runs(view.law)
    warnings = advice.standing(corpus, request.repetition, rank_transfer, budget)
    atoms = view.atoms()
    worlds = _worlds(request, rows, num_bootstrap, robust is not None, seed, warnings)
    smooth = [] if robust is None or rows is None else bootstrap_laws(view, rows, len(worlds), seed, weighed)

    problem, over = pose(request, atoms, robust, smooth, warnings)
    several_tasks = len([t for t in request.tasks if request.weights.get(t, 0) > 0]) > 1 or (
        request.tasks and len(request.weights) > 1
    )
    solution: Solution | None = None
    found: General | None = None
    exact = problem  # what the certified solvers are given
    if over is not None and not problem.certifiable(over) and problem.functions[0].weights.any():
        exact, over = pooled(problem, over)
    convex = over is not None and exact.certifiable(over) and not several_tasks
    branched: Solution | None = None
    if convex and over is not None:
        solution = solve_certified(request, exact, over)
        solution = snap(exact, over, solution)
        r = solution.z[0, : problem.num_weights]
        certificate = Certificate("certified", gap=float(solution.gap[0]), solver="mixlaw interior point")
        if solution.gap[0] > 1e-8 * max(1.0, abs(float(solution.value[0]))):
            warnings.append(f"The duality gap {solution.gap[0]:.1e} is wider than 1e-8; the optimum is that loose.")
    elif (branched := solve_bounded(exact, over, several_tasks or robust is not None)) is not None and (
        branched.gap[0] <= 1e-6
    ):
        assert over is not None
        solution = snap(exact, over, branched)
        r = solution.z[0, : problem.num_weights]
        certificate = Certificate("certified", gap=float(solution.gap[0]), solver="mixlaw branch and bound")
    else:
        if robust is not None:
            raise ConfigError(
                f"robust={robust!r} needs a law that is convex for this objective; {why_not(view, atoms)}."
            )
        found = best_of_starts(request, problem, starts, seed, several_tasks=bool(several_tasks))
        r = found.z[: problem.num_weights]
        certificate = Certificate("best_of", starts=found.starts, solver="SLSQP multi-start")
        if branched is not None and branched.value[0] < found.value:
            r = branched.z[0, : problem.num_weights]
        warnings.append(f"No certificate: {why_not(view, atoms) if not several_tasks else 'a mean of sigmoids'}.")
        if branched is not None:
            value = float(branched.value[0])
            short = min(found.value, value) - (value - float(branched.gap[0]))
            warnings.append(
                f"Branch and bound shows that no mixture under this budget is better by more than {short:.2g}."
            )
    mixture = Mixture.from_array(corpus.names, r)
    r = mixture.array()

    score = _scorer(request, problem, several_tasks=bool(several_tasks))
    low, high = view.interval(r[None], level)
    losses = view.predict(r[None])[0]
    predictions = {
        t: _around(float(losses[i]), float(low[0, i]), float(high[0, i]), level) for i, t in enumerate(view.targets)
    }
    for name, curve in request.tasks.items():
        predictions[f"accuracy: {name}"] = advice.accuracy(curve, predictions[name])
    own_score = float(score(losses[None])[0])
    half = objective_half_width(view, request.W, (high - low)[0] / 2, rows)
    if several_tasks:
        half = float(
            sum(
                request.W[i] * (high - low)[0, i] / 2 * abs(request.tasks[t].slope(losses[i]))
                if (t := view.targets[i]) in request.tasks
                else request.W[i] * (high - low)[0, i] / 2
                for i in np.flatnonzero(request.W)
            )
        )
    unit = "error and nats" if several_tasks else "nats_per_token"
    predictions["objective"] = Prediction(own_score, own_score - half, own_score + half, level, unit)

    reference_array = request.reference.array(corpus.names)
    plain = request.kind != "worst" and not several_tasks
    change = _gain(request, score, r, reference_array, worlds, half, level, rows, plain)
    table = {}
    for name, other in baselines(corpus, budget, request.reference if reference is not None else None).items():
        table[name] = _baseline(request, other, score, half, level)
    unconstrained = _unconstrained(
        request, exact if convex else problem, over if convex else None, starts, seed, several_tasks
    )
    posed, its_atoms = (mean(c, request.W, request.guards, **request.options), atoms) if robust else (exact, over)
    posed = posed if convex else problem
    near_table = _near(
        request, posed, its_atoms, solution if convex else None, bool(several_tasks), r, near, seed, warnings
    )
    priced = (
        []
        if solution is None or over is None or robust
        else prices(exact, exact.program(over), solution, over, budget, corpus, view.targets)
    )
    if rows is not None:
        advice.outside_hull(view.rows(rows)[0], r, warnings)
        advice.unidentified(view.rows(rows)[0], corpus.names, r, near_table, warnings)
    advice.shape(mixture, c, problem, near_table, score, change.prediction, predictions["objective"], view, warnings)
    info, law_hash = view.describe()
    return Recipe(
        schedule=Schedule.constant(mixture),
        tokens=budget.tokens,
        corpus=corpus,
        objective=_describe(request, robust),
        predictions=predictions,
        reference=request.reference,
        difference=change.prediction,
        probability_better=change.probability,
        shadow_prices=tuple(priced),
        certificate=certificate,
        unconstrained=unconstrained,
        near_optimal=near_table,
        baselines=table,
        law=info,
        law_hash=law_hash,
        budget=budget.to_dict(),
        warnings=tuple(dict.fromkeys(warnings)),
        versions=_versions(),
    )


def _scorer(q: Request, problem: Problem, several_tasks: bool) -> Any:
    """losses (n, T) -> objective (n,), lower is better; KL terms are not part of it."""
    if q.kind == "worst":
        rows = [f for f in problem.functions if f.label.startswith("worst:")]
        W, const = np.stack([f.weights for f in rows]), np.array([f.const for f in rows])
        return lambda losses: (losses @ W.T + const).max(axis=1)
    if several_tasks:
        return lambda losses: with_tasks(q, losses) @ q.W
    return lambda losses: losses @ q.W


def _own_runs(law: Any) -> tuple[Any, Any] | None:
    """The rows a law fitted in this process still carries."""
    training = law.training
    return None if training is None else (training[0], training[1])


# ---- what goes around the mixture -------------------------------------------------------------------------
def _worlds(
    q: Request, rows: tuple[Any, Any] | None, num: int | None, needed: bool, seed: int, warnings: list[str]
) -> list[LawView]:
    if num is None:
        num = 40 if q.view.law.theta_ is not None else 12
    if num <= 0 or rows is None:
        if needed:
            raise ConfigError("robust= needs runs=(X, y) and num_bootstrap > 0.")
        if rows is None:
            warnings.append(
                "No runs were given, so the gain's interval comes from the law's intervals, not from refits."
            )
        return []
    return bootstrap_laws(q.view, rows, num, seed)


def _gain(
    q: Request,
    score: Any,
    r: Array,
    reference: Array,
    worlds: Sequence[LawView],
    half: float,
    level: float,
    rows: tuple[Any, Any] | None,
    plain: bool,
) -> Gain:
    both = np.stack([r, reference])
    difference = float(np.subtract(*score(q.view.predict(both))))
    optimism = 0.0
    draws = None
    if worlds:
        scored = np.array([score(w.predict(both)) for w in worlds])
        draws = scored[:, 0] - scored[:, 1]
        optimism = _optimism(q, score, worlds, reference) if q.kind in ("mean", "guard") and not q.guards else 0.0
    same = bool(np.allclose(r, reference, atol=1e-6))
    error = None
    if not same and rows is not None and worlds:
        error = difference_error(q.view, q.W, rows, score, r, reference, half if plain else None, level)
    return gain(difference, draws, optimism, half, level, same, error)


def _optimism(q: Request, score: Any, worlds: Sequence[LawView], reference: Array) -> float:
    """By how much an optimum chosen on resampled runs looks better there than it is under the law itself."""
    atoms = [w.atoms() for w in worlds]
    if any(a is None for a in atoms) or q.kl_weight or q.repetition is not None or q.tasks:
        return 0.0
    problem = mean(q.constraints, np.ones(1))
    singles = [a for a in (combine(a, q.W) for a in atoms if a is not None) if problem.certifiable(a)]
    if len(singles) < 4:
        return 0.0
    optima, values = plug_in_optima(q.constraints, singles)
    at_reference = np.array([a.value(reference[None])[0, 0] for a in singles])
    claimed = values - at_reference
    real = score(q.view.predict(optima)) - score(q.view.predict(reference[None]))
    return float(np.mean(real - claimed))


def _around(value: float, low: float, high: float, level: float) -> Prediction:
    return Prediction(value, min(low, value), max(high, value), level)


def _baseline(q: Request, mixture: Mixture, score: Any, half: float, level: float) -> dict[str, Any]:
    weights = mixture.array(q.constraints.domains)
    value = float(score(q.view.predict(weights[None]))[0])
    known = np.isfinite(value)
    return {
        "weights": mixture.to_dict(),
        "prediction": Prediction(value, value - half, value + half, level).to_dict() if known else None,
        "feasible": feasible(weights, q.constraints),
    }


def _unconstrained(
    q: Request, problem: Problem, atoms: Atoms | None, starts: int, seed: int, several_tasks: Any
) -> Mixture | None:
    free = problem.without_limits()
    try:
        if atoms is not None:
            z = solve(free.program(atoms)).z[0]
        else:
            z = best_of_starts(q, free, max(starts // 4, 4), seed, bool(several_tasks)).z
    except ConvergenceError:
        return None  # for instance an epoch-free optimum at which the law is not defined
    r = np.where(z[: free.num_weights] < 1e-8, 0.0, z[: free.num_weights])
    return Mixture.from_array(q.constraints.domains, r / r.sum())


def _near(
    q: Request,
    problem: Problem,
    atoms: Atoms | None,
    solution: Solution | None,
    several_tasks: bool,
    r: Array,
    near: float,
    seed: int,
    warnings: list[str],
) -> dict[str, tuple[float, float]]:
    domains = q.constraints.domains
    predict, gradient = losses_and_slopes(q, several_tasks)
    loss = float(predict(r[None])[0] @ q.W)
    posed, allowance = worse_by(problem, q.kind, loss, near)
    if solution is not None and atoms is not None:
        chosen = list(range(len(domains))) if len(domains) <= 64 else sorted(np.argsort(-r)[:16].tolist())
        value = float(posed_value(problem, atoms, solution))
        try:
            ranges = near_optimal(posed, atoms, value, allowance, chosen)
        except ConvergenceError as error:
            warnings.append(f"How far weights may move near the optimum could not be found: {error}")
            return {}
        return {domains[j]: (float(min(a, r[j])), float(max(b, r[j]))) for j, (a, b) in zip(chosen, ranges)}
    value = float(complete(problem, r[None], predict(r[None]))[1][0])
    ranges = searched_near_optimal(posed, predict, gradient, r, value, allowance, seed)
    warnings.append(
        "How far weights may move near the optimum was found by search, since the law is not convex for this "
        "objective: both ends of each range were reached, and it may be wider."
    )
    return {d: (float(a), float(b)) for d, (a, b) in zip(domains, ranges)}


def posed_value(problem: Problem, atoms: Atoms, solution: Solution) -> float:
    """The problem's objective at a solution (that of a robust problem answers another question)."""
    z = solution.z[:1]
    if z.shape[1] == problem.num_weights + problem.num_extra:
        return float(problem.program(atoms).functions(z)[0, 0])
    return float(problem.program(atoms).functions(z[:, : problem.num_weights])[0, 0])


def _describe(q: Request, robust: str | None) -> dict[str, Any]:
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
    if robust:
        out["robust"] = robust
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

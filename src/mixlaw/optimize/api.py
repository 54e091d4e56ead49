"""``optimize``: from a fitted law and a budget to a recipe that says how far it can be believed."""

from __future__ import annotations

import copy
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mixlaw.budget import Budget, Constraints
from mixlaw.corpus import Corpus
from mixlaw.errors import ConfigError, ConvergenceError, InfeasibleBudgetError, did_you_mean
from mixlaw.laws.base import Atoms
from mixlaw.mixture import Mixture, Schedule
from mixlaw.optimize import advice
from mixlaw.optimize.baselines import baselines, feasible
from mixlaw.optimize.branch import branchable, solve_branching
from mixlaw.optimize.convex import Solution, solve
from mixlaw.optimize.forms import PUBLISHED_DECAY, Repetition, combine
from mixlaw.optimize.general import General, random_feasible, search
from mixlaw.optimize.near_optimal import near_optimal, sampled_near_optimal
from mixlaw.optimize.objective import Function, Problem, least_change, mean, pooled, worst
from mixlaw.optimize.prices import prices
from mixlaw.optimize.resample import bootstrap_laws
from mixlaw.optimize.robust import plug_in_optima, robust_problem
from mixlaw.optimize.task import TaskLaw
from mixlaw.optimize.uncertainty import Gain, gain, objective_half_width
from mixlaw.optimize.view import LawView, check_weights
from mixlaw.prediction import Prediction
from mixlaw.recipe import Certificate, Recipe

__all__ = ["KINDS", "optimize"]

Array = npt.NDArray[np.float64]
Kind = Literal["mean", "worst", "guard", "least_change"]
KINDS = ("mean", "worst", "guard", "least_change")


@dataclass(frozen=True)
class _Request:
    """The caller's wishes, checked and in arrays."""

    view: LawView
    weights: dict[str, float]
    W: Array
    kind: str
    constraints: Constraints
    reference: Mixture
    at_reference: Array
    guards: tuple[Function, ...]
    gain: float
    kl_weight: float
    prior: Array | None
    repetition: Repetition | None
    tasks: Mapping[str, TaskLaw]


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
        repetition: count repeated tokens by their effective worth inside the law: True for the published decay constant
            (15.39 epochs), or a number of epochs.
        robust: optimise over bootstrap laws instead of the fitted one (see :mod:`mixlaw.optimize.robust`).
        runs: ``(X, y)`` the law was fitted on: for the interval of the gain, distance to the observed mixtures, and
            ``robust``. A law fitted in this process brings its own.
        num_bootstrap: refits for the interval of the gain (default 40 for parametric laws, 12 for others; 0: none).
        level: of all intervals.
        near: relative worsening of the objective that ``near_optimal`` allows.
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
    request = _request(law, objective, budget, corpus, reference, kind, guard, gain, task, kl_weight, kl_to, repetition)
    view, c = request.view, request.constraints
    rows = runs if runs is not None else _own_runs(view.law)
    warnings = advice.standing(corpus, request.repetition, rank_transfer, budget)
    atoms = view.atoms()
    worlds = _worlds(request, rows, num_bootstrap, robust is not None, seed, warnings)

    problem, over = _problem(request, atoms, robust, worlds, warnings)
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
        solution = _certified(request, exact, over)
        solution = _snapped(exact, over, solution)
        r = solution.z[0, : problem.num_weights]
        certificate = Certificate("certified", gap=float(solution.gap[0]), solver="mixlaw interior point")
        if solution.gap[0] > 1e-8 * max(1.0, abs(float(solution.value[0]))):
            warnings.append(f"The duality gap {solution.gap[0]:.1e} is wider than 1e-8; the optimum is that loose.")
    elif (branched := _branched(exact, over, several_tasks or robust is not None)) is not None and (
        branched.gap[0] <= 1e-6
    ):
        assert over is not None
        solution = _snapped(exact, over, branched)
        r = solution.z[0, : problem.num_weights]
        certificate = Certificate("certified", gap=float(solution.gap[0]), solver="mixlaw branch and bound")
    else:
        if robust is not None:
            raise ConfigError(f"robust={robust!r} needs a law that is convex for this objective; {_why(view, atoms)}.")
        found = _general(request, problem, starts, seed, several_tasks=bool(several_tasks))
        r = found.z[: problem.num_weights]
        certificate = Certificate("best_of", starts=found.starts, solver="SLSQP multi-start")
        if branched is not None and branched.value[0] < found.value:
            r = branched.z[0, : problem.num_weights]
        warnings.append(f"No certificate: {_why(view, atoms) if not several_tasks else 'a mean of sigmoids'}.")
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
    change = _gain(request, score, r, reference_array, worlds, half, level, warnings)
    table = {}
    for name, other in baselines(corpus, budget, request.reference if reference is not None else None).items():
        table[name] = _baseline(request, other, score, half, level)
    unconstrained = _unconstrained(
        request, exact if convex else problem, over if convex else None, starts, seed, several_tasks
    )
    posed, its_atoms = (mean(c, request.W, request.guards), atoms) if robust else (exact, over)
    near_table = _near(request, posed, its_atoms, solution if convex else None, found, score, r, near, seed)
    priced = (
        []
        if solution is None or over is None or robust
        else prices(exact, exact.program(over), solution, over, budget, corpus, view.targets)
    )
    if rows is not None:
        advice.outside_hull(view.rows(rows)[0], r, warnings)
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


# ---- reading the request -----------------------------------------------------------------------------
def _request(
    law: Any,
    objective: Any,
    budget: Budget,
    corpus: Corpus,
    reference: Any,
    kind: str,
    guard: Mapping[str, float] | None,
    gain: float | None,
    task: Mapping[str, TaskLaw] | None,
    kl_weight: float,
    kl_to: Any,
    repetition: bool | float | None,
) -> _Request:
    if kind not in KINDS:
        raise ConfigError(f"Unknown kind {kind!r}.{did_you_mean(kind, KINDS)}")
    constraints = budget.check(corpus)
    curve = None
    if repetition is not None and repetition is not False:
        decay = PUBLISHED_DECAY if repetition is True else float(repetition)
        curve = Repetition(np.array([d.unique_tokens / budget.tokens for d in corpus.domains]), decay)
    view = LawView(law, corpus, budget, curve)
    weights = check_weights(objective)
    W = np.zeros(len(view.targets))
    W[view.index(weights, "The objective")] = list(weights.values())
    today = corpus.natural if reference is None else _mixture(reference, corpus, "reference")
    at_reference = view.predict(today.array(corpus.names)[None])[0]
    guards = []
    for name, slack in (guard or {}).items():
        i = view.index([name], "guard")[0]
        if not np.isfinite(slack):
            raise ConfigError(f"guard[{name!r}] must be a finite number of nats, got {slack!r}.")
        one = np.zeros(len(W))
        one[i] = 1.0
        limit = float(at_reference[i]) + float(slack)
        guards.append(
            Function(
                one,
                const=-limit,
                label=f"{name}: at most {slack:+.4g} nats of the reference's {float(at_reference[i]):.4f}",
            )
        )
    if kind == "guard" and not guards:
        raise ConfigError("kind='guard' needs guard={set: nats it may get worse}.")
    if (kind == "least_change") != (gain is not None):
        raise ConfigError(
            f"kind='least_change' and gain=(nats to win) belong together, got kind={kind!r}, gain={gain!r}."
        )
    if not (np.isfinite(kl_weight) and kl_weight >= 0):
        raise ConfigError(f"kl_weight must be a number >= 0, got {kl_weight!r}.")
    prior = None
    if kl_weight > 0:
        if kind == "least_change":
            raise ConfigError("kind='least_change' has a distance of its own; leave out kl_weight.")
        if isinstance(kl_to, str):
            known = {"natural": corpus.natural, "uniform": Mixture.uniform(corpus.names), "reference": today}
            if kl_to not in known:
                raise ConfigError(f"kl_to={kl_to!r} is no mixture.{did_you_mean(kl_to, known)}")
            prior = known[kl_to].array(corpus.names)
        else:
            prior = _mixture(kl_to, corpus, "kl_to").array(corpus.names)
    tasks = dict(task or {})
    view.index(tasks, "task")
    return _Request(
        view,
        weights,
        W,
        kind,
        constraints,
        today,
        at_reference,
        tuple(guards),
        float(gain or 0.0),
        float(kl_weight),
        prior,
        curve,
        tasks,
    )


def _mixture(value: Any, corpus: Corpus, where: str) -> Mixture:
    mixture = value if isinstance(value, Mixture) else Mixture(value)
    for name in mixture:
        if name not in corpus.names:
            raise ConfigError(f"{where} names {name!r}, which is not a domain.{did_you_mean(name, corpus.names)}")
    return Mixture.from_array(corpus.names, mixture.array(corpus.names))


def _with_rows(law: Any, runs: tuple[Any, Any] | None, corpus: Corpus, budget: Budget) -> Any:
    """A law read back from JSON has lost its training rows; give a copy of it the caller's."""
    if runs is None or not hasattr(law, "feature_names_in_") or getattr(law, "_training", None) is not None:
        return law
    _, losses, matrix = LawView(law, corpus, budget).rows(runs)
    law = copy.copy(law)
    law._training = (matrix, losses, np.ones(len(matrix)))
    return law


def _own_runs(law: Any) -> tuple[Any, Any] | None:
    """The rows a law fitted in this process still carries."""
    training = getattr(law, "_training", None)
    return None if training is None else (training[0], training[1])


# ---- posing and solving ---------------------------------------------------------------------------------
def _problem(
    q: _Request, atoms: Atoms | None, robust: str | None, worlds: Sequence[LawView], warnings: list[str]
) -> tuple[Problem, Atoms | None]:
    options: dict[str, Any] = {"repetition": q.repetition}
    if q.prior is not None:
        options["prior"] = q.prior
    if robust is not None:
        if q.kind not in ("mean", "guard") or q.kl_weight:
            raise ConfigError("robust= works with the weighted mean and guards, without kl_weight.")
        if atoms is None:
            raise ConfigError(f"robust={robust!r} needs a law of atoms; {_why(q.view, atoms)}.")
        several = _convex_worlds(q, worlds, warnings)
        reference = q.reference.array(q.constraints.domains)
        return robust_problem(
            robust, q.constraints, atoms, several, q.W, q.guards, reference=reference, repetition=q.repetition
        )
    if q.kind == "worst":
        return worst(q.constraints, q.W, _best_reachable(q, atoms), q.guards, kl=q.kl_weight, **options), atoms
    if q.kind == "least_change":
        at = float(q.W @ q.at_reference)
        wanted = Function(q.W, const=-(at - q.gain), label=f"objective: at least {q.gain:g} nats below {at:.4f}")
        reference = q.reference.array(q.constraints.domains)
        return least_change(q.constraints, reference, (wanted, *q.guards), **options), atoms
    return mean(q.constraints, q.W, q.guards, kl=q.kl_weight, **options), atoms


def _convex_worlds(q: _Request, worlds: Sequence[LawView], warnings: list[str]) -> list[Atoms]:
    """Bootstrap laws that keep the problem convex; says how many were left out, refuses when they are most."""
    plain = mean(q.constraints, q.W)
    several = [a for a in (w.atoms() for w in worlds) if a is not None]
    convex = [a for a in several if plain.certifiable(a)]
    if len(convex) < len(worlds) / 2:
        raise ConfigError(
            f"Only {len(convex)} of {len(worlds)} bootstrap refits of {type(q.view.law).__name__} are convex for this "
            f"objective, so a robust optimum cannot be certified. Use a law that always is (EffectiveTokens), or add "
            f"runs."
        )
    if len(convex) < len(worlds):
        warnings.append(
            f"{len(worlds) - len(convex)} of {len(worlds)} bootstrap laws are not convex and were left out."
        )
    return convex


def _best_reachable(q: _Request, atoms: Atoms | None) -> Array:
    """(T,) lowest loss of each set of the objective alone under the budget (0 for the others)."""
    best = np.zeros(len(q.W))
    chosen = np.flatnonzero(q.W > 0)
    problem = mean(q.constraints, np.zeros(len(q.W)), repetition=q.repetition)
    ones = [replace(problem, functions=(Function(np.eye(len(q.W))[t]),)) for t in chosen]
    if atoms is not None and all(p.certifiable(atoms) for p in ones):
        programs = [p.program(atoms) for p in ones]
        batch = replace(
            programs[0],
            coef=np.concatenate([p.coef for p in programs]),
            const=np.concatenate([p.const for p in programs]),
        )
        best[chosen] = solve(batch).value
    else:
        for t, one in zip(chosen, ones):
            best[t] = search(one, q.view.predict, q.view.gradient, starts=8).value
    return best


def _certified(q: _Request, problem: Problem, atoms: Atoms) -> Solution:
    needs = [f for f in problem.functions[1:] if f.label and not f.label.startswith("worst:")]
    if needs:
        _explain_unreachable(q, needs, atoms)
    return solve(problem.program(atoms))


def _branched(problem: Problem, atoms: Atoms | None, excluded: Any) -> Solution | None:
    """Branch and bound where concave atoms stand in the objective only; its gap may stay open."""
    if excluded or atoms is None or problem.certifiable(atoms) or not branchable(problem, atoms):
        return None
    try:
        return solve_branching(problem, atoms)
    except ConvergenceError:
        return None  # the general search explains what is infeasible


def _snapped(problem: Problem, atoms: Atoms, solution: Solution) -> Solution:
    """Weights within 1e-8 of a bound put on it (no one trains on a hundred-millionth), and the gap taken again."""
    k, z = problem.num_weights, solution.z.copy()
    r, low, high = z[0, :k], problem.low[:k], problem.high[:k]
    r = np.where(r - low < 1e-8, low, np.where(high - r < 1e-8, high, r))
    between = (r > low) & (r < high)
    if not between.any():
        return solution
    j = int(np.argmax(np.where(between, np.minimum(r - low, high - r), -1.0)))
    r[j] += 1.0 - r.sum()
    if not low[j] <= r[j] <= high[j]:
        return solution
    z[0, :k] = r
    F = problem.program(atoms).functions(z)
    rise = max(float(F[0, 0] - solution.value[0]), -float(solution.gap[0]))
    if not np.isfinite(rise) or rise > 1e-8 or F[0, 1:].max(initial=0.0) > 1e-7:
        return solution
    return replace(solution, z=z, value=F[:, 0], gap=solution.gap + rise, functions=F)


def _explain_unreachable(q: _Request, needs: Sequence[Function], atoms: Atoms) -> None:
    """Raise, with numbers, when no mixture meets the guards and the wanted gain together."""
    T = len(atoms.const)

    def excess(chosen: Sequence[Function]) -> float:
        k = q.constraints.low.shape[0]
        tau = np.zeros(k + 1)
        tau[k] = 1.0
        rows = [replace(f, linear=-tau) for f in chosen]
        posed = Problem(
            q.constraints,
            (Function(np.zeros(T), linear=tau), *rows),
            repetition=q.repetition,
            num_extra=1,
            extra_low=np.array([-np.inf]),
            extra_high=np.array([np.inf]),
        )
        found = solve(posed.program(atoms))
        return float(found.value[0] - found.gap[0])

    if excess(needs) <= 0:
        return
    conflict = list(needs)
    for f in list(needs):
        rest = [g for g in conflict if g is not f]
        if rest and excess(rest) > 0:
            conflict = rest
    short = excess(conflict)
    raise InfeasibleBudgetError(
        f"No mixture under this budget satisfies: {'; '.join(f.label for f in conflict)}. The closest one still misses "
        f"by {short:.4g} nats (certified). Relax one of them by that much, or the budget.",
        tuple(f.label for f in conflict),
    )


def _general(q: _Request, problem: Problem, starts: int, seed: int, several_tasks: bool) -> General:
    def predict(R: Array) -> Array:
        losses = q.view.predict(R)
        return _with_tasks(q, losses) if several_tasks else losses

    def gradient(R: Array) -> Array:
        slopes = q.view.gradient(R)
        if several_tasks:
            losses = q.view.predict(R)
            for name, curve in q.tasks.items():
                i = q.view.targets.index(name)
                slopes[:, i] *= -curve.slope(losses[:, i])[:, None]
        return slopes

    also = np.array([m.array(q.constraints.domains) for m in (q.reference, Mixture.uniform(q.constraints.domains))])
    return search(problem, predict, gradient, starts, seed, also)


def _with_tasks(q: _Request, losses: Array) -> Array:
    out = losses.copy()
    for name, curve in q.tasks.items():
        i = q.view.targets.index(name)
        out[:, i] = 1.0 - curve.predict(losses[:, i])
    return out


def _why(view: LawView, atoms: Atoms | None) -> str:
    name = type(view.law).__name__
    if atoms is None:
        return f"{name} is not a sum of convex atoms"
    odd = [t for t, ok in zip(view.targets, atoms.convex()) if not ok]
    return f"{name} is not convex for {odd[:5] or 'this combination'}"


def _scorer(q: _Request, problem: Problem, several_tasks: bool) -> Any:
    """losses (n, T) -> objective (n,), lower is better; KL terms are not part of it."""
    if q.kind == "worst":
        rows = [f for f in problem.functions if f.label.startswith("worst:")]
        W, const = np.stack([f.weights for f in rows]), np.array([f.const for f in rows])
        return lambda losses: (losses @ W.T + const).max(axis=1)
    if several_tasks:
        return lambda losses: _with_tasks(q, losses) @ q.W
    return lambda losses: losses @ q.W


# ---- what goes around the mixture -------------------------------------------------------------------------
def _worlds(
    q: _Request, rows: tuple[Any, Any] | None, num: int | None, needed: bool, seed: int, warnings: list[str]
) -> list[LawView]:
    if num is None:
        num = 40 if hasattr(q.view.law, "theta_") else 12
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
    q: _Request,
    score: Any,
    r: Array,
    reference: Array,
    worlds: Sequence[LawView],
    half: float,
    level: float,
    warnings: list[str],
) -> Gain:
    both = np.stack([r, reference])
    difference = float(np.subtract(*score(q.view.predict(both))))
    optimism = 0.0
    draws = None
    if worlds:
        scored = np.array([score(w.predict(both)) for w in worlds])
        draws = scored[:, 0] - scored[:, 1]
        optimism = _optimism(q, score, worlds, reference) if q.kind in ("mean", "guard") and not q.guards else 0.0
    return gain(difference, draws, optimism, half, level, bool(np.allclose(r, reference, atol=1e-6)))


def _optimism(q: _Request, score: Any, worlds: Sequence[LawView], reference: Array) -> float:
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


def _baseline(q: _Request, mixture: Mixture, score: Any, half: float, level: float) -> dict[str, Any]:
    weights = mixture.array(q.constraints.domains)
    value = float(score(q.view.predict(weights[None]))[0])
    known = np.isfinite(value)
    return {
        "weights": mixture.to_dict(),
        "prediction": Prediction(value, value - half, value + half, level).to_dict() if known else None,
        "feasible": feasible(weights, q.constraints),
    }


def _unconstrained(
    q: _Request, problem: Problem, atoms: Atoms | None, starts: int, seed: int, several_tasks: Any
) -> Mixture | None:
    free = problem.without_limits()
    try:
        if atoms is not None:
            z = solve(free.program(atoms)).z[0]
        else:
            z = _general(q, free, max(starts // 4, 4), seed, bool(several_tasks)).z
    except ConvergenceError:
        return None  # for instance an epoch-free optimum at which the law is not defined
    r = np.where(z[: free.num_weights] < 1e-8, 0.0, z[: free.num_weights])
    return Mixture.from_array(q.constraints.domains, r / r.sum())


def _near(
    q: _Request,
    problem: Problem,
    atoms: Atoms | None,
    solution: Solution | None,
    found: General | None,
    score: Any,
    r: Array,
    near: float,
    seed: int,
) -> dict[str, tuple[float, float]]:
    domains = q.constraints.domains
    if solution is not None and atoms is not None:
        chosen = list(range(len(domains))) if len(domains) <= 64 else sorted(np.argsort(-r)[:16].tolist())
        value = float(posed_value(problem, atoms, solution))
        allowance = near * max(abs(value), 1e-12)
        if q.kind == "least_change":  # the objective there is a share of tokens
            allowance = max(allowance, near)
        try:
            ranges = near_optimal(problem, atoms, value, allowance, chosen)
        except ConvergenceError:
            return {}
        return {domains[j]: (float(min(a, r[j])), float(max(b, r[j]))) for j, (a, b) in zip(chosen, ranges)}
    pool = random_feasible(problem, 2000, seed + 7)
    close = r + np.linspace(0, 1, 12)[1:, None, None] ** 3 * (pool[:180] - r)
    R = np.vstack([pool, close.reshape(-1, len(r)), *([] if found is None else [found.ends])])
    values = score(q.view.predict(R))
    optimum = float(score(q.view.predict(r[None]))[0])
    ranges = sampled_near_optimal(R, values, r, optimum, near * abs(optimum))
    return {d: (float(a), float(b)) for d, (a, b) in zip(domains, ranges)}


def posed_value(problem: Problem, atoms: Atoms, solution: Solution) -> float:
    """The problem's objective at a solution (that of a robust problem answers another question)."""
    z = solution.z[:1]
    if z.shape[1] == problem.num_weights + problem.num_extra:
        return float(problem.program(atoms).functions(z)[0, 0])
    return float(problem.program(atoms).functions(z[:, : problem.num_weights])[0, 0])


def _describe(q: _Request, robust: str | None) -> dict[str, Any]:
    out: dict[str, Any] = {"kind": q.kind, "weights": q.weights}
    if q.guards:
        out["guards"] = [g.label for g in q.guards]
    if q.kind == "least_change":
        out["gain"] = q.gain
    if q.kl_weight:
        out["kl_weight"] = q.kl_weight
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

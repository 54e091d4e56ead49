"""From a request to a problem, and from a problem to its optimum: certified where convex, else the best of many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import Mixture
from mixlaw.errors import ConfigError, ConvergenceError, InfeasibleBudgetError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.optimize.around.robust import robust_problem
from mixlaw.optimize.pose.objective import Function, Problem, least_change, mean, pooled, worst
from mixlaw.optimize.pose.request import Request
from mixlaw.optimize.pose.view import LawView
from mixlaw.optimize.solve.branch import branchable, solve_branching
from mixlaw.optimize.solve.convex import Solution, solve
from mixlaw.optimize.solve.general import General, search

__all__ = [
    "Posed",
    "best_of_starts",
    "losses_and_slopes",
    "pose",
    "snap",
    "solve_bounded",
    "solve_certified",
    "why_not",
    "with_tasks",
]


@dataclass(frozen=True)
class Posed:
    """What a request asks, as a problem.

    Args:
        problem: as asked, over the law's own targets (and the refits' objectives, where it is robust).
        exact, atoms: what certified solvers are given: the same with equal atoms merged where that shows it convex.
        convex: whether ``exact`` can be certified.
        loose: by how much its optimum may be off because the losses that sets could reach are (``kind="worst"``), in
            the objective's unit; infinite where they come from local searches, which certify nothing.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus)
        >>> posed = pose(q, q.view.atoms(), [], warnings=[])
        >>> posed.convex, len(posed.problem.functions)
        (True, 1)
    """

    problem: Problem
    exact: Problem
    atoms: Atoms | None
    convex: bool
    loose: float = 0.0


def pose(q: Request, law: Atoms | None, refits: Sequence[LawView], warnings: list[str]) -> Posed:
    """The problem of a request.

    Args:
        law: the law's atoms, or None.
        refits: the law refitted to weighed runs, where ``q.robust``.
        warnings: what the reader must know is added.

    Raises:
        ConfigError: contradicting wishes, or a robust optimum of a law that is not convex.
        InfeasibleBudgetError: no mixture keeps the limit on the KL divergence.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus, kind="worst")
        >>> [f.label for f in pose(q, q.view.atoms(), [], warnings=[]).problem.functions]
        ['', 'worst:0']
    """
    problem, atoms, loose = _asked(q, law, refits, warnings)
    exact = problem
    if atoms is not None and not problem.certifiable(atoms) and problem.functions[0].weights.any():
        exact, atoms = pooled(problem, atoms)
    convex = atoms is not None and exact.certifiable(atoms) and not q.several_tasks and loose < np.inf
    return Posed(problem, exact, atoms, convex, loose)


def _asked(
    q: Request, atoms: Atoms | None, refits: Sequence[LawView], warnings: list[str]
) -> tuple[Problem, Atoms | None, float]:
    """The problem, its atoms, and by how much its optimum may be off (see :class:`Posed`)."""
    options: dict[str, Any] = q.options
    if q.prior is not None:
        _check_prior(q, q.prior, warnings)
    if q.robust is not None:
        if q.kind not in ("mean", "guard") or q.kl_weight:
            raise ConfigError("robust= works with the weighted mean and guards, without kl_weight.")
        if atoms is None:
            raise ConfigError(f"robust={q.robust!r} needs a law of atoms; {why_not(q.view, atoms)}.")
        several = _convex_refits(q, refits, warnings)
        return *robust_problem(
            q.robust, q.constraints, atoms, several, q.W, q.guards, reference=q.today, **options
        ), 0.0
    if q.kind == "worst":
        best, loose = _best_reachable(q, atoms)
        if loose == np.inf:
            warnings.append(
                "The losses that the sets could reach at best are from local searches: they may be too high, and the "
                "excess over them too small."
            )
        return worst(q.constraints, q.W, best, q.guards, kl=q.kl_weight, **options), atoms, loose
    if q.kind == "least_change":
        at = float(q.W @ q.at_reference)
        wanted = Function(q.W, const=-(at - q.gain), label=f"objective: at least {q.gain:g} nats below {at:.4f}")
        return least_change(q.constraints, q.today, (wanted, *q.guards), **options), atoms, 0.0
    return mean(q.constraints, q.W, q.guards, kl=q.kl_weight, **options), atoms, 0.0


def _check_prior(q: Request, prior: Array, warnings: list[str]) -> None:
    """Say what a KL term to ``prior`` forbids, and refuse, whatever the law, a limit that no mixture keeps."""
    c, absent = q.constraints, prior <= 0
    never = [n for n, out in zip(c.domains, absent) if out]
    held = [c.labels_low[j] for j in np.flatnonzero(absent & (c.low > 0))]
    if held:
        raise ConfigError(
            f"kl_to gives nothing to a domain with a floor ({'; '.join(held)}): the KL divergence to it is infinite. "
            f"Give kl_to a weight there, or take the floor away."
        )
    if never:
        few = [n for n, out in zip(c.domains, absent) if not out]
        warnings.append(
            f"kl_to gives nothing to {', '.join(never[:6])}{' and others' if len(never) > 6 else ''}, and the KL "
            f"divergence to it is infinite where they get anything: only {', '.join(few[:6])}"
            f"{' and others' if len(few) > 6 else ''} may be drawn. Give them a small weight in kl_to to allow them."
        )
    if q.kl_limit is None:
        return
    none = np.zeros(0)
    nothing = Atoms(np.zeros(1), none.astype(int), none.astype(str), none, np.zeros((0, len(prior))), none, none)
    posed = Problem(c, (Function(np.zeros(1), kl=1.0),), prior=prior)
    try:
        closest = solve(posed.program(nothing))
    except ConvergenceError:
        raise InfeasibleBudgetError(
            f"kl_to allows nothing but {', '.join(n for n in c.domains if n not in never)}, and no mixture of these "
            f"alone satisfies the budget. Give the other domains a weight in kl_to.",
            (),
        ) from None
    least = float(closest.value[0])
    if least - float(closest.gap[0]) <= q.kl_limit + 1e-9:
        return
    r = closest.z[0]
    binding = [c.labels_high[j] for j in np.flatnonzero((closest.b[0] > 1e-6) & (c.high - r < 1e-6) & (c.high < 1))]
    binding += [c.labels_low[j] for j in np.flatnonzero((closest.a[0] > 1e-6) & (r - c.low < 1e-6) & (c.low > 0))]
    binding += [c.labels[i] for i in np.flatnonzero(closest.y[0] > 1e-6)]
    raise InfeasibleBudgetError(
        f"No mixture under this budget is within {q.kl_limit:.4g} nats of KL divergence of kl_to: the closest has "
        f"{least:.4g}. What keeps it away: {'; '.join(binding)}. Raise kl_limit, or relax one of these.",
        tuple(binding),
    )


def _convex_refits(q: Request, refits: Sequence[LawView], warnings: list[str]) -> list[Atoms]:
    """Bootstrap laws that keep the problem convex; says how many were left out, refuses when they are most."""
    plain = mean(q.constraints, q.W)
    several = [a for a in (one.atoms() for one in refits) if a is not None]
    convex = [a for a in several if plain.certifiable(a)]
    if len(convex) < len(refits) / 2:
        raise ConfigError(
            f"Only {len(convex)} of {len(refits)} bootstrap refits of {q.view.name} are convex for this "
            f"objective, so a robust optimum cannot be certified. Use a law that always is (EffectiveTokens), or add "
            f"runs."
        )
    if len(convex) < len(refits):
        warnings.append(
            f"{len(refits) - len(convex)} of {len(refits)} bootstrap laws are not convex and were left out."
        )
    return convex


def _best_reachable(q: Request, atoms: Atoms | None) -> tuple[Array, float]:
    """(T,) lowest loss of each set of the objective alone under the budget (0 for the others); and by how much the
    largest weighted excess over them may be too small: what is left of their duality gaps, infinite for searches."""
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
        found = solve(batch)
        best[chosen] = found.value
        return best, float((q.W[chosen] / q.W.max() * np.maximum(found.gap, 0.0)).max())
    for t, one in zip(chosen, ones):
        best[t] = search(one, q.view.predict, q.view.gradient, starts=8).value
    return best, np.inf


def solve_certified(q: Request, problem: Problem, atoms: Atoms) -> Solution:
    """The certified optimum of a convex problem.

    Raises:
        InfeasibleBudgetError: no mixture meets the guards or the wanted gain; says by how much they are missed.
        ConvergenceError: the solver found no feasible point though one exists.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus)
        >>> posed = pose(q, q.view.atoms(), [], warnings=[])
        >>> found = solve_certified(q, posed.exact, posed.atoms)
        >>> found.z[0].round(3).tolist(), bool(found.gap[0] < 1e-8)
        ([0.5, 0.5], True)
    """
    needs = [f for f in problem.functions[1:] if f.label and not f.label.startswith("worst:")]
    if needs:
        _explain_unreachable(q, needs, atoms)
    return solve(problem.program(atoms))


def solve_bounded(problem: Problem, atoms: Atoms | None, excluded: bool) -> Solution | None:
    """Branch and bound where concave atoms stand in the objective only; its gap may stay open.

    Args:
        atoms: the law's, or None.
        excluded: whether the caller wishes something that this solver cannot do.

    Returns:
        None where it does not apply, or found no feasible mixture.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> from mixlaw.laws.core.atoms import Atoms
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> atoms = Atoms(zero, np.zeros(1, int), np.array(["exp"]), -one, np.array([[2.0, 1.0]]), zero, zero)
        >>> found = solve_bounded(mean(limits, np.ones(1)), atoms, excluded=False)  # -exp(2 web + code)
        >>> found.z[0].round(4).tolist(), bool(found.gap[0] < 1e-6)
        ([1.0, 0.0], True)
    """
    if excluded or atoms is None or problem.certifiable(atoms) or not branchable(problem, atoms):
        return None
    try:
        return solve_branching(problem, atoms)
    except ConvergenceError:
        return None  # the general search explains what is infeasible


def snap(problem: Problem, atoms: Atoms, solution: Solution) -> Solution:
    """The same optimum with weights that an interior-point method leaves just off a bound put on it.

    Which weights those are is tried from 1e-5 (no one trains on a hundred-thousandth) downwards; what they held goes to
    the others, in one stroke where nothing else binds, by solving for the others again where something does. The answer
    must satisfy every limit and be as certain as before (or to 1e-8): a weight that is meant to be small stays.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> from mixlaw.laws.core.atoms import Atoms
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> atoms = Atoms(zero, np.zeros(1, int), np.array(["exp"]), one, np.array([[-3.0, 0.0]]), zero, zero)
        >>> problem = mean(limits, np.ones(1))  # exp(-3 web): best at web alone
        >>> found = solve(problem.program(atoms))
        >>> snap(problem, atoms, found).z.tolist()
        [[1.0, 0.0]]
    """
    program, k = problem.program(atoms), problem.num_weights
    low, high, r = problem.low[:k], problem.high[:k], solution.z[0, :k]
    proven = float(solution.value[0] - solution.gap[0])
    allowed = max(1e-8, float(solution.gap[0]))
    for reach in (1e-5, 1e-6, 1e-7, 1e-8):
        down, up = (r > low) & (r - low < reach), (r < high) & (high - r < reach)
        if not (down | up).any():
            return solution
        onto = np.where(down, low, np.where(up, high, r))
        for moved in (_shifted, _solved_again):
            z = moved(problem, atoms, solution.z[0], onto, down | up)
            if z is None:
                continue
            F = program.functions(z[None])
            rows = program.matrix[0] @ z - program.upper[0]
            gap = float(F[0, 0]) - proven
            if np.isfinite(gap) and gap <= allowed and max(F[0, 1:].max(initial=0.0), rows.max(initial=0.0)) <= 1e-9:
                gaps = np.array([max(gap, float(solution.gap[0]) if gap < 0 else 0.0)])
                return replace(solution, z=z[None], value=F[:, 0], gap=gaps, functions=F)
    return solution


def _shifted(problem: Problem, atoms: Atoms, z: Array, onto: Array, gone: npt.NDArray[np.bool_]) -> Array | None:
    """z with weights ``onto``, the rest of the tokens on the one with most room."""
    k = problem.num_weights
    if problem.num_extra:
        return None
    room = np.where(gone, -1.0, np.minimum(onto - problem.low[:k], problem.high[:k] - onto))
    j, r = int(np.argmax(room)), onto.copy()
    r[j] += 1.0 - r.sum()
    return r if problem.low[j] <= r[j] <= problem.high[j] else None


def _solved_again(problem: Problem, atoms: Atoms, z: Array, onto: Array, gone: npt.NDArray[np.bool_]) -> Array | None:
    """The optimum with the weights that are ``gone`` held where they are in ``onto``."""
    if not problem.certifiable(atoms):
        return None
    c = problem.constraints
    held = replace(c, low=np.where(gone, onto, c.low), high=np.where(gone, onto, c.high))
    try:
        return np.asarray(solve(replace(problem, constraints=held).program(atoms)).z[0])
    except ConvergenceError:
        return None  # with them on the bound the limits are not met: they are meant to be off it


def _explain_unreachable(q: Request, needs: Sequence[Function], atoms: Atoms) -> None:
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
            **q.options,
            num_extra=1,
            extra_low=np.array([-np.inf]),
            extra_high=np.array([np.inf]),
        )
        found = solve(posed.program(atoms), strict=False)  # its lower bound holds wherever it ends
        return float(found.value[0] - found.gap[0])

    if excess(needs) <= 0:
        return
    conflict = _smallest(list(needs), excess)
    short = excess(conflict)
    raise InfeasibleBudgetError(
        f"No mixture under this budget satisfies: {'; '.join(f.label for f in conflict)}. The closest one still misses "
        f"by {short:.4g} nats (certified). Relax one of them by that much, or the budget.",
        tuple(f.label for f in conflict),
    )


def _smallest(needs: list[Function], excess: Callable[[Sequence[Function]], float]) -> list[Function]:
    """A smallest subset that no mixture meets; of more than six needs one from which none can be left out."""
    if len(needs) <= 6:
        subsets = (list(some) for size in range(1, len(needs)) for some in combinations(needs, size))
        return next((some for some in subsets if excess(some) > 0), needs)
    conflict = needs
    for f in needs:
        rest = [g for g in conflict if g is not f]
        if rest and excess(rest) > 0:
            conflict = rest
    return conflict


def losses_and_slopes(q: Request) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """What the general search minimises over: losses (n, T) and their derivatives (n, T, K) at mixtures (n, K); of
    several tasks the errors instead.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus)
        >>> predict, gradient = losses_and_slopes(q)
        >>> predict(np.array([[0.5, 0.5]])).round(2).tolist(), gradient(np.array([[0.5, 0.5]])).shape
        ([[5.02]], (1, 1, 2))
    """

    def predict(R: Array) -> Array:
        losses = q.view.predict(R)
        return with_tasks(q, losses) if q.several_tasks else losses

    def gradient(R: Array) -> Array:
        slopes = q.view.gradient(R)
        if q.several_tasks:
            losses = q.view.predict(R)
            for name, curve in q.tasks.items():
                i = q.view.targets.index(name)
                slopes[:, i] *= -curve.slope(losses[:, i])[:, None]
        return slopes

    return predict, gradient


def best_of_starts(q: Request, problem: Problem, starts: int) -> General:
    """The best of ``starts`` local searches, beginning at the reference and the uniform mixture too.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus)
        >>> found = best_of_starts(q, pose(q, None, [], warnings=[]).problem, starts=4)
        >>> found.z.round(3).tolist(), found.starts
        ([0.5, 0.5], 4)
    """
    predict, gradient = losses_and_slopes(q)
    also = np.array([q.today, Mixture.uniform(q.domains).array()])
    return search(problem, predict, gradient, starts, q.seed, also)


def with_tasks(q: Request, losses: Array) -> Array:
    """Losses (n, T) with errors (1 - accuracy) in place of the losses of sets that have a task.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> from mixlaw.optimize.pose.task import TaskLaw
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> curve = TaskLaw(a=-0.6, k=4.0, L0=5.0, b=0.85)  # accuracy 0.55 at a loss of 5 nats
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus, task={"all": curve})
        >>> with_tasks(q, np.array([[5.0]])).round(2).tolist()
        [[0.45]]
    """
    out = losses.copy()
    for name, curve in q.tasks.items():
        i = q.view.targets.index(name)
        out[:, i] = 1.0 - curve.predict(losses[:, i])
    return out


def why_not(view: LawView, atoms: Atoms | None) -> str:
    """In words, why the optimum of a law cannot be certified.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.view import LawView
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> why_not(LawView(law, corpus, Budget(tokens=1_000)), None)  # as a law without atoms is told
        'LogLinear is not a sum of convex terms, which a proof needs'
    """
    name = view.name
    if atoms is None:
        return f"{name} is not a sum of convex terms, which a proof needs"
    odd = [t for t, ok in zip(view.targets, atoms.convex()) if not ok]
    return f"{name} is not convex for {odd[:5] or 'this combination'}"

"""Laws with some concave atoms (a domain that hurts: ``+b log r``, a negative amplitude), still certified.

Spatial branch and bound. A concave term of one linear form lies above its chord on any interval of that form, so
replacing it by the chord gives a convex problem whose certified bound holds for that piece of the simplex. Pieces are
split where the chord is farthest from the term; those that cannot hold anything better than the best mixture found are
dropped. All open pieces of a round are one batch of the interior-point method.

At an optimum a domain that hurts usually sits at its lower bound, where chord and term agree: few pieces are needed.
Source: Falk & Soland 1969; Horst & Tuy, Global Optimization.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConvergenceError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.optimize.pose.objective import Problem
from mixlaw.optimize.solve.convex import Program, Solution, solve

__all__ = ["branchable", "solve_branching"]


def branchable(problem: Problem, atoms: Atoms) -> bool:
    """Whether concave atoms appear in the objective only, over the weights themselves.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> from mixlaw.laws.core.atoms import Atoms
        >>> from mixlaw.optimize.pose.objective import mean
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> atoms = Atoms(zero, np.zeros(1, int), np.array(["exp"]), -one, np.array([[2.0, 1.0]]), zero, zero)
        >>> problem = mean(limits, np.ones(1))
        >>> branchable(problem, atoms), problem.certifiable(atoms)
        (True, False)
    """
    if problem.repetition is not None or problem.num_extra or problem.functions[0].kl < 0:
        return False
    return all(not _concave(f.weights, atoms).any() for f in problem.functions[1:])


def _concave(weights: Array, atoms: Atoms) -> npt.NDArray[np.bool_]:
    coef = weights[atoms.target] * atoms.scale
    return np.asarray(np.where(atoms.kind == "log", coef > 0, coef < 0), dtype=bool)


@dataclass
class _Piece:
    """Intervals [low, high] (F,) of the linear forms that concave atoms live on, and a bound that holds there."""

    low: Array
    high: Array
    bound: float


def solve_branching(problem: Problem, atoms: Atoms, tol: float = 1e-8, max_pieces: int = 600) -> Solution:
    """Global optimum of an objective with concave atoms; ``gap`` is value minus the lowest bound of any open piece.

    Args:
        max_pieces: relaxations to solve before giving up with the gap reached by then.

    Raises:
        ConvergenceError: no feasible mixture was found.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> from mixlaw.laws.core.atoms import Atoms
        >>> from mixlaw.optimize.pose.objective import mean
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> atoms = Atoms(zero, np.zeros(1, int), np.array(["exp"]), -one, np.array([[2.0, 1.0]]), zero, zero)
        >>> found = solve_branching(mean(limits, np.ones(1)), atoms)  # -exp(2 web + code): best at web alone
        >>> found.z.round(4).tolist(), found.value.round(4).tolist()
        ([[1.0, 0.0]], [-7.3891])
    """
    whole = problem.program(atoms)
    concave = _concave(problem.functions[0].weights, atoms)
    directions, form = np.unique(np.round(atoms.linear[concave], 12), axis=0, return_inverse=True)
    form = np.asarray(form).ravel()
    low, high = _range(directions, problem)
    best: Solution | None = None
    open_pieces = [_Piece(low, high, -np.inf)]
    lost, solved = np.inf, 0  # lowest bound of pieces too thin to split further
    while open_pieces and solved < max_pieces:
        top = np.inf if best is None else float(best.value[0])
        open_pieces = [p for p in open_pieces if p.bound < top - tol]
        open_pieces.sort(key=lambda p: p.bound)
        batch, open_pieces = open_pieces[:16], open_pieces[16:]
        if not batch:
            break
        relaxed = _relax(whole, problem, atoms, concave, directions, form, batch)
        found = solve(relaxed, tol=0.2 * tol, strict=False)
        solved += len(batch)
        bounds = found.value - found.gap
        truth = whole.functions(found.z)[:, 0]
        ok = found.violation <= 1e-7
        if ok.any():
            i = int(np.argmin(np.where(ok, truth, np.inf)))
            if best is None or truth[i] < best.value[0] - 1e-12:
                best = _descend(whole, problem, atoms, concave, found.z[i])
        for i, piece in enumerate(batch):
            bound = max(piece.bound, float(bounds[i]))
            if best is not None and bound >= best.value[0] - tol:
                continue
            u = found.z[i] @ directions.T
            above = _chord_error(problem, atoms, concave, directions, form, piece, u)
            f = int(np.argmax(above))
            width = piece.high[f] - piece.low[f]
            if width < 1e-7 or above[f] < 1e-13:
                lost = min(lost, bound)
                continue
            at = float(np.clip(u[f], piece.low[f] + 0.1 * width, piece.high[f] - 0.1 * width))
            for side in (0, 1):
                a, b = piece.low.copy(), piece.high.copy()
                (b if side == 0 else a)[f] = at
                open_pieces.append(_Piece(a, b, bound))
    if best is None:
        raise ConvergenceError("Branch and bound found no feasible mixture; check the guards and the budget.")
    value = float(best.value[0])
    lowest = min([value, lost, *(p.bound for p in open_pieces)])
    # pieces were dropped when they could improve by less than tol, so that is the least that can be claimed
    return replace(best, gap=np.array([max(value - lowest, tol)]), iterations=solved)


def _range(directions: Array, problem: Problem) -> tuple[Array, Array]:
    """Smallest and largest value of each linear form over bounds and simplex (rows are left out: still valid)."""
    low, high = problem.low, problem.high

    def smallest(d: Array) -> float:
        r, left = low.copy(), 1.0 - low.sum()
        for j in np.argsort(d, kind="stable"):
            step = min(left, high[j] - low[j])
            r[j] += step
            left -= step
        return float(d @ r)

    return np.array([smallest(d) for d in directions]), np.array([-smallest(-d) for d in directions])


def _term(problem: Problem, atoms: Atoms, concave: npt.NDArray[np.bool_], u: Array) -> Array:
    """Concave terms (.., A_c) at their forms' values u (.., A_c), offsets not yet added."""
    kind, power = atoms.kind[concave], atoms.exponent[concave]
    coef = (problem.functions[0].weights[atoms.target] * atoms.scale)[concave]
    v = u + atoms.offset[concave]
    safe = np.where(kind == "exp", 1.0, np.maximum(v, 1e-300))
    with np.errstate(over="ignore"):
        phi = np.where(kind == "exp", np.exp(np.where(kind == "exp", v, 0.0)), safe**-power)
    return np.asarray(coef * np.where(kind == "log", np.log(safe), phi))


def _already_convex(
    problem: Problem, atoms: Atoms, concave: npt.NDArray[np.bool_], directions: Array, piece: _Piece
) -> npt.NDArray[np.bool_]:
    """(F,) forms of one weight on which convex atoms of the same weight outweigh the concave ones all over the piece.

    Curvature of each atom is monotone in the weight, so its extremes over the interval are at the ends.
    """
    coef = problem.functions[0].weights[atoms.target] * atoms.scale
    alone = (atoms.linear != 0).sum(axis=1) == 1
    out = np.zeros(len(directions), dtype=bool)
    for f in np.flatnonzero((directions != 0).sum(axis=1) == 1):
        j = int(np.flatnonzero(directions[f])[0])
        ends = np.sort(np.array([piece.low[f], piece.high[f]]) / directions[f, j])
        mine = np.flatnonzero(alone & (atoms.linear[:, j] != 0))
        slope, kind, power = atoms.linear[mine, j], atoms.kind[mine], atoms.exponent[mine]
        u = slope * ends[:, None] + atoms.offset[mine]
        if (u[:, kind != "exp"] <= 0).any():
            continue
        v = np.where(kind == "exp", 1.0, u)
        with np.errstate(over="ignore"):
            second = np.where(kind == "exp", np.exp(np.where(kind == "exp", u, 0.0)), v**-2.0)
            second = np.where(kind == "power", power * (power + 1) * v ** (-power - 2.0), second)
        size = np.abs(coef[mine]) * slope**2 * second  # (2, atoms)
        helps = ~concave[mine]
        out[f] = size[:, helps].min(axis=0).sum() >= size[:, ~helps].max(axis=0).sum()
    return out


def _chords(
    problem: Problem, atoms: Atoms, concave: npt.NDArray[np.bool_], form: npt.NDArray[np.int64], piece: _Piece
) -> tuple[Array, Array]:
    """Slope and value at the lower end of each concave atom's chord."""
    a, b = piece.low[form], piece.high[form]
    left, right = _term(problem, atoms, concave, a), _term(problem, atoms, concave, b)
    return (right - left) / np.maximum(b - a, 1e-300), left


def _chord_error(
    problem: Problem,
    atoms: Atoms,
    concave: npt.NDArray[np.bool_],
    directions: Array,
    form: npt.NDArray[np.int64],
    piece: _Piece,
    u: Array,
) -> Array:
    """(F,) how far the chords of each form's atoms lie below them at u."""
    slope, left = _chords(problem, atoms, concave, form, piece)
    error = _term(problem, atoms, concave, u[form]) - (left + slope * (u[form] - piece.low[form]))
    error = np.where(_already_convex(problem, atoms, concave, directions, piece)[form], 0.0, error)
    return np.bincount(form, weights=np.maximum(error, 0.0), minlength=len(u)).astype(np.float64)


def _relax(
    whole: Program,
    problem: Problem,
    atoms: Atoms,
    concave: npt.NDArray[np.bool_],
    directions: Array,
    form: npt.NDArray[np.int64],
    batch: list[_Piece],
) -> Program:
    """The convex relaxations of several pieces as one batch."""
    B, K = len(batch), problem.num_weights
    m1 = whole.coef.shape[1]
    coef = np.broadcast_to(whole.coef, (B, *whole.coef.shape[1:])).copy()
    linear = np.broadcast_to(whole.linear, (B, m1, K)).copy()
    const = np.broadcast_to(whole.const, (B, m1)).copy()
    low, high = np.broadcast_to(whole.low, (B, K)).copy(), np.broadcast_to(whole.high, (B, K)).copy()
    single = (directions != 0).sum(axis=1) == 1
    rows, upper = [], []
    for b, piece in enumerate(batch):
        slope, left = _chords(problem, atoms, concave, form, piece)
        chord = ~_already_convex(problem, atoms, concave, directions, piece)[form]
        coef[b, 0, np.flatnonzero(concave)[chord]] = 0.0
        linear[b, 0] += slope[chord] @ directions[form[chord]]
        const[b, 0] += float((left - slope * piece.low[form])[chord].sum())
        for f in np.flatnonzero(single):
            j = int(np.flatnonzero(directions[f])[0])
            ends = np.sort(np.array([piece.low[f], piece.high[f]]) / directions[f, j])
            low[b, j] = min(max(low[b, j], ends[0]), high[b, j])
            high[b, j] = max(min(high[b, j], ends[1]), low[b, j])
        several = ~single
        rows.append(np.vstack([directions[several], -directions[several]]))
        upper.append(np.concatenate([piece.high[several], -piece.low[several]]))
    matrix = np.concatenate([np.broadcast_to(whole.matrix, (B, *whole.matrix.shape[1:])), np.array(rows)], axis=1)
    limit = np.concatenate([np.broadcast_to(whole.upper, (B, whole.upper.shape[1])), np.array(upper)], axis=1)
    return replace(whole, coef=coef, linear=linear, const=const, low=low, high=high, matrix=matrix, upper=limit)


def _descend(
    whole: Program, problem: Problem, atoms: Atoms, concave: npt.NDArray[np.bool_], z: Array, steps: int = 8
) -> Solution:
    """Convex-concave descent from z: concave terms replaced by their tangents, which lie above them."""
    coef = whole.coef.copy()
    coef[:, 0, concave] = 0.0
    value = float(whole.functions(z[None])[0, 0])
    kept: Solution | None = None
    for _ in range(steps):
        only = replace(whole, coef=whole.coef - coef, linear=whole.linear * 0.0, kl=whole.kl * 0.0)
        slope = only.jacobian(z[None])[0, 0]
        linear = whole.linear.copy()
        linear[0, 0] += slope
        found = solve(replace(whole, coef=coef, linear=linear), tol=1e-9)
        new = float(whole.functions(found.z)[0, 0])
        if kept is not None and new > value - 1e-12:
            break
        gain, value, z = value - new, min(new, value), found.z[0]
        kept = replace(found, value=whole.functions(found.z)[:, 0])
        if gain < 1e-12:
            break
    assert kept is not None
    return kept

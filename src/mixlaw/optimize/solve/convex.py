"""Convex programs over mixtures, solved to a certified global optimum, many at once.

The solver is a primal-dual interior-point method on the arrays of :class:`~mixlaw.optimize.solve.program.Program`,
with a leading batch axis: a Pareto frontier, a near-optimal set or a hundred bootstrap laws cost little more than one
solve. Its answer does not have to be believed: ``gap`` is the value minus
:func:`~mixlaw.optimize.solve.program.lower_bound`, which holds for whatever multipliers it ended with.

Legend: ``p`` multipliers of the functions, ``y`` of the rows, ``a, b`` of lower and upper bounds, ``v`` of the
equalities; ``s`` slacks; ``mu`` the mean complementarity product.

Sources: Boyd & Vandenberghe, Convex Optimization, ch. 11; Mehrotra 1992 (centring rule).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConvergenceError
from mixlaw.kit.arrays import Array
from mixlaw.optimize.solve.barrier import central_point
from mixlaw.optimize.solve.program import Program, Solution, kl_divergence, lower_bound

__all__ = ["Program", "Solution", "lower_bound", "solve"]
Bools = npt.NDArray[np.bool_]
_TINY = 1e-300
_REFINEMENTS = 4


def _presolve(program: Program) -> tuple[Program, Bools, Array]:
    """Take out variables whose bounds coincide; returns the smaller program, which stay (n,), and their values."""
    low, high = np.broadcast_arrays(program.low, program.high)
    with np.errstate(invalid="ignore"):
        fixed = np.asarray(((high - low) < 1e-13).all(axis=0))
    fixed[program.low.shape[1] :] = False
    value = np.where(fixed, low[0], 0.0)
    if not fixed.any():
        return program, ~fixed, value
    keep, k = ~fixed, len(program.prior)
    still = value[None]
    e = still if program.repetition is None else program.repetition.value(still)
    e = np.where(fixed, e, 0.0)
    const = program.const + np.matmul(program.linear, still[:, :, None])[:, :, 0]
    if program.kl.any():
        const = const + program.kl * kl_divergence(still[:, :k], program.prior)[:, None]
    return (
        replace(
            program,
            linear=program.linear[:, :, keep],
            const=const,
            direction=program.direction[:, :, keep],
            offset=program.offset + np.matmul(program.direction, e[:, :, None])[:, :, 0],
            low=program.low[:, keep],
            high=program.high[:, keep],
            matrix=program.matrix[:, :, keep],
            upper=program.upper - np.matmul(program.matrix, still[:, :, None])[:, :, 0],
            equal=program.equal[:, keep],
            right=program.right - still @ program.equal.T,
            prior=program.prior[keep[:k]],
            repetition=None if program.repetition is None else program.repetition.take(keep),
            start=None if program.start is None else program.start[keep],
        ),
        keep,
        value,
    )


def _start(program: Program) -> Array:
    """A point (B, n) strictly inside the bounds, on the equalities where the bounds allow it in one stride."""
    B, n = program.batch, program.low.shape[1]
    low = np.broadcast_to(program.low, (B, n))
    high = np.broadcast_to(program.high, (B, n))
    finite = np.isfinite(low) & np.isfinite(high)
    z = np.where(np.isfinite(low), low + 1.0, np.where(np.isfinite(high), high - 1.0, 0.0))
    with np.errstate(invalid="ignore"):
        z = np.where(finite, low + 0.5 * (high - low), z)
    right = np.broadcast_to(program.right, (B, len(program.equal)))
    for i, row in enumerate(program.equal):
        mine = (row != 0) & finite.all(axis=0)
        span = ((high - low)[:, mine] * row[mine]).sum(1)
        share = (right[:, i] - (low[:, mine] * row[mine]).sum(1)) / np.maximum(span, _TINY)
        share = np.clip(share, 0.02, 0.98)
        z[:, mine] = low[:, mine] + share[:, None] * (high - low)[:, mine]
    if program.start is not None:
        wanted = np.broadcast_to(program.start, (B, n))
        z = np.where(np.isfinite(wanted), wanted, z)
    return z


@dataclass
class _Point:
    """An iterate: variables, multipliers, and slacks of functions and rows."""

    z: Array
    p: Array
    y: Array
    a: Array
    b: Array
    v: Array
    sF: Array
    sG: Array

    def moved(self, d: _Point, primal: Array, dual: Array) -> _Point:
        """Along d: ``primal``, ``dual`` (B,) are the steps of the variables and of the multipliers."""
        s, t = primal[:, None], dual[:, None]
        return _Point(
            self.z + s * d.z,
            self.p + t * d.p,
            self.y + t * d.y,
            self.a + t * d.a,
            self.b + t * d.b,
            self.v + t * d.v,
            self.sF + s * d.sF,
            self.sG + s * d.sG,
        )


class _InteriorPoint:
    """One batch of programs without fixed variables, and the steps towards its optimum."""

    def __init__(self, program: Program, tol: float, centre: float = 0.0) -> None:
        self.program, self.tol, self.centre = program, tol, centre
        B, n = program.batch, program.low.shape[1]
        m, M = program.coef.shape[1] - 1, program.matrix.shape[1]
        self.B, self.n = B, n
        self.low, self.high = np.broadcast_to(program.low, (B, n)), np.broadcast_to(program.high, (B, n))
        self.has_low, self.has_high = np.isfinite(self.low), np.isfinite(self.high)
        self.free = np.asarray(~(self.has_low | self.has_high).any(axis=0), dtype=bool)
        self.matrix = np.broadcast_to(program.matrix, (B, M, n))
        self.count = np.maximum(self.has_low.sum(1) + self.has_high.sum(1) + m + M, 1)

    def rows(self, z: Array) -> Array:
        """Rows minus their limits (B, M)."""
        return np.asarray(np.matmul(self.matrix, z[:, :, None])[:, :, 0] - self.program.upper)

    def room(self, z: Array) -> tuple[Array, Array]:
        """Distance to the bounds; 1 where there is none."""
        return np.where(self.has_low, z - self.low, 1.0), np.where(self.has_high, self.high - z, 1.0)

    def run(self, x: _Point, max_iter: int) -> tuple[_Point, Array, int]:
        """Steps from x until every program is done or stuck: the best points, how far from a proof they are (B,), and
        how many steps it took."""
        best_score, stalled, iteration = np.full(self.B, np.inf), np.zeros(self.B, dtype=int), 0
        best = _Point(*(np.array(field) for field in _fields(x)))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for iteration in range(1, max_iter + 1):  # noqa: B007
                score, exact = self.certificate(x)
                better = score < best_score
                stalled = np.where(score < 0.5 * best_score, 0, stalled + 1)
                best_score = np.where(better, score, best_score)
                for new, old in zip(_fields(replace(x, p=exact)), _fields(best)):
                    old[better] = new[better]
                done = (best_score <= self.tol) | (stalled > 25)
                if done.all():
                    break
                x = self.step(x, done)
        return best, best_score, iteration

    def central(self, start: Array, mu: float = 1e-6) -> _Point | None:
        """The point whose products of slacks and multipliers are all mu, from a start (n,) strictly inside."""
        found = central_point(self.program, start, mu)
        if found is None:
            return None
        z, v = found
        sF, sG, (sl, su) = -self.program.functions(z)[:, 1:], -self.rows(z), self.room(z)
        a, b = np.where(self.has_low, mu / sl, 0.0), np.where(self.has_high, mu / su, 0.0)
        return _Point(z, mu / sF, mu / sG, a, b, v, sF, sG)

    def begin(self) -> _Point:
        """A point strictly inside the bounds with evenly sized products of slacks and multipliers."""
        program, z = self.program, _start(self.program)
        if not program.inside(program.inner(z)).all():
            raise ConvergenceError(
                "The law is not defined at the centre of the allowed mixtures (a logarithm or power of a number that "
                "is not positive). Narrow the budget to mixtures near the observed ones, or use another law."
            )
        F = program.functions(z)
        given = np.zeros(self.n, dtype=bool) if program.start is None else np.isfinite(program.start)
        for j in np.flatnonzero(self.free & ~given):  # an epigraph variable: start above every constraint it bounds
            slope = np.broadcast_to(program.linear, (self.B, F.shape[1], self.n))[:, 1:, j]
            need = np.where(slope < 0, F[:, 1:] / np.where(slope < 0, -slope, 1.0), -np.inf).max(
                axis=1, initial=-np.inf
            )
            z[:, j] += np.where(np.isfinite(need), need, 0.0) + 1.0
            F = program.functions(z)
        rows = self.rows(z)
        worst = _worst(np.zeros((self.B, 0)), F[:, 1:], rows)[:, None]
        floor = np.maximum(1e-2, worst)
        sF, sG = np.maximum(-F[:, 1:], floor), np.maximum(-rows, floor)
        sl, su = self.room(z)
        mu = np.maximum(1e-2, 0.1 * worst)
        a, b = np.where(self.has_low, mu / sl, 0.0), np.where(self.has_high, mu / su, 0.0)
        return _Point(z, mu / sF, mu / sG, a, b, np.zeros((self.B, len(program.equal))), sF, sG)

    def certificate(self, x: _Point) -> tuple[Array, Array]:
        """How far x is from a proof of optimality (B,), and its function multipliers made exact."""
        F = self.program.functions(x.z)
        equal = x.z @ self.program.equal.T - self.program.right
        violation = _worst(equal, F[:, 1:], self.rows(x.z))
        p = _exact_free(self.program, x.p, self.free)
        gap = F[:, 0] - lower_bound(self.program, x.z, p, x.y, x.v)
        score = np.maximum(np.abs(gap), 10.0 * violation)
        if self.centre:  # nothing counts that is not strictly inside
            score = np.where(violation > 1e-12, np.maximum(score, 1e6 * violation), score)
        return np.where(np.isfinite(score), score, np.inf), p

    def merit(self, x: _Point, target: Array) -> Array:
        """Norm (B,) of what Newton's method drives to zero."""
        program = self.program
        F, J = program.functions(x.z), program.jacobian(x.z)
        dual = J[:, 0] + np.matmul(x.p[:, None], J[:, 1:])[:, 0] + np.matmul(x.y[:, None], program.matrix)[:, 0]
        sl, su = self.room(x.z)
        slope = dual + x.v @ program.equal - x.a + x.b
        if program.kl.any():
            # log r changes with every step of a tiny r: its slope counts as what r is worth, as in lower_bound
            k = len(program.prior)
            slope = np.hstack([slope[:, :k] * np.minimum(1.0, sl[:, :k]), slope[:, k:]])
        parts = (
            slope,
            x.z @ program.equal.T - program.right,
            F[:, 1:] + x.sF,
            self.rows(x.z) + x.sG,
            np.where(self.has_low, x.a * sl - target, 0.0),
            np.where(self.has_high, x.b * su - target, 0.0),
            x.p * x.sF - target,
            x.y * x.sG - target,
        )
        total = sum(((part * part).sum(1) for part in parts), np.zeros(self.B))
        return np.sqrt(np.where(np.isfinite(total), total, np.inf))

    def mean_product(self, x: _Point) -> Array:
        """mu (B,)."""
        sl, su = self.room(x.z)
        return ((x.a * sl).sum(1) + (x.b * su).sum(1) + (x.p * x.sF).sum(1) + (x.y * x.sG).sum(1)) / self.count

    def infeasibility(self, x: _Point) -> Array:
        """Largest residual (B,) of the constraints with their slacks."""
        F = self.program.functions(x.z)[:, 1:]
        equal = x.z @ self.program.equal.T - self.program.right
        parts = np.concatenate([np.abs(F + x.sF), np.abs(self.rows(x.z) + x.sG), np.abs(equal)], axis=1)
        return np.asarray(parts.max(axis=1, initial=0.0))

    def newton(self, x: _Point) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Newton's step is linear in the target t of the products: (dz, dv) at t = 0 and per unit of t, and what
        the other parts follow from."""
        program = self.program
        F, J = program.functions(x.z), program.jacobian(x.z)
        Jc, sl_su = J[:, 1:], self.room(x.z)
        sl, su = sl_su
        rE = x.z @ program.equal.T - program.right
        rF, rG = F[:, 1:] + x.sF, self.rows(x.z) + x.sG
        rows, curve, diagonal = program.curvature(x.z, np.concatenate([np.ones((self.B, 1)), x.p], axis=1))
        parts = (np.broadcast_to(rows, (self.B, *rows.shape[1:])), self.matrix, Jc)
        H = _Sum(
            diagonal + x.a / sl + x.b / su,
            np.concatenate(parts, axis=1),
            np.concatenate([curve, x.y / x.sG, x.p / x.sF], axis=1),
        )
        right = -J[:, 0] - x.v @ program.equal - np.matmul((x.p * rF / x.sF)[:, None], Jc)[:, 0]
        right = right - np.matmul((x.y * rG / x.sG)[:, None], self.matrix)[:, 0]
        centre = np.where(self.has_low, 1.0 / sl, 0.0) - np.where(self.has_high, 1.0 / su, 0.0)
        centre = centre - np.matmul((1.0 / x.sF)[:, None], Jc)[:, 0]
        centre = centre - np.matmul((1.0 / x.sG)[:, None], self.matrix)[:, 0]
        return _solve(H, right, centre, program.equal, rE), (Jc, rF, rG, sl, su)

    def direction(self, x: _Point, parts: tuple[Array, ...], rest: tuple[Array, ...], t: Array) -> _Point:
        """The full step for targets t (B, 1)."""
        Jc, rF, rG, sl, su = rest
        dz, dv = parts[0] + t * parts[2], parts[1] + t * parts[3]
        dsF = -rF - np.matmul(Jc, dz[:, :, None])[:, :, 0]
        dsG = -rG - np.matmul(self.matrix, dz[:, :, None])[:, :, 0]
        return _Point(
            z=dz,
            p=(t - x.p * dsF) / x.sF - x.p,
            y=(t - x.y * dsG) / x.sG - x.y,
            a=np.where(self.has_low, (t - x.a * dz) / sl - x.a, 0.0),
            b=np.where(self.has_high, (t + x.b * dz) / su - x.b, 0.0),
            v=dv,
            sF=dsF,
            sG=dsG,
        )

    def reach(self, x: _Point, d: _Point) -> tuple[Array, Array]:
        """Largest primal and dual steps (B,) in [0, 1] that keep slacks and multipliers non-negative."""
        sl, su = self.room(x.z)
        down, up = np.where(self.has_low, d.z, 0.0), np.where(self.has_high, -d.z, 0.0)
        primal, dual = np.ones(self.B), np.ones(self.B)
        for value, change in ((sl, down), (su, up), (x.sF, d.sF), (x.sG, d.sG)):
            primal = np.minimum(primal, _reach(value, change))
        for value, change in ((x.p, d.p), (x.y, d.y), (x.a, d.a), (x.b, d.b)):
            dual = np.minimum(dual, _reach(value, change))
        return primal, dual

    def step(self, x: _Point, done: Bools) -> _Point:
        """One damped Newton step for the programs that are not done."""
        mu = self.mean_product(x)
        parts, rest = self.newton(x)
        # Mehrotra's rule: aim as low as the pure Newton step shows to be within reach
        pure = self.direction(x, parts, rest, np.zeros((self.B, 1)))
        after = self.mean_product(x.moved(pure, *self.reach(x, pure)))
        sigma = np.clip((after / np.maximum(mu, _TINY)) ** 3, 1e-4, 0.5)
        # products must not vanish before the constraints hold, or the last steps to feasibility become tiny
        behind = self.infeasibility(x) > np.maximum(10.0 * mu, self.tol)
        sigma = np.where(behind, np.maximum(sigma, 0.3), sigma)
        target = np.maximum(sigma * mu, max(1e-3 * self.tol, self.centre) / self.count)[:, None]
        d = self.direction(x, parts, rest, target)
        step = 0.995 * np.minimum(*self.reach(x, d))
        before = self.merit(x, target)
        ok = done
        for _ in range(30):
            moved, inside = self.trial(x, d, step)
            after = self.merit(moved, target)
            ok = done | (inside & (after <= (1 - 0.01 * step) * before + 1e-13))
            if ok.all():
                break
            step = np.where(ok, step, 0.6 * step)
        go = np.where(~done & np.isfinite(after) & np.isfinite(d.z).all(axis=1), step, 0.0)
        d.z = np.where(np.isfinite(d.z), d.z, 0.0)
        return self.trial(x, d, go)[0]

    def trial(self, x: _Point, d: _Point, step: Array) -> tuple[_Point, Bools]:
        """Where a step (B,) along d leads, and whether (B,) the law is defined there.

        A function's slack is taken from the function itself where it is nearly that already: what its curvature adds
        would count as infeasibility otherwise and, for a function that does not even bind, make all steps tiny.
        """
        moved = x.moved(d, step, step)
        inside = self.program.inside(self.program.inner(moved.z))
        moved.z = np.where(inside[:, None], moved.z, x.z)
        left = -self.program.functions(moved.z)[:, 1:]
        moved.sF = np.where(left >= 0.5 * moved.sF, left, moved.sF)
        return moved, inside


def solve(
    program: Program, tol: float = 1e-9, max_iter: int = 100, centre: float = 0.0, strict: bool = True
) -> Solution:
    """Solve all programs of the batch.

    Args:
        tol: aim for a duality gap below this, in the objective's units.
        max_iter: interior-point steps; 10 to 25 are usual.
        centre: stay on the central path where the gap is about this (< tol): a point strictly inside all limits.
        strict: raise where a program of the batch ends infeasible; else its ``violation`` says so.

    Raises:
        ConvergenceError: no point was found that satisfies the constraints to 1e-7 (they may be infeasible).

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws.core.atoms import Atoms
        >>> from mixlaw.optimize.pose.objective import mean
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> target, zeros = np.zeros(2, int), np.zeros(2)
        >>> atoms = Atoms(np.zeros(1), target, np.full(2, "exp"), np.ones(2), -np.eye(2), zeros, zeros)
        >>> found = solve(mean(limits, np.ones(1)).program(atoms))  # exp(-web) + exp(-code)
        >>> found.z.round(4).tolist(), bool(found.gap[0] < 1e-8)
        ([[0.5, 0.5]], True)
    """
    small, keep, fixed = _presolve(program)
    B = program.batch
    if not keep.any():
        z = np.broadcast_to(fixed, (B, len(fixed))).copy()
        m, M, q = program.coef.shape[1] - 1, program.matrix.shape[1], len(program.equal)
        return _finish(program, z, np.zeros((B, m)), np.zeros((B, M)), np.zeros((B, q)), 0, strict)
    method = _InteriorPoint(small, tol, centre)
    best, score, iteration = method.run(method.begin(), max_iter)
    late = ~(score <= 10.0 * tol)
    if late.any() and small.start is not None and np.isfinite(small.start).all():
        iteration += _carefully(_InteriorPoint(small.take(late), tol, centre), small.start, max_iter, late, best, score)
    if not np.isfinite(score).all():
        raise ConvergenceError("The interior-point method found no finite point; the law may overflow on this budget.")
    z = np.zeros((B, len(keep)))
    z[:, keep], z[:, ~keep] = best.z, fixed[~keep]
    return _finish(program, z, best.p, best.y, best.v, iteration, strict)


def _carefully(method: _InteriorPoint, start: Array, max_iter: int, late: Bools, best: _Point, score: Array) -> int:
    """Improve ``best`` and ``score`` of the programs that are ``late``, which ``method`` has: from the start
    and down the central path. Returns the further steps."""
    begin = method.central(start)
    if begin is None:
        return 0
    found, reached, steps = method.run(begin, max_iter)
    better = reached < score[late]
    where = np.flatnonzero(late)[better]
    for new, old in zip(_fields(found), _fields(best)):
        old[where] = new[better]
    score[where] = reached[better]
    return steps


def _fields(x: _Point) -> tuple[Array, ...]:
    return (x.z, x.p, x.y, x.a, x.b, x.v, x.sF, x.sG)


def _finish(program: Program, z: Array, p: Array, y: Array, v: Array, iterations: int, strict: bool = True) -> Solution:
    """Take rounding errors off the weights and certify what is left, in the program the caller posed."""
    B, n = z.shape
    low, high = np.broadcast_to(program.low, (B, n)), np.broadcast_to(program.high, (B, n))
    z = np.clip(z, low, high)
    for i, row in enumerate(program.equal):  # spread what is missing where there is room
        right = np.broadcast_to(program.right, (B, len(program.equal)))[:, i]
        for _ in range(2):
            short = right - z @ row
            room = np.where(row != 0, np.where(short[:, None] > 0, high - z, z - low), 0.0)
            z = z + short[:, None] * room / np.maximum((room * row).sum(1, keepdims=True), _TINY)
            z = np.clip(z, low, high)
    F, J = program.functions(z), program.jacobian(z)
    rows = np.matmul(program.matrix, z[:, :, None])[:, :, 0] - program.upper
    equal = z @ program.equal.T - program.right
    violation = _worst(equal, F[:, 1:], rows)
    if strict and (violation > 1e-7).any():
        worst = float(violation.max())
        raise ConvergenceError(
            f"No mixture satisfies all of these constraints (the best found misses one by {worst:.2e}). Relax the "
            f"guards, the wanted gain or the budget."
        )
    slope = J[:, 0] + np.matmul(p[:, None], J[:, 1:])[:, 0] + np.matmul(y[:, None], program.matrix)[:, 0]
    slope = slope + v @ program.equal
    gap = F[:, 0] - lower_bound(program, z, p, y, v)
    # below zero, the value is too good by what it overdraws its limits: the gap is what that is worth, not nothing
    owed = (p * np.maximum(F[:, 1:], 0.0)).sum(1) + (y * np.maximum(rows, 0.0)).sum(1) + np.abs(v * equal).sum(1)
    return Solution(
        z,
        F[:, 0],
        np.maximum(gap, owed) if strict else gap,
        violation,
        F,
        p,
        y,
        np.maximum(slope, 0.0),
        np.maximum(-slope, 0.0),
        v,
        iterations,
    )


def _worst(equal: Array, functions: Array, rows: Array) -> Array:
    parts = [np.abs(equal), np.maximum(functions, 0.0), np.maximum(rows, 0.0)]
    return np.asarray(np.concatenate(parts, axis=1).max(axis=1, initial=0.0))


def _exact_free(program: Program, p: Array, free: Bools) -> Array:
    """Rescale p so that the Lagrangian's slope in a free (epigraph) variable is exactly zero."""
    for j in np.flatnonzero(free):
        slope = np.broadcast_to(program.linear, (len(p), p.shape[1] + 1, len(free)))[:, :, j]
        pushing = slope[:, 0] + (p * np.maximum(slope[:, 1:], 0.0)).sum(1)
        holding = (p * np.maximum(-slope[:, 1:], 0.0)).sum(1)
        factor = np.where(holding > 0, pushing / np.where(holding > 0, holding, 1.0), 1.0)
        p = np.where(slope[:, 1:] < 0, p * factor[:, None], p)
    return p


def _reach(x: Array, dx: Array) -> Array:
    """Largest step (B,) in [0, 1] that keeps x + step dx >= 0."""
    ratio = np.where(dx < 0, -x / np.where(dx < 0, dx, -1.0), np.inf)
    return np.asarray(np.minimum(1.0, ratio.min(axis=1, initial=np.inf)))


@dataclass(frozen=True)
class _Sum:
    """The matrix ``diag(diagonal) + rows' diag(weight) rows``, never formed where it has far more columns than rows.

    ``diagonal`` (B, n), ``rows`` (B, r, n), ``weight`` (B, r), all weights >= 0.
    """

    diagonal: Array
    rows: Array
    weight: Array

    @property
    def thin(self) -> bool:
        """Whether its rows are few enough to be solved through, and the diagonal can be divided by."""
        _, r, n = self.rows.shape
        return n >= 64 and 3 * r <= n and bool((self.diagonal > 0).all())

    def whole(self) -> Array:
        """The matrix (B, n, n)."""
        H = np.matmul(np.swapaxes(self.rows, 1, 2) * self.weight[:, None], self.rows)
        i = np.arange(H.shape[1])
        H[:, i, i] += self.diagonal
        return np.asarray(H)


def _solve(H: _Sum, right: Array, centre: Array, equal: Array, rE: Array) -> tuple[Array, Array, Array, Array]:
    """Solve [[H, E'], [E, 0]] [dz, dv] = [right, -rE] and = [centre, 0], batched: (dz, dv) of the one and the other."""
    R = np.stack([right, centre], axis=2)
    T = np.stack([-rE, np.zeros_like(rE)], axis=2)
    E = np.broadcast_to(equal[None], (len(right), *equal.shape))
    dz, dv = _solve_thin(H, R, E, T) if H.thin else _solve_whole(H.whole(), R, E, T)
    return dz[:, :, 0], dv[:, :, 0], dz[:, :, 1], dv[:, :, 1]


def _solve_thin(H: _Sum, R: Array, E: Array, T: Array) -> tuple[Array, Array]:
    """Through the rows: (r + q)^2 n operations instead of n^3.

    With ``u = weight^(1/2) rows z`` as unknowns beside the multipliers of E, what is left is diagonal in z. Late steps
    divide by very small diagonals; steps of refinement give back the digits that are lost there.
    """
    B, r = len(R), H.rows.shape[1]
    V = np.concatenate([H.rows * np.sqrt(np.maximum(H.weight, 0.0))[:, :, None], E], axis=1)
    Vt, D = np.swapaxes(V, 1, 2), H.diagonal[:, :, None]
    small = np.matmul(V / H.diagonal[:, None], Vt)
    i = np.arange(r)
    small[:, i, i] += 1.0
    j = np.arange(small.shape[1])
    scale = 1.0 / np.sqrt(np.maximum(small[:, j, j], _TINY))
    small = small * scale[:, :, None] * scale[:, None, :]
    small[:, j, j] += 1e-15  # equal rows must not stop the solver

    def once(top: Array, bottom: Array) -> tuple[Array, Array]:
        y = scale[:, :, None] * np.linalg.solve(small, scale[:, :, None] * (np.matmul(V, top / D) - bottom))
        return (top - np.matmul(Vt, y)) / D, y

    bottom = np.concatenate([np.zeros((B, r, R.shape[2])), T], axis=1)
    z, y = once(R, bottom)
    for _ in range(_REFINEMENTS):
        left = bottom - np.matmul(V, z)
        left[:, :r] += y[:, :r]
        dz, dy = once(R - D * z - np.matmul(Vt, y), left)
        z, y = z + dz, y + dy
    return z, y[:, r:]


def _solve_whole(H: Array, R: Array, E: Array, T: Array) -> tuple[Array, Array]:
    """With the matrix as it is."""
    B, n, _ = H.shape
    i = np.arange(n)
    # scaling by the diagonal keeps barrier terms of very different size from drowning each other
    scale = 1.0 / np.sqrt(np.maximum(np.abs(H[:, i, i]), _TINY))
    A = H * scale[:, :, None] * scale[:, None, :]
    A[:, i, i] += 1e-13
    E = E * scale[:, None, :]
    sides = np.concatenate([R * scale[:, :, None], np.swapaxes(E, 1, 2)], axis=2)
    try:
        S = np.linalg.solve(A, sides)
    except np.linalg.LinAlgError:
        A[:, i, i] += 1e-8
        S = np.stack([np.linalg.lstsq(np.nan_to_num(A[k]), np.nan_to_num(sides[k]), rcond=None)[0] for k in range(B)])
    x, x2 = S[:, :, : R.shape[2]], S[:, :, R.shape[2] :]
    schur = np.matmul(E, x2)
    wanted = np.matmul(E, x) - T  # (B, q, 2)
    q = E.shape[1]
    if q == 1:
        dv = wanted / np.where(np.abs(schur) > _TINY, schur, 1.0)
    else:
        dv = np.linalg.solve(np.where(np.isfinite(schur), schur, 0.0) + 1e-300 * np.eye(q), np.nan_to_num(wanted))
    return (x - np.matmul(x2, dv)) * scale[:, :, None], dv

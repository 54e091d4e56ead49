"""Convex programs over mixtures, solved to a certified global optimum, many at once.

A program has functions ``F_0 .. F_m`` (the objective, and constraints ``F_i <= 0``) of ``z = (r, further variables)``,

    ``F_i(z) = const_i + linear_i . z + sum_a coef_ia phi_a(direction_a . e(z) + offset_a) + kl_i KL(r || prior)``

where ``phi_a`` is ``exp``, ``u^-exponent`` or ``log`` and ``e`` is the identity or the effective share of repeated
data (:class:`~mixlaw.optimize.forms.Repetition`), plus rows ``matrix @ z <= upper``, equalities ``equal @ z = right``
and bounds. The caller promises that every ``F_i`` is convex.

The solver is a primal-dual interior-point method on arrays with a leading batch axis: a Pareto frontier, a
near-optimal set or a hundred bootstrap worlds cost little more than one solve. Its answer does not have to be
believed: :func:`lower_bound` turns *any* multipliers into a valid bound by linearising the Lagrangian at the answer
and minimising it over the bounds in closed form; ``gap`` is value minus bound.

Legend: ``p`` multipliers of the functions, ``y`` of the rows, ``a, b`` of lower and upper bounds, ``v`` of the
equalities; ``s`` slacks; ``mu`` the mean complementarity product.

Sources: Boyd & Vandenberghe, Convex Optimization, ch. 11; Mehrotra 1992 (centring rule); Jaggi 2013 (linearised gap).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConvergenceError
from mixlaw.optimize.forms import Repetition

__all__ = ["Program", "Solution", "lower_bound", "solve"]

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_TINY = 1e-300


@dataclass(frozen=True)
class Program:
    """B convex programs in n variables of which the first K are the weights r. Leading axes are B, or 1 if shared.

    Shapes: ``coef`` (B, m+1, A), ``linear`` (B, m+1, n), ``const``, ``kl`` (B, m+1), ``direction`` (B, A, n),
    ``offset`` (B, A), ``kind`` (A,), ``exponent`` (B, A), ``low``, ``high`` (B, n; infinite = no bound), ``matrix``
    (B, M, n), ``upper`` (B, M), ``equal`` (q, n), ``right`` (B, q), ``prior`` (K,), ``start`` (n,) or None.
    """

    coef: Array
    linear: Array
    const: Array
    direction: Array
    offset: Array
    kind: npt.NDArray[np.str_]
    exponent: Array
    low: Array
    high: Array
    matrix: Array
    upper: Array
    equal: Array
    right: Array
    kl: Array
    prior: Array
    repetition: Repetition | None = None
    start: Array | None = None

    @property
    def batch(self) -> int:
        """Number of programs."""
        return max(
            len(x)
            for x in (
                self.coef,
                self.linear,
                self.const,
                self.direction,
                self.offset,
                self.low,
                self.high,
                self.matrix,
                self.upper,
                self.right,
                self.kl,
            )
        )

    def take(self, i: int) -> Program:
        """The i-th program alone."""
        shared = (
            "coef",
            "linear",
            "const",
            "direction",
            "offset",
            "exponent",
            "low",
            "high",
            "matrix",
            "upper",
            "right",
            "kl",
        )
        return replace(self, **{k: v if len(v := getattr(self, k)) == 1 else v[i : i + 1] for k in shared})

    # ---- values and derivatives ------------------------------------------------------------------------
    def phi(self, u: Array, order: int) -> Array:
        """phi or its first or second derivative at u (B, A)."""
        out = np.empty_like(u)
        exponent = np.broadcast_to(self.exponent, u.shape)
        for kind in np.unique(self.kind):
            c = self.kind == kind
            v, p = u[:, c], exponent[:, c]
            if kind == "exp":
                out[:, c] = np.exp(v)
            elif kind == "power":
                rising = (1.0, -p, p * (p + 1))[order]
                out[:, c] = rising * v ** (-p - order)
            else:
                out[:, c] = (np.log(v), 1 / v, -1 / v**2)[order]
        return out

    def inner(self, z: Array) -> Array:
        """u (B, A) at z (B, n)."""
        e = z if self.repetition is None else self.repetition.value(z)
        return np.matmul(self.direction, e[:, :, None])[:, :, 0] + self.offset

    def inside(self, u: Array) -> Bools:
        """(B,) whether every u lies where its phi is defined."""
        positive = self.kind != "exp"
        return (u[:, positive] > 0).all(axis=1) & (u[:, ~positive] < 600).all(axis=1)

    def functions(self, z: Array) -> Array:
        """F (B, m+1)."""
        phi = self.phi(self.inner(z), 0)
        F = np.matmul(self.coef, phi[:, :, None])[:, :, 0] + self.const
        F = F + np.matmul(self.linear, z[:, :, None])[:, :, 0]
        if self.kl.any():
            F = F + self.kl * _kl(z[:, : len(self.prior)], self.prior)[:, None]
        return F

    def jacobian(self, z: Array) -> Array:
        """dF/dz (B, m+1, n)."""
        slope = self.phi(self.inner(z), 1)
        J = np.matmul(self.coef * slope[:, None], self.direction)
        if self.repetition is not None:
            J = J * self.repetition.slope(z)[:, None]
        J = J + self.linear
        if self.kl.any():
            k = len(self.prior)
            J[:, :, :k] += self.kl[:, :, None] * (np.log(np.maximum(z[:, :k], _TINY) / self.prior) + 1.0)[:, None]
        return J

    def hessian(self, z: Array, weight: Array) -> Array:
        """sum_i weight_i d2 F_i (B, n, n)."""
        u = self.inner(z)
        total = np.matmul(weight[:, None], self.coef)[:, 0]  # (B, A)
        direction = self.direction
        curve = total * self.phi(u, 2)
        n = z.shape[1]
        if self.repetition is None:
            H = np.matmul(np.swapaxes(direction, 1, 2) * curve[:, None], direction)
        else:
            scaled = direction * self.repetition.slope(z)[:, None]
            H = np.matmul(np.swapaxes(scaled, 1, 2) * curve[:, None], scaled)
            pull = np.matmul((total * self.phi(u, 1))[:, None], direction)[:, 0]
            H[:, np.arange(n), np.arange(n)] += pull * self.repetition.curvature(z)
        if self.kl.any():
            k = np.arange(len(self.prior))
            H[:, k, k] += (weight * self.kl).sum(1)[:, None] / z[:, : len(k)]
        return H


@dataclass(frozen=True)
class Solution:
    """Where each of B programs ended. ``gap`` (B,) is a valid bound on how far ``value`` lies above the optimum.

    ``p`` (B, m), ``y`` (B, M), ``a``, ``b`` (B, n), ``v`` (B, q) are the multipliers, all of the sign that makes
    them prices: the optimum falls by ``y`` per unit of ``upper``, by ``b`` per unit of ``high``, and so on.
    ``violation`` (B,) is the largest constraint violation.
    """

    z: Array
    value: Array
    gap: Array
    violation: Array
    functions: Array
    p: Array
    y: Array
    a: Array
    b: Array
    v: Array
    iterations: int


def _kl(r: Array, prior: Array) -> Array:
    return np.where(r > 0, r * np.log(np.maximum(r, _TINY) / prior), 0.0).sum(1)


def lower_bound(program: Program, z: Array, p: Array, y: Array, v: Array) -> Array:
    """(B,) a value no feasible point can go below, from any multipliers p, y >= 0 and v.

    The Lagrangian is convex, so it lies above its tangent at z, and the tangent's minimum over the bounds is known.
    """
    F, J = program.functions(z), program.jacobian(z)
    rows = np.matmul(program.matrix, z[:, :, None])[:, :, 0] - program.upper
    equal = z @ program.equal.T - program.right
    value = F[:, 0] + (p * F[:, 1:]).sum(1) + (y * rows).sum(1) + (v * equal).sum(1)
    slope = J[:, 0] + np.matmul(p[:, None], J[:, 1:])[:, 0] + np.matmul(y[:, None], program.matrix)[:, 0]
    slope = slope + v @ program.equal
    with np.errstate(invalid="ignore"):
        down, up = slope * (program.low - z), slope * (program.high - z)
    dead = np.abs(slope) < 1e-15  # a free variable's slope is zero by construction of p
    change = np.where(dead, 0.0, np.fmin(np.where(slope > 0, down, 0.0), np.where(slope < 0, up, 0.0)))
    return np.asarray(value + change.sum(1))


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
        const = const + program.kl * _kl(still[:, :k], program.prior)[:, None]
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


def solve(program: Program, tol: float = 1e-9, max_iter: int = 100) -> Solution:
    """Solve all programs of the batch.

    Args:
        tol: aim for a duality gap below this, in the objective's units.
        max_iter: interior-point steps; 15 to 30 are usual.

    Raises:
        ConvergenceError: no point was found that satisfies the constraints to 1e-7 (they may be infeasible).
    """
    full = program
    program, keep, fixed = _presolve(program)
    B, n = program.batch, int(keep.sum())
    m, M, q = program.coef.shape[1] - 1, program.matrix.shape[1], len(program.equal)
    if n == 0:
        z = np.broadcast_to(fixed, (B, len(fixed))).copy()
        return _finish(full, z, np.zeros((B, m)), np.zeros((B, M)), np.zeros((B, q)), 0)
    z = _start(program)
    low, high = np.broadcast_to(program.low, (B, n)), np.broadcast_to(program.high, (B, n))
    has_low, has_high = np.isfinite(low), np.isfinite(high)
    if not program.inside(program.inner(z)).all():
        raise ConvergenceError(
            "The law is not defined at the centre of the allowed mixtures (a logarithm or power of a number that is "
            "not positive). Give a start inside the observed mixtures, or check the law's predictions there."
        )
    free = ~(has_low | has_high).any(axis=0)
    F = program.functions(z)
    if free.any():  # the epigraph variable: start above every constraint it bounds
        j = int(np.flatnonzero(free)[0])
        slope = np.broadcast_to(program.linear, (B, m + 1, n))[:, 1:, j]
        need = np.where(slope < 0, F[:, 1:] / np.where(slope < 0, -slope, 1.0), -np.inf).max(1)
        z[:, j] += np.where(np.isfinite(need), need, 0.0) + 1.0
        F = program.functions(z)
    rows = np.matmul(program.matrix, z[:, :, None])[:, :, 0] - program.upper
    floor = 1e-2
    sF, sG = np.maximum(-F[:, 1:], floor), np.maximum(-rows, floor)
    mu0 = 1e-2
    p, y = mu0 / sF, mu0 / sG
    a = np.where(has_low, mu0 / np.where(has_low, z - low, 1.0), 0.0)
    b = np.where(has_high, mu0 / np.where(has_high, high - z, 1.0), 0.0)
    v = np.zeros((B, q))
    count = has_low.sum(1) + has_high.sum(1) + m + M
    best: dict[str, Array] = {}
    best_score = np.full(B, np.inf)
    regular, stalled = 1e-13, np.zeros(B, dtype=int)
    iteration = 0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for iteration in range(1, max_iter + 1):  # noqa: B007
            F, J = program.functions(z), program.jacobian(z)
            Jc = J[:, 1:]
            rows = np.matmul(program.matrix, z[:, :, None])[:, :, 0] - program.upper
            rE = z @ program.equal.T - program.right
            rF, rG = F[:, 1:] + sF, rows + sG
            sl = np.where(has_low, z - low, 1.0)
            su = np.where(has_high, high - z, 1.0)
            mu = ((a * sl).sum(1) + (b * su).sum(1) + (p * sF).sum(1) + (y * sG).sum(1)) / np.maximum(count, 1)
            violation = _worst(rE, F[:, 1:], rows)
            scaled = _exact_free(program, p, free)
            gap = F[:, 0] - lower_bound(program, z, scaled, y, v)
            score = np.maximum(np.abs(gap), violation * 10.0)
            score = np.where(np.isfinite(score), score, np.inf)
            better = score < best_score
            stalled = np.where(score < 0.5 * best_score, 0, stalled + 1)
            best_score = np.where(better, score, best_score)
            now = {"z": z, "p": scaled, "y": y, "v": v}
            best = {k: np.where(better[:, None], x, best.get(k, x)) for k, x in now.items()}
            done = (best_score <= tol) | (stalled > 25)
            if done.all():
                break
            H = program.hessian(z, np.concatenate([np.ones((B, 1)), p], axis=1))
            matrix = np.broadcast_to(program.matrix, (B, M, n))
            H += np.matmul(np.swapaxes(matrix, 1, 2) * (y / sG)[:, None], matrix)
            H += np.matmul(np.swapaxes(Jc, 1, 2) * (p / sF)[:, None], Jc)
            i = np.arange(n)
            H[:, i, i] += a / sl + b / su
            # the step is linear in the target t of the complementarity products: solve for both parts at once
            right = -J[:, 0] - v @ program.equal
            right = (
                right - np.matmul((p * rF / sF)[:, None], Jc)[:, 0] - np.matmul((y * rG / sG)[:, None], matrix)[:, 0]
            )
            centre = np.where(has_low, 1.0 / sl, 0.0) - np.where(has_high, 1.0 / su, 0.0)
            centre = centre - np.matmul((1.0 / sF)[:, None], Jc)[:, 0] - np.matmul((1.0 / sG)[:, None], matrix)[:, 0]
            parts = _newton(H, right, centre, program.equal, rE, regular)

            def direction(t: Array) -> tuple[Array, ...]:
                dz, dv = parts[0] + t * parts[2], parts[1] + t * parts[3]
                dsF = -rF - np.matmul(Jc, dz[:, :, None])[:, :, 0]
                dsG = -rG - np.matmul(matrix, dz[:, :, None])[:, :, 0]
                dp, dy = (t - p * dsF) / sF - p, (t - y * dsG) / sG - y
                da = np.where(has_low, (t - a * dz) / sl - a, 0.0)
                db = np.where(has_high, (t + b * dz) / su - b, 0.0)
                step, dual = np.ones(B), np.ones(B)
                for x, dx in (
                    (sl, np.where(has_low, dz, 0.0)),
                    (su, np.where(has_high, -dz, 0.0)),
                    (sF, dsF),
                    (sG, dsG),
                ):
                    step = np.minimum(step, _reach(x, dx))
                for x, dx in ((p, dp), (y, dy), (a, da), (b, db)):
                    dual = np.minimum(dual, _reach(x, dx))
                return dz, dv, dsF, dsG, dp, dy, da, db, step, dual

            # Mehrotra's rule: aim as low as the pure Newton step shows to be within reach
            dz, dv, dsF, dsG, dp, dy, da, db, step, dual = direction(np.zeros((B, 1)))
            s1, d1 = step[:, None], dual[:, None]
            after = (np.where(has_low, (a + d1 * da) * (sl + s1 * dz), 0.0)).sum(1)
            after = after + (np.where(has_high, (b + d1 * db) * (su - s1 * dz), 0.0)).sum(1)
            after = after + ((p + d1 * dp) * (sF + s1 * dsF)).sum(1) + ((y + d1 * dy) * (sG + s1 * dsG)).sum(1)
            sigma = np.clip((after / np.maximum(count * mu, _TINY)) ** 3, 1e-4, 0.5)
            t = np.maximum(sigma * mu, 1e-3 * tol / np.maximum(count, 1))[:, None]
            dz, dv, dsF, dsG, dp, dy, da, db, step, dual = direction(t)
            nonlinear = m > 0 or len(program.kind) > 0
            if nonlinear:
                step = dual = np.minimum(step, dual)
            step, dual = 0.995 * step, 0.995 * dual
            before = _merit(program, z, p, y, a, b, v, sF, sG, low, high, has_low, has_high, t)
            live = ~done
            for _ in range(30):
                trial = z + step[:, None] * dz
                ok = program.inside(program.inner(trial))
                safe = np.where(ok[:, None], trial, z)
                after = _merit(
                    program,
                    safe,
                    p + dual[:, None] * dp,
                    y + dual[:, None] * dy,
                    a + dual[:, None] * da,
                    b + dual[:, None] * db,
                    v + dual[:, None] * dv,
                    sF + step[:, None] * dsF,
                    sG + step[:, None] * dsG,
                    low,
                    high,
                    has_low,
                    has_high,
                    t,
                )
                ok &= after <= (1 - 0.01 * step) * before + 1e-13
                ok |= done
                if ok.all():
                    break
                step = np.where(ok, step, 0.6 * step)
                dual = np.where(ok, dual, 0.6 * dual)
            live = live & np.isfinite(after) & np.isfinite(dz).all(1)
            s, d = np.where(live, step, 0.0)[:, None], np.where(live, dual, 0.0)[:, None]
            z = np.where(live[:, None], z + s * dz, z)
            p, y = np.where(live[:, None], p + d * dp, p), np.where(live[:, None], y + d * dy, y)
            a, b = np.where(live[:, None], a + d * da, a), np.where(live[:, None], b + d * db, b)
            v = np.where(live[:, None], v + d * dv, v)
            sF, sG = np.where(live[:, None], sF + s * dsF, sF), np.where(live[:, None], sG + s * dsG, sG)
    if not best or not np.isfinite(best_score).all():
        raise ConvergenceError("The interior-point method found no finite point; the law may overflow on this budget.")
    z = np.zeros((B, len(keep)))
    z[:, keep] = best["z"]
    z[:, ~keep] = fixed[~keep]
    return _finish(full, z, best["p"], best["y"], best["v"], iteration)


def _finish(program: Program, z: Array, p: Array, y: Array, v: Array, iterations: int) -> Solution:
    """Clean rounding dust off the weights and certify what is left, in the program the caller posed."""
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
    if (violation > 1e-7).any():
        worst = float(violation.max())
        raise ConvergenceError(
            f"No mixture satisfies all of these constraints (the best found misses one by {worst:.2e}). Relax the "
            f"guards, the wanted gain or the budget."
        )
    slope = J[:, 0] + np.matmul(p[:, None], J[:, 1:])[:, 0] + np.matmul(y[:, None], program.matrix)[:, 0]
    slope = slope + v @ program.equal
    gap = F[:, 0] - lower_bound(program, z, p, y, v)
    return Solution(
        z,
        F[:, 0],
        np.maximum(gap, 0.0),
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
        weight = -np.broadcast_to(program.linear, (len(p), p.shape[1] + 1, len(free)))[:, 1:, j]
        own = np.broadcast_to(program.linear, (len(p), p.shape[1] + 1, len(free)))[:, 0, j]
        total = (p * weight).sum(1)
        factor = np.where(total > 0, own / np.where(total > 0, total, 1.0), 1.0)
        p = np.where((weight != 0) & (total > 0)[:, None], p * factor[:, None], p)
    return p


def _reach(x: Array, dx: Array) -> Array:
    """Largest step (B,) in [0, 1] that keeps x + step dx >= 0."""
    ratio = np.where(dx < 0, -x / np.where(dx < 0, dx, -1.0), np.inf)
    return np.asarray(np.minimum(1.0, ratio.min(axis=1, initial=np.inf)))


def _newton(
    H: Array, right: Array, centre: Array, equal: Array, rE: Array, regular: float
) -> tuple[Array, Array, Array, Array]:
    """Solve [[H, E'], [E, 0]] [dz, dv] = [right, -rE] and = [centre, 0], batched: (dz, dv) of the one and the other."""
    B, n, _ = H.shape
    i = np.arange(n)
    # scaling by the diagonal keeps barrier terms of very different size from drowning each other
    scale = 1.0 / np.sqrt(np.maximum(np.abs(H[:, i, i]), _TINY))
    A = H * scale[:, :, None] * scale[:, None, :]
    A[:, i, i] += regular
    E = np.broadcast_to(equal[None] * 1.0, (B, *equal.shape)) * scale[:, None, :]
    R = np.concatenate([(right * scale)[:, :, None], (centre * scale)[:, :, None], np.swapaxes(E, 1, 2)], axis=2)
    try:
        S = np.linalg.solve(A, R)
    except np.linalg.LinAlgError:
        A[:, i, i] += 1e-8
        S = np.stack([np.linalg.lstsq(np.nan_to_num(A[k]), np.nan_to_num(R[k]), rcond=None)[0] for k in range(B)])
    x, x2 = S[:, :, :2], S[:, :, 2:]
    schur = np.matmul(E, x2)
    wanted = np.matmul(E, x)  # (B, q, 2)
    wanted[:, :, 0] += rE
    q = len(equal)
    if q == 1:
        dv = wanted / np.where(np.abs(schur) > _TINY, schur, 1.0)
    else:
        dv = np.linalg.solve(np.where(np.isfinite(schur), schur, 0.0) + 1e-300 * np.eye(q), np.nan_to_num(wanted))
    dz = (x - np.matmul(x2, dv)) * scale[:, :, None]
    return dz[:, :, 0], dv[:, :, 0], dz[:, :, 1], dv[:, :, 1]


def _merit(
    program: Program,
    z: Array,
    p: Array,
    y: Array,
    a: Array,
    b: Array,
    v: Array,
    sF: Array,
    sG: Array,
    low: Array,
    high: Array,
    has_low: Bools,
    has_high: Bools,
    target: Array,
) -> Array:
    """Norm (B,) of what Newton's method drives to zero."""
    F, J = program.functions(z), program.jacobian(z)
    rows = np.matmul(program.matrix, z[:, :, None])[:, :, 0] - program.upper
    dual = J[:, 0] + np.matmul(p[:, None], J[:, 1:])[:, 0] + np.matmul(y[:, None], program.matrix)[:, 0]
    dual = dual + v @ program.equal - a + b
    parts: list[Any] = [
        dual,
        z @ program.equal.T - program.right,
        F[:, 1:] + sF,
        rows + sG,
        np.where(has_low, a * (z - low) - target, 0.0),
        np.where(has_high, b * (high - z) - target, 0.0),
        p * sF - target,
        y * sG - target,
    ]
    total = sum((x * x).sum(1) for x in parts)
    return np.asarray(np.sqrt(np.where(np.isfinite(total), total, np.inf)))

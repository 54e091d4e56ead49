"""Convex programs over mixtures, many at once: values, derivatives, and a lower bound from any multipliers.

A program has functions ``F_0 .. F_m`` (the objective, and constraints ``F_i <= 0``) of ``z = (r, further variables)``,

    ``F_i(z) = const_i + linear_i . z + sum_a coef_ia phi_a(direction_a . e(z) + offset_a) + kl_i KL(r || prior)``

where ``phi_a`` is ``exp``, ``u^-exponent`` or ``log`` and ``e`` is the identity or the effective share of repeated
data (:class:`~mixlaw.optimize.pose.forms.Repetition`), plus rows ``matrix @ z <= upper``, equalities ``equal @ z =
right`` and bounds. The caller promises that every ``F_i`` is convex. :mod:`mixlaw.optimize.solve.convex` solves them.

:func:`lower_bound` is why a solver need not be believed: from *any* multipliers it gives a value that no feasible point
goes below, by linearising the Lagrangian at a point and minimising it over the bounds in closed form (Jaggi 2013).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mixlaw.kit.arrays import Array
from mixlaw.optimize.pose.forms import Repetition

__all__ = ["Program", "Solution", "kl_divergence", "lower_bound"]
Bools = npt.NDArray[np.bool_]
_TINY = 1e-300


@dataclass(frozen=True)
class Program:
    """B convex programs in n variables of which the first K are the weights r. Leading axes are B, or 1 if shared.

    Shapes: ``coef`` (B, m+1, A), ``linear`` (B, m+1, n), ``const``, ``kl`` (B, m+1), ``direction`` (B, A, n),
    ``offset`` (B, A), ``kind`` (A,), ``exponent`` (B, A), ``low``, ``high`` (B, n; infinite = no bound), ``matrix``
    (B, M, n), ``upper`` (B, M), ``equal`` (q, n), ``right`` (B, q), ``prior`` (K,), ``start`` (n,) or None.
    ``repetition`` says how repeated tokens count (None: like fresh ones).

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws.core.atoms import Atoms
        >>> from mixlaw.optimize.pose.objective import mean
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> target, zeros = np.zeros(2, int), np.zeros(2)
        >>> atoms = Atoms(np.zeros(1), target, np.full(2, "exp"), np.ones(2), -np.eye(2), zeros, zeros)
        >>> program = mean(limits, np.ones(1)).program(atoms)  # exp(-web) + exp(-code)
        >>> program.batch, program.functions(np.array([[0.5, 0.5]])).round(4).tolist()
        (1, [[1.2131]])
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

    def take(self, which: Bools) -> Program:
        """The programs chosen (B,)."""
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
        return replace(self, **{k: v if len(v := getattr(self, k)) == 1 else v[which] for k in shared})

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
        return np.asarray((u[:, positive] > 0).all(axis=1) & (u[:, ~positive] < 600).all(axis=1), dtype=bool)

    def functions(self, z: Array) -> Array:
        """Objective and constraint functions F (B, m+1) at z (B, n)."""
        phi = self.phi(self.inner(z), 0)
        F = np.matmul(self.coef, phi[:, :, None])[:, :, 0] + self.const
        F = F + np.matmul(self.linear, z[:, :, None])[:, :, 0]
        if self.kl.any():
            F = F + self.kl * kl_divergence(z[:, : len(self.prior)], self.prior)[:, None]
        return F

    def jacobian(self, z: Array) -> Array:
        """dF/dz (B, m+1, n) at z (B, n)."""
        slope = self.phi(self.inner(z), 1)
        J = np.matmul(self.coef * slope[:, None], self.direction)
        if self.repetition is not None:
            J = J * self.repetition.slope(z)[:, None]
        J = J + self.linear
        if self.kl.any():
            k = len(self.prior)
            J[:, :, :k] += self.kl[:, :, None] * (np.log(np.maximum(z[:, :k], _TINY) / self.prior) + 1.0)[:, None]
        return J

    def curvature(self, z: Array, weight: Array) -> tuple[Array, Array, Array]:
        """``sum_i weight_i d2 F_i = rows' diag(curve) rows + diag(diagonal)``: rows (B or 1, A, n), curve (B, A) and
        diagonal (B, n)."""
        u = self.inner(z)
        total = np.matmul(weight[:, None], self.coef)[:, 0]  # (B, A)
        curve = total * self.phi(u, 2)
        rows, diagonal = self.direction, np.zeros(z.shape)
        if self.repetition is not None:
            rows = self.direction * self.repetition.slope(z)[:, None]
            pull = np.matmul((total * self.phi(u, 1))[:, None], self.direction)[:, 0]
            diagonal = diagonal + pull * self.repetition.curvature(z)
        if self.kl.any():
            k = len(self.prior)
            diagonal[:, :k] += (weight * self.kl).sum(1)[:, None] / z[:, :k]
        return rows, curve, diagonal


@dataclass(frozen=True)
class Solution:
    """Where each of B programs ended. ``gap`` (B,) is a valid bound on how far ``value`` lies above the optimum.

    ``p`` (B, m), ``y`` (B, M), ``a``, ``b`` (B, n), ``v`` (B, q) are the multipliers, all of the sign that makes
    them prices: the optimum falls by ``y`` per unit of ``upper``, by ``b`` per unit of ``high``, and so on.
    ``violation`` (B,) is the largest constraint violation. ``functions`` (B, m+1) are objective and constraints at
    ``z`` (B, n); ``iterations`` counts Newton steps.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws.core.atoms import Atoms
        >>> from mixlaw.optimize.pose.objective import mean
        >>> from mixlaw.optimize.solve.convex import solve
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> target, zeros = np.zeros(2, int), np.zeros(2)
        >>> atoms = Atoms(np.zeros(1), target, np.full(2, "exp"), np.ones(2), -np.eye(2), zeros, zeros)
        >>> found = solve(mean(limits, np.ones(1)).program(atoms))  # exp(-web) + exp(-code)
        >>> found.z.round(4).tolist(), found.value.round(4).tolist(), bool(found.violation[0] < 1e-7)
        ([[0.5, 0.5]], [1.2131], True)
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


def kl_divergence(r: Array, prior: Array) -> Array:
    """KL(r || prior) of each row of r (B, K).

    Example:
        >>> kl_divergence(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0.5, 0.5])).round(4).tolist()  # in nats
        [0.0, 0.6931]
    """
    return np.where(r > 0, r * np.log(np.maximum(r, _TINY) / prior), 0.0).sum(1)


def lower_bound(program: Program, z: Array, p: Array, y: Array, v: Array) -> Array:
    """(B,) a value no feasible point can go below, from any multipliers p, y >= 0 and v.

    The Lagrangian is convex, so it lies above its tangent at z, and the tangent's minimum over the bounds is known.

    Args:
        z: (B, n) points, feasible or not.
        p: (B, m) multipliers of the functions.
        y: (B, M) of the rows.
        v: (B, q) of the equalities.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws.core.atoms import Atoms
        >>> from mixlaw.optimize.pose.objective import mean
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> target, zeros = np.zeros(2, int), np.zeros(2)
        >>> atoms = Atoms(np.zeros(1), target, np.full(2, "exp"), np.ones(2), -np.eye(2), zeros, zeros)
        >>> program = mean(limits, np.ones(1)).program(atoms)  # exp(-web) + exp(-code), at least 1.2131
        >>> at, none = np.array([[0.4, 0.6]]), np.zeros((1, 0))
        >>> lower_bound(program, at, none, none, np.full((1, 1), np.exp(-0.5))).round(2).tolist()
        [1.15]
    """
    F, J = program.functions(z), program.jacobian(z)
    rows = np.matmul(program.matrix, z[:, :, None])[:, :, 0] - program.upper
    equal = z @ program.equal.T - program.right
    value = F[:, 0] + (p * F[:, 1:]).sum(1) + (y * rows).sum(1) + (v * equal).sum(1)
    slope = J[:, 0] + np.matmul(p[:, None], J[:, 1:])[:, 0] + np.matmul(y[:, None], program.matrix)[:, 0]
    slope = slope + v @ program.equal
    with np.errstate(invalid="ignore"):
        down, up = slope * (program.low - z), slope * (program.high - z)
    # a free variable's slope is zero by construction of p, up to rounding of the terms that cancel
    terms = 1.0 + np.abs(program.linear[:, 0]) + np.matmul(p[:, None], np.abs(program.linear[:, 1:]))[:, 0]
    free = np.isinf(program.low) & np.isinf(program.high)
    dead = (np.abs(slope) < 1e-15) | (free & (np.abs(slope) < 1e-13 * terms))
    change = np.where(dead, 0.0, np.fmin(np.where(slope > 0, down, 0.0), np.where(slope < 0, up, 0.0)))
    return np.asarray(value + change.sum(1))

"""The careful solver: a barrier method that never leaves the feasible set, for thin sets with curved sides.

:func:`~mixlaw.optimize.solve.convex.solve` cuts through curved constraints and comes back. That is fast, and now and
then ends in tiny steps where a set is thin against its curvature, as the mixtures within 0.1% of an optimum are. From a
point strictly inside, damped Newton steps on ``F_0 - mu * (sum of the logarithms of all slacks)`` for falling ``mu``
arrive on the central path, from where the faster method goes on.

Source: Boyd & Vandenberghe, Convex Optimization, section 11.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mixlaw.kit.arrays import Array
from mixlaw.optimize.solve.program import Program

__all__ = ["central_point"]
Bools = npt.NDArray[np.bool_]

_SHRINK = 0.15
_NEWTON_STEPS = 60


class _Barrier:
    """One batch of programs, and what lies between its points and their limits."""

    def __init__(self, program: Program) -> None:
        self.program = program
        B, n = program.batch, program.low.shape[1]
        self.low, self.high = np.broadcast_to(program.low, (B, n)), np.broadcast_to(program.high, (B, n))
        self.matrix = np.broadcast_to(program.matrix, (B, *program.matrix.shape[1:]))

    def slacks(self, z: Array) -> tuple[Array, Array, Array, Array]:
        """Of functions, rows, lower and upper bounds (infinite where there is none)."""
        rows = self.program.upper - np.matmul(self.matrix, z[:, :, None])[:, :, 0]
        return -self.program.functions(z)[:, 1:], rows, z - self.low, self.high - z

    def value(self, z: Array, mu: float) -> Array:
        """What Newton's method lowers (B,); infinite outside of the limits or of where the law is defined."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            slacks = np.concatenate(self.slacks(z), axis=1)
            total = self.program.functions(z)[:, 0] - mu * np.log(np.where(np.isinf(slacks), 1.0, slacks)).sum(1)
            inside = self.program.inside(self.program.inner(z)) & (slacks > 0).all(axis=1)
        return np.where(inside & np.isfinite(total), total, np.inf)

    def newton(self, z: Array, mu: float) -> tuple[Array, Array, Array]:
        """Step (B, n), multipliers of the equalities (B, q), and what a full step would gain in units of mu (B,)."""
        program, (sF, sG, sl, su) = self.program, self.slacks(z)
        J, p, y = program.jacobian(z), mu / sF, mu / sG
        gradient = J[:, 0] + np.matmul(p[:, None], J[:, 1:])[:, 0] + np.matmul(y[:, None], self.matrix)[:, 0]
        gradient = gradient - mu / sl + mu / su
        rows, curve, diagonal = program.curvature(z, np.concatenate([np.ones((len(z), 1)), p], axis=1))
        rows = np.concatenate([np.broadcast_to(rows, (len(z), *rows.shape[1:])), J[:, 1:], self.matrix], axis=1)
        H = np.matmul(np.swapaxes(rows, 1, 2) * np.concatenate([curve, p / sF, y / sG], axis=1)[:, None], rows)
        i = np.arange(z.shape[1])
        H[:, i, i] += diagonal + mu / sl**2 + mu / su**2
        scale = 1.0 / np.sqrt(np.maximum(H[:, i, i], 1e-300))
        A = H * scale[:, :, None] * scale[:, None, :]
        A[:, i, i] += 1e-14
        E = program.equal[None] * scale[:, None, :]
        solved = np.linalg.solve(A, np.concatenate([-(gradient * scale)[:, :, None], np.swapaxes(E, 1, 2)], axis=2))
        missing = (program.right - z @ program.equal.T)[:, :, None]
        v = np.linalg.solve(np.matmul(E, solved[:, :, 1:]), np.matmul(E, solved[:, :, :1]) - missing)
        step = (solved[:, :, :1] - np.matmul(solved[:, :, 1:], v))[:, :, 0] * scale
        return step, v[:, :, 0], -((gradient + v[:, :, 0] @ program.equal) * step).sum(1) / mu

    def moved(self, z: Array, step: Array, mu: float, gain: Array) -> Array:
        """The points (B, n) along their steps where the barrier function has fallen enough."""
        now, length = self.value(z, mu), np.ones(len(z))
        for _ in range(50):
            after = self.value(z + length[:, None] * step, mu)
            enough = after <= now - 0.05 * length * mu * gain + 1e-13 * (1.0 + np.abs(now))
            if enough.all():
                break
            length = np.where(enough, length, 0.6 * length)
        length = np.where(self.value(z + length[:, None] * step, mu) <= now + 1e-13 * (1.0 + np.abs(now)), length, 0.0)
        return np.asarray(z + length[:, None] * step)


def central_point(program: Program, start: Array, mu: float) -> tuple[Array, Array] | None:
    """Where every product of a slack and its multiplier is ``mu``: points (B, n) and multipliers of the equalities.

    Args:
        start: (n,) strictly inside the limits of every program of the batch.

    Returns:
        None where ``start`` does not lie inside of all of them.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws.core.atoms import Atoms
        >>> from mixlaw.optimize.pose.objective import mean
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> target, zeros = np.zeros(2, int), np.zeros(2)
        >>> atoms = Atoms(np.zeros(1), target, np.full(2, "exp"), np.ones(2), -np.eye(2), zeros, zeros)
        >>> program = mean(limits, np.ones(1)).program(atoms)  # exp(-web) + exp(-code)
        >>> z, _ = central_point(program, np.array([0.8, 0.2]), mu=1e-6)
        >>> z.round(3).tolist()
        [[0.5, 0.5]]
    """
    method, B = _Barrier(program), program.batch
    z, v = np.broadcast_to(start, (B, len(start))).copy(), np.zeros((B, len(program.equal)))
    now = 1e-2
    if not np.isfinite(method.value(z, now)).all():
        return None
    while True:
        for _ in range(_NEWTON_STEPS):
            try:
                step, found, gain = method.newton(z, now)
            except np.linalg.LinAlgError:
                return None
            sound = np.asarray(np.isfinite(np.hstack([step, found])).all(axis=1), dtype=bool)
            v = np.where(sound[:, None], found, v)
            go = sound & (gain > (1e-2 if now > mu else 1e-4))
            if not go.any():
                break
            z = method.moved(z, np.where(go[:, None], step, 0.0), now, gain)
        if now <= mu:
            return z, v
        now = max(_SHRINK * now, mu)

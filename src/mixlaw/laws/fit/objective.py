"""What a fit minimises: weighted squared or Huber residuals, bounds known only from one side, and a ridge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array
from mixlaw.laws.fit.levenberg import Evaluate, Ints

__all__ = ["Model", "Objective", "Prior", "evaluate_all", "huber", "in_chunks", "slopes_and_differences"]

Model = Callable[[Array, Ints], tuple[Array, Array]]
"""``(theta (B, P), problem (B,)) -> (predictions (B, n), Jacobian (B, n, P))``."""

# Newton's curvature is 0 outside Huber's threshold; a fraction of the IRLS weight there keeps far points from
# vanishing from the model while convergence near the optimum stays fast.
_OUTSIDE = 0.05


@dataclass(frozen=True)
class Prior:
    """Ridge ``1/2 sum strength (theta - centre)^2``; both broadcast to (M, P). Strength 0 means free.

    Example:
        >>> centre, strength = Prior(0.0, [1.0, 0.0]).broadcast((3, 2))
        >>> strength.shape
        (3, 2)
    """

    centre: npt.ArrayLike = 0.0
    strength: npt.ArrayLike = 0.0

    def broadcast(self, shape: tuple[int, int]) -> tuple[Array, Array]:
        """(centre, strength) as arrays (M, P).

        Raises:
            ConfigError: a centre or strength that is not finite, or a negative strength.
        """
        centre = np.broadcast_to(np.asarray(self.centre, dtype=float), shape)
        strength = np.broadcast_to(np.asarray(self.strength, dtype=float), shape)
        if not (np.isfinite(centre).all() and np.isfinite(strength).all() and (strength >= 0).all()):
            raise ConfigError("A prior needs finite centres and finite strengths >= 0.")
        return centre, strength


def huber(residual: Array, delta: float) -> Array:
    """Huber's function of residuals of any shape: r^2/2 inside ``delta`` (in the unit of r), linear outside.

    Example:
        >>> huber(np.array([0.5, 3.0]), delta=1.0).tolist()
        [0.125, 2.5]
    """
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * residual**2, delta * (size - 0.5 * delta))


@dataclass(frozen=True)
class Objective:
    """Y, weights and priors of M problems, cleaned: missing values have weight 0 and y 0.

    Args:
        Y, W: (M, n) values and weights.
        censored: (M, n) +1 or -1 where a value is a lower or an upper bound, or None.
        loss, delta: squared, or Huber's with its threshold; ``log``: of log f minus y.
        centre, strength: (M, P) of the prior.

    Example:
        >>> none = np.zeros((1, 1))
        >>> data = Objective(np.array([[1.0, 2.0]]), np.ones((1, 2)), None, "squared", 1.0, False, none, none)
        >>> data.residual(np.array([[1.5, 2.0]]), np.zeros(1, int))[0].tolist()  # 0.5^2 / 2
        [0.125]
    """

    Y: Array
    W: Array
    censored: npt.NDArray[np.int8] | None
    loss: Literal["squared", "huber"]
    delta: float
    log: bool
    centre: Array
    strength: Array

    def residual(self, f: Array, problem: Ints) -> tuple[Array, Array, Array, Array]:
        """rho summed (B,), psi (B, n) and curvature weight (B, n), d r / d f (B, n)."""
        one = len(self.Y) == 1  # then (1, n) broadcasts, and need not be copied for each start
        y, w = (self.Y, self.W) if one else (self.Y[problem], self.W[problem])
        bad = None
        if self.log:
            positive = f > 0
            if not positive.all():
                bad = (f <= 0) & (w > 0)
                f = np.where(positive, f, 1.0)
            r, slope = np.log(f) - y, 1.0 / f
        else:
            r, slope = f - y, np.ones_like(f)
        if self.censored is not None:
            side = self.censored[problem]
            met = ((side > 0) & (r > 0)) | ((side < 0) & (r < 0))
            w = np.where(met, 0.0, w)
        if self.loss == "squared":
            F, psi, curve = 0.5 * (w * r * r).sum(1), w * r, w
        else:
            size = np.abs(r)
            held = np.minimum(np.maximum(r, -self.delta), self.delta)  # r inside the threshold, the threshold outside
            F = (w * (held * (r - 0.5 * held))).sum(1)  # r^2/2 inside, delta (|r| - delta/2) outside
            psi = w * held
            # Newton's curvature is 0 outside; a fraction of the IRLS weight there keeps far points from
            # vanishing from the model while convergence near the optimum stays fast.
            curve = w * np.where(size <= self.delta, 1.0, _OUTSIDE * self.delta / np.maximum(size, self.delta))
        if bad is not None:
            F = np.where(bad.any(axis=1), np.inf, F)
        return F, psi, curve, slope

    def add_prior(self, theta: Array, problem: Ints, F: Array, g: Array, H: Array) -> None:
        """Add the ridge on theta (B, P) to objective F (B,), gradient g (B, P) and Hessian H (B, P, P), in place."""
        if not self.strength.any():
            return
        s = self.strength[problem]
        away = theta - self.centre[problem]
        F += 0.5 * (s * away * away).sum(1)
        g += s * away
        i = np.arange(theta.shape[1])
        H[:, i, i] += s


def in_chunks(evaluate: Evaluate, size: int) -> Evaluate:
    """The same objective, asked for at most ``size`` of its B rows at a time, so that memory stays bounded.

    Example:
        >>> def square(theta, problem):
        ...     return (theta**2).sum(axis=1), 2 * theta, np.broadcast_to(2 * np.eye(1), (len(theta), 1, 1))
        >>> F, g, H = in_chunks(square, 2)(np.array([[1.0], [2.0], [3.0]]), np.zeros(3, int))
        >>> F.tolist(), H.shape
        ([1.0, 4.0, 9.0], (3, 1, 1))
    """

    def run(theta: Array, problem: Ints) -> tuple[Array, Array, Array]:
        if len(theta) <= size:
            return evaluate(theta, problem)
        parts = [evaluate(theta[i : i + size], problem[i : i + size]) for i in range(0, len(theta), size)]
        return (
            np.concatenate([p[0] for p in parts]),
            np.concatenate([p[1] for p in parts]),
            np.concatenate([p[2] for p in parts]),
        )

    return run


def evaluate_all(model: Model, data: Objective) -> Evaluate:
    """Objective (B,), gradient (B, P) and Gauss-Newton curvature (B, P, P) of a model at theta (B, P), prior included.

    Args:
        model: (theta, problem) to values (B, n) and their Jacobian (B, n, P).

    Example:
        >>> x = np.linspace(0, 1, 9)
        >>> def decay(theta, problem):  # exp(-theta x) and its slope
        ...     f = np.exp(-theta * x)
        ...     return f, (-x * f)[:, :, None]
        >>> none = np.zeros((1, 1))
        >>> data = Objective(np.exp(-1.5 * x)[None], np.ones((1, 9)), None, "squared", 1.0, False, none, none)
        >>> F, g, H = evaluate_all(decay, data)(np.array([[1.5]]), np.zeros(1, int))
        >>> F.tolist(), g.tolist(), bool(H[0, 0, 0] > 0)
        ([0.0], [[0.0]], True)
    """

    def evaluate(theta: Array, problem: Ints) -> tuple[Array, Array, Array]:
        f, J = model(theta, problem)
        F, psi, curve, slope = data.residual(f, problem)
        if data.log:
            J = J * slope[:, :, None]
        g = np.matmul(psi[:, None, :], J)[:, 0]
        H = np.matmul((J * curve[:, :, None]).transpose(0, 2, 1), J)
        data.add_prior(theta, problem, F, g, H)
        return F, g, H

    return evaluate


def slopes_and_differences(model: Model, theta: Array) -> tuple[Array, Array]:
    """A model's Jacobian (B, n, P) at theta (B, P), and the same by central differences of a millionth.

    Example:
        >>> x = np.array([1.0, 2.0])
        >>> def line(theta, problem):
        ...     return theta[:, :1] * x, np.broadcast_to(x[:, None], (len(theta), 2, 1))
        >>> [float(v.max().round(6)) for v in slopes_and_differences(line, np.array([[3.0]]))]
        [2.0, 2.0]
    """
    problem = np.zeros(len(theta), dtype=np.int64)
    given = np.asarray(model(theta, problem)[1])
    found = np.empty(given.shape)
    for k in range(theta.shape[1]):
        step = 1e-6 * (1.0 + np.abs(theta)) * (np.arange(theta.shape[1]) == k)
        up, down = model(theta + step, problem)[0], model(theta - step, problem)[0]
        found[:, :, k] = (up - down) / (2 * step[:, [k]])
    return given, found

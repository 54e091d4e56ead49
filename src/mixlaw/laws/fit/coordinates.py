"""Coordinates in which a solver moves, where parameters as they are declared pull on each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mixlaw.kit.arrays import Array
from mixlaw.laws.fit.levenberg import Evaluate, Ints

__all__ = ["moved", "uncoupled"]

_ALIKE = 0.95


def moved(evaluate: Evaluate, coordinates: Array) -> Evaluate:
    """The same objective as a function of ``coordinates @ theta``.

    Args:
        evaluate: theta (B, P) and the problem of each (B,) to objective (B,), gradient (B, P) and curvature (B, P, P).
        coordinates: (P, P) invertible.

    Example:
        >>> def square(theta, problem):  # sum of theta^2 / 2
        ...     return (theta**2).sum(axis=1) / 2, theta, np.broadcast_to(np.eye(2), (len(theta), 2, 2))
        >>> F, g, H = moved(square, np.diag([2.0, 1.0]))(np.array([[2.0, 3.0]]), np.zeros(1, int))  # theta is (1, 3)
        >>> F.tolist(), g.tolist(), H.tolist()
        ([5.0], [[0.5, 3.0]], [[[0.25, 0.0], [0.0, 1.0]]])
    """
    back = np.linalg.inv(coordinates)

    def run(z: Array, problem: Ints) -> tuple[Array, Array, Array]:
        F, g, H = evaluate(z @ back.T, problem)
        return F, g @ back, back.T @ H @ back

    return run


def uncoupled(J: Array, bounded: npt.NDArray[np.bool_]) -> Array:
    """Coordinates (P, P) in which no two parameters do nearly the same to the predictions.

    In ``B D^-beta`` a change of beta by itself changes the size of the whole term by ``D^-d beta``, a factor of
    millions where D is a raw count; in the new coordinates B is the term's size at the middle of the data. Each
    parameter is freed from the one declared before it that it acts most alike, if the cosine exceeds 0.95 and that one
    has no bounds. For ``coordinates=`` of :func:`mixlaw.laws.fit.engine.fit_batch`.

    Args:
        J: (n, P) Jacobian at a start, rows weighted.
        bounded: (P,) parameters that must be left as they are.

    Example:
        >>> x = np.array([30.0, 31.0, 32.0])
        >>> uncoupled(np.column_stack([np.ones(3), -x]), np.array([False, False])).tolist()
        [[1.0, -31.0], [0.0, 1.0]]
    """
    P = J.shape[1]
    out, products = np.eye(P), J.T @ J
    size = np.sqrt(np.diag(products))
    with np.errstate(invalid="ignore", divide="ignore"):
        alike = np.where(bounded[:, None], 0.0, np.abs(products) / (size[:, None] * size))
    for e in range(1, P):
        q = int(np.argmax(alike[:e, e]))
        if alike[q, e] > _ALIKE:
            used = np.abs(J[:, q]) > 1e-6 * np.abs(J[:, q]).max()
            out[q, e] = float(np.mean(J[used, e] / J[used, q]))
    return out if np.isfinite(out).all() else np.eye(P)

"""Coordinates in which a solver moves, where parameters as they are declared pull on each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mixlaw.kit.arrays import Array
from mixlaw.laws.fit.levenberg import Evaluate, Ints

__all__ = ["moved", "uncoupled"]


def moved(evaluate: Evaluate, coordinates: Array) -> Evaluate:
    """The same objective as a function of ``coordinates @ theta``."""
    back = np.linalg.inv(coordinates)

    def run(z: Array, problem: Ints) -> tuple[Array, Array, Array]:
        F, g, H = evaluate(z @ back.T, problem)
        return F, g @ back, back.T @ H @ back

    return run


def uncoupled(J: Array, bounded: npt.NDArray[np.bool_]) -> Array:
    """Coordinates (P, P) in which parameters pull on the predictions independently of each other.

    In ``B D^-beta`` a change of beta by itself changes the size of the whole term by ``D^-d beta``, a factor of
    millions where D is a raw count; in the new coordinates the term's size is that at the middle of the data. The
    columns of J are made orthogonal one after the other, those of bounded parameters last: these stay themselves. For
    ``coordinates=`` of :func:`mixlaw.laws.fit.engine.fit_batch`.

    Args:
        J: (n, P) Jacobian at a start, rows weighted.
        bounded: (P,) parameters that must be left as they are.

    Example:
        >>> x = np.array([30.0, 31.0, 32.0])
        >>> uncoupled(np.column_stack([np.ones(3), -x]), np.array([False, False])).tolist()
        [[1.0, -31.0], [0.0, 1.0]]
    """
    P = J.shape[1]
    out = np.eye(P)
    left = np.array(J, dtype=float)
    order = [*np.flatnonzero(~bounded), *np.flatnonzero(bounded)]
    for i, k in enumerate(order):
        square = float(left[:, k] @ left[:, k])
        if bounded[k] or not square > 1e-20 * float(J[:, k] @ J[:, k]):
            continue
        for j in order[i + 1 :]:
            share = float(left[:, k] @ left[:, j]) / square
            left[:, j] -= share * left[:, k]
            out[k, j] = share
    return out if np.isfinite(out).all() else np.eye(P)

"""Many power curves with one exponent between them: given the exponent each is a straight line."""

from __future__ import annotations

import numpy as np

from mixlaw.kit.arrays import Array

__all__ = ["power_curves"]

_GRID = np.geomspace(0.02, 2.5, 60)


def power_curves(x: Array, Y: Array, W: Array) -> tuple[float, Array, float]:
    """``y = E + A x^-a`` for many curves with one shared exponent, by weighted least squares.

    Args:
        x: (C,) positive abscissae. Y, W: (n, C) values and weights (0 where missing); each curve needs two.

    Returns:
        a, coefficients (n, 2) of [1, x^-a] with A >= 0, and the sum of squares per degree of freedom.

    Example:
        >>> x = np.array([1e7, 1e8, 1e9])
        >>> a, coefficients, noise = power_curves(x, np.stack([2 + 30 * x**-0.27, 3 + 20 * x**-0.27]), np.ones((2, 3)))
        >>> round(a, 3), coefficients.round(2).tolist()
        (0.27, [[2.0, 30.0], [3.0, 20.0]])
    """
    scaled = np.log(x) - np.log(x).mean()

    def solve(exponent: Array) -> tuple[Array, Array, Array]:
        u = np.exp(-exponent[:, None] * scaled)  # (g, C)
        total = W.sum(axis=1)
        mean_u, mean_y = (u @ W.T) / total, (W * Y).sum(axis=1) / total  # (g, n), (n,)
        cross = u @ (W * Y).T - total * mean_u * mean_y
        spread = (u**2) @ W.T - total * mean_u**2
        slope = np.maximum(cross / np.maximum(spread, 1e-300), 0.0)
        level = mean_y - slope * mean_u
        square = (W * Y**2).sum(axis=1) - total * mean_y**2 - 2 * slope * cross + slope**2 * spread
        return level, slope, square.sum(axis=1)

    best = int(np.argmin(solve(_GRID)[2]))
    low, high = np.log(_GRID[max(best - 1, 0)]), np.log(_GRID[min(best + 1, len(_GRID) - 1)])
    for _ in range(6):  # the bracket shrinks fivefold each time
        grid = np.linspace(low, high, 11)
        best = int(np.argmin(solve(np.exp(grid))[2]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 10)]
    exponent = float(np.exp(grid[best]))
    level, slope, square = solve(np.array([exponent]))
    freedom = max(float((W > 0).sum()) - 2 * len(Y) - 1, 1.0)
    coefficients = np.stack([level[0], slope[0] * np.exp(exponent * np.log(x).mean())], axis=1)
    return exponent, coefficients, max(float(square[0]), 0.0) / freedom

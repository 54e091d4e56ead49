"""How errors of a prediction grow with the distance from what it was fitted to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixlaw.kit.arrays import Array

__all__ = ["likeliest_growth"]


def likeliest_growth(base: float, distances: Sequence[Array], errors: Sequence[Array]) -> float:
    """The growth g that makes errors of variance base^2 + (g distance)^2 most likely, every origin counted as one.

    Args:
        base: standard deviation of the errors at distance 0.
        distances, errors: (n,) of each origin's hidden rows.

    Example:
        >>> import numpy as np
        >>> near, far = np.full(50, 0.1), np.full(50, 1.0)
        >>> errors = np.tile([-0.3, 0.3], 25)
        >>> round(likeliest_growth(0.001, [near, far], [0.1 * errors, errors]), 2)
        0.3
    """
    grid = np.append(0.0, np.geomspace(1e-6, 1e2, 1601))
    total = np.zeros(len(grid))
    for u, e in zip(distances, errors):
        variance = max(base, 1e-12) ** 2 + (grid[:, None] * u) ** 2
        total -= (0.5 * np.log(variance) + 0.5 * e**2 / variance).mean(axis=1)
    return float(grid[int(total.argmax())])

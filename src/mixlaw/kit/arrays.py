"""The one array type that annotations use, float64 of any shape, and when two arrays are the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "alike"]

Array = npt.NDArray[np.float64]


def alike(a: Array, b: Array) -> bool:
    """Whether two tables hold the same numbers, to the last digits that a file keeps.

    Example:
        >>> alike(np.array([[0.1, np.nan]]), np.array([[0.1 + 1e-12, np.nan]]))
        True
    """
    return a.shape == b.shape and np.allclose(a, b, atol=1e-9, equal_nan=True)

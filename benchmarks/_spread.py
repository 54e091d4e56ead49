"""How the benchmarks print the spread of repeated measurements, also where there is only one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NONE = "none: one value"
"""One measurement has no spread that could be estimated."""


def deviation(values: Sequence[float]) -> str:
    """Sample standard deviation of ``values``, 4 decimals."""
    return f"{np.std(values, ddof=1):.4f}" if len(values) > 1 else NONE


def standard_error(values: Sequence[float]) -> str:
    """Standard error of the mean of ``values``, 4 decimals."""
    return f"{np.std(values, ddof=1) / len(values) ** 0.5:.4f}" if len(values) > 1 else NONE

"""Whether what somebody asks of larger runs can be answered: the runs asked about, and losses that fall."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array

__all__ = ["asked_at", "check_falling"]


def asked_at(at: Any) -> dict[str, Array]:
    """Columns (m,) of the asked runs.

    Example:
        >>> asked_at({"params": 7e9, "tokens": 1.4e11})
        {'params': array([7.e+09]), 'tokens': array([1.4e+11])}

    Raises:
        DataError: what is no finite number, or columns of different lengths; says that it is ``at``.
    """
    try:
        columns = {str(n): np.atleast_1d(np.asarray(v, dtype=float)) for n, v in dict(at).items()}
    except (TypeError, ValueError) as error:
        raise DataError(f"at must be a mapping from column to numbers: {error}. Got {at!r}.") from None
    if len({column.shape for column in columns.values()}) > 1 or any(c.ndim > 1 for c in columns.values()):
        raise DataError(f"The columns of at differ in length: { {n: len(c) for n, c in columns.items()} }.")
    for name, column in columns.items():
        if not np.isfinite(column).all() or not len(column):
            raise DataError(f"at holds {column.tolist()} as {name}, which is not one finite number for each run.")
    return columns


def check_falling(y: Array, compute: Array, name: str) -> None:
    """Refuse losses (n,) that rise with training compute (n,) (logarithms).

    Raises:
        DataError: the mean over the largest third of the runs lies above that over the smallest.

    Example:
        >>> check_falling(np.array([3.0, 2.5, 2.2]), np.log([1e18, 1e19, 1e20]), "loss")
    """
    if np.ptp(compute) < 1.0:  # about one budget: what differs there is the shape of the runs
        return
    low, high = np.quantile(compute, (1 / 3, 2 / 3))
    first, last = float(y[compute <= low].mean()), float(y[compute >= high].mean())
    if last > first:
        raise DataError(
            f"{name} rises with compute (mean {first:.4g} over the smallest third of the runs, {last:.4g} over the "
            f"largest), and laws of size are of losses that fall. Is it an accuracy, or another column?"
        )

"""Which law suits a table of runs, before anything is fitted."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixlaw.laws.choose.auto import ENOUGH_SIZES, Auto
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.table import as_matrix
from mixlaw.laws.joint.joint import Joint

__all__ = ["suitable"]


def suitable(X: Any) -> Law:
    """An unfitted law for the columns of X: :class:`mixlaw.laws.Joint` where runs have three sizes or more,
    else :class:`mixlaw.laws.Auto`.

    Args:
        X: (n, K) mixture weights, array or dataframe, with a column ``params`` where sizes differ.

    Raises:
        DataError: X is no table of numbers.

    Example:
        >>> suitable({"web": [0.1, 0.5, 0.9], "code": [0.9, 0.5, 0.1], "params": [1e7, 1e8, 1e9]})
        Joint()
        >>> suitable({"web": [0.1, 0.5, 0.9], "code": [0.9, 0.5, 0.1]})
        Auto()
    """
    matrix, names = as_matrix(X)
    several = "params" in (names or []) and len(np.unique(matrix[:, list(names or []).index("params")])) >= ENOUGH_SIZES
    return Joint() if several else Auto()

"""Which law suits a table of runs, before anything is fitted."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixlaw.data.columns import domains_of
from mixlaw.laws.choose.auto import ENOUGH_SIZES, Auto
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.table import as_matrix
from mixlaw.laws.joint.joint import Joint
from mixlaw.laws.scale.chinchilla import Chinchilla
from mixlaw.laws.scale.repeated_data import RepeatedData

__all__ = ["suitable"]


def suitable(X: Any) -> Law:
    """An unfitted law for the columns of X: of mixtures :class:`mixlaw.laws.Auto`, or :class:`mixlaw.laws.Joint` where
    runs have three sizes or more; of sizes alone :class:`mixlaw.laws.RepeatedData` where unique tokens are known, else
    :class:`mixlaw.laws.Chinchilla`.

    Args:
        X: (n, K) mixture weights, array or dataframe, with a column ``params`` where sizes differ; or a dataframe with
            columns of sizes only (:data:`mixlaw.data.columns.SIZES`).

    Raises:
        DataError: X is no table of numbers.

    Example:
        >>> suitable({"web": [0.1, 0.5, 0.9], "code": [0.9, 0.5, 0.1], "params": [1e7, 1e8, 1e9]})
        Joint()
        >>> suitable({"web": [0.1, 0.5, 0.9], "code": [0.9, 0.5, 0.1]})
        Auto()
        >>> suitable({"params": [1e7, 1e8, 1e9], "tokens": [1e9, 1e9, 1e9]})
        Chinchilla()
    """
    matrix, given = as_matrix(X)
    names = list(given or [])
    if names and not domains_of(names):
        return RepeatedData() if "unique_tokens" in names else Chinchilla()
    several = "params" in names and len(np.unique(matrix[:, names.index("params")])) >= ENOUGH_SIZES
    return Joint() if several else Auto()

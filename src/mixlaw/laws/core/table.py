"""Reading what a law is given: arrays, mappings and tables of pyarrow, pandas or polars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array

__all__ = ["as_matrix", "as_targets", "table_columns"]


def table_columns(values: Any) -> dict[str, Any] | None:
    """Columns by name of a mapping or a pyarrow, pandas or polars table, as they are; None for anything else.

    Example:
        >>> table_columns({"web": [0.1, 0.9]}), table_columns([0.1, 0.9])
        ({'web': [0.1, 0.9]}, None)
    """
    if isinstance(values, Mapping):
        return {str(name): column for name, column in values.items()}
    if hasattr(values, "column_names") and hasattr(values, "column"):  # pyarrow
        names = [str(name) for name in values.column_names]
        return {name: values.column(i).to_numpy(zero_copy_only=False) for i, name in enumerate(names)}
    if hasattr(values, "columns") and hasattr(values, "to_numpy"):  # pandas, polars
        return {str(name): values[name].to_numpy() for name in values.columns}
    return None


def _numbers(values: Any) -> tuple[Array, list[str] | None]:
    """As numbers, and the names of the columns where they have any; TypeError or ValueError where there are others."""
    table = table_columns(values)
    if table is None:
        return np.asarray(values, dtype=float), None
    columns = [np.asarray(column, dtype=float) for column in table.values()]
    return np.column_stack(columns) if columns else np.empty((0, 0)), list(table)


def as_matrix(X: Any) -> tuple[Array, list[str] | None]:
    """Numbers (n, K) and column names (or None) of an array, mapping, pyarrow / pandas / polars table.

    Raises:
        DataError: not two-dimensional, not numeric, NaN or infinite; says which rows and columns.

    Example:
        >>> matrix, names = as_matrix({"web": [0.2, 0.5], "code": [0.8, 0.5]})
        >>> matrix.tolist(), names
        ([[0.2, 0.8], [0.5, 0.5]], ['web', 'code'])
        >>> as_matrix([[0.2, float("nan")]])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mixlaw.errors.DataError: X holds 1 NaN or infinite values (rows [0], columns [1]). ...
    """
    try:
        values, names = _numbers(X)
    except (TypeError, ValueError) as error:
        raise DataError(f"X must be numeric (n, K): {error}. Got {type(X).__name__}.") from None
    if values.ndim != 2:
        raise DataError(f"X must be two-dimensional (runs, features), got shape {values.shape}.")
    bad = ~np.isfinite(values)
    if bad.any():
        rows, cols = np.unique(np.where(bad)[0])[:5].tolist(), np.unique(np.where(bad)[1])[:5].tolist()
        labels = [names[c] for c in cols] if names else cols
        raise DataError(
            f"X holds {int(bad.sum())} NaN or infinite values (rows {rows}, columns {labels}). "
            f"Drop those runs or fill in the weights they were trained with."
        )
    return np.ascontiguousarray(values, dtype=np.float64), names


def as_targets(y: Any, allow_missing: bool = False) -> tuple[Array, list[str] | None, bool]:
    """Targets as (n, T), their names (or None), and whether the caller gave a single column (n,).

    Raises:
        DataError: infinite, NaN where ``allow_missing`` is false, or more than two dimensions.

    Example:
        >>> Y, names, single = as_targets([2.5, 2.4])
        >>> Y.tolist(), names, single
        ([[2.5], [2.4]], None, True)
    """
    try:
        values, names = _numbers(y)
    except (TypeError, ValueError) as error:
        raise DataError(f"y must be numbers, (n,) or (n, T): {error}. Got {type(y).__name__}.") from None
    single = values.ndim == 1
    if single:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] == 0:
        raise DataError(f"y must be (n,) or (n, T) with at least one target, got shape {values.shape}.")
    if np.isinf(values).any():
        rows = np.unique(np.where(np.isinf(values))[0])[:5].tolist()
        raise DataError(
            f"y holds infinite values (rows {rows}). A diverged run is not a loss: leave it out of the fit, put "
            f"NaN where only some targets diverged, or use laws.Auto, which leaves such runs out and counts them."
        )
    if not allow_missing and np.isnan(values).any():
        rows, cols = np.where(np.isnan(values))
        labels = [names[c] for c in np.unique(cols)[:5]] if names else np.unique(cols)[:5].tolist()
        raise DataError(
            f"y holds {len(rows)} NaN values (rows {np.unique(rows)[:5].tolist()}, targets {labels}). "
            f"Drop those runs or targets; this law does not accept missing targets."
        )
    return np.ascontiguousarray(values, dtype=np.float64), names, single

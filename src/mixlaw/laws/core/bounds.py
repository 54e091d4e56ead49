"""Losses of which only a bound is known: what ``fit(X, y, censored=...)`` accepts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.table import table_columns

__all__ = ["Sides", "censored_notes", "read_censored", "refuse_censored"]

_WORDS = {"above": 1, "below": -1, "": 0, "no": 0, "none": 0}
Sides = npt.NDArray[np.int8]


def read_censored(censored: Any, Y: Array, targets: Sequence[str] | None, *, accepts: bool, who: str) -> Sides | None:
    """Sides (n, T) on which the truth lies: +1 above Y, -1 below, 0 measured; None where nothing is censored.

    Args:
        censored: (n,), (n, T) or a table with some of the targets' columns; numbers -1, 0, 1, booleans (True:
            above) or the words ``"above"`` and ``"below"``.
        Y: (n, T) the bounds and measurements.
        targets: names of the columns of Y (default ``y0, y1, ...``).
        accepts: whether the law can use bounds.
        who: the law's name, for the error.

    Raises:
        ConfigError: the law takes no censored values, or a column is no target.
        DataError: another shape or other values, or a censored value without its bound.

    Example:
        >>> losses = np.array([[2.5], [3.0]])  # the second run was stopped while it was still above 3
        >>> read_censored(["", "above"], losses, None, accepts=True, who="M4").tolist()
        [[0], [1]]
    """
    refuse_censored(censored, accepts, who)
    if censored is None:
        return None
    n, T = Y.shape
    columns = table_columns(censored)
    side = np.zeros((n, T), dtype=np.int8)
    if columns is None:
        values = np.asarray(censored)
        if values.shape not in ((n,), (n, T)):
            raise DataError(
                f"censored has shape {values.shape}; it needs one entry per run, ({n},), or per run and target, "
                f"({n}, {T}): +1 where the loss lies above y, -1 below, 0 where it was measured."
            )
        side[:] = _sides(values, "censored") if values.ndim == 2 else _sides(values, "censored")[:, None]
    else:
        known = list(targets or [f"y{t}" for t in range(T)])
        for name, column in columns.items():
            if name not in known:
                raise ConfigError(f"censored names {name!r}, which is no target.{did_you_mean(name, known)}")
            if np.shape(column) != (n,):
                raise DataError(f"censored[{name!r}] has shape {np.shape(column)}; y has {n} runs.")
            side[:, known.index(name)] = _sides(np.asarray(column), f"censored[{name!r}]")
    lost = (side != 0) & ~np.isfinite(Y)
    if lost.any():
        rows = np.unique(np.where(lost)[0])[:5].tolist()
        raise DataError(
            f"Rows {rows} are censored but y holds no number there. Put the bound into y: for a run that diverged the "
            f"last finite loss, or a loss that it certainly exceeds."
        )
    return side if side.any() else None


def refuse_censored(censored: Any, accepts: bool, who: str) -> None:
    """Raise where a law that cannot take bounds is given some.

    Raises:
        ConfigError: the law (``who``) takes no bounds and some were given.

    Example:
        >>> refuse_censored(None, False, "GP")
        >>> refuse_censored([1, 0], False, "GP")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mixlaw.errors.ConfigError: GP cannot use censored= (losses known only as bounds). ...
    """
    if censored is not None and not accepts:
        raise ConfigError(
            f"{who} cannot use censored= (losses known only as bounds). Parametric laws can, for "
            f"example laws.M4() or laws.Chinchilla(); or leave those runs out of X and y."
        )


def _sides(values: npt.NDArray[Any], where: str) -> Sides:
    out = np.zeros(values.shape, dtype=np.int8)
    for index, value in np.ndenumerate(values):
        side = _WORDS.get(value.strip().lower()) if isinstance(value, str) else _number(value)
        if side is None:
            raise DataError(
                f"{where} holds {value!r} in row {index[0]}. Use 1 or 'above' where the loss lies above y, -1 or "
                f"'below', and 0 where it was measured."
            )
        out[index] = side
    return out


def _number(value: Any) -> int | None:
    if value is None:
        return 0
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if np.isnan(number):  # an empty cell of a table
        return 0
    return int(number) if number in (-1.0, 0.0, 1.0) else None


def censored_notes(side: Sides | None, targets: Sequence[str]) -> list[str]:
    """A sentence on how many values are only bounds, for ``notes_``.

    Example:
        >>> censored_notes(np.array([[0, 1], [0, 1]]), ["web", "code"])
        ["Losses known only as bounds (censored): {'code': 2}. They pull only while the law is on the wrong side."]
    """
    if side is None:
        return []
    counts = (side != 0).sum(axis=0)
    some = {targets[t]: int(counts[t]) for t in np.flatnonzero(counts)[:5].tolist()}
    return [f"Losses known only as bounds (censored): {some}. They pull only while the law is on the wrong side."]

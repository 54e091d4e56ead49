"""Whether late losses leave the curve of the earlier ones, as a learning rate that changes makes them.

Found inside the records given: the late rows of every run are hidden and predicted from its earlier ones. A rate that
is decayed at the end makes late losses lie below that; one that falls from early on (a cosine) above, because each step
learns less. Measured on published curves (25M and 100M parameters), from a quarter or a third of the run on: a constant
rate leaves it by at most 0.001 nats, a cosine by 0.006, a decay in the last sixth by 0.015.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.laws.fit.power_curves import power_curves

__all__ = ["LateFall", "late_fall", "most_lengths"]

_FIRST, _LATE = 0.25, 0.6
"""Shares of a run's length. Rows before the first are not used: the first fast drop follows other laws. Rows beyond the
second are late."""
_EARLY_ROWS, _LATE_ROWS = 3, 2  # of a curve, for its late rows to be predicted from the earlier ones
_MOST_CURVES = 0.75
_SURE = 3.0  # standard errors
_LEAST = 1e-3  # of the loss: a smaller fall matters to nobody


@dataclass(frozen=True)
class LateFall:
    """What hiding the late rows showed.

    Attributes:
        curves: runs (a mixture at a size) with enough rows.
        lower: how many of them end below what their earlier rows predict.
        bias: mean of predicted minus measured late losses, in the unit of y.
        start: length from which rows are late, in the unit of the lengths given.
        reach: mean of ln(length / start) of the late rows, over which the bias grew.
        likely: whether a changing rate is likely.

    Example:
        >>> LateFall(12, 12, 0.02, 3e9, 0.2, True).likely
        True
    """

    curves: int
    lower: int
    bias: float
    start: float
    reach: float
    likely: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def late_fall(losses: Array, weight: Array, cells: Array) -> LateFall | None:
    """Hide the late rows of every run and predict them by E + A / length^b, with one b for all.

    A changing rate is likely where three quarters of the runs leave their prediction to one side, by a thousandth of
    the loss and by three standard errors of the mean over runs (of the rows' scatter, with fewer than four runs).

    Args:
        losses, weight: (M, C) of mixtures at cells; weight 0 where there is none.
        cells: (C, 2) size and length of each cell.

    Returns:
        None where no run has three earlier and two late rows, so that nothing can be said.

    Example:
        >>> sizes, lengths = np.repeat([1e7, 1e8, 1e9], 10), np.tile(np.arange(1, 11) * 1e9, 3)
        >>> smooth = 2 + 30 * sizes**-0.25 + 900 * lengths**-0.35
        >>> decayed = smooth - 0.05 * np.clip(lengths / 1e10 - 0.7, 0, None) / 0.3
        >>> cells = np.column_stack([sizes, lengths])
        >>> [late_fall(y[None], np.ones((1, 30)), cells).likely for y in (smooth, decayed)]
        [False, True]
    """
    sizes, at_size = np.unique(cells[:, 0], return_inverse=True)
    lengths, at_length = np.unique(cells[:, 1], return_inverse=True)
    by_run, seen = (np.zeros((len(losses), len(sizes), len(lengths))) for _ in range(2))
    by_run[:, np.ravel(at_size), np.ravel(at_length)] = losses
    seen[:, np.ravel(at_size), np.ravel(at_length)] = weight
    Y, W = by_run.reshape(-1, len(lengths)), seen.reshape(-1, len(lengths))
    last = np.max(np.where(W > 0, lengths, 0.0), axis=1)
    # runs of different lengths decay at different places: late is counted in shares of each run's own length
    late = (W > 0) & (lengths[None] > _LATE * last[:, None])
    early = (W > 0) & ~late & (lengths[None] >= _FIRST * last[:, None])
    use = (early.sum(axis=1) >= _EARLY_ROWS) & (late.sum(axis=1) >= _LATE_ROWS)
    if not use.any():
        return None
    Y, W, late, early, last = Y[use], W[use], late[use], early[use], last[use]
    exponent, coefficients, noise = power_curves(lengths, Y, W * early)
    gap = np.where(late, coefficients[:, :1] + coefficients[:, 1:] * lengths**-exponent - Y, 0.0)
    each = gap.sum(axis=1) / late.sum(axis=1)
    bias, lower, level = float(each.mean()), int((each > 0).sum()), float(np.abs(Y[W > 0]).mean())
    error = float(each.std(ddof=1)) / np.sqrt(len(each)) if len(each) >= 4 else float(np.sqrt(noise))
    one_side = lower if bias > 0 else int((each < 0).sum())
    likely = one_side >= _MOST_CURVES * len(each) and abs(bias) > max(_SURE * error, _LEAST * level)
    ahead = np.log(lengths[None] / (_LATE * last[:, None]))
    return LateFall(len(each), lower, bias, float(_LATE * last.min()), float(ahead[late].mean()), bool(likely))


def most_lengths(weight: Array, cells: Array) -> int:
    """The largest number of lengths at which one run (a mixture of weight (M, C) at one size) is given.

    Example:
        >>> most_lengths(np.ones((1, 3)), np.array([[1e7, 1e9], [1e7, 2e9], [1e8, 1e9]]))
        2
    """
    sizes = np.unique(cells[:, 0])
    return int(max((weight[:, cells[:, 0] == size] > 0).sum(axis=1).max() for size in sizes))

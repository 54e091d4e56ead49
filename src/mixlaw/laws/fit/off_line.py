"""What may be said off the line on which two sizes move together: no more than that the loss falls with both.

Runs with tokens = 20 params, or of one compute budget, show the loss along that line. A law's form says what happens
off it, and another form that fits as well says something else. What every form agrees on: the loss does not rise with
either. So a run with more tokens than the line has at its size loses no more than the run on the line of its size, and
one with fewer parameters than the line has at its tokens no less than the run on the line with as many tokens. Where
only one side is bounded (off an isoFLOP curve), the loss may change twice as much as the form says, or as fast as it
changes along the line where it does so fastest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.laws.fit.identify import common_line

__all__ = ["allowed", "strip"]

_STEEP = 20.0  # a line that is steeper or flatter than this has one column as good as constant


def strip(a: str, x: Array, b: str, y: Array) -> dict[str, Any] | None:
    """The line on which two columns move together, with the room that the rows take around it; None where there is
    none. ``ln b = intercept + slope ln a``, and rows lie from ``low`` to ``high`` around it.

    Args:
        a, b: names of the columns.
        x, y: (n,) their logarithms.

    Example:
        >>> x = np.log([1e7, 1e8, 1e9])
        >>> found = strip("params", x, "tokens", x + np.log(20))
        >>> round(found["slope"], 6), round(float(np.exp(found["intercept"])), 6)
        (1.0, 20.0)
    """
    if not common_line(a, x, b, y):
        return None
    slope, intercept = np.polyfit(x, y, 1)
    if not 1 / _STEEP < abs(slope) < _STEEP:
        return None
    away = y - intercept - slope * x
    return {
        "a": a, "b": b, "slope": float(slope), "intercept": float(intercept),
        "low": float(away.min()), "high": float(away.max()), "ends": [float(x.min()), float(x.max())],
    }  # fmt: skip


def allowed(line: dict[str, Any], predict: Callable[[Array, Array], Array], a: Array, b: Array) -> tuple[Array, Array]:
    """How far the loss at places may lie below (<= 0) and above (>= 0) what the law predicts there, (..., n) each.

    Args:
        line: of :func:`strip`.
        predict: the law's losses (..., n) at columns a and b (n,).
        a, b: (n,) the places.

    Example:
        >>> x = np.log([1e7, 1e8, 1e9])
        >>> line = strip("params", x, "tokens", x + np.log(20))
        >>> law = lambda N, D: 2 + 400 / N**0.3 + 400 / D**0.3
        >>> down, up = allowed(line, law, np.array([1e8, 1e8]), np.array([2e9, 2e10]))
        >>> bool(abs(down[0]) < 1e-9 > up[0]), bool(down[1] < -0.1), bool(up[1] > 0.1)
        (True, True, True)
    """
    slope, intercept = line["slope"], line["intercept"]
    x, y = np.log(a), np.log(b)
    y_of = np.clip(y, intercept + slope * x + line["low"], intercept + slope * x + line["high"])
    ends = [(y - intercept - line[side]) / slope for side in ("low", "high")]
    x_of = np.clip(x, np.minimum(*ends), np.maximum(*ends))
    here = predict(a, b)
    points = [(x, y_of), (x_of, y)]
    if slope < 0:  # a curve of one budget rises to both sides: beyond the rows nobody knows how far
        inside = np.clip(x, *line["ends"]), np.clip(x_of, *line["ends"])
        points = [(u, np.where(u == own, v, intercept + slope * u)) for u, own, v in zip(inside, (x, x_of), (y_of, y))]
    upper, lower = np.full(here.shape, np.inf), np.full(here.shape, -np.inf)
    for u, v in points:
        there = predict(np.exp(u), np.exp(v))
        upper = np.minimum(upper, np.where((u <= x + 1e-9) & (v <= y + 1e-9), there, np.inf))
        lower = np.maximum(lower, np.where((u >= x - 1e-9) & (v >= y - 1e-9), there, -np.inf))
    upper, lower = np.maximum(upper, here), np.minimum(lower, here)
    far = np.minimum(np.abs(x - x_of), np.abs(y - y_of))
    free = _fastest(line, predict, len(far)) * far
    up = np.where(np.isfinite(upper), upper - here, np.maximum(here - lower, free))
    down = np.where(np.isfinite(lower), lower - here, np.minimum(here - upper, -free))
    return np.nan_to_num(down, posinf=0.0, neginf=0.0), np.nan_to_num(up, posinf=0.0, neginf=0.0)


def _fastest(line: dict[str, Any], predict: Callable[[Array, Array], Array], num: int) -> Array:
    """(..., num) the largest change of the loss along the rows' part of the line, at each of the places' other columns,
    per unit of ln a or of ln b, whichever is less."""
    x = np.linspace(line["ends"][0], line["ends"][1], 12)
    y = line["intercept"] + line["slope"] * x
    along = np.stack([predict(np.full(num, np.exp(u)), np.full(num, np.exp(v))) for u, v in zip(x, y)])
    rate = np.abs(np.diff(along, axis=0)).max(axis=0) / (x[1] - x[0])
    return np.asarray(rate / max(1.0, abs(line["slope"])))

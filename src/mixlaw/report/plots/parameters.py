"""Fitted parameters with their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixlaw.errors import DataError
from mixlaw.report.style import ACCENT, INK, Chart, grid_shape, styled

__all__ = ["parameter_intervals"]


def parameter_intervals(law: Any, *, max_rows: int = 40, width: float = 7.2) -> Chart:
    """Every fitted parameter that has an interval: a dot and its interval, one panel per parameter name.

    Args:
        law: a fitted law with ``parameters_`` and ``intervals_``.
        max_rows: entries shown of a parameter that is a vector or matrix (the widest intervals first).

    Raises:
        DataError: the law has estimated no intervals.
    """
    intervals = law.intervals_
    groups: list[tuple[str, list[tuple[str, float, float, float]], int]] = []
    for name, ends in intervals.items():
        value = np.asarray(law.parameters_.get(name, np.nan), dtype=float)
        low, high = (np.asarray(side, dtype=float) for side in ends)
        if value.shape != low.shape or value.shape != high.shape or not np.isfinite(value).any():
            continue
        rows = []
        for index in np.ndindex(value.shape):
            label = name + (f"[{', '.join(_axis_names(law, value.shape, index))}]" if index else "")
            rows.append((label, float(value[index]), float(low[index]), float(high[index])))
        rows = [r for r in rows if np.isfinite(r[1:]).all()]
        total = len(rows)
        if total > max_rows:
            rows = sorted(rows, key=lambda r: r[2] - r[3])[:max_rows]
        if rows:
            groups.append((name, rows, total))
    if not groups:
        raise DataError(
            f"{type(law).__name__} has estimated no parameter intervals (intervals_ is empty). Fit a parametric "
            f"law, for instance laws.M4(); laws of size and data estimate them with bootstrap=1000."
        )
    num_rows, columns = grid_shape(len(groups), width, 3.4)
    heights = [max(len(g[1]) for g in groups[r * columns : (r + 1) * columns]) for r in range(num_rows)]
    with styled():
        chart = Chart(width, sum(0.75 + 0.23 * h for h in heights), "Fitted parameters and their intervals.")
        axes = chart.subplots(num_rows, columns, squeeze=False, height_ratios=[0.6 + 0.23 * h for h in heights]).ravel()
        for axis in axes[len(groups) :]:
            axis.set_visible(False)
        for axis, (name, entries, total) in zip(axes, groups):
            y = np.arange(len(entries))
            values, lows, highs = (np.array([e[k] for e in entries]) for k in (1, 2, 3))
            axis.hlines(y, lows, highs, color=ACCENT, lw=2)
            dots = axis.scatter(values, y, s=22, color=INK, zorder=3)
            chart.tip(dots, [f"{e[0]} = {e[1]:.4g} [{e[2]:.4g}, {e[3]:.4g}]" for e in entries])
            axis.set_yticks(y, [e[0] for e in entries], color=INK)
            axis.set_ylim(len(entries) - 0.4, -0.6)
            axis.locator_params(axis="x", nbins=4)
            axis.grid(axis="y", visible=False)
            shown = "" if len(entries) == total else f" ({len(entries)} of {total}, least certain first)"
            axis.set_title(f"{name}{shown}")
    return chart


def _axis_names(law: Any, shape: tuple[int, ...], index: tuple[int, ...]) -> list[str]:
    """Names for the axes of a parameter: targets and domains where the lengths say which is which."""
    targets = list(law.target_names_)
    domains = law.domain_names
    words = []
    for axis, (length, i) in enumerate(zip(shape, index)):
        if axis == 0 and length == len(targets):
            words.append(str(targets[i]))
        elif length == len(domains):
            words.append(str(domains[i]))
        else:
            words.append(str(i))
    return words

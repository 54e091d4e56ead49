"""Predictions beyond the sizes that were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixlaw.data.columns import COUNTS
from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.kit.units import format_count
from mixlaw.report.plots.inputs import Array, predict_all, spearman, target_columns
from mixlaw.report.style import ACCENT, INK, MUTED, REFERENCE, Chart, styled, top_legend

__all__ = ["extrapolation_fan", "rank_transfer"]


def extrapolation_fan(
    law: Any,
    at: Mapping[str, float],
    *,
    vary: str = "tokens",
    to: float | None = None,
    X: Any = None,
    y: Any = None,
    target: str | None = None,
    level: float = 0.9,
    unit: str = "nats per token",
    width: float = 6.0,
) -> Chart:
    """Predicted loss with its interval as size or tokens grow beyond what was trained.

    The interval is the law's own, for the form that it has: at a mixture unlike those that were run see
    :func:`mixlaw.laws.interval_with_form`.

    Args:
        law: a fitted law of size and data.
        at: the other columns of X: ``{"params": 1e9}``, and mixture weights where the law has them.
        vary: the column on the horizontal axis.
        to: how far to predict (ten times the largest observed value without).
        X, y: the runs; drawn as dots, faint where their other columns differ from ``at`` by more than 1%.
        target: which target, for a law of several.

    Raises:
        ConfigError: a column or target the law does not have.

    Example:
        >>> extrapolation_fan(law, {"params": 1e9}, vary="tokens", X=X, y=y)  # doctest: +SKIP
    """
    from mixlaw.laws.core.table import as_matrix, as_targets

    columns = _columns(law)
    _check_columns(columns, vary, at)
    j = columns.index(vary)
    t = target_columns(law.target_names_, [target])[0] if target is not None else 0
    matrix = None if X is None else as_matrix(X)[0]
    largest = float(matrix[:, j].max()) if matrix is not None else None
    start = float(matrix[:, j].min()) if matrix is not None else (to or 1e10) / 1e3
    stop = to or (10 * largest if largest is not None else 1e10)
    grid = np.geomspace(min(start, stop / 10), stop, 80)
    mean, low, high = _along(law, columns, vary, at, grid, level, t)
    with styled():
        chart = Chart(width, 3.4, f"Predicted loss as {vary} grows to {format_count(stop)}.")
        axis = chart.subplots()
        axis.fill_between(grid, low, high, color=ACCENT, alpha=0.16, linewidth=0, label=f"{level:.0%} interval")
        line = axis.plot(grid, mean, color=ACCENT, label="predicted")
        chart.tip(line[0], f"{mean[-1]:.4f} [{low[-1]:.4f}, {high[-1]:.4f}] at {vary} {format_count(stop)}")
        if matrix is not None and y is not None:
            _observed(chart, axis, columns, vary, at, matrix, as_targets(y, allow_missing=True)[0][:, t])
        if largest is not None and largest < stop:
            axis.axvline(largest, color=MUTED, lw=1, ls=(0, (3, 2)))
            axis.annotate(
                "extrapolated →",
                (largest, 1),
                xycoords=("data", "axes fraction"),
                xytext=(5, -3),
                textcoords="offset points",
                va="top",
                fontsize=8,
                color=MUTED,
            )
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(lambda v, _: format_count(v).replace(".00", ""))
        axis.xaxis.set_minor_formatter(lambda v, _: "")
        axis.set_xlabel(vary)
        axis.set_ylabel(f"{target or 'loss'}, {unit}")
        top_legend(chart, axis, 4 if width > 5 else 2)
    return chart


def _check_columns(columns: Sequence[str], vary: str, at: Mapping[str, float]) -> None:
    """``vary`` and ``at`` must name every column of the law once."""
    if vary not in columns:
        raise ConfigError(f"The law has no column {vary!r}.{did_you_mean(vary, columns)}")
    unknown = [c for c in at if c not in columns]
    if unknown:
        raise ConfigError(f"at= names {unknown[0]!r}.{did_you_mean(unknown[0], columns)}")
    lacking = [c for c in columns if c != vary and c not in at]
    if lacking:
        raise ConfigError(f"at= must fix the other columns of the law; it lacks {lacking}.")


def _along(
    law: Any, columns: Sequence[str], vary: str, at: Mapping[str, float], grid: Array, level: float, t: int
) -> tuple[Array, Array, Array]:
    """Predicted loss of target ``t`` and the ends of its interval, (m,) each, where ``vary`` takes ``grid`` (m,)."""
    points = np.column_stack([grid if c == vary else np.full(len(grid), float(at[c])) for c in columns])
    if {"tokens", "unique_tokens"} <= set(columns):  # a run sees no more unique tokens than tokens
        seen, trained = columns.index("unique_tokens"), columns.index("tokens")
        points[:, seen] = np.minimum(points[:, seen], points[:, trained])
    named: Any = points if str(law.feature_names_in_[0]) == "x0" else dict(zip(columns, points.T))
    low, high = (np.asarray(side).reshape(len(grid), -1)[:, t] for side in law.predict_interval(named, level=level))
    return predict_all(law, named)[:, t], low, high


def _observed(
    chart: Chart, axis: Any, columns: Sequence[str], vary: str, at: Mapping[str, float], matrix: Array, losses: Array
) -> None:
    """Dots for the runs, faint where their other columns differ from ``at`` by more than 1%."""
    j = columns.index(vary)
    others = [k for k in range(len(columns)) if k != j]
    fixed = np.array([float(at[columns[k]]) for k in others])
    same = np.all(np.abs(matrix[:, others] - fixed) <= 0.01 * np.maximum(np.abs(fixed), 1e-2), axis=1)
    for mask, alpha, word in ((same, 0.95, "observed"), (~same, 0.25, "observed elsewhere")):
        if mask.any():
            x, y = matrix[mask, j], losses[mask]
            dots = axis.scatter(x, y, s=18, color=INK, alpha=alpha, linewidths=0, label=word)
            chart.tip(dots, [f"{vary} {format_count(a)}: {b:.4f}" for a, b in zip(x, y)])


def _columns(law: Any) -> list[str]:
    names = [str(c) for c in law.feature_names_in_]
    if names and names[0] == "x0" and law.kind == "scale":
        return list(COUNTS[: len(names)])
    return names


def rank_transfer(
    losses: Any,
    labels: Sequence[str] | None = None,
    *,
    width: float = 6.0,
) -> Chart:
    """Whether mixtures keep their order from size to size: one line per mixture, ranked by loss at each size.

    Args:
        losses: what ``mixlaw.laws.rank_transfer`` returned, or ``{size: (n,) losses}`` of the same mixtures, smallest
            size first.
        labels: (n,) what the mixtures are called.

    Raises:
        DataError: fewer than two sizes, or different numbers of mixtures.
    """
    from matplotlib.ticker import MaxNLocator
    from scipy.stats import rankdata

    if hasattr(losses, "sizes") and hasattr(losses, "losses"):
        losses = {format_count(s).replace(".00", ""): column for s, column in zip(losses.sizes, losses.losses.T)}
    sizes = [str(s) for s in losses]
    columns = [np.asarray(v, dtype=float) for v in losses.values()]
    if len(sizes) < 2 or len({c.shape for c in columns}) != 1 or columns[0].ndim != 1:
        raise DataError(
            f"rank_transfer needs the same mixtures at two or more sizes, got {[c.shape for c in columns]}."
        )
    values: Array = np.column_stack(columns)
    ranks = np.column_stack([rankdata(c) for c in columns])
    n = len(values)
    words = list(labels) if labels is not None else [f"mixture {i + 1}" for i in range(n)]
    best_small, best_large = int(np.argmin(values[:, 0])), int(np.argmin(values[:, -1]))
    correlation = spearman(values[:, 0], values[:, -1])
    with styled():
        chart = Chart(width, max(2.6, min(5.5, 1.0 + 0.16 * n)), f"Ranks of {n} mixtures at {', '.join(sizes)}.")
        axis = chart.subplots()
        x = np.arange(len(sizes))
        for i in range(n):
            special = i in (best_small, best_large)
            color = ACCENT if i == best_small else REFERENCE if i == best_large else "#b6bcc6"
            line = axis.plot(
                x,
                ranks[i],
                marker="o",
                ms=6 if special else 4,
                lw=2.2 if special else 1,
                color=color,
                zorder=3 if special else 2,
            )
            chart.tip(line[0], f"{words[i]}: rank " + ", ".join(f"{r:g} at {s}" for r, s in zip(ranks[i], sizes)))
        name = f"best at {sizes[0]}"
        axis.plot([], [], color=ACCENT, label=f"{name}: rank {ranks[best_small, -1]:g} at {sizes[-1]}")
        if best_large != best_small:
            axis.plot(
                [], [], color=REFERENCE, label=f"best at {sizes[-1]}: rank {ranks[best_large, 0]:g} at {sizes[0]}"
            )
        axis.set_xticks(x, sizes, color=INK)
        axis.set_ylim(n + 0.6, 0.4)
        axis.set_ylabel("rank (1 = lowest loss)")
        axis.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.set_title(f"rank correlation {sizes[0]} to {sizes[-1]}: {correlation:.2f}")
        axis.set_xlim(-0.15, len(sizes) - 0.85)
        top_legend(chart, axis, 2 if width > 5 else 1)
    return chart

"""A law over three domains, as a triangle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixlaw.errors import DataError
from mixlaw.report.plots.inputs import Array, mixture_array, objective_array, predict_all
from mixlaw.report.style import INK, MUTED, Chart, arm_color, styled, top_legend

__all__ = ["ternary"]

_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])


def ternary(
    law: Any,
    domains: Sequence[str] | None = None,
    *,
    objective: Mapping[str, float] | None = None,
    base: Any = None,
    X: Any = None,
    marks: Mapping[str, Any] | None = None,
    label: str = "predicted loss",
    width: float = 5.5,
) -> Chart:
    """Predicted loss over all mixtures of three domains.

    Args:
        law: a fitted mixture law.
        domains: which three (all, for a law of three domains).
        objective: ``{set: weight}``; needed where the law has several targets.
        base: mixture the remaining domains keep their weights from (weight 0 each without).
        X: observed mixtures, drawn as dots where the law has three domains.
        marks: ``{name: mixture}`` to point out.

    Raises:
        DataError: not exactly three domains, or several targets and no objective.
    """
    from mixlaw.laws.core.table import as_matrix

    names = [str(n) for n in law.feature_names_in_]
    chosen = list(domains) if domains is not None else names
    if len(chosen) != 3 or any(d not in names for d in chosen):
        raise DataError(f"ternary needs three of the law's domains {names}, got {chosen}.")
    weights = objective_array(objective, list(law.target_names_))
    if weights is None:
        raise DataError(f"The law has targets {list(law.target_names_)}; say which, e.g. objective={{'name': 1.0}}.")
    columns = [names.index(d) for d in chosen]
    rest = np.zeros(len(names)) if base is None else mixture_array(base, names)
    rest[columns] = 0.0
    free = 1 - rest.sum()
    grid, values = _surface(law, columns, rest, weights)
    xy = grid @ _CORNERS
    # Near a corner without a domain losses soar; colour levels follow quantiles so that the valley is visible.
    levels = np.unique(np.quantile(values, np.linspace(0, 1, 13)))
    best = int(np.argmin(values))
    with styled():
        chart = Chart(width, width * 0.86, f"Predicted loss over mixtures of {', '.join(chosen)}.")
        axis = chart.subplots()
        if len(levels) > 2:
            filled = axis.tricontourf(xy[:, 0], xy[:, 1], values, levels=levels, cmap="viridis")
            bar = chart.colorbar(filled, ax=axis, aspect=30, pad=0.02, format="%.3f")
            bar.outline.set_visible(False)  # type: ignore[operator]
            bar.set_label(label)
        _frame(axis, chosen)
        if X is not None and len(names) == 3:
            seen = as_matrix(X)[0][:, columns]
            at = seen @ _CORNERS
            dots = axis.scatter(at[:, 0], at[:, 1], s=14, color="white", edgecolors=INK, linewidths=0.6, label="runs")
            chart.tip(dots, [", ".join(f"{n} {v:.0%}" for n, v in zip(chosen, row)) for row in seen])
        point = axis.scatter(
            [xy[best, 0]], [xy[best, 1]], marker="*", s=150, color="white", edgecolors=INK, zorder=4, label="lowest"
        )
        chart.tip(
            point, [", ".join(f"{n} {v:.0%}" for n, v in zip(chosen, grid[best] * free)) + f": {values[best]:.4f}"]
        )
        _mark(axis, {name: mixture_array(m, names)[columns] for name, m in (marks or {}).items()})
        axis.set_aspect("equal")
        axis.axis("off")
        axis.set_xlim(-0.06, 1.06)
        axis.set_ylim(-0.09, 0.95)
        top_legend(chart, axis, 4 if width > 5 else 2)
        if base is not None and free < 1:
            axis.set_title(f"the other domains keep {1 - free:.0%}", color=MUTED, fontweight="normal")
    return chart


def _surface(law: Any, columns: Sequence[int], rest: Array, weights: Array, steps: int = 60) -> tuple[Array, Array]:
    """Shares (m, 3) of three domains on a triangular grid, and the objective (m,) where they divide what ``rest`` (K,)
    leaves free."""
    grid = np.array([(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]) / steps
    mixtures = np.tile(rest, (len(grid), 1))
    mixtures[:, columns] = grid * (1 - rest.sum())
    return grid, predict_all(law, mixtures) @ weights


def _frame(axis: Any, names: Sequence[str]) -> None:
    """The triangle's sides, and a domain's name at each corner."""
    axis.plot(*np.vstack([_CORNERS, _CORNERS[:1]]).T, color=INK, lw=1)
    places = (("left", "top"), ("right", "top"), ("center", "bottom"))
    for corner, name, (ha, va), shift in zip(_CORNERS, names, places, ((0, -5), (0, -5), (0, 4))):
        axis.annotate(name, corner, xytext=shift, textcoords="offset points", ha=ha, va=va, fontweight="bold")


def _mark(axis: Any, shares: Mapping[str, Array]) -> None:
    """A diamond for each named mixture, at its shares (3,) of the three domains to each other."""
    for k, (name, share) in enumerate(shares.items()):
        if share.sum() > 0:
            x, y = share / share.sum() @ _CORNERS
            color = arm_color(name, k)
            axis.scatter([x], [y], marker="D", s=48, color=color, edgecolors="white", zorder=5, label=name)

"""The league table: which law predicts held-out runs best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mixlaw.errors import DataError
from mixlaw.report.style import ACCENT, INK, MUTED, Chart, styled

__all__ = ["league_rows", "league_table"]

_COLUMNS = {  # what it may be called -> (title, format, better)
    "mae": ("held-out MAE", "{:.4f}", "low"),
    "spearman": ("rank correlation", "{:.3f}", "high"),
    "coverage": ("90% interval covers", "{:.0%}", "near"),
    "seconds": ("seconds to fit", "{:.2g}", "low"),
}
_ALIASES = {"heldout_mae": "mae", "held_out_mae": "mae", "rank_correlation": "spearman", "time": "seconds"}


def league_rows(league: Any) -> list[dict[str, Any]]:
    """``[{"name", "mae", "spearman", "coverage", "seconds"}, ...]`` from what ``laws.compare`` returns, or plain data.

    Raises:
        DataError: it holds no rows.
    """
    if hasattr(league, "to_dict"):
        league = league.to_dict()
    while isinstance(league, Mapping) and "rows" in league:
        league = league["rows"]
    if isinstance(league, Mapping):
        columns = {k: list(v) for k, v in league.items() if not isinstance(v, str) and isinstance(v, Iterable)}
        if columns and all(isinstance(v, Mapping) for v in league.values()):
            league = [{"name": k, **v} for k, v in league.items()]
        else:
            league = [dict(zip(columns, row)) for row in zip(*columns.values())]
    rows = []
    for entry in league:
        row: dict[str, Any] = {_ALIASES.get(str(k), str(k)): v for k, v in dict(entry).items()}
        row["name"] = str(row.get("name") or row.get("law") or "?")
        rows.append(row)
    if not rows:
        raise DataError("The league table has no rows; compare at least one law.")
    return rows


def league_table(league: Any, *, width: float = 7.2) -> Chart:
    """Laws by held-out error, with rank correlation, interval coverage and time beside it.

    Args:
        league: what ``mixlaw.laws.choose.league`` returned, or its plain data.
    """
    rows = league_rows(league)
    known = [c for c in _COLUMNS if any(isinstance(r.get(c), int | float) for r in rows)]
    if not known:
        raise DataError(f"The league table has none of the columns {list(_COLUMNS)}; it has {list(rows[0])}.")
    if "mae" in known:
        rows = sorted(rows, key=lambda r: r["mae"] if isinstance(r.get("mae"), int | float) else np.inf)
    if width <= 5:
        known = known[:2]
    with styled():
        chart = Chart(width, 0.75 + 0.29 * len(rows), "Laws ranked by held-out error.")
        axes = chart.subplots(1, len(known), sharey=True, squeeze=False).ravel()
        y = np.arange(len(rows))
        for axis, column in zip(axes, known):
            title, form, better = _COLUMNS[column]
            values = np.array([float(r[column]) if r.get(column) is not None else np.nan for r in rows])
            finite = np.isfinite(values)
            if better == "near":
                best = int(np.nanargmin(np.abs(values - 0.9))) if finite.any() else -1
                axis.axvline(0.9, color=MUTED, lw=1, ls=(0, (3, 2)))
            else:
                best = -1 if not finite.any() else int(np.nanargmin(values if better == "low" else -values))
            axis.hlines(y[finite], np.zeros(finite.sum()), values[finite], color="#cfe3f1", lw=5)
            dots = axis.scatter(values[finite], y[finite], s=34, color=ACCENT, zorder=3)
            chart.tip(dots, [f"{r['name']}: {title} {form.format(v)}" for r, v in zip(rows, values) if np.isfinite(v)])
            for j in np.flatnonzero(finite):
                axis.annotate(
                    form.format(values[j]),
                    (values[j], j),
                    xytext=(6, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8,
                    fontweight="bold" if j == best else "normal",
                )
            top = float(np.nanmax(values)) if finite.any() else 1.0
            axis.set_xlim(min(0.0, float(np.nanmin(values)) if finite.any() else 0.0), top * 1.45 or 1.0)
            axis.set_xticks([])
            axis.spines["bottom"].set_visible(False)
            axis.grid(visible=False)
            axis.set_title(title)
        axes[0].set_yticks(y, [r["name"] for r in rows], color=INK)
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
    return chart

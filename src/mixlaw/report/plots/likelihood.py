"""How well the runs know one parameter."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixlaw.report.style import ACCENT, INK, MUTED, Chart, styled

__all__ = ["profile"]


def profile(found: Any, *, width: float = 6.4) -> Chart:
    """A profile likelihood: how much worse the law fits where one parameter is held at a value.

    Args:
        found: what ``law.profile("alpha")`` returns (:class:`mixlaw.laws.fit.likelihood.Profile`).

    Example:
        >>> profile(law.profile("alpha")).savefig("alpha.png")  # doctest: +SKIP
    """
    values, limit = np.asarray(found.values), found.limit
    rise = (np.asarray(found.objective) - np.min(found.objective)) / max(limit - np.min(found.objective), 1e-300)
    shown = rise <= 6.0  # beyond that only the shape of the walls would be seen
    name = found.name or "parameter"
    with styled():
        chart = Chart(width, 0.62 * width, f"Profile likelihood of {name}.")
        axis = chart.subplots()
        axis.axvspan(found.low, found.high, color=ACCENT, alpha=0.12, lw=0)
        axis.plot(values[shown], rise[shown], color=ACCENT, lw=2)
        dots = axis.scatter(values[shown], rise[shown], s=10, color=ACCENT, zorder=3)
        chart.tip(dots, [f"{v:.4g}: {r:.2f} of the noise" for v, r in zip(values[shown], rise[shown])])
        axis.axhline(1.0, color=MUTED, lw=1, ls=(0, (4, 3)))
        axis.plot([found.best], [0.0], "o", color=INK, ms=6, zorder=4, clip_on=False)
        positive = bool((values > 0).all()) and values[shown][-1] > 4 * values[shown][0]
        if positive:
            axis.set_xscale("log")
        axis.set_ylim(0.0, max(1.6, min(6.0, float(rise[shown].max()) * 1.05)))
        axis.annotate(
            f"noise at {found.level:.0%}", (1.0, 1.0), xycoords=("axes fraction", "data"), xytext=(-4, 3),
            textcoords="offset points", ha="right", color=MUTED,
        )  # fmt: skip
        axis.set_xlabel(name)
        axis.set_ylabel("rise of the objective, in units of noise")
        axis.set_title(str(found), wrap=True)
    return chart

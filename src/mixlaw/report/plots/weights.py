"""Weights of the domains along a run whose mixture a strategy chose."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from mixlaw.data.observations import Observations
from mixlaw.errors import DataError
from mixlaw.report.style import Chart, arm_color, styled, top_legend

__all__ = ["weights_along_training"]


def weights_along_training(observations: Observations, run: str | None = None, *, width: float = 7.2) -> Chart:
    """Weight of each domain against tokens trained: what the strategy asked for, and what was drawn.

    Args:
        observations: with a run whose mixture a strategy chose.
        run: its id; may be left out where there is one only.
        width: in inches.

    Raises:
        DataError: no such run, or several and none named.

    Example:
        >>> weights_along_training(Observations.load("study/runs/0123456789abcdef"))  # doctest: +SKIP
    """
    values = observations.values.filter(pc.equal(observations.values["metric"], "mixture_weight"))
    runs = list(dict.fromkeys(values["run"].to_pylist()))
    if run is None and len(runs) == 1:
        run = runs[0]
    if run not in runs:
        raise DataError(
            f"Weights along training were logged in {len(runs)} runs: {runs[:5]}. Name one of them; got {run!r}. "
            f"Only runs with a strategy log them."
        )
    values = values.filter(pc.equal(values["run"], run))
    rows = dict(zip(observations.runs["run"].to_pylist(), observations.runs.to_pylist()))
    drawn = rows[run]["realised"] or []
    total = rows[run]["tokens"]
    names = list(dict.fromkeys(values["target"].to_pylist()))
    with styled():
        chart = Chart(width, 3.2, f"Weights of {', '.join(names)} along training.")
        axes = chart.subplots()
        ends = np.cumsum([phase["fraction"] for phase in drawn]) * total
        for k, name in enumerate(names):
            mine = values.filter(pc.equal(values["target"], name)).sort_by("step")
            color = arm_color(name, k)
            axes.plot(mine["tokens"].to_numpy(), mine["value"].to_numpy(), color=color, lw=1.6, label=name)
            shares = [dict(phase["weights"]).get(name, 0.0) for phase in drawn]
            axes.step(ends, shares, where="pre", color=color, lw=0.6, alpha=0.45)
        axes.set_xlabel("tokens trained")
        axes.set_ylabel("weight")
        axes.set_ylim(bottom=0)
        settings = {key: value["text"] for key, value in rows[run]["settings"] or []}
        top_legend(chart, axes)
        axes.set_title(f"{settings.get('strategy') or 'weights'} (thin: what was drawn)", loc="left", fontsize=9)
    return chart

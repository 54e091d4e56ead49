"""Scores on tasks along training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixlaw.data.observations import Observations
from mixlaw.errors import DataError, did_you_mean
from mixlaw.report.style import ACCENT, MUTED, Chart, grid_shape, styled

__all__ = ["scores", "skills"]

Rows = list[dict[str, Any]]


def scores(observations: Observations) -> dict[tuple[str, str], Rows]:
    """``{(task, metric): rows}`` of the values that an evaluator measured: those that say of how many items they are.

    Parts of a task (``blimp/island_effects``) are not among them where the task itself is.

    Example:
        >>> value = {"run": "a", "step": 9, "metric": "accuracy", "value": 0.5, "num_items": 40}
        >>> rows = [{**value, "target": target} for target in ("blimp", "blimp/islands")]
        >>> list(scores(Observations.from_records([{"run": "a"}], rows)))
        [('blimp', 'accuracy')]
    """
    found: dict[tuple[str, str], Rows] = {}
    for row in observations.values.to_pylist():
        if row["num_items"] is not None and row["censored"] == "none" and row["step"] is not None:
            found.setdefault((row["target"], row["metric"]), []).append(row)
    return {key: rows for key, rows in found.items() if (key[0].rpartition("/")[0], key[1]) not in found}


def skills(
    observations: Observations, *, tasks: Sequence[str] | None = None, max_panels: int = 12, width: float = 7.2
) -> Chart:
    """Each task's score against step: a thin line per run, their mean with two of its standard errors.

    The standard error shown is that of the questions, averaged over the runs: it says how far a score would move with
    other questions of the same kind.

    Args:
        observations: with values of evaluators; see :func:`scores`.
        tasks: which tasks; by default all, in order of first appearance. A part of one is named ``task/part``.
        max_panels: further metrics are left out.

    Raises:
        DataError: no such score.
    """
    found = scores(observations)
    if tasks is not None:
        rows = observations.values.to_pylist()
        known = {row["target"] for row in rows if row["num_items"] is not None}
        for task in tasks:
            if task not in known:
                raise DataError(f"No score of a task {task!r} was measured.{did_you_mean(task, known)}")
        parts = Observations(observations.runs, observations.values.filter(_is_one_of(observations, tasks)))
        found = scores(parts)
    if not found:
        raise DataError("No task was scored; name evaluators in study.yaml (docs/skills.md).")
    shown = list(found.items())[:max_panels]
    rows_, columns = grid_shape(len(shown), width)
    with styled():
        chart = Chart(width, 2.3 * rows_, f"Scores along training: {', '.join(f'{t} {m}' for (t, m), _ in shown)}.")
        axes = np.atleast_1d(chart.subplots(rows_, columns)).ravel()
        for axis in axes[len(shown) :]:
            axis.set_axis_off()
        for axis, ((task, metric), values) in zip(axes, shown):
            _panel(chart, axis, values)
            axis.set_title(f"{task}: {metric.replace('_', ' ')}", fontsize=8.5)
            axis.set_ylabel(str(values[0]["unit"]).replace("_", " "))
            axis.set_xlabel("step")
            axis.locator_params(axis="x", nbins=4)
    return chart


def _is_one_of(observations: Observations, tasks: Sequence[str]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.is_in(observations.values["target"], value_set=pa.array(list(tasks)))


def _panel(chart: Chart, axis: Any, values: Rows) -> None:
    runs: dict[str, dict[int, float]] = {}
    errors: dict[int, list[float]] = {}
    for row in values:
        runs.setdefault(row["run"], {})[row["step"]] = row["value"]
        if row["std"] is not None:
            errors.setdefault(row["step"], []).append(row["std"])
    for curve in runs.values():
        steps = sorted(curve)
        axis.plot(
            steps, [curve[s] for s in steps], color=MUTED, lw=0.7, alpha=0.5, marker="." if len(steps) < 2 else ""
        )
    steps = sorted(set.intersection(*(set(curve) for curve in runs.values())))
    if not steps:
        return
    mean = np.array([np.mean([curve[s] for curve in runs.values()]) for s in steps])
    error = np.array([2 * float(np.mean(errors.get(s, [0.0]))) for s in steps])
    axis.fill_between(steps, mean - error, mean + error, color=ACCENT, alpha=0.18, linewidth=0)
    line = axis.plot(steps, mean, color=ACCENT, marker="o" if len(steps) < 2 else "")
    chart.tip(line[0], f"mean of {len(runs)} runs: {mean[-1]:.4f} ± {error[-1]:.4f} at step {steps[-1]:,}")

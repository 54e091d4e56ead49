"""Losses along training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array
from mixlaw.report.style import INK, Chart, arm_color, styled, top_legend

__all__ = ["learning_curves"]
Curve = Sequence[Sequence[float]]


def learning_curves(
    curves: Any,
    *,
    target: str | Mapping[str, float] | None = None,
    metric: str = "loss",
    unit: str = "nats per token",
    width: float = 7.2,
) -> Chart:
    """Loss against step: the mean of each arm with the range of its seeds, and the paired difference to the first.

    Args:
        curves: ``{arm: {seed: [(step, loss), ...]}}`` with the proposed mixture first, or
            :class:`~mixlaw.data.observations.Observations` (every run a thin line; replicate groups are arms).
        target: for observations, the validation set or ``{set: weight}`` (all sets alike without).

    Raises:
        DataError: no curve has two points.
    """
    if hasattr(curves, "values") and hasattr(curves, "runs"):
        curves = _from_observations(curves, target, metric)
    arms: dict[str, list[Array]] = {}
    for name, group in curves.items():
        known = [np.asarray(c, dtype=float) for c in group.values() if len(c) >= 2]
        if known:
            arms[str(name)] = known
    if not arms:
        raise DataError("No curve has two points; measure the losses at several steps (training.evaluations).")
    first = next(iter(arms))
    wide = width > 5
    means = {name: _mean(seeds) for name, seeds in arms.items()}
    compared = [n for n in arms if n != first and len(arms) <= 6 and len(means[n]) >= 2 and len(means[first]) >= 2]
    with styled():
        chart = Chart(width, 3.0 if wide or not compared else 5.4, f"Loss along training of {', '.join(arms)}.")
        if compared:
            left, right = chart.subplots(1, 2, width_ratios=[1.2, 1]) if wide else chart.subplots(2, 1)
        else:
            left, right = chart.subplots(), None
        late: list[float] = []
        for k, (name, seeds) in enumerate(arms.items()):
            color = arm_color(name, k) if len(arms) <= 8 else "#7f8a99"
            for curve in seeds:
                left.plot(curve[:, 0], curve[:, 1], color=color, lw=0.7, alpha=0.45 if len(seeds) > 1 else 0.9)
                late += curve[curve[:, 0] >= 0.2 * curve[-1, 0], 1].tolist()
            mean = means[name]
            if len(mean) >= 2 and len(arms) <= 8:
                line = left.plot(mean[:, 0], mean[:, 1], color=color, label=name)
                chart.tip(line[0], f"{name}: {mean[-1, 1]:.4f} at step {mean[-1, 0]:,.0f}, {len(seeds)} seeds")
        low, high = min(late), max(late)
        left.set_ylim(low - 0.05 * (high - low) - 1e-6, high + 0.05 * (high - low) + 1e-6)
        left.set_ylabel(f"loss, {unit}")
        left.set_xlabel("step")
        if right is not None:
            _differences(chart, right, curves, first, compared, list(arms))
            right.set_xlabel("step")
        left.locator_params(axis="x", nbins=5)
        top_legend(chart, left)
    return chart


def _differences(
    chart: Chart,
    axis: Any,
    curves: Mapping[str, Mapping[Any, Curve]],
    first: str,
    compared: Sequence[str],
    order: list[str],
) -> None:
    axis.axhline(0, color=INK, lw=0.8)
    for name in compared:
        seeds = [s for s in curves[first] if s in curves[name]]
        paired = []
        for seed in seeds:
            a, b = dict((float(p[0]), float(p[1])) for p in curves[first][seed]), curves[name][seed]
            paired.append({float(p[0]): a[float(p[0])] - float(p[1]) for p in b if float(p[0]) in a})
        if not paired:
            continue
        steps = sorted(set.intersection(*(set(p) for p in paired)))
        steps = [s for s in steps if s >= 0.1 * steps[-1]] if steps else []
        if len(steps) < 2:
            continue
        values = np.array([[p[s] for s in steps] for p in paired])
        color = arm_color(name, order.index(name))
        if len(values) > 1:
            axis.fill_between(steps, values.min(0), values.max(0), color=color, alpha=0.18, linewidth=0)
        line = axis.plot(steps, values.mean(0), color=color)
        chart.tip(line[0], f"{first} minus {name}: {values[:, -1].mean():+.4f} at the end")
    axis.set_ylabel(f"{first} minus reference")
    axis.set_title("below zero is better", color="#5b6472", fontweight="normal", fontsize=8.5)
    axis.locator_params(axis="x", nbins=4)


def _mean(seeds: Sequence[Array]) -> Array:
    """Mean curve (m, 2) over the steps all seeds share."""
    tables = [dict(map(tuple, c.tolist())) for c in seeds]
    steps = sorted(set.intersection(*(set(t) for t in tables)))
    return np.array([[s, float(np.mean([t[s] for t in tables]))] for s in steps]).reshape(-1, 2)


def _from_observations(
    observations: Any, target: str | Mapping[str, float] | None, metric: str
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    targets = observations.targets
    if isinstance(target, str):
        weights = {target: 1.0}
    else:
        weights = dict(target) if target is not None else {t: 1 / len(targets) for t in targets}
    total = sum(weights.values())
    group = dict(zip(observations.runs["run"].to_pylist(), observations.runs["replicate_group"].to_pylist()))
    table: dict[tuple[str, float], dict[str, float]] = {}
    for row in observations.values.to_pylist():
        if (
            row["metric"] == metric
            and row["target"] in weights
            and row["censored"] == "none"
            and row["step"] is not None
        ):
            table.setdefault((row["run"], float(row["step"])), {})[row["target"]] = row["value"]
    arms: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for (run, step), losses in sorted(table.items()):
        if len(losses) == len(weights):
            value = sum(weights[t] * v for t, v in losses.items()) / total
            arms.setdefault(group[run] or run, {}).setdefault(run, []).append((step, value))
    return arms

"""Plots of mixtures: recommended against references, the swarm that was tried, the Pareto frontier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.observations import Observations
from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array
from mixlaw.kit.units import format_count
from mixlaw.report.plots.inputs import mixture_array, weights_mapping
from mixlaw.report.style import ACCENT, INK, MANY_POINTS, Chart, arm_color, styled, top_legend

__all__ = ["mixture_bars", "pareto", "swarm"]


def mixture_bars(
    mixtures: Mapping[str, Any],
    *,
    tokens: float | None = None,
    unique_tokens: Mapping[str, float] | None = None,
    near_optimal: Mapping[str, Sequence[float]] | None = None,
    width: float = 7.2,
) -> Chart:
    """Weights of several mixtures side by side, domain by domain; the first mixture is the one that is proposed.

    Args:
        mixtures: ``{name: Mixture | Schedule | {domain: weight}}``.
        tokens: token budget; with it the tokens of the first mixture are written at its bars.
        unique_tokens: unique tokens per domain; with it and ``tokens`` also the epochs.
        near_optimal: per domain ``(low, high)`` within which the first mixture may move at little cost.

    Example:
        >>> chart = mixture_bars({"recipe": {"web": 0.4, "code": 0.6}, "natural": {"web": 0.9, "code": 0.1}})
    """
    if not mixtures:
        raise DataError("mixture_bars needs at least one mixture, got none.")
    arms = {name: weights_mapping(m) for name, m in mixtures.items()}
    first = next(iter(arms))
    domains = list(dict.fromkeys(d for arm in arms.values() for d in arm))
    domains.sort(key=lambda d: -arms[first].get(d, 0.0))
    thick = 0.8 / len(arms)
    with styled():
        height = 0.75 + len(domains) * (0.2 + 0.15 * len(arms))
        chart = Chart(width, height, f"Token shares per domain of {', '.join(arms)}.")
        axis = chart.subplots()
        y = np.arange(len(domains))
        longest = max(max(arm.values()) for arm in arms.values())
        for k, (name, arm) in enumerate(arms.items()):
            shares = np.array([arm.get(d, 0.0) for d in domains])
            color = arm_color(name, k)
            bars = axis.barh(y - 0.4 + thick * (k + 0.5), shares, thick * 0.92, color=color, label=name)
            for bar, domain, share in zip(bars, domains, shares):
                notes = [f"{name}: {domain} {share:.1%}"]
                if tokens is not None:
                    notes.append(f"{format_count(share * tokens)} tokens")
                    if unique_tokens is not None:
                        notes.append(f"{share * tokens / unique_tokens[domain]:.2f} epochs")
                chart.tip(bar, ", ".join(notes))
                if k == 0:
                    note = f"{share:.1%}" if share >= 0.0005 else "0%"
                    if tokens is not None and unique_tokens is not None and share >= 0.0005:
                        note += f" · {share * tokens / unique_tokens[domain]:.2f} epochs"
                    end = max(share, near_optimal[domain][1] if near_optimal and domain in near_optimal else 0.0)
                    axis.annotate(
                        note,
                        (end, bar.get_y() + bar.get_height() / 2),
                        xytext=(4, 0),
                        textcoords="offset points",
                        va="center",
                        fontsize=8,
                        color=INK,
                    )
                    longest = max(longest, end)
        if near_optimal:
            rows = [(j, near_optimal[d]) for j, d in enumerate(domains) if d in near_optimal]
            bars_y = [j - 0.4 + thick / 2 for j, _ in rows]
            axis.hlines(bars_y, [r[0] for _, r in rows], [r[1] for _, r in rows], color=INK, lw=1.2)
        axis.set_yticks(y, domains, color=INK)
        axis.set_ylim(len(domains) - 0.45, -0.55)
        axis.grid(axis="y", visible=False)
        axis.set_xlim(0, longest * (1.3 if width > 5 else 1.55))
        axis.xaxis.set_major_formatter(lambda v, _: f"{v:.0%}" if v <= 1 else "")
        axis.set_xlabel("share of training tokens")
        top_legend(chart, axis)
    return chart


def swarm(
    X: Any,
    loss: npt.ArrayLike | None = None,
    *,
    marks: Mapping[str, Any] | None = None,
    label: str = "loss",
    width: float = 7.2,
) -> Chart:
    """Which weights the runs tried, one row per domain and one dot per run, coloured by how well the run did.

    Args:
        X: mixtures (n, K), a dataframe, or :class:`~mixlaw.data.observations.Observations`.
        loss: (n,) what a run reached; colours the dots (dark is better).
        marks: ``{name: mixture}`` to point out, for instance the recipe and the natural mixture.
        label: what ``loss`` is.
    """
    matrix, names = _weights_of(X)
    order = np.argsort(-matrix.mean(0), kind="stable")
    values = None if loss is None else np.asarray(loss, dtype=float)
    if values is not None and values.shape != (len(matrix),):
        raise DataError(f"swarm got {len(matrix)} mixtures but losses of shape {values.shape}.")
    offsets = np.random.default_rng(0).uniform(-0.27, 0.27, len(matrix))
    with styled():
        chart = Chart(width, 0.95 + 0.34 * len(names), f"Weights tried by {len(matrix)} runs, per domain.")
        axis = chart.subplots()
        points = None
        for row, j in enumerate(order):
            points = axis.scatter(
                matrix[:, j],
                row + offsets,
                s=17,
                alpha=0.85,
                linewidths=0.3,
                edgecolors="white",
                rasterized=matrix.size > MANY_POINTS,
                **_colours(values),
            )
            losses = [""] * len(matrix) if values is None else [f", {label} {v:.4f}" for v in values]
            chart.tip(points, [f"{names[j]} {w:.1%}{loss}" for w, loss in zip(matrix[:, j], losses)])
        for k, (name, mixture) in enumerate((marks or {}).items()):
            weights = mixture_array(mixture, names)[order]
            axis.scatter(
                weights,
                np.arange(len(names)),
                marker="|",
                s=210,
                linewidths=2.6,
                color=arm_color(name, k),
                label=name,
                zorder=3,
            )
        axis.set_yticks(np.arange(len(names)), [names[j] for j in order], color=INK)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_xlim(-0.02, max(float(matrix.max()), 0.05) * 1.04 + 0.01)
        axis.xaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
        axis.set_xlabel("share of training tokens")
        if values is not None and points is not None and np.ptp(values) > 0:
            bar = chart.colorbar(points, ax=axis, aspect=30, pad=0.02, extend="max")
            bar.outline.set_visible(False)  # type: ignore[operator]
            bar.set_label(label)
        top_legend(chart, axis)
    return chart


def _weights_of(X: Any) -> tuple[Array, list[str]]:
    """Mixtures (n, K) of a swarm, and the names of its domains."""
    from mixlaw.laws.core.table import as_matrix

    if isinstance(X, Observations):
        schedules = X.schedules()
        X = {d: [s.mixture[d] for s in schedules.values()] for d in X.domains}
    matrix, names = as_matrix(X)
    if not len(matrix):
        raise DataError("swarm needs at least one mixture, got none.")
    return matrix, names or [f"x{j}" for j in range(matrix.shape[1])]


def _colours(values: Array | None) -> dict[str, Any]:
    """How dots are coloured: dark where the loss is low, all the same without losses; the worst 5% share a colour."""
    if values is None:
        return {"c": ACCENT}
    return {"c": values, "cmap": "viridis", "vmin": float(np.min(values)), "vmax": float(np.quantile(values, 0.95))}


def pareto(
    points: Any,
    names: Sequence[str] | None = None,
    *,
    marks: Mapping[str, Sequence[float]] | None = None,
    tips: Sequence[str] | None = None,
    width: float = 5.5,
) -> Chart:
    """Losses that can be reached together: two targets on the axes, a third as colour.

    Args:
        points: what ``mixlaw.optimize.frontier`` returned, or (n, 2) or (n, 3) losses; best on the lower left.
        names: what the columns are (known for a frontier).
        marks: ``{name: losses}`` to point out, for instance today's mixture.
        tips: (n,) what to show under the pointer, for instance the mixture.
    """
    if hasattr(points, "mixtures") and hasattr(points, "losses"):
        tips = tips or [_largest(points.domains, weights) for weights in points.mixtures]
        names, points = names or points.sets, points.losses
    losses = np.asarray(points, dtype=float)
    names = list(names or [])
    if losses.ndim != 2 or losses.shape[1] not in (2, 3) or len(names) != losses.shape[1]:
        raise DataError(
            f"pareto needs points (n, 2) or (n, 3) and as many names, got {losses.shape} and {list(names)}."
        )
    order = np.argsort(losses[:, 0], kind="stable")
    losses = losses[order]
    with styled():
        chart = Chart(width, min(width * 0.75, 4.4), f"Trade-off between {' and '.join(names)}.")
        axis = chart.subplots()
        if losses.shape[1] == 2:
            axis.plot(losses[:, 0], losses[:, 1], color=ACCENT, lw=1.2, alpha=0.7)
        dots = axis.scatter(
            losses[:, 0],
            losses[:, 1],
            s=20,
            c=losses[:, 2] if losses.shape[1] == 3 else ACCENT,
            cmap="viridis" if losses.shape[1] == 3 else None,
            zorder=2,
            label="frontier",
        )
        texts = [", ".join(f"{n} {v:.4f}" for n, v in zip(names, row)) for row in losses]
        if tips is not None:
            texts = [f"{a} ({tips[i]})" for a, i in zip(texts, order)]
        chart.tip(dots, texts)
        for k, (name, at) in enumerate((marks or {}).items()):
            color = arm_color(name, k)
            axis.scatter([at[0]], [at[1]], s=70, marker="D", color=color, edgecolors="white", zorder=3, label=name)
        if losses.shape[1] == 3:
            bar = chart.colorbar(dots, ax=axis, aspect=30, pad=0.02)
            bar.outline.set_visible(False)  # type: ignore[operator]
            bar.set_label(names[2])
        axis.set_xlabel(names[0])
        axis.set_ylabel(names[1])
        top_legend(chart, axis)
    return chart


def _largest(domains: Sequence[str], weights: npt.NDArray[np.float64], most: int = 4) -> str:
    """``web 40%, code 30%, ...``: the largest weights of a mixture."""
    order = np.argsort(-weights, kind="stable")[:most]
    return ", ".join(f"{domains[j]} {weights[j]:.0%}" for j in order if weights[j] >= 0.005)

"""Plots of a law against what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixlaw.data.prediction import Prediction
from mixlaw.data.verification import interval_of_mean
from mixlaw.errors import DataError
from mixlaw.report.plots.inputs import Array, own_heldout, predict_all, spearman, target_columns
from mixlaw.report.style import ACCENT, INK, MANY_POINTS, MUTED, REFERENCE, Chart, grid_shape, styled

__all__ = ["fit_vs_observed", "predicted_vs_measured", "residuals"]


def _fitted_and_observed(
    law: Any, X: Any, y: Any, folds: int | str | None, heldout: Any, targets: Sequence[str] | None
) -> tuple[Array, Array, list[str]]:
    """Predictions and observations (n, T) of the wanted targets, worst fitted first, and their names."""
    from mixlaw.laws.core.table import as_targets

    observed, names, _ = as_targets(y, allow_missing=True)
    names = names or list(law.target_names_)
    if heldout is not None:
        predicted = np.asarray(heldout, dtype=float).reshape(len(observed), -1)
    elif folds is None:
        predicted = predict_all(law, X)
    elif folds == "own":
        own = own_heldout(law, len(observed))
        if own is None:
            raise DataError(
                f"This {type(law).__name__} holds no held-out predictions of {len(observed)} runs; "
                f"give a number of folds."
            )
        predicted = own
    else:
        if isinstance(folds, str) or not 2 <= folds <= len(observed):
            raise DataError(f"folds must lie between 2 and the number of runs ({len(observed)}), got {folds!r}.")
        predicted = law.predict_heldout(X, y, folds=folds)
    if predicted.shape != observed.shape:
        raise DataError(f"The law predicts {predicted.shape} but y is {observed.shape}; are they of the same runs?")
    columns_wanted = target_columns(names, targets)
    error = np.nanmean(np.abs(predicted - observed), axis=0)
    if targets is None:
        columns_wanted.sort(key=lambda t: -error[t])
    return predicted[:, columns_wanted], observed[:, columns_wanted], [names[t] for t in columns_wanted]


def fit_vs_observed(
    law: Any,
    X: Any,
    y: Any,
    *,
    folds: int | str | None = None,
    heldout: Any = None,
    targets: Sequence[str] | None = None,
    max_panels: int = 12,
    unit: str = "nats per token",
    width: float = 7.2,
) -> Chart:
    """Predicted against observed losses, one panel per target, worst first.

    Args:
        law: a fitted law.
        X, y: the runs, as in ``law.fit``.
        folds: refit without each of so many parts and predict it: *held-out* predictions; ``"own"`` takes those
            the law made itself while it was fitted (``laws.Auto``), for the same runs in the same order. Without,
            the law predicts the runs it was fitted on, which always looks better than it is.
        heldout: (n, T) held-out predictions made elsewhere, instead of ``folds``.
        targets: which targets, in which order.
        max_panels: with more targets, only so many (those predicted worst) are shown.

    Raises:
        DataError: the law and y disagree in shape, or ``folds`` does not suit the number of runs.
    """
    predicted, observed, names = _fitted_and_observed(law, X, y, folds, heldout, targets)
    total, names = len(names), names[:max_panels]
    kind = "fitted loss" if folds is None and heldout is None else "predicted by a fit that had not seen the run"
    rows, columns = grid_shape(len(names), width, 2.2 if width > 5 else 1.7)
    with styled():
        chart = Chart(width, 0.35 + rows * min(width / columns, 2.6), f"Predicted against observed losses ({kind}).")
        axes = chart.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes[len(names) :]:
            axis.set_visible(False)
        for t, (axis, name) in enumerate(zip(axes, names)):
            known = np.isfinite(observed[:, t]) & np.isfinite(predicted[:, t])
            a, b = predicted[known, t], observed[known, t]
            low, high = min(a.min(), b.min()), max(a.max(), b.max())
            pad = 0.06 * (high - low) or 0.01
            axis.plot([low - pad, high + pad], [low - pad, high + pad], color="#b6bcc6", lw=1, zorder=1)
            dots = axis.scatter(a, b, s=16, color=ACCENT, alpha=0.75, linewidths=0, zorder=2)
            dots.set_rasterized(observed.shape[0] * len(names) > MANY_POINTS)
            chart.tip(dots, [f"predicted {p:.4f}, observed {o:.4f}" for p, o in zip(a, b)])
            axis.set_xlim(low - pad, high + pad)
            axis.set_ylim(low - pad, high + pad)
            axis.locator_params(nbins=4)
            axis.set_title(name)
            note = f"MAE {np.abs(a - b).mean():.4f}"
            rank = spearman(a, b)
            if np.isfinite(rank):
                note += f"\nrank corr. {rank:.3f}"
            axis.text(0.04, 0.96, note, transform=axis.transAxes, va="top", fontsize=7.5, color=MUTED)
        chart.supxlabel(f"{kind}, {unit}", fontsize=9, color=MUTED)
        chart.supylabel("observed", fontsize=9, color=MUTED)
        if total > len(names):
            chart.suptitle(f"{len(names)} of {total} targets, worst first", fontsize=8.5, color=MUTED)
    return chart


def residuals(
    law: Any,
    X: Any,
    y: Any,
    *,
    folds: int | str | None = None,
    heldout: Any = None,
    targets: Sequence[str] | None = None,
    unit: str = "nats per token",
    width: float = 7.2,
) -> Chart:
    """Observed minus predicted: against the prediction, and per target. A trend or a funnel means the form is wrong.

    Arguments as in :func:`fit_vs_observed`.
    """
    predicted, observed, names = _fitted_and_observed(law, X, y, folds, heldout, targets)
    error = observed - predicted
    wide = width > 5
    with styled():
        panel = max(2.8, 0.9 + 0.24 * len(names))
        chart = Chart(width, panel if wide else 2.4 + panel, "Residuals of the law.")
        if wide:
            left, right = chart.subplots(1, 2, width_ratios=[1.15, 1])
        else:
            left, right = chart.subplots(2, 1, height_ratios=[2.4, panel])
        scaled = predicted - np.nanmean(predicted, axis=0)
        flat = np.isfinite(error)
        dots = left.scatter(scaled[flat], error[flat], s=12, color=ACCENT, alpha=0.6, linewidths=0)
        dots.set_rasterized(flat.sum() > MANY_POINTS)
        labels = np.broadcast_to(np.array(names, dtype=object), error.shape)[flat]
        chart.tip(dots, [f"{n}: off by {e:+.4f}" for n, e in zip(labels, error[flat])])
        left.axhline(0, color=INK, lw=0.8)
        left.set_xlabel(f"predicted − target mean, {unit}")
        left.set_ylabel("observed − predicted")
        bodies = [error[np.isfinite(error[:, t]), t] for t in range(len(names))]
        right.boxplot(
            bodies,
            orientation="horizontal",
            widths=0.6,
            showfliers=True,
            patch_artist=True,
            boxprops={"facecolor": "#cfe3f1", "edgecolor": ACCENT},
            medianprops={"color": INK},
            whiskerprops={"color": ACCENT},
            capprops={"color": ACCENT},
            flierprops={"marker": ".", "markersize": 4, "markeredgecolor": ACCENT},
        )
        right.axvline(0, color=INK, lw=0.8)
        right.set_yticks(np.arange(1, len(names) + 1), names, color=INK)
        right.invert_yaxis()
        right.locator_params(axis="x", nbins=4)
        right.grid(axis="y", visible=False)
        right.set_xlabel(f"observed − predicted, {unit}")
    return chart


def predicted_vs_measured(
    predictions: Mapping[str, Any],
    measured: Mapping[str, Sequence[float] | float],
    *,
    unit: str = "nats per token",
    width: float = 7.2,
) -> Chart:
    """How far each measurement fell from its prediction, beside the interval that was written down before.

    Args:
        predictions: ``{set: Prediction}`` (or its plain dict).
        measured: ``{set: loss, or one loss per seed}``; only sets with both are drawn.

    Raises:
        DataError: no set has both.
    """
    names = [n for n in predictions if n in measured]
    if not names:
        raise DataError(f"Nothing was both predicted {list(predictions)} and measured {list(measured)}.")
    believed = [p if isinstance(p, Prediction) else Prediction.from_dict(p) for p in (predictions[n] for n in names)]
    with styled():
        chart = Chart(width, 0.95 + 0.33 * len(names), "Measured losses against their predicted intervals.")
        axis = chart.subplots()
        for row, (name, p) in enumerate(zip(names, believed)):
            _prediction_row(chart, axis, row, name, p, np.atleast_1d(np.asarray(measured[name], dtype=float)))
        axis.set_yticks(np.arange(len(names)), names, color=INK)
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.locator_params(axis="x", nbins=7 if width > 5 else 4)
        axis.set_xlabel(f"loss minus the predicted mean, {unit}")
        handles, labels = axis.get_legend_handles_labels()
        unique = dict(zip(labels, handles))
        chart.legend(
            unique.values(), unique.keys(), loc="outside upper left", ncols=4 if width > 5 else 2, borderaxespad=0.2
        )
    return chart


def _prediction_row(chart: Chart, axis: Any, row: int, name: str, p: Prediction, losses: Array) -> None:
    """One set: its predicted intervals of a run and of a mean, the seeds' losses (m,) and their mean."""
    mean = float(losses.mean())
    of_mean = interval_of_mean(p, losses.tolist())
    inside = of_mean.covers(mean)
    band = axis.barh(
        row,
        p.high - p.low,
        0.5,
        left=p.low - p.mean,
        color="#dcebf5",
        label=f"predicted {p.level:.0%} interval of a run",
    )
    if len(losses) > 1:
        axis.barh(
            row,
            of_mean.high - of_mean.low,
            0.5,
            left=of_mean.low - p.mean,
            color="#b3d3e8",
            label="of the mean of the seeds",
        )
    chart.tip(band[0], f"{name}: predicted {p.mean:.4f} [{p.low:.4f}, {p.high:.4f}]")
    axis.vlines(0, row - 0.25, row + 0.25, color=ACCENT, lw=1.6)
    if len(losses) > 1:
        axis.scatter(losses - p.mean, np.full(len(losses), row), s=9, color=MUTED, linewidths=0, label="a seed")
    dot = axis.scatter(
        [mean - p.mean],
        [row],
        s=46,
        marker="o" if inside else "X",
        color=INK if inside else REFERENCE,
        zorder=3,
        label="measured, inside" if inside else "measured, outside",
    )
    chart.tip(dot, [f"{name}: measured {mean:.4f}, {mean - p.mean:+.4f} from the prediction"])

"""What each domain does to each validation set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.report.plots.inputs import Array, mixture_array, objective_array, predict_all, target_columns
from mixlaw.report.style import ACCENT, INK, MUTED, REFERENCE, Chart, grid_shape, styled

__all__ = ["along", "effect_curves", "effects_heatmap"]


def along(base: Array, domain: int, shares: npt.ArrayLike) -> Array:
    """Mixtures (m, K) in which one domain has each of ``shares`` and the others keep their proportions to each other.

    Example:
        >>> along(np.array([0.5, 0.25, 0.25]), 0, [0.0, 1.0]).tolist()
        [[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]
    """
    s = np.asarray(shares, dtype=float)[:, None]
    rest = base.copy()
    rest[domain] = 0.0
    total = rest.sum()
    if total <= 0:  # the base is this domain alone: the others share alike
        rest = np.ones_like(base)
        rest[domain] = 0.0
        total = rest.sum()
    mixtures = (1 - s) * rest / total
    mixtures[:, domain] = s[:, 0]
    return np.asarray(mixtures)


def effect_curves(
    law: Any,
    base: Any = None,
    *,
    X: Any = None,
    objective: Mapping[str, float] | None = None,
    own: Mapping[str, str] | None = None,
    domains: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    marks: Mapping[str, Any] | None = None,
    max_panels: int = 12,
    unit: str = "nats per token",
    width: float = 7.2,
) -> Chart:
    """How predicted losses change as one domain's share goes from 0 to 1 and the others keep their proportions.

    One panel per domain, one line per validation set; the domain's own set and the objective stand out. Lines are
    thin beyond the shares that were observed: there the law extrapolates.

    Args:
        law: a fitted mixture law.
        base: the mixture to start from (the observed mean, or uniform without observations).
        X: the mixtures the law was fitted on; tells where it extrapolates.
        objective: ``{set: weight}``; drawn as a thick dark line.
        own: ``{set: domain}``: which set belongs to which domain (equal names by default).
        domains, targets: which panels and which lines.
        marks: ``{name: mixture}``, drawn as triangles at their share of the panel's domain.
        max_panels: with more domains, only so many (those with the largest effects) are shown.
    """
    found = _curves(law, base, X, domains)
    sets = [str(n) for n in law.target_names_]
    lines = target_columns(sets, targets)
    weights = objective_array(objective, sets) if len(sets) > 1 else None
    ties = {t: t for t in sets if t in found.names} if own is None else dict(own)
    wanted = found.largest(lines, max_panels)
    low, high = found.visible(wanted, lines)
    rows, columns = grid_shape(len(wanted), width, 2.3 if width > 5 else 1.7)
    with styled():
        chart = Chart(
            width,
            0.75 + rows * (1.75 if rows > 1 else 2.0),
            f"Predicted change of losses as the share of {', '.join(wanted)} moves.",
        )
        flat = chart.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axis in flat[len(wanted) :]:
            axis.set_visible(False)
        for axis, name in zip(flat, wanted):
            axis.axhline(0, color="#b6bcc6", lw=0.8)
            for t in lines:
                _one_line(chart, axis, found, name, t, sets[t], ties.get(sets[t]) == name)
            if weights is not None:
                _objective_line(chart, axis, found, name, weights)
            _marks(axis, found.names, name, marks or {})
            axis.set_title(name)
            axis.set_xlim(0, 1)
            axis.set_ylim(low, high)
            axis.xaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
            axis.set_xticks([0.25, 0.5, 0.75])
        for axis in flat[max(0, len(wanted) - columns) : len(wanted)]:
            axis.tick_params(labelbottom=True)
        words = "share of the panel's domain, the others in proportion"
        if len(found.curves) > len(wanted):
            words += f"\n{len(wanted)} of {len(found.curves)} domains, largest effects first"
        chart.supxlabel(words, fontsize=9, color=MUTED)
        chart.supylabel(f"change of loss, {unit}", fontsize=9, color=MUTED)
        _effect_legend(chart, flat[0], weights is not None, marks or {}, bool(ties), width)
    return chart


@dataclass(frozen=True)
class _Curves:
    """What the panels show: shares (S,), each domain's change of the losses (S, T), and where it was observed (S,)."""

    names: list[str]
    shares: Array
    curves: dict[str, Array]
    seen: dict[str, npt.NDArray[np.bool_]]

    def largest(self, lines: Sequence[int], most: int) -> list[str]:
        """The domains to show: all, or those that move something most within what was observed."""
        if len(self.curves) <= most:
            return list(self.curves)

        def reach(name: str) -> float:
            return float(np.ptp(self.curves[name][self.seen[name]][:, lines], axis=0).max())

        return sorted(self.curves, key=lambda n: -reach(n))[:most]

    def visible(self, wanted: Sequence[str], lines: Sequence[int]) -> tuple[float, float]:
        """Ends of the vertical axis. A domain's loss without any of that domain can be far above all else: it is cut
        there, so that the rest can be read."""
        rows = [self.curves[n][self.seen[n] & (self.shares >= 0.03)][:, lines].ravel() for n in wanted]
        within = np.concatenate(rows)
        low, high = np.quantile(within, [0.01, 0.99]) if len(within) else (-0.1, 0.1)
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        pad = 0.12 * (high - low) or 0.01
        return low - pad, high + pad

    def beyond(self, name: str) -> list[Array]:
        """(S,) each: 1 on one side of what was observed, NaN elsewhere."""
        observed = self.shares[self.seen[name]]
        sides = (self.shares <= observed[0], self.shares >= observed[-1])
        parts = [np.where(side, 1.0, np.nan) for side in sides]
        return [part for part in parts if np.isfinite(part).sum() > 1]


def _curves(law: Any, base: Any, X: Any, domains: Sequence[str] | None) -> _Curves:
    from mixlaw.laws.core.table import as_matrix

    names = [str(n) for n in law.feature_names_in_]
    observed = None if X is None else as_matrix(X)[0]
    if base is None:
        center = np.full(len(names), 1 / len(names)) if observed is None else observed.mean(0)
        center = center / center.sum()
    else:
        center = mixture_array(base, names)
    wanted = list(domains) if domains is not None else names
    for name in wanted:
        if name not in names:
            raise ConfigError(f"No domain {name!r} in this law.{did_you_mean(name, names)}")
    at_base = predict_all(law, center[None])[0]
    shares = np.linspace(0, 1, 101)
    curves = {n: predict_all(law, along(center, names.index(n), shares)) - at_base for n in wanted}
    ranges = {n: (0.0, 1.0) for n in names}
    if observed is not None:
        ranges = dict(zip(names, zip(observed.min(0).tolist(), observed.max(0).tolist())))
    seen = {n: (shares >= ranges[n][0] - 0.01) & (shares <= ranges[n][1] + 0.01) for n in wanted}
    return _Curves(names, shares, curves, seen)


def _one_line(chart: Chart, axis: Any, found: _Curves, name: str, t: int, target: str, mine: bool) -> None:
    """One validation set's line in a domain's panel: thin and broken where the law extrapolates."""
    shares, curve, inside = found.shares, found.curves[name], found.seen[name]
    style: dict[str, Any] = {"color": ACCENT if mine else "#a9b1bd", "zorder": 3 if mine else 2}
    solid = axis.plot(shares, np.where(inside, curve[:, t], np.nan), lw=2.2 if mine else 1.1, label=None, **style)
    for part in found.beyond(name):
        axis.plot(shares, part * curve[:, t], lw=0.7, ls=(0, (2, 2)), **style)
    first, last = np.flatnonzero(inside)[[0, -1]]
    chart.tip(
        solid[0],
        f"{target}: {curve[first, t]:+.3f} at {shares[first]:.0%} {name}, {curve[last, t]:+.3f} at {shares[last]:.0%}",
    )


def _objective_line(chart: Chart, axis: Any, found: _Curves, name: str, weights: Array) -> None:
    """The weighted sum of the losses in a domain's panel."""
    shares, inside, total = found.shares, found.seen[name], found.curves[name] @ weights
    drawn = axis.plot(shares, np.where(inside, total, np.nan), color=INK, lw=2.2, zorder=4)
    for part in found.beyond(name):
        axis.plot(shares, part * total, color=INK, lw=0.8, ls=(0, (2, 2)), zorder=4)
    best = int(np.argmin(np.where(inside, total, np.inf)))
    chart.tip(drawn[0], f"objective: lowest at {shares[best]:.0%} {name} ({total[best]:+.4f})")


def _marks(axis: Any, names: Sequence[str], name: str, marks: Mapping[str, Any]) -> None:
    """Triangles at the share that each marked mixture has of the panel's domain."""
    from mixlaw.report.style import arm_color

    for k, (mark, mixture) in enumerate(marks.items()):
        share = float(mixture_array(mixture, list(names))[names.index(name)])
        axis.plot([share], [0], marker="v", ms=6, color=arm_color(mark, k), clip_on=False, zorder=5, ls="none")


def _effect_legend(chart: Chart, axis: Any, objective: bool, marks: Mapping[str, Any], own: bool, width: float) -> None:
    from matplotlib.lines import Line2D

    from mixlaw.report.style import arm_color

    handles = [Line2D([], [], color=INK, lw=2.2, label="objective")] if objective else []
    if own:
        handles.append(Line2D([], [], color=ACCENT, lw=2.2, label="its own validation set"))
    handles.append(Line2D([], [], color="#a9b1bd", lw=1.1, label="other sets"))
    handles.append(Line2D([], [], color=MUTED, lw=0.8, ls=(0, (2, 2)), label="extrapolated"))
    handles += [
        Line2D([], [], color=arm_color(m, k), marker="v", ls="none", ms=6, label=m) for k, m in enumerate(marks)
    ]
    chart.legend(handles=handles, loc="outside upper left", ncols=len(handles) if width > 8 else 3 if width > 5 else 2)


def effects_heatmap(effects: Any, *, width: float = 7.2) -> Chart:
    """Domain x validation set: which domain helps (blue), hurts (orange) or has no shown effect (blank) on what.

    Args:
        effects: what ``mixlaw.laws.read.effects`` returned, its plain data, or any mapping with ``effect`` (K, T)
            (change of loss as the domain grows; negative helps), ``domains``, ``targets`` and, where known, ``low``,
            ``high``, ``significant`` (K, T), ``share``, ``unit`` and ``higher_is_better``.
    """
    data = _effects_data(effects)
    matrix: Array = data["effect"]
    domains, targets = data["domains"], data["targets"]
    low, high, shown = data["low"], data["high"], data["significant"]
    limit = float(np.nanquantile(np.abs(matrix), 0.95)) or 1e-6
    by = "" if data["share"] is None else f" by {data['share']:.1%} of all tokens"
    with styled():
        from matplotlib.colors import LinearSegmentedColormap

        colors = LinearSegmentedColormap.from_list("effects", [ACCENT, "#ffffff", REFERENCE])
        if data["higher_is_better"]:
            colors = colors.reversed()
        cell = 0.27 if len(domains) > 8 else 0.32
        height = 1.3 + cell * len(domains) + 0.045 * max(map(len, targets))
        chart = Chart(width, height, f"Effect of {len(domains)} domains on {len(targets)} validation sets.")
        axis = chart.subplots()
        faded = np.where(shown, matrix, np.nan)
        image = axis.imshow(faded, cmap=colors, vmin=-limit, vmax=limit, aspect="auto")
        room = width / max(len(targets), 1) > 0.5
        for i in range(len(domains)):
            for t in range(len(targets)):
                text = f"{domains[i]} → {targets[t]}: {matrix[i, t]:+.4f}"
                if low is not None and high is not None:
                    text += f" [{low[i, t]:+.4f}, {high[i, t]:+.4f}]"
                text += "" if shown[i, t] else ", no effect shown"
                patch = axis.fill_between([t - 0.5, t + 0.5], i - 0.5, i + 0.5, alpha=0.0, linewidth=0)
                chart.tip(patch, text)
                if room and shown[i, t]:
                    dark = abs(matrix[i, t]) > 0.75 * limit
                    word = f"{matrix[i, t]:+.3f}" if limit < 10 else f"{matrix[i, t]:+.2g}"
                    axis.text(t, i, word, ha="center", va="center", fontsize=7, color="white" if dark else INK)
        axis.set_xticks(np.arange(len(targets)), targets, rotation=40, ha="left", rotation_mode="anchor", color=INK)
        axis.xaxis.tick_top()
        axis.tick_params(length=0)
        axis.set_yticks(np.arange(len(domains)), domains, color=INK)
        axis.set_xlim(-0.5, len(targets) - 0.5)
        axis.set_ylim(len(domains) - 0.5, -0.5)
        axis.grid(visible=False)
        for side in axis.spines.values():
            side.set_visible(False)
        axis.set_xticks(np.arange(-0.5, len(targets)), minor=True)
        axis.set_yticks(np.arange(-0.5, len(domains)), minor=True)
        axis.grid(which="minor", color="white", lw=1.5)
        axis.tick_params(which="minor", length=0)
        beyond = "both" if bool((np.abs(faded) > limit).any()) else "neither"
        bar = chart.colorbar(
            image, ax=axis, orientation="horizontal", aspect=45, pad=0.03, fraction=0.05, extend=beyond
        )
        bar.outline.set_visible(False)  # type: ignore[operator]
        of = "" if data["unit"] is None else f" in {data['unit']}"
        bar.set_label(f"change{of} as the domain grows{by}\nblue helps, orange hurts, blank: no effect shown")
    return chart


def _effects_data(effects: Any) -> dict[str, Any]:
    def get(*names: str) -> Any:
        for name in names:
            value = effects.get(name) if isinstance(effects, Mapping) else getattr(effects, name, None)
            if value is not None:
                return value
        return None

    matrix = get("effect", "effects", "mean", "matrix")
    domains, targets = get("domains"), get("targets")
    if matrix is None or domains is None or targets is None:
        raise DataError(f"effects_heatmap needs effect, domains and targets; {type(effects).__name__} lacks some.")
    matrix = np.asarray(matrix, dtype=float)
    if matrix.shape != (len(domains), len(targets)):
        raise DataError(f"effects must be {len(domains)} domains x {len(targets)} targets, got {matrix.shape}.")
    low, high = get("low"), get("high")
    significant = get("significant", "discovered", "relevant")
    if significant is None and low is not None and high is not None:
        significant = (np.asarray(low) > 0) | (np.asarray(high) < 0)
    return {
        "effect": matrix,
        "domains": [str(d) for d in domains],
        "targets": [str(t) for t in targets],
        "share": get("share"),
        "unit": get("unit"),
        "higher_is_better": bool(get("higher_is_better")),
        "low": None if low is None else np.asarray(low, dtype=float),
        "high": None if high is None else np.asarray(high, dtype=float),
        "significant": np.ones(matrix.shape, bool) if significant is None else np.asarray(significant, dtype=bool),
    }

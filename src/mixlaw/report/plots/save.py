"""All plots a fitted law and its runs allow, as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mixlaw.errors import DataError
from mixlaw.report.plots.inputs import own_heldout
from mixlaw.report.style import Chart

__all__ = ["save_all"]


def save_all(
    law: Any, X: Any, y: Any, folder: str | Path, *, unit: str = "nats per token", dpi: int = 144
) -> list[Path]:
    """Write every plot that ``law`` and its runs allow as PNG, and return the paths.

    Args:
        law: a fitted law.
        X, y: the runs it was fitted on.
        folder: made where it does not exist.
        unit: of the losses.

    Example:
        >>> save_all(law, X, y, "plots")  # doctest: +SKIP
        [PosixPath('plots/fit_vs_observed.png'), ...]
    """
    from mixlaw.laws.core.table import as_matrix, as_targets
    from mixlaw.laws.read.effects import effects
    from mixlaw.report import plots

    matrix, names = as_matrix(X)
    losses, _, _ = as_targets(y, allow_missing=True)
    folds = "own" if own_heldout(law, len(matrix)) is not None else None
    draw: dict[str, Callable[[], Chart]] = {
        "fit_vs_observed": lambda: plots.fit_vs_observed(law, X, y, folds=folds, unit=unit, width=9.0),
        "residuals": lambda: plots.residuals(law, X, y, folds=folds, unit=unit, width=9.0),
    }
    league = law.league_
    if league is not None:
        draw["league_table"] = lambda: plots.league_table(league, width=9.0)
    if law.kind == "mixture":
        objective = {str(t): 1.0 for t in law.target_names_}
        mean = losses.mean(1) if np.isfinite(losses).all() else None
        label = "loss" if losses.shape[1] == 1 else "mean loss"
        draw["effect_curves"] = lambda: plots.effect_curves(law, X=X, objective=objective, unit=unit, width=10.0)
        if len(matrix) >= 10:
            draw["effects_heatmap"] = lambda: plots.effects_heatmap(effects(law), width=10.0)
        draw["swarm"] = lambda: plots.swarm(X, mean, label=label, width=9.0)
        if matrix.shape[1] == 3:
            draw["ternary"] = lambda: plots.ternary(law, objective=objective, X=X, label=label)
    elif law.kind == "scale" or names:  # what the law reads beside mixtures, one column after another
        columns = names or ["params", "tokens", "unique_tokens"][: matrix.shape[1]]
        ordered = [c for c in columns if c not in law.domain_names]
        largest = matrix[np.argmax(matrix[:, columns.index(ordered[0])])]
        for vary in ordered[:2]:
            at = {c: float(v) for c, v in zip(columns, largest) if c != vary}
            draw[f"extrapolation_{vary}"] = _fan(law, at, vary, X, y, unit)
    draw["parameter_intervals"] = lambda: plots.parameter_intervals(law, width=9.0)
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    written = []
    for name, make in draw.items():
        try:
            chart = make()
        except DataError:
            if name != "parameter_intervals":  # a law without parameters, or an ensemble, has no intervals of them
                raise
            continue
        path = root / f"{name}.png"
        chart.savefig(path, dpi=dpi)
        written.append(path)
    return written


def _fan(law: Any, at: dict[str, float], vary: str, X: Any, y: Any, unit: str) -> Callable[[], Chart]:
    from mixlaw.report import plots

    return lambda: plots.extrapolation_fan(law, at, vary=vary, X=X, y=y, unit=unit)

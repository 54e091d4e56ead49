"""Every plot is one call that returns a figure: show it in a notebook, ``savefig`` it, or read it in the report.

Example:
    >>> from mixlaw.report import plots
    >>> chart = plots.mixture_bars({"recipe": {"web": 0.4, "code": 0.6}, "natural": {"web": 0.9, "code": 0.1}})
    >>> chart.savefig("bars.png", dpi=150)  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

from mixlaw.registry import Registry

_FUNCTIONS = {
    "fit_vs_observed": "fits",
    "residuals": "fits",
    "predicted_vs_measured": "fits",
    "parameter_intervals": "parameters",
    "profile": "likelihood",
    "league_table": "league",
    "effect_curves": "effects",
    "effects_heatmap": "effects",
    "ternary": "simplex",
    "extrapolation_fan": "scale",
    "rank_transfer": "scale",
    "learning_curves": "curves",
    "mixture_bars": "mixtures",
    "swarm": "mixtures",
    "pareto": "mixtures",
}

PLOTS: Registry = Registry("plot", {name: f"mixlaw.report.plots.{file}:{name}" for name, file in _FUNCTIONS.items()})

__all__ = ["PLOTS", *sorted(_FUNCTIONS), "save_all"]


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return PLOTS[name]
    if name == "save_all":
        return importlib.import_module("mixlaw.report.plots.save").save_all
    raise AttributeError(f"mixlaw.report.plots has no {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

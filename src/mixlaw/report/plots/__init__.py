"""Every plot is one call that returns a figure: show it in a notebook, ``savefig`` it, or read it in the report.

Example:
    >>> from mixlaw.report import plots
    >>> chart = plots.mixture_bars({"recipe": {"web": 0.4, "code": 0.6}, "natural": {"web": 0.9, "code": 0.1}})
    >>> chart.savefig("bars.png", dpi=150)  # doctest: +SKIP
"""

from __future__ import annotations

from mixlaw.kit.lazy import attach
from mixlaw.kit.registry import Registry

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
    "weights_along_training": "weights",
    "skills": "task_scores",
    "mixture_bars": "mixtures",
    "swarm": "mixtures",
    "pareto": "mixtures",
}

PLOTS: Registry = Registry("plot", {name: f"mixlaw.report.plots.{file}:{name}" for name, file in _FUNCTIONS.items()})

__getattr__, __dir__, __all__ = attach(
    __name__,
    {name: f"mixlaw.report.plots.{file}" for name, file in {**_FUNCTIONS, "save_all": "save"}.items()},
)

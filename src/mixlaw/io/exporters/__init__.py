"""Recipes as configurations of training frameworks.

A mixlaw weight is a share of **tokens**. Frameworks draw tokens, fixed-length samples, or documents; each exporter
states which, converts, and has a ``simulate`` that follows the framework's own documented sampler, so that the
conversion is checked against the framework and not against its own inverse.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixlaw.errors import ExportError
from mixlaw.registry import Registry

if TYPE_CHECKING:
    from mixlaw.io.exporters.base import Simulation
    from mixlaw.recipe import Recipe

__all__ = ["EXPORTERS", "export", "simulate"]

EXPORTERS = Registry(
    "exporter",
    {
        "huggingface": "mixlaw.io.exporters.huggingface:HuggingFace",
        "llama_factory": "mixlaw.io.exporters.llama_factory:LlamaFactory",
        "megatron": "mixlaw.io.exporters.megatron:Megatron",
        "nanotron": "mixlaw.io.exporters.nanotron:Nanotron",
        "olmo_core": "mixlaw.io.exporters.olmo_core:OlmoCore",
        "streaming": "mixlaw.io.exporters.streaming:Streaming",
        "torchtitan": "mixlaw.io.exporters.torchtitan:TorchTitan",
    },
)
"""Framework name to exporter class."""


def export(recipe: Recipe, framework: str, path: str | Path, **options: Any) -> Path:
    """Write ``recipe`` for ``framework``; returns the file written.

    Raises:
        ConfigError: unknown framework.
        ExportError: the recipe cannot be expressed there, or drawing it as the framework does exceeds an epoch cap.

    Example:
        ``export(recipe, "megatron", "blend.json")``
    """
    exporter = EXPORTERS[framework](**options)
    check(recipe, exporter.simulate(recipe))
    written: Path = exporter.write(recipe, Path(path))
    return written


def simulate(recipe: Recipe, framework: str, **options: Any) -> Simulation:
    """What ``framework`` would really draw: tokens and epochs per domain and phase."""
    simulation: Simulation = EXPORTERS[framework](**options).simulate(recipe)
    return simulation


def check(recipe: Recipe, simulation: Simulation) -> None:
    """Refuse an export whose real epochs exceed the recipe's own cap by more than 1%.

    Raises:
        ExportError: with the domain, its epochs and its cap.
    """
    caps = recipe.budget.get("max_epochs")
    for domain, epochs in simulation.epochs.items():
        cap = caps.get(domain) if isinstance(caps, dict) else caps
        if cap is not None and epochs > cap * 1.01:
            raise ExportError(
                f"{simulation.framework} would repeat {domain!r} {epochs:.3g} times, above its cap of {cap:g} epochs. "
                f"Lower its weight with a cap in the budget and optimise again."
            )

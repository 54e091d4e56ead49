"""Recipes as configurations of training frameworks: one framework per file of this folder.

A mixlaw weight is a share of **tokens**. Frameworks draw tokens, fixed-length samples, or documents; each exporter
states which, converts, and has a ``simulate`` that follows the framework's own documented sampler, so that the
conversion is checked against the framework and not against its own inverse.

A user's own joins by ``EXPORTERS.register("mine", MyExporter)`` or by an entry point of the group
``mixlaw.exporters``; ``docs/write-your-own/exporter.md`` shows how.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixlaw.data.seams import EXPORTERS

if TYPE_CHECKING:
    from mixlaw.data.recipe import Recipe
    from mixlaw.io.exporters.base import Simulation

__all__ = ["EXPORTERS", "export", "simulate"]


def export(recipe: Recipe, framework: str, path: str | Path, **options: Any) -> Path:
    """The same as :meth:`mixlaw.Recipe.export`.

    Example:
        ``export(recipe, "megatron", "blend.json")``
    """
    return recipe.export(framework, path, **options)


def simulate(recipe: Recipe, framework: str, **options: Any) -> Simulation:
    """What ``framework`` would really draw: tokens and epochs per domain and phase.

    Raises:
        ConfigError: unknown framework or option, or a value that the option cannot have.
        ExportError: the recipe cannot be expressed there.
    """
    simulation: Simulation = EXPORTERS.make(framework, options).simulate(recipe)
    return simulation

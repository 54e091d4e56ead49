"""Recipes as configurations of training frameworks.

A mixlaw weight is a share of **tokens**. Frameworks draw tokens, fixed-length samples, or documents; each exporter
states which, converts, and has a ``simulate`` that follows the framework's own documented sampler, so that the
conversion is checked against the framework and not against its own inverse.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixlaw.data.seams import EXPORTERS
from mixlaw.errors import ConfigError, ExportError, did_you_mean

if TYPE_CHECKING:
    from mixlaw.data.recipe import Recipe
    from mixlaw.io.exporters.base import Simulation

__all__ = ["EXPORTERS", "SWITCHES", "export", "simulate"]

SWITCHES = ("nanotron",)
"""Frameworks that go from phase to phase in one run; elsewhere every phase is a run from the last checkpoint."""


def export(recipe: Recipe, framework: str, path: str | Path, **options: Any) -> Path:
    """Write ``recipe`` for ``framework``; returns the file written.

    Args:
        options: of the framework's exporter, such as ``packed=True`` or ``sequence_length=2048``.

    Raises:
        ConfigError: unknown framework or option, or a value that the option cannot have.
        ExportError: the recipe cannot be expressed there, drawing it as the framework does exceeds an epoch cap, or
            ``path`` is a folder.

    Example:
        ``export(recipe, "megatron", "blend.json")``
    """
    exporter = _exporter(framework, options)
    if Path(path).is_dir():
        raise ExportError(f"{path} is a folder. Give the file to write, for example {Path(path) / framework}.")
    check(recipe, exporter.simulate(recipe))
    written: Path = exporter.write(recipe, Path(path))
    return written


def simulate(recipe: Recipe, framework: str, **options: Any) -> Simulation:
    """What ``framework`` would really draw: tokens and epochs per domain and phase."""
    simulation: Simulation = _exporter(framework, options).simulate(recipe)
    return simulation


def _exporter(framework: str, options: dict[str, Any]) -> Any:
    """The framework's exporter, its options checked by name and by the kind of their defaults."""
    made = EXPORTERS[framework]
    known = inspect.signature(made).parameters
    for name, value in options.items():
        if name not in known:
            raise ConfigError(
                f"The exporter {framework!r} has no option {name!r}; it has {', '.join(known) or 'none'}."
                f"{did_you_mean(name, known)}"
            )
        usual = known[name].default
        least = 1 if name in ("sequence_length", "batch_tokens") else 0
        what = {bool: "true or false", int: f"a whole number >= {least}", str: "text"}.get(type(usual))
        if what and (type(value) is not type(usual) or (type(value) is int and value < least)):
            raise ConfigError(f"{framework}: {name}={value!r} must be {what}, for example {usual!r}.")
    return made(**options)


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

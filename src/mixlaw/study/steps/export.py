"""The recipe for a training framework."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from mixlaw.errors import MixlawWarning
from mixlaw.study.folder import StudyFolder
from mixlaw.study.freshness import stale

__all__ = ["export", "only_phases"]


def export(study: StudyFolder, framework: str, path: str | Path, *, schedule: bool = False, **options: Any) -> Any:
    """Write the recipe for a training framework.

    Args:
        framework: a name of :data:`mixlaw.io.exporters.EXPORTERS`.
        path: the file to write.
        schedule: the recipe with phases.
        options: of the exporter (``packed=True``, ...).

    Raises:
        ConfigError: no such framework or option.
        DataError: there is no such recipe yet.
        ExportError: the recipe cannot be expressed there.
    """
    recipe, reason = study.recipe(schedule), stale(study).get("schedule" if schedule else "optimize")
    if reason:
        warnings.warn(f"{study.folder}: {reason}. What is exported is the old recipe.", MixlawWarning, stacklevel=3)
    return recipe.export(framework, path, **options)


def only_phases(study: StudyFolder) -> bool:
    """Whether the only recipe that the study has is the one with phases."""
    return study.store.exists("recipe-schedule.json") and not study.store.exists("recipe.json")

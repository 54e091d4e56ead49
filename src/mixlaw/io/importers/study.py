"""Study folders, single run folders, and folders written by ``Observations.save``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mixlaw.data.observations import Observations
from mixlaw.errors import DataError

__all__ = ["PRIORITY", "read", "recognises"]

PRIORITY = 1
"""A study may hold logs that another importer reads too: asked before the others."""


def recognises(paths: Sequence[Path]) -> bool:
    """Folders with a ``study.yaml``, a run's ``spec.json``, or saved tables."""
    return all(any((p / name).exists() for name in ("study.yaml", "runs.parquet", "spec.json")) for p in paths)


def read(paths: Sequence[Path]) -> Observations:
    """Runs that are done (a ``DONE`` marker) under each study's ``runs/``, or the folder's own tables.

    Raises:
        DataError: no run is done.
    """
    parts = []
    for folder in paths:
        if (folder / "runs.parquet").exists():
            parts.append(Observations.load(folder))
            continue
        done = sorted(p.parent for p in (folder / "runs").glob("*/DONE"))
        if not done:
            raise DataError(f"No run of {folder} is done yet. Run `mixlaw train {folder}` first.")
        parts.append(Observations.load_runs(folder / "runs", [p.name for p in done]))
    return Observations.concat(parts)

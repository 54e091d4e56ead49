"""Files of runs as :class:`~mixlaw.observations.Observations`.

``read`` recognises what it is given; ``format=`` names it where that is ambiguous. Weights that do not sum to one are
reported and rejected, and rescaled only where ``repair=True`` asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixlaw.errors import DataError
from mixlaw.observations import Observations
from mixlaw.registry import Registry

__all__ = ["IMPORTERS", "read"]

IMPORTERS = Registry(
    "importer",
    {
        "table": "mixlaw.io.importers.table:read_table",
        "regmix": "mixlaw.io.importers.regmix:read_regmix",
        "study": "mixlaw.io.importers.study:read_study",
    },
)
"""Format name to function ``(paths, **options) -> Observations``."""


def read(path: str | Path | Sequence[str | Path], *, format: str | None = None, **options: Any) -> Observations:
    """Observations from a study folder, a saved folder, or files of runs.

    Args:
        path: one path, or several where a format is a pair of files.
        format: a name of :data:`IMPORTERS`; recognised from the content by default.
        options: of the importer, such as ``repair=True`` or ``source="our swarm"``.

    Raises:
        DataError: nothing there, or no importer recognises it.

    Example:
        ``read(["train_mixture_1m.csv", "train_pile_loss_1m.csv"])``
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(p) for p in path]
    missing = [str(p) for p in paths if not p.exists()]
    if missing:
        raise DataError(f"{missing} cannot be read: no such file or folder.")
    name = format or _recognise(paths)
    result: Observations = IMPORTERS[name](paths, **options)
    return result


def _recognise(paths: Sequence[Path]) -> str:
    if len(paths) == 1 and paths[0].is_dir():
        folder = paths[0]
        if (folder / "study.yaml").exists() or (folder / "runs.parquet").exists() or (folder / "spec.json").exists():
            return "study"
        for name, test in _FOLDERS.items():
            if test(folder):
                return name
        raise DataError(
            f"{folder} is not a study, a folder of saved observations, or an export mixlaw knows "
            f"({IMPORTERS.names()}). Name its format with format=."
        )
    for name, matches in _FILES.items():
        if matches(paths):
            return name
    return "table"


def _is_regmix(paths: Sequence[Path]) -> bool:
    from mixlaw.io.importers.regmix import is_regmix

    return len(paths) == 2 and is_regmix(paths)


_FILES: dict[str, Any] = {"regmix": _is_regmix}
_FOLDERS: dict[str, Any] = {}

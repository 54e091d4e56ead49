"""Which importer reads some paths: the one that is named, or the one that recognises them.

Looked up in the registry of importers, so that :meth:`mixlaw.Observations.read` needs to know none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mixlaw.data.seams import IMPORTERS
from mixlaw.errors import DataError

__all__ = ["importer_of", "recognise"]


def recognise(paths: Sequence[Path]) -> str:
    """Name of the importer that reads these paths.

    Each importer says so itself, by ``recognises(paths) -> bool`` beside its ``read``. Where several do, the one with
    the highest ``PRIORITY`` beside it (0 where it states none) wins, then the first by name.

    Raises:
        DataError: something is not there, or no importer recognises it.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "runs.csv"
        >>> _ = file.write_text("weight_a,weight_b,loss_a")
        >>> recognise([file])
        'table'
    """
    missing = [str(p) for p in paths if not p.exists()]
    if missing or not paths:
        raise DataError(f"{', '.join(missing) or 'Nothing'} cannot be read: no such file or folder.")
    by_priority = sorted(IMPORTERS, key=lambda name: (-IMPORTERS.beside(name, "PRIORITY", 0), name))
    for name in by_priority:
        recognises = IMPORTERS.beside(name, "recognises")
        if recognises is not None and recognises(paths):
            return name
    shown = ", ".join(map(str, paths))
    raise DataError(
        f"{shown} {'is' if len(paths) == 1 else 'are'} not a study, a folder of saved observations, or an export that "
        f"mixlaw knows ({IMPORTERS.names()}). Name its format with format=."
    )


def importer_of(paths: Sequence[Path], format: str | None, options: Mapping[str, Any]) -> Callable[..., Any]:
    """The function ``read(paths, **options)`` of the importer, its options checked.

    Args:
        paths: files or folders that exist.
        format: name of the importer; None: the one that recognises the paths.
        options: what it is to be called with.

    Raises:
        DataError: see :func:`recognise`; or a pipe, from which one would wait for ever.
        ConfigError: unknown format, or an option that its importer does not have.

    Example:
        >>> importer_of([Path("runs.csv")], "table", {}).__module__
        'mixlaw.io.importers.table'
    """
    odd = [str(p) for p in paths if p.exists() and not (p.is_file() or p.is_dir())]
    if odd:
        raise DataError(f"{odd[0]} is a pipe or a device, not a file. Write what it gives into a file first.")
    name = recognise(paths) if format is None else format
    IMPORTERS.check(name, options, hint=f"If this is no {name!r}, name its format (`format=`, `--format`).")
    return IMPORTERS[name]  # type: ignore[no-any-return]

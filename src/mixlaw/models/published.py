"""A published model by its path: a checkpoint folder, or a GGUF file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mixlaw.models.hugging_face.checkpoint_folder import CheckpointFolder

if TYPE_CHECKING:
    from mixlaw.models.gguf_file import GGUFFile

__all__ = ["opened"]


def opened(path: str | Path) -> CheckpointFolder | GGUFFile:
    """The model at ``path``, checked but not loaded.

    A GGUF file, whose long lists take seconds to read, is read once per process and content: a design checks the start
    of every one of its runs.

    Raises:
        ConfigError: an architecture, or something in it, that is not supported.
        DataError: missing or damaged files.
        MissingExtraError: for a GGUF file, the ``gguf`` library is not installed.

    Example:
        >>> opened("no such folder")
        Traceback (most recent call last):
            ...
        mixlaw.errors.DataError: There is no checkpoint in 'no such folder': it has no config.json. ...
    """
    if Path(path).suffix != ".gguf":
        return CheckpointFolder(path)
    state = Path(path).stat() if Path(path).is_file() else None
    return _gguf(str(path), state and (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=2)
def _gguf(path: str, state: tuple[int, int] | None) -> GGUFFile:
    from mixlaw.models.gguf_file import GGUFFile

    return GGUFFile(path)

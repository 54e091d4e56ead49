"""The log of a run or of another item that a worker processes: one file, read from its end when something fails."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["log_tail", "log_to"]


def log_tail(path: Path, num_bytes: int = 2000) -> str:
    """The end of a log file; ``""`` where there is none.

    Example:
        >>> log_tail(Path("no/such/log.txt"))
        ''
    """
    try:
        with open(path, "rb") as handle:
            handle.seek(0, 2)
            handle.seek(max(0, handle.tell() - num_bytes))
            return handle.read().decode("utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""


def log_to(path: Path) -> None:
    """Append what this process prints from now on, and what native code prints, to a file; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)

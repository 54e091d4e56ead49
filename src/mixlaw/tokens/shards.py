"""Token files that are mapped, not loaded, and believed only when they are whole.

``<name>/train.bin`` and ``<name>/val.bin`` hold little-endian ids (uint16, or uint32 above 65,536 tokens), and
``<name>/index.json``, published last, says what they hold. A file that a killed process left carries another name.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError
from mixlaw.kit.store import Store, temporary_beside

__all__ = ["open_shard", "publish", "read_index", "token_hash", "write_stream"]

_BLOCK = 1 << 22


def write_stream(path: Path, arrays: Iterable[npt.NDArray[Any]]) -> int:
    """Write arrays one after the other to ``path`` (not atomic: for unfinished work); returns the entries written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = 0
    with open(path, "wb") as handle:
        for array in arrays:
            array.tofile(handle)
            entries += len(array)
    return entries


def publish(target: Path, arrays: Iterable[npt.NDArray[Any]]) -> tuple[int, str]:
    """Write arrays to ``target``, which appears only when complete. Returns entries and content hash."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(temporary_beside(target))
    digest, entries = hashlib.sha256(), 0
    try:
        with open(temporary, "wb") as handle:
            for array in arrays:
                for start in range(0, len(array), _BLOCK):
                    block = np.ascontiguousarray(array[start : start + _BLOCK])
                    digest.update(block.tobytes())
                    block.tofile(handle)
                entries += len(array)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return entries, digest.hexdigest()[:16]


def token_hash(path: Path) -> str:
    """Content hash of a token file, as :func:`publish` gives it."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:16]


def read_index(folder: Path) -> dict[str, Any] | None:
    """``index.json`` of a shard folder, or None where it is missing or its files do not have the sizes it says."""
    store = Store(folder)
    if not store.exists("index.json"):
        return None
    index: dict[str, Any] = store.read_json("index.json")
    width = np.dtype(index["dtype"]).itemsize
    for part in ("train", "val"):
        if part in index:
            file = folder / f"{part}.bin"
            if not file.exists() or file.stat().st_size != index[part]["tokens"] * width:
                return None
    return index


def open_shard(folder: Path, part: str) -> npt.NDArray[Any]:
    """Tokens of ``part`` ("train" or "val") of a shard folder, mapped from disk.

    Raises:
        DataError: not there, or not whole.
    """
    index = read_index(folder)
    if index is None or part not in index:
        raise DataError(f"{folder} holds no complete {part} tokens. Run `mixlaw tokenize` again.")
    dtype = np.dtype(index["dtype"])
    if index[part]["tokens"] == 0:
        return np.zeros(0, dtype)
    return np.memmap(folder / f"{part}.bin", dtype=dtype, mode="r")


def gaps(count: int, removed: Sequence[int]) -> Iterable[tuple[int, int]]:
    """Ranges [start, end) of 0..count that remain without the (sorted) removed entries."""
    start = 0
    for index in removed:
        if index > start:
            yield start, int(index)
        start = int(index) + 1
    if start < count:
        yield start, count

"""Token files that are mapped, not loaded, and believed only when they are whole.

``<name>/train.bin`` and ``<name>/val.bin`` hold little-endian ids (uint16, or uint32 above 65,536 tokens), and
``<name>/index.json``, published last, says what they hold. A file that a killed process left carries another name.

Beside each token file, ``<part>.blocks.json`` holds the hash of every 4 MiB of it, so that damage is found without
reading all of a large file: :func:`check_tokens` compares some blocks, others for each run, or all of them.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data import formats
from mixlaw.errors import DataError
from mixlaw.kit.arrays import load_array
from mixlaw.kit.store import Store, temporary_beside

__all__ = [
    "array_hash",
    "check_tokens",
    "open_shard",
    "publish",
    "read_index",
    "token_hash",
    "token_sizes",
    "write_index",
    "write_stream",
]

_BLOCK = 1 << 22
"""Bytes of a token file that are hashed together."""
_NOTE = "tokenizer-inputs.json"
_SAMPLE = 8
"""Blocks that are compared where not all are: the first, the last, and others by lot."""


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
    """Write arrays to ``target``, which appears only when complete, and the hashes of its blocks beside it. Returns
    entries and content hash."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(temporary_beside(target))
    digest, entries, blocks = hashlib.sha256(), 0, _Blocks()
    try:
        with open(temporary, "wb") as handle:
            for array in arrays:
                for start in range(0, len(array), _BLOCK):
                    block = np.ascontiguousarray(array[start : start + _BLOCK])
                    data = block.tobytes()
                    digest.update(data)
                    blocks.update(data)
                    block.tofile(handle)
                entries += len(array)
            handle.flush()
            os.fsync(handle.fileno())
        content = {"hash": digest.hexdigest()[:16], "bytes": _BLOCK, "blocks": blocks.hashes()}
        formats.write(Store(target.parent), _blocks_file(target.stem), "token blocks", content)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return entries, digest.hexdigest()[:16]


def token_hash(path: Path) -> str:
    """Content hash of a token file, as :func:`publish` gives it."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:16]


def array_hash(values: npt.NDArray[Any]) -> str:
    """Content hash of a small array."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def token_sizes(root: Path) -> npt.NDArray[Any] | None:
    """Bytes that each token spells, of a folder of shards; None where they are not known.

    Raises:
        DataError: damaged.
    """
    file, store = root / "token_bytes.npy", Store(root)
    if not file.exists():
        return None
    note = formats.read(store, _NOTE, "token index") if store.exists(_NOTE) else {}
    try:
        sizes = load_array(file)
    except DataError as error:
        raise DataError(f"{error} Run `mixlaw tokenize` again.") from None
    if note.get("token_bytes") and array_hash(sizes) != note["token_bytes"]:
        raise DataError(f"{file} was changed after it was written. Run `mixlaw tokenize` again.")
    return sizes


def write_index(folder: Path, index: dict[str, Any]) -> None:
    """Publish ``index.json`` of a shard folder."""
    formats.write(Store(folder), "index.json", "token index", index)


def read_index(folder: Path) -> dict[str, Any] | None:
    """``index.json`` of a shard folder, or None where it is missing or its files do not have the sizes it says.

    Raises:
        DataError: it is no index, or was changed after it was written.
    """
    store = Store(folder)
    if not store.exists("index.json"):
        return None
    index = formats.read(store, "index.json", "token index")
    return (
        index if formats.made("token index", folder / "index.json", lambda i: _sizes_agree(folder, i), index) else None
    )


def check_tokens(folder: Path, part: str, *, everything: bool = False, seed: str = "") -> None:
    """Compare a token file with the hashes of what was written.

    Args:
        folder: a shard folder.
        part: ``"train"`` or ``"val"``.
        everything: compare all of it; else up to 8 blocks of 4 MiB, which of them by ``seed``.
        seed: such as a run's id, so that many runs together compare more.

    Raises:
        DataError: the file is missing or damaged.
    """
    index, file = read_index(folder), folder / f"{part}.bin"
    again = "Run `mixlaw tokenize` again, which builds it anew."
    if index is None or part not in index:
        raise DataError(f"{folder} holds no complete {part} tokens. Run `mixlaw tokenize` again.")
    written, store = index[part]["hash"], Store(folder)
    if not store.exists(_blocks_file(part)):
        if (everything or file.stat().st_size <= _SAMPLE * _BLOCK) and token_hash(file) != written:
            raise DataError(f"{file} is not as it was written: it gives another hash than {written}. {again}")
        return
    content = formats.read(store, _blocks_file(part), "token blocks")
    hashes, size = content.get("blocks"), content.get("bytes")
    if content.get("hash") != written or not isinstance(hashes, list) or size != _BLOCK:
        raise DataError(f"{folder / _blocks_file(part)} is not of the {part} tokens beside it. {again}")
    count = -(-file.stat().st_size // _BLOCK)
    if len(hashes) != count:
        raise DataError(f"{file} has {count} blocks, and {len(hashes)} were written. {again}")
    chosen: Sequence[int] = range(count)
    if not everything and count > _SAMPLE:
        others = random.Random(f"{seed} {folder.name} {part}").sample(range(1, count - 1), _SAMPLE - 2)
        chosen = sorted([0, count - 1, *others])
    with open(file, "rb") as handle:
        for number in chosen:
            handle.seek(number * _BLOCK)
            if hashlib.sha256(handle.read(_BLOCK)).hexdigest()[:16] != hashes[number]:
                raise DataError(
                    f"{file} is not as it was written: bytes {number * _BLOCK} to {(number + 1) * _BLOCK} give another "
                    f"hash. {again}"
                )
    if everything and token_hash(file) != written:
        raise DataError(f"{file} is not as it was written: it gives another hash than {written}. {again}")


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


class _Blocks:
    """Hashes of a stream's blocks."""

    def __init__(self) -> None:
        self._hashes: list[str] = []
        self._open, self._room = hashlib.sha256(), _BLOCK

    def update(self, data: bytes) -> None:
        view = memoryview(data)
        while len(view):
            part, view = view[: self._room], view[self._room :]
            self._open.update(part)
            self._room -= len(part)
            if not self._room:
                self._close()

    def hashes(self) -> list[str]:
        if self._room < _BLOCK:
            self._close()
        return self._hashes

    def _close(self) -> None:
        self._hashes.append(self._open.hexdigest()[:16])
        self._open, self._room = hashlib.sha256(), _BLOCK


def _blocks_file(part: str) -> str:
    return f"{part}.blocks.json"


def _sizes_agree(folder: Path, index: dict[str, Any]) -> bool:
    width = np.dtype(index["dtype"]).itemsize
    parts = [part for part in ("train", "val") if part in index]
    files = {part: folder / f"{part}.bin" for part in parts}
    return all(
        files[part].exists() and files[part].stat().st_size == index[part]["tokens"] * width and index[part]["hash"]
        for part in parts
    )


def gaps(count: int, removed: Sequence[int]) -> Iterable[tuple[int, int]]:
    """Ranges [start, end) of 0..count that remain without the (sorted) removed entries."""
    start = 0
    for index in removed:
        if index > start:
            yield start, int(index)
        start = int(index) + 1
    if start < count:
        yield start, count

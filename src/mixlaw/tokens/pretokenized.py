"""Text that is tokens already: Megatron ``.bin``/``.idx`` pairs and ``.npy`` arrays, read where they lie.

A Megatron index (the ``MMIDIDX`` format) is: 9 bytes of magic, version 1 as uint64, one byte that names the dtype, the
number of sequences and of document bounds as uint64, then int32 lengths, int64 byte offsets and int64 document
bounds, all little endian. A ``.npy`` array (n,) is cut into documents at the end-of-document token where one is known
and occurs, and otherwise into blocks; an array (n, length) has one document per row.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError
from mixlaw.kit.arrays import load_array

__all__ = ["TokenFile", "open_megatron", "open_numpy", "open_tokens"]

_MAGIC = b"MMIDIDX\x00\x00"
_DTYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f8", 7: "<f4", 8: "<u2"}
_BLOCK = 2048


@dataclass(frozen=True)
class TokenFile:
    """Mapped tokens and where each document of them lies, as ``bounds`` (documents + 1,) of positions."""

    path: str
    tokens: npt.NDArray[Any]
    bounds: npt.NDArray[np.int64]

    def documents(self) -> Iterator[npt.NDArray[Any]]:
        """One array of ids per document that is not empty."""
        for start, end in zip(self.bounds[:-1], self.bounds[1:]):
            if end > start:
                yield self.tokens[start:end]


def open_tokens(path: str, end: int | None = None) -> TokenFile:
    """Open a ``.npy`` array or a Megatron pair, named by either of its files; ``end`` is the end-of-document token."""
    return open_numpy(path, end) if path.lower().endswith(".npy") else open_megatron(path)


def open_megatron(path: str | Path) -> TokenFile:
    """Open ``<prefix>.bin`` and ``<prefix>.idx``.

    Raises:
        DataError: a file is missing, is not in the format, or the two do not fit together.
    """
    prefix = Path(path)
    prefix = prefix.with_suffix("") if prefix.suffix in {".bin", ".idx"} else prefix
    index_path, data_path = Path(f"{prefix}.idx"), Path(f"{prefix}.bin")
    for file in (index_path, data_path):
        if not file.exists():
            raise DataError(
                f"{file} is not there; Megatron tokens are a pair of {prefix.name}.bin and {prefix.name}.idx."
            )
    with open(index_path, "rb") as handle:
        head = handle.read(34)
        if len(head) < 34 or head[:9] != _MAGIC:
            raise DataError(f"{index_path} is not a Megatron index: it begins with {head[:9]!r}, not {_MAGIC!r}.")
        version, code, sequences, bounds = struct.unpack("<QBQQ", head[9:])
        if version != 1 or code not in _DTYPES or np.dtype(_DTYPES[code]).kind == "f":
            raise DataError(f"{index_path}: version {version}, dtype code {code}; known are version 1, integer dtypes.")
        if index_path.stat().st_size < 34 + 12 * sequences + 8 * bounds:
            raise DataError(
                f"{index_path} ends before its {sequences} sequences and {bounds} document bounds. Copy it again."
            )
        lengths = np.fromfile(handle, "<i4", sequences)
        offsets = np.fromfile(handle, "<i8", sequences)
        documents = np.fromfile(handle, "<i8", bounds)
    dtype = np.dtype(_DTYPES[code])
    if (lengths < 0).any() or (documents < 0).any() or (documents > sequences).any() or (np.diff(documents) < 0).any():
        raise DataError(f"{index_path} holds lengths or document bounds that cannot be. Copy it again.")
    total = int(lengths.sum(dtype=np.int64))
    expected = np.cumsum(lengths, dtype=np.int64) - lengths
    if data_path.stat().st_size != total * dtype.itemsize or not np.array_equal(offsets, expected * dtype.itemsize):
        raise DataError(
            f"{data_path} has {data_path.stat().st_size} bytes, but its index describes {total} tokens of "
            f"{dtype.itemsize} bytes one after the other. The two files do not belong together."
        )
    data: npt.NDArray[Any] = np.memmap(data_path, dtype, mode="r") if total else np.zeros(0, dtype)
    starts = np.append(expected, total)
    return TokenFile(str(data_path), data, starts[documents] if bounds else starts)


def open_numpy(path: str | Path, end: int | None = None) -> TokenFile:
    """Open a one- or two-dimensional integer ``.npy`` array.

    Raises:
        DataError: missing, not an array, or not of whole numbers.
    """
    array = load_array(path, mapped=True)
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2) or not array.size:
        raise DataError(f"{path} holds {array.dtype} {array.shape}; tokens are whole numbers (n,) or (n, length).")
    flat = array.reshape(-1)
    if array.ndim == 2:
        return TokenFile(str(path), flat, np.arange(array.shape[0] + 1) * array.shape[1])
    ends = np.concatenate(
        [
            np.flatnonzero(flat[i : i + (1 << 22)] == end) + i + 1 if end is not None else np.zeros(0, np.int64)
            for i in range(0, len(flat), 1 << 22)
        ]
    )
    inner = ends if len(ends) else np.arange(_BLOCK, len(flat), _BLOCK)
    return TokenFile(str(path), flat, np.unique(np.concatenate([[0], inner, [len(flat)]])).astype(np.int64))


def check_vocabulary(files: Sequence[TokenFile], vocab_size: int | None) -> int:
    """The largest id + 1 of all files, after checking that it fits ``vocab_size``.

    Raises:
        DataError: an id is negative, or not in the vocabulary.
    """
    largest = 0
    for file in files:
        for start in range(0, len(file.tokens), 1 << 22):
            block = file.tokens[start : start + (1 << 22)]
            low, high = int(block.min()), int(block.max())
            if low < 0 or (vocab_size is not None and high >= vocab_size):
                raise DataError(
                    f"{file.path} holds token {low if low < 0 else high}, which is outside the tokenizer's "
                    f"{vocab_size} tokens. Give the tokenizer.json it was tokenised with."
                )
            largest = max(largest, high)
    return largest + 1

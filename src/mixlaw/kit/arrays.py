"""The one array type that annotations use, float64 of any shape, and when two arrays are the same."""

from __future__ import annotations

import tokenize
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError

__all__ = ["Array", "alike", "load_array"]

Array = npt.NDArray[np.float64]

_DAMAGED = (OSError, ValueError, EOFError, MemoryError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile)
"""What numpy raises of a damaged file; its header is Python text, which is parsed."""


def alike(a: Array, b: Array) -> bool:
    """Whether two tables hold the same numbers, to the last digits that a file keeps.

    Example:
        >>> alike(np.array([[0.1, np.nan]]), np.array([[0.1 + 1e-12, np.nan]]))
        True
    """
    return a.shape == b.shape and np.allclose(a, b, atol=1e-9, equal_nan=True)


def load_array(path: str | Path, *, mapped: bool = False) -> npt.NDArray[Any]:
    """The array of a ``.npy`` file.

    Args:
        mapped: leave it on disk and read what is asked for.

    Raises:
        DataError: not there, empty, cut short, or no array of numbers.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "ids.npy"
        >>> np.save(file, np.arange(3))
        >>> load_array(file).tolist()
        [0, 1, 2]
    """
    mode: Literal["r"] | None = "r" if mapped else None
    try:
        array = np.load(path, mmap_mode=mode, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{str(path)!r} does not exist.") from None
    except _DAMAGED as error:
        raise DataError(f"{path} is not a .npy array: {error}.") from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} is not a .npy array: it packs several.")
    return array

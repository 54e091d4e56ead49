"""What all steps of a build share: the folder of tokens, the notes in it, the options and the progress told."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.kit.store import Store
from mixlaw.text.sources import Source
from mixlaw.tokens import pretokenized
from mixlaw.tokens.tokenizer import Encoder

__all__ = ["MAX_VALIDATION_SHARE", "Progress", "Workspace", "spell", "token_documents"]

MAX_VALIDATION_SHARE = 0.1
"""No more than this share of a domain's tokens validates."""

Progress = Callable[[str, float, float], None]
"""``progress(what, done, total)`` in bytes, called often."""


class Workspace:
    """The folder ``root/tokens`` of one build.

    Args:
        root: the study folder, local.
        seed: which documents validate.
        validation_tokens: wanted tokens of each validation set.
        progress: told how far the build is, in bytes.
    """

    def __init__(self, root: str | Path, seed: int, validation_tokens: int, progress: Progress | None) -> None:
        self.store = Store(Store(root).local_path("tokens"))
        self.folder = self.store.local_path()
        self.seed, self.validation_tokens = seed, validation_tokens
        self.progress = progress
        self.done, self.total = 0.0, 1.0

    def tell(self, what: str) -> Callable[[float], None]:
        """A function that tells a position (bytes) within the part that has just begun."""
        start = self.done

        def tell(position: float) -> None:
            if self.progress is not None:
                self.progress(what, start + position, self.total)

        return tell

    def finished(self, what: str, size: float) -> None:
        """A part of ``size`` bytes is done."""
        self.done += size
        if self.progress is not None:
            self.progress(what, self.done, self.total)

    def note(self, name: str, file: str) -> dict[str, Any]:
        """A JSON that an earlier run published, or nothing."""
        if not self.store.exists(name, file):
            return {}
        found: dict[str, Any] = self.store.read_json(f"{name}/{file}")
        return found

    def index(self, source: Source) -> dict[str, Any]:
        """What is published of a domain or validation set."""
        return self.note(source.folder, "index.json")

    def write_array(self, name: str, **arrays: npt.NDArray[Any]) -> None:
        """Publish arrays: one as ``.npy``, several by name as ``.npz``."""
        buffer = io.BytesIO()
        if name.endswith(".npy"):
            (values,) = arrays.values()
            np.save(buffer, values)
        else:
            np.savez(buffer, **arrays)  # type: ignore[arg-type]
        self.store.write_bytes(name, buffer.getvalue())

    def num_bytes(self, ids: npt.NDArray[Any], estimate: float) -> int:
        """Bytes of text behind token ids (n,): counted where the tokenizer's bytes are known, else the estimate."""
        file = self.folder / "token_bytes.npy"
        return int(np.load(file)[ids].sum(dtype=np.int64)) if file.exists() else round(estimate)


def token_documents(source: Source, encoder: Encoder | None) -> Iterator[npt.NDArray[Any]]:
    """The documents of a source that is tokens already, as ids."""
    for path in source.paths:
        yield from pretokenized.open_tokens(path, encoder.end if encoder else None).documents()


def spell(tokens: npt.NDArray[Any]) -> bytes:
    """Ids as words, so that tokens have the same signatures and keys as text.

    Example:
        >>> spell(np.array([3, 14]))
        b'3 14'
    """
    return " ".join(map(str, tokens.tolist())).encode()

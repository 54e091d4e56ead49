"""What all steps of a build share: the folder of tokens, the notes in it, the options and the progress told."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data import formats
from mixlaw.errors import DataError, MixlawWarning
from mixlaw.kit.arrays import load_array
from mixlaw.kit.store import Store
from mixlaw.text.sources import Source
from mixlaw.tokens import pretokenized, shards
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
        verify: compare all tokens that an earlier build left, not some.
    """

    def __init__(
        self,
        root: str | Path,
        seed: int,
        validation_tokens: int,
        progress: Progress | None,
        verify: bool = False,
    ) -> None:
        self.store = Store(Store(root).local_path("tokens"))
        self.folder = self.store.local_path()
        self.seed, self.validation_tokens, self.verify = seed, validation_tokens, verify
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
        try:
            return formats.read(self.store, f"{name}/{file}", "token index")
        except DataError as error:
            _told_again(f"{self.store.path(name, file)}", error)
            return {}

    def is_built(self, folder: str, parts: Sequence[str]) -> bool:
        """Whether these parts of a shard folder are whole, as far as is compared; what is damaged is told."""
        place = self.folder / folder
        try:
            if shards.read_index(place) is None:
                return False
            for part in parts:
                shards.check_tokens(place, part, everything=self.verify)
        except DataError as error:
            _told_again(str(place), error)
            return False
        return True

    def publish_note(self, name: str, content: dict[str, Any]) -> None:
        """Publish a JSON that :meth:`note` reads."""
        formats.write(self.store, name, "token index", content)

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
        return int(load_array(file)[ids].sum(dtype=np.int64)) if file.exists() else round(estimate)


def _told_again(what: str, error: DataError) -> None:
    warnings.warn(f"{what} cannot be used ({error}), so it is built again.", MixlawWarning, stacklevel=4)


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

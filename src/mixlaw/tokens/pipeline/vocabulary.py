"""The tokenizer of a build: given, kept from an earlier run on the same inputs, or trained on an even sample."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixlaw.errors import ConfigError, DataError, MixlawWarning
from mixlaw.kit.arrays import load_array
from mixlaw.kit.hashing import content_hash
from mixlaw.text.readers import ReadCounts
from mixlaw.text.sources import FORMAT, Source
from mixlaw.tokens import pretokenized
from mixlaw.tokens.pipeline.scan import scan_source
from mixlaw.tokens.pipeline.workspace import MAX_VALIDATION_SHARE, Workspace
from mixlaw.tokens.shards import array_hash
from mixlaw.tokens.tokenizer import Encoder, train_tokenizer

__all__ = ["choose_tokenizer", "vocabulary"]

_SAMPLE_PER_DOCUMENT = 100_000  # characters


def choose_tokenizer(
    work: Workspace, sources: Sequence[Source], given: str | Path | None, vocab_size: int
) -> Encoder | None:
    """The given tokenizer, or the one trained earlier on the same inputs, or a new one; None for tokens only.

    Raises:
        ConfigError: tokens and text are mixed without the tokenizer of the tokens.
    """
    texts = [s for s in sources if not s.is_tokens]
    if given is not None:
        encoder = Encoder.load(given)
        inputs = encoder.hash
    elif len(texts) < len(sources):
        if texts:
            raise ConfigError(
                f"{sorted(s.name for s in sources if s.is_tokens)} are tokens already, and other domains are text: "
                f"give the tokenizer.json they were tokenised with, so that all count the same tokens."
            )
        return None
    else:
        inputs = content_hash([FORMAT, [s.inputs for s in texts], vocab_size, work.seed])
        note = work.note(".", "tokenizer-inputs.json")
        if note.get("inputs") == inputs and work.store.exists("tokenizer.json"):
            kept = _kept(work, note)
            if kept is not None:
                _write_sizes(work, kept)
                return kept
        encoder = Encoder(train_tokenizer(_sample(work, texts, vocab_size), vocab_size))
        work.finished("Training the tokenizer", 0)
    work.store.write_bytes("tokenizer.json", encoder.text.encode())
    digest = _write_sizes(work, encoder)
    work.publish_note("tokenizer-inputs.json", {"inputs": inputs, "hash": encoder.hash, "token_bytes": digest})
    return encoder


def _kept(work: Workspace, note: dict[str, Any]) -> Encoder | None:
    """The tokenizer of an earlier build; None where its file is not what that build wrote."""
    try:
        encoder = Encoder.load(work.folder / "tokenizer.json")
    except DataError as error:
        warnings.warn(f"{error} It is trained again.", MixlawWarning, stacklevel=3)
        return None
    if encoder.hash != note.get("hash"):
        warnings.warn(
            f"{work.folder / 'tokenizer.json'} was changed after it was written; it is trained again.",
            MixlawWarning,
            stacklevel=3,
        )
        return None
    return encoder


def _write_sizes(work: Workspace, encoder: Encoder) -> str:
    """``token_bytes.npy`` as it must be, and its hash."""
    sizes, file = encoder.token_bytes(), work.folder / "token_bytes.npy"
    if sizes is None:
        file.unlink(missing_ok=True)
        return ""
    digest = array_hash(sizes)
    try:
        right = file.exists() and array_hash(load_array(file)) == digest
    except DataError:
        right = False
    if not right:
        work.write_array("token_bytes.npy", sizes=sizes)
    return digest


def _sample(work: Workspace, sources: Sequence[Source], vocab_size: int) -> Iterator[str]:
    """The same bytes from each domain, from the end of its key order: its beginning is what validates."""
    share = max(8_000_000, 2_000 * vocab_size) // len(sources)
    for source in sources:
        scan = scan_source(work, source, None)
        order = np.argsort(scan.keys, kind="stable")
        before = np.cumsum(scan.sizes[order]) - scan.sizes[order]
        kept = order[before >= 1.2 * MAX_VALIDATION_SHARE * scan.sizes.sum()]
        order = (kept if len(kept) else order)[::-1]
        taken = np.minimum(scan.sizes[order], _SAMPLE_PER_DOCUMENT)
        wanted = np.zeros(len(scan.keys), bool)
        wanted[order[: int(np.searchsorted(np.cumsum(taken), share)) + 1]] = True
        left = int(wanted.sum())
        for number, text in enumerate(source.documents(ReadCounts())):
            if wanted[number]:
                yield text[:_SAMPLE_PER_DOCUMENT]
                left -= 1
                if not left:
                    break


def vocabulary(given: Sequence[Source], encoder: Encoder | None) -> tuple[np.dtype[Any], int]:
    """The type that holds every token id, and the size of the vocabulary, from the sources that are tokens already."""
    files = [pretokenized.open_tokens(p) for s in given for p in s.paths]
    found = pretokenized.check_vocabulary(files, encoder.vocab_size if encoder else None)
    if encoder is not None:
        return encoder.dtype, encoder.vocab_size
    return np.dtype("<u2" if found <= 1 << 16 else "<u4"), found

"""One pass over a source's documents: content keys, sizes and near-duplicate signatures -> ``scan.npz``."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError
from mixlaw.kit.hashing import content_hash
from mixlaw.text import near_duplicates
from mixlaw.text.readers import ReadCounts
from mixlaw.text.sources import Source
from mixlaw.tokens.pipeline.workspace import Workspace, spell, token_documents
from mixlaw.tokens.tokenizer import Encoder

__all__ = ["Scan", "scan_source"]

_GROUP = 1 << 22  # bytes of text whose signatures are made at once


@dataclass(frozen=True)
class Scan:
    """What is known of a source's n documents: content keys (n,), bytes (n,), signatures (n, 128), and what reading
    met."""

    keys: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.int64]
    signatures: npt.NDArray[np.uint32]
    read: dict[str, int]


def scan_source(work: Workspace, source: Source, encoder: Encoder | None) -> Scan:
    """The scan of a source, read from disk where its inputs have not changed.

    Raises:
        DataError: the source holds no text.
    """
    inputs = content_hash([source.inputs, work.seed, encoder.end if encoder and source.is_tokens else None])
    note = work.note(source.folder, "scan.json")
    target = work.folder / source.folder / "scan.npz"
    if note.get("inputs") == inputs and target.exists():
        try:
            with np.load(target) as saved:
                return Scan(saved["keys"], saved["sizes"], saved["signatures"], note["read"])
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
            target.unlink()  # torn or damaged: the text is there to be read again
    counts = ReadCounts()
    keys: list[int] = []
    sizes: list[int] = []
    parts: list[npt.NDArray[np.uint32]] = []
    for group in _by_bytes(_documents(work, source, counts, encoder)):
        keys += [near_duplicates.document_key(t, work.seed) for t in group]
        sizes += [len(t) for t in group]
        parts.append(near_duplicates.signatures(group))
    if not keys:
        raise DataError(
            f"{source.name!r} holds no text: {list(source.paths)} gave {counts.to_dict()}. "
            f"Check the paths and the text field {source.text_field!r}."
        )
    scan = Scan(np.array(keys, np.uint64), np.array(sizes, np.int64), np.concatenate(parts), counts.to_dict())
    work.write_array(f"{source.folder}/scan.npz", keys=scan.keys, sizes=scan.sizes, signatures=scan.signatures)
    work.publish_note(f"{source.folder}/scan.json", {"inputs": inputs, "read": scan.read})
    return scan


def _documents(work: Workspace, source: Source, counts: ReadCounts, encoder: Encoder | None) -> Iterator[bytes]:
    if source.is_tokens:
        for document in token_documents(source, encoder):
            counts.documents += 1
            yield spell(document)
    else:
        for text in source.documents(counts, work.tell("Reading text")):
            yield text.encode()


def _by_bytes(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= _GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group

"""Validation sets of their own: the first documents in key order, a window of each -> ``val.bin``."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Any

import numpy as np

from mixlaw.errors import DataError
from mixlaw.kit.hashing import content_hash
from mixlaw.text import near_duplicates
from mixlaw.text.readers import ReadCounts
from mixlaw.text.sources import Source
from mixlaw.tokens import holdout, shards
from mixlaw.tokens.pipeline.workspace import Workspace, spell, token_documents
from mixlaw.tokens.tokenizer import Encoder

__all__ = ["encode_validation"]

_DEFAULT_TOKENS = 32_768


def encode_validation(work: Workspace, source: Source, encoder: Encoder | None, dtype: np.dtype[Any]) -> None:
    """Publish the ``val.bin`` of a set of its own: its first documents in key order.

    Raises:
        DataError: the set holds no text, or fewer than two tokens.
    """
    wanted = work.validation_tokens or _DEFAULT_TOKENS
    inputs = content_hash([source.inputs, work.seed, encoder.hash if encoder else str(dtype), wanted, "own"])
    index = work.index(source)
    val = index.get("val", {})
    if val.get("inputs") == inputs and work.is_built(source.folder, ["val"]):
        return
    counts = ReadCounts()
    documents = _smallest(work, source, counts, encoder, wanted)
    if source.is_tokens:
        parts = [d.astype(dtype) for d in documents]
    else:
        assert encoder is not None
        parts = [one for flat, sizes in encoder.encode(documents) for one in np.split(flat, np.cumsum(sizes)[:-1])]
    whole = sum(len(p) for p in parts)
    keys = np.array([near_duplicates.document_key(spell(p), work.seed) for p in parts], dtype=np.uint64)
    first, length = holdout.windows(np.array([len(p) for p in parts]), keys, wanted)
    ids = np.concatenate([p[a : a + n] for p, a, n in zip(parts, first.tolist(), length.tolist())])
    size = sum(len(d.encode()) for d in documents) if not source.is_tokens else 0
    shown = ids[:wanted]
    if len(shown) < 2:
        raise DataError(f"Validation set {source.name!r} has {len(shown)} tokens; it needs at least two.")
    if index.pop("val", None) is not None:  # from here on, the old set is not whole
        shards.write_index(work.folder / source.folder, index)
    count, digest = shards.publish(work.folder / source.folder / "val.bin", [shown])
    spelled = [spell(d) if source.is_tokens else d.encode() for d in documents]
    work.write_array(f"{source.folder}/val-signatures.npy", signatures=near_duplicates.signatures(spelled))
    index.setdefault("dtype", dtype.str)
    index["val"] = {
        "inputs": inputs,
        "tokens": count,
        "hash": digest,
        "documents": len(documents),
        "bytes": None if source.is_tokens else work.num_bytes(shown, size * count / whole),
        "read": counts.to_dict(),
    }
    shards.write_index(work.folder / source.folder, index)


def _smallest(work: Workspace, source: Source, counts: ReadCounts, encoder: Encoder | None, wanted: int) -> list[Any]:
    """Documents with the smallest keys that surely hold ``wanted`` tokens; each text once, bounded memory."""
    budget = 16 * wanted
    heap: list[tuple[int, int]] = []
    held: dict[int, Any] = {}
    size = 0
    stream: Iterable[Any] = (
        token_documents(source, encoder)
        if source.is_tokens
        else source.documents(counts, work.tell("Reading validation text"))
    )
    for document in stream:
        spelled = spell(document) if source.is_tokens else document.encode()
        key = near_duplicates.document_key(spelled, work.seed)
        if key in held:
            continue
        # a long document counts for what it may show, so that there are many
        length = min(len(document) * (8 if source.is_tokens else 1), 16 * holdout.share_of(wanted))
        heapq.heappush(heap, (-key, length))
        held[key] = document
        size += length
        while len(heap) > 1 and size - heap[0][1] >= budget:
            largest, length = heapq.heappop(heap)
            size -= length
            del held[-largest]
    if not held:
        raise DataError(f"Validation set {source.name!r} holds no text: {list(source.paths)}, {counts.to_dict()}.")
    return [held[k] for k in sorted(held)]

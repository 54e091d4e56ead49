"""The second pass over a training domain: tokens, split into ``train.bin`` and the held-out ``val.bin``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError
from mixlaw.kit.hashing import content_hash
from mixlaw.kit.store import temporary_beside
from mixlaw.text.near_duplicates import clusters
from mixlaw.text.readers import ReadCounts
from mixlaw.text.sources import Source
from mixlaw.tokens import holdout, shards
from mixlaw.tokens.pipeline.scan import Scan
from mixlaw.tokens.pipeline.workspace import MAX_VALIDATION_SHARE, Workspace, token_documents
from mixlaw.tokens.tokenizer import Encoder

__all__ = ["encode_domain"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Split:
    """Which of a domain's n documents validate: tokens (n,) and cluster (n,) of each, rows chosen, tokens wanted."""

    tokens: Ints
    cluster: Ints
    chosen: Ints
    limit: int


def encode_domain(
    work: Workspace, source: Source, scan: Scan, encoder: Encoder | None, dtype: np.dtype[Any], held: bool
) -> None:
    """Publish ``train.bin`` and, where ``held``, the held-out ``val.bin`` of a training domain.

    Raises:
        DataError: the files changed while they were read, or the domain cannot be split.
    """
    wanted = work.validation_tokens if held else 0
    inputs = content_hash(
        [source.inputs, work.seed, encoder.hash if encoder else str(dtype), wanted, MAX_VALIDATION_SHARE, "train"]
    )
    folder = work.folder / source.folder
    published = work.index(source)
    parts = [part for part in ("train", "val") if part in published and (part == "train" or held)]
    if published.get("inputs") == inputs and work.is_built(source.folder, parts):
        return
    working = Path(temporary_beside(folder / "documents"))
    try:
        tokens = _write_tokens(work, source, encoder, dtype, working)
        if len(tokens) != len(scan.keys):
            raise DataError(f"{list(source.paths)} changed while it was read. Run again when nothing writes there.")
        split = _split(source, scan, tokens, wanted)
        data = np.memmap(working, dtype, mode="r")
        (folder / "index.json").unlink(missing_ok=True)  # from here on, the old shards are not whole
        index: dict[str, Any] = {
            "inputs": inputs,
            "dtype": dtype.str,
            "tokenizer": encoder.hash if encoder else "",
            "read": scan.read,
            "near_duplicates": int(len(split.cluster) - len(np.unique(split.cluster))),
            "train": _publish_training(folder, source, scan, split, data),
        }
        if held and len(split.chosen):
            index["val"] = _publish_validation(work, source, scan, split, data)
        shards.write_index(folder, index)
    finally:
        working.unlink(missing_ok=True)


def _write_tokens(
    work: Workspace, source: Source, encoder: Encoder | None, dtype: np.dtype[Any], working: Path
) -> Ints:
    """All documents' tokens into the file ``working``, in order; the length of each document (n,)."""
    lengths: list[Ints] = []

    def ids() -> Iterator[npt.NDArray[Any]]:
        for part, sizes in _ids(work, source, encoder, dtype):
            lengths.append(sizes)
            yield part

    shards.write_stream(working, ids())
    return np.concatenate(lengths)


def _ids(
    work: Workspace, source: Source, encoder: Encoder | None, dtype: np.dtype[Any]
) -> Iterator[tuple[npt.NDArray[Any], Ints]]:
    if not source.is_tokens:
        assert encoder is not None
        yield from encoder.encode(source.documents(ReadCounts(), work.tell("Tokenising")))
        return
    for document in token_documents(source, encoder):
        part = document.astype(dtype)
        if encoder is not None and part[-1] != encoder.end:
            part = np.append(part, np.array([encoder.end], dtype))
        yield part, np.array([len(part)], np.int64)


def _split(source: Source, scan: Scan, tokens: Ints, wanted: int) -> _Split:
    cluster = clusters(scan.signatures)
    most = int(tokens.sum() * MAX_VALIDATION_SHARE)
    limit = min(wanted, most)
    chosen = holdout.choose_validation(scan.signatures, cluster, scan.keys, tokens, limit, most)
    if wanted and not len(chosen):
        raise DataError(
            f"Domain {source.name!r} cannot be split: its {len(tokens)} documents are "
            f"{len(np.unique(cluster))} cluster(s) of near duplicates. Give it more text, or "
            f"give validation sets of their own and set validation_tokens to 0."
        )
    return _Split(tokens, cluster, chosen, limit)


def _publish_training(
    folder: Path, source: Source, scan: Scan, split: _Split, data: npt.NDArray[Any]
) -> dict[str, Any]:
    """``train.bin``: every document that does not validate, in the order of the files."""
    ends = np.cumsum(split.tokens)
    starts = ends - split.tokens
    removed = np.sort(split.chosen)
    kept = np.setdiff1d(np.arange(len(split.tokens)), removed)
    train = (data[starts[a] : ends[b - 1]] for a, b in shards.gaps(len(split.tokens), removed.tolist()))
    count, digest = shards.publish(folder / "train.bin", train)
    return {
        "tokens": count,
        "hash": digest,
        "documents": len(kept),
        "bytes": None if source.is_tokens else int(scan.sizes[kept].sum()),
    }


def _publish_validation(
    work: Workspace, source: Source, scan: Scan, split: _Split, data: npt.NDArray[Any]
) -> dict[str, Any]:
    """``val.bin``: a window of each chosen document, exactly ``limit`` tokens in all where there are so many."""
    chosen, limit = split.chosen, max(2, split.limit)
    starts = np.cumsum(split.tokens) - split.tokens
    first, length = holdout.windows(split.tokens[chosen], scan.keys[chosen], limit)
    begin = starts[chosen] + first
    ids = np.concatenate([data[b : b + n] for b, n in zip(begin.tolist(), length.tolist())])
    kept = ids[:limit]
    count, digest = shards.publish(work.folder / source.folder / "val.bin", [kept])
    size = None
    if not source.is_tokens:
        size = work.num_bytes(kept, int(scan.sizes[chosen].sum()) * count / int(split.tokens[chosen].sum()))
    return {
        "tokens": count,
        "hash": digest,
        "documents": len(chosen),
        "bytes": size,
        "rows": [int(d) for d in chosen],
    }

"""From files to shards and a :class:`~mixlaw.data.corpus.Corpus`, domain by domain, each step done once.

1. *scan*: one pass over each domain's text for content hashes and near-duplicate signatures -> ``scan.npz``;
2. *tokenizer*: trained on a sample drawn evenly from the domains by content hash, or given;
3. *encode*: a second pass; whole clusters of near duplicates go to validation -> ``train.bin``, ``val.bin``;
4. *compare*: near duplicates of each validation set in each domain's training text are counted -> ``corpus.json``.

Each step names its inputs (files by size and time of change, options, tokenizer) by a hash in the JSON it publishes
last. Run again, a step whose hash agrees is not repeated.
"""

from __future__ import annotations

import heapq
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.corpus import Corpus, Domain, ValidationSet
from mixlaw.errors import ConfigError, DataError, MixlawWarning
from mixlaw.kit.hashing import content_hash
from mixlaw.kit.store import Store
from mixlaw.text.readers import ReadCounts
from mixlaw.text.sources import FORMAT, Source, read_sources
from mixlaw.tokens import holdout, pretokenized, shards
from mixlaw.tokens.tokenizer import Encoder, train_tokenizer

__all__ = ["Progress", "Source", "build"]

MAX_VALIDATION_SHARE = 0.1
"""No more than this share of a domain's tokens validates."""

_SAMPLE_PER_DOCUMENT = 100_000

Progress = Callable[[str, float, float], None]
"""``progress(what, done, total)`` in bytes, called often."""


@dataclass(frozen=True)
class _Scan:
    keys: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.int64]
    signatures: npt.NDArray[np.uint32]
    read: dict[str, int]


class _Build:
    """One call of :func:`build`."""

    def __init__(self, root: str | Path, seed: int, validation_tokens: int, progress: Progress | None) -> None:
        self.store = Store(Store(root).local_path("tokens"))
        self.folder = self.store.local_path()
        self.seed, self.validation_tokens = seed, validation_tokens
        self.progress = progress
        self.done, self.total = 0.0, 1.0

    def tell(self, what: str) -> Callable[[float], None]:
        start = self.done

        def tell(position: float) -> None:
            if self.progress is not None:
                self.progress(what, start + position, self.total)

        return tell

    def finished(self, what: str, size: float) -> None:
        self.done += size
        if self.progress is not None:
            self.progress(what, self.done, self.total)

    # ---- scan ------------------------------------------------------------------------------------------
    def scan(self, source: Source, encoder: Encoder | None) -> _Scan:
        inputs = content_hash([source.inputs, self.seed, encoder.end if encoder and source.is_tokens else None])
        note = self._note(source.name, "scan.json")
        target = self.folder / source.name / "scan.npz"
        if note.get("inputs") == inputs and target.exists():
            with np.load(target) as saved:
                return _Scan(saved["keys"], saved["sizes"], saved["signatures"], note["read"])
        counts = ReadCounts()
        keys: list[int] = []
        sizes: list[int] = []
        parts: list[npt.NDArray[np.uint32]] = []
        for group in _by_bytes(self._encoded(source, counts, encoder)):
            keys += [holdout.document_key(t, self.seed) for t in group]
            sizes += [len(t) for t in group]
            parts.append(holdout.signatures(group))
        if not keys:
            raise DataError(
                f"{source.name!r} holds no text: {list(source.paths)} gave {counts.to_dict()}. "
                f"Check the paths and the text field {source.text_field!r}."
            )
        scan = _Scan(np.array(keys, np.uint64), np.array(sizes, np.int64), np.concatenate(parts), counts.to_dict())
        buffer = io.BytesIO()
        np.savez(buffer, keys=scan.keys, sizes=scan.sizes, signatures=scan.signatures)
        self.store.write_bytes(f"{source.name}/scan.npz", buffer.getvalue())
        self.store.write_json(f"{source.name}/scan.json", {"inputs": inputs, "read": scan.read})
        return scan

    def _encoded(self, source: Source, counts: ReadCounts, encoder: Encoder | None) -> Iterator[bytes]:
        if source.is_tokens:
            for document in self._token_documents(source, encoder):
                counts.documents += 1
                yield _spell(document)
        else:
            for text in source.documents(counts, self.tell("Reading text")):
                yield text.encode()

    def _token_documents(self, source: Source, encoder: Encoder | None) -> Iterator[npt.NDArray[Any]]:
        for path in source.paths:
            yield from pretokenized.open_tokens(path, encoder.end if encoder else None).documents()

    def _note(self, name: str, file: str) -> dict[str, Any]:
        """A JSON of an earlier run, or nothing."""
        if not self.store.exists(name, file):
            return {}
        found: dict[str, Any] = self.store.read_json(f"{name}/{file}")
        return found

    # ---- tokenizer -------------------------------------------------------------------------------------
    def tokenizer(self, sources: Sequence[Source], given: str | Path | None, vocab_size: int) -> Encoder | None:
        """The given tokenizer, or the one trained earlier on the same inputs, or a new one; None for tokens only."""
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
            inputs = content_hash([FORMAT, [s.inputs for s in texts], vocab_size, self.seed])
            note = self._note(".", "tokenizer-inputs.json")
            if note.get("inputs") == inputs and self.store.exists("tokenizer.json"):
                return Encoder(self.store.read_bytes("tokenizer.json").decode())
            encoder = Encoder(train_tokenizer(self._sample(texts, vocab_size), vocab_size))
            self.finished("Training the tokenizer", 0)
        self.store.write_bytes("tokenizer.json", encoder.text.encode())
        sizes = encoder.token_bytes()
        if sizes is not None:
            buffer = io.BytesIO()
            np.save(buffer, sizes)
            self.store.write_bytes("token_bytes.npy", buffer.getvalue())
        else:
            (self.folder / "token_bytes.npy").unlink(missing_ok=True)
        self.store.write_json("tokenizer-inputs.json", {"inputs": inputs, "hash": encoder.hash})
        return encoder

    def _sample(self, sources: Sequence[Source], vocab_size: int) -> Iterator[str]:
        """The same bytes from each domain, from the end of its key order: its beginning is what validates."""
        share = max(8_000_000, 2_000 * vocab_size) // len(sources)
        for source in sources:
            scan = self.scan(source, None)
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

    # ---- encode ----------------------------------------------------------------------------------------
    def encode(self, source: Source, scan: _Scan, encoder: Encoder | None, dtype: np.dtype[Any], held: bool) -> None:
        """Publish ``train.bin`` and, where ``held``, the held-out ``val.bin`` of a training domain."""
        wanted = self.validation_tokens if held else 0
        inputs = content_hash(
            [source.inputs, self.seed, encoder.hash if encoder else str(dtype), wanted, MAX_VALIDATION_SHARE, "train"]
        )
        folder = self.folder / source.name
        index = shards.read_index(folder)
        if index is not None and index["inputs"] == inputs:
            return
        lengths: list[npt.NDArray[np.int64]] = []
        working = folder / "documents.tmp-encode"

        def ids() -> Iterator[npt.NDArray[Any]]:
            for part, sizes in self._ids(source, encoder, dtype):
                lengths.append(sizes)
                yield part

        try:
            shards.write_stream(working, ids())
            tokens = np.concatenate(lengths)
            if len(tokens) != len(scan.keys):
                raise DataError(f"{list(source.paths)} changed while it was read. Run again when nothing writes there.")
            label = holdout.clusters(scan.signatures)
            most = int(tokens.sum() * MAX_VALIDATION_SHARE)
            limit = min(wanted, most)
            chosen = holdout.choose_validation(scan.signatures, label, scan.keys, tokens, limit, most)
            if wanted and not len(chosen):
                raise DataError(
                    f"Domain {source.name!r} cannot be split: its {len(tokens)} documents are "
                    f"{len(np.unique(label))} cluster(s) of near duplicates. Give it more text, or "
                    f"give validation sets of their own and set validation_tokens to 0."
                )
            self._publish(source, scan, tokens, label, chosen, limit, working, dtype, encoder, inputs, held)
        finally:
            working.unlink(missing_ok=True)

    def _ids(
        self, source: Source, encoder: Encoder | None, dtype: np.dtype[Any]
    ) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
        if not source.is_tokens:
            assert encoder is not None
            yield from encoder.encode(source.documents(ReadCounts(), self.tell("Tokenising")))
            return
        for document in self._token_documents(source, encoder):
            part = document.astype(dtype)
            if encoder is not None and part[-1] != encoder.end:
                part = np.append(part, np.array([encoder.end], dtype))
            yield part, np.array([len(part)], np.int64)

    def _publish(
        self,
        source: Source,
        scan: _Scan,
        tokens: npt.NDArray[np.int64],
        label: npt.NDArray[np.int64],
        chosen: npt.NDArray[np.int64],
        limit: int,
        working: Path,
        dtype: np.dtype[Any],
        encoder: Encoder | None,
        inputs: str,
        held: bool,
    ) -> None:
        folder = self.folder / source.name
        ends = np.cumsum(tokens)
        starts = ends - tokens
        data = np.memmap(working, dtype, mode="r")
        (folder / "index.json").unlink(missing_ok=True)  # from here on, the old shards are not whole
        removed = np.sort(chosen)
        kept = np.setdiff1d(np.arange(len(tokens)), removed)
        train = (data[starts[a] : ends[b - 1]] for a, b in shards.gaps(len(tokens), removed.tolist()))
        count, digest = shards.publish(folder / "train.bin", train)
        known = not source.is_tokens
        index: dict[str, Any] = {
            "inputs": inputs,
            "dtype": dtype.str,
            "tokenizer": encoder.hash if encoder else "",
            "read": scan.read,
            "near_duplicates": int(len(label) - len(np.unique(label))),
            "train": {
                "tokens": count,
                "hash": digest,
                "documents": len(kept),
                "bytes": int(scan.sizes[kept].sum()) if known else None,
            },
        }
        if held and len(chosen):
            self._publish_validation(index, folder, scan, tokens, chosen, limit, data, starts, known)
        self.store.write_json(f"{source.name}/index.json", index)

    def _publish_validation(
        self,
        index: dict[str, Any],
        folder: Path,
        scan: _Scan,
        tokens: npt.NDArray[np.int64],
        chosen: npt.NDArray[np.int64],
        limit: int,
        data: npt.NDArray[Any],
        starts: npt.NDArray[np.int64],
        known: bool,
    ) -> None:
        """``val.bin``: a window of each chosen document, exactly ``limit`` tokens in all where there are so many."""
        first, length = holdout.windows(tokens[chosen], scan.keys[chosen], max(2, limit))
        begin = starts[chosen] + first
        ids = np.concatenate([data[b : b + n] for b, n in zip(begin.tolist(), length.tolist())])
        kept = ids[: max(2, limit)]
        count, digest = shards.publish(folder / "val.bin", [kept])
        index["val"] = {
            "tokens": count,
            "hash": digest,
            "documents": len(chosen),
            "bytes": self._num_bytes(kept, int(scan.sizes[chosen].sum()) * count / int(tokens[chosen].sum()))
            if known
            else None,
            "rows": [int(d) for d in chosen],
        }

    def _num_bytes(self, ids: npt.NDArray[Any], estimate: float) -> int:
        file = self.folder / "token_bytes.npy"
        return int(np.load(file)[ids].sum(dtype=np.int64)) if file.exists() else round(estimate)

    def encode_validation(self, source: Source, encoder: Encoder | None, dtype: np.dtype[Any]) -> None:
        """Publish the ``val.bin`` of a set of its own: its first documents in key order."""
        wanted = self.validation_tokens or 32_768
        inputs = content_hash([source.inputs, self.seed, encoder.hash if encoder else str(dtype), wanted, "own"])
        index = self._note(source.name, "index.json")
        val = index.get("val", {})
        if val.get("inputs") == inputs and shards.read_index(self.folder / source.name) is not None:
            return
        counts = ReadCounts()
        documents = self._smallest(source, counts, encoder, wanted)
        if source.is_tokens:
            parts = [d.astype(dtype) for d in documents]
        else:
            assert encoder is not None
            parts = [one for flat, sizes in encoder.encode(documents) for one in np.split(flat, np.cumsum(sizes)[:-1])]
        whole = sum(len(p) for p in parts)
        keys = np.array([holdout.document_key(_spell(p), self.seed) for p in parts], dtype=np.uint64)
        first, length = holdout.windows(np.array([len(p) for p in parts]), keys, wanted)
        ids = np.concatenate([p[a : a + n] for p, a, n in zip(parts, first.tolist(), length.tolist())])
        size = sum(len(d.encode()) for d in documents) if not source.is_tokens else 0
        shown = ids[:wanted]
        if len(shown) < 2:
            raise DataError(f"Validation set {source.name!r} has {len(shown)} tokens; it needs at least two.")
        if index.pop("val", None) is not None:  # from here on, the old set is not whole
            self.store.write_json(f"{source.name}/index.json", index)
        count, digest = shards.publish(self.folder / source.name / "val.bin", [shown])
        spelled = [_spell(d) if source.is_tokens else d.encode() for d in documents]
        buffer = io.BytesIO()
        np.save(buffer, holdout.signatures(spelled))
        self.store.write_bytes(f"{source.name}/val-signatures.npy", buffer.getvalue())
        index.setdefault("dtype", dtype.str)
        index["val"] = {
            "inputs": inputs,
            "tokens": count,
            "hash": digest,
            "documents": len(documents),
            "bytes": None if source.is_tokens else self._num_bytes(shown, size * count / whole),
            "read": counts.to_dict(),
        }
        self.store.write_json(f"{source.name}/index.json", index)

    def _smallest(self, source: Source, counts: ReadCounts, encoder: Encoder | None, wanted: int) -> list[Any]:
        """Documents with the smallest keys that surely hold ``wanted`` tokens; each text once, bounded memory."""
        budget = 16 * wanted
        heap: list[tuple[int, int]] = []
        held: dict[int, Any] = {}
        size = 0
        stream: Iterable[Any] = (
            self._token_documents(source, encoder)
            if source.is_tokens
            else source.documents(counts, self.tell("Reading validation text"))
        )
        for document in stream:
            spelled = _spell(document) if source.is_tokens else document.encode()
            key = holdout.document_key(spelled, self.seed)
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

    # ---- compare ---------------------------------------------------------------------------------------
    def contamination(self, domains: Sequence[Source], scans: Callable[[Source], _Scan], own: Sequence[Source]) -> Any:
        """Per validation set, its documents and how many have a near duplicate in each domain's training text."""
        sets: dict[str, npt.NDArray[np.uint32]] = {}
        for source in domains:
            rows = self._note(source.name, "index.json").get("val", {}).get("rows")
            if rows:
                sets[source.name] = scans(source).signatures[rows]
        for source in own:
            sets[source.name] = np.load(self.folder / source.name / "val-signatures.npy")
        if not sets:
            return {}
        together = np.concatenate(list(sets.values()))
        bounds = np.cumsum([0] + [len(s) for s in sets.values()])
        result: dict[str, Any] = {n: {"documents": len(s), "in_training": {}} for n, s in sets.items()}
        for source in domains:
            signatures = scans(source).signatures
            rows = self._note(source.name, "index.json").get("val", {}).get("rows") or []
            among = np.delete(signatures, rows, axis=0)
            found = holdout.has_near_duplicate(together, among)
            for k, name in enumerate(sets):
                count = int(found[bounds[k] : bounds[k + 1]].sum())
                if count:
                    result[name]["in_training"][source.name] = count
        return result


def _by_bytes(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= 1 << 22:
            yield group
            group, size = [], 0
    if group:
        yield group


def _spell(tokens: npt.NDArray[Any]) -> bytes:
    """Ids as words, so that tokens have the same signatures and keys machinery as text."""
    return " ".join(map(str, tokens.tolist())).encode()


def build(
    domains: Mapping[str, Any],
    root: str | Path,
    validation: Mapping[str, Any] | None = None,
    tokenizer: str | Path | None = None,
    vocab_size: int = 8192,
    validation_tokens: int = 32_768,
    seed: int = 0,
    text_field: str = "text",
    progress: Progress | None = None,
) -> Corpus:
    """See :func:`mixlaw.tokens.build`."""
    sources, own = read_sources(domains, text_field), read_sources(validation, text_field)
    if not sources:
        raise ConfigError("A corpus needs at least one domain, got none.")
    if validation_tokens < 0:
        raise ConfigError(f"validation_tokens must not be negative, got {validation_tokens}.")
    for source in [*sources, *own]:  # the name rules hold before anything is written
        Domain(source.name, 1)
    replaced = {s.name for s in own}
    work = _Build(root, seed, validation_tokens, progress)
    work.total = max(1.0, 2.0 * sum(s.size for s in sources) + sum(s.size for s in own))

    encoder = work.tokenizer(sources, tokenizer, vocab_size) if tokenizer is not None else None
    cache: dict[str, _Scan] = {}
    for source in sources:
        work.scan(source, encoder)
        work.finished("Reading text", source.size)
    encoder = encoder or work.tokenizer(sources, tokenizer, vocab_size)
    dtype, size = _vocabulary([s for s in [*sources, *own] if s.is_tokens], encoder)
    if encoder is None and any(not s.is_tokens for s in own):
        raise ConfigError("The domains are tokens and a validation set is text: give their tokenizer.json.")

    def scans(source: Source) -> _Scan:
        if source.name not in cache:
            cache.clear()  # one domain's signatures at a time
            cache[source.name] = work.scan(source, encoder)
        return cache[source.name]

    for source in sources:
        work.encode(source, scans(source), encoder, dtype, held=source.name not in replaced)
        work.finished("Tokenising", source.size)
    for source in own:
        work.encode_validation(source, encoder, dtype)
        work.finished("Reading validation text", source.size)
    corpus = _corpus(work, sources, own, encoder, size, work.contamination(sources, scans, own))
    Store(root).write_json("corpus.json", corpus.to_dict())
    _warn(corpus)
    return corpus


def _vocabulary(given: Sequence[Source], encoder: Encoder | None) -> tuple[np.dtype[Any], int]:
    files = [pretokenized.open_tokens(p) for s in given for p in s.paths]
    found = pretokenized.check_vocabulary(files, encoder.vocab_size if encoder else None)
    if encoder is not None:
        return encoder.dtype, encoder.vocab_size
    return np.dtype("<u2" if found <= 1 << 16 else "<u4"), found


def _corpus(
    work: _Build,
    sources: Sequence[Source],
    own: Sequence[Source],
    encoder: Encoder | None,
    vocab_size: int,
    contamination: Any,
) -> Corpus:
    domains, sets = [], []
    duplicates, read = {}, {}
    separate = {s.name for s in own}
    for source in sources:
        index = work._note(source.name, "index.json")
        train = index["train"]
        domains.append(
            Domain(source.name, train["tokens"], train["bytes"], train["documents"], train["hash"], source.paths)
        )
        duplicates[source.name] = index["near_duplicates"]
        read[source.name] = index["read"]
        if "val" in index and source.name not in separate:
            val = index["val"]
            sets.append(ValidationSet(source.name, val["tokens"], val["bytes"], val["hash"], source.name, source.paths))
    for source in own:
        val = work._note(source.name, "index.json")["val"]
        sets.append(ValidationSet(source.name, val["tokens"], val["bytes"], val["hash"], None, source.paths))
        read[f"validation:{source.name}"] = val["read"]
    return Corpus(
        tuple(domains),
        tuple(sets),
        encoder.hash if encoder else "",
        vocab_size,
        {"near_duplicates": duplicates, "contamination": contamination, "read": read},
    )


def _warn(corpus: Corpus) -> None:
    for name, facts in corpus.extra["contamination"].items():
        if facts["in_training"]:
            where = ", ".join(f"{n} of {facts['documents']} in {d!r}" for d, n in facts["in_training"].items())
            warnings.warn(
                f"Validation set {name!r} has near duplicates in training text ({where} documents): its loss rewards "
                f"memory there. Remove them from one side for a clean answer.",
                MixlawWarning,
                stacklevel=3,
            )
    for name, counts in corpus.extra["read"].items():
        odd = {k: v for k, v in counts.items() if v and k in ("replaced", "binary_files", "ignored_files")}
        if odd:
            said = ", ".join(f"{v} {_ODD[k]}" for k, v in odd.items())
            warnings.warn(f"{name!r}: {said}.", MixlawWarning, stacklevel=3)


_ODD = {
    "replaced": "documents with broken UTF-8 (replaced by U+FFFD)",
    "binary_files": "files that are not UTF-8 text (skipped)",
    "ignored_files": "files of another kind beside JSONL or Parquet (skipped)",
}

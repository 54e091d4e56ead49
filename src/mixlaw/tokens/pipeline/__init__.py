"""From files to shards and a :class:`~mixlaw.data.corpus.Corpus`, domain by domain, each step done once.

1. *scan*: one pass over each domain's text for content hashes and near-duplicate signatures -> ``scan.npz``;
2. *vocabulary*: a tokenizer, trained on a sample drawn evenly from the domains by content hash, or given;
3. *encode*: a second pass; whole clusters of near duplicates go to validation -> ``train.bin``, ``val.bin``;
4. *contamination*: near duplicates of each validation set in each domain's training text are counted ->
   ``corpus.json``.

Each step names its inputs (files by size and time of change, options, tokenizer) by a hash in the JSON it publishes
last. Run again, a step whose hash agrees is not repeated.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixlaw.data.corpus import Corpus, Domain, ValidationSet
from mixlaw.errors import ConfigError, MixlawWarning
from mixlaw.text.sources import Source, read_sources
from mixlaw.tokens.pipeline.contamination import contamination
from mixlaw.tokens.pipeline.encode import encode_domain
from mixlaw.tokens.pipeline.scan import Scan, scan_source
from mixlaw.tokens.pipeline.validation import encode_validation
from mixlaw.tokens.pipeline.vocabulary import choose_tokenizer, vocabulary
from mixlaw.tokens.pipeline.workspace import Progress, Workspace
from mixlaw.tokens.tokenizer import Encoder

__all__ = ["Progress", "build"]


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
    verify: bool = False,
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
    work = Workspace(root, seed, validation_tokens, progress, verify)
    work.total = max(1.0, 2.0 * sum(s.size for s in sources) + sum(s.size for s in own))

    encoder = choose_tokenizer(work, sources, tokenizer, vocab_size) if tokenizer is not None else None
    for source in sources:
        scan_source(work, source, encoder)
        work.finished("Reading text", source.size)
    encoder = encoder or choose_tokenizer(work, sources, tokenizer, vocab_size)
    dtype, size = vocabulary([s for s in [*sources, *own] if s.is_tokens], encoder)
    if encoder is None and any(not s.is_tokens for s in own):
        raise ConfigError("The domains are tokens and a validation set is text: give their tokenizer.json.")

    cache: dict[str, Scan] = {}

    def scans(source: Source) -> Scan:
        if source.name not in cache:
            cache.clear()  # one domain's signatures at a time
            cache[source.name] = scan_source(work, source, encoder)
        return cache[source.name]

    for source in sources:
        encode_domain(work, source, scans(source), encoder, dtype, held=source.name not in replaced)
        work.finished("Tokenising", source.size)
    for source in own:
        encode_validation(work, source, encoder, dtype)
        work.finished("Reading validation text", source.size)
    corpus = _corpus(work, sources, own, encoder, size, contamination(work, sources, scans, own))
    corpus.save(Path(root) / "corpus.json")
    _warn(corpus)
    return corpus


def _corpus(
    work: Workspace,
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
        index = work.index(source)
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
        val = work.index(source)["val"]
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
    for own in corpus.validation:
        if own.tokens < _FEW_TOKENS:
            warnings.warn(
                f"Validation set {own.name!r} has {own.tokens} tokens, and each scatters by {_SCATTER:.0f} nats or so: "
                f"its loss is known to about {_SCATTER / own.tokens**0.5:.2g} nats. Give it more text (10,000 tokens "
                f"and more), or leave it out of the objective.",
                MixlawWarning,
                stacklevel=3,
            )
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
        odd = {k: v for k, v in counts.items() if v and k in _ODD}
        if odd:
            said = ", ".join(f"{v} {_ODD[k]}" for k, v in odd.items())
            warnings.warn(f"{name!r}: {said}.", MixlawWarning, stacklevel=3)


_FEW_TOKENS = 256  # below it, the mean over tokens is known to worse than 0.12 nats
_SCATTER = 2.0  # nats, standard deviation of the loss of single tokens

_ODD = {
    "replaced": "documents with broken UTF-8 (replaced by U+FFFD)",
    "binary_files": "files that are not UTF-8 text (skipped)",
    "ignored_files": "files of another kind beside JSONL or Parquet (skipped)",
    "structured_files": "tables or JSON files read as plain text, syntax included",
}

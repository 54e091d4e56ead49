"""Text to tokens: readers, split by near-duplicate cluster, tokenizer, shards, and the loader runs draw from.

>>> from mixlaw import tokens
>>> corpus = tokens.build({"web": "web.jsonl.zst", "code": "src/"}, "study", vocab_size=2048)   # doctest: +SKIP
>>> loader = tokens.Loader(spec, corpus, "study/tokens")                                      # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixlaw.kit.lazy import attach

if TYPE_CHECKING:
    from mixlaw.data.corpus import Corpus

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Diff": "mixlaw.tokens.diff",
        "Loader": "mixlaw.tokens.loader",
        "corpus_diff": "mixlaw.tokens.diff",
        "validation": "mixlaw.tokens.loader",
    },
)
__all__ += ["build"]

_Path = str | os.PathLike[str]


def build(
    domains: Mapping[str, _Path | Sequence[_Path]],
    root: str | Path,
    validation: Mapping[str, _Path | Sequence[_Path]] | None = None,
    tokenizer: str | Path | None = None,
    vocab_size: int = 8192,
    validation_tokens: int = 32_768,
    seed: int = 0,
    text_field: str = "text",
    progress: Callable[[str, float, float], None] | None = None,
    verify: bool = False,
) -> Corpus:
    """Turn text into token shards under ``root/tokens`` and ``root/corpus.json``.

    Safe to run again: what is built from the same inputs is kept, what was interrupted is continued, and nothing
    half-written is believed.

    Args:
        domains: ``{name: path or paths}``: files or folders of JSONL (``.gz``, ``.zst``), Parquet, text or source code,
            local or any fsspec URL; or tokens as ``.npy`` or Megatron ``.bin``/``.idx`` (see
            :mod:`mixlaw.text.readers` and :mod:`mixlaw.tokens.pretokenized`).
        root: the study folder, local.
        validation: sets to validate on beside the held-out parts of the domains. One with a domain's name replaces its
            held-out part. Their near duplicates in the training text are counted and warned about, not removed.
        tokenizer: a ``tokenizer.json``; by default a byte-level BPE of ``vocab_size`` is trained on a sample drawn
            evenly from the domains.
        validation_tokens: tokens of each validation set; of a domain, at most a tenth. 0 holds nothing out of the
            domains (sets of their own then have up to 32,768).
        seed: which documents validate.
        text_field: field or column that holds the text.
        progress: called as ``progress(what, done, total)``, in bytes.
        verify: compare all of the tokens that an earlier build left with their hashes; by default some blocks of each
            file. What is damaged is built again, with a warning.

    Returns:
        The corpus with measured tokens, bytes, documents and content hashes. ``extra`` holds per domain the near
        duplicates (documents beyond the first of their cluster), what reading met, and each validation set's
        contamination.

    Raises:
        DataError: a file is missing, damaged, or not what its name says (with file and line); a domain without text, or
            one that cannot be split.
        ConfigError: a name cannot be used, or tokens and text are mixed without a tokenizer.
    """
    from mixlaw.tokens.pipeline import build as run

    return run(domains, root, validation, tokenizer, vocab_size, validation_tokens, seed, text_field, progress, verify)

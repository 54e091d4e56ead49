"""Log importance weights of documents from hashed n-grams: how much likelier a target is to hold each than the pool.

The features and the two multinomials of DSIR (Xie et al. 2023, arXiv:2302.03169).
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.arrays import Array
from mixlaw.kit.hashing import content_hash
from mixlaw.select.contract import Candidates
from mixlaw.select.ngrams import HashedNgrams, ngrams
from mixlaw.text.document import Document
from mixlaw.text.near_duplicates import document_key

__all__ = ["Explanation", "NgramImportance", "effective_sample_size"]

_FLOOR = 1e-8
"""Added to a probability inside a logarithm, as in the published code: a bucket without n-grams of the target costs
about 9 nats at 10,000 buckets, not infinitely many."""
_AT_ONCE = 1 << 20
"""Entries of bags that are read back at once."""


def effective_sample_size(log_weights: Array) -> float:
    """(sum of weights)² / (sum of squared weights), of log weights (n,), without leaving the logarithm.

    It is n for equal weights, and 1 where one weight is larger than all others together by far.

    Example:
        >>> effective_sample_size(np.log([1.0, 1.0, 2.0]))  # 4² / 6
        2.6666666666666665
        >>> effective_sample_size(np.array([5000.0, 4000.0, -9000.0]))
        1.0
    """
    w = np.asarray(log_weights, float)
    return float(math.exp(2 * np.logaddexp.reduce(w) - np.logaddexp.reduce(2 * w))) if len(w) else 0.0


@dataclass(frozen=True)
class Explanation:
    """Why a document has its log weight.

    Args:
        id: of the document.
        target: the target that it was compared with; of several, the one that it is closest to.
        log_weight: for that target, in nats; the sum over all its n-grams.
        num_words: its words.
        num_ngrams: its words and pairs of neighbouring words.
        at_median: what the log weight would be at the pool's median number of n-grams, with the same mean per n-gram.
        ngrams: the n-grams that contribute most with the sign of the log weight: ``(n-gram, how often it is in the
            document, nats)``. What an n-gram contributes is that of its bucket, which others share.
    """

    id: str
    target: str
    log_weight: float
    num_words: int
    num_ngrams: int
    at_median: float
    ngrams: tuple[tuple[str, int, float], ...]

    @property
    def per_ngram(self) -> float:
        """Mean contribution of an n-gram, in nats."""
        return self.log_weight / self.num_ngrams

    @property
    def length_part(self) -> float:
        """What the document's length adds to the log weight, in nats, compared with a document of median length."""
        return self.log_weight - self.at_median

    def words(self, seen: Mapping[str, int] | None = None) -> str:
        """The explanation as one line.

        Args:
            seen: how often each n-gram is in the target, where it was counted.
        """
        listed = []
        for ngram, times, nats in self.ngrams:
            there = "" if seen is None else f", {seen.get(ngram, 0)} in the target"
            listed.append(f"{ngram!r} {nats:+.1f} ({times} times{there})")
        return (
            f"log weight {self.log_weight:+.1f} nats for {self.target} = {self.num_ngrams} n-grams of "
            f"{self.per_ngram:+.4f} nats on average; at the pool's median length it would be {self.at_median:+.1f}, "
            f"its length adds {self.length_part:+.1f}. Most by {', '.join(listed)}"
        )


class NgramImportance:
    """Scores documents of a pool by log p_target - log p_pool of their hashed words and pairs of words.

    Both are multinomials over buckets: the target's from all of its text, the pool's from all of the pool's. A
    document's log weight is the sum over its n-grams, in nats. Fitting reads each document once, keeps its counts in a
    temporary file, and holds no text: memory is about 300 bytes per document, and the one that is being read.

    Args:
        num_buckets: that n-grams are hashed into.
        min_words: documents with fewer words are left out of the candidates, though not of the pool's multinomial.
        per_length: give each document the log weight that it would have at the pool's median number of n-grams, with
            its own mean per n-gram. As published (False) a log weight grows with length, so that among documents of
            uneven length the longest of the right kind come first.

    Attributes:
        ids: documents that can be chosen, in the order in which they were read.
        log_weights: (n, m) of each of them for each target, in nats, as published.
        num_words, num_ngrams: (n,) of each of them.
        excluded: ``{id: words}``, why the others cannot be chosen.
        targets: names of the targets.
        target_hashes: ``{target: content hash}``.
        corpus_hash: of the whole pool: ids and text, in any order.
        sources: ``{id: source}`` of documents that can be chosen and say it in ``meta["source"]``.
        shared: ``{target: number}`` of the pool's documents whose text is also a document of the target.
        empty: ``{target: share}`` of the pool's n-grams in buckets that no n-gram of the target is in.

    Example:
        >>> pool = [Document("a", "rivers carry silt"), Document("b", "prices rise and fall")]
        >>> weights = NgramImportance(min_words=1).fit(pool, {"rivers": ["rivers carry silt and sand"]})
        >>> [round(w, 1) for w in weights(["a", "b"], ()).ravel().tolist()]
        [1.4, -95.3]
        >>> [ngram for ngram, times, nats in weights.explain(pool[0], num=2).ngrams]
        ['carry', 'carry silt']
    """

    unit = "log importance weight, nats"

    def __init__(self, num_buckets: int = 10_000, min_words: int = 100, per_length: bool = False) -> None:
        if isinstance(min_words, bool) or not isinstance(min_words, int) or min_words < 0:
            raise ConfigError(f"min_words is a whole number of words, 0 or more; got {min_words!r}.")
        self.hashed = HashedNgrams(num_buckets)
        self.num_buckets, self.min_words, self.per_length = num_buckets, min_words, per_length

    @property
    def options(self) -> dict[str, Any]:
        """What it was made with."""
        return {"num_buckets": self.num_buckets, "min_words": self.min_words, "per_length": self.per_length}

    # ---- fitting -------------------------------------------------------------------------------------------
    def fit(self, raw: Iterable[Document], targets: Mapping[str, Iterable[str]]) -> NgramImportance:
        """Read the targets, then the pool.

        Args:
            raw: the pool's documents, each id once.
            targets: name to texts.

        Raises:
            ConfigError: no target.
            DataError: a target or the pool holds no words, or an id repeats.
        """
        if not targets:
            raise ConfigError("Documents are weighed for a target, and none is given. Name at least one.")
        self.targets = tuple(targets)
        self.target_hashes: dict[str, str] = {}
        keys: dict[str, set[int]] = {}
        probabilities = []
        for name, texts in targets.items():
            counts, keys[name] = np.zeros(self.num_buckets, np.int64), set()
            for text in texts:
                counts += self.hashed.counts(text)
                keys[name].add(document_key(text.encode("utf-8", "replace")))
            if not counts.sum():
                raise DataError(
                    f"The target {name!r} holds no words ({len(keys[name])} documents), so nothing can be like it. "
                    f"Give text that the chosen documents should resemble."
                )
            probabilities.append(counts / counts.sum())
            self.target_hashes[name] = content_hash(sorted(keys[name]))
        self.p_target: Array = np.array(probabilities)
        """(m, num_buckets) multinomial of each target."""
        self._read(raw, keys)
        self._weigh()
        return self

    def _read(self, raw: Iterable[Document], keys: Mapping[str, set[int]]) -> None:
        """Pass over the pool: the bags of its documents into a temporary file, all else into arrays."""
        self._place: dict[str, int] = {}
        self.excluded: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        self.shared = dict.fromkeys(self.targets, 0)
        self._bags = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the weights are asked)
        num_words, entries, digests = array("q"), array("q"), []
        total = np.zeros(self.num_buckets, np.int64)
        for document in raw:
            if document.id in self._place or document.id in self.excluded:
                raise DataError(f"Two documents of the pool are called {document.id!r}. Give each an id of its own.")
            key = document_key(document.text.encode("utf-8", "replace"))
            digests.append(hashlib.blake2b(f"{document.id}\0{key}".encode(), digest_size=16).digest())
            for name in self.targets:
                self.shared[name] += key in keys[name]
            counts = self.hashed.counts(document.text)
            total += counts
            length = (int(counts.sum()) + 1) // 2
            if length < max(1, self.min_words):
                self.excluded[document.id] = (
                    f"{length} word{'s' * (length > 1)}, fewer than {self.min_words}" if length else "it holds no words"
                )
                continue
            self._place[document.id] = len(self._place)
            if "source" in document.meta:
                self.sources[document.id] = str(document.meta["source"])
            found = np.flatnonzero(counts)
            self._bags.write(np.stack([found, counts[found]], axis=1).astype(np.uint32).tobytes())
            num_words.append(length)
            entries.append(len(found))
        self._bags.flush()
        if not total.sum():
            raise DataError(f"The pool holds no words ({len(self.excluded)} documents). Give documents with text.")
        self.ids = tuple(self._place)
        self.num_words = np.array(num_words, np.int64)
        self.num_ngrams = np.maximum(2 * self.num_words - 1, 0)
        self.corpus_hash = hashlib.sha256(b"".join(sorted(digests))).hexdigest()[:16]
        self._ends = np.cumsum(np.array(entries, np.int64))
        self.p_raw: Array = total / total.sum()
        """(num_buckets,) multinomial of the pool, with the documents that cannot be chosen."""
        self.empty = {name: float(self.p_raw[p == 0].sum()) for name, p in zip(self.targets, self.p_target)}

    def _weigh(self) -> None:
        self.log_ratio: Array = np.log(self.p_target + _FLOOR) - np.log(self.p_raw + _FLOOR)
        """(m, num_buckets) what an n-gram of a bucket contributes for each target, in nats."""
        parts = [np.zeros((0, len(self.targets)))]
        for _, _, buckets, counts, starts in self._blocks():
            parts.append(np.add.reduceat(self.log_ratio[:, buckets] * counts, starts, axis=1).T)
        self.log_weights: Array = np.concatenate(parts)
        self.median_ngrams = float(np.median(self.num_ngrams)) if len(self.ids) else 0.0
        """Median number of n-grams of the documents that can be chosen."""

    def _blocks(self) -> Iterator[tuple[int, int, Any, Any, Any]]:
        """First and last document, buckets and counts of all their entries, and where each document's begin."""
        self._bags.seek(0)
        first, begin = 0, 0
        while first < len(self._ends):
            last = max(int(np.searchsorted(self._ends, begin + _AT_ONCE, side="right")), first + 1)
            end = int(self._ends[last - 1])
            bags = np.frombuffer(self._bags.read(8 * (end - begin)), np.uint32).reshape(-1, 2).astype(np.int64)
            starts = np.concatenate([[begin], self._ends[first : last - 1]]) - begin
            yield first, last, bags[:, 0], bags[:, 1], starts
            first, begin = last, end

    # ---- what is known of the documents ------------------------------------------------------------------------
    def __call__(self, ids: Sequence[str], target: Sequence[str]) -> Array:
        """(n, m) log weights for the targets named; (n, 1), for the mean over all targets, where none is.

        Minus infinity for documents that cannot be chosen.

        Raises:
            DataError: an id or target that was not fitted.
        """
        unknown = [t for t in target if t not in self.targets]
        if unknown:
            raise DataError(f"{unknown[0]!r} is no target; these are: {', '.join(self.targets)}.")
        scores = self.log_weights * (self.median_ngrams / self.num_ngrams[:, None] if self.per_length else 1.0)
        if not target:
            scores = np.logaddexp.reduce(scores, axis=1, keepdims=True) - math.log(len(self.targets))
        else:
            scores = scores[:, [self.targets.index(t) for t in target]]
        found = np.full((len(ids), scores.shape[1]), -np.inf)
        for row, name in enumerate(ids):
            if name in self._place:
                found[row] = scores[self._place[name]]
            elif name not in self.excluded:
                raise DataError(f"{name!r} is no document of the pool that the weights were fitted to.")
        return found

    def candidates(self) -> Candidates:
        """The documents that can be chosen, each of which costs 1."""
        return Candidates(self.ids, self.corpus_hash)

    def kl_reduction(self, kept: Iterable[str]) -> dict[str, tuple[float, float]]:
        """KL(target || pool) and KL(target || kept), nats per n-gram, by target; their difference is the KL reduction.

        Raises:
            DataError: nothing is kept.
        """
        wanted = np.zeros(len(self.ids), bool)
        wanted[[self._place[name] for name in kept]] = True
        if not wanted.any():
            raise DataError("The KL reduction of an empty selection is not defined. Keep at least one document.")
        total = np.zeros(self.num_buckets)
        for first, last, buckets, counts, starts in self._blocks():
            of = np.repeat(wanted[first:last], np.diff(np.append(starts, len(buckets))))
            total += np.bincount(buckets[of], counts[of], self.num_buckets)
        chosen = np.log(total / total.sum() + _FLOOR)
        pool = np.log(self.p_raw + _FLOOR)
        return {
            name: (float(p @ (np.log(p + _FLOOR) - pool)), float(p @ (np.log(p + _FLOOR) - chosen)))
            for name, p in zip(self.targets, self.p_target)
        }

    def explain(self, document: Document, num: int = 5) -> Explanation:
        """The n-grams that contribute most to the log weight of a document, and what its length adds.

        Raises:
            DataError: the document holds no words.
        """
        found: Counter[str] = ngrams(document.text)
        if not found:
            raise DataError(f"{document.id!r} holds no words, so there is nothing to explain.")
        names = list(found)
        times = np.array([found[n] for n in names])
        all_nats = self.log_ratio[:, [self.hashed.bucket(n) for n in names]] * times
        closest = int(np.argmax(all_nats.sum(axis=1)))
        nats = all_nats[closest]
        total, length = float(nats.sum()), int(times.sum())
        sign = 1.0 if total >= 0 else -1.0
        most = sorted(range(len(names)), key=lambda i: (-sign * nats[i], names[i]))[:num]
        return Explanation(
            document.id,
            self.targets[closest],
            total,
            (length + 1) // 2,
            length,
            total * self.median_ngrams / length,
            tuple((names[i], int(times[i]), float(nats[i])) for i in most if sign * nats[i] > 0),
        )

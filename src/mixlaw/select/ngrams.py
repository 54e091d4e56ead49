"""Words and pairs of words of a text, and the buckets that they are hashed into."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError

__all__ = ["HashedNgrams", "ngrams", "words"]

_WORDS = re.compile(r"\w+|[^\w\s]+")
_REMEMBERED = 1 << 18
"""Hashes that are kept of words, and of pairs: about 100 MB in all. Frequent ones come back at once."""


def words(text: str) -> list[str]:
    """Runs of letters and digits, and runs of other signs, in lower case.

    A script without spaces, such as Chinese, gives one word from sign to sign.

    Example:
        >>> words("It isn't far; 3.5 km.")
        ['it', 'isn', "'", 't', 'far', ';', '3', '.', '5', 'km', '.']
    """
    return _WORDS.findall(text.lower())


def ngrams(text: str) -> Counter[str]:
    """How often each word, and each pair of neighbouring words, is in a text.

    Example:
        >>> ngrams("so so good")
        Counter({'so': 2, 'good': 1, 'so so': 1, 'so good': 1})
    """
    found = words(text)
    counts = Counter(found)
    counts.update(f"{a} {b}" for a, b in pairwise(found))
    return counts


class HashedNgrams:
    """Counts of n-grams by bucket: SHA-256 of the n-gram modulo the number of buckets.

    The bucket of an n-gram is the same on every machine, and the same as in the published code of DSIR. Several n-grams
    share a bucket.

    Args:
        num_buckets: how many buckets.

    Raises:
        ConfigError: fewer than 2 buckets.

    Example:
        >>> hashed = HashedNgrams(10_000)
        >>> hashed.bucket("silt")
        873
        >>> hashed.counts("silt, silt")[[hashed.bucket("silt"), hashed.bucket(", silt")]].tolist()
        [2, 1]
    """

    def __init__(self, num_buckets: int = 10_000) -> None:
        if isinstance(num_buckets, bool) or not isinstance(num_buckets, int) or num_buckets < 2:
            raise ConfigError(f"n-grams are hashed into a whole number of buckets, at least 2; got {num_buckets!r}.")
        self.num_buckets = num_buckets
        self._single = _Buckets(num_buckets)
        self._pairs = _PairBuckets(num_buckets)

    def bucket(self, ngram: str) -> int:
        """The bucket of an n-gram, its words separated by one blank."""
        return _bucket(ngram, self.num_buckets)

    def counts(self, text: str) -> npt.NDArray[np.int64]:
        """(num_buckets,) how many n-grams of a text are in each bucket; their sum is 2 words - 1, or 0."""
        for cache in (self._single, self._pairs):
            if len(cache) > _REMEMBERED:
                cache.clear()
        found = words(text)
        buckets = list(map(self._single.__getitem__, found))
        buckets += map(self._pairs.__getitem__, pairwise(found))
        return np.bincount(np.array(buckets, np.int64), minlength=self.num_buckets)


def _bucket(ngram: str, num_buckets: int) -> int:
    return int.from_bytes(hashlib.sha256(ngram.encode()).digest(), "big") % num_buckets


class _Buckets(dict[str, int]):
    """Bucket by word, hashed when it is first asked for."""

    def __init__(self, num_buckets: int) -> None:
        super().__init__()
        self.num_buckets = num_buckets

    def __missing__(self, word: str) -> int:
        bucket = self[word] = _bucket(word, self.num_buckets)
        return bucket


class _PairBuckets(dict[tuple[str, str], int]):
    """Bucket by pair of words, hashed when it is first asked for."""

    def __init__(self, num_buckets: int) -> None:
        super().__init__()
        self.num_buckets = num_buckets

    def __missing__(self, pair: tuple[str, str]) -> int:
        bucket = self[pair] = _bucket(f"{pair[0]} {pair[1]}", self.num_buckets)
        return bucket

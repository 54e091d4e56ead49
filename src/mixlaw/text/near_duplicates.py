"""Near duplicates among documents: signatures, clusters, and which documents of one set another set holds.

Documents are compared by MinHash (Broder 1997) over shingles of five words with locality-sensitive hashing (25 bands
of 5 rows; a near duplicate has an estimated Jaccard similarity of at least 0.7). Tokenisation, curation and selection
use the same signatures. Memory holds 512 bytes per document, never the text.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["SIMILAR", "Hashes", "Signatures", "clusters", "document_key", "has_near_duplicate", "mix64", "signatures"]

SIMILAR = 0.7
"""Estimated Jaccard similarity from which two documents are near duplicates."""

_PERMUTATIONS, _BANDS, _ROWS = 128, 25, 5
_SHINGLE = 5
_PREFIX = 1 << 20
"""Bytes of a document its signature looks at."""
_NEIGHBOURS = 64
"""Within a band's bucket, each document is compared with this many that follow. Buckets are almost always smaller; what
is missed in a larger one, `has_near_duplicate` finds when the validation set is checked against the training text."""
_NONE = np.zeros(0, np.int64)

Signatures = npt.NDArray[np.uint32]
Hashes = npt.NDArray[np.uint64]


def document_key(text: bytes, seed: int = 0) -> int:
    """64-bit content hash; the order of documents under it is the order in which they are drawn."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, key=str(seed).encode()).digest(), "little")


def signatures(texts: Sequence[bytes]) -> Signatures:
    """MinHash signatures (n, 128) of UTF-8 texts. All use of the MinHash library is in this function.

    Two texts agree in a share of entries that estimates the Jaccard similarity of their sets of five-word shingles.
    Words are runs of letters and digits without regard to ASCII case; each character of three or more UTF-8 bytes
    (Chinese, Japanese, ...) is a word.
    """
    from rensa import RMinHash

    if not texts:
        return np.zeros((0, _PERMUTATIONS), np.uint32)
    parts, offsets = [], [0]
    for group in _groups(texts):
        hashes, counts = _shingles([t[:_PREFIX] for t in group])
        parts.append(hashes)
        offsets.extend((np.cumsum(counts) + offsets[-1]).tolist())
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        np.concatenate(parts), np.array(offsets, np.uint64), _PERMUTATIONS, 1
    )
    return np.array(matrix.to_rows(), np.uint32).reshape(len(texts), _PERMUTATIONS)


def _groups(texts: Sequence[bytes]) -> list[Sequence[bytes]]:
    groups, start, size = [], 0, 0
    for i, text in enumerate(texts):
        length = min(len(text), _PREFIX)
        if size and size + length > _PREFIX:
            groups.append(texts[start:i])
            start, size = i, 0
        size += length
    groups.append(texts[start:])
    return groups


_POLYNOMIAL = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_INVERSE = pow(_POLYNOMIAL, -1, 2**64)


@functools.cache
def _powers(base: int) -> Hashes:
    powers = np.full(2 * _PREFIX + 2, base, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


@functools.cache
def _table() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Per byte: its class (0 separator, 1 letter or digit, 2 lead of two bytes, 3 lead of more) and its lower case."""
    kind, lower = np.zeros(256, np.uint8), np.arange(256).astype(np.uint8)
    for code in range(128):
        if chr(code).isalnum():
            kind[code] = 1
            lower[code] = ord(chr(code).lower())
    kind[0xC0:0xE0] = 2
    kind[0xE0:] = 3
    return kind, lower


def mix64(values: Hashes) -> Hashes:
    """A bijection of 64-bit integers without visible structure (splitmix64's finaliser; Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


def _shingles(texts: Sequence[bytes]) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Hashes of five-word shingles of all texts, one after the other, and how many each has (at least one).

    A word's hash is a difference of one running polynomial sum over the bytes, taken back to position zero, so that
    equal words hash alike wherever they stand.
    """
    kind_of, lower = _table()
    data = np.frombuffer(b"\x00".join(texts) + b"\x00", np.uint8)
    kind = kind_of[data]
    letter = (kind == 1) | (kind == 2)
    letter[1:] |= (kind[:-1] == 2) & (data[1:] >= 0x80) & (data[1:] < 0xC0)
    starts = kind == 3
    starts[1:] |= letter[1:] & ~letter[:-1]
    starts[0] |= letter[0]
    content = np.where(letter | (data >= 0x80), lower[data], 0).astype(np.uint64)
    begin = np.flatnonzero(starts)
    sizes = np.array([len(t) + 1 for t in texts])
    bounds = np.searchsorted(begin, np.concatenate([[0], np.cumsum(sizes)]))
    words = np.diff(bounds)
    with np.errstate(over="ignore"):
        running = np.concatenate(
            [[np.uint64(0)], np.cumsum(content * _powers(_POLYNOMIAL)[: len(content)], dtype=np.uint64)]
        )
        ends = np.append(begin[1:], len(data)) if len(begin) else begin
        hashes = mix64((running[ends] - running[begin]) * _powers(_INVERSE)[begin])
        # A text of fewer words than a shingle is one shingle of all its words.
        counts = np.maximum(words - _SHINGLE + 1, 1)
        padded = np.concatenate([hashes, np.zeros(_SHINGLE, np.uint64)])
        first = np.repeat(bounds[:-1], counts) + _ramps(counts)
        last = np.repeat(bounds[1:], counts)
        total = np.zeros(len(first), np.uint64)
        for k in range(_SHINGLE):
            word = np.where(first + k < last, padded[np.minimum(first + k, len(padded) - 1)], np.uint64(0))
            total = total * np.uint64(_POLYNOMIAL) + word
    result = mix64(total)
    for i in np.flatnonzero(words == 0):  # nothing but punctuation: equal only to itself
        result[int(counts[:i].sum())] = document_key(texts[int(i)])
    return result, counts


def _ramps(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """[3, 2] -> [0, 1, 2, 0, 1]."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def _band_keys(values: Signatures, band: int) -> Hashes:
    with np.errstate(over="ignore"):
        key = np.full(len(values), np.uint64(band + 1))
        for column in values[:, band * _ROWS : (band + 1) * _ROWS].T:
            key = mix64(key * np.uint64(_POLYNOMIAL) + column)
    return key


def clusters(values: Signatures) -> npt.NDArray[np.int64]:
    """Cluster (n,) of each document: connected components of "estimated similarity at least 0.7".

    A cluster is named by its first document. Pairs below a similarity of about 0.5 are rarely looked at; of pairs at
    0.7, 0.8 and 0.9 the bands find 99%, 99.995% and all.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(values):
        return np.zeros(0, np.int64)
    # Identical signatures first, so that a thousand copies of one text are one document to the rest.
    rows = np.ascontiguousarray(values).view(np.dtype((np.void, values.shape[1] * 4))).ravel()
    _, first, back = np.unique(rows, return_index=True, return_inverse=True)
    distinct = values[first]
    left, right = [], []
    for band in range(_BANDS):
        key = _band_keys(distinct, band)
        order = np.argsort(key, kind="stable")
        key = key[order]
        for apart in range(1, min(_NEIGHBOURS, len(order) - 1) + 1):
            shared = np.flatnonzero(key[apart:] == key[:-apart])
            if not len(shared):
                break
            one, two = order[shared], order[shared + apart]
            alike = _similar(distinct, one, two)
            left.append(one[alike])
            right.append(two[alike])
    count = len(distinct)
    pairs = np.concatenate(left or [_NONE]), np.concatenate(right or [_NONE])
    graph = coo_matrix((np.ones(len(pairs[0]), bool), pairs), shape=(count, count))
    component = connected_components(graph, directed=False)[1][back.ravel()]
    _, head, name = np.unique(component, return_index=True, return_inverse=True)
    return head[name.ravel()].astype(np.int64)


def _similar(values: Signatures, one: npt.NDArray[np.int64], two: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    result = np.empty(len(one), bool)
    for start in range(0, len(one), 1 << 16):
        part = slice(start, start + (1 << 16))
        result[part] = (values[one[part]] == values[two[part]]).mean(axis=1) >= SIMILAR
    return result


def has_near_duplicate(values: Signatures, among: Signatures) -> npt.NDArray[np.bool_]:
    """Which of ``values`` (n, 128) have a near duplicate in ``among`` (m, 128): contamination of one set by another."""
    found = np.zeros(len(values), bool)
    if not len(values) or not len(among):
        return found
    for band in range(_BANDS):
        key = _band_keys(among, band)
        order = np.argsort(key, kind="stable")
        wanted = _band_keys(values, band)
        low = np.searchsorted(key[order], wanted, side="left")
        high = np.searchsorted(key[order], wanted, side="right")
        turn = 0
        while len(open_ := np.flatnonzero(~found & (low + turn < high))):
            other = among[order[low[open_] + turn]]
            found[open_] |= (values[open_] == other).mean(axis=1) >= SIMILAR
            turn += 1
    return found

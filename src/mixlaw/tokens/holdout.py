"""Training and validation text, split by cluster of near duplicates.

A copy of a validation document in the training text makes every loss on it a measurement of memory. So documents are
clustered by MinHash (Broder 1997) over shingles of five words with locality-sensitive hashing (25 bands of 5, near
duplicate = estimated Jaccard similarity of at least 0.7), and a cluster lies on one side whole.

Which clusters validate depends only on the documents' content and the seed, not on file names or order.
Memory holds 512 bytes per document, never the text.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["SIMILAR", "choose_validation", "clusters", "document_key", "has_near_duplicate", "signatures"]

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


def share_of(wanted: int) -> int:
    """Tokens that one document may add to a validation set of ``wanted`` tokens: a sixty-fourth, at least 256."""
    return max(256, wanted // 64)


def windows(
    tokens: npt.NDArray[np.int64], keys: Hashes, wanted: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which part of each document (n,) is shown: ``(start, length)``, about ``wanted`` tokens in all.

    Every document gives the same number of tokens, or all of its own where it is shorter; where in a longer one the
    window lies is decided by its key, so that sets are not made of beginnings.
    """
    low, high = 0, int(tokens.max(initial=0))
    while low < high:  # smallest cap that gives enough
        middle = (low + high) // 2
        low, high = (low, middle) if int(np.minimum(tokens, middle).sum()) >= wanted else (middle + 1, high)
    length = np.minimum(tokens, low)
    room = (tokens - length + 1).astype(np.uint64)
    return (keys.astype(np.uint64) % room).astype(np.int64), length


def choose_validation(
    values: Signatures,
    cluster: npt.NDArray[np.int64],
    keys: Hashes,
    tokens: npt.NDArray[np.int64],
    wanted: int,
    most: int | None = None,
) -> npt.NDArray[np.int64]:
    """Documents that validate, in the order of their keys: whole clusters, many of them.

    Clusters come in the order of their smallest key, and each counts for at most :func:`share_of` tokens, so that a
    validation set is a sample of many documents and not the beginning of three books. One that would take more than
    an eighth of ``most`` is passed over while there are others: the rest of a long document neither trains nor
    validates. One cluster at least always stays for training. A cluster of which a near duplicate would still be in
    the training text stays in it too.

    Args:
        values: signatures (n, 128).
        cluster, keys, tokens: cluster, content key and length of each document (n,).
        wanted: tokens to hold out.
        most: tokens that may be taken from training in all, default ``wanted``.

    Returns:
        Rows of the documents; empty where there is nothing to split.
    """
    if wanted <= 0:
        return _NONE
    _, inverse = np.unique(cluster, return_inverse=True)
    size = np.bincount(inverse, weights=tokens).astype(np.int64)
    smallest = np.full(len(size), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, inverse, keys)
    order = np.argsort(smallest, kind="stable")
    most = max(wanted, most or 0)
    worth = np.minimum(size, share_of(wanted))
    while len(order) and len(size) > 1:
        fitting = order[size[order] <= max(most // 8, share_of(wanted))]
        if not len(fitting):
            fitting = order[size[order] <= most]
        if len(fitting):
            before, taken = (np.cumsum(x[fitting]) - x[fitting] for x in (worth, size))
            chosen = fitting[(before < wanted) & (taken + size[fitting] <= most)]
            chosen = chosen if len(chosen) else fitting[:1]
        else:
            chosen = order[np.argsort(size[order], kind="stable")[:1]]
        if len(chosen) == len(size):
            chosen = chosen[:-1]
        inside = np.isin(inverse, chosen)
        documents = np.flatnonzero(inside)
        copied = np.unique(inverse[documents[has_near_duplicate(values[documents], values[~inside])]])
        if not len(copied):
            return documents[np.argsort(keys[documents], kind="stable")]
        order = order[~np.isin(order, copied)]
    return _NONE

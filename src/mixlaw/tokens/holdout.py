"""Which documents validate: whole clusters of near duplicates, many of them, chosen by content.

A copy of a validation document in the training text makes every loss on it a measurement of memory, so a cluster lies
on one side whole. Which clusters validate depends only on the documents' content and the seed, not on file names or
order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mixlaw.text.near_duplicates import Hashes, Signatures, has_near_duplicate

__all__ = ["choose_validation", "share_of", "windows"]

_NONE = np.zeros(0, np.int64)


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

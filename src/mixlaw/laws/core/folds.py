"""Deterministic folds that do not depend on the order of rows or of domains.

Replicates (identical rows of X) always share a fold: a held-out row is one the fit has not seen. The order in
which groups are dealt comes from what a permutation of domains leaves alone (sums of powers of a row), then
from the targets, so shuffling rows or renaming domains gives every run the fold it had.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import rounded
from mixlaw.kit.arrays import Array

__all__ = ["count_different", "fold_ids", "held_out_folds", "replicate_groups"]

_LEAVE_ONE_OUT = 24  # different rows up to which each is a fold of its own
_FOLDS = 5

Ints = npt.NDArray[np.int64]


def replicate_groups(X: Array) -> Ints:
    """(n,) group of each row; the same rows (:func:`mixlaw.data.mixture.rounded`) share one.

    Example:
        >>> groups = replicate_groups(np.array([[0.5, 0.5], [0.2, 0.8], [0.5, 0.5]]))
        >>> groups.tolist()
        [1, 0, 1]
    """
    _, inverse = np.unique(rounded(X), axis=0, return_inverse=True)
    return inverse.reshape(-1).astype(np.int64)


def count_different(X: Array) -> int:
    """How many different rows X (n, K) has.

    Example:
        >>> count_different(np.array([[0.5, 0.5], [0.2, 0.8], [0.5, 0.5]]))
        2
    """
    return int(replicate_groups(X).max()) + 1 if len(X) else 0


def held_out_folds(X: Array, Y: Array, folds: int | None = None, seed: int = 0) -> Ints:
    """(n,) fold of each row by the library's rule: leave-one-out up to 24 different rows of X, else 5 folds;
    ``folds`` in place of the rule where given. Replicates share a fold.

    Example:
        >>> sorted(held_out_folds(np.arange(4.0)[:, None], np.zeros((4, 1))).tolist())
        [0, 1, 2, 3]
    """
    different = count_different(X)
    return fold_ids(X, Y, folds or (different if different <= _LEAVE_ONE_OUT else _FOLDS), seed)


def fold_ids(X: Array, Y: Array, folds: int, seed: int = 0) -> Ints:
    """(n,) fold in 0..folds-1 of each row; ``folds`` is lowered to the number of distinct rows.

    Example:
        >>> fold_ids(np.eye(3), np.array([[1.0], [2.0], [3.0]]), 3).tolist().__len__()
        3
    """
    groups = replicate_groups(X)
    num = int(groups.max()) + 1 if len(groups) else 0
    first = np.array([np.flatnonzero(groups == g)[0] for g in range(num)]) if num <= 2000 else _first(groups, num)
    log = np.log(np.abs(X[first]) + 1.0)
    filled = np.where(np.isfinite(Y), Y, 0.0)
    means = np.stack([np.bincount(groups, filled[:, t], num) for t in range(min(Y.shape[1], 3))]) / np.bincount(groups)
    keys = [np.round(log.sum(1), 9), np.round((log**2).sum(1), 9), np.round((log**3).sum(1), 9), *np.round(means, 9)]
    order = np.lexsort(keys[::-1])
    shuffled = order[np.random.default_rng(seed).permutation(num)]
    fold = np.empty(num, dtype=np.int64)
    fold[shuffled] = np.arange(num) % max(1, min(folds, num))
    return fold[groups]


def _first(groups: Ints, num: int) -> Ints:
    first = np.full(num, len(groups), dtype=np.int64)
    np.minimum.at(first, groups, np.arange(len(groups)))
    return first

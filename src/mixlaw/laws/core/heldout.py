"""Predictions of rows by fits that had not seen them: the one loop over folds, and what weights of rows are worth."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError, MixlawWarning, NotIdentifiableError, TooFewRunsError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.folds import Ints, held_out_folds

__all__ = ["Predict", "Refit", "heldout_predictions", "relative_weights"]

Predict = Callable[[Ints], Array]
"""Indices of m rows -> what a fit predicts for them: (m, T), or (m, T, ...) with more than the mean."""
Refit = Callable[[Ints, Array], Predict]
"""Indices of the rows to fit to and their relative weights -> the fit's :data:`Predict`."""


def heldout_predictions(
    refit: Refit,
    X: Array,
    Y: Array,
    *,
    folds: int | None = None,
    seed: int = 0,
    sample_weight: npt.ArrayLike | None = None,
    partial: bool = True,
    most: int | None = None,
) -> Array:
    """(n, T, ...) predictions of every row by a fit without it and its replicates.

    Args:
        refit: fits to some rows and gives a function that predicts others; see :data:`Refit`.
        X: (n, K); identical rows are replicates and share a fold.
        Y: (n, T), NaN where not measured.
        folds: how many (default: leave-one-out up to 24 different rows of X, else 5).
        seed: of the dealing of rows to folds.
        sample_weight: (n,) on any scale. Rows of weight 0 are neither fitted nor predicted.
        partial: go on without the folds that cannot be fitted (the only run of one of three sizes); else raise.
        most: refit only so many of the folds, where one refit is dear.

    Returns:
        NaN for rows of weight 0, and of folds that were not fitted.

    Raises:
        NotIdentifiableError, TooFewRunsError: no fold could be fitted, or one could not and ``partial`` is False.
        DataError: all weights are 0.

    Example:
        >>> X, Y = np.arange(6.0)[:, None], np.arange(6.0)[:, None]
        >>> mean = lambda rows, weight: lambda held: np.full((len(held), 1), np.average(Y[rows, 0], weights=weight))
        >>> heldout_predictions(mean, X, Y)[:, 0].tolist()
        [3.0, 2.8, 2.6, 2.4, 2.2, 2.0]
    """
    weight = relative_weights(len(X), sample_weight)
    used = np.flatnonzero(weight > 0)
    ids = held_out_folds(X[used], Y[used], folds, seed)
    out: Array | None = None
    refused: Exception | None = None
    for fold in range(min(int(ids.max()) + 1, most or len(ids))):
        rest, held = used[ids != fold], used[ids == fold]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixlawWarning)  # the fit to all rows has said it, with its row numbers
            try:
                predicted = np.asarray(refit(rest, weight[rest])(held), dtype=float)
            except (NotIdentifiableError, TooFewRunsError) as error:
                if not partial:
                    raise
                refused = error
                continue
        if out is None:
            out = np.full((len(X), *predicted.shape[1:]), np.nan)
        out[held] = predicted
    if out is None:
        raise refused or DataError("There are no rows to hold out.")
    return out


def relative_weights(n: int, weight: npt.ArrayLike | None) -> Array:
    """(n,) weights on the one scale where they sum to the number of equal rows they are worth: equal ones are 1.

    Raises:
        DataError: all weights are 0.

    Example:
        >>> relative_weights(3, [0, 5, 5]).tolist()
        [0.0, 1.0, 1.0]
    """
    if weight is None:
        return np.ones(n)
    w = np.asarray(weight, dtype=float)
    if not (w > 0).any():
        raise DataError("All sample weights are 0: no row is left to judge by. Give some rows a positive weight.")
    w = w / w.max()
    w = w * (w.sum() / (w**2).sum())
    return np.where(np.abs(w - 1.0) < 1e-12, 1.0, w)

"""Weights of an average of laws, from predictions of rows the laws had not seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mixlaw.kit.arrays import Array
from mixlaw.laws.core.folds import Ints

__all__ = ["cross_fitted", "stack_weights"]

_FEW = 64.0  # runs at which a target's own evidence counts as much as everyone's
_PER_WEIGHT = 4.0
"""Held-out mixtures at which a free weight counts as much as what was believed before. Chosen among 1, 2, 4, 6, 8, 16
and 32 on RegMix's training rows and RedPajama at 70M (``docs/DECISIONS.md``)."""


def stack_weights(
    heldout: Array,
    Y: Array,
    rows: npt.NDArray[np.bool_] | None = None,
    prior: Array | None = None,
    groups: Ints | None = None,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> Array:
    """Non-negative weights that sum to one, per target, of F laws.

    They minimise the squared held-out error of the average. Errors are measured in units of the best law's, so
    that no target drowns the others; the weights of one target are pulled towards those of all targets, the
    more so the fewer runs there are. Weights that minimise an error are flattered by it: the more laws and the fewer
    runs, the more. With ``prior`` they are mixed with it, which F - 1 times four held-out mixtures balance.

    Args:
        heldout: (F, n, T) predictions, NaN where a law has none.
        Y: (n, T), NaN where not measured.
        rows: (n,) True for the rows to use (default all).
        prior: (F,) weights that sum to one, believed in before any run (default: none, the runs alone choose).
        groups: (n,) of replicates, which count as one mixture (default: all rows are different).
        allowed: (F, T) which laws may have weight (default: all; also for a target for which none may).

    Returns:
        (F, T).

    Source: Breiman 1996, Stacked regressions; van der Laan, Polley & Hubbard 2007, Super learner.

    Example:
        >>> Y = np.array([[2.0], [2.5], [3.0], [2.2]])
        >>> heldout = np.stack([Y + 0.01 * np.array([[1], [-1], [1], [-1]]), Y + 0.5])  # a good law and a bad one
        >>> stack_weights(heldout, Y).round(2).tolist()
        [[1.0], [0.0]]
        >>> stack_weights(heldout, Y, prior=np.array([0.5, 0.5])).round(2).tolist()  # worth 4 rows, against 4
        [[0.75], [0.25]]
    """
    F, _, T = heldout.shape
    error = heldout - Y[None]
    usable = np.asarray(np.isfinite(error).all(axis=0))
    if rows is not None:
        usable = usable & rows[:, None]
    grams = np.zeros((T, F, F))
    count = np.zeros(T)
    for t in range(T):
        e = error[:, usable[:, t], t]
        count[t] = e.shape[1]
        if not e.shape[1]:
            continue
        size = np.sqrt((e**2).mean(axis=1, keepdims=True))
        spread = float(np.nanstd(Y[:, t]))
        if spread <= 1e-9 * max(1.0, float(np.abs(np.nanmean(Y[:, t])))):
            continue  # a constant target has nothing to say about laws
        unit = max(float(size.min()), 1e-3 * spread)
        # one run far off says "outlier" rather than "bad law"; a law that is bad everywhere stays bad
        e = np.clip(e, -5 * size, 5 * size) / unit
        grams[t] = e @ e.T / e.shape[1]
    together = grams.sum(axis=0) / max(T, 1)
    out = np.empty((F, T))
    for t in range(T):
        own = count[t] / (count[t] + _FEW)
        few = np.arange(F) if allowed is None or not allowed[:, t].any() else np.flatnonzero(allowed[:, t])
        gram = own * grams[t] + (1 - own) * together
        out[:, t] = 0.0
        out[few, t] = _on_simplex(gram[np.ix_(few, few)])
        if prior is not None and prior[few].sum() > 0:
            seen = int(count[t]) if groups is None else len(np.unique(groups[usable[:, t]]))
            before = _PER_WEIGHT * (len(few) - 1) / max(_PER_WEIGHT * (len(few) - 1) + seen, 1.0)
            out[few, t] = (1 - before) * out[few, t] + before * prior[few] / prior[few].sum()
    return out


def _on_simplex(gram: Array) -> Array:
    """argmin w' G w over the simplex, with a little ridge that prefers an even spread over a coin toss."""
    from scipy.optimize import nnls

    F = len(gram)
    if not np.trace(gram) > 0:
        return np.full(F, 1 / F)
    # measured by the good laws: one that fails altogether must not make the others look alike
    size = max(min(np.trace(gram) / F, 4 * float(gram.diagonal().min())), 1e-9 * np.trace(gram))
    regular = gram + 0.01 * size * np.eye(F)
    root = np.linalg.cholesky(regular).T
    strong = 1e3 * float(np.sqrt(np.trace(regular)))
    weights, _ = nnls(np.vstack([root, strong * np.ones((1, F))]), np.append(np.zeros(F), strong))
    weights[weights < 0.01 * weights.sum()] = 0.0
    return np.asarray(weights / weights.sum())


def cross_fitted(
    heldout: Array,
    Y: Array,
    ids: Ints,
    prior: Array | None = None,
    groups: Ints | None = None,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> Array:
    """(n, T) held-out predictions of the average, its weights too chosen without the row's fold ``ids``.

    Args:
        heldout: (F, n, T) predictions, NaN where a law has none.
        Y: (n, T), NaN where not measured.
        ids: (n,) fold of each run.
        prior, groups, allowed: as for :func:`stack_weights`.

    Example:
        >>> Y = np.array([[2.0], [2.5], [3.0], [2.2]])
        >>> heldout = np.stack([Y + 0.01 * np.array([[1], [-1], [1], [-1]]), Y + 0.5])
        >>> cross_fitted(heldout, Y, np.array([0, 0, 1, 1])).round(2).ravel().tolist()
        [2.01, 2.49, 3.01, 2.19]
    """
    out = np.full(Y.shape, np.nan)
    for fold in np.unique(ids):
        held = ids == fold
        weights = stack_weights(heldout, Y, ~held, prior, groups, allowed)
        out[held] = np.einsum("fnt,ft->nt", heldout[:, held], weights)
    return out

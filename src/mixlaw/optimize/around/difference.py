"""How sure the difference of two predictions is: what held-out runs and the mixtures' own intervals say of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.laws.core.replicates import replicate_noise
from mixlaw.optimize.pose.rows import Rows

__all__ = ["Score", "difference_error", "heldout_difference", "objective_half_width"]

Score = Callable[[Array], Array]
"""Losses (n, T) in nats to the objective (n,), lower is better."""

_RUN = 1e-3
"""Largest difference of a weight at which two mixtures are one."""

_MOST = 500
"""Held-out runs whose pairs are looked at."""


def objective_half_width(W: Array, half: Array, rows: Rows | None) -> float:
    """Half width of the weighted mean's interval from the sets' (T,).

    Errors of different sets go partly together. How much is read off the errors of rows held out of the fit; without
    them they are taken to go together fully, which is the widest.

    Example:
        >>> objective_half_width(np.array([0.5, 0.5]), np.array([0.02, 0.04]), None)  # taken to err together
        0.03
    """
    widest = float(np.abs(W) @ half)
    if rows is None:
        return widest
    errors = rows.errors
    errors = errors[np.isfinite(errors[:, W != 0]).all(axis=1)]
    if len(errors) < 8:
        return widest
    apart = np.abs(W) @ np.sqrt((errors**2).mean(axis=0), where=np.isfinite(errors).all(axis=0), out=np.zeros(len(W)))
    together = math.sqrt(float(((np.where(np.isfinite(errors), errors, 0.0) @ W) ** 2).mean()))
    return widest * min(1.0, together / apart) if apart > 0 else widest


def difference_error(
    rows: Rows, W: Array, score: Score, a: Array, b: Array, half: float | None, level: float
) -> float | None:
    """Error (standard deviation) of the predicted difference between mixtures ``a`` and ``b`` (K,): the smaller of what
    held-out pairs of runs show and what the two mixtures' own intervals allow if they err apart.

    A mixture that was run has no interval of its own here: the law was fitted to it, and what it misses there is known.
    Seed noise that replicates measured is taken off, as a difference is one of means.

    Args:
        W: (T,) of the objective; ``score`` as in :func:`heldout_difference`.
        half: half width of the objective's interval at ``a``; None where the objective is no weighted mean of losses,
            whose own intervals then say nothing of a difference.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus)
        >>> a, b = np.array([0.5, 0.5]), np.array([0.9, 0.1])
        >>> error = difference_error(q.rows, q.W, lambda losses: losses @ q.W, a, b, half=0.1, level=0.9)
        >>> 0 <= error < 0.1  # a law that has the runs' own form
        True
    """
    found = heldout_difference(rows, score, a, b, level)
    if half is None:
        return found
    view, weights = rows.view, rows.weights
    z = NormalDist().inv_cdf((1 + level) / 2)
    noise, measured = _noise(rows.X, rows.losses, score)
    apart = max((half / z) ** 2 - noise, 0.0)
    same = (np.abs(weights - b).max(axis=1) < _RUN) & np.isfinite(measured)
    if rows.other_columns.any():  # runs of other sizes measured something else
        same &= False
    if same.any():
        apart += max(float(score(view.predict(b[None]))[0] - measured[same].mean()) ** 2, noise / int(same.sum()))
    else:
        low, high = view.interval(b[None], level)
        apart += max((objective_half_width(W, (high - low)[0] / 2, rows) / z) ** 2 - noise, 0.0)
    return math.sqrt(apart) if found is None else min(found, math.sqrt(apart))


def _noise(X: Array, losses: Array, score: Score) -> tuple[float, Array]:
    """Variance of the objective between seeds, 0 where no replicates measured it, and the objective of each run."""
    measured = np.full(len(X), np.nan)
    some = np.isfinite(losses).all(axis=1)
    measured[some] = score(losses[some])
    noise = replicate_noise(X[some], measured[some])
    return (float(noise.sd[0]) ** 2 if noise.dof >= 2 else 0.0), measured


def heldout_difference(rows: Rows, score: Score, a: Array, b: Array, level: float = 0.9) -> float | None:
    """Error (standard deviation) of the predicted difference of the objective between mixtures ``a`` and ``b`` (K,).

    Refits to other runs of the same law all share what its form gets wrong; held-out runs show it. Of every two of
    them, the error of their predicted difference is taken against how far apart they lie (Hellinger distance): the
    error that ``level`` of the pairs stay within, in twenty classes of distance, made non-decreasing. This is the
    variogram of the law's errors (Cressie 1993, Statistics for Spatial Data, section 2.4) with quantiles, as a few runs
    are far off. Seed noise is taken off where replicates measured it, and counts as the law's error where they did not.

    Args:
        score: losses (n, T) to objective (n,).

    Returns:
        The quantile over that of a standard normal error; None with fewer than 8 complete runs.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus)
        >>> a, b = np.array([0.5, 0.5]), np.array([0.9, 0.1])
        >>> error = heldout_difference(q.rows, lambda losses: losses @ q.W, a, b)
        >>> 0 <= error < 0.1  # a law that has the runs' own form
        True
    """
    from sklearn.isotonic import IsotonicRegression

    weights, losses, X = rows.weights, rows.losses, rows.X
    heldout = losses + rows.errors
    some = np.isfinite(losses).all(axis=1) & np.isfinite(heldout).all(axis=1)
    weights, losses, X, heldout = weights[some], losses[some], X[some], heldout[some]
    noise = _noise(X, losses, score)[0]
    if len(X) > _MOST:  # the pairs of so many are plenty
        keep = np.random.default_rng(0).choice(len(X), _MOST, replace=False)
        weights, losses, X, heldout = weights[keep], losses[keep], X[keep], heldout[keep]
    if len(X) < 8:
        return None
    size = np.unique(X[:, rows.other_columns], axis=0, return_inverse=True)[1].ravel()
    error = score(heldout) - score(losses)
    roots = np.sqrt(np.maximum(weights, 0.0))
    first, second = np.triu_indices(len(X), 1)
    distance = np.sqrt(np.maximum(1 - np.einsum("ij,ij->i", roots[first], roots[second]), 0.0))
    off = np.abs(error[first] - error[second])
    apart = (distance > 1e-6) & (size[first] == size[second])  # a recipe and its reference are of one size
    if apart.sum() < 2:
        return None
    order = np.argsort(distance[apart], kind="stable")
    classes = np.array_split(order, min(20, len(order)))
    at = np.array([distance[apart][c].mean() for c in classes])
    z = NormalDist().inv_cdf((1 + level) / 2)
    within = np.array([max((float(np.quantile(off[apart][c], level)) / z) ** 2 - 2 * noise, 0.0) for c in classes])
    rising = IsotonicRegression().fit(at, within, [len(c) for c in classes]).predict(at)
    wanted = math.sqrt(max(1 - float(np.sqrt(np.maximum(a, 0.0)) @ np.sqrt(np.maximum(b, 0.0))), 0.0))
    variance = float(np.interp(wanted, np.concatenate([[0.0], at]), np.concatenate([[0.0], rising])))
    return math.sqrt(variance)

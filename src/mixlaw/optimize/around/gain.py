"""How sure the objective and the gain are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from mixlaw.data.prediction import Prediction
from mixlaw.kit.arrays import Array
from mixlaw.optimize.pose.view import LawView

__all__ = ["Gain", "difference_error", "gain", "heldout_difference", "objective_half_width"]


_RUN = 1e-3
"""Largest difference of a weight at which two mixtures are one."""

_MOST = 500
"""Held-out runs whose pairs are looked at."""


@dataclass(frozen=True)
class Gain:
    """Objective of the recipe minus the reference's, and the probability that it is below zero."""

    prediction: Prediction
    probability: float | None


def objective_half_width(view: LawView, W: Array, half: Array, runs: tuple[Any, Any] | None) -> float:
    """Half width of the weighted mean's interval from the sets' (T,).

    Errors of different sets go partly together. How much is read off the errors of rows held out of the fit; without
    them they are taken to go together fully, which is the widest.
    """
    widest = float(np.abs(W) @ half)
    if runs is None:
        return widest
    errors = _heldout(view, runs)
    errors = errors[np.isfinite(errors[:, W != 0]).all(axis=1)]
    if len(errors) < 8:
        return widest
    apart = np.abs(W) @ np.sqrt((errors**2).mean(axis=0), where=np.isfinite(errors).all(axis=0), out=np.zeros(len(W)))
    together = math.sqrt(float(((np.where(np.isfinite(errors), errors, 0.0) @ W) ** 2).mean()))
    return widest * min(1.0, together / apart) if apart > 0 else widest


def difference_error(
    view: LawView, W: Array, runs: tuple[Any, Any], score: Any, a: Array, b: Array, half: float | None, level: float
) -> float | None:
    """Error (standard deviation) of the predicted difference between mixtures ``a`` and ``b`` (K,): the smaller of what
    held-out pairs of runs show and what the two mixtures' own intervals allow if they err apart.

    A mixture that was run has no interval of its own here: the law was fitted to it, and what it misses there is known.
    Seed noise that replicates measured is taken off, as a difference is one of means.

    Args:
        W: (T,) of the objective; ``score`` as in :func:`heldout_difference`.
        half: half width of the objective's interval at ``a``; None where the objective is no weighted mean of losses,
            whose own intervals then say nothing of a difference.
    """
    found = heldout_difference(view, runs, score, a, b, level)
    if half is None:
        return found
    weights, losses, X = view.rows(runs)
    z = NormalDist().inv_cdf((1 + level) / 2)
    noise, measured = _noise(X, losses, score)
    apart = max((half / z) ** 2 - noise, 0.0)
    same = (np.abs(weights - b).max(axis=1) < _RUN) & np.isfinite(measured)
    if view.other_columns.any():  # runs of other sizes measured something else
        same &= False
    if same.any():
        apart += max(float(score(view.predict(b[None]))[0] - measured[same].mean()) ** 2, noise / int(same.sum()))
    else:
        low, high = view.interval(b[None], level)
        apart += max((objective_half_width(view, W, (high - low)[0] / 2, runs) / z) ** 2 - noise, 0.0)
    return math.sqrt(apart) if found is None else min(found, math.sqrt(apart))


def _noise(X: Array, losses: Array, score: Any) -> tuple[float, Array]:
    """Variance of the objective between seeds, 0 where no replicates measured it, and the objective of each run."""
    from mixlaw.laws.core.replicates import replicate_noise

    measured = np.full(len(X), np.nan)
    some = np.isfinite(losses).all(axis=1)
    measured[some] = score(losses[some])
    noise = replicate_noise(X[some], measured[some])
    return (float(noise.sd[0]) ** 2 if noise.dof >= 2 else 0.0), measured


def heldout_difference(
    view: LawView, runs: tuple[Any, Any], score: Any, a: Array, b: Array, level: float = 0.9
) -> float | None:
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
    """
    from sklearn.isotonic import IsotonicRegression

    weights, losses, X = view.rows(runs)
    heldout = losses + _heldout(view, runs)
    some = np.isfinite(losses).all(axis=1) & np.isfinite(heldout).all(axis=1)
    weights, losses, X, heldout = weights[some], losses[some], X[some], heldout[some]
    noise = _noise(X, losses, score)[0]
    if len(X) > _MOST:  # the pairs of so many are plenty
        keep = np.random.default_rng(0).choice(len(X), _MOST, replace=False)
        weights, losses, X, heldout = weights[keep], losses[keep], X[keep], heldout[keep]
    if len(X) < 8:
        return None
    size = np.unique(X[:, view.other_columns], axis=0, return_inverse=True)[1].ravel()
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


def _heldout(view: LawView, runs: tuple[Any, Any]) -> Array:
    """Errors (n, T) of predictions for rows that a refit had not seen; NaN where there are none."""
    _, losses, matrix = view.rows(runs)
    law = view.law
    known = None if law.training is None else law.heldout  # a law fitted in this process remembers
    if known is not None and known.shape == losses.shape:
        return known - losses
    X, Y = (np.asarray(vars(law).get(name, ())) for name in ("train_X_", "train_Y_"))
    alike = X.shape == matrix.shape and Y.shape == losses.shape and np.allclose(X, matrix, atol=1e-9)
    if alike and np.allclose(
        Y, losses, atol=1e-9, equal_nan=True
    ):  # Auto and the Gaussian process keep what they scored
        return np.asarray(law.heldout_, dtype=float) - losses
    columns = dict(zip(map(str, law.feature_names_in_), matrix.T))
    return law.predict_heldout(columns, dict(zip(law.target_names_, losses.T))) - losses


def gain(
    difference: float,
    draws: Array | None,
    optimism: float,
    half: float,
    level: float,
    same: bool,
    error: float | None = None,
) -> Gain:
    """Interval of the gain from bootstrap differences (B,), stretched to the held-out ``error`` where that is larger.

    An optimum picked on a law looks better there than it is. ``optimism`` (>= 0) is that bias as measured in the
    bootstrap; the interval is widened by it on the side of less gain. The spread of few draws is taken from their sd
    and quantiles, whichever is wider. Without draws: two independent errors of half width ``half``.
    """
    if same:
        return Gain(Prediction(difference, difference, difference, level), 0.5)
    z = NormalDist().inv_cdf((1 + level) / 2)
    if draws is None or len(draws) < 4:
        wide = math.sqrt(2.0) * half
        sd = wide / z
        probability = NormalDist().cdf(-difference / sd) if sd > 0 else float(difference < 0)
        return Gain(Prediction(difference, difference - wide, difference + wide, level), probability)
    spread = float(draws.std(ddof=1))
    if error is not None and error > spread:
        if spread > 1e-6 * error:
            draws = draws.mean() + (draws - draws.mean()) * (error / spread)
        else:  # refits that agree have no shape to stretch
            steps = [NormalDist().inv_cdf((i + 0.5) / len(draws)) for i in range(len(draws))]
            draws = draws.mean() + error * np.array(steps)
        spread = error
    sd = spread * math.sqrt(1 + 1 / len(draws))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    lower = min(difference - z * sd, float(low), difference)
    upper = max(difference + z * sd, float(high), difference) + max(optimism, 0.0)
    probability = float(((draws + max(optimism, 0.0)) < 0).mean())
    probability = float(np.clip(probability, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    return Gain(Prediction(difference, lower, upper, level), probability)

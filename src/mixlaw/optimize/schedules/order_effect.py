"""How much of a predicted effect of order comes true, told by runs that differ in nothing but the order.

Bootstrap refits know how uncertain a law's parameters are, not that its form may be wrong. Runs of the same mixtures in
another order (the ``phases`` sampler trains each with its reverse) show the latter: held out together, their measured
differences against the predicted ones have a slope that is 1 for a law without fault.
"""

from __future__ import annotations

import warnings
from math import sqrt
from typing import Any

import numpy as np
from sklearn.base import clone

from mixlaw.data.mixture import rounded
from mixlaw.errors import ConvergenceError, MixlawWarning, TooFewRunsError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.folds import fold_ids
from mixlaw.laws.mixture.phase_law import PhaseLaw

__all__ = ["order_error"]

_FEWEST = 4
"""Differences below which a slope says nothing."""


def order_error(law: PhaseLaw, weights: Array, seed: int = 0, runs: tuple[Any, Any] | None = None) -> float | None:
    """Error of a predicted effect of order on the objective, as a share of the effect (a standard deviation).

    Runs with one average mixture leave the fit together, with structure and recency kept. Around their mean, measured
    objectives are regressed on predicted ones through the origin: the error is the slope's distance from 1 and its
    standard error. Seed noise makes the latter larger, never smaller.

    Args:
        weights: (T,) of the objective.
        runs: ``(X, y)`` by name, for a law read from JSON; one fitted in this process has its own.

    Returns:
        None where fewer than four differences can be told, or none is predicted.

    Example:
        >>> from mixlaw.laws import PhaseLaw
        >>> a, b = np.random.default_rng(0).dirichlet([1, 1], (2, 12))
        >>> first, second = np.vstack([a, b]), np.vstack([b, a])  # every pair of phases in both orders
        >>> X = {"web@1": first[:, 0], "code@1": first[:, 1], "web@2": second[:, 0], "code@2": second[:, 1]}
        >>> seen = 0.25 * first + 0.75 * second  # the second phase counts three times as much
        >>> law = PhaseLaw(base="loglinear", structure="recency").fit(X, 2 - 0.3 * np.log(seen + 0.01).sum(axis=1))
        >>> error = order_error(law, np.ones(1))
        >>> 0 <= error < 0.2  # runs without noise, and the law has their form
        True
    """
    if runs is not None:
        X = np.column_stack([np.asarray(runs[0][str(n)], dtype=float) for n in law.feature_names_in_])
        Y = np.column_stack([np.asarray(runs[1][t], dtype=float) for t in law.target_names_])
        own = np.ones(len(X))
    elif law.training is not None:
        X, Y, own = law.training
    else:
        return None
    used = weights != 0
    some = (own > 0) & np.isfinite(Y[:, used]).all(axis=1)
    X, Y, own = X[some], Y[some], own[some]
    P = law.num_phases_
    average = np.einsum("p,npk->nk", law.fractions_, X.reshape(len(X), P, -1))
    _, groups, size = np.unique(rounded(average), axis=0, return_inverse=True, return_counts=True)
    groups = groups.ravel()
    several = size[groups] > 1
    if not several.any():
        return None
    folds = fold_ids(average, Y[:, used], 8, seed)
    predicted = np.full(len(X), np.nan)
    names, options = [str(n) for n in law.feature_names_in_], law.refit_options()
    for fold in np.unique(folds[several]):
        held = folds == fold
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", MixlawWarning)  # each refit repeats what the fit itself said
                one = clone(law).set_params(**options)
                one.fit(
                    dict(zip(names, X[~held].T)), dict(zip(law.target_names_, Y[~held].T)), sample_weight=own[~held]
                )
        except (ConvergenceError, TooFewRunsError):
            continue  # these pairs then say nothing
        values = np.asarray(one.predict(dict(zip(names, X[held].T)))).reshape(int(held.sum()), -1)
        predicted[held] = values @ weights
    measured = np.where(used, Y, 0.0) @ weights
    told, found, dof = [], [], 0
    for group in np.unique(groups[several]):
        rows = np.flatnonzero((groups == group) & np.isfinite(predicted))
        if len(np.unique(rounded(X[rows]), axis=0)) > 1:
            told.append(predicted[rows] - predicted[rows].mean())
            found.append(measured[rows] - measured[rows].mean())
            dof += len(rows) - 1
    if dof < _FEWEST:
        return None
    p, m = np.concatenate(told), np.concatenate(found)
    power = float(p @ p)
    if power <= 0:
        return None
    slope = float(p @ m) / power
    rest = m - slope * p
    return sqrt(float(rest @ rest) / (dof - 1) / power + (1 - slope) ** 2)

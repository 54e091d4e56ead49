"""Prediction intervals that also hold how wrong a law's form may be where no run was.

:meth:`mixlaw.laws.Law.predict_interval` is calibrated on held-out runs, and holds on mixtures like them. Where no run
was (the middle of a design of pure mixtures, a corner, a share of 0) the form itself may be wrong, which held-out runs
do not show. Here the interval is widened by how far other families are from the law there
(:class:`mixlaw.laws.choose.rivals.Rivals`).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np

from mixlaw.data.columns import sizes_of
from mixlaw.errors import DataError, MixlawWarning
from mixlaw.kit.arrays import Array
from mixlaw.laws.choose.rivals import Rivals
from mixlaw.laws.choose.zero_shares import ZeroShares
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.folds import Ints
from mixlaw.laws.core.restricted import Restricted
from mixlaw.laws.core.table import as_matrix, as_targets

__all__ = ["interval_with_form"]


def interval_with_form(
    law: Law, X: Any, level: float = 0.9, runs: tuple[Any, Any] | None = None
) -> tuple[Array, Array]:
    """Ends (low, high) of an interval for a new observation at X, wherever X lies.

    Up to six other families are fitted to the law's runs (a second or less for twenty domains; kept for the next
    question about the same runs), and the variance of the law's own interval is enlarged by their mean squared distance
    from it at X, beyond what it is on held-out runs. At mixtures like those that were run this changes little. Where X
    leaves out a domain that every run drew from, the distance counts for more
    (:mod:`mixlaw.laws.choose.zero_shares`).

    A law over sizes is asked at each size in X (a fit of the mixture law for each); how the loss changes *with* size is
    left to its own interval. Laws without mixtures, and laws of phases, have their own interval.

    Args:
        law: fitted.
        X: as for the law's ``predict``: (n, columns).
        level: the probability that the interval contains the observation.
        runs: ``(X, y)`` that the law was fitted to. A law fitted in this process brings its own.

    Returns:
        low and high, each shaped like the law's ``predict`` and in its unit.

    Raises:
        ConfigError: level outside (0, 1).
        DataError: X has other columns, or the law was read from a file and ``runs`` are not given.

    Example:
        >>> from mixlaw.laws import M4
        >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 24)
        >>> law = M4().fit({"web": r[:, 0], "code": r[:, 1], "books": r[:, 2]}, 2 + (r[:, 0] + 0.05) ** -0.3)
        >>> no_web = {"web": [0.0], "code": [0.5], "books": [0.5]}  # no run was there; the losses are none of M4's form
        >>> alone, whole = law.predict_interval(no_web), interval_with_form(law, no_web)
        >>> bool(whole[1][0] - whole[0][0] > 1.3 * (alone[1][0] - alone[0][0]))
        True
    """
    low, high = (np.asarray(end, dtype=float) for end in law.predict_interval(X, level))
    inner, former = (law.law, law.former) if isinstance(law, Restricted) and law.law is not None else (law, ())
    if len(inner.averaged) == 1:  # an average of one law
        inner = next(iter(inner.averaged.values()))
    if inner.kind not in ("mixture", "joint") or inner.over_phases or inner.caution:
        return low, high
    table = _by_name(law, X) | dict.fromkeys(former, np.zeros(len(low)))
    own = np.asarray(law.predict(X), dtype=float).reshape(len(low), -1)
    variance = np.zeros(own.shape)
    for rows, there in _at_each_size(inner, table):
        shares = {name: table[name][rows] for name in _columns(there)}
        found = _rivals(there, runs if there is inner else None)
        if found is None:
            warnings.warn(
                f"No other family could be compared with this {type(inner).__name__} (too few runs, or too many "
                f"domains and targets): the interval holds on mixtures like its runs only.",
                MixlawWarning,
                stacklevel=2,
            )
            continue
        rivals, tried = found
        R = np.column_stack(list(shares.values()))
        others = _predicted(rivals, there, R)
        beyond = ZeroShares.of(tried).reach(R)
        for t, unit in enumerate(np.eye(own.shape[1])):
            variance[rows, t] = rivals.variance(own[rows], others, unit, beyond)
    extra = (NormalDist().inv_cdf((1 + level) / 2) * np.sqrt(variance)).reshape(low.shape)
    middle = own.reshape(low.shape)
    return middle - np.hypot(middle - low, extra), middle + np.hypot(high - middle, extra)


def _predicted(rivals: Rivals, law: Law, R: Array) -> Array:
    """(F, m, T) predictions of the families at rows R (m, K) in the law's columns."""
    table = dict(zip(_columns(law), R.T))
    return np.stack([np.asarray(one.predict(table), dtype=float).reshape(len(R), -1) for one in rivals.laws.values()])


def _rivals(law: Law, runs: tuple[Any, Any] | None) -> tuple[Rivals, Array] | None:
    """The families beside a law of mixtures, fitted to its runs, and the runs' mixtures (n, K)."""
    known = law.known_runs
    if runs is None and known is None:
        raise DataError(
            f"This {type(law).__name__} no longer has the runs it was fitted on, and how wrong its form may be is read "
            f"off them. Give runs=(X, y), or fit it again."
        )
    if runs is not None:
        rows, losses = _by_name(law, runs[0]), as_targets(runs[1], allow_missing=True)[0]
        matrix = np.column_stack([rows[name] for name in _columns(law)])
        heldout = law.heldout
        if heldout is None or heldout.shape != losses.shape:
            heldout = law.predict_heldout(rows, dict(zip(law.target_names_, losses.T)))
    else:
        assert known is not None
        matrix, losses, heldout = known.X, known.Y, law.heldout_
    X, y = dict(zip(_columns(law), matrix.T)), dict(zip(map(str, law.target_names_), losses.T))
    rivals = Rivals.of(law, X, y, heldout, law.averaged if law.training is not None else None)
    return None if rivals is None else (rivals, matrix)


def _columns(law: Law) -> list[str]:
    return [str(name) for name in law.feature_names_in_]


def _by_name(law: Law, X: Any) -> dict[str, Array]:
    """Columns of X by the law's names; those of a plain array are in the law's order."""
    matrix, names = as_matrix(X)
    found = dict(zip(names or _columns(law), matrix.T))
    return {name: found[name] for name in _columns(law)}


def _at_each_size(law: Law, table: Mapping[str, Array]) -> list[tuple[Ints, Law]]:
    """Rows of each size, and the law of the mixture alone there; all rows and the law itself where it knows no size."""
    if law.kind != "joint":
        return [(np.arange(len(next(iter(table.values())))), law)]
    sizes = sizes_of(law.feature_names_in_)
    values, which = np.unique(np.column_stack([table[name] for name in sizes]), axis=0, return_inverse=True)
    at = getattr(law, "at")  # noqa: B009
    return [(np.flatnonzero(which.ravel() == i), at(**dict(zip(sizes, row.tolist())))) for i, row in enumerate(values)]

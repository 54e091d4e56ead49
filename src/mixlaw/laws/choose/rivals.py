"""Other families fitted to a law's runs: how far apart laws are that explain the runs about equally well.

Held-out errors say how wrong a law is near its runs. Its optimum lies where no run was, at the place where the law is
at its most hopeful, and there its *form* may be wrong in a way that no run shows. Families of other forms disagree
there by about as much as the form may be wrong (Draper 1995, Assessment and propagation of model uncertainty, JRSS B
57:45-97).

Legend: F families, n runs, K domains, T targets, m mixtures that are asked about.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from mixlaw.data.seams import LAWS
from mixlaw.errors import MixlawError, MixlawWarning
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law

__all__ = ["FAMILIES", "Rivals"]

Table = Mapping[str, Array]

FAMILIES = ("effective_tokens", "log_linear", "m4", "m2", "bi_mix", "gaussian_process")
"""Cheap families of different forms: with and without a cliff at a share of 0, one curvature for all domains or one for
each, and one without a form."""

_QUICK: Mapping[str, Mapping[str, Any]] = {
    "gaussian_process": {"members": ("bc/log",), "draws": False, "iterations": 15}
}
"""Options with which a family takes a sixth of the time, and errs as much on mixtures that were not run."""

_FAR = 5.0
"""Ranges of the measured losses beyond which how far a family is off says nothing but that: some explode far out."""

_REMEMBERED = 60
"""Fitted families that are kept: those of the last ten sets of runs or so, for the next question about one of them."""

_MOST_ROWS = 400
_LARGE = 3e7  # multiplications in one step of a parametric fit from which only the two cheapest families are fitted
_TOO_LARGE = 1e9  # and from which there are none


@dataclass(frozen=True)
class Rivals:
    """Families fitted to the runs of a law, and how they do on runs that they had not seen; make it with :meth:`of`.

    Args:
        laws: the law itself and the fitted families, by name.
        errors: (F, T, T) mean products of held-out errors of two targets, in the targets' units (nats squared).
        apart: (F, T, T) the same of a family's held-out predictions minus the law's.
        span: (T,) largest less smallest measured loss of each target.

    Example:
        >>> from mixlaw.laws import M4
        >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 24)
        >>> X, y = {"web": r[:, 0], "code": r[:, 1], "books": r[:, 2]}, {"all": 2 + (r[:, 0] + 0.05) ** -0.3}
        >>> law = M4().fit(X, y)
        >>> rivals = Rivals.of(law, X, y, law.heldout)
        >>> shares = rivals.shares(np.ones(1))
        >>> max(zip(shares, rivals.laws))[1]  # what the losses were made of
        'effective_tokens'
        >>> no_web = {"web": [0.0], "code": [0.5], "books": [0.5]}
        >>> others = np.stack([one.predict(no_web) for one in rivals.laws.values()])  # (F, m, T)
        >>> sd = float(np.sqrt(rivals.variance(law.predict(no_web), others, np.ones(1)))[0])
        >>> sd > 0.01  # nats: without web, where no run was, the families disagree
        True
    """

    laws: Mapping[str, Law]
    errors: Array
    apart: Array
    span: Array

    @classmethod
    def of(cls, law: Law, X: Table, y: Table, heldout: Array, known: Mapping[str, Law] | None = None) -> Rivals | None:
        """Fit :data:`FAMILIES` to the runs of a law.

        Args:
            law: the fitted law; its option ``own`` (which domains a target is measured on) is the families' too.
            X: (n,) weights of each domain by name. y: (n,) losses of each target by name, NaN where not measured.
            heldout: (n, T) the law's own held-out predictions of these runs.
            known: laws that were fitted to just these runs already and know their held-out predictions, by family.
        Returns:
            None where no family can be fitted, or domains and targets are so many that it takes minutes.
        """
        weights, losses = np.column_stack(list(X.values())), np.column_stack(list(y.values()))
        usable = np.flatnonzero(np.isfinite(losses).any(axis=1) & np.isfinite(heldout).any(axis=1))
        if law.caution or not len(usable):  # nobody knows its errors, so there is nothing to hold others against
            return None
        if len(usable) > _MOST_ROWS:
            usable = np.sort(np.random.default_rng(0).permutation(usable)[:_MOST_ROWS])
        if len(usable) < len(losses):
            known = None
        rows = {name: np.asarray(v)[usable] for name, v in X.items()}
        seen = {name: np.asarray(v)[usable] for name, v in y.items()}
        K, T = weights.shape[1], losses.shape[1]
        step = T * K * K * (len(usable) + K)
        if step > _TOO_LARGE:
            return None
        runs = _Runs.of(rows, seen, law.get_params(deep=False).get("own"))
        laws, predicted = {law.name: law}, [heldout[usable]]
        for name in FAMILIES[:2] if step > _LARGE else FAMILIES:
            found = None if name in laws else _fitted(name, runs, (known or {}).get(name))
            if found is not None:
                laws[name] = found[0]
                predicted.append(found[1])
        errors = np.array([_products(one - losses[usable]) for one in predicted])
        apart = np.array([_products(one - heldout[usable]) for one in predicted])
        span = np.nanmax(losses[usable], axis=0) - np.nanmin(losses[usable], axis=0)
        return cls(laws, errors, apart, span) if len(laws) > 1 else None

    def only(self, names: Collection[str]) -> Rivals:
        """Some of the families."""
        kept = [i for i, name in enumerate(self.laws) if name in names]
        laws = {name: law for name, law in self.laws.items() if name in names}
        return Rivals(laws, self.errors[kept], self.apart[kept], self.span)

    def shares(self, W: Array) -> Array:
        """(F,) how much each family counts for the objective ``W`` (T,): as 1 over its squared held-out error of it,
        summing to 1. Of few runs the family with the smallest error is so by chance: all have a say."""
        error = np.maximum(np.einsum("t,ftu,u->f", W, self.errors, W), 1e-300)
        inverse = error.min() / error
        return np.asarray(inverse / inverse.sum())

    def variance(self, own: Array, others: Array, W: Array, beyond: Array | None = None) -> Array:
        """(m,) variance of the law's ``own`` predictions (m, T) of the objective ``W`` (T,) that comes of its form: the
        families' mean squared distance from it, less their distance on held-out runs, which its own intervals know.

        Args:
            others: (F, m, T) the families' predictions.
            beyond: (m,) :meth:`~mixlaw.laws.choose.zero_shares.ZeroShares.reach`, by which the distance is enlarged.
        """
        share = self.shares(W)
        there = share @ self._distance(own, others, W) ** 2 * (1.0 if beyond is None else 1 + beyond)
        usual = float(share @ np.einsum("t,ftu,u->f", W, self.apart, W))
        return np.asarray(np.maximum(there - usual, 0.0))

    def variance_of_difference(self, own: Array, others: Array, reach: float, W: Array, beyond: float = 0.0) -> float:
        """Variance of the law's predicted difference (T,) of the objective ``W`` (T,) between two mixtures, from all
        that is not known: the mean of what each family does not know of its own difference, and the variance of the
        families' differences around the law's (the law of total variance).

        A family's own part is its squared held-out error times ``reach``, so that mixtures close together share their
        errors. The truth is taken for one more family, drawn as those were: their scatter around their mean counts
        by (1 + c) / (1 - c), with c the sum of the squared shares, as a new draw's does beside a few that are known.

        Args:
            others: (F, T) the families' predicted differences.
            reach: leverage of the difference of the two mixtures among the runs.
            beyond: as in :meth:`variance`, of both mixtures together.
        """
        share = self.shares(W)
        away = np.sign((others - own) @ W) * self._distance(own, others, W)
        middle, few = float(share @ away), float(share @ share)
        scatter = float(share @ (away - middle) ** 2) * (1 + few) / max(1 - few, 1e-3)
        within = reach * float(share @ np.einsum("t,ftu,u->f", W, self.errors, W))
        return within + (middle**2 + scatter) * (1 + beyond)

    def _distance(self, one: Array, other: Array, W: Array) -> Array:
        """How far two predictions of the objective lie apart; some explode far from the runs, and are cut."""
        return np.minimum(np.abs((other - one) @ W), _FAR * float(self.span @ np.abs(W)))


@dataclass(frozen=True)
class _Runs:
    """Runs that families are fitted to; equal to others of the same content."""

    X: Table = field(compare=False)
    y: Table = field(compare=False)
    own: Any = field(compare=False)
    content: bytes

    @classmethod
    def of(cls, X: Table, y: Table, own: Any) -> _Runs:
        content = hashlib.sha256(repr((list(X), list(y), own)).encode())
        for column in (*X.values(), *y.values()):
            content.update(np.ascontiguousarray(column, dtype=float).tobytes())
        return cls(X, y, own, content.digest())


def _fitted(name: str, runs: _Runs, known: Law | None) -> tuple[Law, Array] | None:
    """A family fitted to the runs and its held-out predictions (n, T); None where it cannot be fitted to so few."""
    heldout = None if known is None else known.heldout
    if known is not None and heldout is not None and heldout.shape == (len(next(iter(runs.y.values()))), len(runs.y)):
        return known, heldout
    return _fit(name, runs)


@lru_cache(maxsize=_REMEMBERED)
def _fit(name: str, runs: _Runs) -> tuple[Law, Array] | None:
    """The same where no fit is known. Other objectives, budgets and laws ask about the same runs: fits are kept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)  # the law itself has said what is wrong with the runs
        try:
            options = {**_QUICK.get(name, {})} | ({"own": runs.own} if "own" in LAWS.options(name) else {})
            law: Law = LAWS[name](**options).fit(runs.X, runs.y)
            heldout = law.heldout
        except MixlawError:
            return None
    return None if heldout is None else (law, heldout)


def _products(errors: Array) -> Array:
    """(T, T) mean products of two targets' errors (n, T) over the runs that have both."""
    there = np.isfinite(errors)
    filled = np.where(there, errors, 0.0)
    count = there.T.astype(float) @ there
    return np.asarray(filled.T @ filled / np.maximum(count, 1.0))

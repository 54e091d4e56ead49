"""How wrong the law's form may be at a mixture: how far other families, fitted to the same runs, are from it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.laws.choose.rivals import Rivals
from mixlaw.laws.choose.zero_shares import ZeroShares
from mixlaw.optimize.pose.request import Request
from mixlaw.optimize.pose.rows import Rows
from mixlaw.optimize.pose.view import LawView

__all__ = ["FormError"]


@dataclass(frozen=True)
class FormError:
    """The families beside a law, as functions of weights over the corpus' domains; make it with :meth:`of`.

    Args:
        view: the law whose form is in question; of a law of mixtures and sizes, what it says at the size asked about.
        asked: the law itself.
        families: that law and the others by name. ``rivals``: what they do on runs that they had not seen.
        tried: (n, K) mixtures of the runs.
        level: of intervals.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import M4
        >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 24)
        >>> X = dict(zip(("web", "code", "books"), r.T))
        >>> law = M4().fit(X, {"all": 2 + (r[:, 0] + 0.05) ** -0.3})
        >>> corpus = Corpus.declared(dict.fromkeys(X, 9_000), source="example")
        >>> form = FormError.of(Request.of(law, "all", Budget(tokens=1_000), corpus))
        >>> inside, corner = form.variance([[0.4, 0.3, 0.3], [0.0, 0.5, 0.5]], np.ones(1))
        >>> bool(corner > inside)  # nats squared
        True
    """

    view: LawView
    asked: LawView
    families: Mapping[str, LawView]
    rivals: Rivals
    tried: Array
    level: float

    @classmethod
    def of(cls, q: Request) -> FormError | None:
        """None where no runs are known, no refits are wanted, or no two families can be fitted."""
        if q.rows is None or q.num_refits == 0:
            return None
        view, rows = q.view.of_mixture, q.rows
        if view is not q.view:  # a joint law's mixtures, at the size and the tokens that are asked about
            here = view.training
            if here is None:
                return None
            rows = Rows.of(view, here)
        known = {name: one for name, one in view.law.averaged.items() if rows.are_of(one)}
        X, y = dict(zip(view.columns, rows.X.T)), dict(zip(view.targets, rows.losses.T))
        rivals = Rivals.of(view.law, X, y, rows.losses + rows.errors, known)
        if rivals is None:
            return None
        families = {name: view.with_law(one) for name, one in rivals.laws.items()}
        if q.repetition is not None:  # only laws of linear forms can be asked about repeated tokens
            families = {name: one for name, one in families.items() if one.atoms() is not None}
            rivals = rivals.only(families)
        return cls(view, q.view, families, rivals, rows.weights, q.level) if len(families) > 1 else None

    def _others(self, R: Array) -> Array:
        """(F, m, T) predictions of the families at weights (m, K)."""
        return np.stack([one.predict(R) for one in self.families.values()])

    def variance(self, R: Array, W: Array) -> Array:
        """(m,) variance of the objective ``W`` (T,) at weights R (m, K), in its unit squared."""
        R = np.atleast_2d(np.asarray(R, dtype=float))
        return self.rivals.variance(self.view.predict(R), self._others(R), W, self.beyond(R))

    def variance_of_sets(self, R: Array) -> Array:
        """(m, T) the same of every set by itself, nats squared."""
        R = np.atleast_2d(np.asarray(R, dtype=float))
        own, others, beyond = self.view.predict(R), self._others(R), self.beyond(R)
        return np.stack([self.rivals.variance(own, others, unit, beyond) for unit in np.eye(own.shape[1])], axis=1)

    def beyond(self, R: Array) -> Array:
        """(m,) by how much more than the families disagree the law may be off at weights R (m, K), as they leave out
        domains that no run left out: a share of the squared distance."""
        return ZeroShares.of(self.tried).reach(np.atleast_2d(R))

    def variance_of_difference(self, a: Array, b: Array, W: Array) -> float:
        """Variance of the objective ``W`` (T,) at weights a (K,) less that at b (K,), from all that is not known."""
        both = np.stack([a, b])
        own, others = self.view.predict(both), self._others(both)
        differences, beyond = others[:, 0] - others[:, 1], float(self.beyond(both).sum())
        form = self.rivals.variance_of_difference(own[0] - own[1], differences, self._reach(a, b), W, beyond)
        return form + self.asked.difference_variance(a, b, W)

    def _reach(self, a: Array, b: Array) -> float:
        """Leverage of the difference of two mixtures (K,) among the runs: small where they lie close together, or
        where many runs lie along it."""
        away = self.tried - self.tried.mean(axis=0)
        gram = away.T @ away
        # with few runs per direction an untried direction is unusual, not infinitely so
        gram[np.diag_indices_from(gram)] += np.trace(gram) / len(gram) * max(1e-3, len(gram) / len(away)) + 1e-12
        return float((a - b) @ np.linalg.solve(gram, a - b))

    def differences(self, a: Array, b: Array, W: Array) -> dict[str, tuple[float, float, float]]:
        """By family: how much it counts; the difference that it predicts of the objective ``W`` (T,), at weights a (K,)
        less at b (K,); and the standard deviation of that by its own intervals at the two, taken to err apart."""
        both, z = np.stack([a, b]), NormalDist().inv_cdf((1 + self.level) / 2)
        before = np.sqrt(self.asked.difference_variance(a, b, W))
        out = {}
        for (name, one), share, error in zip(self.families.items(), self.rivals.shares(W), self.rivals.errors):
            low, high = one.interval(both, self.level)
            widest = (high - low) / 2 @ np.abs(W)
            apart = float(np.abs(W) @ np.sqrt(np.diag(error)))  # how far errors of different sets go together
            together = min(1.0, np.sqrt(max(float(W @ error @ W), 0.0)) / apart) if apart > 0 else 1.0
            sd = float(np.hypot(together * np.hypot(*widest) / z, before))
            out[name] = (float(share), float(np.subtract(*(one.predict(both) @ W))), sd)
        return out

"""A law of mixtures and sizes with its sizes held at given values: a law of the mixture alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law

__all__ = ["Held"]


class Held(Law):
    """Another law with some of its columns held; made by :meth:`mixlaw.laws.JointLaw.at`.

    Predictions, intervals, slopes and draws are those of the law itself at the held values.

    Example:
        >>> from mixlaw.laws import Chinchilla
        >>> X = Chinchilla().example_rows(20, np.random.default_rng(0))
        >>> law = Chinchilla().fit(X, Chinchilla().example_losses(X))
        >>> small = Held.of(law, {"params": 1e8})
        >>> list(small.feature_names_in_), bool(small.predict([[1e10]])[0] == law.predict([[1e8, 1e10]])[0])
        (['tokens'], True)
    """

    name = "held"
    kind: ClassVar = "mixture"

    def __init__(self, law: Law | None = None, at: Mapping[str, float] | None = None) -> None:
        self.law = law
        self.at = at

    @classmethod
    def of(cls, law: Law, at: Mapping[str, float]) -> Held:
        """``law`` (fitted) with the columns ``at`` held."""
        out = cls(law, dict(at))
        kept = [str(n) for n in law.feature_names_in_ if n not in at]
        out.feature_names_in_ = np.array(kept, dtype=object)
        out.n_features_in_ = len(kept)
        out.target_names_ = list(law.target_names_)
        out.n_targets_, out.num_runs_, out.single_target_ = law.n_targets_, law.num_runs_, law.single_target_
        out.converged_ = law.converged_
        return out

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        raise DataError("A law with columns held is made from a fitted one: law.at(params=..., tokens=...).")

    @property
    def _inner(self) -> Law:
        assert self.law is not None
        return self.law

    def _whole(self, X: Array) -> dict[str, Array]:
        """Rows of the law itself: those kept, and the held values."""
        kept, held = list(self.feature_names_in_), dict(self.at or {})
        return {
            str(n): np.full(len(X), held[str(n)]) if str(n) in held else X[:, kept.index(n)]
            for n in self._inner.feature_names_in_
        }

    def _predict(self, X: Array) -> Array:
        return np.asarray(self._inner.predict(self._whole(X)), dtype=float).reshape(len(X), -1)

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """As the law's own, at the held values."""
        return self._inner.predict_interval(self._whole(self._align(X)), level)

    def gradient(self, X: Any) -> Array:
        """d loss / d weight (n, T, K), by the law itself."""
        slopes = self._inner.gradient(self._whole(self._align(X)))
        kept = [i for i, n in enumerate(self._inner.feature_names_in_) if n in self.feature_names_in_]
        return slopes[:, :, kept]

    def sample(self, X: Any, num: int, rng: np.random.Generator, rough: Array | None = None) -> Array:
        """Draws (num, n, T) of the law itself, at the held values."""
        return self._inner.sample(self._whole(self._align(X)), num, rng, rough)

    def seed_noise(self) -> Array:
        """(T,) that of the law itself."""
        return self._inner.seed_noise()

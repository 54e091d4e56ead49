"""A law fitted on old and new domains, asked about the new ones only."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixlaw.data.columns import SIZES
from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms, align
from mixlaw.laws.core.base import Law

__all__ = ["Restricted"]


class Restricted(Law):
    """A law with some of its domains held at zero: fitted on old and new domains, asked about the new ones. Make one
    with :meth:`of`; X is (n, K) over the domains that are left.

    Example:
        >>> from mixlaw.laws import M4
        >>> R = np.random.default_rng(0).dirichlet([1, 1, 1], 20)
        >>> law = M4().fit({"old": R[:, 0], "web": R[:, 1], "code": R[:, 2]}, 2 + np.exp(-2 * R[:, 1]))
        >>> new = Restricted.of(law, ("web", "code"))
        >>> bool(new.predict([[0.5, 0.5]]) == law.predict([[0.0, 0.5, 0.5]])), new.former
        (True, ('old',))
    """

    name = "restricted"

    def __init__(self, law: Law | None = None) -> None:
        self.law = law

    @classmethod
    def of(cls, law: Law, domains: tuple[str, ...]) -> Restricted:
        """``law`` as a law of ``domains`` only.

        Raises:
            ConfigError: a domain the law was not fitted on.
        """
        features = [str(n) for n in law.feature_names_in_]
        for name in domains:
            if name not in features:
                raise ConfigError(f"The law was not fitted on {name!r}.{did_you_mean(name, features)}")
        kept = [*domains, *(n for n in features if n in SIZES and n not in domains)]
        out = cls(law)
        out.feature_names_in_ = np.array(kept, dtype=object)
        out.n_features_in_ = len(kept)
        out.target_names_ = list(law.target_names_)
        out.n_targets_ = law.n_targets_
        out.num_runs_ = law.num_runs_
        out.single_target_ = law.single_target_
        out.columns_ = np.array([features.index(d) for d in kept])
        return out

    @property
    def former(self) -> tuple[str, ...]:
        """The domains held at zero."""
        assert self.law is not None
        return tuple(str(n) for n in self.law.feature_names_in_ if n not in self.feature_names_in_)

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        raise DataError("A restricted law is made from a fitted one: Restricted.of(law, domains).")

    def _whole(self, X: Array) -> dict[str, Array]:
        assert self.law is not None
        names = [str(n) for n in self.law.feature_names_in_]
        out = {n: np.zeros(len(X)) for n in names}
        for i, column in enumerate(self.columns_):
            out[names[column]] = X[:, i]
        return out

    def _predict(self, X: Array) -> Array:
        assert self.law is not None
        return np.asarray(self.law.predict(self._whole(X)), dtype=float).reshape(len(X), -1)

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """As the law's own, at zero of the former domains."""
        assert self.law is not None
        return self.law.predict_interval(self._whole(self._align(X)), level)

    def parameter_slopes(self, X: Any) -> Array | None:
        """As the law's own, at zero of the former domains."""
        assert self.law is not None
        return self.law.parameter_slopes(self._whole(self._align(X)))

    def atoms(self) -> Atoms | None:
        assert self.law is not None
        atoms = self.law.atoms()
        return None if atoms is None else align(atoms, self.columns_.tolist())

"""The contract every law keeps, and the two small types laws share with the optimiser.

A law is a scikit-learn estimator: ``fit(X, y)``, ``predict(X)``, ``predict_interval(X, level)``.

*X* is an array (n, K) or any dataframe (names are kept in ``feature_names_in_``): mixture weights, or the
columns ``params`` (N, non-embedding parameters) and ``tokens`` (D), or both.
*y* is (n,) or (n, T); a missing target for some runs is NaN **only** where the law says it allows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError

from mixlaw.data.seams import LAWS
from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.core.table import as_matrix, as_targets

__all__ = ["Law"]


class NotFittedLawError(DataError, NotFittedError):
    """A law was asked before it was fitted (also scikit-learn's own error for that)."""


class Law(RegressorMixin, BaseEstimator):
    """Base of every law. A subclass implements :meth:`_fit` and :meth:`_predict`; the rest is inherited.

    Fitted attributes: ``parameters_`` (dict of name to float or nested lists), ``intervals_`` (same keys,
    ``(low, high)``; filled by families that estimate them), ``feature_names_in_`` (always set; ``x0, x1, ...``
    for plain arrays), ``target_names_`` (``y0, ...``), ``n_features_in_``, ``n_targets_``, ``num_runs_``,
    ``converged_`` (bool), ``single_target_`` (y was one-dimensional).
    """

    kind: ClassVar[Literal["mixture", "scale", "joint"]] = "mixture"
    """What X holds: mixture weights; ``params``/``tokens`` (and kin); or both."""
    name: ClassVar[str] = ""
    """The name it is registered under."""
    accepts_censored: ClassVar[bool] = False
    """Whether ``fit`` takes ``censored=``: losses of which only a bound is known."""
    _side: npt.NDArray[np.int8] | None = None  # (n, T) of the fit under way: which values are bounds, and which way
    allows_missing: ClassVar[bool] = False
    """Whether y may hold NaN (a target not measured in some runs)."""
    permutation_invariant: ClassVar[bool] = True
    """Whether predictions are unchanged when domains (columns of X) are permuted together with the fit."""
    source: ClassVar[str] = ""
    """Paper and arXiv id."""

    # ---- to be written by a family -------------------------------------------------------------
    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        raise NotImplementedError

    def _predict(self, X: Array) -> Array:
        raise NotImplementedError

    # ---- inherited ---------------------------------------------------------------------------------
    def fit(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None, censored: Any = None) -> Law:
        """Fit to runs.

        Args:
            X: (n, K) array or dataframe, see the module's head.
            y: (n,) or (n, T) losses.
            sample_weight: (n,) non-negative weights of runs.
            censored: which losses are only bounds, for laws that take them (``accepts_censored``): +1 or ``"above"``
                where the truth lies above y (a run that diverged or was stopped: y is the last loss that it had, or
                one that it certainly exceeds), -1 or ``"below"`` where it lies below, 0 where y is a measurement.
                (n,) for all targets of a run, (n, T), or a table with some of y's columns. A bound pulls on the law
                only while the law is on the wrong side of it.

        Raises:
            DataError, ConfigError, FitError: what is wrong with the rows or options, where, and what to do.
        """
        matrix, names = as_matrix(X)
        targets, target_names, single = as_targets(y, self.allows_missing)
        if len(matrix) != len(targets):
            raise DataError(f"X has {len(matrix)} runs but y has {len(targets)}.")
        if matrix.size == 0:
            raise DataError(f"X has shape {matrix.shape}: there are no runs to fit. Was the right file read?")
        weight = np.ones(len(matrix)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
        if weight.shape != (len(matrix),) or not np.isfinite(weight).all() or (weight < 0).any():
            raise DataError(
                f"sample_weight must be {len(matrix)} finite non-negative numbers, got shape {weight.shape}."
            )
        from mixlaw.laws.core.notes import warn_of_mixed_units

        self._check_inputs(matrix, targets, names)
        columns = names or self._column_names(matrix.shape[1])
        warn_of_mixed_units(matrix, targets, columns, target_names or [f"y{t}" for t in range(targets.shape[1])])
        self._side = None
        if censored is not None:
            from mixlaw.laws.core.censoring import read_censored

            self._side = read_censored(self, censored, targets, target_names)
        self.feature_names_in_ = np.array(names or [f"x{j}" for j in range(matrix.shape[1])], dtype=object)
        self.target_names_ = list(target_names or [f"y{t}" for t in range(targets.shape[1])])
        self.n_features_in_ = matrix.shape[1]
        self.n_targets_ = targets.shape[1]
        self.num_runs_ = len(matrix)
        self.single_target_ = single
        for stale in ("conformal_", "_training"):  # intervals belong to the rows of this fit
            self.__dict__.pop(stale, None)
        self._fit(matrix, targets, weight)
        self.__dict__.setdefault("_training", (matrix, targets, weight))
        return self

    def _column_names(self, num: int) -> list[str]:
        """What the columns of a plain array are."""
        return [f"x{j}" for j in range(num)]

    def _check_inputs(self, X: Array, Y: Array, names: Sequence[str] | None) -> None:
        """Refuse what no law of this kind can use (weights outside [0, 1], sizes that are not positive)."""
        if self.kind == "mixture":
            if (X < -1e-9).any() or (X > 1 + 1e-9).any():
                rows = np.unique(np.where((X < -1e-9) | (X > 1 + 1e-9))[0])[:5].tolist()
                raise DataError(
                    f"Mixture weights must lie in [0, 1]; rows {rows} do not (range {X.min():.4g} to "
                    f"{X.max():.4g}). Weights are shares of tokens, not percentages or counts."
                )
        elif self.kind == "scale" and (X <= 0).any():
            rows = np.unique(np.where(X <= 0)[0])[:5].tolist()
            raise DataError(f"Sizes and token counts must be positive; rows {rows} are not.")

    def _check_fitted(self) -> None:
        if not hasattr(self, "n_features_in_"):
            raise NotFittedLawError(f"This {type(self).__name__} has not been fitted yet. Call fit(X, y) first.")

    def _align(self, X: Any) -> Array:
        """X as (n, K) in the order of ``feature_names_in_``; named columns may come in any order."""
        self._check_fitted()
        matrix, names = as_matrix(X)
        if names is not None:
            wanted = list(self.feature_names_in_)
            missing = [n for n in wanted if n not in names]
            if missing:
                raise DataError(f"X lacks the columns {missing} this law was fitted on; it has {names}.")
            matrix = matrix[:, [names.index(n) for n in wanted]]
        if matrix.shape[1] != self.n_features_in_:
            raise DataError(
                f"X has {matrix.shape[1]} columns; this law was fitted on {self.n_features_in_}: "
                f"{list(self.feature_names_in_)}."
            )
        return matrix

    def predict(self, X: Any) -> Array:
        """Predicted losses (n,) or (n, T), as y was given."""
        values = self._predict(self._align(X))
        return values[:, 0] if self.single_target_ else values

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """Ends (low, high) of an interval for a **new observation** at X, each shaped like ``predict``'s."""
        from mixlaw.laws.core.intervals import predict_interval

        return predict_interval(self, X, level)

    def atoms(self) -> Atoms | None:
        """The law as :class:`Atoms` where it has that form (then the optimum can be certified), else None."""
        return None

    def gradient(self, X: Any) -> Array:
        """d target / d weight (n, T, K); central differences unless the family knows better."""
        matrix = self._align(X)
        atoms = self.atoms()
        if atoms is not None:
            return atoms.gradient(matrix)
        step, out = 1e-5, np.empty((len(matrix), self.n_targets_, self.n_features_in_))
        for j in range(self.n_features_in_):
            up, down = matrix.copy(), matrix.copy()
            up[:, j] += step
            down[:, j] = np.maximum(down[:, j] - step, 0)
            out[:, :, j] = (self._predict(up) - self._predict(down)) / (up[:, j] - down[:, j])[:, None]
        return out

    def summary(self) -> str:
        """What was fitted, in a few readable lines."""
        from mixlaw.laws.core.summary import summarize

        return summarize(self)

    # ---- JSON, never pickle ------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Plain data: the registry name, its constructor arguments and everything it learned."""
        if type(self).predict_interval is Law.predict_interval and hasattr(self, "_training"):
            from mixlaw.laws.core.intervals import ensure_calibrated

            ensure_calibrated(self)  # a law read back has no rows to calibrate its intervals on
        state = {k: v for k, v in vars(self).items() if k.endswith("_") and not k.startswith("_")}
        # an unregistered law can be hashed and shown, and read back once it is registered under this name
        name = LAWS.name_of(type(self)) or f"{type(self).__module__}:{type(self).__qualname__}"
        return {
            "class": name,
            "params": {k: _encode(v) for k, v in self.get_params(deep=False).items()},
            "state": {k: _encode(v) for k, v in state.items()},
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Law:
        """Inverse of :meth:`to_dict`."""
        cls = _class_of(str(data["class"]))
        law = cls(**{k: _decode(v) for k, v in data["params"].items()})
        for key, value in data["state"].items():
            setattr(law, key, _decode(value))
        return law

    def to_json(self) -> str:
        """The law as JSON text; numbers round-trip exactly."""
        return json.dumps(self.to_dict())

    @staticmethod
    def from_json(text: str) -> Law:
        """Inverse of :meth:`to_json`."""
        return Law.from_dict(json.loads(text))


def _class_of(name: str) -> type[Law]:
    """The class that a saved law names. Nothing is imported on a file's word: only what the registry holds is found.

    Raises:
        DataError: the registry has no such law.
    """
    known = _FORMER.get(name, name)
    if known not in LAWS:
        raise DataError(
            f"The saved law is of the kind {name!r}, which is not registered here. If it is your own, call "
            f"laws.LAWS.register({name!r}, YourLaw) before reading it; known: {', '.join(LAWS)}."
        )
    cls = LAWS[known]
    if not (isinstance(cls, type) and issubclass(cls, Law)):
        raise DataError(f"{name!r} is not a law.")
    return cls


# What version 0.1.0 of 2026-11-21 wrote in place of a registry name.
_FORMER = {
    f"mixlaw.{module}:{cls}": name
    for module, cls, name in (
        ("laws.m1", "M1", "m1"),
        ("laws.m2", "M2", "m2"),
        ("laws.m3", "M3", "m3"),
        ("laws.m4", "M4", "m4"),
        ("laws.implicit", "Implicit", "implicit"),
        ("laws.loglinear", "LogLinear", "log_linear"),
        ("laws.effective", "EffectiveTokens", "effective_tokens"),
        ("laws.bimix", "BiMix", "bi_mix"),
        ("laws.autoscale", "AutoScale", "auto_scale"),
        ("laws.gp", "GaussianProcess", "gaussian_process"),
        ("laws.trees", "Trees", "trees"),
        ("laws.auto", "Auto", "auto"),
        ("laws.kaplan", "Kaplan", "kaplan"),
        ("laws.chinchilla", "Chinchilla", "chinchilla"),
        ("laws.repeated", "RepeatedData", "repeated_data"),
        ("laws.annealing", "LearningRateAnnealing", "learning_rate_annealing"),
        ("laws.broken", "BrokenPowerLaw", "broken_power_law"),
        ("laws.nested", "Nested", "nested"),
        ("laws.joint", "Joint", "joint"),
        ("laws.published_laws", "PublishedLaw", "published"),
        ("optimize.phases", "PhaseLaw", "phase_law"),
        ("optimize.restricted", "Restricted", "restricted"),
        ("optimize.task", "TaskLaw", "task"),
    )
}


def _encode(value: Any) -> Any:
    if isinstance(value, Law):
        return {"__law__": value.to_dict()}
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return {"__array__": [_encode(v) for v in value.ravel().tolist()], "dtype": "object", "shape": value.shape}
        items = [_encode(v) for v in value.ravel().tolist()] if value.dtype.kind == "f" else value.ravel().tolist()
        return {"__array__": items, "dtype": str(value.dtype), "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple):
        return {"__tuple__": [_encode(v) for v in value]}
    if isinstance(value, list):
        return [_encode(v) for v in value]
    if isinstance(value, Mapping):
        return {"__dict__": [[_encode(k), _encode(v)] for k, v in value.items()]}
    if isinstance(value, float) and not np.isfinite(value):
        return {"__float__": str(value)}  # JSON has no NaN and no infinity
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise DataError(f"A law's state must be plain data; {type(value).__name__} is not.")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(v) for v in value]
    if isinstance(value, dict):
        if "__law__" in value:
            return Law.from_dict(value["__law__"])
        if "__array__" in value:
            plain = value["dtype"] != "object" and not any(isinstance(v, dict) for v in value["__array__"])
            items = value["__array__"] if plain else [_decode(v) for v in value["__array__"]]
            array = (
                np.empty(len(items), dtype=object)
                if value["dtype"] == "object"
                else np.array(items, dtype=value["dtype"])
            )
            if value["dtype"] == "object":
                array[:] = items
            return array.reshape(value["shape"])
        if "__float__" in value:
            return float(value["__float__"])
        if "__tuple__" in value:
            return tuple(_decode(v) for v in value["__tuple__"])
        if "__dict__" in value:
            return {_decode(k): _decode(v) for k, v in value["__dict__"]}
    return value

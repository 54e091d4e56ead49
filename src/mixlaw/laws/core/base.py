"""The contract every law keeps.

A law is a scikit-learn estimator: ``fit(X, y)``, ``predict(X)``, ``predict_interval(X, level)``.

*X* is an array (n, K) or any dataframe (names are kept in ``feature_names_in_``): mixture weights, or the
columns ``params`` (N, non-embedding parameters) and ``tokens`` (D), or both.
*y* is (n,) or (n, T); a missing target for some runs is NaN **only** where the law says it allows it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError

from mixlaw.data import formats
from mixlaw.data.columns import domains_of
from mixlaw.data.seams import LAWS
from mixlaw.data.table import rising_columns
from mixlaw.errors import DataError, MixlawError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.core.bounds import read_censored
from mixlaw.laws.core.examples import Simulated
from mixlaw.laws.core.intervals import Conformal, check_level
from mixlaw.laws.core.notes import below_zero, warn_of_mixed_units
from mixlaw.laws.core.refits import Refitted, TrainingRows, numbered
from mixlaw.laws.core.replicates import replicate_noise
from mixlaw.laws.core.response import NATS, Response
from mixlaw.laws.core.saved import decode, encode
from mixlaw.laws.core.summary import summarize
from mixlaw.laws.core.table import as_matrix, as_targets

__all__ = ["Law", "TrainingRows"]


_TYPICAL = {"params": 1e8, "tokens": 1e9, "step": 1e3, "unique_tokens": 1e9}
"""A size of each kind at which a law that was read is tried once."""


class NotFittedLawError(DataError, NotFittedError):
    """A law was asked before it was fitted (also scikit-learn's own error for that)."""


class Law(Simulated, Refitted, RegressorMixin, BaseEstimator):
    """Base of every law. A subclass implements :meth:`_fit` and :meth:`_predict`; the rest is inherited.

    Every fitted law has ``parameters_`` (dict of name to float or nested lists), ``feature_names_in_`` (``x0, x1, ...``
    for plain arrays), ``target_names_`` (``y0, ...``), ``n_features_in_``, ``n_targets_``, ``num_runs_`` and
    ``single_target_`` (y was one-dimensional). What only some laws have is declared below with the value that means
    "none", so that nobody needs to ask whether it is there. What the law was fitted on, and what it does not know, is
    asked with :attr:`training`, :attr:`heldout`, :meth:`sample` and :meth:`seed_noise`.

    Example:
        >>> class Mean(Law):
        ...     def _fit(self, X, Y, sample_weight):
        ...         self.parameters_ = {"mean": Y.mean(axis=0)}
        ...
        ...     def _predict(self, X):
        ...         return np.tile(self.parameters_["mean"], (len(X), 1))
        >>> Mean().fit([[0.2, 0.8], [0.6, 0.4]], [2.0, 3.0]).predict([[0.5, 0.5]]).tolist()
        [2.5]
    """

    kind: ClassVar[Literal["mixture", "scale", "joint", "capability", "time"]] = "mixture"
    """What X holds: mixture weights; ``params``/``tokens`` (and kin); both; what a capability is read from (losses or
    features of a model); or what a time to an event is read from."""
    response: ClassVar[Response] = NATS
    """What y is: its unit, the link that a model is linear behind, and the likelihood of a measurement."""
    name: ClassVar[str] = ""
    """The name it is registered under."""
    accepts_censored: ClassVar[bool] = False
    """Whether ``fit`` takes ``censored=``: losses of which only a bound is known."""
    _side: npt.NDArray[np.int8] | None = None  # (n, T) of the fit under way: which values are bounds, and which way
    allows_missing: ClassVar[bool] = False
    """Whether y may hold NaN (a target not measured in some runs)."""
    permutation_invariant: ClassVar[bool] = True
    """Whether predictions are unchanged when domains (columns of X) are permuted together with the fit."""
    over_phases: ClassVar[bool] = False
    """Whether X holds the weights of several phases, in columns ``domain@phase``."""
    convex: ClassVar[bool] = False
    """Whether every target is convex in the weights although the law has no :meth:`atoms`: its slope then certifies an
    optimum."""
    smooth: ClassVar[bool] = True
    """Whether predictions have a derivative everywhere (trees have none)."""
    irreducible: ClassVar[str] = ""
    """The parameter that is the loss which nothing lowers; a negative one, which no loss can be, is remarked on."""
    draws_form: ClassVar[bool] = False
    """Whether :meth:`sample` draws functions (the form is uncertain too), rather than refits of one form. Such a law
    keeps what it needs to draw when it is saved."""
    quick_options: ClassVar[Mapping[str, Any]] = {}
    """Options under which a fit is cheaper and hardly worse, for where hundreds of fits are simulated."""
    source: ClassVar[str] = ""
    """Paper and arXiv id."""
    rival: ClassVar[bool] = False
    """Whether a study compares every other law with it by held-out error: a few cheap, well-known forms are."""
    heldout_is_cheap: ClassVar[bool] = False
    """Whether :attr:`heldout` comes out of the fit, and not of refits on folds."""

    formula: str = ""
    """The law's formula, as the summary shows it."""

    # ---- what a fit may leave behind, and what it is where it does not ---------------------------
    converged_: bool | None = None
    """Whether the fit ended where no step lowers its error (a local optimum); None for laws that search for none."""
    rising_targets_: Sequence[str] = ()
    """Targets that are better when higher, where the table of y says so; an optimum never minimises them."""
    notes_: Sequence[str] = ()
    """Sentences on what is unusual about the rows or the fit."""
    rows_: npt.NDArray[np.int64] | None = None
    """Indices of the given rows that were used, where a law draws a part of them; None: all."""
    theta_: Array | None = None
    """(T, P) internal parameters of a parametric law."""
    ridge_: Array | None = None
    """(T,) ridge of each target, chosen or given, of laws that have one."""
    heldout_error_: Mapping[str, float] | None = None
    """Mean absolute held-out error of each target, where the fit measured it."""
    fit_report_: Mapping[str, Any] | None = None
    """How the optimum was found: objective, gradient norm, starts."""
    bootstrap_theta_: Array | None = None
    """(T, B, P) internal parameters of refits to resampled runs, where the fit made them."""
    parameters_: Mapping[str, Any] = MappingProxyType({})
    """Name of each reported parameter to a number or nested lists."""
    intervals_: Any = MappingProxyType({})
    """Interval ``(low, high)`` of each reported parameter that has one, shaped like it."""
    identifiability_: Any = None
    """Flat directions and rival optima, in words (a dict with ``text``, or text); None for laws that do not look."""
    conformal_: Mapping[str, Any] | None = None
    """What :meth:`predict_interval` was calibrated to."""
    _training: TrainingRows | None = None
    _heldout: Array | None = None

    # ---- to be written by a family -------------------------------------------------------------
    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define _fit(X, Y, sample_weight).")

    def _predict(self, X: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define _predict(X).")

    # ---- inherited ---------------------------------------------------------------------------------
    def fit(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None, censored: Any = None) -> Law:
        """Fit to runs.

        Args:
            X: (n, K) array or dataframe, see the module's head.
            y: (n,) or (n, T) losses in nats per token, or what :attr:`response` says; NaN where a target was not
                measured, for laws with ``allows_missing``.
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
        self.response.check(targets)
        self._check_inputs(matrix, targets, names)
        columns = names or self._column_names(matrix.shape[1])
        warn_of_mixed_units(matrix, targets, columns, target_names or numbered("y", targets.shape[1]))
        self._side = read_censored(
            censored, targets, target_names, accepts=self.accepts_censored, who=type(self).__name__
        )
        self.feature_names_in_ = np.array(names or numbered("x", matrix.shape[1]), dtype=object)
        self.target_names_ = list(target_names or numbered("y", targets.shape[1]))
        self.n_features_in_ = matrix.shape[1]
        self.n_targets_ = targets.shape[1]
        self.num_runs_ = len(matrix)
        self.single_target_ = single
        for stale in ("conformal_", "_training", "_heldout", "rising_targets_"):  # they belong to the rows of one fit
            self.__dict__.pop(stale, None)
        if rising := rising_columns(y):
            self.rising_targets_ = rising
        self._fit(matrix, targets, weight)
        if self._training is None:
            self._training = TrainingRows(matrix, targets, weight)
        return self

    def _column_names(self, num: int) -> list[str]:
        """What the columns of a plain array are."""
        return numbered("x", num)

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
        """Predicted losses (n,) or (n, T), in the unit and shape in which y was given, at X (n, K).

        Raises:
            DataError: X lacks columns that the law was fitted on, or has another number of them.
        """
        values = self._predict(self._align(X))
        return values[:, 0] if self.single_target_ else values

    def difference_variance(
        self, X: Array, weights: Array, params: float, tokens: float | None = None, step: float | None = None
    ) -> float:
        """Variance of the weighted loss at the first row of X (2, K) less that at the second, one run each: what a law
        of mixtures and sizes leaves open before a law of the mixture is fitted to its predictions at one size and
        length. 0 where there is no such step.

        Args:
            X: columns as the law was fitted on; only the mixtures count.
            weights: (T,) of the targets in the loss.
            params, tokens, step: the size and length.

        Example:
            >>> from mixlaw.laws import LogLinear
            >>> r = np.linspace(0.1, 0.9, 8)
            >>> law = LogLinear().fit(np.column_stack([r, 1 - r]), 3 - r)
            >>> law.difference_variance(np.eye(2), np.ones(1), params=1e9)
            0.0
        """
        return 0.0

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """Ends (low, high) of an interval for a **new observation** at X, each shaped like ``predict``'s and in its
        unit. ``level`` is the probability that it contains the observation, **at mixtures like those that were run**.

        It is calibrated on held-out runs and takes the law's form as given. Where no run was (the middle of a design of
        pure mixtures, a corner, a share of 0, the law's own optimum) the form may be wrong by more, and the interval is
        too narrow there: :func:`mixlaw.laws.interval_with_form` allows for that, and so do recipes and the predictions
        of a study.

        Raises:
            ConfigError: level outside (0, 1).
            DataError: X has other columns, or the law was read back without calibration and no longer has its training
                rows.
        """
        check_level(level)
        self._check_fitted()
        self.calibrate()
        if self.conformal_ is None:
            raise DataError(
                f"This {type(self).__name__} has no calibration for intervals, and no longer has the rows it was "
                f"fitted on. Fit it again."
            )
        matrix = self._align(X)
        mean = self._predict(matrix)
        half = Conformal.from_dict(self.conformal_).half_width(self._leverage_features(matrix), level, matrix)
        half = half * self.response.scatter(mean)
        least, largest = self.response.range
        low, high = np.maximum(mean - half, least), np.minimum(mean + half, largest)
        return (low[:, 0], high[:, 0]) if self.single_target_ else (low, high)

    def calibrate(self) -> None:
        """Make now what :meth:`predict_interval` needs of the training rows, so that it is saved with the law.

        Nothing happens where that has been done, or where there are no rows (a law read from JSON).
        """
        if self.conformal_ is None and self.training is not None:
            held = self.heldout
            assert held is not None
            self._calibrate_to(held)

    def _calibrate_to(self, heldout: Array) -> None:
        """Intervals from the held-out predictions (n, T) of the training rows."""
        X, Y, weight = self._need_rows("calibrate")
        used = weight > 0
        found = Conformal.measure(
            self._leverage_features(X),
            np.abs(heldout - Y) / self.response.scatter(heldout),
            weight,
            replicate_noise(X[used], Y[used]),
            places=X,
        )
        self.conformal_ = found.to_dict()

    def _leverage_features(self, X: Array) -> Array:
        """What leverage is measured in: shares, or logarithms of sizes and tokens."""
        if self.kind == "mixture":
            return X
        return np.where((X > 1).any(axis=0), np.log(np.maximum(X, 1e-12)), X)

    # ---- what it was fitted on, and what it does not know -------------------------------------------
    @property
    def fitted(self) -> bool:
        """Whether it has been fitted (or read from a file of a fitted law)."""
        return hasattr(self, "n_features_in_")

    @property
    def training(self) -> TrainingRows | None:
        """``(X, Y, weight)`` of the fit: (n, K), (n, T) with NaN where not measured, (n,). None for a law that was read
        from JSON or not fitted."""
        return self._training

    @property
    def domain_names(self) -> list[str]:
        """Names of the columns of X that are shares of domains, in their order; none for laws of sizes alone."""
        return domains_of(map(str, self.feature_names_in_)) if self.kind in ("mixture", "joint") else []

    @property
    def known_runs(self) -> TrainingRows | None:
        """:attr:`training`, or the rows that a law saves with itself (Auto and the Gaussian process do); else None."""
        return self.training

    @property
    def averaged(self) -> Mapping[str, Law]:
        """The fitted laws that it is an average of, by name; none for most laws."""
        return {}

    @property
    def heldout(self) -> Array | None:
        """(n, T) predictions of the training rows, each by a fit that had not seen it or its replicates; NaN where
        there is none. None without rows (a law read from JSON, unless it saved its predictions).

        Made once, when first asked for, by refits on folds (:func:`mixlaw.laws.core.heldout.heldout_predictions`:
        leave-one-out up to 24 different rows of X, else 5 folds); families that have them cheaper override.

        Raises:
            NotIdentifiableError, TooFewRunsError: no fold has rows enough for a fit.
        """
        if self._heldout is None and self.training is not None:
            X, Y, weight = self.training
            seed = int(self.get_params(deep=False).get("seed", 0))
            self._heldout = self.predict_heldout(X, Y, seed=seed, sample_weight=weight)
        return self._heldout

    @property
    def heldout_(self) -> Array:
        """(n, T) :attr:`heldout`, or an error that says why there is none.

        Raises:
            DataError: a law read from JSON, which has no rows to be judged by.
        """
        values = self.heldout
        if values is None:
            self._need_rows("heldout_")
            raise DataError(f"This {type(self).__name__} holds no held-out predictions. Fit it again.")
        return values

    @property
    def notes(self) -> list[str]:
        """Sentences on what is unusual about the rows or the fit; empty where nothing is."""
        lowest = self.parameters_.get(self.irreducible)
        if lowest is None or self.response.unit != "nats":
            return list(self.notes_)
        return [*self.notes_, *below_zero(lowest, self.target_names_)]

    @property
    def caution(self) -> str:
        """A sentence that a recipe must hold which rests on this law; empty for most."""
        return ""

    @property
    def runs_text(self) -> str:
        """How many runs it was fitted to, in words; a law of evaluations along runs counts both."""
        return f"{self.num_runs_} runs"

    @property
    def league_(self) -> Any:
        """Held-out scores (:class:`mixlaw.laws.choose.league.League`) of the laws it chose from; None of no choice."""
        return None

    @property
    def certifiable_(self) -> Law | None:
        """The convex law beside this one whose optimum can be certified; None for a law that has none beside it."""
        return None

    def sample(self, X: Any, num: int, rng: np.random.Generator, rough: Array | None = None) -> Array:
        """Draws (num, n, T) of the losses without seed noise that are possible at X (n, K), given what is not known.

        Each is the prediction of a refit to the training rows under random weights (Bayesian bootstrap). That shows how
        uncertain the parameters are, but not that the form may be wrong. Families that know more override.

        Args:
            X: as for :meth:`predict`.
            num: number of draws.
            rng: a NumPy generator; the same state gives the same draws.
            rough: (T,) share, 0 to 1, of the variance the law leaves unexplained (:meth:`residual_sd`) that belongs to
                the mixture, so that another seed would repeat it (default none). It is drawn for each row on its own:
                give each mixture once.

        Raises:
            DataError: a law read from JSON, which has no rows to fit again.
            ConvergenceError: most of the refits failed.

        Source: Rubin 1981, The Bayesian bootstrap.
        """
        out = self.refit_draws(self._align(X), num, rng)
        if rough is not None:
            factor = np.linalg.cholesky(self.residual_correlation())
            out = out + self.residual_sd() * np.sqrt(rough) * (rng.standard_normal(out.shape) @ factor.T)
        return out

    def scale(self, X: Any) -> Array | None:
        """(n, T) standard deviation of a new observation at X as the law itself sees it, not calibrated, in units
        of the targets; None for laws that have no idea of it."""
        return None

    def heldout_scale(self) -> Array | None:
        """:meth:`scale` (n, T) at the training rows, each without itself; None for laws that have no idea of it."""
        return None

    def difference_sd(self, A: Array, b: Array) -> Array | None:
        """(n, T) standard deviation of the target without noise at each row of A (n, K) minus that at b (K,), in the
        targets' units; None for laws that have no idea of it (refits are asked then)."""
        return None

    def seed_noise(self) -> Array:
        """(T,) standard deviation between runs of one mixture, in the targets' units: pooled over replicates among the
        training rows, NaN without any (and for a law read from JSON). Families that estimate it otherwise override."""
        if self.training is None:
            return np.full(self.n_targets_, np.nan)
        return replicate_noise(self.training.X, self.training.Y).sd

    # ---- as a function of the mixture --------------------------------------------------------------
    def atoms(self) -> Atoms | None:
        """The law as :class:`Atoms` where it has that form (then the optimum can be certified), else None."""
        return None

    def parameter_slopes(self, X: Any) -> Array | None:
        """d target / d parameter (T, n, P), in the targets' unit per unit of what the fit moves, at X (n, K); None for
        laws that declare no parameters. A law of several laws has theirs side by side."""
        return None

    def gradient(self, X: Any) -> Array:
        """d target / d weight (n, T, K), in the targets' unit per unit of weight, at X (n, K); central differences
        unless the family knows better.

        Raises:
            DataError: X lacks columns that the law was fitted on, or has another number of them.
        """
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

    def meaning(self, parameter: str) -> str:
        """What a parameter of ``parameters_`` is, with its unit; empty where the law does not declare it."""
        return ""

    def summary(self) -> str:
        """What was fitted, in a few readable lines."""
        self._check_fitted()
        return summarize(self)

    # ---- JSON, never pickle ------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Plain data: the registry name, its constructor arguments and everything it learned.

        Raises:
            DataError: an option, or what was learned, is not plain data.
        """
        if type(self).predict_interval is Law.predict_interval:
            self.calibrate()  # a law read back has no rows to calibrate its intervals on
        state = {k: v for k, v in vars(self).items() if k.endswith("_") and not k.startswith("_")}
        # an unregistered law can be hashed and shown, and read back once it is registered under this name
        name = LAWS.name_of(type(self)) or f"{type(self).__module__}:{type(self).__qualname__}"
        return {
            "class": name,
            "params": {k: encode(v, Law) for k, v in self.get_params(deep=False).items()},
            "state": {k: encode(v, Law) for k, v in state.items()},
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Law:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: a law that is not registered here, no law, or a state that no law has.
        """
        lacking = [key for key in ("class", "params", "state") if key not in data]
        if lacking:
            raise DataError(f"This is not a law written by mixlaw: it has no {' and no '.join(map(repr, lacking))}.")
        cls = _class_of(str(data["class"]))
        try:
            law = cls(**{k: decode(v, Law.from_dict) for k, v in data["params"].items()})
            state = law._read_state({k: decode(v, Law.from_dict) for k, v in data["state"].items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"This is not a law {data['class']!r} as mixlaw writes it: {type(error).__name__}: {error}. "
                f"Fit it again, or restore the file from a copy."
            ) from error
        for key, value in state.items():
            if key.startswith("_") or not key.endswith("_"):  # what a law learns ends in "_"; a method does not
                raise DataError(f"The saved law holds {key!r}, which no law learns.")
            setattr(law, key, value)
        return law

    def _read_state(self, state: dict[str, Any]) -> Mapping[str, Any]:
        """Hook: what was saved, as this version's law holds it; override where an earlier version's state differs."""
        return state

    def to_json(self) -> str:
        """The law as JSON text, with the header of a law's file; numbers round-trip exactly."""
        return formats.dumps("law", self.to_dict())

    @staticmethod
    def from_json(text: str | bytes, where: str = "The saved law") -> Law:
        """Inverse of :meth:`to_json`; reads what every earlier version wrote.

        Args:
            where: the file, for messages.

        Raises:
            DataError: another kind of file, a newer format, content altered after it was written, a law that is not
                registered here, or one whose state predicts nothing.
        """
        return formats.made("law", where, _tried, formats.loads("law", text, where))


def _tried(content: Mapping[str, Any]) -> Law:
    """The law of some plain data, asked once for a prediction and its summary: a state that cannot be used is told
    where it is read, with the name of the file, and not wherever it is first used."""
    law = Law.from_dict(content)
    if "feature_names_in_" not in vars(law) or law.kind == "joint":
        return law  # saved before it was fitted; or fitted at each size anew, which takes its time
    asked = copy.deepcopy(law)  # some keep what they work out
    domains = domains_of(law.feature_names_in_)
    row = {name: [1 / len(domains) if name in domains else _TYPICAL[name]] for name in law.feature_names_in_}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            predicted = np.asarray(asked.predict(row), dtype=float)
            asked.predict_interval(row)
            asked.summary()
        except MixlawError:
            return law  # refused in words, as it will be whenever it is asked
    names = law.target_names_
    if not isinstance(names, list | tuple) or len(names) != predicted.size:
        raise DataError(f"The law predicts {predicted.size} numbers, and its targets are {names!r}.")
    return law


def _class_of(name: str) -> type[Law]:
    """The class that a saved law names. Nothing is imported on a file's word: only what the registry holds is found.

    Raises:
        DataError: the registry has no such law.
    """
    if name not in LAWS:
        raise DataError(
            f"The saved law is of the kind {name!r}, which is not registered here. If it is your own, call "
            f"laws.LAWS.register({name!r}, YourLaw) before reading it; known: {', '.join(LAWS)}."
        )
    cls = LAWS[name]
    if not (isinstance(cls, type) and issubclass(cls, Law)):
        raise DataError(f"{name!r} is not a law.")
    return cls

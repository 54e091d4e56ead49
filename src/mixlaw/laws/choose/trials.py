"""Several families fitted to the same runs, each judged by predictions of runs that it had not seen."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError, FitError, MissingExtraError, MixlawWarning
from mixlaw.kit.arrays import Array
from mixlaw.laws.choose.candidates import TREES
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.folds import Ints, replicate_groups
from mixlaw.laws.core.heldout import Predict, heldout_predictions

__all__ = ["Runs", "Trials", "named"]

_FEWEST_UNSEEN = 8  # different mixtures that a fit to part of the runs must not have seen, to be judged by them
_ONE_FOLD_FROM = 3000  # runs from which one fold judges a family that has no held-out predictions of its own
_MOST_PLACES = 200
_WILD = 5.0
"""Ranges of the measured losses beyond their extremes from which a prediction says only that the law explodes."""
_FAR = 1.25  # times the best squared error, on every target: such trees never had a weight that mattered


@dataclass(frozen=True)
class Trials:
    """What became of each family, under its name.

    Args:
        fitted: the laws that could be fitted.
        heldout: (n, T) their held-out predictions, NaN where there are none.
        seconds: how long the fit and the held-out predictions took together.
        failed: why the others could not be fitted, in words.

    Example:
        >>> trials = Trials()
        >>> trials.failed["m4"] = "too few runs"
        >>> list(trials.fitted), list(trials.failed)
        ([], ['m4'])
    """

    fitted: dict[str, Law] = field(default_factory=dict)
    heldout: dict[str, Array] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Runs:
    """The runs that families compete on.

    Args:
        X: (n, K) mixtures.
        Y: (n, T) losses, NaN where not measured.
        weight: (n,) of the runs, >= 0.
        domains, targets: names of the columns of X and of Y.
        seed: of the dealing of runs to folds.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> X = np.random.default_rng(0).dirichlet(np.ones(2), 12)
        >>> runs = Runs(X, 2 + np.exp(-X[:, :1]), np.ones(12), ["web", "code"], ["loss"])
        >>> trials = runs.fit_all({"log_linear": LogLinear()})
        >>> trials.heldout["log_linear"].shape
        (12, 1)
    """

    X: Array
    Y: Array
    weight: Array
    domains: Sequence[str]
    targets: Sequence[str]
    seed: int = 0

    def fit_all(self, laws: Mapping[str, Law], used: Ints | None = None) -> Trials:
        """Each family fitted and judged. One that cannot be fitted does not stop the others.

        Args:
            laws: not fitted yet; they are fitted in place.
            used: indices of the runs to fit to (default: all), for laws that do not draw a part of the runs themselves.
        """
        trials = Trials()
        for name, law in laws.items():
            began = time.perf_counter()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", MixlawWarning)  # what matters is in Auto's notes_, once
                    if name == TREES and self._far_behind(law, trials.heldout):
                        trials.failed[name] = "left out: on the first fold far behind the best family on every target"
                        continue
                    # a law with max_runs draws fewer runs of its own
                    rows = np.arange(len(self.X)) if used is None or "max_runs" in law.get_params() else used
                    self._fit(law, rows)
                    if len(rows) < len(self.X):
                        law.rows_ = rows
                    values = self._heldout_of(law)
            except (FitError, DataError, MissingExtraError) as error:
                trials.failed[name] = f"{type(error).__name__}: {error}"
                continue
            trials.seconds[name] = time.perf_counter() - began
            trials.fitted[name], trials.heldout[name] = law, values
        return trials

    def tame(self, laws: Mapping[str, Law]) -> npt.NDArray[np.bool_]:
        """(F, T) whether a fitted law stays within reach of the measured losses halfway from the runs to pure mixtures.

        The fit to all runs can end in another valley than the fits that held-out runs judged, and explode between the
        runs: no error of theirs shows it.
        """
        rows = np.arange(len(self.X))[:_MOST_PLACES]
        K = self.X.shape[1]
        halfway = 0.5 * (self.X[rows] + np.eye(K)[rows % K])
        low, high = np.nanmin(self.Y, axis=0), np.nanmax(self.Y, axis=0)
        reach = _WILD * np.maximum(high - low, 1e-6 * np.abs(high))
        out = np.empty((len(laws), self.Y.shape[1]), dtype=bool)
        for f, law in enumerate(laws.values()):
            there = np.asarray(law.predict(named(self.domains, halfway))).reshape(len(rows), -1)
            out[f] = ((there >= low - reach) & (there <= high + reach)).all(axis=0)
        return out

    def _fit(self, law: Law, rows: Ints) -> None:
        law.fit(named(self.domains, self.X[rows]), named(self.targets, self.Y[rows]), self.weight[rows])

    def _predict(self, law: Law, rows: Ints) -> Array:
        return np.asarray(law.predict(named(self.domains, self.X[rows]))).reshape(len(rows), -1)

    def _far_behind(self, law: Law, others: Mapping[str, Array]) -> bool:
        """Whether one fold shows that a slow family cannot help: its squared error there is above ``_FAR`` times that
        of the best of the families fitted before, on every target."""
        guess = self._predict_unseen(law, folds=5, most=1)
        held = np.isfinite(guess).any(axis=1)
        best = np.full(self.Y.shape[1], np.inf)
        for values in others.values():
            best = np.fmin(best, np.nanmean((values[held] - self.Y[held]) ** 2, axis=0))
        return bool(np.all(np.nanmean((guess[held] - self.Y[held]) ** 2, axis=0) > _FAR * best))

    def _predict_unseen(self, law: Law, folds: int | None = None, most: int | None = None) -> Array:
        """Predictions (n, T) of rows by clones of ``law`` that had not seen them; NaN beyond ``most`` folds."""

        def refit(rows: Ints, _: Array) -> Predict:
            model = type(law)(**law.get_params(deep=False))
            self._fit(model, rows)
            return lambda held: self._predict(model, held)

        return heldout_predictions(refit, self.X, self.Y, folds=folds, seed=self.seed, partial=False, most=most)

    def _heldout_of(self, law: Law) -> Array:
        """Held-out predictions (n, T): the law's own where it has them of these rows, else by folds; NaN where none."""
        many = len(self.X) > _ONE_FOLD_FROM
        part = law.rows_
        if part is not None:  # it was fitted on a few of many runs: all other mixtures are unseen already
            groups = replicate_groups(self.X)
            unseen = np.flatnonzero(~np.isin(groups, groups[part]))
            if len(np.unique(groups[unseen])) >= _FEWEST_UNSEEN:
                out = np.full(self.Y.shape, np.nan)
                out[unseen] = self._predict(law, unseen)
                return out
            # many seeds of few mixtures: nearly every mixture was among the few runs, so folds must tell
        elif law.heldout_is_cheap or not many:
            own = law.heldout
            if own is not None and own.shape == self.Y.shape:
                return own
        return self._predict_unseen(law, most=1 if many else None)


def named(names: Sequence[str], values: Array) -> dict[str, Array]:
    """Columns of values (n, K) by their names, as a law takes them.

    Example:
        >>> {name: column.tolist() for name, column in named(["web", "code"], np.array([[0.2, 0.8]])).items()}
        {'web': [0.2], 'code': [0.8]}
    """
    return {str(name): values[:, j] for j, name in enumerate(names)}

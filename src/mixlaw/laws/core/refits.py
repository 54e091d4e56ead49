"""Refits of a law: to part of its rows, to reweighted rows, and what they leave unexplained."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, clone

from mixlaw.errors import ConvergenceError, DataError, MixlawWarning, TooFewRunsError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.folds import Ints
from mixlaw.laws.core.heldout import Predict, heldout_predictions
from mixlaw.laws.core.residuals import residual_correlation
from mixlaw.laws.core.table import as_matrix, as_targets

__all__ = ["Refitted", "TrainingRows", "numbered"]


class TrainingRows(NamedTuple):
    """The rows of a fit: ``X`` (n, K) in the order of ``feature_names_in_``, ``Y`` (n, T) with NaN where a target was
    not measured (or is only a bound), and ``weight`` (n,).

    Example:
        >>> from mixlaw.laws import M4
        >>> law = M4().fit([[0.2, 0.8], [0.5, 0.5], [0.8, 0.2], [0.4, 0.6]], [2.9, 2.4, 2.2, 2.5])
        >>> law.training.Y.ravel().tolist()
        [2.9, 2.4, 2.2, 2.5]
    """

    X: Array
    Y: Array
    weight: Array


class Refitted(BaseEstimator):
    """What every :class:`mixlaw.laws.Law` can say by fitting copies of itself, and by its own rows: part of that class.

    The five methods that it needs of a law stand first.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, 3 - np.log(web + 0.1))
        >>> law.refit_draws(law.training.X, 5, np.random.default_rng(0)).shape
        (5, 12, 1)
    """

    feature_names_in_: npt.NDArray[Any]
    target_names_: list[str]
    ridge_: Array | None

    @property
    def training(self) -> TrainingRows | None:
        raise NotImplementedError

    def fit(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None) -> Any:
        raise NotImplementedError

    def _check_fitted(self) -> None:
        raise NotImplementedError

    def _align(self, X: Any) -> Array:
        raise NotImplementedError

    def _predict(self, X: Array) -> Array:
        raise NotImplementedError

    def predict_heldout(
        self,
        X: Any,
        y: Any,
        *,
        folds: int | None = None,
        seed: int = 0,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Array:
        """(n, T) predictions of every row by a clone of this law that was fitted without it and its replicates.

        Args:
            X, y, sample_weight: as for :meth:`fit`.
            folds: how many (default: leave-one-out up to 24 different rows of X, else 5).
            seed: of the dealing of rows to folds.

        Returns:
            NaN for rows of weight 0, and for rows without which the law cannot be fitted.

        Raises:
            NotIdentifiableError, TooFewRunsError: no fold has rows enough for a fit.

        Example:
            >>> from mixlaw import laws
            >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 12)
            >>> laws.LogLinear().predict_heldout(r, 2 + np.exp(-r[:, 0])).shape
            (12, 1)
        """
        (matrix, names), (targets, target_names, _) = as_matrix(X), as_targets(y, True)
        columns = names or [str(n) for n in vars(self).get("feature_names_in_", numbered("x", matrix.shape[1]))]
        outputs = target_names or list(vars(self).get("target_names_", numbered("y", targets.shape[1])))

        def refit(rows: Ints, weight: Array) -> Predict:
            given = {} if (weight == 1).all() else {"sample_weight": weight}
            model = self.copy_to_refit().fit(
                dict(zip(columns, matrix[rows].T)), dict(zip(outputs, targets[rows].T)), **given
            )
            return lambda held: np.asarray(model.predict(dict(zip(columns, matrix[held].T)))).reshape(len(held), -1)

        return heldout_predictions(refit, matrix, targets, folds=folds, seed=seed, sample_weight=sample_weight)

    def refit_draws(self, X: Array, num: int, rng: np.random.Generator) -> Array:
        """(num, n, T): predictions at X (n, K) of refits to the training rows under random weights.

        Raises:
            DataError: a law read from JSON, which has no rows to fit again.
            ConvergenceError: most of the refits failed.
        """
        rows = self._need_rows("sample")
        draws: list[Array] = []
        tried = 0
        while len(draws) < num:
            if tried > 3 * num:
                raise ConvergenceError(
                    f"{type(self).__name__}: of {tried} refits to reweighted runs only {len(draws)} succeeded. "
                    f"Raise ridge, or add runs."
                )
            random = rng.standard_exponential((num - len(draws), len(rows.X)))
            tried += len(random)
            refits = self.reweighted(random / random.mean(axis=1, keepdims=True))
            draws += [law._predict(X) for law in refits if law is not None]
        return np.array(draws)

    def refit_options(self, sample_weight: Array | None = None) -> dict[str, Any]:
        """Options with which a refit keeps what this fit chose: a ridge found by cross-validation (its geometric mean
        over the targets), since choosing it again would cost most of the time.

        Args:
            sample_weight: (n,) weights of the training rows in the refit, for laws whose choice depends on them.
        """
        if self.ridge_ is None or self.get_params(deep=False).get("ridge") != "cv":
            return {}
        return {"ridge": float(np.exp(np.mean(np.log(np.maximum(np.asarray(self.ridge_, dtype=float), 1e-12)))))}

    def copy_to_refit(self) -> Self:
        """A copy, not fitted, for a fit to a part of the rows of which only the predictions are wanted; laws leave out
        there what they say of a fit."""
        return clone(self)

    def reweighted(self, weights: npt.ArrayLike, X: Any = None, y: Any = None) -> list[Self | None]:
        """Copies of this law refitted to its training rows under other weights, with :meth:`refit_options`.

        Args:
            weights: (B, n), >= 0; each multiplies the weights of the fit.
            X, y: other rows than those of the fit, as for :meth:`fit`; a law read from JSON needs them.

        Returns:
            B fitted laws; None for a refit that failed (too few different rows were drawn, or no finite optimum).

        Raises:
            DataError: no rows were given and the law has none.

        Example:
            >>> from mixlaw.laws import LogLinear
            >>> web = np.linspace(0.1, 0.9, 12)
            >>> law = LogLinear().fit({"web": web, "code": 1 - web}, 3 - np.log(web + 0.1))
            >>> len(law.reweighted(np.ones((2, 12))))
            2
        """
        many = np.atleast_2d(np.asarray(weights, dtype=float))
        own = X is None
        if own:
            rows = self._need_rows("reweighted")
            X = dict(zip(map(str, self.feature_names_in_), rows.X.T))
            y = dict(zip(self.target_names_, rows.Y.T))
            many = many * rows.weight
        copies: list[Self | None] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixlawWarning)  # each refit repeats what the fit itself said
            for weight in many:
                refit = self.copy_to_refit().set_params(**self.refit_options(weight if own else None))
                try:
                    copies.append(refit.fit(X, y, sample_weight=weight))
                except (ConvergenceError, TooFewRunsError):
                    copies.append(None)
        return copies

    def residual_sd(self) -> Array:
        """(T,) standard deviation, in the targets' units, of what the fit leaves unexplained of its own rows: seed
        noise, and what the law is too smooth to follow.

        Raises:
            DataError: a law read from JSON, which has no rows.
        """
        return np.asarray(np.sqrt(np.nanmean(self._residuals() ** 2, axis=0)))

    def residual_sd_of(self, weights: npt.ArrayLike) -> float:
        """The same of the weighted sum of targets, weights (T,), in the targets' unit: targets of one run err together.

        Raises:
            DataError: a law read from JSON, which has no rows.
        """
        w = np.asarray(weights, dtype=float)
        used = w != 0
        return float(np.sqrt(np.nanmean((self._residuals()[:, used] @ w[used]) ** 2)))

    def residual_correlation(self) -> Array:
        """(T, T) correlation between the targets of one run of what the fit leaves unexplained.

        Raises:
            DataError: a law read from JSON, which has no rows.
        """
        residual = self._residuals()
        return residual_correlation(residual / np.maximum(np.sqrt(np.nanmean(residual**2, axis=0)), 1e-300))

    def _residuals(self) -> Array:
        rows = self._need_rows("what it leaves unexplained")
        return self._predict(rows.X) - rows.Y

    def _need_rows(self, what: str) -> TrainingRows:
        self._check_fitted()
        if self.training is None:
            raise DataError(
                f"{what} needs the rows the law was fitted on, and a law read from JSON does not carry them. "
                f"Call {what} before saving, or fit again."
            )
        return self.training


def numbered(letter: str, num: int) -> list[str]:
    """Names of the columns of a plain array.

    Example:
        >>> numbered("x", 3)
        ['x0', 'x1', 'x2']
    """
    return [f"{letter}{i}" for i in range(num)]

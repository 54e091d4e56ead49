"""MDE: a Gaussian process over a few trained mixtures, around what a mixture of experts predicts."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mixlaw.data.expert_scores import ExpertScores
from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array, alike
from mixlaw.laws.core.base import Law, TrainingRows
from mixlaw.laws.core.examples import smooth_losses
from mixlaw.laws.core.heldout import heldout_predictions
from mixlaw.laws.core.table import as_targets
from mixlaw.laws.mixture.gaussian_process import GaussianProcess
from mixlaw.laws.mixture.mixmin import MixMin
from mixlaw.laws.process.token_mixture import loss, scaled

__all__ = ["MDE"]

_PRIOR = 1.0
"""Weight of all targets' common slope in each target's own, in targets."""


class MDE(Law):
    """``loss_t(r) = slope_t v_t(r) + process_t(r)``: the value ``v`` of the mixture of one expert per domain
    (:class:`~mixlaw.laws.mixture.mixmin.MixMin`), stretched, is the mean of a
    :class:`~mixlaw.laws.mixture.gaussian_process.GaussianProcess` over trained mixtures.

    The experts say where losses rise and fall; the process corrects them where trained mixtures contradict. The slope
    (below 1 where training on a little of a domain helps more than a little of its expert) is fitted to the trained
    mixtures, each target's own drawn towards that of all.

    Not for: fewer than four trained mixtures (MixMin), or a hundred of them, which need no experts. No certificate: a
    process is not convex.

    X: mixtures (n, K); y: losses (n,) or (n, T) in nats per token, NaN where a target was not measured.

    Args:
        experts: as of MixMin.
        own: which training domain each target is measured on, as of the process.
        seed: of the process' folds and draws.
        draws: as of the process: average draws of its hyperparameters, ten times the time of the rest.

    Attributes:
        parameters_: ``expert_slope`` (T,), of the experts' value, and what the process has.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> p = rng.dirichlet(np.ones(3), 200)  # 200 tokens, three experts
        >>> experts = {"exam": {d: np.log(p[:, i]) for i, d in enumerate(("web", "code", "books"))}}
        >>> r = rng.dirichlet(np.ones(3), 8)
        >>> X = dict(zip(("web", "code", "books"), r.T))
        >>> loss = {"exam": 0.5 - 0.8 * np.log(p @ r.T).mean(axis=0)}
        >>> law = MDE(experts, draws=False).fit(X, loss)
        >>> bool(np.abs(law.predict(X)[:, 0] - loss["exam"]).max() < 0.02)
        True

    Source: Belenki et al. 2025, arXiv:2502.15950 (the value as a feature of a regression on trained mixtures); here as
    a mean of a process, Rasmussen & Williams 2006, section 2.7.
    """

    kind = "mixture"
    name = "mde"
    draws_form = True
    costly = True
    allows_missing = True
    heldout_is_cheap = True
    quick_options = MappingProxyType({"draws": False})
    source = "Belenki et al. 2025, arXiv:2502.15950"
    formula = "L = slope * mixture of experts + Gaussian process"

    def __init__(
        self,
        experts: Mapping[str, Any] | None = None,
        own: Mapping[str, str | Sequence[str] | None] | None = None,
        seed: int = 0,
        draws: bool = True,
    ) -> None:
        self.experts = experts
        self.own = own
        self.seed = seed
        self.draws = draws

    # ---- fitting -------------------------------------------------------------------------------------
    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        for stale in ("_kept", "heldout_values_", "heldout_sd_"):
            self.__dict__.pop(stale, None)
        if self.experts is None:
            raise ConfigError(
                "MDE needs the log-probabilities of one expert per domain (experts=...). In a study, `mixlaw design "
                "--sampler experts --num 8` trains them and a few mixtures, and `mixlaw train` scores them."
            )
        value = self._value(X)
        self.slope_ = _slopes(value, Y, sample_weight)
        self.centre_ = np.average(value, axis=0, weights=sample_weight)
        self.process_ = GaussianProcess(own=self._own(), seed=self.seed, draws=self.draws)
        self.process_.fit(
            dict(zip(map(str, self.feature_names_in_), X.T)),
            dict(zip(self.target_names_, (Y - self._mean(value)).T)),
            sample_weight,
        )
        seen = self.process_.known_runs
        self._training = TrainingRows(seen.X, self._with_mean(seen.Y, seen.X), seen.weight)
        self.rows_ = self.process_.rows_
        self.notes_ = list(self.process_.notes_)
        self.parameters_ = {"expert_slope": self.slope_.tolist(), **self.process_.parameters_}

    def _own(self) -> dict[str, Any] | None:
        """The caller's word on targets that are there."""
        return None if self.own is None else {t: d for t, d in self.own.items() if t in self.target_names_}

    def _value(self, X: Array) -> Array:
        """(n, T) of the mixture of experts."""
        if "_kept" not in self.__dict__:
            plain = MixMin(self.experts)
            plain.feature_names_in_, plain.target_names_ = self.feature_names_in_, self.target_names_
            plain.n_features_in_, plain.n_targets_ = self.n_features_in_, self.n_targets_
            self.__dict__["_kept"] = plain
        found: Array = self.__dict__["_kept"].expert_value(X)
        return found

    def _mean(self, value: Array) -> Array:
        """The process' mean (n, T), zero on average, so that what the process sees keeps the level of the losses."""
        return self.slope_ * (value - self.centre_)

    def _with_mean(self, values: Array, X: Array) -> Array:
        return values + self._mean(self._value(X))

    # ---- asking ----------------------------------------------------------------------------------------
    def _predict(self, X: Array) -> Array:
        return self._with_mean(self.process_._predict(X), X)

    def gradient(self, X: Any) -> Array:
        """d target / d weight (n, T, K), exact."""
        matrix = self._align(X)
        self._value(matrix[:1])
        return self.process_.gradient(matrix) + self.slope_[None, :, None] * self.__dict__["_kept"].expert_slope(matrix)

    def scale(self, X: Any) -> Array:
        """Standard deviation (n, T) of a new observation, as the process sees it (not calibrated)."""
        return self.process_.scale(self._align(X))

    def difference_sd(self, A: Array, b: Array) -> Array:
        """As of the process: the experts' value is taken as known."""
        return self.process_.difference_sd(A, b)

    def sample(self, X: Any, num: int, rng: np.random.Generator, rough: Array | None = None) -> Array:
        """Losses (num, n, T) without noise at mixtures X: draws of the process around its mean."""
        matrix = self._align(X)
        return self.process_.sample(matrix, num, rng, rough) + self._mean(self._value(matrix))

    def seed_noise(self) -> Array:
        """(T,) standard deviation between runs of one mixture."""
        return self.process_.seed_noise()

    def residual_sd(self) -> Array:
        """(T,) what the law leaves unexplained: the noise of the process."""
        return self.process_.residual_sd()

    def residual_sd_of(self, weights: npt.ArrayLike) -> float:
        """The same of the weighted sum of targets, weights (T,)."""
        return self.process_.residual_sd_of(weights)

    def residual_correlation(self) -> Array:
        """Correlation (T, T) between targets of what the law does not know of a run."""
        return self.process_.residual_correlation()

    # ---- how wrong it is -------------------------------------------------------------------------------
    @property
    def known_runs(self) -> TrainingRows:
        """The runs it was fitted on, which are saved with it."""
        process = self.process_
        return TrainingRows(
            process.train_X_, self._with_mean(process.train_Y_, process.train_X_), process.train_weight_
        )

    def calibrate(self) -> None:
        """Held-out predictions: slope and process refitted without each fold; made once, and saved with the law."""
        if "heldout_values_" in vars(self):
            return
        X, Y, weight = self.known_runs

        def refit(rows: Any, w: Array) -> Any:
            model = self.copy_to_refit().set_params(draws=False)
            model.fit(
                dict(zip(map(str, self.feature_names_in_), X[rows].T)), dict(zip(self.target_names_, Y[rows].T)), w
            )
            return lambda held: np.stack([model._predict(X[held]), model.process_.scale(X[held])], axis=-1)

        both = heldout_predictions(refit, X, Y, seed=self.seed, sample_weight=weight)
        self.heldout_values_, self.heldout_sd_ = both[..., 0], both[..., 1]
        with np.errstate(invalid="ignore"):
            ratio = np.abs(Y - self.heldout_values_) / self.heldout_sd_
        self.stretch_ = np.sort(ratio[np.isfinite(ratio)])

    @property
    def heldout(self) -> Array:
        """(n, T) predictions of the training rows used, each without itself; NaN where not measured."""
        self.calibrate()
        return self.heldout_values_

    def heldout_scale(self) -> Array:
        """(n, T) standard deviations of the training rows used, each without itself."""
        self.calibrate()
        return self.heldout_sd_

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """Ends of an interval for a new observation: the process' own sd, stretched to cover held-out rows.

        Raises:
            ConfigError: ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ConfigError(f"level={level!r} must lie between 0 and 1, for example 0.9.")
        matrix = self._align(X)
        self.calibrate()
        n = len(self.heldout_values_)
        stretch = float(np.quantile(self.stretch_, min(1.0, level * (1 + 1 / n)), method="higher"))
        mean, half = self._predict(matrix), stretch * self.process_.scale(matrix)
        low, high = mean - half, mean + half
        return (low[:, 0], high[:, 0]) if self.single_target_ else (low, high)

    def reweighted(self, weights: npt.ArrayLike, X: Any = None, y: Any = None) -> list[Self | None]:
        """Copies under other weights (B, n) of the training rows; slope and hyperparameters are kept. Other rows than
        its own are fitted anew."""
        many = np.atleast_2d(np.asarray(weights, dtype=float))
        rows = self.known_runs
        other_rows = X is not None and not (
            alike(self._align(X), rows.X) and alike(as_targets(y, allow_missing=True)[0], rows.Y)
        )
        if other_rows or many.shape[1] != len(rows.X):
            return super().reweighted(many, X, y)
        copies: list[Self | None] = []
        for process in self.process_.reweighted(many):
            if process is None:
                copies.append(None)
                continue
            other = copy.copy(self)
            for name in ("heldout_values_", "heldout_sd_", "stretch_", "_heldout", "_training"):
                other.__dict__.pop(name, None)
            other.process_ = process
            copies.append(other)
        return copies

    # ---- what the contract test simulates ---------------------------------------------------------------
    @classmethod
    def examples(cls) -> list[Any]:
        """The experts of MixMin's example."""
        return [cls(MixMin.examples()[0].experts)]

    def example_losses(self, X: Mapping[str, npt.ArrayLike]) -> Array:
        """A stretched mixture of the example's experts and a smooth surface."""
        scores = ExpertScores.unpacked(self.experts or {})
        R = np.column_stack([np.asarray(X[d], dtype=float) for d in scores.domains])
        return 0.7 * loss(*scaled(scores.logprobs["y0"]), R) + 0.3 * smooth_losses(X)

    @property
    def unit_free(self) -> bool:
        """No: the experts' log-probabilities are in nats."""
        return False


def _slopes(value: Array, Y: Array, weight: Array) -> Array:
    """(T,) least-squares slopes of losses in the experts' value, each drawn towards that of all targets, and that
    towards 1; never negative.

    Example:
        >>> v = np.array([[1.0], [2.0], [3.0]])
        >>> _slopes(v, 0.5 * v + 1, np.ones(3)).round(2).tolist()  # drawn towards 1
        [0.54]
    """
    seen = np.isfinite(Y) * weight[:, None]
    total = np.maximum(seen.sum(axis=0), 1e-300)
    v = value - (seen * value).sum(axis=0) / total
    y = np.nan_to_num(Y) - (seen * np.nan_to_num(Y)).sum(axis=0) / total
    vv, vy = (seen * v * v).sum(axis=0), (seen * v * y).sum(axis=0)
    everywhere, average = vv.sum(), vv.mean()
    if everywhere <= 0:
        return np.ones(Y.shape[1])
    common = (vy.sum() + 0.2 * average) / (everywhere + 0.2 * average)
    return np.maximum((vy + _PRIOR * average * common) / (vv + _PRIOR * average), 0.0)

"""MixMin: the loss of a mixture as that of the mixture of one expert per domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.expert_scores import ExpertScores
from mixlaw.errors import ConfigError, DataError, TooFewRunsError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.examples import DOMAINS
from mixlaw.laws.core.folds import count_different, replicate_groups
from mixlaw.laws.core.intervals import check_level
from mixlaw.laws.core.table import as_targets
from mixlaw.laws.process.token_mixture import Minimum, loss, minimise, scaled, slope

__all__ = ["MixMin"]

_ENOUGH = 4
"""Trained mixtures from which an interval is calibrated on them."""


class MixMin(Law):
    """``loss_t(r) = shift_t - mean_x log sum_k r_k p_k(x)``: one expert per domain gives each token x of the set t the
    probability p_k(x), and a mixture of domains is taken to do what the same mixture of experts does. Convex in r.

    Nothing of the surface is fitted: K runs, one per domain, give it whole. The runs that it is fitted to say only at
    which level it lies (``shift``) and how far it is off. It cannot see transfer between domains, nor what a model of
    limited size loses by learning several, since every expert was trained alone. Runs of a single domain show none
    of that and do not count. With fewer than four trained mixtures no error is known: intervals are then as wide as
    the whole difference between the best and the worst expert of a set, and the notes say so.

    Not for: mixtures whose worth lies in transfer, levels of loss without trained mixtures, and domains without an
    expert. As the prior mean of a Gaussian process over a few trained mixtures see
    :class:`~mixlaw.laws.mixture.mde.MDE`.

    X: mixtures (n, K); y: losses (n,) or (n, T) in nats per token, NaN where a target was not measured.

    Args:
        experts: the experts' log-probabilities, ``{target: {domain: (num_tokens,)}}`` or what
            :meth:`~mixlaw.data.expert_scores.ExpertScores.packed` gives (a study brings them itself).

    Attributes:
        parameters_: ``shift`` (T,), nats by which trained mixtures lie above (+) the mixture of experts, and ``expert``
            (T, K), each expert's own loss.

    Example:
        >>> p = np.array([[0.4, 0.1], [0.4, 0.1], [0.1, 0.5]])  # three tokens, two experts
        >>> experts = {"exam": {"web": np.log(p[:, 0]), "code": np.log(p[:, 1])}}
        >>> law = MixMin(experts).fit({"web": [1.0, 0.0], "code": [0.0, 1.0]}, {"exam": [1.3783, 1.7661]})
        >>> round(float(law.predict({"web": [0.5], "code": [0.5]})[0, 0]), 4)
        1.3255

    Source: Thudi et al. 2025, arXiv:2502.10510.
    """

    kind = "mixture"
    name = "mixmin"
    allows_missing = True
    convex = True
    heldout_is_cheap = True
    source = "Thudi et al. 2025, arXiv:2502.10510"
    formula = "L = shift - mean_x log sum_k r_k p_k(x)"

    def __init__(self, experts: Mapping[str, Any] | None = None) -> None:
        self.experts = experts

    # ---- fitting -------------------------------------------------------------------------------------
    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        self.__dict__.pop("_kept", None)
        if len(X) < 2:
            raise TooFewRunsError("MixMin was given one run. Give it the runs of the experts themselves, or mixtures.")
        self._sets()  # refuses experts that are missing
        value = self.expert_value(X)
        mixed = (X > 1e-6).sum(axis=1) > 1
        used = (mixed & (sample_weight > 0))[:, None] & np.isfinite(Y)
        self.num_mixtures_ = count_different(X[mixed & (sample_weight > 0)]) if mixed.any() else 0
        weight = np.where(used, sample_weight[:, None], 0.0)
        error = np.where(used, Y - value, 0.0)
        total = weight.sum(axis=0)
        self.shift_ = np.where(total > 0, (weight * error).sum(axis=0) / np.maximum(total, 1e-300), 0.0)
        own = np.array([-logs.mean(axis=0) for logs in self._logprobs()])
        self.spread_ = np.ptp(own, axis=1)
        self.parameters_ = {"shift": self.shift_.tolist(), "expert": own.tolist()}
        self.notes_ = [self.caution] if self.caution else []

    @property
    def calibrated(self) -> bool:
        """Whether enough mixtures were trained for its error to be known."""
        return bool(self.num_mixtures_ >= _ENOUGH)

    @property
    def caution(self) -> str:
        """That no error is known, where too few mixtures were trained."""
        if self.calibrated:
            return ""
        trained = f"Only {self.num_mixtures_} trained mixtures" if self.num_mixtures_ else "No trained mixture"
        return (
            f"{trained}: how far a mixture of experts is from a model trained on the "
            f"mixture is not known, and it cannot see transfer between domains. Intervals are as wide as the whole "
            f"difference between the best and the worst expert (up to {self.spread_.max():.3g} nats), by convention "
            f"and not by measurement. Train {_ENOUGH} mixtures or more beside the experts."
        )

    def _logprobs(self) -> list[Array]:
        if self.experts is None:
            raise ConfigError(
                "MixMin needs the log-probabilities of one expert per domain (experts=...). In a study, "
                "`mixlaw design --sampler experts` trains them and `mixlaw train` scores them."
            )
        scores = ExpertScores.unpacked(self.experts)
        names = [str(n) for n in self.feature_names_in_]
        if all(n == f"x{i}" for i, n in enumerate(names)) and len(names) == len(scores.domains):
            names = list(scores.domains)  # a plain array: columns in the experts' order
        return scores.of(names, self.target_names_)

    def _sets(self) -> list[tuple[Array, float]]:
        """What is mixed, for each target; kept, as an optimiser asks thousands of times."""
        if "_kept" not in self.__dict__:
            self.__dict__["_kept"] = [scaled(logs) for logs in self._logprobs()]
        found: list[tuple[Array, float]] = self.__dict__["_kept"]
        return found

    def expert_value(self, X: Array) -> Array:
        """(n, T) losses of the mixture of experts itself, without the shift, at X (n, K)."""
        return np.column_stack([loss(ratios, level, X) for ratios, level in self._sets()])

    def expert_slope(self, X: Array) -> Array:
        """(n, T, K) d :meth:`expert_value` / d weight."""
        return np.stack([slope(ratios, X) for ratios, _ in self._sets()], axis=1)

    # ---- asking ----------------------------------------------------------------------------------------
    def _predict(self, X: Array) -> Array:
        return self.expert_value(X) + self.shift_

    def gradient(self, X: Any) -> Array:
        """d target / d weight (n, T, K), exact."""
        return self.expert_slope(self._align(X))

    def minimum(self, objective: Mapping[str, float] | None = None) -> Minimum:
        """The mixture of least weighted mean loss over all mixtures, without a budget: weights (K,), the loss, and a
        bound on how far it is above the least.

        Args:
            objective: weights of the targets (default: all alike).

        Raises:
            DataError: the law does not predict a target, or no weight is positive.
        """
        self._check_fitted()
        given = dict.fromkeys(self.target_names_, 1.0) if objective is None else dict(objective)
        wrong = [name for name in given if name not in self.target_names_]
        weights = np.array([max(float(given.get(name, 0.0)), 0.0) for name in self.target_names_])
        if wrong or not weights.any():
            raise DataError(f"The objective {given} must weigh some of {self.target_names_}, and nothing else.")
        found = minimise(self._sets(), weights)
        level = weights @ self.shift_ / weights.sum()
        return Minimum(found.weights, float(found.loss + level), found.gap)

    # ---- how wrong it is -------------------------------------------------------------------------------
    @property
    def heldout(self) -> Array | None:
        """(n, T) predictions of the training rows with a shift that had not seen them or their replicates; NaN for runs
        of a single domain, which say nothing of mixtures."""
        if self._heldout is None and self.training is not None:
            self._heldout = self._without_each(*self.training)
        return self._heldout

    def _without_each(self, X: Array, Y: Array, weight: Array) -> Array:
        value, groups = self.expert_value(X), replicate_groups(X)
        mixed = ((X > 1e-6).sum(axis=1) > 1) & (weight > 0)
        out = np.full(Y.shape, np.nan)
        for i in np.flatnonzero(mixed):
            others = mixed & (groups != groups[i])
            w = weight[others][:, None] * np.isfinite(Y[others])
            total = w.sum(axis=0)
            shift = np.where(w > 0, w * (np.nan_to_num(Y[others]) - value[others]), 0.0).sum(axis=0)
            out[i] = np.where(total > 0, value[i] + shift / np.maximum(total, 1e-300), np.nan)
        return out

    def predict_heldout(
        self, X: Any, y: Any, *, folds: int | None = None, seed: int = 0, sample_weight: npt.ArrayLike | None = None
    ) -> Array:
        """As :meth:`mixlaw.laws.Law.predict_heldout`; a fitted law leaves out one mixture at a time whatever ``folds``
        are, since that takes no refit, and says nothing of runs of a single domain (NaN)."""
        if not self.fitted:
            return super().predict_heldout(X, y, folds=folds, seed=seed, sample_weight=sample_weight)
        matrix, targets = self._align(X), as_targets(y, True)[0]
        weight = np.ones(len(matrix)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
        return self._without_each(matrix, targets, weight)

    def calibrate(self) -> None:
        """Nothing where too few mixtures were trained; see :meth:`mixlaw.laws.Law.calibrate`."""
        if self.conformal_ is None and self.training is not None and self.calibrated:
            held = self.heldout
            assert held is not None
            self._calibrate_to(held)

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """Ends of an interval for a new observation: from the errors of trained mixtures, or by convention where there
        are too few (see :attr:`calibrated`).

        Raises:
            ConfigError: ``level`` is not between 0 and 1.
        """
        check_level(level)
        self._check_fitted()
        if self.calibrated:
            return super().predict_interval(X, level)
        mean = self._predict(self._align(X))
        half = self.spread_ * level / 0.9
        low, high = mean - half, mean + half
        return (low[:, 0], high[:, 0]) if self.single_target_ else (low, high)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, calibrated: a law read back has no rows to calibrate its intervals on."""
        self.calibrate()
        return super().to_dict()

    # ---- what the contract test simulates ---------------------------------------------------------------
    @classmethod
    def examples(cls) -> list[Any]:
        """Four experts on 300 tokens."""
        return [cls(_example_experts())]

    def example_losses(self, X: Mapping[str, npt.ArrayLike]) -> Array:
        """A mixture of the example's experts, 0.2 nats higher."""
        scores = ExpertScores.unpacked(self.experts or {})
        R = np.column_stack([np.asarray(X[d], dtype=float) for d in scores.domains])
        return loss(*scaled(scores.logprobs["y0"]), R) + 0.2

    @property
    def unit_free(self) -> bool:
        """No: the experts' log-probabilities are in nats."""
        return False


def _example_experts() -> dict[str, Any]:
    rng = np.random.default_rng(11)
    logs = -rng.gamma(2.0, 1.0, (300, len(DOMAINS)))
    return ExpertScores(DOMAINS, dict.fromkeys(("y0", "first", "second"), logs)).packed()

"""A law linear in the logarithms of shares: the cheap one that small proxies often obey."""

from __future__ import annotations

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.fit.engine import Ints, Separable
from mixlaw.laws.fit.mixture_law import ParametricLaw
from mixlaw.laws.fit.shared_prior import TARGET, Comparable
from mixlaw.laws.fit.starts import resize_starts

__all__ = ["LogLinear", "LogModel"]


class LogModel(Separable):
    """``b + sum_j b_j log(r_j + eps)``, eps = exp(theta_0), centred on its value at the training mean."""

    num_params = 1

    def __init__(self, X: Array, mean: Array) -> None:
        self.X, self.mean = X, mean
        self.num_linear = X.shape[1]

    def basis(self, theta: Array, problem: Ints) -> Array:
        eps = np.exp(theta)[:, :, None]
        return np.log(self.X[None] + eps) - np.log(self.mean + eps)

    def tangent(self, theta: Array, problem: Ints, phi: Array, coef: Array) -> Array:
        eps = np.exp(theta)[:, :, None]
        slope = eps / (self.X[None] + eps) - eps / (self.mean + eps)
        return np.matmul(slope, coef[:, :, None])


class LogLinear(ParametricLaw):
    """``L_t(r) = c_t + sum_j b_tj log(r_j + eps_t)``

    A power law in every share, to first order; diminishing returns at every scale. Each ``b`` has either sign:
    negative means the domain helps. The ridge on ``b`` is chosen by held-out error.

    Parameters:
        c: constant in nats (T,).
        b: nats gained per factor e of the domain's share (T, K).
        eps: share below which a domain no longer counts less (T,).

    Do not use it where doubling a large share saturates, or to extrapolate to zero shares far below those tried:
    the value there is set by ``eps``.

    Source: no paper ("linear in log(r + eps)"). The exact law of a
    unigram learner over disjoint vocabularies is this one with b = -1 for the target's own domain.
    """

    name = "log_linear"
    source = "linear in log(r + eps); no paper (docs/laws/mixture.md)"
    formula = "L = c + sum_j b_j log(r_j + eps)"
    ridge_grid = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)

    def _model(self, X: Array) -> LogModel:
        return LogModel(X, self.centre_)

    def _starts(self, X: Array, Y: Array, W: Array) -> Array:
        eps = np.log([3e-4, 3e-3, 3e-2, 0.3])
        return resize_starts(np.broadcast_to(eps[None, :, None], (Y.shape[1], 4, 1)), self.num_starts, 1.0, self.seed)

    def _prior(self) -> tuple[Array, Array]:
        return np.full((self.n_targets_, 1), np.log(0.01)), np.full((self.n_targets_, 1), 0.1)

    def _linear_pattern(self) -> Array:
        return np.ones(self.n_features_in_)

    def _bounds(self) -> tuple[float, float]:
        return float(np.log(1e-6)), float(np.log(10.0))

    def _comparable(self) -> Comparable:
        return Comparable(np.array([TARGET]), np.arange(self.n_features_in_))

    def _num_free(self) -> int:
        return self.n_features_in_ + 2

    def _describe(self, theta: Array, linear: Array) -> dict[str, Array]:
        eps = np.exp(theta)
        shift = (linear[:, 1:] * np.log(self.centre_ + eps)).sum(axis=1)
        return {"c": linear[:, 0] - shift, "b": linear[:, 1:], "eps": eps[:, 0]}

    def atoms(self) -> Atoms:
        self._check_fitted()
        T, K = self.n_targets_, self.n_features_in_
        eps = np.exp(self.theta_)
        b = self.linear_[:, 1:]
        return Atoms(
            const=self.linear_[:, 0] - (b * np.log(self.centre_ + eps)).sum(axis=1),
            target=np.repeat(np.arange(T), K),
            kind=np.full(T * K, "log"),
            scale=b.reshape(-1).copy(),
            linear=np.tile(np.eye(K), (T, 1)),
            offset=np.repeat(eps[:, 0], K),
            exponent=np.zeros(T * K),
        )

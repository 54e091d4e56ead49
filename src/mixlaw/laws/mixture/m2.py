"""M2 of Data Mixing Laws: one amplitude for the sum of each domain's exponential."""

from __future__ import annotations

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.fit.engine import Ints, Separable
from mixlaw.laws.fit.mixture_law import ParametricLaw
from mixlaw.laws.fit.shared_prior import SKIP, Comparable
from mixlaw.laws.fit.starts import log_excess_slopes, resize_starts

__all__ = ["M2", "SharedAmplitudeModel"]

_STEEP = 30.0


class SharedAmplitudeModel(Separable):
    """``b + c sum_j exp(t_j r_j)``."""

    num_linear = 1

    def __init__(self, X: Array) -> None:
        self.X = X
        self.num_params = X.shape[1]

    def basis(self, theta: Array, problem: Ints) -> Array:
        return np.exp(theta[:, None, :] * self.X[None]).sum(axis=2, keepdims=True)

    def tangent(self, theta: Array, problem: Ints, phi: Array, coef: Array) -> Array:
        return coef[:, :, None] * self.X[None] * np.exp(theta[:, None, :] * self.X[None])


class M2(ParametricLaw):
    """``L_t(r) = c_t + k_t sum_j exp(t_tj r_j)``

    Parameters:
        c: constant in nats (T,).
        k: amplitude shared by all domains (T,); positive makes the target convex.
        t: rate of each domain (T, K).

    Do not use it as a predictor without comparing: domains that hardly matter must still carry the shared
    amplitude, and the paper found its error up to ten times M4's. Kept as the paper's own control.

    Source: Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952 (candidate M2).
    """

    name = "m2"
    source = "Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952 (M2)"
    formula = "L = c + k sum_j exp(t_j r_j)"

    def _model(self, X: Array) -> SharedAmplitudeModel:
        return SharedAmplitudeModel(X)

    def _starts(self, X: Array, Y: Array, W: Array) -> Array:
        slopes, _ = log_excess_slopes(X, Y, np.array([0.1, 0.5, 2.0, 10.0, -0.5, -5.0]))
        return resize_starts(slopes, self.num_starts, 1.0, self.seed)

    def _prior(self) -> tuple[Array, Array]:
        shape = (self.n_targets_, self.n_features_in_)
        return np.zeros(shape), np.ones(shape)

    def _bounds(self) -> tuple[float, float]:
        return -_STEEP, _STEEP

    def _linear_pattern(self) -> Array:
        return np.array([0.05])  # else a tiny rate with a huge amplitude escapes the ridge

    def _comparable(self) -> Comparable:
        return Comparable(np.arange(self.n_features_in_), np.array([SKIP]), mirrored=True)

    def _num_free(self) -> int:
        return self.n_features_in_ + 2

    def _describe(self, theta: Array, linear: Array) -> dict[str, Array]:
        return {"c": linear[:, 0], "k": linear[:, 1], "t": theta}

    def atoms(self) -> Atoms:
        self._check_fitted()
        T, K = self.theta_.shape
        return Atoms(
            const=self.linear_[:, 0].copy(),
            target=np.repeat(np.arange(T), K),
            kind=np.full(T * K, "exp"),
            scale=np.repeat(self.linear_[:, 1], K),
            linear=(self.theta_[:, :, None] * np.eye(K)).reshape(T * K, K),
            offset=np.zeros(T * K),
            exponent=np.zeros(T * K),
        )

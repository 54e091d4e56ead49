"""A law linear in the logarithms of shares: the cheap one that small proxies often obey."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.core.parameters import Free, Positive
from mixlaw.laws.fit.levenberg import Ints
from mixlaw.laws.fit.mixture_law import MixtureLaw
from mixlaw.laws.fit.separable import Separable
from mixlaw.laws.fit.starts import resize_starts

__all__ = ["LogLinear", "LogModel"]


class LogModel(Separable):
    """``b + sum_j b_j log(r_j + eps)``, eps = exp(theta_0), centred on its value at the training mean.

    Args:
        X: (n, K) mixtures. mean: (K,) of the training runs.

    Example:
        >>> X = np.array([[0.2, 0.8], [0.6, 0.4]])
        >>> model = LogModel(X, X.mean(axis=0))
        >>> model.basis(np.array([[np.log(0.01)]]), np.zeros(1, int)).round(3).tolist()
        [[[-0.669, 0.284], [0.397, -0.397]]]
    """

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


class LogLinear(MixtureLaw):
    """``L_t(r) = c_t + sum_j b_tj log(r_j + eps_t)``

    A power law in every share, to first order; diminishing returns at every scale. Each ``b`` has either sign:
    negative means the domain helps. The ridge on ``b`` is chosen by held-out error.

    Parameters:
        c: constant in nats (T,).
        b: nats gained per factor e of the domain's share (T, K).
        eps: share below which a domain no longer counts less (T,).

    Do not use it where doubling a large share saturates, or to extrapolate to zero shares far below those tried:
    the value there is set by ``eps``.

    X: mixtures (n, K), weights as shares of the training tokens; y: losses (n,) or (n, T) in nats per token, NaN where
    a target was not measured. Options and errors: see :class:`mixlaw.laws.fit.mixture_law.MixtureLaw`.

    Example:
        >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 30)
        >>> law = LogLinear().fit(r, 2 - 0.3 * np.log(r[:, 0] + 0.01))
        >>> np.round(law.parameters_["b"], 2).tolist()
        [[-0.3, 0.0, 0.0]]

    Source: no paper ("linear in log(r + eps)"). The exact law of a
    unigram learner over disjoint vocabularies is this one with b = -1 for the target's own domain.
    """

    name = "log_linear"
    parameters = {
        "c": Free(2.0, "constant, nats"),
        "b": Free((-0.3, -0.05, -0.1), "change in nats when a share grows by the factor e", per="domain"),
        "eps": Positive(0.01, "share below which a domain counts no less", low=1e-6, high=10.0),
    }
    intercept = "c"
    amplitudes = ("b",)
    source = "linear in log(r + eps); no paper (docs/laws/mixture.md)"
    rival = True
    formula = "L = c + sum_j b_j log(r_j + eps)"
    ridge_grid = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)

    def loss(self, p: SimpleNamespace, R: Array) -> Array:
        """Losses (B, n) in nats at mixtures R (n, K); parameters: c and eps (B, 1), b (B, K)."""
        return p.c + (p.b[:, None, :] * np.log(R + p.eps[:, :, None])).sum(axis=2)

    def model(self, R: Array) -> LogModel:
        return LogModel(R, self.centre_)

    def starts(self, R: Array, Y: Array, W: Array) -> Array:
        eps = np.log([3e-4, 3e-3, 3e-2, 0.3])
        return resize_starts(np.broadcast_to(eps[None, :, None], (Y.shape[1], 4, 1)), self.num_starts, 1.0, self.seed)

    def pull_amplitudes(self) -> Array:
        return np.ones(self.n_features_in_)

    def report(self, theta: Array, linear: Array) -> dict[str, Array]:
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

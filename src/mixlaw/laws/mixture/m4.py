"""M4, the exponential law of Data Mixing Laws: one exponential of a weighted sum of all domains' shares."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.core.parameters import Free
from mixlaw.laws.fit.levenberg import Ints
from mixlaw.laws.fit.mixture_law import MixtureLaw
from mixlaw.laws.fit.separable import Factors, Separable
from mixlaw.laws.fit.starts import log_excess_slopes, resize_starts

__all__ = ["M4", "ExponentialModel"]

_FAR = 200.0  # exponents are cut here: far beyond every optimum, and exp(2 * 200) is still a number


class ExponentialModel(Separable):
    """``b + c exp(t . (r - rbar))``; rbar is the training mean, so c is the amplitude at the mean mixture.

    Args:
        X: (n, K) mixtures. mean: (K,) of the training runs.

    Example:
        >>> X = np.array([[0.2, 0.8], [0.6, 0.4]])
        >>> model = ExponentialModel(X, X.mean(axis=0))
        >>> model.basis(np.array([[-2.0, 0.0]]), np.zeros(1, int)).round(3).ravel().tolist()  # exp(0.4) and exp(-0.4)
        [1.492, 0.67]
    """

    num_linear = 1

    def __init__(self, X: Array, mean: Array) -> None:
        self.Z = X - mean
        self.num_params = X.shape[1]

    def basis(self, theta: Array, problem: Ints) -> Array:
        return np.exp(np.clip(theta @ self.Z.T, -_FAR, _FAR))[:, :, None]

    def tangent(self, theta: Array, problem: Ints, phi: Array, coef: Array) -> Array:
        return (coef[:, :1] * phi[:, :, 0])[:, :, None] * self.Z[None]

    def factored(self, theta: Array, phi: Array, coef: Array) -> Factors:
        return Factors(coef[:, :1] * phi[:, :, 0], self.Z)


class M4(MixtureLaw):
    """``L_t(r) = c_t + k_t exp(sum_j t_tj r_j)``

    The law Data Mixing Laws recommends: every domain moves every target through one exponential. On a simplex
    adding a constant to all ``t_tj`` only rescales ``k_t``; reported ``t`` have mean zero over domains where all
    mixtures sum to one (else they are what the ridge makes smallest), and ``k`` goes with them.

    Parameters:
        c: loss in nats when the exponential has died out (T,).
        k: amplitude (T,); positive makes the target convex in the mixture, so its optimum can be certified.
        t: effect of each domain (T, K); more negative: more of that domain lowers the loss more.

    Do not use it where a domain's effect saturates at its own pace (each target has one curvature), or at
    zero shares of the target's own domain, its worst-fitted region.

    X: mixtures (n, K), weights as shares of the training tokens; y: losses (n,) or (n, T) in nats per token, NaN where
    a target was not measured. Options and errors: see :class:`mixlaw.laws.fit.mixture_law.MixtureLaw`.

    Example:
        >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 30)
        >>> law = M4().fit(r, 1.5 + 0.8 * np.exp(r @ [-1.5, 1.0, -0.4]))
        >>> np.round(law.parameters_["t"], 1).tolist()
        [[-1.2, 1.3, -0.1]]

    Source: Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952.
    """

    name = "m4"
    parameters = {
        "c": Free(1.5, "loss when the exponential has died out, nats"),
        "k": Free(0.8, "amplitude, nats"),
        "t": Free((-1.5, 1.0, -0.4), "effect of each domain", per="domain"),
    }
    intercept = "c"
    amplitudes = ("k",)
    irreducible = "c"
    source = "Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952"
    rival = True
    tells_equal_fits = True
    formula = "L = c + k exp(sum_j t_j r_j)"

    def loss(self, p: SimpleNamespace, R: Array) -> Array:
        """Losses (B, n) in nats at mixtures R (n, K); parameters: c and k (B, 1), t (B, K)."""
        return p.c + p.k * np.exp(p.t @ R.T)

    def model(self, R: Array) -> ExponentialModel:
        return ExponentialModel(R, self.centre_)

    def starts(self, R: Array, Y: Array, W: Array) -> Array:
        above = np.array([0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0, -0.2, -1.0, -5.0])
        slopes, _ = log_excess_slopes(R, Y, above)
        starts = resize_starts(slopes, self.num_starts, 1.0, self.seed)
        return starts - starts.mean(axis=2, keepdims=True)  # where the ridge ends up; nothing else decides it

    def num_free(self) -> int:
        return self.n_features_in_ + 1  # on a simplex a constant in all rates and the amplitude are one number

    def report(self, theta: Array, linear: Array) -> dict[str, Array]:
        t = theta - theta.mean(axis=1, keepdims=True) if self.simplex_ else theta
        return {"c": linear[:, 0], "k": linear[:, 1] * np.exp(-t @ self.centre_), "t": t}

    def atoms(self) -> Atoms:
        self._check_fitted()
        T = self.n_targets_
        return Atoms(
            const=self.linear_[:, 0].copy(),
            target=np.arange(T),
            kind=np.full(T, "exp"),
            scale=self.linear_[:, 1].copy(),
            linear=self.theta_.copy(),
            offset=-self.theta_ @ self.centre_,
            exponent=np.zeros(T),
        )

"""M1 of Data Mixing Laws: a separate exponential in each domain's share, added up."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.core.parameters import Free
from mixlaw.laws.fit.levenberg import Ints
from mixlaw.laws.fit.mixture_law import MixtureLaw
from mixlaw.laws.fit.separable import Separable
from mixlaw.laws.fit.starts import log_excess_slopes, resize_starts

__all__ = ["M1", "ExponentialSumModel"]

_STEEP = 30.0
_GROWTH = 3.0  # a steep growing exponential explodes at the first larger share
_FLAT = 1e-3  # an exponential flatter than this is a straight line; its amplitude b / t is kept finite


class ExponentialSumModel(Separable):
    """``b0 + sum_j b_j (exp(t_j r_j) - 1) / t_j``: b_j is the slope at r_j = 0, well defined as t_j -> 0.

    Args:
        X: (n, K) mixtures.

    Example:
        >>> X = np.array([[0.2, 0.8], [0.6, 0.4]])
        >>> phi = ExponentialSumModel(X).basis(np.array([[1.0, 1e-9]]), np.zeros(1, int))
        >>> phi.round(3).tolist()  # exp(r) - 1, and r itself as t -> 0
        [[[0.221, 0.8], [0.822, 0.4]]]
    """

    def __init__(self, X: Array) -> None:
        self.X = X
        self.num_params = self.num_linear = X.shape[1]

    def basis(self, theta: Array, problem: Ints) -> Array:
        t = _away_from_zero(theta)[:, None, :]
        return np.expm1(t * self.X[None]) / t

    def tangent(self, theta: Array, problem: Ints, phi: Array, coef: Array) -> Array:
        t = _away_from_zero(theta)[:, None, :]
        u = t * self.X[None]
        # d/dt (e^u - 1)/t = (r e^u - phi)/t, whose series near 0 is r^2/2 + r^3 t/3
        near = np.abs(u) < 1e-4
        exact = (self.X[None] * np.exp(u) - phi) / t
        series = self.X[None] ** 2 * (0.5 + u / 3.0)
        return coef[:, None, :] * np.where(near, series, exact)


def _away_from_zero(t: Array) -> Array:
    return np.where(np.abs(t) < 1e-9, 1e-9, t)


class M1(MixtureLaw):
    """``L_t(r) = c_t + sum_j k_tj exp(t_tj r_j)``

    Each domain acts on each target through its own exponential: 2K + 1 parameters per target, so it needs more
    runs than M4 and says more. Because shares sum to one, the flat part of every exponential can be traded
    against ``c``; a ridge on slopes and rates decides among equals.

    Parameters:
        c: constant in nats (T,).
        k: amplitude of each domain's exponential (T, K). Negative together with a positive rate means the
            loss falls ever faster, and the law is then not convex.
        t: rate of each domain (T, K).
        slope: ``k t``, the effect of the first bit of a domain (T, K).

    Do not use it with fewer than about 2K mixtures, or where domains act together (one helps only where another
    is scarce): it is additive.

    X: mixtures (n, K), weights as shares of the training tokens; y: losses (n,) or (n, T) in nats per token, NaN where
    a target was not measured. Options and errors: see :class:`mixlaw.laws.fit.mixture_law.MixtureLaw`.

    Example:
        >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 30)
        >>> loss = 2.0 + np.exp(-3 * r).sum(axis=1)
        >>> law = M1().fit(r[:20], loss[:20])
        >>> bool(np.abs(law.predict(r[20:]) - loss[20:]).max() < 0.01)
        True

    Source: Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952 (candidate M1).
    """

    name = "m1"
    parameters = {
        "c": Free(2.0, "constant, nats"),
        "k": Free((0.4, 0.8, 0.1), "amplitude of each domain's exponential, nats", per="domain"),
        "t": Free((-2.0, -5.0, -1.0), "rate of each domain", per="domain", low=-_STEEP, high=_GROWTH),
    }
    intercept = "c"
    amplitudes = ("k",)
    irreducible = "c"
    source = "Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952 (M1)"
    formula = "L = c + sum_j k_j exp(t_j r_j)"

    def loss(self, p: SimpleNamespace, R: Array) -> Array:
        """Losses (B, n) in nats at mixtures R (n, K); parameters: c (B, 1), k and t (B, K)."""
        return p.c + (p.k[:, None, :] * np.exp(p.t[:, None, :] * R)).sum(axis=2)

    def model(self, R: Array) -> ExponentialSumModel:
        return ExponentialSumModel(R)

    def starts(self, R: Array, Y: Array, W: Array) -> Array:
        slopes, _ = log_excess_slopes(R, Y, np.array([0.2, 1.0]))
        T, K = Y.shape[1], R.shape[1]
        fixed = np.array([-1.0, -4.0, -10.0])
        own = self.own_domains()[:, None, :]
        plain = np.broadcast_to(fixed[None, :, None], (T, len(fixed), K))
        mixed = np.where(own > 0, fixed[None, ::-1, None], plain)
        return resize_starts(
            np.concatenate([plain, mixed[:, :1], np.minimum(slopes, _GROWTH)], axis=1), self.num_starts, 2.0, self.seed
        )

    def pull(self) -> tuple[Array, Array]:
        shape = (self.n_targets_, self.n_features_in_)
        return np.full(shape, -3.0), np.full(shape, 0.1)  # towards a benefit that fades over a third of the tokens

    def pull_amplitudes(self) -> Array:
        return np.full(self.n_features_in_, 0.1)

    def finish(self, theta: Array, linear: Array) -> tuple[Array, Array]:
        # a flat exponential is a straight line: its rate stays far enough from 0 for a finite amplitude slope / rate
        flat = np.abs(theta) < _FLAT
        return np.where(flat, np.where(theta < 0, -_FLAT, _FLAT), theta), linear

    def report(self, theta: Array, linear: Array) -> dict[str, Array]:
        rate = np.where(np.abs(theta) < _FLAT, _FLAT, theta)
        k = linear[:, 1:] / rate
        return {"c": linear[:, 0] - k.sum(axis=1), "k": k, "t": rate, "slope": linear[:, 1:]}

    def atoms(self) -> Atoms:
        self._check_fitted()
        T, K = self.theta_.shape
        k = self.linear_[:, 1:] / self.theta_
        return Atoms(
            const=self.linear_[:, 0] - k.sum(axis=1),
            target=np.repeat(np.arange(T), K),
            kind=np.full(T * K, "exp"),
            scale=k.reshape(-1),
            linear=(self.theta_[:, :, None] * np.eye(K)).reshape(T * K, K),
            offset=np.zeros(T * K),
            exponent=np.zeros(T * K),
        )

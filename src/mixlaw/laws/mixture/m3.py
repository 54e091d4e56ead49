"""M3 of Data Mixing Laws: an exponential of the product of all shares."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.laws.core.parameters import Free
from mixlaw.laws.fit.levenberg import Ints
from mixlaw.laws.fit.mixture_law import MixtureLaw
from mixlaw.laws.fit.separable import Separable
from mixlaw.laws.fit.starts import resize_starts

__all__ = ["M3", "ProductModel"]

_FAR = 30.0


class ProductModel(Separable):
    """``b + c (exp(tau q) - 1) / tau`` with q = prod_j (K r_j): 1 at the uniform mixture, 0 at any edge.

    Args:
        X: (n, K) mixtures.

    Example:
        >>> model = ProductModel(np.array([[0.5, 0.5], [1.0, 0.0]]))
        >>> model.basis(np.array([[1.0]]), np.zeros(1, int)).round(3).ravel().tolist()  # e - 1 at equal shares, else 0
        [1.718, 0.0]
    """

    num_linear = 1
    num_params = 1

    def __init__(self, X: Array) -> None:
        self.q = np.prod(X * X.shape[1], axis=1)

    def basis(self, theta: Array, problem: Ints) -> Array:
        tau = _away_from_zero(theta)
        return (np.expm1(np.clip(tau * self.q, -_FAR, _FAR)) / tau)[:, :, None]

    def tangent(self, theta: Array, problem: Ints, phi: Array, coef: Array) -> Array:
        tau = _away_from_zero(theta)
        u = np.clip(tau * self.q, -_FAR, _FAR)
        exact = (self.q * np.exp(u) - phi[:, :, 0]) / tau
        slope = np.where(np.abs(u) < 1e-4, self.q**2 * (0.5 + u / 3.0), exact)
        return (coef[:, :1] * slope)[:, :, None]


def _away_from_zero(tau: Array) -> Array:
    return np.where(np.abs(tau) < 1e-9, 1e-9, tau)


class M3(MixtureLaw):
    """``L_t(r) = c_t + k_t exp(prod_j t_tj r_j)``

    ``prod_j t_tj r_j = (prod_j t_tj) (prod_j r_j)``, so the K rates of the paper's formula enter only through
    their product: the data can determine ``c``, ``k`` and that one number, and this family fits exactly those.

    Parameters:
        c: constant in nats (T,).
        k: amplitude (T,).
        tau: the rate for ``prod_j (K r_j)`` (T,); the paper's ``prod_j t_j`` is ``tau K^K``.

    Do not use it to predict: it cannot tell one domain from another, and is constant on every edge of the
    simplex. Kept as the paper's own control.

    X: mixtures (n, K), weights as shares of the training tokens; y: losses (n,) or (n, T) in nats per token, NaN where
    a target was not measured. Options and errors: see :class:`mixlaw.laws.fit.mixture_law.MixtureLaw`.

    Example:
        >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 30)
        >>> law = M3(ridge=0.0).fit(r, 1.0 + 0.4 * np.exp(-1.5 * np.prod(3 * r, axis=1)))
        >>> np.round(law.parameters_["tau"], 3).tolist()
        [-1.5]

    Source: Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952 (candidate M3).
    """

    name = "m3"
    parameters = {
        "c": Free(1.5, "constant, nats"),
        "k": Free(0.8, "amplitude, nats"),
        "tau": Free(-1.5, "rate of the product of all shares over its value at equal shares", low=-_FAR, high=_FAR),
    }
    intercept = "c"
    amplitudes = ("k",)
    irreducible = "c"
    source = "Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952 (M3)"
    formula = "L = c + k exp(tau prod_j (K r_j))"

    def loss(self, p: SimpleNamespace, R: Array) -> Array:
        """Losses (B, n) in nats at mixtures R (n, K); parameters: c, k and tau (B, 1)."""
        return p.c + p.k * np.exp(p.tau * np.prod(R * R.shape[1], axis=1))

    def model(self, R: Array) -> ProductModel:
        return ProductModel(R)

    def starts(self, R: Array, Y: Array, W: Array) -> Array:
        tau = np.array([-20.0, -5.0, -1.0, 0.3, 1.0, 3.0])
        return resize_starts(np.broadcast_to(tau[None, :, None], (Y.shape[1], 6, 1)), self.num_starts, 2.0, self.seed)

    def pull(self) -> tuple[Array, Array]:
        return np.zeros((self.n_targets_, 1)), np.full((self.n_targets_, 1), 0.01)

    def pull_amplitudes(self) -> Array:
        return np.array([0.01])

    def comparable(self) -> None:
        return None  # tau says how domains act together, not what one does

    def report(self, theta: Array, linear: Array) -> dict[str, Array]:
        tau = _away_from_zero(theta)[:, 0]
        k = linear[:, 1] / tau
        return {"c": linear[:, 0] - k, "k": k, "tau": tau}

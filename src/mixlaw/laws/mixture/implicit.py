"""Implicit domains: a validation set seen as a weighted sum of latent domains, each with its own exponential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.fit.levenberg import Ints
from mixlaw.laws.fit.mixture_law import MixtureLaw
from mixlaw.laws.fit.separable import Separable
from mixlaw.laws.fit.starts import log_excess_slopes, resize_starts

__all__ = ["Implicit", "ImplicitModel"]

_FAR = 30.0


class ImplicitModel(Separable):
    """``b + c sum_h s_h exp(t_h . (r - rbar))``, s = softmax; theta = t (H x K), then H - 1 logits of s.

    Args:
        X: (n, K) mixtures. mean: (K,) of the training runs. hidden: H, the number of exponentials.

    Example:
        >>> X = np.array([[0.2, 0.8], [0.6, 0.4]])
        >>> model = ImplicitModel(X, X.mean(axis=0), hidden=2)
        >>> model.num_params, model.basis(np.zeros((1, model.num_params)), np.zeros(1, int)).ravel().tolist()
        (5, [1.0, 1.0])
    """

    num_linear = 1
    nonnegative = True

    def __init__(self, X: Array, mean: Array, hidden: int) -> None:
        self.Z = X - mean
        self.hidden, self.K = hidden, X.shape[1]
        self.num_params = hidden * self.K + hidden - 1

    def split(self, theta: Array) -> tuple[Array, Array]:
        """t (B, H, K) and shares s (B, H)."""
        H = self.hidden
        logits = np.concatenate([np.zeros((len(theta), 1)), theta[:, H * self.K :]], axis=1)
        s = np.exp(logits - logits.max(axis=1, keepdims=True))
        return theta[:, : H * self.K].reshape(-1, H, self.K), s / s.sum(axis=1, keepdims=True)

    def _curves(self, theta: Array) -> tuple[Array, Array]:
        t, s = self.split(theta)
        return s, np.exp(np.clip(np.matmul(t, self.Z.T), -_FAR, _FAR))  # (B, H, n)

    def basis(self, theta: Array, problem: Ints) -> Array:
        s, curves = self._curves(theta)
        return np.matmul(s[:, None, :], curves).transpose(0, 2, 1)

    def tangent(self, theta: Array, problem: Ints, phi: Array, coef: Array) -> Array:
        s, curves = self._curves(theta)
        front = coef[:, :1, None] * s[:, :, None] * curves  # (B, H, n)
        B, H, n = front.shape
        J = np.empty((B, n, self.num_params))
        for h in range(H):
            np.multiply(front[:, h, :, None], self.Z[None], out=J[:, :, h * self.K : (h + 1) * self.K])
        for h in range(1, H):
            J[:, :, H * self.K + h - 1] = coef[:, :1] * s[:, h, None] * (curves[:, h] - phi[:, :, 0])
        return J


class Implicit(MixtureLaw):
    """``L_t(r) = c_t + k_t sum_h s_th exp(o_th + sum_j t_thj r_j)``, shares s >= 0 summing to 1

    The target is taken to be made of ``hidden`` latent domains whose exponential laws (M4) add up with unknown
    shares: a one-hidden-layer network with exponential activation. With ``hidden=1`` it is M4 with k >= 0.
    Convex in the mixture, so its optimum is certified.

    Args:
        hidden: number of latent domains; the paper's curve of held-out error flattens from about 5 on.
        ridge, loss, delta, log, num_starts, own, seed, prior: see :class:`mixlaw.laws.fit.mixture_law.MixtureLaw`.

    Parameters:
        c: constant in nats (T,).
        k: total amplitude at the mean mixture (T,).
        s: shares of the latent domains there (T, hidden).
        t: effect of each domain on each latent one (T, hidden, K); latent domains have no order.

    Do not use it with fewer than some ``5 hidden`` mixtures, nor read latent domains as real ones: several
    solutions often fit equally well (``identifiability_`` says so).

    X: mixtures (n, K), weights as shares of the training tokens; y: losses (n,) or (n, T) in nats per token, NaN where
    a target was not measured. Errors: see
    :class:`mixlaw.laws.fit.mixture_law.MixtureLaw`.

    Example:
        >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 30)
        >>> loss = 1.0 + 0.5 * np.exp(-4 * r[:, 0]) + 0.5 * np.exp(-4 * r[:, 1])
        >>> law = Implicit(hidden=2).fit(r[:25], loss[:25])
        >>> bool(np.abs(law.predict(r[25:]) - loss[25:]).max() < 0.02)
        True

    Source: Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952 (implicit domain aggregation).
    """

    # latent domains have no order, so there is no one truth to declare: model() alone says what is fitted
    name = "implicit"
    unexplained = 0.02
    permutation_invariant = False  # random starts belong to columns, and several optima are usual
    source = "Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952 (implicit domains)"
    formula = "L = c + k sum_h s_h exp(sum_j t_hj (r_j - mean_j))"
    ridge_grid = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

    def __init__(
        self,
        hidden: int = 3,
        ridge: float | Literal["cv"] = "cv",
        loss: Literal["squared", "huber"] = "squared",
        delta: float | None = None,
        log: bool = False,
        num_starts: int | None = None,
        own: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(ridge, loss, delta, log, num_starts, own, seed, prior="separate")
        self.hidden = hidden

    def example_losses(self, X: Mapping[str, npt.ArrayLike]) -> Array:
        """Two latent domains, one helped by the first domain of X and one by the second."""
        first, second = (np.asarray(v, dtype=float) for v in list(X.values())[:2])
        return np.asarray(1.0 + 0.5 * np.exp(-4.0 * first) + 0.5 * np.exp(-4.0 * second))

    def model(self, R: Array) -> ImplicitModel:
        if not isinstance(self.hidden, int) or self.hidden < 1:
            raise ConfigError(f"hidden={self.hidden!r} must be a whole number, 1 or more.")
        return ImplicitModel(R, self.centre_, self.hidden)

    def starts(self, R: Array, Y: Array, W: Array) -> Array:
        slopes, _ = log_excess_slopes(R, Y, np.array([0.2, 1.0, 5.0]))  # (T, 3, K)
        T, S, K = slopes.shape
        H = self.hidden
        rng = np.random.default_rng(self.seed)
        spread = 1.5 * np.abs(slopes).mean(axis=2, keepdims=True)[:, :, None] + 0.5
        parts = slopes[:, :, None, :] + spread * rng.normal(size=(1, S, H, K))
        parts[:, :, 0] = slopes  # one latent domain begins where M4 would
        base = np.concatenate([parts.reshape(T, S, H * K), np.zeros((T, S, H - 1))], axis=2)
        return resize_starts(base, self.num_starts, 1.0, self.seed + 1)

    def pull(self) -> tuple[Array, Array]:
        K, H = self.n_features_in_, self.hidden
        centre = np.zeros((self.n_targets_, H * K + H - 1))
        pattern = np.ones_like(centre)
        pattern[:, H * K :] = 0.1
        return centre, pattern

    def pull_amplitudes(self) -> Array:
        return np.array([0.05])

    def bounds(self) -> tuple[Array, Array]:
        K, H = self.n_features_in_, self.hidden
        high = np.concatenate([np.full(H * K, 60.0), np.full(H - 1, 8.0)])
        return -high, high

    def num_free(self) -> int:
        return self.hidden * self.n_features_in_ + 1

    def report(self, theta: Array, linear: Array) -> dict[str, Array]:
        t, s = ImplicitModel(np.zeros((1, self.n_features_in_)), self.centre_, self.hidden).split(theta)
        return {"c": linear[:, 0], "k": linear[:, 1], "s": s, "t": t}

    def atoms(self) -> Atoms:
        self._check_fitted()
        t, s = ImplicitModel(np.zeros((1, self.n_features_in_)), self.centre_, self.hidden).split(self.theta_)
        T, H = s.shape
        return Atoms(
            const=self.linear_[:, 0].copy(),
            target=np.repeat(np.arange(T), H),
            kind=np.full(T * H, "exp"),
            scale=(self.linear_[:, 1:] * s).reshape(-1),
            linear=t.reshape(T * H, -1).copy(),
            offset=-(t @ self.centre_).reshape(-1),
            exponent=np.zeros(T * H),
        )

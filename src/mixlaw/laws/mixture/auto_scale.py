"""AutoScale: a sum of power laws in each domain's amount of data, and the rule that carries its optimum up."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.core.parameters import Free, Positive
from mixlaw.laws.fit.levenberg import Ints
from mixlaw.laws.fit.mixture_law import MixtureLaw
from mixlaw.laws.fit.separable import Separable
from mixlaw.laws.fit.starts import resize_starts

__all__ = ["AutoScale", "AutoScaleModel", "scale_amounts"]


class AutoScaleModel(Separable):
    """``b + sum_i exp(-g_i (log M + log(n_i + r_i)))``; theta = log n (K), log g (K), log M. M is in units of the
    training volume: the loss of the paper has no amplitudes, so the unit of amount is fitted instead.

    Args:
        X: (n, K) mixtures.

    Example:
        >>> X = np.array([[0.2, 0.8], [0.6, 0.4]])
        >>> model = AutoScaleModel(X)  # theta = 0: n, g and M are 1, so the sum of 1 / (1 + r)
        >>> model.basis(np.zeros((1, model.num_params)), np.zeros(1, int)).round(3).ravel().tolist()
        [1.389, 1.339]
    """

    num_linear = 1
    unit = True

    def __init__(self, X: Array) -> None:
        self.X = X
        self.K = X.shape[1]
        self.num_params = 2 * self.K + 1

    def _terms(self, theta: Array) -> tuple[Array, Array, Array, Array, Array]:
        K = self.K
        n, g = np.exp(theta[:, None, :K]), np.exp(theta[:, None, K : 2 * K])
        amount = n + self.X[None]  # (B, rows, K)
        log_amount = theta[:, None, 2 * K, None] + np.log(amount)
        return n, g, amount, log_amount, np.exp(np.minimum(-g * log_amount, 50.0))

    def basis(self, theta: Array, problem: Ints) -> Array:
        return self._terms(theta)[4].sum(axis=2, keepdims=True)

    def tangent(self, theta: Array, problem: Ints, phi: Array, coef: Array) -> Array:
        K = self.K
        n, g, amount, log_amount, terms = self._terms(theta)
        J = np.empty((len(theta), len(self.X), 2 * K + 1))
        J[:, :, :K] = -g * terms * n / amount
        J[:, :, K : 2 * K] = -g * log_amount * terms
        J[:, :, 2 * K] = -(g * terms).sum(axis=2)
        return J


class AutoScale(MixtureLaw):
    """``L_t(r) = l_t + sum_i (N_0ti + M_t r_i)^-g_ti``

    Every domain lowers the loss by a power law in its amount (share times volume), on top of an amount
    ``N_0`` that the other domains already provide. Convex in the mixture, so its optimum is certified. What the
    paper adds is :func:`scale_amounts`: optimal *amounts* follow a geometric rule in the budget, so domains with
    smaller exponents gain share as training grows.

    Parameters:
        l: irreducible loss in nats (T,).
        M: the training volume in the law's own unit of amount (T,).
        N0: amount each domain has from the others, in that unit (T, K).
        g: exponent of each domain (T, K).

    Do not use it where a domain hurts a target; nor ``scale_amounts`` far beyond the two budgets it is given.

    X: mixtures (n, K), weights as shares of the training tokens; y: losses (n,) or (n, T) in nats per token, NaN where
    a target was not measured. Options and errors: see :class:`mixlaw.laws.fit.mixture_law.MixtureLaw`.

    Example:
        >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 30)
        >>> loss = 1.0 + ((0.2 + 3.0 * r) ** -0.3).sum(axis=1)
        >>> law = AutoScale().fit(r[:20], loss[:20])
        >>> bool(np.abs(law.predict(r[20:]) - loss[20:]).max() < 0.01)
        True

    Source: Kang et al. 2024, AutoScale, arXiv:2407.20177; the loss as re-implemented in allenai/olmix.
    """

    name = "auto_scale"
    unit_free = False  # its terms have no amplitude
    parameters = {
        "N0": Positive((0.2, 0.1, 0.4), "amount each domain has from the others, in the law's unit", per="domain"),
        "g": Positive((0.3, 0.05, 0.1), "exponent of each domain", per="domain"),
        "M": Positive(3.0, "training volume in the law's unit of amount"),
        "l": Free(1.0, "irreducible loss, nats"),
    }
    intercept = "l"
    irreducible = "l"
    source = "Kang et al. 2024, AutoScale, arXiv:2407.20177"
    formula = "L = l + sum_i (N0_i + M r_i)^-g_i"
    ridge_grid = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)

    def loss(self, p: SimpleNamespace, R: Array) -> Array:
        """Losses (B, n) in nats at mixtures R (n, K); parameters: l and M (B, 1), N0 and g (B, K)."""
        return p.l + ((p.N0[:, None, :] + p.M[:, :, None] * R) ** -p.g[:, None, :]).sum(axis=2)

    def model(self, R: Array) -> AutoScaleModel:
        return AutoScaleModel(R)

    def _base(self) -> Array:
        """(T, 2K) prior for log n, log g: the own domain's exponent is larger."""
        own = self.own_domains()
        return np.concatenate([np.full(own.shape, np.log(0.1)), np.where(own > 0, np.log(0.3), np.log(0.05))], axis=1)

    def starts(self, R: Array, Y: Array, W: Array) -> Array:
        base = self._base()
        T, K = Y.shape[1], R.shape[1]
        starts = []
        for shift, log_m in ((0.0, 0.0), (-1.5, 2.0), (0.7, 3.0)):
            theta = np.concatenate([base, np.full((T, 1), log_m)], axis=1)
            theta[:, K : 2 * K] += shift
            starts.append(theta)
        return resize_starts(np.stack(starts, axis=1), self.num_starts, 0.5, self.seed)

    def pull(self) -> tuple[Array, Array]:
        base = self._base()
        T, K = len(base), self.n_features_in_
        centre = np.concatenate([base, np.full((T, 1), 1.0)], axis=1)
        pattern = np.concatenate([np.ones((T, 2 * K)), np.full((T, 1), 0.1)], axis=1)
        return centre, pattern

    def bounds(self) -> tuple[Array, Array]:
        K = self.n_features_in_
        low = np.concatenate([np.full(K, np.log(1e-4)), np.full(K, np.log(1e-4)), [-10.0]])
        high = np.concatenate([np.full(K, np.log(10.0)), np.full(K, np.log(4.0)), [30.0]])
        return low, high

    def make_constant(self, theta: Array, linear: Array, which: npt.NDArray[np.bool_], mean: Array) -> None:
        K = self.n_features_in_  # exponents at their floor and amounts so large that every term vanishes
        theta[which, : 2 * K] = np.log(4.0)
        theta[which, 2 * K] = 30.0
        linear[which] = np.stack([mean[which], np.ones(int(which.sum()))], axis=1)

    def report(self, theta: Array, linear: Array) -> dict[str, Array]:
        K = self.n_features_in_
        M = np.exp(theta[:, 2 * K])
        return {
            "l": linear[:, 0],
            "M": M,
            "N0": M[:, None] * np.exp(theta[:, :K]),
            "g": np.exp(theta[:, K : 2 * K]),
        }

    def atoms(self) -> Atoms:
        self._check_fitted()
        T, K = self.n_targets_, self.n_features_in_
        g = np.exp(self.theta_[:, K : 2 * K])
        return Atoms(
            const=self.linear_[:, 0].copy(),
            target=np.repeat(np.arange(T), K),
            kind=np.full(T * K, "power"),
            scale=np.exp(-g * self.theta_[:, 2 * K, None]).reshape(-1),
            linear=np.tile(np.eye(K), (T, 1)),
            offset=np.exp(self.theta_[:, :K]).reshape(-1),
            exponent=g.reshape(-1),
        )


def scale_amounts(first: npt.ArrayLike, second: npt.ArrayLike, steps: float = 1.0) -> Array:
    """Optimal amounts ``steps`` further on the geometric ladder: ``N(3) = N(2)^2 / N(1)`` for one step.

    Args:
        first, second: (K,) optimal tokens per domain at a smaller and a larger budget (not shares).

    Returns:
        (K,) tokens per domain; divide by their sum for shares.

    Raises:
        DataError: amounts that are not positive.

    Example:
        >>> scale_amounts([1.0, 2.0], [2.0, 3.0]).tolist()
        [4.0, 4.5]

    Source: Kang et al. 2024, arXiv:2407.20177.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or (a <= 0).any() or (b <= 0).any():
        raise DataError(f"Amounts must be two lists of equal length, all positive; got {a.tolist()} and {b.tolist()}.")
    return b * (b / a) ** steps

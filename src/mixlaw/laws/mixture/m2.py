"""M2 of Data Mixing Laws: one amplitude for the sum of each domain's exponential."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import numpy.typing as npt

from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.core.parameters import Free
from mixlaw.laws.fit.mixture_law import MixtureLaw
from mixlaw.laws.fit.starts import log_excess_slopes, resize_starts

__all__ = ["M2"]

_STEEP = 30.0


class M2(MixtureLaw):
    """``L_t(r) = c_t + k_t sum_j exp(t_tj r_j)``

    Parameters:
        c: constant in nats (T,).
        k: amplitude shared by all domains (T,); positive makes the target convex.
        t: rate of each domain (T, K).

    Do not use it as a predictor without comparing: domains that hardly matter must still carry the shared
    amplitude, and the paper found its error up to ten times M4's. Kept as the paper's own control.

    X: mixtures (n, K), weights as shares of the training tokens; y: losses (n,) or (n, T) in nats per token, NaN where
    a target was not measured. Options and errors: see :class:`mixlaw.laws.fit.mixture_law.MixtureLaw`.

    Example:
        >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 30)
        >>> loss = 1.0 + 0.5 * np.exp(r * [-2.0, 0.5, -1.0]).sum(axis=1)
        >>> law = M2().fit(r[:20], loss[:20])
        >>> bool(np.abs(law.predict(r[20:]) - loss[20:]).max() < 0.01)
        True

    Source: Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952 (candidate M2).
    """

    name = "m2"
    parameters = {
        "c": Free(1.5, "constant, nats"),
        "k": Free(0.5, "amplitude shared by all domains, nats"),
        "t": Free((-2.0, 0.5, -1.0), "rate of each domain", per="domain", low=-_STEEP, high=_STEEP),
    }
    intercept = "c"
    amplitudes = ("k",)
    irreducible = "c"
    source = "Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952 (M2)"
    formula = "L = c + k sum_j exp(t_j r_j)"

    def loss(self, p: SimpleNamespace, R: Array) -> Array:
        """Losses (B, n) in nats at mixtures R (n, K); parameters: c and k (B, 1), t (B, K)."""
        return p.c + p.k * np.exp(p.t[:, None, :] * R).sum(axis=2)

    def slopes(self, p: SimpleNamespace, R: Array) -> dict[str, npt.ArrayLike]:
        curves = np.exp(p.t[:, None, :] * R)  # (B, n, K)
        return {"c": 1.0, "k": curves.sum(axis=2), "t": p.k[:, :, None] * (R * curves)}

    def starts(self, R: Array, Y: Array, W: Array) -> Array:
        slopes, _ = log_excess_slopes(R, Y, np.array([0.1, 0.5, 2.0, 10.0, -0.5, -5.0]))
        return resize_starts(slopes, self.num_starts, 1.0, self.seed)

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

"""Effective-token laws: every domain counts as so many tokens of the target's own kind."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.core.parameters import Free, Positive
from mixlaw.laws.fit.levenberg import Ints
from mixlaw.laws.fit.mixture_law import MixtureLaw
from mixlaw.laws.fit.separable import Factors, Separable
from mixlaw.laws.fit.shared_prior import Comparable
from mixlaw.laws.fit.starts import linear_slopes, resize_starts

__all__ = ["EffectiveTokens", "EffectiveTokensModel"]


class EffectiveTokensModel(Separable):
    """``b + c sum_h s_h (q_h / qbar_h)^-a_h``, ``q_h = eps_h + sum_j w_hj r_j``, shares s = softmax.

    theta = for each term h: log w (K), log eps, log a; then H - 1 logits of the shares (the first is 0).
    Dividing by qbar (q at the mean mixture) makes c the amplitude there.

    Args:
        X: (n, K) mixtures. mean: (K,) of the training runs. terms: H.

    Example:
        >>> X = np.array([[0.2, 0.8], [0.6, 0.4]])
        >>> model = EffectiveTokensModel(X, X.mean(axis=0), terms=1)
        >>> phi = model.basis(np.zeros((1, model.num_params)), np.zeros(1, int))
        >>> phi.ravel().tolist()  # equal weights: q is the same everywhere
        [1.0, 1.0]
    """

    num_linear = 1
    nonnegative = True

    def __init__(self, X: Array, mean: Array, terms: int) -> None:
        self.X, self.mean, self.terms = X, mean, terms
        self.K = X.shape[1]
        self.ones = np.column_stack([X, np.ones(len(X))])
        self.num_params = terms * (self.K + 2) + terms - 1

    def split(self, theta: Array) -> tuple[Array, Array, Array, Array]:
        """w (B, H, K), eps (B, H), a (B, H), s (B, H)."""
        H, K = self.terms, self.K
        parts = theta[:, : H * (K + 2)].reshape(-1, H, K + 2)
        logits = np.concatenate([np.zeros((len(theta), 1)), theta[:, H * (K + 2) :]], axis=1)
        s = np.exp(logits - logits.max(axis=1, keepdims=True))
        s /= s.sum(axis=1, keepdims=True)
        return np.exp(parts[:, :, :K]), np.exp(parts[:, :, K]), np.exp(parts[:, :, K + 1]), s

    def _terms(self, theta: Array) -> tuple[Array, ...]:
        w, eps, a, s = self.split(theta)
        q = np.matmul(w, self.X.T) + eps[:, :, None]  # (B, H, n)
        qbar = w @ self.mean + eps  # (B, H)
        log_ratio = np.log(q) - np.log(qbar)[:, :, None]
        curve = np.exp(-a[:, :, None] * log_ratio)
        return w, eps, a, s, q, qbar, log_ratio, curve

    def basis(self, theta: Array, problem: Ints) -> Array:
        _, _, _, s, _, _, _, curve = self._terms(theta)
        return (s[:, :, None] * curve).sum(axis=1)[:, :, None]

    def tangent(self, theta: Array, problem: Ints, phi: Array, coef: Array) -> Array:
        w, eps, a, s, q, qbar, log_ratio, curve = self._terms(theta)
        B, H, n = q.shape
        K, c = self.K, coef[:, :1, None]
        J = np.empty((B, n, self.num_params))
        for h in range(H):
            outer = c[:, :, 0] * s[:, h, None] * curve[:, h]  # (B, n)
            front = -a[:, h, None] * outer
            at = h * (K + 2)
            block = J[:, :, at : at + K]
            np.multiply(
                self.X[None] / q[:, h, :, None] - self.mean / qbar[:, h, None, None], w[:, h, None, :], out=block
            )
            block *= front[:, :, None]
            J[:, :, at + K] = front * eps[:, h, None] * (1.0 / q[:, h] - 1.0 / qbar[:, h, None])
            J[:, :, at + K + 1] = front * log_ratio[:, h]
            if h:
                J[:, :, H * (K + 2) + h - 1] = c[:, :, 0] * s[:, h, None] * (curve[:, h] - phi[:, :, 0])
        return J

    def factored(self, theta: Array, phi: Array, coef: Array) -> Factors | None:
        if self.terms > 1:
            return None
        w, eps, a, _, q, qbar, log_ratio, curve = self._terms(theta)
        front = -a * coef[:, :1] * curve[:, 0]
        scale = np.concatenate([w[:, 0], eps], axis=1)
        shift = np.zeros((len(theta), self.K + 2))
        shift[:, : self.K + 1] = a * coef[:, :1] * scale * np.append(self.mean, 1.0) / qbar
        return Factors(front / q[:, 0], self.ones, scale, (front * log_ratio[:, 0])[:, :, None], shift)


class EffectiveTokens(MixtureLaw):
    """``L_t(r) = c_t + sum_h A_th (eps_th + sum_j w_thj r_j)^-a_th``, w >= 0

    Every domain counts as ``w`` tokens of the target's own data; the loss is a power law in that effective
    share. Convex in the mixture, so its optimum is certified. A ridge pulls ``log w`` towards 1 for the target's
    own domain and e^-3 for the others, which makes it usable from about 16 runs.

    Args:
        terms: 1, or more for targets that live off several kinds of data (needs a few hundred runs).
        own, ridge, loss, delta, log, num_starts, seed, prior: see :class:`mixlaw.laws.fit.mixture_law.MixtureLaw`.

    Parameters:
        c: irreducible loss in nats (T,).
        A: amplitude (T, terms).
        a: exponent (T, terms).
        eps: effective share that is always there (T, terms).
        w: worth of one token of each domain (T, terms, K), scaled so that the largest of a term is 1.

    Do not use it where a domain hurts a target: it can only help less.

    X: mixtures (n, K), weights as shares of the training tokens; y: losses (n,) or (n, T) in nats per token, NaN where
    a target was not measured. Errors: see
    :class:`mixlaw.laws.fit.mixture_law.MixtureLaw`.

    Example:
        >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 30)
        >>> law = EffectiveTokens(own={"y0": "x0"}).fit(r, 1.5 + 0.6 * (0.03 + r @ [1.0, 0.05, 0.2]) ** -0.35)
        >>> np.round(law.parameters_["w"], 2).tolist()
        [[1.0, 0.05, 0.2]]

    Source: this project; no paper.
    """

    name = "effective_tokens"
    parameters = {
        "w": Positive((1.0, 0.05, 0.2), "worth of one token of each domain", per="domain"),
        "eps": Positive(0.03, "effective share that is always there"),
        "a": Positive(0.35, "exponent"),
        "c": Free(1.5, "irreducible loss, nats"),
        "A": Positive(0.6, "amplitude, nats"),
    }
    intercept = "c"
    amplitudes = ("A",)
    irreducible = "c"
    source = "effective tokens; no paper (docs/laws/mixture.md)"
    rival = True
    formula = "L = c + sum_h A_h (eps_h + sum_j w_hj r_j)^-a_h"
    ridge_grid = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)

    def __init__(
        self,
        terms: int = 1,
        ridge="cv",
        loss="squared",
        delta=None,
        log=False,
        num_starts=None,
        own=None,
        seed=0,
        prior="separate",
    ) -> None:
        super().__init__(ridge, loss, delta, log, num_starts, own, seed, prior)
        self.terms = terms

    def loss(self, p: SimpleNamespace, R: Array) -> Array:
        """Losses (B, n) in nats at mixtures R (n, K) of one term; several terms add up; parameters: c, A, a and eps
        (B, 1), w (B, K).
        """
        return p.c + p.A * (p.eps + p.w @ R.T) ** -p.a  # of one term; several terms add up

    def model(self, R: Array) -> EffectiveTokensModel:
        if not isinstance(self.terms, int) or self.terms < 1:
            raise ConfigError(f"terms={self.terms!r} must be a whole number, 1 or more.")
        return EffectiveTokensModel(R, self.centre_, self.terms)

    def _centre(self) -> Array:
        """(T, K + 2): log w, log eps, log a the ridge pulls towards."""
        own = self.own_domains()
        logw = np.where(own > 0, 0.0, -3.0)
        logw[own.sum(axis=1) == 0] = -1.5
        rest = np.broadcast_to([np.log(0.03), np.log(0.35)], (len(own), 2))
        return np.concatenate([logw, rest], axis=1)

    def pull(self) -> tuple[Array, Array]:
        one = self._centre()
        T = len(one)
        pattern = np.ones_like(one)
        pattern[:, -2:] = (0.5, 2.0)
        centre, strength = np.tile(one, (1, self.terms)), np.tile(pattern, (1, self.terms))
        extra = self.terms - 1
        return (
            np.concatenate([centre, np.zeros((T, extra))], axis=1),
            np.concatenate([strength, np.full((T, extra), 0.1)], axis=1),
        )

    def starts(self, R: Array, Y: Array, W: Array) -> Array:
        one = self._centre()
        T, K = len(one), R.shape[1]
        # which domains go with low loss: slopes of the standardised loss on centred shares, as log worth
        slope = -linear_slopes(R, (Y - Y.mean(axis=0)).T)[0]
        slope = slope - slope.min(axis=1, keepdims=True)
        read = np.log(slope / np.maximum(slope.max(axis=1, keepdims=True), 1e-300) + 0.02)
        starts = []
        # without an own domain equal worths would make the law constant: begin at what the slopes say
        known = np.where(self.own_domains().sum(axis=1, keepdims=True) > 0, one[:, :K], 0.5 * read - 1.0)
        for logw, eps, a in ((known, 0.03, 0.35), (read, 0.03, 0.35), (read, 0.3, 1.0), (read, 0.005, 0.1)):
            tail = np.broadcast_to(np.log([eps, a]), (T, 2))
            starts.append(np.concatenate([logw, tail], axis=1))
        base = np.stack(starts, axis=1)  # (T, S, K + 2)
        if self.terms == 1:
            return resize_starts(base, self.num_starts, 0.7, self.seed)
        # terms begin at different worths, or with different exponents, never equal (they would stay so)
        S = base.shape[1]
        parts = [base]
        for h in range(1, self.terms):
            other = base[:, (np.arange(S) + h) % S].copy()
            other[:, :, K] += 0.7 * h
            other[:, :, K + 1] += 0.4 * h
            parts.append(other)
        logits = np.zeros((T, S, self.terms - 1))
        return resize_starts(np.concatenate([*parts, logits], axis=2), self.num_starts, 0.7, self.seed)

    def bounds(self) -> tuple[Array, Array]:
        K = self.n_features_in_
        low = np.array([-9.0] * K + [np.log(1e-5), np.log(0.02)])
        high = np.array([4.0] * K + [np.log(30.0), np.log(5.0)])
        extra = self.terms - 1
        return (
            np.concatenate([np.tile(low, self.terms), np.full(extra, -8.0)]),
            np.concatenate([np.tile(high, self.terms), np.full(extra, 8.0)]),
        )

    def comparable(self) -> Comparable | None:
        return super().comparable() if self.terms == 1 else None  # several terms have no order

    def num_free(self) -> int:
        return self.terms * (self.n_features_in_ + 2) + 1

    def _pieces(self, theta: Array, linear: Array) -> tuple[Array, Array, Array, Array]:
        """A (T, H), w, eps, a in the scale where each term's largest w is 1."""
        model = EffectiveTokensModel(np.zeros((1, self.n_features_in_)), self.centre_, self.terms)
        w, eps, a, s = model.split(theta)
        qbar = w @ self.centre_ + eps
        top = w.max(axis=2)
        return linear[:, 1:] * s * (qbar / top) ** a, w / top[:, :, None], eps / top, a

    def report(self, theta: Array, linear: Array) -> dict[str, Array]:
        A, w, eps, a = self._pieces(theta, linear)
        return {"c": linear[:, 0], "A": A, "a": a, "eps": eps, "w": w if self.terms > 1 else w[:, 0]}

    def atoms(self) -> Atoms:
        self._check_fitted()
        A, w, eps, a = self._pieces(self.theta_, self.linear_)
        T, H = A.shape
        return Atoms(
            const=self.linear_[:, 0].copy(),
            target=np.repeat(np.arange(T), H),
            kind=np.full(T * H, "power"),
            scale=A.reshape(-1),
            linear=w.reshape(T * H, -1),
            offset=eps.reshape(-1),
            exponent=a.reshape(-1),
        )

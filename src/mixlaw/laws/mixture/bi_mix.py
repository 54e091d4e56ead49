"""BiMix: power laws in each domain's share, and, where tokens vary, in the training volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.parameters import Free, Positive
from mixlaw.laws.fit.levenberg import Ints
from mixlaw.laws.fit.mixture_law import MixtureLaw
from mixlaw.laws.fit.separable import Separable
from mixlaw.laws.fit.starts import resize_starts

__all__ = ["BiMix", "OwnShareModel", "PowerSumModel"]

_STEEP = 4.0


class PowerSumModel(Separable):
    """``b + sum_j b_j g(r_j)``, ``g(r) = ((r + eps)^-a_j - (rbar_j + eps)^-a_j) / a_j``; theta = a (K), log eps.

    Divided by a and centred, g tends to -log(r + eps) as a -> 0 instead of to a constant.

    Args:
        X: (n, K) mixtures. mean: (K,) of the training runs.

    Example:
        >>> X = np.array([[0.2, 0.8], [0.6, 0.4]])
        >>> phi = PowerSumModel(X, X.mean(axis=0)).basis(np.array([[1.0, 1.0, np.log(0.1)]]), np.zeros(1, int))
        >>> phi.round(2).tolist()  # 1 / 0.3 - 1 / 0.5, ...: more of a domain, less loss
        [[[1.33, -0.32], [-0.57, 0.57]]]
    """

    def __init__(self, X: Array, mean: Array) -> None:
        self.X, self.mean = X, mean
        self.K = self.num_linear = X.shape[1]
        self.num_params = self.K + 1

    def basis(self, theta: Array, problem: Ints) -> Array:
        a, eps = theta[:, None, : self.K], np.exp(theta[:, self.K])[:, None, None]
        return ((self.X[None] + eps) ** -a - (self.mean + eps) ** -a) / a

    def tangent(self, theta: Array, problem: Ints, phi: Array, coef: Array) -> Array:
        a, eps = theta[:, None, : self.K], np.exp(theta[:, self.K])[:, None, None]
        up, there = self.X[None] + eps, self.mean + eps
        J = np.empty((len(theta), len(self.X), self.K + 1))
        slope = (-np.log(up) * up**-a + np.log(there) * there**-a - phi) / a
        J[:, :, : self.K] = coef[:, None, :] * slope
        shift = -eps * (up ** (-a - 1) - there ** (-a - 1))
        J[:, :, self.K] = (coef[:, None, :] * shift).sum(axis=2)
        return J


class OwnShareModel(Separable):
    """The paper's form for targets tied to one domain each: ``b + A (r_own + eps)^-a (B s^-beta + C)``.

    Linear in ``C A`` and ``B A``; theta = log a, log eps[, log beta]. s is tokens over their geometric mean;
    without a tokens column the volume factor is one number and only ``A (r + eps)^-a`` remains, without ``b``.

    Args:
        own: (T, n) share of each target's own domain. volume: (n,) tokens over their geometric mean, or None.

    Example:
        >>> model = OwnShareModel(np.array([[0.15, 0.4]]), None)
        >>> model.basis(np.log([[1.0, 0.1]]), np.zeros(1, int)).round(2).ravel().tolist()  # 1 / (r + 0.1)
        [4.0, 2.0]
    """

    intercept = False

    def __init__(self, own: Array, volume: Array | None) -> None:
        self.own, self.volume = own, volume  # own (T, n): the share of each target's own domain
        self.num_params = 2 if volume is None else 3
        self.num_linear = 1 if volume is None else 2

    def _parts(self, theta: Array, problem: Ints) -> tuple[Array, Array, Array, Array]:
        own = self.own[problem % len(self.own)]
        a, eps = np.exp(theta[:, :1]), np.exp(theta[:, 1:2])
        return a, eps, own + eps, (own + eps) ** -a

    def basis(self, theta: Array, problem: Ints) -> Array:
        _, _, _, curve = self._parts(theta, problem)
        if self.volume is None:
            return curve[:, :, None]
        return np.stack([curve, curve * self.volume ** -np.exp(theta[:, 2:3])], axis=2)

    def tangent(self, theta: Array, problem: Ints, phi: Array, coef: Array) -> Array:
        a, eps, base, _ = self._parts(theta, problem)
        f = np.matmul(phi, coef[:, :, None])[:, :, 0]
        columns = [-a * np.log(base) * f, -a * eps / base * f]
        if self.volume is not None:
            columns.append(coef[:, 1:2] * phi[:, :, 1] * -np.exp(theta[:, 2:3]) * np.log(self.volume))
        return np.stack(columns, axis=2)


class BiMix(MixtureLaw):
    """``L_i(r, s) = A_i r_i^-a_i (B_i s^-beta_i + C_i)``, or at fixed volume ``L_t(r) = c_t + sum_j F_tj r_j^-a_tj``

    Args:
        form: ``"own"``, the paper's: the loss on a domain depends on that domain's share alone (and on the
            training volume when X has a column ``tokens``); every target must have its own domain, by name or
            ``own=``. ``"sum"``: a power law in every share, for any target, as the form is used as a baseline.
            ``"auto"`` takes ``"own"`` when X has a column ``tokens``, else ``"sum"``.
        ridge, loss, delta, log, num_starts, seed, prior: see :class:`mixlaw.laws.fit.mixture_law.MixtureLaw`.

    Shares enter as ``r + eps`` with a fitted ``eps``, so that a share of zero has a finite loss.

    Parameters ("sum"): c (T,), F and a (T, K), eps (T,). F has either sign; positive means the domain helps, and
    all positive means convex. ("own"): A, a, eps (T,), and with tokens B, beta, C (T,), where A is absorbed.

    Do not use "own" where domains help each other: it cannot see it. Do not use "sum" with fewer than about 2K
    mixtures.

    X: mixtures (n, K), weights as shares of the training tokens; y: losses (n,) or (n, T) in nats per token, NaN where
    a target was not measured. Errors: see
    :class:`mixlaw.laws.fit.mixture_law.MixtureLaw`.

    Example:
        >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 30)
        >>> loss = 1.5 + 0.2 * (r[:, 0] + 0.01) ** -0.3
        >>> BiMix(form="own", own={"y0": "x0"}).fit(r, loss).form_
        'own'
        >>> law = BiMix().fit(r[:20], loss[:20])
        >>> bool(np.abs(law.predict(r[20:]) - loss[20:]).max() < 0.02)
        True

    Source: Ge et al. 2024, BiMix, arXiv:2405.14908; its fixed-volume collapse to a sum of power laws as in
    allenai/olmix.
    """

    name = "bi_mix"
    parameters = {
        "a": Positive((0.3, 0.6, 0.2), "exponent of each domain", per="domain"),
        "eps": Positive(0.01, "share below which a domain counts no less"),
        "c": Free(1.5, "constant, nats"),
        "F": Free((0.2, 0.05, 0.1), "amplitude of each domain, nats", per="domain"),
    }
    intercept = "c"
    amplitudes = ("F",)
    source = "Ge et al. 2024, BiMix, arXiv:2405.14908"
    ridge_grid = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    form_ = "sum"
    """The form that was fitted."""

    def __init__(
        self,
        form: Literal["auto", "own", "sum"] = "auto",
        ridge: float | Literal["cv"] = "cv",
        loss: Literal["squared", "huber"] = "squared",
        delta: float | None = None,
        log: bool = False,
        num_starts: int | None = None,
        own: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(ridge, loss, delta, log, num_starts, own, seed, prior="separate")
        self.form = form

    @property
    def formula(self) -> str:  # type: ignore[override]
        """The formula of the form that was fitted (before a fit: of ``"sum"``)."""
        if self.form_ == "sum":
            return "L = c + sum_j F_j (r_j + eps)^-a_j"
        return "L = A (r_own + eps)^-a" + (" (B tokens^-beta + C)" if self._tokens_column() is not None else "")

    def _tokens_column(self) -> int | None:
        names = list(self.feature_names_in_)
        return names.index("tokens") if "tokens" in names else None

    def _check_inputs(self, X: Array, Y: Array, names: Sequence[str] | None) -> None:
        at = list(names).index("tokens") if names and "tokens" in names else None
        shares = X if at is None else np.delete(X, at, axis=1)
        Law._check_inputs(self, shares, Y, names)
        if at is not None and (X[:, at] <= 0).any():
            raise DataError("The column 'tokens' must be positive in every run.")

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        if self.form not in ("auto", "own", "sum"):
            raise ConfigError(f"form={self.form!r} is not known. Use 'own', 'sum' or 'auto'.")
        tokens = self._tokens_column()
        self.form_ = ("own" if tokens is not None else "sum") if self.form == "auto" else self.form
        if self.form_ == "sum" and tokens is not None:
            raise ConfigError("BiMix form='sum' is for one training volume: leave the column 'tokens' out.")
        if self.form_ == "own":
            own = self.own_domains()
            lost = [self.target_names_[t] for t in np.flatnonzero(own.sum(axis=1) == 0)]
            if lost:
                raise ConfigError(
                    f"BiMix form='own' needs each target's own domain; none found for {lost[:5]}. Give "
                    f"own={{target: domain}}, or use form='sum'. Domains: {list(self.feature_names_in_)}."
                )
            if tokens is not None:
                self.volume_ = float(np.exp(np.log(X[:, tokens]).mean()))
        super()._fit(X, Y, sample_weight)

    def loss(self, p: SimpleNamespace, R: Array) -> Array:
        """Losses (B, n) in nats at mixtures R (n, K) of ``form="sum"``; parameters: c and eps (B, 1), F and a (B,
        K).
        """
        return p.c + (p.F[:, None, :] * (R + p.eps[:, :, None]) ** -p.a[:, None, :]).sum(axis=2)  # form="sum"

    def model(self, R: Array) -> Separable:
        if self.form_ == "sum":
            return PowerSumModel(R, self.centre_)
        tokens = self._tokens_column()
        return OwnShareModel(self.own_domains() @ R.T, None if tokens is None else R[:, tokens] / self.volume_)

    def starts(self, R: Array, Y: Array, W: Array) -> Array:
        T = Y.shape[1]
        if self.form_ == "sum":
            starts = [np.append(np.full(R.shape[1], a), np.log(eps)) for a in (0.15, 0.6) for eps in (2e-3, 3e-2)]
        else:
            extra = [] if self._tokens_column() is None else [np.log(0.3)]
            starts = [np.array([np.log(a), np.log(eps), *extra]) for a in (0.05, 0.3) for eps in (1e-3, 3e-2)]
        return resize_starts(
            np.broadcast_to(np.array(starts), (T, len(starts), len(starts[0]))), self.num_starts, 0.5, self.seed
        )

    def pull(self) -> tuple[Array, Array]:
        if self.form_ == "sum":
            centre = np.append(np.full(self.n_features_in_, 0.3), np.log(0.01))
            pattern = np.full(len(centre), 0.3)
        else:
            centre = np.log([0.1, 0.01] + ([] if self._tokens_column() is None else [0.3]))
            pattern = np.full(len(centre), 0.01)
        return np.tile(centre, (self.n_targets_, 1)), np.tile(pattern, (self.n_targets_, 1))

    def pull_amplitudes(self) -> Array:
        if self.form_ == "sum":
            return np.ones(self.n_features_in_)
        return np.zeros(1 if self._tokens_column() is None else 2)

    def bounds(self) -> tuple[Array, Array]:
        if self.form_ == "sum":
            K = self.n_features_in_
            return np.append(np.full(K, 0.02), np.log(1e-3)), np.append(np.full(K, 2.0), 0.0)  # tamer at zero shares
        extra = 0 if self._tokens_column() is None else 1
        return (
            np.log([1e-4, 1e-6] + [1e-3] * extra),
            np.log([_STEEP, 1.0] + [_STEEP] * extra),
        )

    def num_free(self) -> int:
        if self.form_ == "sum":
            return 2 * self.n_features_in_ + 2
        return 3 if self._tokens_column() is None else 5

    def report(self, theta: Array, linear: Array) -> dict[str, Array]:
        if self.form_ == "sum":
            K = self.n_features_in_
            a, eps = theta[:, :K], np.exp(theta[:, K])
            F = linear[:, 1:] / a
            c = linear[:, 0] - (F * (self.centre_ + eps[:, None]) ** -a).sum(axis=1)
            return {"c": c, "F": F, "a": a, "eps": eps}
        out = {"A": linear[:, 0], "a": np.exp(theta[:, 0]), "eps": np.exp(theta[:, 1])}
        if self._tokens_column() is not None:
            beta = np.exp(theta[:, 2])
            out = {"C": out.pop("A"), **out, "B": linear[:, 1] * self.volume_**beta, "beta": beta}
        return out

    def make_constant(self, theta: Array, linear: Array, which: npt.NDArray[np.bool_], mean: Array) -> None:
        super().make_constant(theta, linear, which, mean)
        if self.form_ == "own":  # no intercept: a power law with next to no exponent
            theta[which] = self.bounds()[0]
            eps = np.exp(theta[which, 1])
            linear[which, 0] = mean[which] * (0.5 + eps) ** np.exp(theta[which, 0])

    def atoms(self) -> Atoms | None:
        self._check_fitted()
        T, K = self.n_targets_, self.n_features_in_
        if self.form_ == "sum":
            a, eps = self.theta_[:, :K], np.exp(self.theta_[:, K])
            F = self.linear_[:, 1:] / a
            return Atoms(
                const=self.linear_[:, 0] - (F * (self.centre_ + eps[:, None]) ** -a).sum(axis=1),
                target=np.repeat(np.arange(T), K),
                kind=np.full(T * K, "power"),
                scale=F.reshape(-1),
                linear=np.tile(np.eye(K), (T, 1)),
                offset=np.repeat(eps, K),
                exponent=a.reshape(-1).copy(),
            )
        if self._tokens_column() is not None:
            return None  # tokens multiply shares: no sum of functions of linear forms
        return Atoms(
            const=np.zeros(T),
            target=np.arange(T),
            kind=np.full(T, "power"),
            scale=self.linear_[:, 0].copy(),
            linear=self.own_domains(),
            offset=np.exp(self.theta_[:, 1]),
            exponent=np.exp(self.theta_[:, 0]),
        )

"""The fit engine: many small nonlinear least-squares problems at once, each optimum certified.

    fit = fit_batch(model, Y, starts, loss="squared" | "huber", delta=1e-3, log=False, weights=None,
                    censored=None, bounds=None, prior=None, linear_prior=None, max_iter=300)
    fit.theta (M, S, P)   fit.linear (M, S, L)   fit.objective, fit.gradient_norm, fit.converged (M, S)
    fit.best() -> Best(theta (M, P), linear (M, L), objective, gradient_norm, converged, agreement (M,))

*M* problems (targets, bootstrap resamples, folds: they share the rows of the model and differ in ``Y``,
``weights``, ``prior``), *S* starts each, all *B = M S* advanced together by Levenberg-Marquardt with the batch in
the arrays; a problem that has converged leaves the batch. A resample or a fold is a row of ``weights``.

*model* is one of

* a function ``(theta (B, P), problem (B,)) -> (f (B, n), J (B, n, P))``: predictions and their Jacobian. Data
  live in its closure; ``problem`` says which of the M problems a row belongs to and may be ignored.
* a :class:`Separable` model ``f = b + sum_l c_l phi_l(theta)``: the linear ``b, c`` are solved out (variable
  projection) under squared loss, and optimised with the rest under the others.

The objective of a problem is ``sum_i w_i rho(r_i) + 1/2 sum_p strength_p (theta_p - centre_p)^2`` with
``r = f - y``, or ``log f - log y`` where ``log=True``; ``rho(r) = r^2/2``, or Huber's with threshold ``delta``
(a **sum**: an average makes optimisers stop early, arXiv:2404.10102). Missing ``Y`` (NaN) counts nothing. A
censored value (``censored`` +1: the truth lies above y, -1: below) counts only while the prediction is on the
wrong side.

Certificate: ``gradient_norm`` is the largest cosine between the residual and a free column of the Jacobian
(0 at an optimum, scale-free); ``converged`` says it is below ``certify``. NumPy only, float64, no random numbers.

Sources: Golub & Pereyra 1973 and Kaufman 1975 (variable projection); Marquardt 1963, Nielsen 1999 (damping).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.arrays import Array
from mixlaw.laws.fit.levenberg import TINY, Evaluate, Ints, levenberg_marquardt

__all__ = [
    "BatchFit",
    "Best",
    "Factors",
    "Prior",
    "Separable",
    "fit_batch",
    "huber",
    "levenberg_marquardt",
    "linear_bounds",
    "resample_weights",
    "with_linear",
]

Model = Callable[[Array, Ints], tuple[Array, Array]]

_CHUNK = 400_000  # Jacobian elements per evaluation: a few megabytes, so that a chunk stays in cache


@dataclass(frozen=True)
class Prior:
    """Ridge ``1/2 sum strength (theta - centre)^2``; both broadcast to (M, P). Strength 0 means free."""

    centre: npt.ArrayLike = 0.0
    strength: npt.ArrayLike = 0.0

    def broadcast(self, shape: tuple[int, int]) -> tuple[Array, Array]:
        """(centre, strength) as arrays (M, P)."""
        centre = np.broadcast_to(np.asarray(self.centre, dtype=float), shape)
        strength = np.broadcast_to(np.asarray(self.strength, dtype=float), shape)
        if not (np.isfinite(centre).all() and np.isfinite(strength).all() and (strength >= 0).all()):
            raise ConfigError("A prior needs finite centres and finite strengths >= 0.")
        return centre, strength


class Separable:
    """``f = b + sum_l c_l phi_l(theta)`` with ``b`` (when ``intercept``) and ``c`` linear.

    A subclass sets ``num_params`` (P), ``num_linear`` (L) and writes :meth:`basis` and :meth:`tangent`.
    Where the Jacobian is a curve times fixed columns, :meth:`factored` says so (:class:`Factors`), and the normal
    equations of the whole batch become one matrix product.
    """

    num_params: int
    num_linear: int
    intercept: bool = True
    nonnegative: bool = False
    """Keep the single coefficient c >= 0 (only where ``num_linear`` is 1)."""
    unit: bool = False
    """The single coefficient is 1: only the intercept is solved out."""

    def basis(self, theta: Array, problem: Ints) -> Array:
        """phi (B, n, L) at theta (B, P)."""
        raise NotImplementedError

    def tangent(self, theta: Array, problem: Ints, phi: Array, coef: Array) -> Array:
        """d (phi @ coef) / d theta, (B, n, P), given ``phi = basis(theta)`` and coef (B, L)."""
        raise NotImplementedError

    def factored(self, theta: Array, phi: Array, coef: Array) -> Factors | None:
        """The tangent in product form, or None where it is not of that form."""
        return None


@dataclass(frozen=True)
class Factors:
    """Tangent ``[curve[b, i] Z[i, p] scale[b, p] | extra[b, i, e]] + phi[b, i, 0] shift[b, p]``.

    ``scale``, ``extra`` and ``shift`` may be None (1, no further columns, 0); ``shift`` needs ``num_linear`` 1.
    """

    curve: Array
    Z: Array
    scale: Array | None = None
    extra: Array | None = None
    shift: Array | None = None


@dataclass(frozen=True)
class Best:
    """The best start of each of M problems."""

    theta: Array
    linear: Array
    objective: Array
    gradient_norm: Array
    converged: npt.NDArray[np.bool_]
    agreement: Ints
    """How many starts reached the same objective (relative 1e-6)."""
    start: Ints


@dataclass(frozen=True)
class BatchFit:
    """Where every start of every problem ended. Shapes: (M, S, P), (M, S, L), (M, S) ..."""

    theta: Array
    linear: Array
    objective: Array
    gradient_norm: Array
    converged: npt.NDArray[np.bool_]
    iterations: Ints

    def best(self) -> Best:
        """Lowest objective per problem; of equals (relative 1e-9) the first start, so that ties are stable."""
        lowest = self.objective.min(axis=1, keepdims=True)
        scale = np.abs(lowest) + TINY
        ties = self.objective <= lowest + 1e-9 * scale
        # among equals prefer a certified one
        start = np.argmax(ties * (1.0 + self.converged), axis=1)
        row = np.arange(len(start))
        agreement = (self.objective <= lowest + 1e-6 * scale).sum(axis=1)
        return Best(
            self.theta[row, start],
            self.linear[row, start],
            self.objective[row, start],
            self.gradient_norm[row, start],
            self.converged[row, start],
            agreement.astype(np.int64),
            start.astype(np.int64),
        )


def huber(residual: Array, delta: float) -> Array:
    """Huber's function: r^2/2 inside ``delta``, linear outside."""
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * residual**2, delta * (size - 0.5 * delta))


def resample_weights(n: int, num: int, seed: int = 0) -> Array:
    """(num, n) counts of a bootstrap over rows: each row of the result sums to n. Deterministic under ``seed``."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=num).astype(float)


# ---- from a model to objective, gradient and Gauss-Newton matrix ------------------------------------
@dataclass(frozen=True)
class _Data:
    """Y, weights and priors of M problems, cleaned: missing values have weight 0 and y 0."""

    Y: Array
    W: Array
    censored: npt.NDArray[np.int8] | None
    loss: Literal["squared", "huber"]
    delta: float
    log: bool
    centre: Array
    strength: Array

    def residual(self, f: Array, problem: Ints) -> tuple[Array, Array, Array, Array]:
        """rho summed (B,), psi (B, n) and curvature weight (B, n), d r / d f (B, n)."""
        y, w = self.Y[problem], self.W[problem]
        if self.log:
            bad = (f <= 0) & (w > 0)
            safe = np.where(f > 0, f, 1.0)
            r, slope = np.log(safe) - y, 1.0 / safe
        else:
            bad, r, slope = None, f - y, np.ones_like(f)
        if self.censored is not None:
            side = self.censored[problem]
            met = ((side > 0) & (r > 0)) | ((side < 0) & (r < 0))
            w = np.where(met, 0.0, w)
        if self.loss == "squared":
            F, psi, curve = 0.5 * (w * r * r).sum(1), w * r, w
        else:
            size = np.abs(r)
            inside = size <= self.delta
            F = (w * np.where(inside, 0.5 * r * r, self.delta * (size - 0.5 * self.delta))).sum(1)
            psi = w * np.clip(r, -self.delta, self.delta)
            # Newton's curvature is 0 outside; a fraction of the IRLS weight there keeps far points from
            # vanishing from the model while convergence near the optimum stays fast.
            curve = w * np.where(inside, 1.0, _OUTSIDE * self.delta / np.maximum(size, self.delta))
        if bad is not None:
            F = np.where(bad.any(axis=1), np.inf, F)
        return F, psi, curve, slope

    def add_prior(self, theta: Array, problem: Ints, F: Array, g: Array, H: Array) -> None:
        if not self.strength.any():
            return
        s = self.strength[problem]
        away = theta - self.centre[problem]
        F += 0.5 * (s * away * away).sum(1)
        g += s * away
        i = np.arange(theta.shape[1])
        H[:, i, i] += s


_OUTSIDE = 0.05
_ROUNDS = 25  # of the search for the censored rows that count


def _chunked(evaluate: Evaluate, size: int) -> Evaluate:
    def run(theta: Array, problem: Ints) -> tuple[Array, Array, Array]:
        if len(theta) <= size:
            return evaluate(theta, problem)
        parts = [evaluate(theta[i : i + size], problem[i : i + size]) for i in range(0, len(theta), size)]
        return (
            np.concatenate([p[0] for p in parts]),
            np.concatenate([p[1] for p in parts]),
            np.concatenate([p[2] for p in parts]),
        )

    return run


def _full(model: Model, data: _Data) -> Evaluate:
    def evaluate(theta: Array, problem: Ints) -> tuple[Array, Array, Array]:
        f, J = model(theta, problem)
        F, psi, curve, slope = data.residual(f, problem)
        if data.log:
            J = J * slope[:, :, None]
        g = np.matmul(psi[:, None, :], J)[:, 0]
        H = np.matmul((J * curve[:, :, None]).transpose(0, 2, 1), J)
        data.add_prior(theta, problem, F, g, H)
        return F, g, H

    return evaluate


def with_linear(model: Separable) -> Model:
    """The separable model as a plain one over (theta, [b,] c)."""

    def run(full: Array, problem: Ints) -> tuple[Array, Array]:
        theta, rest = full[:, : model.num_params], full[:, model.num_params :]
        b, coef = (rest[:, :1], rest[:, 1:]) if model.intercept else (0.0, rest)
        phi = model.basis(theta, problem)
        f = np.matmul(phi, coef[:, :, None])[:, :, 0] + b
        parts = [model.tangent(theta, problem, phi, coef)]
        if model.intercept:
            parts.append(np.ones((*f.shape, 1)))
        return f, np.concatenate([*parts, phi], axis=2)

    return run


def linear_bounds(model: Separable) -> tuple[Array, Array]:
    """Bounds of ([b,] c) where they are fitted with the rest."""
    L, extra = model.num_linear, model.num_linear + (1 if model.intercept else 0)
    low, high = np.full(extra, -np.inf), np.full(extra, np.inf)
    if model.nonnegative:
        low[extra - L :] = 0.0
    if model.unit:
        low[-1] = high[-1] = 1.0
    return low, high


@dataclass(frozen=True)
class _Projected:
    """Objective of a separable model with its linear coefficients solved out (squared loss)."""

    model: Separable
    data: _Data
    linear_centre: Array
    linear_strength: Array
    total: Array
    outer: Array | None
    """(n, P*P) products of the columns of Z, for models with a factored Jacobian."""

    def solve_linear(self, phi: Array, problem: Ints) -> tuple[Array, Array, Array, Array, Array, Array, Array]:
        """coef (B, L), intercept (B,), centred phi, residual (B, n), the inverse of the small system, the weights in
        force (B, n) and their sums (B,).

        Censored rows count only where the prediction is on their wrong side, which depends on the coefficients: they
        are solved for until the set of rows that count settles (a convex problem, so it does).
        """
        w, total = self.data.W[problem], self.total[problem]
        found = self._solve_weighted(phi, problem, w, total)
        if self.data.censored is None:
            return *found, w, total
        side = self.data.censored[problem]
        for _ in range(_ROUNDS):
            met = ((side > 0) & (found[3] > 0)) | ((side < 0) & (found[3] < 0))
            now = np.where(met, 0.0, self.data.W[problem])
            if (now == w).all():
                break
            w, total = now, np.maximum(now.sum(1), TINY)
            found = self._solve_weighted(phi, problem, w, total)
        return *found, w, total

    def _solve_weighted(
        self, phi: Array, problem: Ints, w: Array, sums: Array
    ) -> tuple[Array, Array, Array, Array, Array]:
        y = self.data.Y[problem]
        L = phi.shape[2]
        if self.model.intercept:
            total = sums[:, None]
            phi_mean = np.matmul(w[:, None, :], phi)[:, 0] / total
            y_mean = (w * y).sum(1)[:, None] / total
            centred, yc = phi - phi_mean[:, None, :], y - y_mean
        else:
            phi_mean, y_mean, centred, yc = np.zeros((len(y), L)), np.zeros((len(y), 1)), phi, y
        c0, s0 = self.linear_centre[problem], self.linear_strength[problem]
        if self.model.unit:
            coef, inverse = np.ones((len(y), 1)), np.zeros((len(y), 1, 1))
        elif L == 1:
            p = centred[:, :, 0]
            wp = w * p
            G = (wp * p).sum(1) + s0[:, 0]
            ok = G > TINY
            inverse = np.where(ok, 1.0 / np.where(ok, G, 1.0), 0.0)[:, None, None]
            coef = ((wp * yc).sum(1) + s0[:, 0] * c0[:, 0])[:, None] * inverse[:, :, 0]
            if self.model.nonnegative:
                negative = coef[:, 0] < 0
                coef = np.where(negative[:, None], 0.0, coef)
                inverse = np.where(negative[:, None, None], 0.0, inverse)
        else:
            weighted = centred * w[:, :, None]
            G = np.matmul(weighted.transpose(0, 2, 1), centred)
            i = np.arange(L)
            G[:, i, i] += s0
            right = np.matmul(yc[:, None, :], weighted)[:, 0] + s0 * c0
            # columns of very different size are brought to one scale before inverting; the jitter that keeps
            # an exactly singular system solvable is relative to each column, or it would act as a ridge
            size = G[:, i, i]
            root = np.sqrt(np.where(size > TINY, size, 1.0))
            G /= root[:, :, None] * root[:, None, :]
            G[:, i, i] += 1e-13
            G = np.where(np.isfinite(G).all(axis=(1, 2), keepdims=True), G, np.eye(L))
            inverse = np.linalg.inv(G) / (root[:, :, None] * root[:, None, :])
            coef = np.matmul(inverse, right[:, :, None])[:, :, 0]
        r = np.matmul(centred, coef[:, :, None])[:, :, 0] - yc
        intercept = y_mean[:, 0] - (phi_mean * coef).sum(1)
        return coef, intercept, centred, r, inverse

    def __call__(self, theta: Array, problem: Ints) -> tuple[Array, Array, Array]:
        model = self.model
        phi = model.basis(theta, problem)
        coef, _, centred, r, inverse, w, total = self.solve_linear(phi, problem)
        away = coef - self.linear_centre[problem]
        F = 0.5 * (w * r * r).sum(1) + 0.5 * (self.linear_strength[problem] * away * away).sum(1)
        factors = model.factored(theta, phi, coef)
        P = model.num_params
        if factors is not None:
            g, H, cross = self._products(factors, w, r, centred, total)
        else:
            J = model.tangent(theta, problem, phi, coef)
            if model.intercept:
                J = J - np.matmul(w[:, None, :], J) / total[:, None, None]
            weighted = (J * w[:, :, None]).transpose(0, 2, 1)
            g = np.matmul(weighted, r[:, :, None])[:, :, 0]
            H = np.matmul(weighted, J)
            cross = np.matmul(weighted, centred).transpose(0, 2, 1)
        H -= np.matmul(cross.transpose(0, 2, 1), np.matmul(inverse, cross))
        i = np.arange(P)
        H[:, i, i] = np.maximum(H[:, i, i], 0.0)
        self.data.add_prior(theta, problem, F, g, H)
        return F, g, H

    def _products(
        self, factors: Factors, w: Array, r: Array, centred: Array, sums_of_weights: Array
    ) -> tuple[Array, Array, Array]:
        """Gradient (B, P), centred J'WJ (B, P, P) and phi'WJ (B, L, P) from the product form."""
        s, Z = factors.curve, factors.Z
        B, Q = len(s), Z.shape[1]
        ws = w * s
        if self.outer is not None:
            H = ((ws * s) @ self.outer).reshape(B, Q, Q)
        else:
            H = np.matmul(Z.T[None] * (ws * s)[:, None, :], Z[None])
        stack = [ws * r, ws, *(ws * centred[:, :, a] for a in range(centred.shape[2]))]
        wide = np.stack([v @ Z for v in stack], axis=1)  # (B, 2 + L, Q): gradient, sums, cross products
        if factors.scale is not None:
            wide = wide * factors.scale[:, None, :]
            H = H * factors.scale[:, :, None] * factors.scale[:, None, :]
        if factors.extra is not None:
            e = factors.extra * w[:, :, None]
            left = np.stack([r, np.ones_like(r), *(centred[:, :, a] for a in range(centred.shape[2]))], axis=1)
            wide = np.concatenate([wide, np.matmul(left, e)], axis=2)
            mixed = np.stack([(s * e[:, :, k]) @ Z for k in range(e.shape[2])], axis=2)  # (B, Q, E)
            if factors.scale is not None:
                mixed = mixed * factors.scale[:, :, None]
            corner = np.matmul(factors.extra.transpose(0, 2, 1), e)
            H = np.concatenate(
                [
                    np.concatenate([H, mixed], axis=2),
                    np.concatenate([mixed.transpose(0, 2, 1), corner], axis=2),
                ],
                axis=1,
            )
        g, cross = wide[:, 0], wide[:, 2:]
        if self.model.intercept:
            sums, total = wide[:, 1], sums_of_weights[:, None, None]
            H = H - sums[:, :, None] * sums[:, None, :] / total
        if factors.shift is not None:
            shift, p = factors.shift, centred[:, :, 0]
            own = (w * p * p).sum(1)[:, None]
            g = g + shift * (w * p * r).sum(1)[:, None]
            outer = shift[:, :, None] * (cross[:, 0] + 0.5 * own * shift)[:, None, :]
            H = H + outer + outer.transpose(0, 2, 1)
            cross = cross + (own * shift)[:, None, :]
        return g, H, cross


def fit_batch(
    model: Model | Separable,
    Y: npt.ArrayLike,
    starts: npt.ArrayLike,
    *,
    loss: Literal["squared", "huber"] = "squared",
    delta: float = 1e-3,
    log: bool = False,
    weights: npt.ArrayLike | None = None,
    censored: npt.ArrayLike | None = None,
    bounds: tuple[npt.ArrayLike, npt.ArrayLike] | Sequence[tuple[float, float]] | None = None,
    prior: Prior | None = None,
    linear_prior: Prior | None = None,
    max_iter: int = 300,
    gtol: float = 1e-9,
    certify: float = 1e-5,
    race: bool = False,
) -> BatchFit:
    """Fit M problems from S starts each; see the head of this module.

    Args:
        model: function or :class:`Separable`.
        Y: (n,) or (M, n); NaN counts nothing.
        starts: (P,), (S, P) or (M, S, P), of the nonlinear parameters.
        weights: (n,) or (M, n), non-negative.
        censored: (n,) or (M, n) of -1, 0, +1.
        bounds: (lower, upper), each a number or (P,); or P > 2 pairs.
        prior, linear_prior: ridges on theta and on the linear coefficients (intercept excluded).
        certify: largest ``gradient_norm`` that counts as converged.
        race: give up starts that fall behind; for the best optimum from many starts, not for a list of all optima.
            Starts given up are not converged. Needs some 1.5 rows per parameter: below, a start far behind may win.

    Raises:
        DataError, ConfigError: shapes or values that cannot be used; says which.

    Example:
        >>> x = np.linspace(0, 1, 9)
        >>> def line(theta, problem):
        ...     return theta[:, :1] + theta[:, 1:] * x, np.broadcast_to(np.stack([x * 0 + 1, x], 1), (len(theta), 9, 2))
        >>> fit_batch(line, 2 + 3 * x, [0.0, 0.0]).best().theta.round(6).tolist()
        [[2.0, 3.0]]
    """
    if loss not in ("squared", "huber"):
        raise ConfigError(f"loss={loss!r} is not known. Use 'squared' or 'huber'.")
    Y2 = np.atleast_2d(np.asarray(Y, dtype=float))
    start = np.asarray(starts, dtype=float)
    start = start.reshape(1, 1, -1) if start.ndim == 1 else start[None] if start.ndim == 2 else start
    W = np.ones_like(Y2) if weights is None else np.atleast_2d(np.asarray(weights, dtype=float))
    M = max(len(Y2), len(W), len(start))
    n, (_, S, P) = Y2.shape[1], start.shape
    try:
        Y2, W = np.broadcast_to(Y2, (M, n)).copy(), np.broadcast_to(W, (M, n)).copy()
        start = np.broadcast_to(start, (M, S, P))
    except ValueError:
        raise DataError(
            f"Y {Y2.shape}, weights {W.shape} and starts {start.shape} do not describe the same number of problems."
        ) from None
    if not np.isfinite(W).all() or (W < 0).any():
        raise DataError("weights must be finite and non-negative.")
    missing = ~np.isfinite(Y2)
    W[missing], Y2[missing] = 0.0, 1.0 if log else 0.0
    if log:
        if (Y2[W > 0] <= 0).any():
            raise DataError("log=True needs positive losses; some are zero or negative.")
        Y2 = np.log(np.where(Y2 > 0, Y2, 1.0))
    side = None if censored is None else np.broadcast_to(np.asarray(censored, dtype=np.int8), (M, n))

    separable = model if isinstance(model, Separable) else None
    project = separable is not None and loss == "squared" and not log
    L = separable.num_linear if separable else 0
    extra = L + (1 if separable and separable.intercept else 0)
    centre, strength = (prior or Prior()).broadcast((M, P))
    lc, ls = (linear_prior or Prior()).broadcast((M, L))
    lower, upper = _bounds(bounds, P)
    problem = np.repeat(np.arange(M), S)
    flat = np.ascontiguousarray(start.reshape(M * S, P))
    total = np.maximum(W.sum(1), TINY)
    mean = (W * Y2).sum(1) / total
    # an objective this far below the data's own variation is an exact fit: rounding, not residual
    floor = 1e-28 * np.maximum(total * mean**2, (W * (Y2 - mean[:, None]) ** 2).sum(1))

    projected: _Projected | None = None
    if separable is not None:
        plain = _Data(Y2, W, side, "squared", delta, False, centre, strength)
        outer = _outer(separable, flat[:1], problem[:1]) if project else None
        projected = _Projected(separable, plain, lc, ls, total, outer)
    if project:
        assert projected is not None and separable is not None
        width = n * (L + 4) if projected.outer is not None else n * (P + L + 2)
        evaluate = _chunked(projected, max(1, _CHUNK // width))
        theta, F, norm, iterations = levenberg_marquardt(
            evaluate,
            flat,
            problem,
            lower=lower,
            upper=upper,
            max_iter=max_iter,
            gtol=gtol,
            floor=floor[problem],
            race=race,
        )
        linear = _final_linear(projected, theta, problem, max(1, _CHUNK // width))
    else:
        run: Model
        if separable is not None and projected is not None:
            linear = _final_linear(projected, np.clip(flat, lower, upper), problem, max(1, _CHUNK // (n * (L + 2))))
            flat = np.concatenate([flat, linear], axis=1)
            low, high = linear_bounds(separable)
            lower, upper = np.concatenate([lower, low]), np.concatenate([upper, high])
            pad = np.zeros((M, extra - L))
            centre = np.concatenate([centre, pad, lc], axis=1)
            strength = np.concatenate([strength, pad, ls], axis=1)
            run = with_linear(separable)
        else:
            run = model  # type: ignore[assignment]
        data = _Data(Y2, W, side, loss, delta, log, centre, strength)
        evaluate = _chunked(_full(run, data), max(1, _CHUNK // (n * flat.shape[1])))
        theta, F, norm, iterations = levenberg_marquardt(
            evaluate,
            flat,
            problem,
            lower=lower,
            upper=upper,
            max_iter=max_iter,
            gtol=gtol,
            floor=floor[problem],
            secant=loss == "squared",
            race=race,
        )
        theta, linear = theta[:, :P], theta[:, P:]
    norm = np.where(np.isfinite(norm), norm, np.inf)
    return BatchFit(
        theta.reshape(M, S, P),
        linear.reshape(M, S, extra),
        F.reshape(M, S),
        norm.reshape(M, S),
        (np.isfinite(F) & (norm <= certify)).reshape(M, S),
        iterations.reshape(M, S),
    )


def _bounds(bounds: Any, P: int) -> tuple[Array, Array]:
    if bounds is None:
        return np.full(P, -np.inf), np.full(P, np.inf)
    pairs = list(bounds)
    if len(pairs) == 2:
        lower, upper = pairs
    else:  # P pairs
        lower, upper = [p[0] for p in pairs], [p[1] for p in pairs]
    lo = np.broadcast_to(np.asarray(lower, dtype=float), (P,)).copy()
    hi = np.broadcast_to(np.asarray(upper, dtype=float), (P,)).copy()
    if (lo > hi).any():
        raise ConfigError(f"Lower bounds {lo.tolist()} exceed upper bounds {hi.tolist()}.")
    return lo, hi


def _outer(model: Separable, theta: Array, problem: Ints) -> Array | None:
    with np.errstate(all="ignore"):
        factors = model.factored(theta, model.basis(theta, problem), np.ones((1, model.num_linear)))
    if factors is None:
        return None
    Z = factors.Z
    n, P = Z.shape
    return (Z[:, :, None] * Z[:, None, :]).reshape(n, P * P) if n * P * P <= 4_000_000 else None


def _final_linear(projected: _Projected, theta: Array, problem: Ints, size: int) -> Array:
    parts = []
    with np.errstate(all="ignore"):
        for i in range(0, len(theta), size):
            p = problem[i : i + size]
            coef, intercept, *_ = projected.solve_linear(projected.model.basis(theta[i : i + size], p), p)
            parts.append(np.column_stack([intercept, coef]) if projected.model.intercept else coef)
    linear = np.concatenate(parts)
    return np.where(np.isfinite(linear), linear, 0.0)

"""The fit engine: many small nonlinear least-squares problems at once, with a test that each fit converged.

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

``gradient_norm`` is the largest cosine between the residual and a free column of the Jacobian
(0 at an optimum, scale-free); ``converged`` says it is below ``certify``. NumPy only, float64, no random numbers.

Sources: Golub & Pereyra 1973 and Kaufman 1975 (variable projection); Marquardt 1963, Nielsen 1999 (damping).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.arrays import Array
from mixlaw.laws.fit.coordinates import moved
from mixlaw.laws.fit.levenberg import TINY, Ints, levenberg_marquardt
from mixlaw.laws.fit.objective import Model, Objective, Prior, evaluate_all, huber, in_chunks
from mixlaw.laws.fit.projection import Projected, linear_at, outer_products
from mixlaw.laws.fit.separable import Factors, Separable, linear_bounds, with_linear

__all__ = [
    "BatchFit",
    "Best",
    "Factors",
    "Ints",
    "Model",
    "Prior",
    "Separable",
    "fit_batch",
    "huber",
    "levenberg_marquardt",
    "linear_bounds",
    "resample_weights",
    "with_linear",
]

_CHUNK = 400_000  # Jacobian elements per evaluation: a few megabytes, so that a chunk stays in cache


@dataclass(frozen=True)
class Best:
    """The best start of each of M problems.

    Shapes: ``theta`` (M, P), ``linear`` (M, L), the rest (M,). ``start`` is the number of the best start,
    ``gradient_norm`` how far the gradient is from zero there.

    Example:
        >>> x = np.linspace(0, 1, 9)
        >>> def decay(theta, problem):  # exp(-theta x) and its slope
        ...     f = np.exp(-theta * x)
        ...     return f, (-x * f)[:, :, None]
        >>> best = fit_batch(decay, np.exp(-1.5 * x), [[0.1], [1.0], [5.0]]).best()
        >>> best.theta.round(6).tolist(), best.converged.tolist(), best.agreement.tolist()
        ([[1.5]], [True], [3])
    """

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
    """Where every start of every problem ended. For M problems with S starts each: ``theta`` (M, S, P)
    and ``linear`` (M, S, L), the searched and the solved parameters; ``objective`` (M, S), what was minimised;
    ``gradient_norm`` (M, S), its slope there; ``converged`` and ``iterations`` (M, S).

    Example:
        >>> x = np.linspace(0, 1, 9)
        >>> def decay(theta, problem):  # exp(-theta x) and its slope
        ...     f = np.exp(-theta * x)
        ...     return f, (-x * f)[:, :, None]
        >>> fit = fit_batch(decay, np.exp(-1.5 * x), [[0.1], [1.0]])  # one problem from two starts
        >>> fit.theta.shape, fit.theta.round(4).ravel().tolist()
        ((1, 2, 1), [1.5, 1.5])
    """

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
        # among equals prefer a converged one
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


def resample_weights(n: int, num: int, seed: int = 0) -> Array:
    """(num, n) counts of a bootstrap over rows: each row of the result sums to n. Deterministic under ``seed``.

    Example:
        >>> resample_weights(5, 3).sum(axis=1).tolist()
        [5.0, 5.0, 5.0]
    """
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=num).astype(float)


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
    coordinates: Array | None = None,
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
        loss, delta, log: what is minimised, as in the head of this module.
        max_iter, gtol: largest number of steps, and the gradient norm at which a start stops.
        certify: largest ``gradient_norm`` that counts as converged.
        race: give up starts that fall behind; for the best optimum from many starts, not for a list of all optima.
            Starts given up are not converged. Needs some 1.5 rows per parameter: below, a start far behind may win.
        coordinates: (P, P) invertible: the solver moves ``coordinates @ theta`` instead of theta
            (:func:`mixlaw.laws.fit.coordinates.uncoupled` makes one). Rows of bounded parameters must be the
            identity's. For a model that is a function.

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
    separable = model if isinstance(model, Separable) else None
    problems = _read(Y, starts, weights, censored, log, separable, bounds, prior, linear_prior)
    limits = _Limits(max_iter, gtol, race, coordinates)
    if separable is not None and loss == "squared" and not log:
        theta, linear, F, norm, iterations = _fit_projected(separable, problems, limits)
    elif separable is not None:
        theta, linear, F, norm, iterations = _fit_all(*_as_plain(separable, problems), loss, delta, log, limits)
    else:
        assert not isinstance(model, Separable)
        theta, linear, F, norm, iterations = _fit_all(model, problems, problems.start, loss, delta, log, limits)
    M, S, P = problems.shape
    norm = np.where(np.isfinite(norm), norm, np.inf)
    return BatchFit(
        theta.reshape(M, S, P),
        linear.reshape(M, S, linear.shape[1]),
        F.reshape(M, S),
        norm.reshape(M, S),
        (np.isfinite(F) & (norm <= certify)).reshape(M, S),
        iterations.reshape(M, S),
    )


@dataclass(frozen=True)
class _Limits:
    """How long starts may run."""

    max_iter: int
    gtol: float
    race: bool
    coordinates: Array | None


@dataclass(frozen=True)
class _Problems:
    """The arguments of :func:`fit_batch` on one shape: M problems of n values, S starts of P parameters each."""

    Y: Array
    """(M, n), its logarithm where residuals are of logarithms; 0 where missing."""
    W: Array
    """(M, n), 0 where Y is missing."""
    side: npt.NDArray[np.int8] | None
    start: Array
    """(M S, P)."""
    problem: Ints
    """(M S,) which of the M problems a start belongs to."""
    lower: Array
    upper: Array
    centre: Array
    strength: Array
    linear_centre: Array
    linear_strength: Array
    shape: tuple[int, int, int]
    """M, S, P."""

    @property
    def total(self) -> Array:
        """(M,) sum of the weights."""
        return np.maximum(self.W.sum(1), TINY)

    @property
    def floor(self) -> Array:
        """(M S,) an objective this far below the data's own variation is an exact fit, to a part in 1e12: what is left
        is rounding, or a parameter that creeps to its limit (a logarithm of 0)."""
        mean = (self.W * self.Y).sum(1) / self.total
        floor = 1e-24 * np.maximum(self.total * mean**2, (self.W * (self.Y - mean[:, None]) ** 2).sum(1))
        return floor[self.problem]


def _read(
    Y: npt.ArrayLike,
    starts: npt.ArrayLike,
    weights: npt.ArrayLike | None,
    censored: npt.ArrayLike | None,
    log: bool,
    separable: Separable | None,
    bounds: Any,
    prior: Prior | None,
    linear_prior: Prior | None,
) -> _Problems:
    """The arguments of :func:`fit_batch`, checked and broadcast."""
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
    centre, strength = (prior or Prior()).broadcast((M, P))
    linear_centre, linear_strength = (linear_prior or Prior()).broadcast((M, separable.num_linear if separable else 0))
    lower, upper = _bounds(bounds, P)
    return _Problems(
        Y2, W, side, np.ascontiguousarray(start.reshape(M * S, P)), np.repeat(np.arange(M), S), lower, upper,
        centre, strength, linear_centre, linear_strength, (M, S, P),
    )  # fmt: skip


_Ends = tuple[Array, Array, Array, Array, Ints]
"""theta (B, P), linear (B, L), objective (B,), gradient_norm (B,), iterations (B,)."""


def _projected(model: Separable, problems: _Problems, outer: bool) -> tuple[Projected, int]:
    """The objective with linear coefficients solved out, and how many starts it evaluates at a time."""
    plain = Objective(problems.Y, problems.W, problems.side, "squared", 1.0, False, problems.centre, problems.strength)
    products = outer_products(model, problems.start[:1], problems.problem[:1]) if outer else None
    found = Projected(model, plain, problems.linear_centre, problems.linear_strength, problems.total, products)
    P, L = problems.shape[2], model.num_linear
    width = L + 4 if products is not None else P + L + 2 if outer else L + 2
    return found, max(1, _CHUNK // (problems.Y.shape[1] * width))


def _fit_projected(model: Separable, problems: _Problems, limits: _Limits) -> _Ends:
    """Squared loss: the linear coefficients of every step are the best ones."""
    projected, size = _projected(model, problems, outer=True)
    theta, F, norm, iterations = levenberg_marquardt(
        in_chunks(projected, size), problems.start, problems.problem, lower=problems.lower, upper=problems.upper,
        max_iter=limits.max_iter, gtol=limits.gtol, floor=problems.floor, race=limits.race,
    )  # fmt: skip
    return theta, linear_at(projected, theta, problems.problem, size), F, norm, iterations


def _as_plain(model: Separable, problems: _Problems) -> tuple[Model, _Problems, Array]:
    """A separable model whose linear coefficients are optimised with the rest, from where squared loss has them."""
    projected, size = _projected(model, problems, outer=False)
    start = np.clip(problems.start, problems.lower, problems.upper)
    linear = linear_at(projected, start, problems.problem, size)
    low, high = linear_bounds(model)
    pad = np.zeros((problems.shape[0], linear.shape[1] - model.num_linear))
    whole = replace(
        problems,
        lower=np.concatenate([problems.lower, low]),
        upper=np.concatenate([problems.upper, high]),
        centre=np.concatenate([problems.centre, pad, problems.linear_centre], axis=1),
        strength=np.concatenate([problems.strength, pad, problems.linear_strength], axis=1),
    )
    return with_linear(model), whole, np.concatenate([problems.start, linear], axis=1)


def _fit_all(
    model: Model,
    problems: _Problems,
    start: Array,
    loss: Literal["squared", "huber"],
    delta: float,
    log: bool,
    limits: _Limits,
) -> _Ends:
    """All parameters together, from ``start`` (B, P + L); those after the P-th are the linear ones."""
    objective = Objective(problems.Y, problems.W, problems.side, loss, delta, log, problems.centre, problems.strength)
    size = max(1, _CHUNK // (problems.Y.shape[1] * max(1, start.shape[1])))  # no parameter at all: only evaluated
    evaluate = in_chunks(evaluate_all(model, objective), size)
    if limits.coordinates is not None:
        start = np.clip(start, problems.lower, problems.upper) @ limits.coordinates.T
        evaluate = moved(evaluate, limits.coordinates)
    theta, F, norm, iterations = levenberg_marquardt(
        evaluate, start, problems.problem, lower=problems.lower, upper=problems.upper, max_iter=limits.max_iter,
        gtol=limits.gtol, floor=problems.floor, secant=loss == "squared", race=limits.race,
    )  # fmt: skip
    if limits.coordinates is not None:
        theta = np.asarray(np.linalg.solve(limits.coordinates, theta.T).T, dtype=float)
    P = problems.shape[2]
    return theta[:, :P], theta[:, P:], F, norm, iterations


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

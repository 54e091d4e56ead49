"""Models linear in some of their coefficients: what a family writes so that the engine solves those exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.laws.fit.levenberg import Ints
from mixlaw.laws.fit.objective import Model

__all__ = ["Factors", "Separable", "linear_bounds", "with_linear"]


class Separable:
    """``f = b + sum_l c_l phi_l(theta)`` with ``b`` (when ``intercept``) and ``c`` linear.

    A subclass sets ``num_params`` (P), ``num_linear`` (L) and writes :meth:`basis` and :meth:`tangent`.
    Where the Jacobian is a curve times fixed columns, :meth:`factored` says so (:class:`Factors`), and the normal
    equations of the whole batch become one matrix product.

    Legend: B problems side by side, n rows, P nonlinear parameters theta, L linear coefficients c.

    Example:
        >>> class Decay(Separable):
        ...     num_params = num_linear = 1
        ...     x = np.linspace(0, 1, 9)
        ...
        ...     def basis(self, theta, problem):
        ...         return np.exp(-theta * self.x)[:, :, None]
        ...
        ...     def tangent(self, theta, problem, phi, coef):
        ...         return -self.x[:, None] * phi * coef[:, None]
        >>> from mixlaw.laws.fit.engine import fit_batch
        >>> best = fit_batch(Decay(), 2 + 3 * np.exp(-1.5 * Decay.x), [1.0]).best()
        >>> best.theta.round(6).tolist(), best.linear.round(6).tolist()
        ([[1.5]], [[2.0, 3.0]])
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
        """The tangent at theta (B, P), phi (B, n, L) and coef (B, L) in product form, or None where it is not of
        that form.
        """
        return None


@dataclass(frozen=True)
class Factors:
    """Tangent ``[curve[b, i] Z[i, p] scale[b, p] | extra[b, i, e]] + phi[b, i, 0] shift[b, p]``.

    ``scale``, ``extra`` and ``shift`` may be None (1, no further columns, 0); ``shift`` needs ``num_linear`` 1.

    Args:
        curve: (B, n). Z: (n, P). scale: (B, P). extra: (B, n, E). shift: (B, P).

    Example:
        >>> from mixlaw.laws.mixture.m4 import ExponentialModel
        >>> model = ExponentialModel(np.array([[0.2, 0.8], [0.6, 0.4]]), np.zeros(2))
        >>> theta, problem, coef = np.array([[1.0, -1.0]]), np.zeros(1, int), np.ones((1, 1))
        >>> phi = model.basis(theta, problem)
        >>> parts = model.factored(theta, phi, coef)
        >>> np.allclose(parts.curve[:, :, None] * parts.Z, model.tangent(theta, problem, phi, coef))
        True
    """

    curve: Array
    Z: Array
    scale: Array | None = None
    extra: Array | None = None
    shift: Array | None = None


def with_linear(model: Separable) -> Model:
    """The separable model as a plain one over (theta, [b,] c), each (B, P + 1 + L): for losses other than squared.

    Example:
        >>> from mixlaw.laws.mixture.m4 import ExponentialModel
        >>> model = ExponentialModel(np.array([[0.2, 0.8], [0.6, 0.4]]), np.zeros(2))
        >>> f, J = with_linear(model)(np.array([[0.0, 0.0, 2.0, 0.5]]), np.zeros(1, int))  # 2 + 0.5 exp(0)
        >>> f.tolist(), J.shape
        ([[2.5, 2.5]], (1, 2, 4))
    """

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
    """Lowest and highest intercept (where there is one) and coefficients, (1 + L,) or (L,) each, where they are fitted
    with the rest.

    Example:
        >>> from mixlaw.laws.mixture.effective_tokens import EffectiveTokensModel
        >>> X = np.array([[0.2, 0.8], [0.6, 0.4]])
        >>> low, high = linear_bounds(EffectiveTokensModel(X, X.mean(axis=0), terms=1))
        >>> low.tolist(), high.tolist()  # the intercept is free, the amplitude is not negative
        ([-inf, 0.0], [inf, inf])
    """
    L, extra = model.num_linear, model.num_linear + (1 if model.intercept else 0)
    low, high = np.full(extra, -np.inf), np.full(extra, np.inf)
    if model.nonnegative:
        low[extra - L :] = 0.0
    if model.unit:
        low[-1] = high[-1] = 1.0
    return low, high

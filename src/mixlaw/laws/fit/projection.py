"""Variable projection: the linear coefficients of a separable model solved out of its least-squares objective.

Sources: Golub & Pereyra 1973 and Kaufman 1975.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.laws.fit.levenberg import TINY, Ints
from mixlaw.laws.fit.objective import Objective
from mixlaw.laws.fit.separable import Factors, Separable

__all__ = ["Projected", "linear_at", "outer_products"]

_ROUNDS = 25  # of the search for the censored rows that count


@dataclass(frozen=True)
class Projected:
    """Objective of a separable model with its linear coefficients solved out (squared loss).

    ``linear_centre`` and ``linear_strength`` (M, L) are the ridge on the coefficients of M problems, ``total`` (M,) the
    sum of each problem's weights.

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
        >>> y, none = 2 + 3 * np.exp(-1.5 * Decay.x), np.zeros((1, 1))
        >>> data = Objective(y[None], np.ones((1, 9)), None, "squared", 1.0, False, none, none)
        >>> projected = Projected(Decay(), data, none, none, np.array([9.0]), None)
        >>> coef, intercept, *_ = projected.solve_linear(Decay().basis(np.array([[1.5]]), None), np.zeros(1, int))
        >>> coef.round(6).tolist(), intercept.round(6).tolist()
        ([[3.0]], [2.0])
    """

    model: Separable
    data: Objective
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


def outer_products(model: Separable, theta: Array, problem: Ints) -> Array | None:
    """Products (n, P * P) of the columns of Z, of a model whose tangent is ``curve * Z * scale`` (see
    :class:`~mixlaw.laws.fit.separable.Factors`); None for other models, and where they would take too much memory.

    Example:
        >>> from mixlaw.laws.mixture.m4 import ExponentialModel
        >>> X = np.array([[0.2, 0.8], [0.6, 0.4]])
        >>> outer_products(ExponentialModel(X, np.zeros(2)), np.zeros((1, 2)), np.zeros(1, int)).round(2).tolist()
        [[0.04, 0.16, 0.16, 0.64], [0.36, 0.24, 0.24, 0.16]]
    """
    with np.errstate(all="ignore"):
        factors = model.factored(theta, model.basis(theta, problem), np.ones((1, model.num_linear)))
    if factors is None:
        return None
    Z = factors.Z
    n, P = Z.shape
    return (Z[:, :, None] * Z[:, None, :]).reshape(n, P * P) if n * P * P <= 4_000_000 else None


def linear_at(projected: Projected, theta: Array, problem: Ints, size: int) -> Array:
    """Intercept and coefficients (B, 1 + L) at theta (B, P), at most ``size`` rows at a time; 0 where none are finite.

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
        >>> y, none = 2 + 3 * np.exp(-1.5 * Decay.x), np.zeros((1, 1))
        >>> data = Objective(y[None], np.ones((1, 9)), None, "squared", 1.0, False, none, none)
        >>> projected = Projected(Decay(), data, none, none, np.array([9.0]), None)
        >>> linear_at(projected, np.array([[1.5]]), np.zeros(1, int), size=100).round(6).tolist()
        [[2.0, 3.0]]
    """
    parts = []
    with np.errstate(all="ignore"):
        for i in range(0, len(theta), size):
            p = problem[i : i + size]
            coef, intercept, *_ = projected.solve_linear(projected.model.basis(theta[i : i + size], p), p)
            parts.append(np.column_stack([intercept, coef]) if projected.model.intercept else coef)
    linear = np.concatenate(parts)
    return np.where(np.isfinite(linear), linear, 0.0)

"""A law of one run's own losses: each validation set's loss against what the run has drawn so far, late tokens counted
for more; with its uncertainty, so that the rest of the run can be planned from it.

For set i after a share u of the run, with the mean mixture ``r(u)`` of the tokens until then:

    L_i(u) = E_i + C_i (u s_i)^(-a_i),     s_i = sum_j T_ij r_j(u)

so u s_i counts *effective tokens*: a token of domain j is worth T_ij tokens of the set's own domain, as in the law of
effective tokens. In ``r(u)`` the tokens at a share v of the run weigh ``v^rho``: with rho = 0 all weigh alike, with
rho = 1 the last token weighs twice the average one (the recency of the law over phases, in continuous form).

E, C, a and T have priors, because one run cannot tell all of them: a set's own domain has T = 1 and others are worth a
fifth of it, within a factor of about two; the exponent is about 0.3; half of the loss of now, give or take, is never
lost. What the run has not told stays as wide as the prior, and is in the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["RECENCIES", "Draws", "History", "SetFit", "draw", "fit_sets", "plan", "prior_draws"]

Floats = npt.NDArray[np.float64]

RECENCIES = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Values of rho that a fit chooses from."""

_EXPONENT, _EXPONENT_SD = np.log(0.3), 0.5
_TRANSFER, _TRANSFER_SD = np.log(0.2), 0.8
_FLAT_SD = 1.0  # of log T where a set has no domain of its own
_LEAST_NOISE = 0.01  # nats: what a probe's loss is off from a smooth curve at least


@dataclass
class History:
    """What a run has drawn: pieces of constant weights.

    Args:
        ends: (m,) share of the run at which each piece ends, rising.
        weights: (m, K).

    Example:
        >>> History(np.array([0.5, 1.0]), np.array([[1.0, 0.0], [0.0, 1.0]])).mean(1.0, 0.0).tolist()
        [0.5, 0.5]
    """

    ends: Floats
    weights: Floats

    def mean(self, until: float, rho: float) -> Floats:
        """(K,) mean mixture of the tokens before the share ``until``, weighed by recency."""
        edges = np.minimum(np.concatenate([[0.0], self.ends]), until)
        pieces = np.diff(edges ** (rho + 1)) / until ** (rho + 1)
        return np.asarray(pieces @ self.weights / pieces.sum())


@dataclass
class SetFit:
    """The law of one set: parameters ``(z, log C, log a, log T_1 .. log T_K)`` with ``E = sigmoid(z) * scale``.

    Args:
        theta: (3 + K,) the most likely parameters.
        root: (3 + K, 3 + K) with ``root @ root.T`` their covariance.
        scale: nats, the loss of which E is a share.
        cost: sum of squares, of residuals over their noise and of parameters under their prior, for choosing rho.

    Example:
        >>> SetFit(np.zeros(5), np.zeros((5, 5)), scale=3.0, cost=0.0).scale
        3.0
    """

    theta: Floats
    root: Floats
    scale: float
    cost: float


@dataclass
class Draws:
    """Possible laws: ``E``, ``C``, ``a`` (num, sets) and ``T`` (num, sets, K), at one recency.

    Example:
        >>> prior_draws([0, 1], 2).E.shape
        (1, 2)
    """

    E: Floats
    C: Floats
    a: Floats
    T: Floats
    rho: float


def fit_sets(history: History, shares: Floats, losses: Floats, own: Sequence[int | None], rho: float) -> list[SetFit]:
    """Fit every set at one recency.

    Args:
        history: what was drawn.
        shares: (R,) shares of the run at which losses were measured.
        losses: (R, sets) nats per token.
        own: index of the domain that each set was held out of, or None.
        rho: the recency.

    Example:
        >>> history = History(np.array([0.3, 0.6]), np.array([[0.7, 0.3], [0.3, 0.7]]))
        >>> u = np.array([0.2, 0.3, 0.4, 0.5, 0.6])
        >>> s = np.array([history.mean(x, 0.0)[0] for x in u])
        >>> (fit,) = fit_sets(history, u, (1.5 + (u * s) ** -0.3)[:, None], [0], 0.0)
        >>> len(fit.theta)
        5
    """
    mean = np.array([history.mean(float(u), rho) for u in shares])
    return [_fit_one(shares, mean, losses[:, i], own[i]) for i in range(losses.shape[1])]


def _prior(count: int, own: int | None, scale: float) -> tuple[Floats, Floats]:
    """Centre and standard deviation of the parameters."""
    centre = np.concatenate([[0.0, np.log(0.3 * scale), _EXPONENT], np.full(count, _TRANSFER)])
    spread = np.concatenate([[1.0, 3.0, _EXPONENT_SD], np.full(count, _TRANSFER_SD)])
    if own is None:
        centre[3:], spread[3:] = 0.0, _FLAT_SD
    else:
        centre[3 + own], spread[3 + own] = 0.0, 1e-3
    return centre, spread


def _curve(theta: Floats, u: Floats, mean: Floats, scale: float) -> tuple[Floats, Floats]:
    """Losses (R,) and their slopes (R, 3 + K)."""
    E = scale / (1 + np.exp(-theta[0]))
    C, a, T = np.exp(theta[1]), np.exp(theta[2]), np.exp(theta[3:])
    parts = mean * T
    s = np.maximum(parts.sum(axis=1), 1e-9)
    power = C * (u * s) ** -a
    slopes = np.empty((len(u), len(theta)))
    slopes[:, 0] = E * (1 - E / scale)
    slopes[:, 1] = power
    slopes[:, 2] = -power * a * np.log(u * s)
    slopes[:, 3:] = -a * power[:, None] * parts / s[:, None]
    return E + power, slopes


def _fit_one(u: Floats, mean: Floats, y: Floats, own: int | None) -> SetFit:
    from scipy.optimize import least_squares

    scale = float(y[-1])
    centre, spread = _prior(mean.shape[1], own, scale)
    noise = 2 * _LEAST_NOISE
    theta = centre.copy()
    for _ in range(2):  # the noise is learned from the first fit

        def residuals(p: Floats, noise: float = noise) -> Floats:
            return np.concatenate([(_curve(p, u, mean, scale)[0] - y) / noise, (p - centre) / spread])

        def slopes(p: Floats, noise: float = noise) -> Floats:
            return np.vstack([_curve(p, u, mean, scale)[1] / noise, np.diag(1 / spread)])

        wide = 8 * np.maximum(spread, 1e-3)
        found = least_squares(residuals, theta, slopes, bounds=(centre - wide, centre + wide), max_nfev=60)
        theta = found.x
        off = _curve(theta, u, mean, scale)[0] - y
        noise = max(_LEAST_NOISE, float(np.sqrt(np.sum(off**2) / max(len(y) - 3, 1))))
    J = slopes(theta, noise)
    values, vectors = np.linalg.eigh(J.T @ J)
    root = vectors / np.sqrt(np.maximum(values, 1e-12))
    cost = float(np.sum(residuals(theta, noise) ** 2) + 2 * len(y) * np.log(noise))
    return SetFit(theta, np.asarray(root), scale, cost)


def draw(fits: Sequence[SetFit], rho: float, num: int, rng: np.random.Generator) -> Draws:
    """``num`` laws from what the fits leave open; the first is the most likely one.

    Example:
        >>> fit = SetFit(np.zeros(5), 0.1 * np.eye(5), scale=3.0, cost=0.0)
        >>> draw([fit], 0.0, 8, np.random.default_rng(0)).T.shape
        (8, 1, 2)
    """
    count = len(fits[0].theta) - 3
    E, C, a = (np.empty((num, len(fits))) for _ in range(3))
    T = np.empty((num, len(fits), count))
    for i, fit in enumerate(fits):
        noise = rng.standard_normal((num, len(fit.theta)))
        noise[0] = 0
        theta = fit.theta + noise @ fit.root.T
        E[:, i] = fit.scale / (1 + np.exp(-theta[:, 0]))
        C[:, i], a[:, i] = np.exp(theta[:, 1]), np.exp(np.clip(theta[:, 2], -4, 0.7))
        T[:, i] = np.exp(np.clip(theta[:, 3:], -6, 3))
    return Draws(E, C, a, T, rho)


def prior_draws(own: Sequence[int | None], count: int) -> Draws:
    """The law before anything is measured: one draw, the centre of the prior.

    Example:
        >>> prior_draws([0], 2).T.round(2).tolist()  # its own domain, and another
        [[[1.0, 0.2]]]
    """
    centres = np.array([_prior(count, one, 1.0)[0] for one in own])
    ones = np.ones((1, len(own)))
    return Draws(0 * ones, ones, np.exp(centres[None, :, 2]), np.exp(centres[None, :, 3:]), 1.0)


def final_losses(draws: Draws, mean: Floats) -> tuple[Floats, Floats]:
    """Losses (num, sets) at the end of a run of mean mixture ``mean`` (K,), and slopes (num, sets, K) in it."""
    s = np.maximum(draws.T @ mean, 1e-9)
    power = draws.C * s**-draws.a
    return draws.E + power, -(draws.a * power / s)[:, :, None] * draws.T


def plan(
    draws: Draws,
    objective: Floats,
    past: Floats,
    remaining: float,
    base: Floats,
    limits: Any,
    caution: float,
) -> Floats:
    """Weights (K,) for the rest of the run that make its end best.

    Minimises, over the draws, the mean of the objective at the end plus ``caution`` times the standard deviation of its
    difference to that of going on with ``base``: where the run has told little, the plan stays near ``base``.

    Args:
        draws: possible laws.
        objective: (sets,) weights.
        past: (K,) what the mean mixture of the whole run owes to the tokens drawn so far.
        remaining: what it owes to the rest, in (0, 1].
        base: (K,) weights of the alternative, within the limits.
        limits: constraints for ``scipy.optimize.minimize`` and bounds: ``(bounds, constraints)``.
        caution: 0 plans by the mean alone.

    Example:
        >>> free = [(0.0, 1.0)] * 2, [{"type": "eq", "fun": lambda q: q.sum() - 1}]
        >>> even = np.full(2, 0.5)
        >>> plan(prior_draws([0, 1], 2), np.array([0.8, 0.2]), np.zeros(2), 1.0, even, free, 0.0).round(2).tolist()
        [0.87, 0.13]
    """
    from scipy.optimize import minimize

    there = np.einsum("ns,s->n", final_losses(draws, past + remaining * base)[0], objective)

    def value(q: Floats) -> tuple[float, Floats]:
        losses, slopes = final_losses(draws, past + remaining * q)
        gap = losses @ objective - there
        slope = remaining * np.einsum("nsk,s->nk", slopes, objective)
        mean, around = gap.mean(), gap - gap.mean()
        sd = float(np.sqrt(np.mean(around**2) + 1e-12))
        return mean + caution * sd, slope.mean(axis=0) + caution * (around @ slope) / (len(gap) * sd)

    bounds, constraints = limits
    best, lowest = base, value(base)[0]
    for start in (base, 0.5 * base + 0.5 / len(base)):
        found = minimize(
            value, start, jac=True, method="SLSQP", bounds=bounds, constraints=constraints, options={"maxiter": 100}
        )
        q = np.clip(found.x, 0, None)
        kept = all(np.all(one["fun"](q) >= -1e-8) for one in constraints if one["type"] == "ineq")
        if np.isfinite(q).all() and abs(q.sum() - 1) < 1e-6 and kept and value(q)[0] < lowest - 1e-9:
            best, lowest = q / q.sum(), value(q)[0]
    return np.asarray(best)

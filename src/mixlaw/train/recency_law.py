"""A law of one run's own losses: each validation set's loss against what the run has drawn so far, late tokens counted
for more; with its uncertainty, so that the rest of the run can be planned from it.

For set i after a share u of the run, with the mean mixture ``r(u)`` of the tokens until then:

    L_i(u) = E_i + C_i u^(-b_i) + 2 k_i ((s_i(u) / s_i0)^(-1/2) - 1),     s_i(u) = sum_j T_ij r_j(u)

The first two terms are how the loss falls with time at a base mixture. ``s_i`` is the *effective share* of the set, and
``s_i0`` that of the base: a token of domain j is worth T_ij tokens of the set's own domain, as in the law of effective
tokens. k_i is how fast the loss falls with the logarithm of that share at the base, in nats. In ``r(u)`` the tokens at
a share v of the run weigh ``v^rho``: with rho = 0 all weigh alike, with rho = 1 the last token weighs twice the average
one (the recency of the law over phases, in continuous form).

Why not one power of u s_i: in a short run much of the fall with time is learning that every domain brings, so the
exponent in time says little about what a larger share would bring. The exponent 1/2 of the share is a choice: a share
that is halved costs more than a doubled one brings.

One run cannot tell all parameters, so they have priors. A set's own domain has T = 1 and others are worth a twelfth of
it, within a factor of about two. The k of the sets are alike within a tenth, around a value that the run tells: early
in a run they differ more, but not in the way in which they differ at its end. What
the run has not told stays as wide as the prior, and is in the draws.
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
_GAIN, _GAIN_SD = np.log(0.4), 0.5  # of log k, before the sets are compared
_SHARE_EXPONENT = 0.5
_ALIKE = 0.1  # standard deviation of log k between the sets of one run
_TRANSFER, _TRANSFER_SD = np.log(0.08), 0.7
_FLAT_SD = 1.0  # of log T where a set has no domain of its own
_LEAST_NOISE = 0.03  # nats: what a probe's loss is off from a smooth curve at least


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
    """The law of one set: parameters ``(z, log C, log b, log k, log T_1 .. log T_K)`` with ``E = sigmoid(z) * scale``.

    Args:
        theta: (4 + K,) the most likely parameters.
        root: (4 + K, 4 + K) with ``root @ root.T`` their covariance.
        scale: nats, the loss of which E is a share.
        cost: sum of squares, of residuals over their noise and of parameters under their prior, for choosing rho.

    Example:
        >>> SetFit(np.zeros(6), np.zeros((6, 6)), scale=3.0, cost=0.0).scale
        3.0
    """

    theta: Floats
    root: Floats
    scale: float
    cost: float


@dataclass
class Draws:
    """Possible laws: ``k`` (num, sets) and ``T`` (num, sets, K), at one recency, around a ``base`` (K,).

    Example:
        >>> prior_draws([0, 1], 2).k.shape
        (1, 2)
    """

    k: Floats
    T: Floats
    rho: float
    base: Floats


def fit_sets(
    history: History, shares: Floats, losses: Floats, own: Sequence[int | None], rho: float, base: Floats
) -> list[SetFit]:
    """Fit every set at one recency.

    Args:
        history: what was drawn.
        shares: (R,) shares of the run at which losses were measured.
        losses: (R, sets) nats per token.
        own: index of the domain that each set was held out of, or None.
        rho: the recency.
        base: (K,) the mixture around which the law is written.

    Example:
        >>> history = History(np.array([0.3, 0.6]), np.array([[0.7, 0.3], [0.3, 0.7]]))
        >>> u = np.array([0.2, 0.3, 0.4, 0.5, 0.6])
        >>> s = np.array([history.mean(x, 0.0)[0] for x in u])
        >>> (fit,) = fit_sets(history, u, (1.5 + u**-0.3 - 0.4 * np.log(s))[:, None], [0], 0.0, np.full(2, 0.5))
        >>> len(fit.theta)
        6
    """
    mean = np.array([history.mean(float(u), rho) for u in shares])
    sets = range(losses.shape[1])
    apart = [_fit_one(shares, mean, losses[:, i], own[i], base, _GAIN, _GAIN_SD) for i in sets]
    if len(apart) == 1:
        return apart
    # What is common to the sets is told by all of them; by how much each differs, only by itself.
    precision = np.array([1 / (np.sum(fit.root[3] ** 2) + _ALIKE**2) for fit in apart])
    common = float(precision @ [fit.theta[3] for fit in apart] / precision.sum())
    return [_fit_one(shares, mean, losses[:, i], own[i], base, common, _ALIKE) for i in sets]


def _prior(count: int, own: int | None, scale: float, gain: float, gain_sd: float) -> tuple[Floats, Floats]:
    """Centre and standard deviation of the parameters."""
    centre = np.concatenate([[0.0, np.log(0.3 * scale), _EXPONENT, gain], np.full(count, _TRANSFER)])
    spread = np.concatenate([[1.0, 3.0, _EXPONENT_SD, gain_sd], np.full(count, _TRANSFER_SD)])
    if own is None:
        centre[4:], spread[4:] = 0.0, _FLAT_SD
    else:
        centre[4 + own], spread[4 + own] = 0.0, 1e-3
    return centre, spread


def _curve(theta: Floats, u: Floats, mean: Floats, scale: float, base: Floats) -> tuple[Floats, Floats]:
    """Losses (R,) and their slopes (R, 4 + K)."""
    E = scale / (1 + np.exp(-theta[0]))
    C, b, k, T = np.exp(theta[1]), np.exp(theta[2]), np.exp(theta[3]), np.exp(theta[4:])
    parts, there = mean * T, base * T
    s, s0 = np.maximum(parts.sum(axis=1), 1e-9), there.sum()
    power, share = C * u**-b, (s / s0) ** -_SHARE_EXPONENT
    slopes = np.empty((len(u), len(theta)))
    slopes[:, 0] = E * (1 - E / scale)
    slopes[:, 1] = power
    slopes[:, 2] = -power * b * np.log(u)
    slopes[:, 3] = k * (share - 1) / _SHARE_EXPONENT
    slopes[:, 4:] = -k * share[:, None] * (parts / s[:, None] - there / s0)
    return E + power + slopes[:, 3], slopes


def _fit_one(u: Floats, mean: Floats, y: Floats, own: int | None, base: Floats, gain: float, gain_sd: float) -> SetFit:
    from scipy.optimize import least_squares

    scale = float(y[-1])
    centre, spread = _prior(mean.shape[1], own, scale, gain, gain_sd)
    noise = _LEAST_NOISE
    theta = centre.copy()
    for _ in range(2):  # the noise is learned from the first fit

        def residuals(p: Floats, noise: float = noise) -> Floats:
            return np.concatenate([(_curve(p, u, mean, scale, base)[0] - y) / noise, (p - centre) / spread])

        def slopes(p: Floats, noise: float = noise) -> Floats:
            return np.vstack([_curve(p, u, mean, scale, base)[1] / noise, np.diag(1 / spread)])

        wide = 8 * np.maximum(spread, 1e-3)
        found = least_squares(residuals, theta, slopes, bounds=(centre - wide, centre + wide), max_nfev=60)
        theta = found.x
        off = _curve(theta, u, mean, scale, base)[0] - y
        noise = max(_LEAST_NOISE, float(np.sqrt(np.sum(off**2) / max(len(y) - 4, 1))))
    J = slopes(theta, noise)
    values, vectors = np.linalg.eigh(J.T @ J)
    root = vectors / np.sqrt(np.maximum(values, 1e-12))
    cost = float(np.sum(residuals(theta, noise) ** 2) + 2 * len(y) * np.log(noise))
    return SetFit(theta, np.asarray(root), scale, cost)


def draw(fits: Sequence[SetFit], rho: float, num: int, rng: np.random.Generator, base: Floats) -> Draws:
    """``num`` laws from what the fits leave open; the first is the most likely one.

    Example:
        >>> fit = SetFit(np.zeros(6), 0.1 * np.eye(6), scale=3.0, cost=0.0)
        >>> draw([fit], 0.0, 8, np.random.default_rng(0), np.full(2, 0.5)).T.shape
        (8, 1, 2)
    """
    k = np.empty((num, len(fits)))
    T = np.empty((num, len(fits), len(fits[0].theta) - 4))
    for i, fit in enumerate(fits):
        noise = rng.standard_normal((num, len(fit.theta)))
        noise[0] = 0
        theta = fit.theta + noise @ fit.root.T
        k[:, i], T[:, i] = np.exp(np.clip(theta[:, 3], -5, 2)), np.exp(np.clip(theta[:, 4:], -6, 3))
    return Draws(k, T, rho, base)


def prior_draws(own: Sequence[int | None], count: int) -> Draws:
    """The law before anything is measured: one draw, the centre of the prior.

    Example:
        >>> prior_draws([0], 2).T.round(2).tolist()  # its own domain, and another
        [[[1.0, 0.08]]]
    """
    centres = np.exp([_prior(count, one, 1.0, _GAIN, _GAIN_SD)[0] for one in own])
    return Draws(centres[None, :, 3], centres[None, :, 4:], 1.0, np.full(count, 1 / count))


def final_losses(draws: Draws, mean: Floats) -> tuple[Floats, Floats]:
    """What the mean mixture ``mean`` (K,) of a whole run adds to the losses at its end (num, sets), and slopes in it
    (num, sets, K)."""
    s = np.maximum(draws.T @ mean, 1e-9)
    share = draws.k * (s / (draws.T @ draws.base)) ** -_SHARE_EXPONENT
    return (share - draws.k) / _SHARE_EXPONENT, -(share / s)[:, :, None] * draws.T


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
        [0.75, 0.25]
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

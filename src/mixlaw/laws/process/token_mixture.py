"""The mixture of experts' predictions, token by token: its loss, slope and minimiser over the simplex.

With p_k(x) the probability that expert k gives the token x, a mixture r of the experts has the loss
``-mean_x log sum_k r_k p_k(x)``: convex in r, and no more than the best expert's at the optimum.

Source: MixMin, Thudi et al. 2025, arXiv:2502.10510; the fixed point is that of EM for the weights of a finite mixture
(Dempster, Laird & Rubin 1977).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mixlaw.kit.arrays import Array

__all__ = ["Minimum", "loss", "minimise", "scaled", "slope"]

_BLOCK = 4_000_000  # numbers in one block of tokens times mixtures
_FLOOR = 1e-300


class Minimum(NamedTuple):
    """``weights`` (K,), the ``loss`` there in nats, and ``gap``: the loss is at most so far above the least one.

    Example:
        >>> Minimum(np.array([0.5, 0.5]), 0.69, 0.0).gap
        0.0
    """

    weights: Array
    loss: float
    gap: float


def scaled(logprobs: Array) -> tuple[Array, float]:
    """Probabilities (n, K) over the largest of each token, and the mean log of the latter: what the others take, so
    that nothing underflows.

    Example:
        >>> ratios, level = scaled(np.log([[0.5, 0.25]]))
        >>> ratios.tolist(), round(level, 4)
        ([[1.0, 0.5]], -0.6931)
    """
    top = logprobs.max(axis=1)
    return np.exp(logprobs - top[:, None]), float(top.mean())


def loss(ratios: Array, level: float, R: Array) -> Array:
    """(m,) losses in nats per token of mixtures R (m, K), from what :func:`scaled` gave.

    Example:
        >>> ratios, level = scaled(np.log([[0.5, 0.25], [0.125, 0.5]]))
        >>> loss(ratios, level, np.array([[1.0, 0.0], [0.5, 0.5]])).round(4).tolist()
        [1.3863, 1.072]
    """
    out = np.empty(len(R))
    step = max(1, _BLOCK // len(ratios))
    for start in range(0, len(R), step):
        mixed = ratios @ R[start : start + step].T
        out[start : start + step] = -np.log(np.maximum(mixed, _FLOOR)).mean(axis=0) - level
    return out


def slope(ratios: Array, R: Array) -> Array:
    """(m, K) d loss / d r at mixtures R (m, K).

    Example:
        >>> ratios, level = scaled(np.log([[0.5, 0.25], [0.125, 0.5]]))
        >>> slope(ratios, np.array([[0.5, 0.5]])).round(4).tolist()
        [[-0.8667, -1.1333]]
    """
    return np.stack([-(ratios / np.maximum(ratios @ r, _FLOOR)[:, None]).mean(axis=0) for r in R])


def minimise(sets: Sequence[tuple[Array, float]], weights: Array, tolerance: float = 1e-7, most: int = 3000) -> Minimum:
    """The mixture of least weighted mean loss over the simplex.

    Multiplicative steps ``r_k <- r_k g_k^s`` with ``g`` the negative slope: s = 1 is EM, which never raises the loss;
    longer steps (exponentiated gradient) are taken while they lower it. As the loss is convex and ``g`` has the mean 1
    under r, the loss is at most ``max_k g_k - 1`` above the least one: the certificate.

    Args:
        sets: what :func:`scaled` gave of each validation set.
        weights: (T,) of the sets, not negative, with a positive sum.
        tolerance: the gap, in nats, at which to stop.
        most: steps at most.

    Example:
        >>> disjoint = scaled(np.log(np.maximum([[0.4, 0.0], [0.4, 0.0], [0.4, 0.0], [0.0, 0.9]], 1e-14)))
        >>> found = minimise([disjoint], np.ones(1))  # three of four tokens are those of the first expert
        >>> found.weights.round(4).tolist(), bool(found.gap < 1e-6)
        ([0.75, 0.25], True)
    """
    share = np.asarray(weights, dtype=float) / np.sum(weights)
    used = [(ratios, level, w) for (ratios, level), w in zip(sets, share) if w > 0]

    def value(r: Array) -> float:
        return sum(w * float(loss(ratios, level, r[None])[0]) for ratios, level, w in used)

    def rise(r: Array) -> Array:
        return -sum((w * slope(ratios, r[None])[0] for ratios, _, w in used), np.zeros(len(r)))

    r = np.full(used[0][0].shape[1], 1.0 / used[0][0].shape[1])
    now, length = value(r), 1.0
    for _ in range(most):
        g = rise(r)
        if g.max() - 1 <= tolerance:
            break
        tried = r * np.maximum(g, _FLOOR) ** length
        tried /= tried.sum()
        there = value(tried)
        if there <= now or length == 1.0:  # EM's own step may rise by rounding error only
            r, now, length = tried, there, min(2 * length, 64.0)
        else:
            length = 1.0
    return Minimum(r, now, max(float(rise(r).max() - 1), 0.0))

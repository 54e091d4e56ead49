"""Where fits of mixture laws begin: slopes read off the losses, and jittered copies of given starts."""

from __future__ import annotations

import numpy as np

from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array

__all__ = ["linear_slopes", "log_excess_slopes", "resize_starts"]


def resize_starts(base: Array, num: int | None, spread: float, seed: int) -> Array:
    """``base`` (T, S, P) cut or grown to ``num`` starts: further ones are the given ones plus Gaussian jitter.

    Args:
        base: (T, S, P) starts of T targets.
        num: of starts per target wanted (None: as many as given).
        spread: standard deviation of the jitter, in the units of the parameters. All targets share it.
        seed: of the jitter.

    Raises:
        ConfigError: ``num`` below 1.

    Example:
        >>> resize_starts(np.zeros((2, 3, 4)), 5, spread=1.0, seed=0).shape
        (2, 5, 4)
    """
    if num is None or num == base.shape[1]:
        return base
    if num < 1:
        raise ConfigError(f"num_starts={num!r} must be at least 1.")
    if num < base.shape[1]:
        return base[:, :num]
    extra = num - base.shape[1]
    again = base[:, np.arange(extra) % base.shape[1]]
    jitter = np.random.default_rng(seed).normal(size=(extra, base.shape[2]))
    return np.concatenate([base, again + spread * jitter[None]], axis=1)


def linear_slopes(X: Array, values: Array) -> tuple[Array, Array]:
    """Slopes (..., K) of a linear regression of ``values`` (..., n) on mixtures X (n, K), and X about its mean (n, K).

    A start need not be exact: a ridge that grows as rows get few keeps the slopes from fitting their noise.

    Example:
        >>> X = np.random.default_rng(0).dirichlet(np.ones(2), 50)
        >>> linear_slopes(X, X @ [1.0, 3.0])[0].round(1).tolist()
        [-1.0, 1.0]
    """
    Z = X - X.mean(axis=0)
    gram = Z.T @ Z
    gram[np.diag_indices_from(gram)] += (1e-6 + 0.02 / len(X)) * max(float(np.trace(gram)), 1e-12) + 1e-9
    return np.linalg.solve(gram, (values @ Z)[..., None])[..., 0], Z


def log_excess_slopes(X: Array, Y: Array, below: Array) -> tuple[Array, Array]:
    """Slopes of the logarithm of how far losses lie above a floor: where the rates of an exponential law begin.

    Args:
        X: (n, K) mixtures.
        Y: (n, T) losses in nats, without NaN.
        below: (S,) how far each floor lies below a target's lowest loss, in ranges of its losses. A negative entry
            mirrors: ``log(c - y)``, with c that far above the highest loss.

    Returns:
        slopes (T, S, K) of ``log(y - c)`` on the mixture about its mean, and the floors c (T, S). Slopes under which
        the exponent would exceed 6 at some mixture are scaled down to that.

    Example:
        >>> X = np.random.default_rng(0).dirichlet(np.ones(2), 50)
        >>> slopes, floors = log_excess_slopes(X, np.exp(X @ [[-2.0], [0.0]]), np.array([0.2, 1.0]))
        >>> slopes.shape, bool((slopes[0, :, 0] < slopes[0, :, 1]).all())
        ((1, 2, 2), True)
    """
    low, high = Y.min(axis=0), Y.max(axis=0)
    width = np.maximum(high - low, 1e-9 * np.maximum(np.abs(high), 1.0))
    mirror = below < 0
    floor = np.where(mirror[None], high[:, None], low[:, None]) - below[None] * width[:, None]
    gap = np.abs(Y.T[:, None, :] - floor[:, :, None])  # (T, S, n)
    slopes, Z = linear_slopes(X, np.log(np.maximum(gap, 1e-300)))
    reach = np.abs(slopes @ Z.T).max(axis=-1, keepdims=True)
    return slopes * np.minimum(1.0, 6.0 / np.maximum(reach, 1e-12)), floor

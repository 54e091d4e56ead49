"""Power laws fitted to the training losses of all domains at once, cheaply enough to do it again and again in a run."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["curve", "fit_curves", "smoothed"]

Floats = npt.NDArray[np.float64]

HUBER = 1e-3  # in log loss
LARGEST_LOG_B, SMALLEST_LOG_E, EXPONENTS = 6.5, 0.5, (0.001, 0.8)
GRID = np.stack(
    np.meshgrid(np.arange(-2.0, 6.0), np.arange(-2.0, 2.0, 0.5), np.arange(0.0, 0.8, 0.1), indexing="ij"), axis=-1
).reshape(-1, 3)
GRID_POINTS, FIT_POINTS = 16, 64
STARTS, TOLERANCE = 2, 1e-4
FIRST_ITERATIONS, NEXT_ITERATIONS = 60, 20  # the next fit goes on from the previous one


def curve(parameters: Floats, steps: Floats) -> Floats:
    """Loss in nats, ``exp(log e) + exp(log b) * steps ** -a``, of ``parameters`` (..., 3): log b, log e, a.

    Args:
        parameters: (..., 3).
        steps: (P,).

    Returns:
        (..., P).

    Example:
        >>> curve(np.array([math.log(4.0), math.log(2.0), 0.5]), np.array([1.0, 4.0])).tolist()
        [6.0, 4.0]
    """
    log_b, log_e, a = (parameters[..., i, None] for i in range(3))
    return np.asarray(np.exp(log_e) + np.exp(log_b - a * np.log(steps)))


def smoothed(losses: Floats, window: int, order: int = 3) -> Floats:
    """``losses`` (T, K) smoothed over time by polynomials over ``window`` points (Savitzky-Golay); the ends take the
    polynomial of the first and last window. A window that is longer than the losses, or even, is shortened.

    Example:
        >>> line = np.arange(9.0)[:, None]
        >>> np.allclose(smoothed(line, 5), line)
        True
    """
    count = len(losses)
    window = min(window, count)
    window -= 1 - window % 2
    if window <= order:
        return losses
    half = window // 2
    powers = np.vander(np.linspace(-1.0, 1.0, window), order + 1)
    project = powers @ np.linalg.pinv(powers)  # (window, window): values of the fitted polynomial
    result = np.empty_like(losses)
    windows = np.lib.stride_tricks.sliding_window_view(losses, window, axis=0)  # (T - window + 1, K, window)
    result[half : count - half] = windows @ project[half]
    result[:half] = project[:half] @ losses[:window]
    result[count - half :] = project[half + 1 :] @ losses[count - window :]
    return result


def fit_curves(steps: Floats, losses: Floats, previous: Floats | None = None) -> Floats:
    """Parameters (K, 3) of :func:`curve` that minimise the Huber loss (1e-3) of the log losses.

    The two best points of a grid, and the previous fit, are improved by damped least squares with weights, all at once,
    on at most 64 points. Bounds: log b <= 6.5, 0.001 <= a <= 0.8 and log e >= 0.5, as published; the last is lower for
    a domain that has losses below twice 1.65 nats (half of its smallest), which the published bound would not fit.

    Args:
        steps: (P,), positive, rising.
        losses: (P, K) nats.
        previous: (K, 3), or None.

    Returns:
        (K, 3); NaN where a loss is not positive.

    Source: the fit of ADO, Jiang et al. 2024, arXiv:2410.11820, which runs L-BFGS from all 512 points of the grid.

    Example:
        >>> steps = np.arange(20.0, 400.0)
        >>> true = np.array([[1.5, 0.8, 0.3], [2.0, 1.0, 0.5]])
        >>> bool(np.abs(fit_curves(steps, curve(true, steps).T) - true).max() < 0.01)
        True
    """
    chosen = np.unique(np.linspace(0, len(steps) - 1, FIT_POINTS).round().astype(int))
    steps, losses = steps[chosen], losses[chosen].T  # losses (K, P) from here on
    possible = np.asarray((np.isfinite(losses) & (losses > 0)).all(axis=1))
    logs = np.log(np.where(possible[:, None], losses, 1.0))
    low = np.full((len(logs), 1, 3), [-10.0, SMALLEST_LOG_E, EXPONENTS[0]])
    low[:, 0, 1] = np.minimum(low[:, 0, 1], logs.min(axis=1) - math.log(2))
    high = np.full((len(logs), 1, 3), [LARGEST_LOG_B, 0.0, EXPONENTS[1]])
    high[:, 0, 1] = logs.max(axis=1)
    parameters = _starts(steps, logs, low, high, previous)
    log_steps = np.log(steps)
    share, rest = _shares(parameters, log_steps, logs)
    misfit = _misfit(rest)
    damping, done = np.full(misfit.shape, 1e-3), np.zeros(misfit.shape, dtype=bool)
    for _ in range(FIRST_ITERATIONS if previous is None else NEXT_ITERATIONS):
        slopes = np.stack([share, 1 - share, -share * log_steps], axis=-2)  # (K, S, 3, P)
        weighted = slopes * np.minimum(1.0, HUBER / np.maximum(np.abs(rest), 1e-12))[..., None, :]
        descent = (weighted @ rest[..., None])[..., 0]
        free = ~((parameters <= low) & (descent < 0) | (parameters >= high) & (descent > 0))  # not pushed out of bounds
        normal = weighted @ slopes.swapaxes(-1, -2) * (free[..., None] & free[..., None, :])
        diagonal = np.diagonal(normal, axis1=-2, axis2=-1)
        ridge = damping[..., None] * diagonal + np.maximum(1e-12 * diagonal.max(-1, keepdims=True), 1e-30)
        move = np.linalg.solve(normal + np.eye(3) * ridge[..., None], (free * descent)[..., None])[..., 0]
        trial = np.clip(parameters + move, low, high)
        trial_share, trial_rest = _shares(trial, log_steps, logs)
        after = _misfit(trial_rest)
        better = after < misfit
        done |= (misfit - after <= TOLERANCE * misfit) & (better | (damping > 1e4))
        parameters = np.where(better[..., None], trial, parameters)
        share, rest = np.where(better[..., None], (trial_share, trial_rest), (share, rest))
        misfit, damping = np.where(better, after, misfit), np.where(better, damping / 5, damping * 5)
        if done.all():
            break
    best = np.take_along_axis(parameters, misfit.argmin(axis=1)[:, None, None], axis=1)[:, 0]
    return np.where(possible[:, None], best, math.nan)


def _starts(steps: Floats, logs: Floats, low: Floats, high: Floats, previous: Floats | None) -> Floats:
    """The best points of the grid for each domain, and the previous fit: (K, S, 3), inside the bounds."""
    few = np.unique(np.linspace(0, len(steps) - 1, GRID_POINTS).round().astype(int))
    misfit = _misfit(np.log(curve(GRID, steps[few]))[None] - logs[:, None, few])  # (K, G)
    starts = GRID[np.argpartition(misfit, STARTS, axis=1)[:, :STARTS]]
    if previous is not None and np.isfinite(previous).all():
        starts = np.concatenate([starts, previous[:, None]], axis=1)
    return np.asarray(np.clip(starts, low, high))


def _shares(parameters: Floats, log_steps: Floats, logs: Floats) -> tuple[Floats, Floats]:
    """The reducible part's share of the curve, and what is left of the log losses: (K, S, P) each."""
    power = np.exp(parameters[..., 0, None] - parameters[..., 2, None] * log_steps)
    total = power + np.exp(parameters[..., 1, None])
    return power / total, logs[:, None] - np.log(total)


def _misfit(residuals: Floats) -> Floats:
    size = np.abs(residuals)
    return np.asarray(np.where(size > HUBER, HUBER * (size - HUBER / 2), size**2 / 2).sum(axis=-1))

"""Hyperparameters drawn from their posterior, for the few runs where the single best ones are a matter of luck.

Legend: ``u`` (P,) the flat hyperparameters of :mod:`mixlaw.laws.process.gp_kernel`, whose prior is N(0, 1); the
negative log posterior is the kernel's objective. Hamiltonian Monte Carlo starts at the optimum; its steps are scaled
by the curvature of each group of hyperparameters there, and their common length is set while the first quarter of the
draws, which is thrown away, is made. Deterministic, and the same for any order of domains and targets: random numbers
are dealt in an order that comes from the runs.

Source: Neal 2011, MCMC using Hamiltonian dynamics, arXiv:1206.1901.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConvergenceError
from mixlaw.kit.arrays import Array
from mixlaw.laws.process import gp_kernel as gk

__all__ = ["draw"]

_LEAPS = 10  # gradient steps from one draw to the next
_BURN, _APART, _KEPT = 12, 7, 4  # draws thrown away; then every seventh is kept, four in all
_ACCEPT = 0.7
_FAR = 12.0  # standard deviations of the prior


def draw(u: Array, data: gk.Data, layout: gk.Layout, seed: int) -> list[Array]:
    """Four vectors of hyperparameters (P,) from the posterior around its optimum ``u`` (P,).

    Example:
        >>> from mixlaw.laws.process.gp_kernel import MEMBERS, Data, Layout, standardize
        >>> layout = Layout(MEMBERS["log/log"], num_targets=1, num_domains=2)
        >>> R, y, ones = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]), np.array([[3.0, 2.6, 2.5]]), np.ones((1, 3))
        >>> data = Data(R, y, ones, np.zeros((1, 2)), standardize(y, ones), ones)
        >>> u = np.zeros(layout.size)
        >>> draw(u, data, layout, seed=0)[0].shape == u.shape
        True
    """
    rng = np.random.default_rng(seed)
    place = _places(data, layout)
    value, slope = _objective(u, data, layout)
    unit = 1 / np.sqrt(_curvature(u, slope, data, layout, rng.choice([-1.0, 1.0], len(u))[place]))
    step, kept = 0.3, []
    for turn in range(_BURN + _APART * _KEPT):
        speed = rng.standard_normal(len(u))[place]
        before = value + 0.5 * float(speed @ speed)
        length, lot = step * rng.uniform(0.8, 1.2), rng.random()
        point, new_value, new_slope = u, value, slope
        for _ in range(_LEAPS):
            speed = speed - 0.5 * length * unit * new_slope
            point = point + length * unit * speed
            new_value, new_slope = _objective(point, data, layout)
            if not math.isfinite(new_value):
                break
            speed = speed - 0.5 * length * unit * new_slope
        gain = before - (new_value + 0.5 * float(speed @ speed))
        chance = math.exp(min(0.0, gain)) if math.isfinite(new_value) else 0.0
        if lot < chance:
            u, value, slope = point, new_value, new_slope
        if turn < _BURN:
            step *= math.exp(chance - _ACCEPT)
        elif (turn - _BURN) % _APART == _APART - 1:
            kept.append(u)
    return kept


def _objective(u: Array, data: gk.Data, layout: gk.Layout) -> tuple[float, Array]:
    """The kernel's; a wall stands where the covariance breaks down and where the prior would never go."""
    if not np.abs(u).max() < _FAR:
        return math.inf, u
    try:
        return gk.objective(u, data, layout)
    except ConvergenceError:
        return math.inf, u


def _curvature(u: Array, slope: Array, data: gk.Data, layout: gk.Layout, signs: Array) -> Array:
    """Second derivative (P,) along each hyperparameter, one mean for each group; at least the prior's 1."""
    out, small = np.ones(len(u)), 1e-2
    for part in layout.slices.values():
        move = np.zeros(len(u))
        move[part] = signs[part]
        value, there = _objective(u + small * move, data, layout)
        if math.isfinite(value):
            out[part] = max(1.0, float(((there - slope)[part] * signs[part]).mean()) / small)
    return out


def _places(data: gk.Data, layout: gk.Layout) -> npt.NDArray[np.int64]:
    """(P,) which random number each hyperparameter gets, by its domain's and target's rank instead of its column."""
    keys = np.round([(data.r**2).sum(axis=0), data.r.sum(axis=0)], 9)
    seen = data.y * data.seen
    domain = np.argsort(np.lexsort(keys))
    target = np.argsort(np.lexsort(np.round([(seen**2).sum(axis=1), seen.sum(axis=1)], 9)))
    T, m = layout.num_targets, layout.num_domains
    places = {"": np.zeros(1, dtype=np.int64), "m": domain, "T": target}
    places |= {"Tm": np.ravel(target[:, None] * m + domain), "TT": np.ravel(target[:, None] * T + target)}
    return np.concatenate([part.start + places[layout.shape(name)] for name, part in layout.slices.items()])

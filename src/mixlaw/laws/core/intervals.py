"""Prediction intervals that cover: for a new observation, from the errors of rows that fits had not seen.

Errors ``e`` of held-out rows are divided by a local scale ``s(x) = noise(x) * sqrt(1 + h(x))``, where ``h`` is the
leverage of x among the rows (of logarithms for sizes and tokens): it grows outside the region that was tried. The
``(1 + 1/n) level`` quantile of ``|e| / s`` times ``s(x)`` is the half width. Whatever the law, such an interval covers
at its level on rows exchangeable with the training rows; below 40 rows the standardised errors of all targets are
pooled. Weights of rows count in all of this, on any scale; a row of weight 0 counts nowhere. It says nothing about
another regime (larger models, more tokens) than the rows came from. Method: split/cross conformal prediction,
Lei et al. 2016, arXiv:1604.04173 (with their locally weighted scores).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.heldout import relative_weights
from mixlaw.laws.core.replicates import Noise

__all__ = ["Conformal", "check_level"]

_LEVELS = np.concatenate([np.linspace(0.0, 0.9, 46), np.linspace(0.905, 1.0, 39)])
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
_POOLED_BELOW = 40  # rows below which the targets' errors, each in its own unit, are put together


def check_level(level: float) -> None:
    """Refuse the level of an interval, a probability, outside (0, 1).

    Raises:
        ConfigError: level is 0 or less, or 1 or more.

    Example:
        >>> check_level(0.9)
        >>> check_level(90)
        Traceback (most recent call last):
        mixlaw.errors.ConfigError: level=90 must lie between 0 and 1, for example 0.9.
    """
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level={level!r} must lie between 0 and 1, for example 0.9.")


@dataclass(frozen=True)
class Conformal:
    """How wide an interval must be to cover a new observation, as held-out errors measured it.

    Attributes:
        levels: (L,) from 0 to 1.
        scores: (T, L) half widths at those levels where nothing is known of the place, in the targets' units.
        mean: (F,) of the rows' features.
        inverse: (F, F) inverse scatter of the features, for the leverage.
        noise: seed noise where it differs between places, else None.
        rows: equal rows that the least measured target is worth.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = Conformal.measure(rng.normal(size=(200, 1)), np.abs(rng.normal(size=(200, 1))))
        >>> bool(1.4 < found.half_width(np.zeros((1, 1)), 0.9)[0, 0] < 1.9)  # a normal error: 1.645
        True
    """

    levels: Array
    scores: Array
    mean: Array
    inverse: Array
    noise: Noise | None
    rows: int

    @classmethod
    def measure(
        cls,
        features: Array,
        errors: Array,
        sample_weight: npt.ArrayLike | None = None,
        noise: Noise | None = None,
        places: Array | None = None,
    ) -> Conformal:
        """From the held-out errors of rows.

        Args:
            features: (n, F) what leverage is measured in.
            errors: (n, T) absolute held-out errors, NaN where there are none.
            sample_weight: (n,) weights of the rows, on any scale. Rows of weight 0 count nowhere; the errors of the
                others count in the quantiles, and their features in the leverage, by their weights.
            noise: seed noise from replicates, looked up at ``places`` (n, K) (default: the features).

        Raises:
            DataError: shapes that disagree, or all weights 0.
        """
        if features.ndim != 2 or errors.ndim != 2 or len(features) != len(errors):
            raise DataError(f"features {features.shape} and errors {errors.shape} must be (n, F) and (n, T).")
        weight = relative_weights(len(features), sample_weight)
        used = weight > 0
        F, errors, weight = features[used], errors[used], weight[used]
        mean: Array = np.asarray(np.average(F, axis=0, weights=weight), dtype=float)
        gram = (F - mean).T @ ((F - mean) * weight[:, None])
        spread = np.trace(gram) / max(1, len(gram))
        # with few rows per direction an untried direction is unusual, not infinitely so
        gram[np.diag_indices_from(gram)] += spread * max(1e-3, len(gram) / weight.sum()) + 1e-12
        inverse: Array = np.asarray(np.linalg.inv(gram), dtype=float)
        h = _leverage(F - mean, inverse)
        # a held-out row's leverage among the others, h / (1 - w h), from its own among all of them
        local = np.sqrt((1.0 + (1.0 - weight) * h) / (1.0 - np.clip(weight * h, 0.0, 0.95)))[:, None]
        noise = noise if noise is not None and noise.varies.any() else None
        if noise is not None:
            local = local * noise.ratio(F if places is None else places[used])
        with np.errstate(invalid="ignore", divide="ignore"):
            known = [_in_order(column, weight) for column in (errors / local).T]
        count = [_effective(w) for _, w in known]
        return cls(_LEVELS, _quantiles(known, count), mean, inverse, noise, int(min(count)))

    def half_width(self, features: Array, level: float, places: Array | None = None) -> Array:
        """(n, T) half widths, in the unit of the targets, at features (n, F); ``places`` as in :meth:`measure`.

        Raises:
            ConfigError: level outside (0, 1).
        """
        check_level(level)
        leverage = _leverage(features - self.mean, self.inverse)
        local = np.sqrt(1.0 + np.maximum(leverage, 0.0))[:, None]
        if self.noise is not None:
            local = local * self.noise.ratio(features if places is None else places)
        return local * np.array([np.interp(level, self.levels, row) for row in self.scores])[None]

    def to_dict(self) -> dict[str, Any]:
        """Plain data and arrays, as a law saves them."""
        return {
            "levels": self.levels,
            "scores": self.scores,
            "shape": {"mean": self.mean, "inverse": self.inverse},
            "noise": None if self.noise is None else self.noise.to_dict(),
            "rows": self.rows,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Conformal:
        """Inverse of :meth:`to_dict`."""
        levels, scores, mean, inverse = (
            np.asarray(v, dtype=float)
            for v in (data["levels"], data["scores"], data["shape"]["mean"], data["shape"]["inverse"])
        )
        noise = data.get("noise")
        return cls(levels, scores, mean, inverse, Noise.from_dict(noise) if noise else None, int(data["rows"]))


def _leverage(away: Array, inverse: Array) -> Array:
    return np.einsum("ij,jk,ik->i", away, inverse, away)


def _quantiles(known: list[tuple[Array, Array]], count: list[float]) -> Array:
    """(T, L) scores at ``_LEVELS``; of few rows, those of all targets together, each in its own unit."""
    if min(count) >= _POOLED_BELOW:
        return np.stack([_upper_quantiles(s, w, n) for (s, w), n in zip(known, count)])
    unit = np.array([_robust_unit(*k) for k in known])
    both = [np.concatenate(v) for v in zip(*((s / u, w) for (s, w), u in zip(known, unit)))]
    scores, weight = _in_order(both[0], both[1])
    return np.stack([_upper_quantiles(scores * u, weight, n) for u, n in zip(unit, count)])


def _in_order(scores: Array, weight: Array) -> tuple[Array, Array]:
    """The finite scores in rising order, and their weights."""
    finite = np.flatnonzero(np.isfinite(scores))
    order = finite[np.argsort(scores[finite], kind="stable")]
    return scores[order], weight[order]


def _effective(weight: Array) -> float:
    """How many equal rows the weights are worth (Kish): their number where they are equal."""
    return float(weight.sum() ** 2 / (weight**2).sum()) if len(weight) else 0.0


def _robust_unit(scores: Array, weight: Array) -> float:
    if not len(scores):
        return 1.0
    total = np.cumsum(weight)
    lower, upper = (min(int(np.searchsorted(total, 0.5 * total[-1], s)), len(scores) - 1) for s in _SIDES)
    rms = float(np.sqrt(np.average(scores**2, weights=weight)))
    median = float(0.5 * (scores[lower] + scores[upper])) * 1.4826
    return max(min(rms, 3.0 * median) if median > 0 else rms, 1e-300)


def _upper_quantiles(scores: Array, weight: Array, n: float) -> Array:
    """Scores (rising) at ``_LEVELS``, each at the conformal rank ceil((n + 1) level) / n of the weight at hand."""
    if not len(scores):
        return np.zeros(len(_LEVELS))
    rank = np.ceil((n + 1) * _LEVELS) / max(n, 1)
    total = np.cumsum(weight)
    position = np.searchsorted(total, np.minimum(rank, 1.0) * total[-1], "left")
    out = scores[np.minimum(position, len(scores) - 1)]
    # beyond the largest score at hand the tail is continued as a Gaussian's, rather than called impossible
    beyond = rank > 1.0
    if beyond.any():
        top = n / (n + 1.0)
        z = NormalDist().inv_cdf
        base = z(0.5 + 0.5 * min(top, 1 - 1e-9))
        levels = np.minimum(_LEVELS[beyond], 0.9999)
        out[beyond] = scores[-1] * np.array([max(z(0.5 + 0.5 * q) / base, 1.0) for q in levels])
    return out

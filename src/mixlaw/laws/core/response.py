"""What a law predicts: the unit of y, the link behind which a model is linear, and how measurements scatter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.arrays import Array

__all__ = ["NATS", "SCORE", "TIME", "Response", "probability"]

Censoring = Literal["left", "right", "interval"]
_LINKS = ("identity", "log", "logit")
_LIKELIHOODS = ("normal", "binomial")
_LARGEST = 700.0  # exp beyond it is infinite


@dataclass(frozen=True)
class Response:
    """What y is. Four are in use: :data:`NATS`, :func:`probability`, :data:`TIME` and :data:`SCORE`.

    Attributes:
        unit: ``"nats"`` (losses per token), ``"probability"``, ``"time"`` (tokens or steps until an event) or
            ``"score"`` (any number).
        link: ``"identity"``, ``"log"`` or ``"logit"`` (of the part of the range above ``floor``).
        likelihood: ``"normal"`` behind the link, or ``"binomial"``: y is the share of ``num_items`` that came true.
        floor: the lowest mean of a probability (what guessing gets: 0.25 with four answers), 0 to below 1.
        censoring: which bounds a measurement may be instead of a value.

    Raises:
        ConfigError: an unknown link or likelihood, a floor outside [0, 1) or of what is no probability, or a likelihood
            that does not suit the unit.

    Example:
        >>> guessed = probability(floor=0.25)
        >>> guessed.from_link(guessed.to_link(np.array([0.5, 0.9]))).round(6).tolist()
        [0.5, 0.9]
        >>> guessed.check(np.array([[0.5], [1.2]]))
        Traceback (most recent call last):
        mixlaw.errors.DataError: y holds 1.2 in row 1, but a probability lies in [0, 1]. Give shares, not percentages.
    """

    unit: Literal["nats", "probability", "time", "score"]
    link: Literal["identity", "log", "logit"] = "identity"
    likelihood: Literal["normal", "binomial"] = "normal"
    floor: float = 0.0
    censoring: tuple[Censoring, ...] = ()

    def __post_init__(self) -> None:
        if self.link not in _LINKS:
            raise ConfigError(f"link={self.link!r} is not known. Use one of {', '.join(_LINKS)}.")
        if self.likelihood not in _LIKELIHOODS:
            raise ConfigError(f"likelihood={self.likelihood!r} is not known. Use one of {', '.join(_LIKELIHOODS)}.")
        if not 0.0 <= self.floor < 1.0:
            raise ConfigError(f"floor={self.floor!r} must lie in [0, 1): it is the score of guessing.")
        if self.floor and self.unit != "probability":
            raise ConfigError(f"floor={self.floor!r} is for probabilities; {self.unit!r} has none.")
        if (self.likelihood == "binomial") != (self.unit == "probability"):
            raise ConfigError(f"likelihood={self.likelihood!r} does not suit {self.unit!r}: binomial is for shares.")

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest value that y can take."""
        return {"probability": (0.0, 1.0), "time": (0.0, np.inf)}.get(self.unit, (-np.inf, np.inf))

    def check(self, Y: Array) -> None:
        """Refuse measurements (n, T) that cannot be of this unit; NaN (not measured) passes.

        Raises:
            DataError: a probability outside [0, 1], or a time that is not positive.
        """
        low, high = self.range
        wrong = (low > Y) | (high < Y) if self.unit == "probability" else low >= Y
        if not np.isfinite(low) or not wrong.any():
            return
        row, column = (int(i[0]) for i in np.where(wrong))
        what = (
            "a probability lies in [0, 1]. Give shares, not percentages"
            if self.unit == "probability"
            else ("a time is positive. Leave out runs that had not begun")
        )
        raise DataError(f"y holds {float(Y[row, column]):g} in row {row}, but {what}.")

    def to_link(self, values: npt.ArrayLike) -> Array:
        """Means in the unit of y (any shape) as the link sees them, without a unit; infinite at the ends of the
        range.
        """
        y = np.asarray(values, dtype=float)
        if self.link == "identity":
            return y
        with np.errstate(divide="ignore"):
            if self.link == "log":
                return np.asarray(np.log(y))
            share = np.clip((y - self.floor) / (1.0 - self.floor), 0.0, 1.0)
            return np.asarray(np.log(share) - np.log1p(-share))

    def from_link(self, values: npt.ArrayLike) -> Array:
        """Means in the unit of y (any shape), the inverse of :meth:`to_link`."""
        z = np.asarray(values, dtype=float)
        if self.link == "identity":
            return z
        if self.link == "log":
            return np.asarray(np.exp(np.minimum(z, _LARGEST)))
        return np.asarray(self.floor + (1.0 - self.floor) * 0.5 * (1.0 + np.tanh(0.5 * z)))

    def slope(self, values: npt.ArrayLike) -> Array:
        """d mean / d link, in the unit of y, at link values (any shape)."""
        z = np.asarray(values, dtype=float)
        if self.link == "identity":
            return np.ones_like(z)
        if self.link == "log":
            return self.from_link(z)
        half = np.tanh(0.5 * z)
        return np.asarray((1.0 - self.floor) * 0.25 * (1.0 - half) * (1.0 + half))

    def deviance(self, Y: Array, mean: Array, num_items: npt.ArrayLike = 1.0) -> Array:
        """Twice the log likelihood that each measurement loses at ``mean``, (n, T) like both; NaN where not measured.

        Normal: the squared difference behind the link, in units of its variance. Binomial: of ``num_items`` trials,
        of which the share Y came true.

        Args:
            Y, mean: (n, T).
            num_items: number, (n, 1) or (n, T) of trials behind each share; ignored by ``"normal"``.
        """
        if self.likelihood == "normal":
            return np.asarray((self.to_link(Y) - self.to_link(mean)) ** 2)
        inside = np.clip(mean, 1e-12, 1.0 - 1e-12)
        with np.errstate(divide="ignore", invalid="ignore"):
            hit = np.where(Y > 0, Y * np.log(Y / inside), np.where(np.isnan(Y), np.nan, 0.0))
            miss = np.where(Y < 1, (1 - Y) * np.log((1 - Y) / (1 - inside)), 0.0)
        return np.asarray(2.0 * np.asarray(num_items, dtype=float) * (hit + miss))

    def residual(self, Y: Array, mean: Array) -> tuple[Array, Array]:
        """Signed roots of the deviance of one item, and their slopes in the mean; arrays of the same shape.

        Half their weighted sum of squares is minus the log likelihood but for a constant, so least squares of them is
        maximum likelihood.

        Args:
            Y, mean: measured and predicted; finite, of one shape or broadcasting to it.

        Example:
            >>> root, slope = probability().residual(np.array([0.3]), np.array([0.3 + 1e-9]))
            >>> root.round(6).tolist(), slope.round(3).tolist()  # 1 / sqrt(0.3 * 0.7)
            ([0.0], [2.182])
        """
        if self.likelihood == "normal":
            at = self.to_link(mean)
            return np.asarray(at - self.to_link(Y)), np.asarray(1.0 / self.slope(at))
        inside = np.clip(mean, 1e-9, 1.0 - 1e-9)
        away = inside - Y
        root = np.sqrt(np.maximum(self.deviance(np.broadcast_to(Y, inside.shape), inside), 0.0))
        variance = inside * (1.0 - inside)
        near = np.abs(away) <= 1e-6 * variance  # there the root is the difference in standard deviations
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(near, 1.0 / np.sqrt(variance), np.abs(away) / (variance * root))
        return np.asarray(np.where(near, away / np.sqrt(variance), np.sign(away) * root)), np.asarray(slope)

    def scatter(self, mean: Array) -> Array:
        """How measurements scatter at different means, but for a common factor; shaped like ``mean``.

        Example:
            >>> probability().scatter(np.array([0.5, 0.9])).round(3).tolist(), NATS.scatter(np.array([2.0])).tolist()
            ([0.5, 0.3], [1.0])
        """
        if self.likelihood == "binomial":
            inside = np.clip(mean, 0.005, 0.995)  # near an end a share still scatters
            return np.asarray(np.sqrt(inside * (1.0 - inside)))
        return np.ones_like(mean)


NATS = Response("nats", censoring=("left", "right"))
"""Losses in nats per token."""

SCORE = Response("score")
"""Any number, higher or lower, without limits."""

TIME = Response("time", link="log", censoring=("left", "right", "interval"))
"""Tokens or steps until something happens; the logarithm is what scatters evenly."""


def probability(floor: float = 0.0) -> Response:
    """The response of a share of items answered: a logit above ``floor``, the score of guessing, and binomial scatter.

    Example:
        >>> probability(0.25).from_link(0.0).tolist()
        0.625
    """
    return Response("probability", link="logit", likelihood="binomial", floor=floor)

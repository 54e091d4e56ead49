"""A predicted number, which always travels with its interval."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from mixlaw.errors import DataError

__all__ = ["Prediction"]


@dataclass(frozen=True)
class Prediction:
    """A mean with a two-sided interval.

    Args:
        mean: point prediction, in ``unit``.
        low, high: ends of the interval, ``low <= mean <= high``.
        level: probability the interval claims to cover, e.g. 0.9.
        unit: ``"nats_per_token"`` unless said otherwise.

    Raises:
        DataError: not finite, or the ends do not enclose the mean.

    Example:
        >>> Prediction(2.5, 2.4, 2.6, 0.9).covers(2.45)
        True
    """

    mean: float
    low: float
    high: float
    level: float = 0.9
    unit: str = "nats_per_token"

    def __post_init__(self) -> None:
        values = (self.mean, self.low, self.high, self.level)
        if not all(math.isfinite(v) for v in values):
            raise DataError(f"A prediction must be finite, got {values}.")
        slack = 1e-9 * max(1.0, abs(self.mean))
        if not (self.low - slack <= self.mean <= self.high + slack and 0 < self.level < 1):
            raise DataError(
                f"A prediction needs low <= mean <= high and 0 < level < 1, got low={self.low}, "
                f"mean={self.mean}, high={self.high}, level={self.level}."
            )

    def covers(self, value: float) -> bool:
        """Whether ``value`` lies inside the interval."""
        return self.low <= value <= self.high

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Prediction:
        """Inverse of :meth:`to_dict`."""
        return cls(**data)

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}] ({self.level:.0%})"

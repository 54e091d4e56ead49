"""Learning-rate schedules, as functions of the step alone.

``wsd``: warm-up, constant, decay (Hägele et al. 2024, arXiv:2405.18392). ``cosine``: half a cosine after warm-up.
``constant``: warm-up, then constant; for tiny proxies it removes a confound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mixlaw.errors import ConfigError, did_you_mean

__all__ = ["LearningRate"]

_FIELDS: dict[str, dict[str, Any]] = {
    "wsd": {"peak": 4e-3, "warmup": 0.05, "decay": 0.2, "shape": "linear", "final": 0.0},
    "cosine": {"peak": 4e-3, "warmup": 0.05, "final": 0.1, "horizon": 1.0},
    "constant": {"peak": 4e-3, "warmup": 0.05},
}
_SHAPES = ("linear", "1-sqrt")


class LearningRate:
    """Learning rate at each step of a run of ``num_steps``.

    Args:
        spec: ``{"name": "wsd" | "cosine" | "constant", "peak": ..., ...}``; empty means ``wsd`` with its defaults.
            ``warmup`` and ``decay`` are fractions of the run. ``final`` is the end value over the peak. ``shape`` of
            the decay is ``"linear"`` or ``"1-sqrt"``. ``horizon`` stretches a cosine beyond the run: with 3.33 the
            run stops at 30% of its decay.
        num_steps: steps of the run.

    Raises:
        ConfigError: unknown name or field, or a value out of range.

    Example:
        >>> rate = LearningRate({"name": "wsd", "peak": 1.0, "warmup": 0.1, "decay": 0.5}, 10)
        >>> [round(rate(step), 2) for step in range(10)]
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]
    """

    def __init__(self, spec: Mapping[str, Any], num_steps: int) -> None:
        given = dict(spec)
        self.name = given.pop("name", "wsd")
        if self.name not in _FIELDS:
            raise ConfigError(f"Unknown learning-rate schedule {self.name!r}.{did_you_mean(str(self.name), _FIELDS)}")
        allowed = _FIELDS[self.name]
        for key in given:
            if key not in allowed:
                raise ConfigError(f"Learning rate {dict(spec)!r}: unknown field {key!r}.{did_you_mean(key, allowed)}")
        values = {**allowed, **given}
        self.shape = values.pop("shape", "linear")
        if self.shape not in _SHAPES:
            raise ConfigError(f"Learning rate {dict(spec)!r}: unknown shape.{did_you_mean(str(self.shape), _SHAPES)}")
        for key, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise ConfigError(f"Learning rate {dict(spec)!r}: {key} must be a number >= 0, got {value!r}.")
        self.peak = float(values["peak"])
        self.final = float(values.get("final", 1.0))
        self.horizon = float(values.get("horizon", 1.0))
        warmup, decay = float(values["warmup"]), float(values.get("decay", 0.0))
        if self.peak <= 0 or self.final > 1 or warmup + decay > 1 or self.horizon < 1:
            raise ConfigError(
                f"Learning rate {dict(spec)!r}: needs peak > 0, final <= 1, warmup + decay <= 1 and horizon >= 1."
            )
        self.num_steps = num_steps
        self.warmup_steps = round(warmup * num_steps)
        self.decay_steps = round(decay * num_steps) if self.name == "wsd" else 0

    def __call__(self, step: int) -> float:
        """Learning rate of step ``step`` (from 0)."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        if self.name == "cosine":
            length = max(self.horizon * self.num_steps - self.warmup_steps, 1)
            done = min((step - self.warmup_steps) / length, 1.0)
            return self.peak * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * done)))
        start = self.num_steps - self.decay_steps
        if self.decay_steps and step >= start:
            done = (step - start) / self.decay_steps
            left = 1 - done if self.shape == "linear" else 1 - math.sqrt(done)
            return self.peak * (self.final + (1 - self.final) * left)
        return self.peak

"""Weights between natural and uniform, by one exponent."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.train.adaptive import token_shares, within
from mixlaw.train.strategies.static import Static

__all__ = ["Temperature"]


class Temperature(Static):
    """Weights proportional to a domain's unique tokens to the power ``1 / temperature``.

    Args:
        schedule: names the domains; its weights are not used.
        num_steps: optimiser steps of the run.
        sizes: unique tokens of each domain; a study fills them in.
        temperature: 1 is natural, large is uniform. Published exponents are 0.7 (mBERT, a temperature of 1.43) and 0.3
            (XLM-R and mT5, 3.33).

    Raises:
        ConfigError: no sizes, or not those of the domains; a temperature that is not positive and finite.

    Example:
        >>> schedule = Schedule.constant({"a": 0.5, "b": 0.3, "c": 0.2})
        >>> sizes = {"a": 70, "b": 20, "c": 10}
        >>> [round(w, 3) for w in Temperature(schedule, 100, sizes, temperature=5).update(0).weights]
        [0.407, 0.317, 0.276]
    """

    def __init__(
        self,
        schedule: Schedule,
        num_steps: int,
        sizes: Mapping[str, float] | None = None,
        temperature: float = 10 / 3,
    ) -> None:
        within("temperature", "temperature", temperature, 0, math.inf, "()")
        shares = token_shares("temperature", sizes, schedule.domains)
        weights = (shares / shares.max()) ** (1 / temperature)  # the largest is 1, however low the temperature
        super().__init__(Schedule.constant(Mixture.from_array(schedule.domains, weights / weights.sum())), num_steps)

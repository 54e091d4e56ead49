"""Weights in proportion to the tokens there are."""

from __future__ import annotations

from collections.abc import Mapping

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.train.adaptive import token_shares
from mixlaw.train.strategies.static import Static

__all__ = ["Natural"]


class Natural(Static):
    """Every domain's share of the unique tokens: each is repeated as often as any other.

    Args:
        schedule: names the domains; its weights are not used.
        num_steps: optimiser steps of the run.
        sizes: unique tokens of each domain; a study fills them in.

    Raises:
        ConfigError: no sizes, or not those of the domains.

    Example:
        >>> schedule = Schedule.constant({"web": 0.5, "code": 0.5})
        >>> Natural(schedule, num_steps=100, sizes={"web": 900, "code": 100}).update(0)["web"]
        0.9
    """

    def __init__(self, schedule: Schedule, num_steps: int, sizes: Mapping[str, float] | None = None) -> None:
        shares = token_shares("natural", sizes, schedule.domains)
        super().__init__(Schedule.constant(Mixture.from_array(schedule.domains, shares)), num_steps)

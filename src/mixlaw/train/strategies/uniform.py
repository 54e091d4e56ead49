"""Equal weights."""

from __future__ import annotations

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.train.strategies.static import Static

__all__ = ["Uniform"]


class Uniform(Static):
    """The same weight on every domain. The registry knows it as ``stratified`` too.

    A loader of this package gives every batch as equal a number of sequences of each domain as whole sequences allow,
    so that drawing domains with equal probability and stratifying each batch, which differ elsewhere, are one here.

    Args:
        schedule: names the domains; its weights are not used.
        num_steps: optimiser steps of the run.

    Raises:
        ConfigError: ``num_steps`` is not positive.

    Example:
        >>> Uniform(Schedule.constant({"web": 0.9, "code": 0.1}), num_steps=100).update(0)["code"]
        0.5
    """

    def __init__(self, schedule: Schedule, num_steps: int) -> None:
        super().__init__(Schedule.constant(Mixture.uniform(schedule.domains)), num_steps)

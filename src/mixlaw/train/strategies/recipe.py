"""One given mixture for the whole run."""

from __future__ import annotations

from collections.abc import Mapping

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.train.strategies.static import Static

__all__ = ["Recipe"]


class Recipe(Static):
    """The weights of a recipe, whatever mixture the run's schedule plans.

    Args:
        schedule: names the domains; its weights are not used.
        num_steps: optimiser steps of the run.
        weights: ``{domain: weight}``, summing to one; a domain that is not there has weight 0. A study fills in
            those of its recipe.

    Raises:
        ConfigError: no weights, weights that are no mixture, or of a domain that the run does not have.

    Example:
        >>> schedule = Schedule.constant({"web": 0.5, "code": 0.5})
        >>> Recipe(schedule, num_steps=100, weights={"web": 0.8, "code": 0.2}).update(0)["web"]
        0.8
    """

    def __init__(self, schedule: Schedule, num_steps: int, weights: Mapping[str, float] | None = None) -> None:
        if weights is None:
            raise ConfigError(
                "The strategy recipe needs the option weights, {domain: weight}. A study that has a recipe fills them "
                "in (run `mixlaw optimize` first); a run of your own states them."
            )
        try:
            mixture = Mixture(weights)
        except ConfigError as error:
            raise ConfigError(f"The strategy recipe was given weights={weights!r}. {error}") from None
        for domain in mixture:
            if domain not in schedule.domains:
                raise ConfigError(
                    f"The strategy recipe was given weights={mixture.to_dict()}, and the run has no domain {domain!r}."
                    f"{did_you_mean(domain, schedule.domains)}"
                )
        weights_of_all = Mixture.from_array(schedule.domains, mixture.array(schedule.domains))
        super().__init__(Schedule.constant(weights_of_all), num_steps)

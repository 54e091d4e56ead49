"""As uniform as a limit on the epochs of each domain allows."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.errors import ConfigError
from mixlaw.train.adaptive import token_shares, within
from mixlaw.train.strategies.static import Static

__all__ = ["UniMax"]


class UniMax(Static):
    """Domains are served from the smallest: each gets an equal share of what is left of the budget, or ``epochs`` times
    its unique tokens if that is less.

    Where the whole corpus has fewer than ``tokens / epochs`` unique tokens, every domain is at its limit, and the
    weights are natural.

    Args:
        schedule: names the domains; its weights are not used.
        num_steps: optimiser steps of the run.
        sizes: unique tokens of each domain; a study fills them in.
        tokens: training tokens of the run; a study fills them in.
        epochs: how often a domain's tokens may be repeated; published: 1, 5 or 10.

    Raises:
        ConfigError: no sizes or tokens, or not those of the domains; tokens or epochs that are not positive and finite.

    Source: Chung et al. 2023, arXiv:2304.09151.

    Example:
        >>> schedule = Schedule.constant({"web": 0.5, "wiki": 0.5})
        >>> sizes = {"web": 900, "wiki": 50}
        >>> UniMax(schedule, num_steps=100, sizes=sizes, tokens=800, epochs=4).update(0).to_dict()
        {'web': 0.75, 'wiki': 0.25}
    """

    def __init__(
        self,
        schedule: Schedule,
        num_steps: int,
        sizes: Mapping[str, float] | None = None,
        tokens: float | None = None,
        epochs: float = 4.0,
    ) -> None:
        token_shares("uni_max", sizes, schedule.domains)
        assert sizes is not None
        if tokens is None:
            raise ConfigError(
                "The strategy uni_max needs the option tokens, the training tokens of the run. A study fills it in; a "
                "run of your own states it."
            )
        within("uni_max", "tokens", tokens, 0, math.inf, "()")
        within("uni_max", "epochs", epochs, 0, math.inf, "()")
        unique = np.array([float(sizes[d]) for d in schedule.domains])
        left, drawn = float(tokens), np.zeros(len(unique))
        for served, domain in enumerate(np.argsort(unique, kind="stable")):
            drawn[domain] = min(left / (len(unique) - served), epochs * unique[domain])
            left -= drawn[domain]
        super().__init__(Schedule.constant(Mixture.from_array(schedule.domains, drawn / drawn.sum())), num_steps)

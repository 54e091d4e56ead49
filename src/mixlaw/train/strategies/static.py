"""The planned mixture, whatever training shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.errors import ConfigError, DataError
from mixlaw.train.strategies.contract import Need

__all__ = ["Static"]


class Static:
    """Follows the schedule: each phase has its mixture for its fraction of the steps.

    Args:
        schedule: the planned mixture.
        num_steps: optimiser steps of the run.

    Raises:
        ConfigError: ``num_steps`` is not positive.

    Example:
        >>> strategy = Static(Schedule.constant({"web": 0.7, "code": 0.3}), num_steps=100)
        >>> strategy.update(0)["web"]
        0.7
    """

    needs: frozenset[Need] = frozenset()

    def __init__(self, schedule: Schedule, num_steps: int) -> None:
        if num_steps < 1:
            raise ConfigError(f"A strategy needs num_steps of at least 1, got {num_steps!r}.")
        self.schedule, self.num_steps = schedule, num_steps
        self._ends = np.cumsum([phase.fraction for phase in schedule.phases]) * num_steps

    def asks(self, step: int) -> frozenset[Need]:
        """Nothing."""
        return frozenset()

    def update(
        self,
        step: int,
        losses: Mapping[str, float] | None = None,
        gradients: Mapping[str, npt.NDArray[np.float64]] | None = None,
        target: npt.NDArray[np.float64] | None = None,
    ) -> Mixture:
        """The mixture of the phase that holds the middle of ``step`` (from 0). What was measured is ignored."""
        phase = int(np.searchsorted(self._ends, step + 0.5, side="right"))
        return self.schedule.phases[min(phase, len(self._ends) - 1)].mixture

    def state(self) -> dict[str, Any]:
        """Nothing changes while it runs."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Nothing to take up.

        Raises:
            DataError: it is the state of another strategy.
        """
        if state:
            raise DataError(f"The fixed mixture has no state, and was given that of another strategy: {sorted(state)}.")

"""ODM: a bandit over the domains, with their training losses as its rewards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.errors import ConfigError
from mixlaw.train.adaptive import Adaptive, softmax, within
from mixlaw.train.strategies.contract import Need

__all__ = ["Odm"]

FAST, SLOW = 0.9, 0.99  # what a step's loss leaves of the two averages that measure progress


class Odm(Adaptive):
    """Online data mixing: the exponential-weights bandit Exp3, its reward smoothed over mixed batches.

    Where a domain was in the batch, ``R_i <- smoothing * R_i + (1 - smoothing) * exp(r_i)``. Before step t (from 1) the
    weights are ``(1 - K e_t) exp(e_{t-1} R_i) / sum_j exp(e_{t-1} R_j) + e_t`` with
    ``e_t = min(1 / K, sqrt(ln K / (K t)))``: uniform at first, with a floor that falls.

    Args:
        schedule: the planned mixture, of step 0.
        num_steps: optimiser steps of the run.
        reward: ``"loss"``, as published: the domain's training loss in nats. ``"progress"`` (not published): how far
            the average of its last 10 losses is below that of its last 100, times the mean loss of all domains over
            the progress of the fastest, so that noisy domains which do not improve earn nothing.
        smoothing: what an update leaves of the old estimate.

    Raises:
        ConfigError: options out of range.

    Source: Albalak et al. 2023, arXiv:2312.02406, and the repository alon-albalak/online-data-mixing.

    Example:
        >>> odm = Odm(Schedule.constant({"web": 0.5, "code": 0.5}), num_steps=100)
        >>> for step in range(20):
        ...     mixture = odm.update(step, {"web": 4.0, "code": 3.0})
        >>> mixture["web"] > mixture["code"]
        True
    """

    needs: frozenset[Need] = frozenset({"losses"})
    changing = ("estimate", "loss", "fast", "slow", "seen")

    def __init__(
        self,
        schedule: Schedule,
        num_steps: int,
        reward: Literal["loss", "progress"] = "loss",
        smoothing: float = 0.9,
    ) -> None:
        super().__init__(schedule, num_steps)
        if reward not in ("loss", "progress"):
            raise ConfigError(f"The strategy odm was given reward={reward!r}; it is 'loss' or 'progress'.")
        self.reward = reward
        self.smoothing = within("odm", "smoothing", smoothing, 0, 1, "[)")
        count = len(self.domains)
        self.estimate, self.loss, self.fast, self.slow = (np.zeros(count) for _ in range(4))
        self.seen = np.zeros(count, dtype=bool)

    def update(
        self,
        step: int,
        losses: Mapping[str, float] | None = None,
        gradients: Mapping[str, npt.NDArray[np.float64]] | None = None,
        target: npt.NDArray[np.float64] | None = None,
    ) -> Mixture:
        """The weights of ``step``, from the training losses of the step before; at step 0 the planned mixture."""
        if not self.asks(step):
            return self.schedule.phases[0].mixture
        values, present = self.measured(step, losses)
        self._take(values, present)
        reward = np.exp(np.minimum(self._rewards(), 700.0))  # the largest that a double holds
        self.estimate = np.where(present, self.smoothing * self.estimate + (1 - self.smoothing) * reward, self.estimate)
        floor = self._floor(step)
        weights = softmax(self._floor(step - 1) * self.estimate)
        return self.mixture((1 - len(weights) * floor) * weights + floor)

    def _take(self, values: npt.NDArray[np.float64], present: npt.NDArray[np.bool_]) -> None:
        """Enter the losses of the domains that are present."""
        new = present & ~self.seen
        self.loss = np.where(present, values, self.loss)
        for name, keeps in (("fast", FAST), ("slow", SLOW)):
            average = np.where(new, values, getattr(self, name))
            setattr(self, name, np.where(present, keeps * average + (1 - keeps) * values, average))
        self.seen = self.seen | present

    def _rewards(self) -> npt.NDArray[np.float64]:
        """Reward (K,) of each domain's last losses, in nats."""
        if self.reward == "loss":
            return self.loss
        progress = np.maximum(self.slow - self.fast, 0.0)
        fastest = progress.max()
        return progress * (self.loss[self.seen].mean() / fastest) if fastest > 0 else progress

    def _floor(self, step: int) -> float:
        """The smallest weight at ``step``, 1 / K before the first."""
        count = len(self.domains)
        return min(1 / count, math.sqrt(math.log(count) / (count * step))) if step > 0 else 1 / count

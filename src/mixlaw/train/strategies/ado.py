"""ADO: weight on the domains whose fitted loss curves still fall."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.train.adaptive import Adaptive, token_shares, within
from mixlaw.train.loss_curves import curve, fit_curves, smoothed
from mixlaw.train.strategies.contract import Need

__all__ = ["Ado"]

SMOOTHING_STEPS = 101
SMALLEST_WEIGHT, SMALLEST_EXPONENT = 0.01, 0.05
HISTORY_KEEPS, AVERAGE_HAS = 0.9, 0.9
FEWEST_POINTS, FEWEST_STEPS, MOST_POINTS = 10, 20, 2000


class Ado(Adaptive):
    """Adaptive data optimization: power laws ``L_k(n) = e_k + b_k n^-a_k`` fitted to each domain's training loss.

    With n steps done, ``rho_k`` is proportional to ``max(a_k, 0.05) (L_k - e_k) / n * prior_k * h_k^0.5``: the slope of
    the fitted curve at its fitted loss, times the domain's share of the tokens, times the root of the average h_k of
    its past weights (each step keeps 0.9 of it). No ``rho_k`` is below 0.01. The weights are 0.9 times the average of
    the earlier ``rho`` and 0.1 times this one. Until the first fit they are the prior.

    Args:
        schedule: the planned mixture, which is the prior where there are no sizes.
        num_steps: optimiser steps of the run.
        sizes: unique tokens of each domain, whose shares are the prior; a study fills them in.
        skip: share of the run whose losses are not fitted; published: 1,000 of 60,000 steps.
        refit: share of the run between two fits, which are at least 20 steps apart; published: 1,000 of 60,000 steps.

    Raises:
        ConfigError: options out of range, or sizes that are not those of the domains.

    Source: Jiang et al. 2024, arXiv:2410.11820, and the repository yidingjiang/ado (src/data_selectors/ado.py).

    Example:
        >>> ado = Ado(Schedule.constant({"web": 0.5, "code": 0.5}), num_steps=200)
        >>> for step in range(200):
        ...     mixture = ado.update(step, {"web": 3 + 2 / (step + 1) ** 0.5, "code": 3 + 0.2 / (step + 1) ** 0.5})
        >>> mixture["web"] > 0.6
        True
    """

    needs: frozenset[Need] = frozenset({"losses"})
    changing = (
        "weights", "average", "history", "loss", "seen", "curves", "fitted", "points", "sum_of_losses", "num_summed",
    )  # fmt: skip

    def __init__(
        self,
        schedule: Schedule,
        num_steps: int,
        sizes: Mapping[str, float] | None = None,
        skip: float = 1 / 60,
        refit: float = 1 / 60,
    ) -> None:
        super().__init__(schedule, num_steps)
        self.skip = math.ceil(within("ado", "skip", skip, 0, 1, "[)") * num_steps)
        self.refit = max(FEWEST_STEPS, round(within("ado", "refit", refit, 0, 1, "(]") * num_steps))
        planned = schedule.phases[0].mixture.array()
        self.prior = planned if sizes is None else token_shares("ado", sizes, self.domains)
        count = len(self.domains)
        self.floor = min(SMALLEST_WEIGHT, 1 / (2 * count))
        self.steps_per_point = math.ceil(num_steps / MOST_POINTS)
        self.weights, self.average, self.history = (self.prior.copy() for _ in range(3))
        self.loss, self.sum_of_losses = np.zeros(count), np.zeros(count)
        self.seen = np.zeros(count, dtype=bool)
        self.curves, self.fitted = np.zeros((count, 3)), False
        self.points: list[list[float]] = []
        self.num_summed = 0

    def update(
        self,
        step: int,
        losses: Mapping[str, float] | None = None,
        gradients: Mapping[str, npt.NDArray[np.float64]] | None = None,
        target: npt.NDArray[np.float64] | None = None,
    ) -> Mixture:
        """The weights of ``step``, from the training losses of all steps before."""
        if self.asks(step):
            values, present = self.measured(step, losses)
            self._take(values, present)
            self.history = HISTORY_KEEPS * self.history + (1 - HISTORY_KEEPS) * self.weights
            enough = step >= self.skip + max(self.skip, FEWEST_POINTS * self.steps_per_point)
            if enough and step % self.refit == 0:
                self._fit()
            if self.fitted:
                now = self._slopes(step)
                self.weights = AVERAGE_HAS * self.average + (1 - AVERAGE_HAS) * now
                self.average = self.average + (now - self.average) / (step + 1)
        return self.mixture(self.weights)

    def _take(self, values: npt.NDArray[np.float64], present: npt.NDArray[np.bool_]) -> None:
        """Enter one step's losses; a domain that was not in the batch keeps its last, or has the mean of the others."""
        last = np.where(self.seen, self.loss, values[present].mean())
        self.loss = np.where(present, values, last)
        self.seen = self.seen | present
        self.sum_of_losses = self.sum_of_losses + self.loss
        self.num_summed += 1
        if self.num_summed == self.steps_per_point:
            self.points.append((self.sum_of_losses / self.num_summed).tolist())
            self.sum_of_losses, self.num_summed = np.zeros(len(self.domains)), 0

    def _fit(self) -> None:
        """Fit the curves again; where a fit is not finite, all keep the one before."""
        steps = (
            self.steps_per_point * (np.arange(len(self.points), dtype=np.float64) + 0.5) + 0.5
        )  # each point's middle
        losses = smoothed(np.array(self.points), max(SMOOTHING_STEPS // self.steps_per_point, 5))
        kept = steps > self.skip
        found = fit_curves(steps[kept], losses[kept], self.curves if self.fitted else None)
        if np.isfinite(found).all():
            self.curves, self.fitted = found, True

    def _slopes(self, step: int) -> npt.NDArray[np.float64]:
        """``rho`` (K,) after ``step`` steps: sums to 1, no domain below the floor."""
        reducible = curve(self.curves, np.array([float(step)]))[:, 0] - np.exp(self.curves[:, 1])
        slope = np.maximum(self.curves[:, 2], SMALLEST_EXPONENT) * reducible / step
        rho = slope * self.prior * np.sqrt(self.history)
        rho = np.maximum(rho / rho.sum(), self.floor)
        return np.asarray(rho / rho.sum())

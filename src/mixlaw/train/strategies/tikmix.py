"""TiKMiX-D: weight on the domains whose gradients lower the loss of a target, estimated anew at stages of the run."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.train.adaptive import Adaptive, softmax, target_weights, within
from mixlaw.train.strategies.contract import Need

__all__ = ["TiKMiX"]


class TiKMiX(Adaptive):
    """Maximises the influence of the mixture on the objective, close to the planned mixture.

    The influence of domain j is ``I_j = g_target' H^-1 g_j``, with the diagonal approximation
    ``H = diag(d + mean(d))``, where d is the mean over the domains of their squared gradients. It is averaged over
    ``samples`` steps before each new stage and divided by the mean of its absolute values. At a stage the weights
    maximise ``sum_j w_j I_j - penalty * KL(w || planned)``, whose solution is ``w_j`` proportional to
    ``planned_j exp(I_j / penalty)``. The first stage trains on the planned mixture. A domain that was in none of the
    sampled batches keeps its last influence, or has the mean of the others.

    Args:
        schedule: the planned mixture; with equal weights the penalty is on the entropy.
        num_steps: optimiser steps of the run.
        objective: weights of validation sets; a study fills them in.
        stages: stages of equal length.
        samples: steps over which influences are averaged.
        penalty: how strongly the weights stay with the plan.

    Raises:
        ConfigError: no objective, or options out of range.

    Source: arXiv:2508.17677 (no code is public); the form of H and of the penalty is this package's.

    Example:
        >>> plan = Schedule.constant({"web": 0.5, "code": 0.5})
        >>> tikmix = TiKMiX(plan, num_steps=100, objective={"exam": 1.0}, stages=2, samples=2)
        >>> [step for step in range(100) if tikmix.asks(step)]
        [49, 50]
        >>> gradients = {"web": np.array([0.0, 1.0]), "code": np.array([1.0, 0.0])}
        >>> for step in range(51):
        ...     mixture = tikmix.update(step, gradients=gradients, target=np.array([1.0, 0.0]))
        >>> [round(w, 3) for w in mixture.weights]  # influences 0 and 2: exp(0) to exp(2)
        [0.119, 0.881]
    """

    needs: frozenset[Need] = frozenset({"gradients", "target"})
    changing = ("influence", "known", "sums", "counts", "chosen")

    def __init__(
        self,
        schedule: Schedule,
        num_steps: int,
        objective: Mapping[str, float] | None = None,
        stages: int = 5,
        samples: int = 4,
        penalty: float = 1.0,
    ) -> None:
        super().__init__(schedule, num_steps)
        self.objective = target_weights("tikmix", objective)
        self.stages = int(within("tikmix", "stages", stages, 2, math.inf, "[)"))
        self.samples = int(within("tikmix", "samples", samples, 1, math.inf, "[)"))
        self.penalty = within("tikmix", "penalty", penalty, 0, math.inf, "()")
        self._starts = sorted({i * num_steps // self.stages for i in range(1, self.stages)} - {0})
        self._asked = {s for start in self._starts for s in range(start - self.samples + 1, start + 1) if s >= 1}
        count = len(self.domains)
        self.influence, self.sums = np.zeros(count), np.zeros(count)
        self.known, self.counts = np.zeros(count, dtype=bool), np.zeros(count, dtype=np.int64)
        self.chosen = False  # whether a stage after the first has begun

    def asks(self, step: int) -> frozenset[Need]:
        """Gradients in the last steps before a new stage."""
        return self.needs if step in self._asked else frozenset()

    def update(
        self,
        step: int,
        losses: Mapping[str, float] | None = None,
        gradients: Mapping[str, npt.NDArray[np.float64]] | None = None,
        target: npt.NDArray[np.float64] | None = None,
    ) -> Mixture:
        """The weights of ``step``, from the gradients sampled before its stage."""
        if self.asks(step):
            given = self.measured_gradients(step, gradients)
            size = len(next(iter(given.values())))
            influences = _influences(np.stack(list(given.values())), self.measured_target(step, target, size))
            at = [self.domains.index(domain) for domain in given]
            self.sums[at] += influences
            self.counts[at] += 1
        if step in self._starts:
            new = self.counts > 0
            self.influence = np.where(new, self.sums / np.maximum(self.counts, 1), self.influence)
            self.known, self.chosen = self.known | new, True
            self.sums, self.counts = np.zeros_like(self.sums), np.zeros_like(self.counts)
        planned = self._planned(step)
        if not self.chosen:
            return self.mixture(planned)
        influence = np.where(self.known, self.influence, self.influence[self.known].mean())
        level = float(np.abs(influence).mean())
        logits = influence / (level * self.penalty) if level > 0 else influence
        return self.mixture(softmax(np.log(np.maximum(planned, 1e-300)) + logits))

    def _planned(self, step: int) -> npt.NDArray[np.float64]:
        """Weights (K,) of the phase that holds the middle of ``step``."""
        ends = np.cumsum([phase.fraction for phase in self.schedule.phases]) * self.num_steps
        phase = min(int(np.searchsorted(ends, step + 0.5, side="right")), len(ends) - 1)
        return self.schedule.phases[phase].mixture.array()


def _influences(gradients: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``g_target' H^-1 g_j`` (K,) of ``gradients`` (K, num_params) and ``target`` (num_params,)."""
    squares = np.square(gradients).mean(axis=0)
    level = float(squares.mean())
    if level == 0:
        return np.zeros(len(gradients))
    return np.asarray(gradients @ (target / (squares + level)))

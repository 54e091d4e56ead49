"""DoGE: weight on the domains whose gradient agrees with that of the others, or of an objective."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.errors import ConfigError
from mixlaw.train.adaptive import Adaptive, softmax, target_weights, within
from mixlaw.train.strategies.contract import Need

__all__ = ["Doge"]

PUBLISHED_STEPS = 10_000
PUBLISHED_RATE = 5e-4  # falls by a cosine to a fifth of it
LARGEST_SCORE = 5.0  # in learning rates


class Doge(Adaptive):
    """Domain reweighting with generalization estimation.

    Sequences are drawn uniformly over the domains, and the weights multiply their losses. Each domain's gradient g_j is
    clipped to the norm 1. ``W_j`` is its product with the sum of the other domains' gradients
    (``towards="training"``), or with the objective's gradient (``towards="objective"``). Before each step,
    ``log w_j += lr * min(max(W_j / (mean norm + 1e-6), 0), 5) / mu``, with the mean over the domains of the norms of
    the clipped gradients. A domain that was not in the batch keeps its log-weight. The result is the average of the
    weights over the run, on which the actual run is trained.

    Args:
        schedule: names the domains; its weights are not used.
        num_steps: optimiser steps of the run.
        towards: ``"training"``: all training domains alike. ``"objective"``: the validation sets of ``objective``.
        objective: weights of validation sets; a study fills them in.
        mu: how much the weights resist; 0.05 is the published code's default, its scripts use 0.01.
        learning_rate: the largest ``lr``, from which it falls by a cosine to a fifth. A strategy does not see the run's
            own rate. None: 5 / num_steps, so that the sum over the run is that of the published one (5e-4 over 10,000
            steps).

    Raises:
        ConfigError: options out of range; no objective where it is needed.

    Source: Fan et al. 2023, arXiv:2310.15393, and the repository Olivia-fsm/DoGE (src/trainer.py).

    Example:
        >>> doge = Doge(Schedule.constant({"web": 0.4, "code": 0.3, "noise": 0.3}), num_steps=100)
        >>> alike, other = np.array([0.5, 0.5]), np.array([0.5, -0.5])
        >>> mixture = doge.update(1, gradients={"web": alike, "code": alike, "noise": other})
        >>> mixture["web"] == mixture["code"] > mixture["noise"]
        True
    """

    needs: frozenset[Need] = frozenset({"gradients"})
    weighs = "loss"
    averaged = True
    changing = ("log_weights",)

    def __init__(
        self,
        schedule: Schedule,
        num_steps: int,
        towards: Literal["training", "objective"] = "training",
        objective: Mapping[str, float] | None = None,
        mu: float = 0.05,
        learning_rate: float | None = None,
    ) -> None:
        super().__init__(schedule, num_steps)
        if towards not in ("training", "objective"):
            raise ConfigError(f"The strategy doge was given towards={towards!r}; it is 'training' or 'objective'.")
        if towards == "objective":
            self.objective = target_weights("doge", objective)
            self.needs = frozenset({"gradients", "target"})
        self.mu = within("doge", "mu", mu, 0, math.inf, "()")
        rate = PUBLISHED_STEPS * PUBLISHED_RATE / num_steps if learning_rate is None else learning_rate
        self.learning_rate = within("doge", "learning_rate", rate, 0, math.inf, "()")
        self.sampling = Mixture.uniform(self.domains)
        self.log_weights = np.full(len(self.domains), -math.log(len(self.domains)))

    def update(
        self,
        step: int,
        losses: Mapping[str, float] | None = None,
        gradients: Mapping[str, npt.NDArray[np.float64]] | None = None,
        target: npt.NDArray[np.float64] | None = None,
    ) -> Mixture:
        """The weights of the losses of ``step``, from the gradients of the step before."""
        if self.asks(step):
            given = self.measured_gradients(step, gradients)
            vectors = list(given.values())
            shrink = np.array([_shrink(g) for g in vectors])
            norms = shrink * [np.linalg.norm(g) for g in vectors]
            if "target" in self.needs:
                aim = self.measured_target(step, target, len(vectors[0]))
                agreement = shrink * [float(g @ aim) for g in vectors] * _shrink(aim)
            else:
                aim = sum((s * g for s, g in zip(shrink.tolist(), vectors)), start=np.zeros_like(vectors[0]))
                agreement = shrink * [float(g @ aim) for g in vectors] - norms**2  # without the own
            relative = agreement / (norms.mean() + 1e-6)
            score = self._rate(step - 1) * np.clip(relative, 0.0, LARGEST_SCORE)
            at = [self.domains.index(domain) for domain in given]
            self.log_weights[at] += score / self.mu
        return self.mixture(softmax(self.log_weights))

    def _rate(self, step: int) -> float:
        falling = (1 + math.cos(math.pi * step / self.num_steps)) / 2
        return self.learning_rate * (0.2 + 0.8 * falling)


def _shrink(gradient: npt.NDArray[np.float64]) -> float:
    """The factor that shortens the gradient (num_params,) to the norm 1, where it is longer."""
    return 1 / max(1.0, float(np.linalg.norm(gradient)))

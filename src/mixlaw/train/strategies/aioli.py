"""Aioli: estimates during training how each domain lowers each loss, and moves the mixture by it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.errors import ConfigError
from mixlaw.train.adaptive import Adaptive, softmax, target_weights, within
from mixlaw.train.strategies.contract import Need

__all__ = ["Aioli"]

PUBLISHED_ROUNDS = 20  # 5,000 steps in rounds of 250
PUBLISHED_SWEEPS = PUBLISHED_STEPS = 4
MOST_PROBING = 0.5  # of a round's steps


class Aioli(Adaptive):
    """Alternates between learning the effect of each domain on each validation loss and training on the mixture.

    A round begins with ``lp_rounds`` sweeps over the domains. In a sweep each domain has ``lp_steps`` steps of a
    mixture that gives it ``one_hot_factor`` and the others equal shares of the rest; the drop of each validation loss
    over them is noted. The mean drops over the sweeps (a row for each validation set, a column for each domain's
    mixture), solved for the mixtures, are the effects A. Their smallest entry, if negative, is subtracted, and they are
    divided by their sum. For the rest of the round the weights are proportional to ``exp(eta * sum_i A_ij)``, with A
    averaged over rounds (``ema``); or, where ``ema`` is None, to the last weights times it. The steps on which effects
    are learned are ordinary steps of training.

    Args:
        schedule: names the domains; its weights are not used.
        num_steps: optimiser steps of the run.
        objective: weights of validation sets, which weigh the rows of A; a study fills them in. None: one set for each
            domain, of its name, weighed equally, as published.
        eta: step of the log-weights.
        ema: share that the average of A keeps of its old value.
        lp_rounds: sweeps of a round. None: 4, or fewer in a run too short for one round of 4.
        lp_steps: steps of one mixture. None: 4, or fewer where even one sweep of 4 does not fit.
        rounds: None: 20, or as many as leave half of the steps to the learned mixture.
        one_hot_factor: share of the domain whose effect is learned.
        probe_tokens: validation tokens of each set that a probe scores. There are hundreds of probes, so it is small.

    Raises:
        ConfigError: options out of range, or a run too short to learn the effects in half of its steps.

    Source: Chen, Hu et al. 2024, arXiv:2411.05735, and the repository HazyResearch/aioli (trainer/aioli_trainer.py).

    Example:
        >>> aioli = Aioli(Schedule.constant({"web": 0.5, "code": 0.5}), num_steps=64)
        >>> sorted(aioli.update(0, {"web": 4.0, "code": 4.0}).weights)
        [0.375, 0.625]
        >>> [step for step in range(64) if aioli.asks(step)]
        [0, 4, 8, 12, 16, 20, 24, 28, 32]
    """

    needs: frozenset[Need] = frozenset({"probes"})
    changing = ("weights", "last", "drops", "effects", "rounds_learned")

    def __init__(
        self,
        schedule: Schedule,
        num_steps: int,
        objective: Mapping[str, float] | None = None,
        eta: float = 0.2,
        ema: float | None = 0.1,
        lp_rounds: int | None = None,
        lp_steps: int | None = None,
        rounds: int | None = None,
        one_hot_factor: float = 0.625,
        probe_tokens: int = 512,
    ) -> None:
        super().__init__(schedule, num_steps)
        count = len(self.domains)
        if count < 2:
            raise ConfigError(f"The strategy aioli mixes at least two domains, got {list(self.domains)}.")
        equal = {d: 1 / count for d in self.domains}
        self.objective = equal if objective is None else target_weights("aioli", objective)
        self.sets = list(self.objective)
        self.eta = within("aioli", "eta", eta, 0, math.inf, "()")
        self.ema = None if ema is None else within("aioli", "ema", ema, 0, 1, "[)")
        self.one_hot_factor = within("aioli", "one_hot_factor", one_hot_factor, 1 / count, 1, "(]")
        self.probe_tokens = int(within("aioli", "probe_tokens", probe_tokens, 1, math.inf, "[)"))
        self._divide_steps(lp_rounds, lp_steps, rounds)
        self._starts = [number * num_steps // self.rounds for number in range(self.rounds)]
        self._mixtures = np.full((count, count), (1 - one_hot_factor) / (count - 1))
        np.fill_diagonal(self._mixtures, one_hot_factor)
        self.weights = np.full(count, 1 / count)
        self.last = np.zeros(len(self.sets))
        self.drops, self.effects = np.zeros((2, len(self.sets), count))
        self.rounds_learned = 0

    def _divide_steps(self, lp_rounds: int | None, lp_steps: int | None, rounds: int | None) -> None:
        """Decide on sweeps, steps of a mixture and rounds: what is given stands, the rest shrinks to what fits."""
        count = len(self.domains)
        for option, value in (("lp_rounds", lp_rounds), ("lp_steps", lp_steps), ("rounds", rounds)):
            if value is not None:
                within("aioli", option, value, 1, self.num_steps)
        room = int(MOST_PROBING * self.num_steps) // (count * (rounds or 1))  # steps of a domain's mixture, in a round
        self.lp_steps = lp_steps or max(1, min(PUBLISHED_STEPS, room // (lp_rounds or 1)))
        self.lp_rounds = lp_rounds or max(1, min(PUBLISHED_SWEEPS, room // self.lp_steps))
        self._learning = self.lp_rounds * self.lp_steps * count
        most = int(MOST_PROBING * self.num_steps) // self._learning
        self.rounds = rounds or min(PUBLISHED_ROUNDS, most)
        if not 1 <= self.rounds <= most:
            raise ConfigError(
                f"The strategy aioli learns the effects of {count} domains in {self._learning} steps a round "
                f"(lp_rounds={self.lp_rounds}, lp_steps={self.lp_steps}); {rounds or 1} such rounds do not fit into "
                f"half of num_steps={self.num_steps}. Train longer, or ask for fewer."
            )

    def _place(self, step: int) -> tuple[int, int]:
        """The round of ``step``, and how many steps of it are done."""
        number = bisect_right(self._starts, step) - 1
        return number, step - self._starts[number]

    def asks(self, step: int) -> frozenset[Need]:
        """Probes where a mixture's steps begin or end."""
        done = self._place(step)[1]
        return self.needs if done <= self._learning and done % self.lp_steps == 0 else frozenset()

    def update(
        self,
        step: int,
        losses: Mapping[str, float] | None = None,
        gradients: Mapping[str, npt.NDArray[np.float64]] | None = None,
        target: npt.NDArray[np.float64] | None = None,
    ) -> Mixture:
        """The mixture of ``step``: one to learn from, or what was learned."""
        number, done = self._place(step)
        order = self._order(number)
        if self.asks(step):
            now = self.measured_sets(step, losses, self.sets)
            if done == 0:
                self.drops = np.zeros_like(self.drops)
            else:
                self.drops[:, order[done // self.lp_steps - 1]] += self.last - now
            self.last = now
            if done == self._learning:
                self._learn()
        if done < self._learning:
            return self.mixture(self._mixtures[order[done // self.lp_steps]])
        return self.mixture(self.weights)

    def _order(self, number: int) -> npt.NDArray[np.int64]:
        """The domains in the order of the sweeps of a round: a permutation for each, the same in every run."""
        count = len(self.domains)
        sweeps = [np.random.default_rng((number, sweep)).permutation(count) for sweep in range(self.lp_rounds)]
        return np.concatenate(sweeps)

    def _learn(self) -> None:
        """Effects from the drops of a round, and weights from the effects."""
        found = np.linalg.solve(self._mixtures, self.drops.T / self.lp_rounds).T
        found = found * (len(self.sets) * np.array([self.objective[s] for s in self.sets])[:, None])
        found = found - min(found.min(), 0.0)
        total = found.sum()
        found = found / total if total > 0 else np.full_like(found, 1 / found.size)  # no loss changed
        if self.ema is None:
            self.effects = found
            self.weights = softmax(np.log(self.weights) + self.eta * found.sum(axis=0))
        else:
            self.effects = (1 - self.ema) * found + self.ema * self.effects if self.rounds_learned else found
            self.weights = softmax(self.eta * self.effects.sum(axis=0))
        self.rounds_learned += 1

"""DoReMi: weight on the domains where a proxy is furthest behind a reference."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.errors import ConfigError
from mixlaw.train.adaptive import Adaptive, softmax, within
from mixlaw.train.strategies.contract import Need

__all__ = ["DoReMi"]


class DoReMi(Adaptive):
    """Group distributionally robust optimisation of the excess loss over a reference run.

    Sequences are drawn uniformly over the domains, and the weights multiply their losses. Before each step,
    ``log w_j += eta * excess_j``; then the weights are normalised, and a share ``smoothing`` of them is spread evenly.
    The excess of a domain is the mean over its tokens of ``max(loss - reference loss, 0)``; one that was not in the
    batch keeps its last. The result is the average of the weights over the run, on which the actual run is trained.

    Args:
        schedule: names the domains; its weights are not used.
        num_steps: optimiser steps of the run.
        reference: id of the finished run whose losses are the reference (the trainer opens it).
        eta: step of the log-weights.
        smoothing: share of the weight that is spread evenly.

    Raises:
        ConfigError: options out of range.

    Source: Xie et al. 2023, arXiv:2305.10429, and the repository sangmichaelxie/doremi (eta 1, smoothing 0.001).

    Example:
        >>> doremi = DoReMi(Schedule.constant({"web": 0.5, "code": 0.5}), num_steps=100, reference="r1")
        >>> start = doremi.update(0)
        >>> [round(w, 4) for w in doremi.update(1, {"web": 0.2, "code": 0.0}).weights]
        [0.5498, 0.4502]
    """

    needs: frozenset[Need] = frozenset({"reference"})
    weighs = "loss"
    averaged = True
    changing = ("weights", "excess")

    def __init__(
        self,
        schedule: Schedule,
        num_steps: int,
        reference: str | None = None,
        eta: float = 1.0,
        smoothing: float = 1e-3,
    ) -> None:
        super().__init__(schedule, num_steps)
        if reference is not None and not (isinstance(reference, str) and reference):
            raise ConfigError(f"The strategy doremi was given reference={reference!r}; it is the id of a finished run.")
        self.reference = reference
        self.eta = within("doremi", "eta", eta, 0, math.inf, "()")
        self.smoothing = within("doremi", "smoothing", smoothing, 0, 1, "[)")
        self.sampling = Mixture.uniform(self.domains)
        self.weights = np.full(len(self.domains), 1 / len(self.domains))
        self.excess = np.zeros(len(self.domains))

    def update(
        self,
        step: int,
        losses: Mapping[str, float] | None = None,
        gradients: Mapping[str, npt.NDArray[np.float64]] | None = None,
        target: npt.NDArray[np.float64] | None = None,
    ) -> Mixture:
        """The weights of the losses of ``step``, from the excess (``losses``) in the step before."""
        if self.asks(step):
            values, present = self.measured(step, losses)
            self.excess = np.where(present, np.maximum(values, 0.0), self.excess)
            raised = softmax(np.log(np.maximum(self.weights, 1e-300)) + self.eta * self.excess)
            self.weights = (1 - self.smoothing) * raised + self.smoothing / len(raised)
        return self.mixture(self.weights)

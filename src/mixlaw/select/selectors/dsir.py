"""Importance resampling: candidates in proportion to how much likelier the target is to hold them than the pool.

DSIR (Xie et al. 2023, arXiv:2302.03169). Its weights are log importance weights, such as those of
:class:`~mixlaw.select.importance.NgramImportance`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixlaw.data.selection import Selection
from mixlaw.errors import ConfigError, DataError
from mixlaw.select.contract import Candidates, Scorer

__all__ = ["DSIR"]


@dataclass(frozen=True)
class DSIR:
    """Draws candidates without replacement in proportion to their importance weights, by the Gumbel top-k trick.

    To each log weight an independent Gumbel variate is added, and candidates are taken from the largest sum down until
    the next one would exceed the budget. With a budget that counts candidates, this draws one after the other, each
    with probability in proportion to its weight among those that are left. Weights never leave the logarithm.

    For a target of several items the weight is the mean of the weights for each. The variate of a candidate depends on
    the seed and on its id alone, so that a selection does not depend on the order of the candidates, and a smaller
    budget's selection lies inside a larger one's.

    Args:
        seed: of the Gumbel variates.
        top_k: take the largest weights, without variates.

    Example:
        >>> class Weights:
        ...     unit = "nats"
        ...     def __call__(self, ids, target):
        ...         return [[{"a": 9.0, "b": 0.0, "c": -9.0}[i]] for i in ids]
        >>> items = Candidates(("a", "b", "c"), "0123456789abcdef")
        >>> DSIR(top_k=True)(items, (), 2, Weights()).kept
        ('a', 'b')
    """

    seed: int = 0
    top_k: bool = False

    def __call__(
        self, items: Candidates, target: Sequence[str], budget: float, scorer: Scorer | None = None
    ) -> Selection:
        """Choose.

        Args:
            scorer: gives log importance weights, in nats; minus infinity for a candidate that must not be chosen.

        Raises:
            ConfigError: no scorer, or a budget that is not positive.
            DataError: weights of another shape, or that are NaN or plus infinity.
        """
        if not budget > 0:
            raise ConfigError(f"A selection needs a positive budget, got {budget!r}.")
        if scorer is None:
            raise ConfigError(
                "dsir needs a scorer of log importance weights. Give NgramImportance().fit(raw, targets) of "
                "mixlaw.select."
            )
        scores = np.asarray(scorer(items.ids, target), float)
        if scores.shape != (len(items), max(len(target), 1)):
            raise DataError(
                f"dsir needs a log weight for each of {len(items)} candidates and {max(len(target), 1)} targets; the "
                f"scorer gave an array of shape {scores.shape}."
            )
        wrong = np.isnan(scores) | (scores == np.inf)
        if wrong.any():
            first = int(np.flatnonzero(wrong.any(axis=1))[0])
            raise DataError(f"The log weight of candidate {items.ids[first]!r} is {scores[first].tolist()}.")
        weights = np.logaddexp.reduce(scores, axis=1) - math.log(scores.shape[1])
        keys = weights if self.top_k else weights + np.array([_gumbel(self.seed, name) for name in items.ids])
        order = sorted(np.flatnonzero(weights > -np.inf).tolist(), key=lambda i: (-keys[i], items.ids[i]))
        spent = np.cumsum(np.asarray(items.sizes)[order])
        kept = tuple(items.ids[i] for i in order[: int(np.searchsorted(spent, budget, side="right"))])
        return Selection(
            kept,
            items.corpus_hash,
            scores={items.ids[i]: float(weights[i]) for i in order},
            selector={"name": "dsir", "options": {"seed": self.seed, "top_k": self.top_k}},
            unit=scorer.unit,
        )


def _gumbel(seed: int, name: str) -> float:
    """A standard Gumbel variate from 53 bits of a hash."""
    bits = int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8], "big") >> 11
    return -math.log(-math.log((bits + 0.5) / 2**53))

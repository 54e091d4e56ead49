"""Candidates at random: what every other selector is compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixlaw.data.selection import Selection
from mixlaw.errors import ConfigError
from mixlaw.select.contract import Candidates, Scorer

__all__ = ["RandomChoice"]


@dataclass(frozen=True)
class RandomChoice:
    """Takes candidates in a random order until the next one would exceed the budget.

    The order depends on the seed and on the ids alone. So a selection does not depend on the order in which candidates
    are given, and under one seed a smaller budget's selection lies inside a larger one's.

    Args:
        seed: of the order.

    Example:
        >>> items = Candidates(("a", "b", "c", "d"), "0123456789abcdef")
        >>> len(RandomChoice(seed=1)(items, (), budget=2))
        2
    """

    seed: int = 0

    def __call__(
        self, items: Candidates, target: Sequence[str], budget: float, scorer: Scorer | None = None
    ) -> Selection:
        """Choose; ``target`` and ``scorer`` are not looked at."""
        if not budget > 0:
            raise ConfigError(f"A selection needs a positive budget, got {budget!r}.")
        keys = [hashlib.sha256(f"{self.seed}\0{name}".encode()).digest() for name in items.ids]
        order = sorted(range(len(items)), key=lambda i: (keys[i], items.ids[i]))
        spent = np.cumsum(np.asarray(items.sizes)[order])
        kept = tuple(items.ids[i] for i in order[: int(np.searchsorted(spent, budget, side="right"))])
        options = {"name": "random_choice", "options": {"seed": self.seed}}
        return Selection(kept, items.corpus_hash, selector=options)

"""What a selector promises: candidates, a target and a budget in, a selection out.

A selector is one file of ``selectors`` that holds a class; its options are the constructor's arguments. It never sees
a model: what it wants to know of the candidates comes from a :class:`Scorer` that is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mixlaw.data.selection import Selection
from mixlaw.errors import DataError

__all__ = ["Candidates", "Scorer", "Selector"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Candidates:
    """What can be selected.

    Args:
        ids: names of the documents or examples, each once.
        corpus_hash: content hash of what they are from.
        sizes: (n,) what each costs of the budget, such as its tokens; by default 1, so that a budget counts items.

    Raises:
        DataError: an id repeats, or the sizes are not one positive number for each.

    Example:
        >>> Candidates(("a", "b"), "0123456789abcdef", [120, 80]).sizes.tolist()
        [120.0, 80.0]
    """

    ids: Sequence[str]
    corpus_hash: str
    sizes: npt.ArrayLike = field(default=1.0)

    def __post_init__(self) -> None:
        ids = tuple(self.ids)
        if len(set(ids)) != len(ids):
            seen: set[str] = set()
            twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise DataError(f"Candidates are named once each; {twice!r} repeats.")
        sizes = np.asarray(self.sizes, float)
        if sizes.ndim == 0:
            sizes = np.full(len(ids), float(sizes))
        if sizes.shape != (len(ids),) or not np.all(np.isfinite(sizes)) or np.any(sizes <= 0):
            raise DataError(f"Candidates need one positive size each, {len(ids)} in all; got {self.sizes!r}.")
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "sizes", sizes)

    def __len__(self) -> int:
        return len(self.ids)


@runtime_checkable
class Scorer(Protocol):
    """What is known of candidates. Whoever has a model makes one from its losses, gradients or embeddings."""

    @property
    def unit(self) -> str:
        """What a score is: ``"nats_per_token"``, ``"inner product of gradients"``."""

    def __call__(self, ids: Sequence[str], target: Sequence[str]) -> Floats:
        """(n, m) score of each candidate for each item of the target, more is better; (n, 1) where the target is
        empty."""


@runtime_checkable
class Selector(Protocol):
    """Chooses among candidates."""

    def __call__(
        self, items: Candidates, target: Sequence[str], budget: float, scorer: Scorer | None = None
    ) -> Selection:
        """Choose candidates whose sizes sum to at most ``budget``.

        Args:
            items: what can be chosen.
            target: ids of the items that the choice should serve, as the scorer knows them; may be empty.
            budget: in the unit of the candidates' sizes.
            scorer: what is known of the candidates; needed by all selectors that look at them.

        Raises:
            ConfigError: the budget is not positive, or a scorer is needed and missing.
        """

"""I-optimal designs: the runs that tell most about a law's predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mixlaw.design.optimal import propose_optimal

if TYPE_CHECKING:
    from mixlaw.data.budget import Budget
    from mixlaw.data.corpus import Corpus
    from mixlaw.data.mixture import Schedule
    from mixlaw.data.observations import Observations

__all__ = ["propose"]


def propose(
    corpus: Corpus,
    budget: Budget,
    num: int,
    observations: Observations | None = None,
    seed: int = 0,
    *,
    family: str = "log",
    law: Any = None,
    eps: float = 0.01,
    candidates: int = 600,
) -> list[Schedule]:
    """:func:`mixlaw.design.optimal.propose_optimal` with ``criterion="I"``, which has the arguments and errors."""
    return propose_optimal(
        corpus, budget, num, observations, seed,
        criterion="I", family=family, law=law, eps=eps, candidates=candidates,
    )  # fmt: skip

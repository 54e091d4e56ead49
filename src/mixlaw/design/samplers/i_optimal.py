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
    """:func:`mixlaw.design.optimal.propose_optimal` with ``criterion="I"``, which has the arguments and errors.

    Sources: Fedorov 1972 (exchange algorithm); Atkinson, Donev and Tobias 2007, chapters 10-12.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> corpus = Corpus.declared({"web": 9_000, "wiki": 1_000}, source="example")
        >>> mixtures = [s.mixture for s in propose(corpus, Budget(tokens=8_000, max_epochs=4), 3, seed=0)]
        >>> len(mixtures), all(m["wiki"] <= 0.5 for m in mixtures)  # 4 epochs of wiki are half of the budget
        (3, True)
    """
    return propose_optimal(
        corpus, budget, num, observations, seed,
        criterion="I", family=family, law=law, eps=eps, candidates=candidates,
    )  # fmt: skip

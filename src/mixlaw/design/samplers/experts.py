"""Mixtures beside one expert per domain.

The experts themselves are no mixtures: a study whose ``design.sampler`` is ``experts`` trains one run per domain
(:func:`mixlaw.design.trunk.expert_specs`), and ``num`` of the mixtures of this sampler beside them, against which laws
made of experts are measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixlaw.design.samplers import dirichlet

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
    temperature: float = 0.5,
    strengths: tuple[float, float] = (1.0, 20.0),
) -> list[Schedule]:
    """:func:`mixlaw.design.samplers.dirichlet.propose` with stronger draws: nearly pure domains are the experts' own.

    Args:
        temperature, strengths: as of the Dirichlet sampler.

    Raises:
        ConfigError, InfeasibleBudgetError, DataError: as the Dirichlet sampler.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 1_000_000}, source="example")
        >>> len(propose(corpus, Budget(tokens="10M"), 4))
        4
    """
    return dirichlet.propose(corpus, budget, num, observations, seed, temperature=temperature, strengths=strengths)

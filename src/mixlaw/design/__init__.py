"""Designs: which mixtures to train next, with what anchors and replicates, and how many are worth training.

Every sampler is one file with ``propose(corpus, budget, num, observations=None, seed=0) -> list[Schedule]``, listed
in :data:`SAMPLERS`; a user's own joins with ``SAMPLERS.register("mine", my_propose)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mixlaw.data.seams import SAMPLERS
from mixlaw.kit.lazy import attach

if TYPE_CHECKING:
    from mixlaw.data.budget import Budget
    from mixlaw.data.corpus import Corpus
    from mixlaw.data.mixture import Schedule
    from mixlaw.data.observations import Observations

_ATTRIBUTES = {
    "Cut": "mixlaw.design.volume:Cut",
    "Rung": "mixlaw.design.ladder:Rung",
    "anchor_mixtures": "mixlaw.design.anchors:anchor_mixtures",
    "cut": "mixlaw.design.volume:cut",
    "ladder_specs": "mixlaw.design.ladder:ladder_specs",
    "Power": "mixlaw.design.adaptive.power:Power",
    "Size": "mixlaw.design.adaptive.power:Size",
    "power_analysis": "mixlaw.design.adaptive.power:power_analysis",
    "Recommendation": "mixlaw.design.adaptive.recommendation:Recommendation",
    "recommend": "mixlaw.design.adaptive.recommendation:recommend",
    "Plan": "mixlaw.design.adaptive.sequential:Plan",
    "Worth": "mixlaw.design.adaptive.sequential:Worth",
    "plan": "mixlaw.design.adaptive.sequential:plan",
    "noise": "mixlaw.design.anchors:noise",
    "simulated_epoching": "mixlaw.design.epoching:simulated_epoching",
    "specs": "mixlaw.design.anchors:specs",
    "with_simulated_epoching": "mixlaw.design.epoching:with_simulated_epoching",
    "Polytope": "mixlaw.design.polytope:Polytope",
    "resample": "mixlaw.design.samplers.double_diminishing:resample",
}

__getattr__, __dir__, __all__ = attach(__name__, _ATTRIBUTES)
__all__ += ["SAMPLERS", "propose"]


def propose(
    corpus: Corpus,
    budget: Budget,
    num: int,
    observations: Observations | None = None,
    seed: int = 0,
    *,
    sampler: str = "dirichlet",
    **options: Any,
) -> list[Schedule]:
    """``num`` distinct schedules that satisfy ``budget``, from the sampler of that name.

    Args:
        corpus: the domains.
        budget: limits of the run the mixture is for.
        num: how many, > 0.
        observations: runs already trained; samplers do not repeat them, and those that can build on them do.
        seed: the same seed gives the same schedules.
        sampler: a name in :data:`SAMPLERS`.
        options: the sampler's own.

    Raises:
        ConfigError: num <= 0, unknown sampler or option, or an option out of range.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: observations over other domains.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 1_000_000}, source="example")
        >>> len(propose(corpus, Budget(tokens="10M"), 4, sampler="lattice"))
        4
    """
    SAMPLERS.check(sampler, options)
    result: list[Schedule] = SAMPLERS[sampler](corpus, budget, num, observations, seed, **options)
    return result

"""Designs: which mixtures to train next, with what anchors and replicates, and how many are worth training.

Every sampler is one file with ``propose(corpus, budget, num, observations=None, seed=0) -> list[Schedule]``, listed
in :data:`SAMPLERS`; a user's own joins with ``SAMPLERS.register("mine", my_propose)``.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.registry import Registry

if TYPE_CHECKING:
    from mixlaw.budget import Budget
    from mixlaw.corpus import Corpus
    from mixlaw.mixture import Schedule
    from mixlaw.observations import Observations

SAMPLERS: Registry = Registry(
    "sampler",
    {
        "dirichlet": "mixlaw.design.dirichlet:propose",
        "lattice": "mixlaw.design.lattice:propose",
        "double_diminishing": "mixlaw.design.double_diminishing:propose",
        "maximin": "mixlaw.design.maximin:propose",
        "low_discrepancy": "mixlaw.design.low_discrepancy:propose",
        "d_optimal": "mixlaw.design.optimal:d_optimal",
        "i_optimal": "mixlaw.design.optimal:i_optimal",
        "hierarchical": "mixlaw.design.hierarchical:propose",
        "phases": "mixlaw.design.phases:propose",
        "sequential": "mixlaw.design.sequential:propose",
    },
)
"""Samplers by name."""

_ATTRIBUTES = {
    "Cut": "mixlaw.design.volume:Cut",
    "Rung": "mixlaw.design.ladder:Rung",
    "anchor_mixtures": "mixlaw.design.anchors:anchor_mixtures",
    "cut": "mixlaw.design.volume:cut",
    "ladder_specs": "mixlaw.design.ladder:ladder_specs",
    "Power": "mixlaw.design.power:Power",
    "Size": "mixlaw.design.power:Size",
    "power_analysis": "mixlaw.design.power:power_analysis",
    "Recommendation": "mixlaw.design.recommendation:Recommendation",
    "recommend": "mixlaw.design.recommendation:recommend",
    "Plan": "mixlaw.design.sequential:Plan",
    "Worth": "mixlaw.design.sequential:Worth",
    "plan": "mixlaw.design.sequential:plan",
    "noise": "mixlaw.design.anchors:noise",
    "simulated_epoching": "mixlaw.design.epoching:simulated_epoching",
    "specs": "mixlaw.design.anchors:specs",
    "with_simulated_epoching": "mixlaw.design.epoching:with_simulated_epoching",
    "Polytope": "mixlaw.design.feasible:Polytope",
    "resample": "mixlaw.design.double_diminishing:resample",
}

__all__ = ["SAMPLERS", "propose", *sorted(_ATTRIBUTES)]


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
    function = SAMPLERS[sampler]
    accepted = inspect.signature(function).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        known = [n for n, p in accepted.items() if p.kind is p.KEYWORD_ONLY]
        for name in options:
            if name not in known:
                raise ConfigError(f"The {sampler} sampler has no option {name!r}.{did_you_mean(name, known)}")
    result: list[Schedule] = function(corpus, budget, num, observations, seed, **options)
    return result


def __getattr__(name: str) -> Any:
    try:
        module, _, attribute = _ATTRIBUTES[name].partition(":")
    except KeyError:
        raise AttributeError(f"mixlaw.design has no {name!r}.{did_you_mean(name, __all__)}") from None
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(__all__) | set(globals()))

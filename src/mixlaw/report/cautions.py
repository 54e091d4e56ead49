"""What a reader must see before relying on the answer: sets that get worse, missed intervals, sets nothing is shown on.

Everything of a kind is named, the largest first; nothing is named that is no caution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixlaw.data.recipe import Recipe
from mixlaw.data.recipe_text import worse_sets
from mixlaw.data.verification import Verification, interval_of_mean
from mixlaw.report.facts import ReportFacts

__all__ = ["blank_columns", "cautions_of_check", "first_cautions", "missed_intervals", "worse_than_reference"]


def worse_than_reference(facts: ReportFacts) -> tuple[str, list[tuple[str, float]]]:
    """What the recipe is compared with, and the sets that get worse than there, in nats, the largest first: as
    measured where the recipe was verified (by more than the difference's standard error), else as predicted.

    Example:
        >>> worse_than_reference(ReportFacts("empty"))
        ('reference', [])
    """
    verification, recipe = facts.verification or {}, facts.recipe
    sets: Mapping[str, Mapping[str, Sequence[float]]] = verification.get("sets") or {}
    name = next((key.removeprefix("vs ") for key in verification.get("difference") or {}), None)
    if name is not None and name in sets and "recipe" in sets:
        rises = {t: _rise(mine, sets[name][t]) for t, mine in sets["recipe"].items() if t in sets[name]}
        found = [(t, rise) for t, (rise, error) in rises.items() if rise > error]
        return name, sorted(found, key=lambda item: -item[1])
    return "reference", [] if recipe is None else worse_sets(recipe.predictions, recipe.changes)


def _rise(mine: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Mean of the recipe minus that of the reference, and its standard error (0 for one seed)."""
    difference = float(np.mean(mine) - np.mean(other))
    if len(mine) != len(other) or len(mine) < 2:
        return difference, 0.0
    return difference, float((np.asarray(mine) - np.asarray(other)).std(ddof=1) / math.sqrt(len(mine)))


def missed_intervals(facts: ReportFacts) -> list[tuple[str, float]]:
    """Sets whose measured mean lies outside the interval that was predicted for it, with by how many nats it lies
    above (positive) or below (negative); the largest first.

    Example:
        >>> missed_intervals(ReportFacts("empty"))
        []
    """
    measured = ((facts.verification or {}).get("sets") or {}).get("recipe") or {}
    if facts.recipe is None:
        return []
    found = []
    for name, seeds in measured.items():
        if name not in facts.recipe.predictions or not len(seeds):
            continue
        interval, mean = interval_of_mean(facts.recipe.predictions[name], list(seeds)), float(np.mean(seeds))
        if not interval.covers(mean):
            found.append((name, mean - interval.high if mean > interval.high else mean - interval.low))
    return sorted(found, key=lambda item: -abs(item[1]))


def blank_columns(effects: Any) -> list[str]:
    """Sets on which no domain is shown to have an effect: blank columns of the heat map.

    Args:
        effects: as of :func:`mixlaw.report.plots.effects_heatmap`, or None.

    Example:
        >>> shown = [[True, False], [False, False]]
        >>> blank_columns({"targets": ["exam", "bugs"], "significant": shown})
        ['bugs']
    """

    def get(name: str) -> Any:
        return effects.get(name) if isinstance(effects, Mapping) else getattr(effects, name, None)

    shown = None if effects is None else get("significant")
    if shown is None:
        return []
    some = [bool(column.any()) for column in np.asarray(shown, dtype=bool).T]
    return [str(name) for name, any_effect in zip(get("targets"), some) if not any_effect]


def first_cautions(facts: ReportFacts) -> list[str]:
    """The sentences that come before all other cautions; none where there is nothing to be careful about.

    Example:
        >>> first_cautions(ReportFacts("empty"))
        []
    """
    out = []
    name, worse = worse_than_reference(facts)
    if worse:
        what = "measured" if facts.verification else "predicted"
        words = {"natural": "the natural mixture", "reference": "the reference"}.get(name, name)
        weights = None if facts.recipe is None else facts.recipe.objective.get("weights")
        shown = ", ".join(f"{t} by {rise:.2g}{_not_asked(weights, t)}" for t, rise in worse)
        out.append(f"Worse than at {words} ({what}, nats per token): {shown}.")
    missed = missed_intervals(facts)
    if missed:
        shown = ", ".join(f"{t} by {abs(off):.2g} {'above' if off > 0 else 'below'}" for t, off in missed)
        out.append(f"Measured outside the predicted interval (nats per token): {shown}.")
    blank = blank_columns(facts.effects)
    if blank:
        out.append(
            f"No domain is shown to help or hurt {', '.join(blank)}: what the mixture does to them is not known."
        )
    return out


def _not_asked(weights: Mapping[str, float] | None, name: str) -> str:
    """What explains most often why a set got worse: nothing was asked of it."""
    return " (not in the objective)" if weights and not weights.get(name) else ""


def cautions_of_check(recipe: Recipe, check: Verification) -> list[str]:
    """The first cautions of a recipe that was verified, for the terminal: sets that got worse, missed intervals.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.data.mixture import Mixture
        >>> from mixlaw.data.prediction import Prediction
        >>> from mixlaw.data.verification import Arm
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize import optimize
        >>> web = [0.1, 0.3, 0.5, 0.7, 0.9]
        >>> law = LogLinear().fit({"web": web, "code": [1 - w for w in web]}, {"exam": [3, 2.9, 2.7, 2.6, 2.6]})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> recipe = optimize(law, "exam", Budget(tokens=1_000), corpus)
        >>> ours = Arm(recipe.mixture, (2.5,), {}, sets={"exam": (2.5,), "bugs": (4.0,)})
        >>> today = Arm(Mixture({"web": 0.5, "code": 0.5}), (2.7,), {}, sets={"exam": (2.7,), "bugs": (3.0,)})
        >>> gain = {"natural": Prediction(-0.2, -0.3, -0.1)}
        >>> check = Verification({"recipe": ours, "natural": today}, Prediction(2.5, 2.4, 2.6), 2.5, 0.0, gain)
        >>> cautions_of_check(recipe, check)[0]
        'Worse than at the natural mixture (measured, nats per token): bugs by 1 (not in the objective).'
    """
    return first_cautions(ReportFacts("check", recipe=recipe, verification=check.to_dict()))

"""What a reader must see before relying on the answer: sets that get worse, missed intervals, sets nothing is shown on.

Everything of a kind is named, the largest first; nothing is named that is no caution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixlaw.data.multiplicity import FALSE_CLAIMS, by_themselves, holm
from mixlaw.data.recipe import Recipe
from mixlaw.data.recipe_text import worse_sets
from mixlaw.data.verification import Verification, interval_of_mean
from mixlaw.report.facts import ReportFacts
from mixlaw.verify.paired import adjusted_level, false_gains

__all__ = ["Worse", "blank_columns", "cautions_of_check", "first_cautions", "missed_intervals", "worse_than_reference"]


@dataclass(frozen=True)
class Worse:
    """Sets whose loss is higher than at the mixture the recipe is compared with.

    ``than`` is what it is compared with; ``sets`` holds ``(set, rise in nats)``, the largest first, and ``higher``
    those measured higher without being shown to be: chance does as much among the ``compared`` sets. ``false_claims``
    is the largest share of checks that have any set in ``sets`` which is not worse; None for what is only predicted.
    """

    than: str
    sets: list[tuple[str, float]]
    higher: list[tuple[str, float]]
    compared: int
    false_claims: float | None = None


def worse_than_reference(facts: ReportFacts) -> Worse:
    """The sets that get worse than at the reference: as measured where the recipe was verified, else as predicted.

    Where many sets are measured, some end higher by chance. Those that are claimed to be worse are held to all that
    were compared (:func:`~mixlaw.data.multiplicity.holm` on one-sided Student-t tests of the paired seeds), and to
    earlier looks.

    Example:
        >>> worse_than_reference(ReportFacts("empty")).sets
        []
    """
    verification, recipe = facts.verification or {}, facts.recipe
    sets: Mapping[str, Mapping[str, Sequence[float]]] = verification.get("sets") or {}
    name = next((key.removeprefix("vs ") for key in verification.get("difference") or {}), None)
    if name is None or name not in sets or "recipe" not in sets:
        predicted = [] if recipe is None else worse_sets(recipe.predictions, recipe.changes)
        return Worse("reference", predicted, [], 0 if recipe is None else len(recipe.changes))
    pairs = {t: (mine, sets[name][t]) for t, mine in sets["recipe"].items() if t in sets[name]}
    rise = {t: float(np.mean(mine) - np.mean(other)) for t, (mine, other) in pairs.items()}
    # the rate is spent over looks as for gains; a claim of "worse" is one end of the interval, as a gain is
    rate = false_gains(adjusted_level(1 - 2 * FALSE_CLAIMS, 1, int(verification.get("look", 1))))
    chance = dict(zip(pairs, holm([_chance(*pair) for pair in pairs.values()])))
    found = sorted(((t, r) for t, r in rise.items() if r > 0), key=lambda item: -item[1])
    shown = [item for item in found if chance[item[0]] <= rate]
    return Worse(name, shown, [item for item in found if item not in shown], len(pairs), FALSE_CLAIMS)


def _chance(mine: Sequence[float], other: Sequence[float]) -> float:
    """Chance of seeds that end so much higher where there is no difference; 1 for one seed, which shows nothing."""
    from scipy.stats import t as student

    if len(mine) != len(other) or len(mine) < 2:
        return 1.0
    paired = np.asarray(mine) - np.asarray(other)
    error = paired.std(ddof=1) / math.sqrt(len(paired))
    if not error > 1e-12 * max(1.0, float(np.abs(mine).max())):  # every seed differs by the same
        return 0.0 if paired.mean() > 0 else 1.0
    return float(student.sf(paired.mean() / error, len(paired) - 1))


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
    worse = worse_than_reference(facts)
    than = {"natural": "the natural mixture", "reference": "the reference"}.get(worse.than, worse.than)
    weights = None if facts.recipe is None else facts.recipe.objective.get("weights")
    if worse.sets:
        what = "measured" if facts.verification else "predicted"
        shown = ", ".join(f"{t} by {rise:.2g}{_not_asked(weights, t)}" for t, rise in worse.sets)
        out.append(f"Worse than at {than} ({what}, nats per token): {shown}.{_held_to(worse)}")
    if worse.higher:
        shown = ", ".join(f"{t} by {rise:.2g}{_not_asked(weights, t)}" for t, rise in worse.higher)
        among = f" among {worse.compared} sets" if worse.compared > 1 else ""
        out.append(
            f"Measured higher than at {than}, but not shown to be worse (chance does as much{among}; nats per token): "
            f"{shown}."
        )
    missed = missed_intervals(facts)
    if missed:
        shown = ", ".join(f"{t} by {abs(off):.2g} {'above' if off > 0 else 'below'}" for t, off in missed)
        out.append(f"Measured outside the predicted interval (nats per token): {shown}.{_by_chance(facts)}")
    blank = blank_columns(facts.effects)
    if blank:
        out.append(
            f"No domain is shown to help or hurt {', '.join(blank)}: what the mixture does to them is not known."
        )
    return out


def _held_to(worse: Worse) -> str:
    """How sure the sets that are called worse are; empty for predictions and for a single set."""
    if worse.false_claims is None or worse.compared < 2:
        return ""
    rate = f"at most {worse.false_claims:.0%} of checks call any set worse that is not"
    return f" Of {worse.compared} sets compared; {rate}."


def _by_chance(facts: ReportFacts) -> str:
    """How many of the intervals miss by chance."""
    measured = ((facts.verification or {}).get("sets") or {}).get("recipe") or {}
    checked = [facts.recipe.predictions[t] for t in measured if facts.recipe and t in facts.recipe.predictions]
    said = by_themselves(len(checked), checked[0].level)
    return f" {said}" if said else ""


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
        >>> ours = Arm(recipe.mixture, (2.5, 2.5), {}, sets={"exam": (2.5, 2.5), "bugs": (4.0, 4.1)})
        >>> even = Mixture({"web": 0.5, "code": 0.5})
        >>> today = Arm(even, (2.7, 2.7), {}, sets={"exam": (2.7, 2.7), "bugs": (3.0, 3.1)})
        >>> gain = {"natural": Prediction(-0.2, -0.3, -0.1)}
        >>> check = Verification({"recipe": ours, "natural": today}, Prediction(2.5, 2.4, 2.6), 2.5, 0.0, gain)
        >>> print(cautions_of_check(recipe, check)[0].replace(". ", ".\\n"))
        Worse than at the natural mixture (measured, nats per token): bugs by 1 (not in the objective).
        Of 2 sets compared; at most 5% of checks call any set worse that is not.
    """
    return first_cautions(ReportFacts("check", recipe=recipe, verification=check.to_dict()))

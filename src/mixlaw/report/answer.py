"""The answer in words: one sentence first, a null as a null."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixlaw.data.prediction import Prediction
from mixlaw.data.recipe import Recipe
from mixlaw.data.recipe_text import compared_with, score_text
from mixlaw.report.cautions import worse_than_reference
from mixlaw.report.facts import ReportFacts

__all__ = ["Answer", "answer", "describe_mixture", "digits_for", "interval_text", "number", "unit_text"]

_UNITS = {"nats_per_token": "nats per token", "bits_per_byte": "bits per byte"}


@dataclass(frozen=True)
class Answer:
    """``headline``, then ``sentences``; ``verdict`` is gain, null, loss or open; ``tiles`` are (label, value, note)."""

    headline: str
    sentences: tuple[str, ...]
    verdict: str
    tiles: tuple[tuple[str, str, str], ...]


def unit_text(unit: str) -> str:
    """``"nats_per_token"`` as people write it."""
    return _UNITS.get(unit, unit.replace("_", " "))


def digits_for(*widths: float) -> int:
    """Decimals that show the smallest of ``widths`` with two significant digits, between 2 and 4 (6 for tiny ones)."""
    smallest = min((abs(w) for w in widths if w and math.isfinite(w)), default=0.01)
    return min(4 if smallest >= 1e-4 else 6, max(2, 1 - math.floor(math.log10(smallest))))


def number(value: float, digits: int, sign: bool = False) -> str:
    """``value`` with so many decimals and a true minus sign."""
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def interval_text(p: Prediction, sign: bool = False) -> str:
    """``2.310 [2.280, 2.340]`` with as many decimals as the interval deserves."""
    d = digits_for(p.high - p.low)
    return f"{number(p.mean, d, sign)} [{number(p.low, d, sign)}, {number(p.high, d, sign)}]"


def describe_mixture(weights: Mapping[str, float], most: int = 5) -> str:
    """``62% docs, 21% code and 17% web``; beyond ``most`` domains the rest is summed up."""
    ranked = sorted(weights.items(), key=lambda item: -item[1])
    ranked = [(d, w) for d, w in ranked if w >= 0.0005]
    shown, rest = (ranked, []) if len(ranked) <= most else (ranked[: most - 1], ranked[most - 1 :])
    parts = [f"{_percent(w)} {d}" for d, w in shown]
    if rest:
        parts.append(f"{_percent(sum(w for _, w in rest))} from {len(rest)} other domains")
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _describe(recipe: Recipe) -> str:
    """The mixture in words, phase by phase where they differ."""
    phases = recipe.schedule.phases
    if all(p.mixture == phases[0].mixture for p in phases):
        return describe_mixture(recipe.mixture.to_dict())
    parts = [f"{describe_mixture(p.mixture.to_dict())} for {_percent(p.fraction)} of the tokens" for p in phases]
    return "; then ".join(parts)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.0095 or share == 0 else f"{share:.1%}"


def _reference_name(verification: Mapping[str, Any]) -> str | None:
    keys = list(verification.get("difference", {}))
    return keys[0].removeprefix("vs ") if keys else None


def _mixture_words(name: str) -> str:
    return {"natural": "the natural mixture", "uniform": "the uniform mixture"}.get(name, f"the {name} mixture")


def _share(value: Any) -> dict[str, float] | None:
    """A steps-saved entry as mean, low, high; a plain number has no interval."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {k: float(value[k]) for k in ("mean", "low", "high") if value.get(k) is not None}
    if isinstance(value, Sequence):
        return {"low": float(value[0]), "high": float(value[1]), "mean": float(np.mean(value))}
    return {"mean": float(value)}


def _with_range(value: Mapping[str, float], form: str) -> str:
    text = form.format(value["mean"])
    if "low" in value and "high" in value:
        text += f" [{form.format(value['low'])}, {form.format(value['high'])}]"
    return text


def _steps_sentence(name: str, saved: Mapping[str, Any]) -> str | None:
    reaches, needs = _share(saved.get("recipe_reaches_reference_at")), _share(saved.get("reference_needs"))
    parts = []
    if reaches is not None:
        parts.append(f"It reaches the loss of {_mixture_words(name)} in {_with_range(reaches, '{:.0%}')} of the steps")
    if needs is not None:
        parts.append(f"{_mixture_words(name)} needs {_with_range(needs, '{:.2f}')} times the steps for this loss")
    if not parts:
        return None
    if len(parts) == 2:
        return f"{parts[0]}; {parts[1]}."
    return parts[0][0].upper() + parts[0][1:] + "."


def answer(facts: ReportFacts) -> Answer:
    """What the study says, in the order a reader wants it."""
    verification = facts.verification
    recipe = facts.recipe or facts.schedule
    if recipe is None:
        return _unfinished(facts)
    mixture = _describe(recipe)
    worse = _worse_sentence(facts)
    unit = unit_text(recipe.predictions["objective"].unit) if "objective" in recipe.predictions else "nats per token"
    if not verification:
        found = _predicted(facts, recipe, mixture, unit)
    else:
        found = _verified(verification, recipe, mixture, unit)
    return replace(found, sentences=(*found.sentences, *worse))


def _worse_sentence(facts: ReportFacts) -> list[str]:
    """The sets that get worse, if any, the largest first; beyond three the rest is counted and named below."""
    worse = worse_than_reference(facts)
    words = "the reference" if worse.than == "reference" else _mixture_words(worse.than)
    out = []
    for found, form in [
        (worse.sets, "Worse than at {}: {}."),
        (worse.higher, "Measured higher than at {}, but not shown to be worse: {}."),
    ]:
        shown = ", ".join(f"{t} by {rise:.2g} nats" for t, rise in found[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        out += [form.format(words, shown + more)] if found else []
    return out


def _unfinished(facts: ReportFacts) -> Answer:
    done = len(facts.observations) if facts.observations is not None else 0
    have = f"{done} runs are trained" if done else "No run is trained yet"
    if facts.corpus is not None and not done:
        have = f"The text is measured ({len(facts.corpus.names)} domains), but no run is trained yet"
    next_step = f" Next: {facts.next_step}" if facts.next_step else ""
    return Answer("No recommendation yet.", (f"{have}, and no mixture has been proposed.{next_step}",), "open", ())


def _predicted(facts: ReportFacts, recipe: Recipe, mixture: str, unit: str) -> Answer:
    sentences, tiles = [], []
    p = recipe.predictions.get("objective")
    if p is not None:
        what = "Predicted loss" if not score_text(recipe.objective) else "Predicted objective"
        note = f"; {score_text(recipe.objective)}" if score_text(recipe.objective) else ""
        sentences.append(f"{what} {interval_text(p)} {unit} ({p.level:.0%} interval{note}).")
        tiles.append((what, f"{p.mean:.{digits_for(p.high - p.low)}f}", _range(p)))
    d = recipe.difference
    if d is not None:
        side = "below" if d.mean < 0 else "above"
        near, far = sorted((abs(d.low), abs(d.high)))
        size = Prediction(abs(d.mean), near, far, d.level) if d.low * d.high > 0 else None
        text = interval_text(size) if size is not None else interval_text(d, sign=True)
        other = {"reference": "reference mixture"}.get(compared_with(recipe.baselines), compared_with(recipe.baselines))
        sentences.append(
            f"That is {text} {side} the {other}."
            if size is not None
            else f"Against the {other}: {text}; the interval holds zero, so no gain is promised."
        )
        chance = "" if recipe.probability_better is None else f"better with probability {recipe.probability_better:.0%}"
        tiles.append(("Predicted difference", number(d.mean, digits_for(d.high - d.low), True), chance or _range(d)))
    sentences.append("Not verified yet: nothing was trained on this mixture.")
    if facts.next_step:
        sentences.append(f"Next: {facts.next_step}")
    return Answer(f"Train on {mixture}.", tuple(sentences), "open", tuple(tiles))


_Tile = tuple[str, str, str]
"""Label, value and note."""


def _range(p: Prediction, sign: bool = False) -> str:
    d = digits_for(p.high - p.low)
    return f"{p.level:.0%} interval {number(p.low, d, sign)} to {number(p.high, d, sign)}"


def _verified(verification: Mapping[str, Any], recipe: Recipe, mixture: str, unit: str) -> Answer:
    verdict = str(verification.get("verdict", "null"))
    name = _reference_name(verification)
    sentences: list[str] = [] if verdict == "gain" else [f"Proposed was {mixture}."]
    tiles: list[_Tile] = []
    if name is not None:
        sentences.append(_difference_sentence(verification, verdict, name, unit))
    for text, more in (_predicted_and_measured(verification, recipe, unit), _compared(verification, name)):
        sentences += text
        tiles += more
    words = _mixture_words(name) if name else "the reference"
    headline = {
        "gain": f"Train on {mixture}.",
        "loss": f"Stay with {words}: the proposed mixture did worse.",
        "null": f"No difference shown between the proposed mixture and {words}.",
    }.get(verdict, f"Train on {mixture}.")
    return Answer(headline, tuple(sentences), verdict, tuple(tiles))


def _predicted_and_measured(
    verification: Mapping[str, Any], recipe: Recipe, unit: str
) -> tuple[list[str], list[_Tile]]:
    """Whether the loss came out as predicted."""
    objective = verification.get("objective", {})
    p = (
        Prediction.from_dict(objective["predicted"])
        if objective.get("predicted")
        else recipe.predictions.get("objective")
    )
    measured = objective.get("measured")
    if p is None or measured is None:
        return [], []
    d = digits_for(p.high - p.low)
    inside = "inside" if verification.get("inside_interval", p.covers(measured)) else "outside"
    when = "before" if verification.get("predicted_first", True) else "after"
    sentence = (
        f"Predicted loss {interval_text(p)} {unit}, written down {when} the check; measured {measured:.{d}f} "
        f"over {verification.get('num_seeds')} seeds, {inside} the interval for such a mean."
    )
    error = objective.get("standard_error")
    note = f"{inside} the interval" + (f"; standard error {error:.{digits_for(error)}f}" if error else "")
    return [sentence], [("Predicted loss", f"{p.mean:.{d}f}", _range(p)), ("Measured loss", f"{measured:.{d}f}", note)]


def _difference(verification: Mapping[str, Any], name: str) -> Prediction:
    return Prediction.from_dict(dict(verification["difference"][f"vs {name}"]))


def _difference_sentence(verification: Mapping[str, Any], verdict: str, name: str, unit: str) -> str:
    """By how much the mixture ended below or above the one it is compared with."""
    difference, words = _difference(verification, name), _mixture_words(name)
    if verdict == "gain":
        size = Prediction(-difference.mean, -difference.high, -difference.low, difference.level)
        return f"It ends {interval_text(size)} {unit} below {words}."
    if verdict == "loss":
        return f"It ends {interval_text(difference)} {unit} above {words}."
    return (
        f"Its loss minus that of {words} is {interval_text(difference, sign=True)} {unit}: the "
        f"{difference.level:.0%} interval holds zero, so {verification.get('num_seeds')} seeds per arm cannot tell "
        f"them apart."
    )


def _compared(verification: Mapping[str, Any], name: str | None) -> tuple[list[str], list[_Tile]]:
    """The difference as a number, and the steps saved where they were measured."""
    if name is None:
        return [], []
    difference = _difference(verification, name)
    value = number(difference.mean, digits_for(difference.high - difference.low), True)
    tiles: list[_Tile] = [(f"Difference to {name}", value, _range(difference, sign=True))]
    saved = (verification.get("steps_saved") or {}).get(name) or {}
    sentence = _steps_sentence(name, saved)
    if sentence is None:
        return [], tiles
    reaches = _share(saved.get("recipe_reaches_reference_at"))
    if reaches is not None:
        note = f"to reach {name}'s loss"
        if "low" in reaches and "high" in reaches:
            note += f"; {reaches['low']:.0%} to {reaches['high']:.0%}"
        tiles.append(("Steps needed", f"{reaches['mean']:.0%}", note))
    return [sentence], tiles

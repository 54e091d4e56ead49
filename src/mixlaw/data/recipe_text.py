"""A recipe as it is printed: what was asked for, the mixture, what it is predicted to do, what it stands beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.multiplicity import by_themselves
from mixlaw.data.prediction import Prediction
from mixlaw.kit.units import format_count

__all__ = [
    "asked_text",
    "baseline_rows",
    "compared_with",
    "phase_epochs",
    "recipe_text",
    "score_text",
    "worse_sets",
    "worse_text",
]

_PER = {
    "loss_per_billion_tokens": "per billion tokens more",
    "loss_per_extra_epoch": "per epoch more",
    "loss_per_billion_unique_tokens": "per billion unique tokens more",
    "loss_per_unit": "per unit more",
    "loss_per_nat": "per nat more",
    "share_of_tokens_per_nat": "(share of the tokens moved) per nat more",
}
"""How the numbers of a shadow price are read."""

_ROBUST = {
    "mean": "the mean over refitted laws",
    "cvar": "the mean over the worse half of refitted laws, of the change against the reference",
    "regret": "the largest loss over refitted laws against each one's own optimum",
}

NOT_FOR_SCHEDULES = (
    "Near-optimal ranges, prices of limits and the optimum without limits are not computed for schedules."
)


def asked_text(objective: Mapping[str, Any]) -> list[str]:
    """What was asked for, a sentence each: the kind with its weights, then everything that changed it.

    Example:
        >>> asked_text({"kind": "mean", "weights": {"web": 0.7, "exam": 0.3}, "robust": "mean"})
        ['Asked for: the lowest weighted mean of losses (web 0.7, exam 0.3).', 'Robust: the mean over refitted laws.']
    """
    kind, weights = objective.get("kind"), objective.get("weights")
    if kind is None or not isinstance(weights, Mapping):
        return []
    equal = len(weights) > 1 and max(weights.values()) - min(weights.values()) < 1e-9
    shown = [name if equal else f"{name} {weight:.3g}" for name, weight in weights.items()]
    sets = ("equally " if equal else "") + ", ".join(shown[:20])
    sets += f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    lines = [
        "Asked for: "
        + {
            "mean": f"the lowest weighted mean of losses ({sets}).",
            "guard": f"the lowest weighted mean of losses ({sets}), with guards.",
            "worst": f"the lowest worst case, the largest excess of a set over the best it could reach here ({sets}).",
            "least_change": "the fewest tokens moved away from the reference for a gain of "
            f"{objective.get('gain', 0):g} nats in the weighted mean of losses ({sets}).",
        }.get(str(kind), f"{kind} ({sets}).")
    ]
    if objective.get("guards"):
        lines.append(f"Held to: {'; '.join(map(str, objective['guards']))}.")
    if objective.get("robust"):
        lines.append(f"Robust: {_ROBUST.get(str(objective['robust']), objective['robust'])}.")
    if objective.get("repetition_half_life_epochs") is not None:
        lines.append(
            f"Repetition: repeated tokens count by their effective worth, "
            f"R* = {objective['repetition_half_life_epochs']:.4g} epochs."
        )
    if objective.get("kl_weight"):
        lines.append(f"KL divergence to the prior mixture: {objective['kl_weight']:g} times it is added.")
    if objective.get("kl_limit") is not None and not objective.get("guards"):
        lines.append(f"KL divergence to the prior mixture: at most {objective['kl_limit']:g} nats.")
    if objective.get("tasks"):
        lines.append(f"Accuracy instead of loss, through a task law: {', '.join(map(str, objective['tasks']))}.")
    return lines


def score_text(objective: Mapping[str, Any]) -> str:
    """What the number called objective is, where it is no mean of losses; else empty.

    Example:
        >>> score_text({"kind": "worst"})
        'largest excess over the best reachable, not a loss'
        >>> score_text({"kind": "mean"})
        ''
    """
    if objective.get("kind") == "worst":
        return "largest excess over the best reachable, not a loss"
    return "error of the tasks and losses, weighted" if objective.get("tasks") else ""


def compared_with(baselines: Mapping[str, Any]) -> str:
    """What a recipe's difference is counted from.

    Example:
        >>> compared_with({"natural": {}, "best constant": {}}), compared_with({"natural": {}})
        ('best constant mixture', 'reference')
    """
    return "best constant mixture" if "best constant" in baselines else "reference"


def baseline_rows(baselines: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Prediction | None, bool]]:
    """``(names, prediction, within the budget)`` of every other mixture; equal mixtures share a row.

    Example:
        >>> same = {"web": 0.5, "code": 0.5}
        >>> baseline_rows({"uniform": {"weights": same}, "natural": {"weights": same}, "all": {"weights": {"web": 1}}})
        [('uniform = natural', None, True), ('all', None, True)]
    """
    rows: list[tuple[list[str], Any, Prediction | None, bool]] = []
    for name, data in baselines.items():
        known = next((row for row in rows if row[1] and row[1] == data["weights"]), None)
        if known is not None:
            known[0].append(name)
            continue
        prediction = data.get("prediction")
        found = prediction if isinstance(prediction, Prediction | None) else Prediction.from_dict(prediction)
        rows.append(([name], data["weights"], found, bool(data.get("feasible", True))))
    return [(" = ".join(names), prediction, feasible) for names, _, prediction, feasible in rows]


def phase_epochs(schedule: Schedule, tokens: float, unique_tokens: Mapping[str, float]) -> list[dict[str, float]]:
    """Epochs of each domain within each phase: tokens drawn there / unique tokens.

    Args:
        tokens: of the whole run.
        unique_tokens: of each domain.

    Example:
        >>> schedule = Schedule.from_dict(
        ...     {"phases": [{"fraction": 0.5, "weights": {"web": 1.0, "code": 0.0}},
        ...                 {"fraction": 0.5, "weights": {"web": 0.5, "code": 0.5}}]}
        ... )
        >>> phase_epochs(schedule, tokens=1_000, unique_tokens={"web": 500, "code": 125})
        [{'web': 1.0, 'code': 0.0}, {'web': 0.5, 'code': 2.0}]
    """
    return [
        {d: w * phase.fraction * tokens / unique_tokens[d] for d, w in phase.mixture.to_dict().items()}
        for phase in schedule.phases
    ]


def recipe_text(
    *,
    schedule: Schedule,
    tokens: int,
    unique_tokens: Mapping[str, float],
    certificate: str,
    objective: Mapping[str, Any],
    predictions: Mapping[str, Prediction],
    reference: Mixture | None,
    difference: Prediction | None,
    probability_better: float | None,
    changes: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    baselines: Mapping[str, Mapping[str, Any]],
    unconstrained: Mixture | None,
    shadow_prices: Sequence[Mapping[str, Any]],
    warnings: Sequence[str],
) -> str:
    """A recipe in lines; the first says how the optimum was obtained. The pieces are those of a
    :class:`~mixlaw.data.recipe.Recipe`.

    Example:
        >>> from mixlaw.data.corpus import Corpus
        >>> from mixlaw.data.recipe import Recipe
        >>> corpus = Corpus.declared({"web": 10_000, "wiki": 1_000}, source="example")
        >>> print(Recipe(Schedule.constant({"web": 0.75, "wiki": 0.25}), tokens=8_000, corpus=corpus))
        best of 0 starts, no certificate
        domain  weight   tokens   epochs
        web     0.7500    6.00k     0.60
        wiki    0.2500    2.00k     2.00
    """
    against = compared_with(baselines)
    lines = [certificate]
    if difference is not None:
        better = f", better with probability {probability_better:.0%}" if probability_better is not None else ""
        lines.append(f"objective minus {against}: {difference}{better}")
    lines += asked_text(objective)
    lines += _domains(schedule, tokens, unique_tokens, reference, against, unconstrained)
    if schedule.num_phases > 1:
        lines += _phases(schedule, tokens, unique_tokens)
    what = score_text(objective)
    for name, prediction in predictions.items():
        lines.append(
            f"{name}{f' ({what})' if what and name == 'objective' else ''}: {prediction}"
            f"{_beside(prediction, changes.get(name), against)}"
        )
    if said := by_themselves(len(predictions), next(iter(predictions.values()), Prediction(0, 0, 0)).level):
        lines.append(said)
    lines += worse_text(predictions, changes, against)
    lines += _baselines(baselines, predictions.get("objective"))
    for price in shadow_prices:
        each = ", ".join(f"{price[k]:+.3g} {words}" for k, words in _PER.items() if k in price)
        lines.append(f"price of {price['limit']}: objective {each}")
    if schedule.num_phases > 1:
        lines.append(NOT_FOR_SCHEDULES)
    return "\n".join([*lines, *(f"warning: {w}" for w in warnings)])


def _beside(prediction: Prediction, change: Mapping[str, Any] | None, against: str) -> str:
    if change is None:
        return ""
    before = float(change["reference"])
    return f", {against} {before:.4f} ({prediction.mean - before:+.4f})"


def worse_sets(
    predictions: Mapping[str, Prediction], changes: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, float]]:
    """Sets that are predicted to get worse than at the reference, with by how many nats; the largest first.

    Example:
        >>> predictions = {"exam": Prediction(2.0, 1.9, 2.1, 0.9), "bugs": Prediction(3.0, 2.9, 3.1, 0.9)}
        >>> worse_sets(predictions, {"exam": {"reference": 2.5}, "bugs": {"reference": 2.75}})
        [('bugs', 0.25)]
    """
    rise = [
        (name, predictions[name].mean - float(c["reference"])) for name, c in changes.items() if name in predictions
    ]
    return sorted((item for item in rise if item[1] >= 5e-5), key=lambda item: -item[1])


def worse_text(
    predictions: Mapping[str, Prediction], changes: Mapping[str, Mapping[str, Any]], against: str = "reference"
) -> list[str]:
    """Which sets get worse, the largest first, and what the cheapest guards cost; empty where none does.

    Example:
        >>> predictions = {"exam": Prediction(2.0, 1.9, 2.1, 0.9), "bugs": Prediction(3.0, 2.9, 3.1, 0.9)}
        >>> known = {"exam": {"reference": 2.5}, "bugs": {"reference": 2.75, "guard_costs": 0.014}}
        >>> for line in worse_text(predictions, known):
        ...     print(line)
        Predicted worse than at the reference, 1 of 2 sets (best guesses): bugs +0.2500.
        Cheapest guard: guarding bugs costs 0.014 of the objective (guard bugs=0).
    """
    worse = worse_sets(predictions, changes)
    if not worse:
        return []
    count = sum(name in predictions for name in changes)
    shown = ", ".join(f"{name} {rise:+.4f}" for name, rise in worse)
    lines = [f"Predicted worse than at the {against}, {len(worse)} of {count} sets (best guesses): {shown}."]
    priced = {n: float(c) for n, _ in worse if (c := changes[n].get("guard_costs")) is not None}
    lost = [n for n, _ in worse if "guard_costs" in changes[n] and changes[n]["guard_costs"] is None]
    offers = [
        f"guarding {name} costs {'at most ' if changes[name].get('at_most') else ''}{priced[name]:.2g} of the "
        f"objective (guard {name}=0)"
        for name in sorted(priced, key=lambda n: priced[n])
    ]
    if offers:
        more = f"; {'; '.join(offers[1:4])}" if len(offers) > 1 else ""
        lines.append(f"Cheapest guard: {offers[0]}{more}.")
    if lost:
        lines.append(f"No mixture under this budget keeps {', '.join(lost)} where the {against} has it.")
    return lines


def _domains(
    schedule: Schedule,
    tokens: int,
    unique: Mapping[str, float],
    reference: Mixture | None,
    against: str,
    free: Mixture | None,
) -> list[str]:
    drawn, epochs = schedule.tokens(tokens), schedule.epochs(tokens, unique)
    width = max(6, *(len(d) for d in schedule.domains))
    heading = f"  {against}" if reference else ""
    lines = [f"{'domain':<{width}}  weight   tokens   epochs{heading}{'  without limits' if free else ''}"]
    for domain, weight in schedule.mixture.to_dict().items():
        beside = f"  {reference.get(domain):{len(heading) - 2}.4f}" if reference else ""
        unlimited = f"  {free.get(domain):14.4f}" if free else ""
        lines.append(
            f"{domain:<{width}}  {weight:6.4f}  {format_count(round(drawn[domain])):>7}  "
            f"{epochs[domain]:7.2f}{beside}{unlimited}"
        )
    if free:
        most = max(free, key=lambda d: free[d] * tokens / unique[d])
        lines.append(f"Without limits {most} would be repeated most, {free[most] * tokens / unique[most]:.3g} epochs.")
    return lines


def _phases(schedule: Schedule, tokens: int, unique: Mapping[str, float]) -> list[str]:
    phases, epochs = schedule.phases, phase_epochs(schedule, tokens, unique)
    width = max(6, *(len(d) for d in schedule.domains))
    heads = [f"phase {k + 1} ({phase.fraction:.0%})" for k, phase in enumerate(phases)]
    lines = [f"{'domain':<{width}}" + "".join(f"  {head:>14}   epochs" for head in heads)]
    for domain in schedule.domains:
        cells = (f"  {p.mixture[domain]:14.4f}  {e[domain]:7.2f}" for p, e in zip(phases, epochs))
        lines.append(f"{domain:<{width}}" + "".join(cells))
    return lines


def _baselines(baselines: Mapping[str, Mapping[str, Any]], own: Prediction | None) -> list[str]:
    rows = baseline_rows(baselines)
    if not rows:
        return []
    width = max(len("other mixtures"), *(len(names) for names, _, _ in rows))
    lines = [f"{'other mixtures':<{width}}  objective"]
    for names, prediction, feasible in rows:
        shown = "not predicted" if prediction is None else str(prediction)
        more = f", {prediction.mean - own.mean:+.4f} against the recipe" if prediction is not None and own else ""
        lines.append(f"{names:<{width}}  {shown}{more}{'' if feasible else ', breaks the budget'}")
    return lines

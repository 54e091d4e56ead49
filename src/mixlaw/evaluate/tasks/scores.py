"""From a score per question to rows: means, standard errors, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError
from mixlaw.evaluate.contract import Evaluation, Question

__all__ = ["evaluation", "mean_and_error", "refuse_empty", "wilson"]

Floats = npt.NDArray[np.float64]


def wilson(successes: float, trials: int, z: float = 1.0) -> tuple[float, float]:
    """Wilson's interval of a proportion (1927, doi:10.1080/01621459.1927.10502953).

    Args:
        successes: out of ``trials``.
        z: normal quantile: 1 gives 68% coverage, 1.96 gives 95%.

    Example:
        >>> low, high = wilson(8, 10, z=1.96)
        >>> round(low, 4), round(high, 4)
        (0.4902, 0.9433)
    """
    share = successes / trials
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return float(middle - half), float(middle + half)


def mean_and_error(scores: Floats, weights: Floats | None = None) -> tuple[float, float | None]:
    """The mean over items and its standard error.

    Of scores that are all 0 or 1 the error is half of Wilson's interval at one standard deviation, which is not 0 where
    all are right; of other scores it is that of a mean over independent items (with weights: of a ratio of means), None
    for one item.

    Args:
        scores: one per item.
        weights: how much each counts, for instance its tokens or bytes; None: all alike.

    Example:
        >>> mean, error = mean_and_error(np.array([1.0, 1.0, 1.0, 0.0]))
        >>> mean, round(error, 3)
        (0.75, 0.2)
        >>> mean_and_error(np.array([2.0, 3.0]), np.array([3.0, 1.0]))
        (2.25, 0.375)
    """
    count = len(scores)
    if weights is None and bool(np.isin(scores, (0.0, 1.0)).all()):
        low, high = wilson(float(scores.sum()), count)
        return float(scores.mean()), (high - low) / 2
    shares = np.full(count, 1.0 / count) if weights is None else weights / weights.sum()
    mean = float(scores @ shares)
    if count < 2:
        return mean, None
    return mean, float(np.sqrt(count / (count - 1) * np.sum((shares * (scores - mean)) ** 2)))


def refuse_empty(targets: Mapping[str, Sequence[Any]]) -> None:
    """Refuse a target without items.

    Raises:
        DataError: names it.
    """
    for target, items in targets.items():
        if not items:
            raise DataError(f"The target {target!r} has no items to evaluate. Leave it out, or give it some.")


def evaluation(
    targets: Mapping[str, Sequence[Question]],
    scores: Mapping[str, Mapping[str, Floats]],
    units: Mapping[str, str],
    weights: Mapping[str, Floats] | None = None,
    **further: Any,
) -> Evaluation:
    """Rows of every target, of each of its groups where it has two or more, and of its items.

    Args:
        targets: the questions of each target.
        scores: per target and metric, a score of each question.
        units: of each metric.
        weights: per target, how much each question counts; None: all alike.
        further: columns that every row of the values gets, such as ``shots``.

    Example:
        >>> questions = [Question(f"{g}/{i}", {}, group=g) for g in ("a", "b") for i in range(2)]
        >>> rows = evaluation({"t": questions}, {"t": {"accuracy": np.array([1.0, 0, 1, 1])}}, {"accuracy": "fraction"})
        >>> [(row["target"], row["value"], row["num_items"]) for row in rows.values]
        [('t', 0.75, 4), ('t/a', 0.5, 2), ('t/b', 1.0, 2)]
        >>> rows.items[0]
        {'target': 't', 'item': 'a/0', 'metric': 'accuracy', 'value': 1.0}
    """
    values: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    for target, questions in targets.items():
        members: dict[str, list[int]] = {}
        for number, question in enumerate(questions):
            members.setdefault(question.group, []).append(number)
        parts = {target: list(range(len(questions)))}
        if len(members) > 1:
            parts |= {f"{target}/{name}": rows for name, rows in members.items() if name}
        for metric, given in scores[target].items():
            for name, rows in parts.items():
                mean, error = mean_and_error(given[rows], None if weights is None else weights[target][rows])
                values.append(
                    {
                        "target": name,
                        "metric": metric,
                        "unit": units[metric],
                        "value": mean,
                        "std": error,
                        "num_items": len(rows),
                        **further,
                    }
                )
            items += [
                {"target": target, "item": question.id, "metric": metric, "value": float(score)}
                for question, score in zip(questions, given)
            ]
    return Evaluation(values, items)

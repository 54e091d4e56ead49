"""Signal and noise of a task: can its score tell models apart at all? (arXiv:2508.13144)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixlaw.data.observations import Observations
from mixlaw.errors import DataError

__all__ = ["TaskNoise", "signal_to_noise"]


@dataclass(frozen=True)
class TaskNoise:
    """How far models differ on a task, against how far one model's score jumps between checkpoints.

    Args:
        target, metric: what was scored.
        signal: largest difference between two runs, over the mean of all.
        noise: standard deviation over the last checkpoints of a run, pooled over runs, over the mean of all.
        ratio: signal over noise.
        low, high: interval of the ratio at ``level``, from the number of checkpoints that the noise is told from. It
            holds the noise's uncertainty and not that of the choice of runs.
        level: of the interval.
        num_runs, num_checkpoints: what it was told from.

    Example:
        >>> TaskNoise("arc", "accuracy", 0.2, 0.02, 10.0, 6.0, 15.0, 0.9, 4, 20).ratio
        10.0
    """

    target: str
    metric: str
    signal: float
    noise: float
    ratio: float
    low: float
    high: float
    level: float
    num_runs: int
    num_checkpoints: int


def signal_to_noise(
    observations: Observations,
    targets: Sequence[str] | None = None,
    metric: str | None = None,
    last: int = 5,
    level: float = 0.9,
) -> list[TaskNoise]:
    """Signal and noise of every scored task (Heineman et al. 2025, arXiv:2508.13144), the highest ratio first.

    Of each run its ``last`` checkpoints count: their mean is its score, their standard deviation its noise. A score
    that still rises there counts as noisy; score where the learning rate has decayed. Without noise the ratio is
    infinite, or 0 where runs do not differ either.

    Args:
        observations: with values of tasks at two checkpoints or more of each run; other runs are left out.
        targets: tasks, or parts of them (``"blimp/anaphor_agreement"``); by default all that evaluators scored.
        metric: of the scores; by default every metric.
        last: how many checkpoints of each run.
        level: of the intervals.

    Returns:
        One entry per task and metric that two runs or more were scored on.

    Raises:
        DataError: none was.

    Example:
        >>> scores = {"a": (0.50, 0.52), "b": (0.60, 0.58)}
        >>> values = [
        ...     {"run": run, "step": step, "target": "t", "metric": "accuracy", "value": value, "num_items": 100}
        ...     for run, pair in scores.items() for step, value in enumerate(pair, 1)
        ... ]
        >>> (found,) = signal_to_noise(Observations.from_records([{"run": "a"}, {"run": "b"}], values))
        >>> round(found.signal, 4), round(found.noise, 4), round(found.ratio, 2)
        (0.1455, 0.0257, 5.66)
    """
    curves: dict[tuple[str, str], dict[str, list[tuple[int, float]]]] = {}
    for row in observations.values.to_pylist():
        wanted = row["num_items"] is not None if targets is None else row["target"] in targets
        if wanted and row["censored"] == "none" and row["step"] is not None and metric in (None, row["metric"]):
            curves.setdefault((row["target"], row["metric"]), {}).setdefault(row["run"], []).append(
                (row["step"], row["value"])
            )
    found = []
    for (target, name), runs in curves.items():
        ends = [np.array([value for _, value in sorted(curve)[-last:]]) for curve in runs.values() if len(curve) > 1]
        if len(ends) >= 2:
            found.append(_told(target, name, ends, level))
    if not found:
        raise DataError(
            "No task was scored at two checkpoints of two runs, so its noise cannot be told. Give evaluators several "
            "points (at: [0.8, 0.9, 1.0])."
        )
    return sorted(found, key=lambda one: -one.ratio)


def _told(target: str, metric: str, ends: Sequence[Any], level: float) -> TaskNoise:
    from scipy.stats import chi2

    means = np.array([end.mean() for end in ends])
    freedom = sum(len(end) - 1 for end in ends)
    spread = float(np.sqrt(sum(((end - end.mean()) ** 2).sum() for end in ends) / freedom))
    middle = abs(float(means.mean()))
    gap = float(np.ptp(means))
    signal, noise = (gap / middle, spread / middle) if middle else (np.inf, np.inf)
    ratio = gap / spread if spread else np.inf if gap else 0.0  # where nothing moves, nothing is told apart
    # the true variance is freedom * spread^2 / chi2, so the ratio scales with the root of chi2 / freedom
    low, high = (ratio * float(np.sqrt(chi2.ppf(q, freedom) / freedom)) for q in ((1 - level) / 2, (1 + level) / 2))
    return TaskNoise(target, metric, signal, noise, ratio, low, high, level, len(ends), sum(len(end) for end in ends))

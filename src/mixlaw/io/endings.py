"""How runs ended: diverged, or short of where the others ended. Every importer asks here, so that all say the same."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mixlaw.errors import MixlawWarning

__all__ = ["mark_endings"]

_MOST = 0.75  # share of runs of one size that must end together, for the others to count as cut short
_FEWEST = 4
_SHORT = 0.98  # of where the others ended


def mark_endings(runs: Sequence[dict[str, Any]], values: Sequence[dict[str, Any]], where: str) -> None:
    """Set the status of runs that diverged or ended before the others, and say so in warnings.

    A value that is infinite, or NaN where a log wrote it, becomes a bound (the true value is above everything
    measured) and its run ``"diverged"``. Where three quarters of the runs of one size end at the same step (or after
    the same tokens), those that end before it are ``"partial"``.

    Args:
        runs: records with ``run``, ``status`` and ``params``; changed in place.
        values: records with ``run``, ``target``, ``step``, ``tokens`` and ``value``; changed in place.
        where: the file, for warnings.

    Example:
        >>> runs = [{"run": str(i)} for i in range(5)]
        >>> values = [{"run": str(i), "target": "t", "step": 10 if i else 3, "value": 2.0} for i in range(5)]
        >>> with warnings.catch_warnings(record=True):
        ...     mark_endings(runs, values, "runs.csv")
        >>> [run["status"] for run in runs]
        ['partial', 'done', 'done', 'done', 'done']
    """
    diverged: dict[str, str] = {}
    for value in values:
        if not math.isfinite(value["value"]):
            value |= {"value": math.inf, "censored": "right"}
            diverged.setdefault(value["run"], value["target"])
    for run in runs:
        run["status"] = "diverged" if run["run"] in diverged else run.get("status") or "done"
    if diverged:
        shown = [f"{run} ({target})" for run, target in list(diverged.items())[:5]]
        _say(f"{where}: {len(diverged)} runs diverged (a loss that is NaN or infinite): {shown}")
    _mark_short(runs, values, where)


def _mark_short(runs: Sequence[dict[str, Any]], values: Sequence[Mapping[str, Any]], where: str) -> None:
    for axis in ("step", "tokens"):
        last: dict[str, float] = {}
        points: dict[str, set[float]] = {}
        for value in values:
            at = value.get(axis)
            if at is not None:
                last[value["run"]] = max(float(at), last.get(value["run"], 0.0))
                points.setdefault(value["run"], set()).add(float(at))
        if axis == "tokens" and not any(len(p) > 1 for p in points.values()):
            return  # tokens of a run that has one value each are its size, not where a curve broke off
        if last:
            break
    groups: dict[Any, list[dict[str, Any]]] = {}
    for run in runs:
        if run["status"] == "done" and run["run"] in last:
            groups.setdefault(run.get("params"), []).append(run)
    short: list[tuple[str, float, float]] = []
    for group in groups.values():
        end, count = Counter(last[run["run"]] for run in group).most_common(1)[0]
        if len(group) < _FEWEST or count < _MOST * len(group):
            continue
        for run in group:
            if 0 < last[run["run"]] < _SHORT * end:
                run["status"] = "partial"
                short.append((run["run"], last[run["run"]], end))
    if short:
        shown = ", ".join(f"{run} at {at:g} of {end:g}" for run, at, end in short[:5])
        more = f" and {len(short) - 5} more" if len(short) > 5 else ""
        _say(
            f"{where}: {len(short)} of {len(runs)} runs end before the others ({axis}: {shown}{more}); they count as "
            f"not finished, and their last values are not final"
        )


def _say(text: str) -> None:
    warnings.warn(f"{text}.", MixlawWarning, stacklevel=4)

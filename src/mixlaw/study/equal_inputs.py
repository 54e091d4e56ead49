"""What a law cannot explain as it is not told: runs of equal inputs whose losses differ, and what varies in them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from mixlaw.data.observations import Observations
from mixlaw.data.table import Table
from mixlaw.errors import MixlawWarning

__all__ = ["unexplained", "warn_unexplained"]


def unexplained(observations: Observations, table: Table) -> tuple[float, str, dict[str, list[float | str]]]:
    """How far values of runs with equal inputs lie apart, on which target, and the settings that differ between them.

    Args:
        observations: with the settings of the runs.
        table: what a law is fitted to.

    Returns:
        The largest difference (in the unit of y; 0 where no inputs are equal), its target, and ``{setting: its
        values}`` of the settings that vary among runs of equal inputs.

    Example:
        >>> size = {"params": 1e6, "tokens": 1e8}
        >>> runs = [{"run": r, "settings": {"lr": lr}} | size for r, lr in (("a", 0.1), ("b", 1.0))]
        >>> values = [{"run": "a", "target": "t", "value": 3.0}, {"run": "b", "target": "t", "value": 3.5}]
        >>> seen = Observations.from_records(runs, values)
        >>> unexplained(seen, seen.table(features="scale"))
        (0.5, 't', {'lr': [0.1, 1.0]})
    """
    X = (
        np.column_stack([c.to_numpy() for c in table.X.columns])
        if table.X.num_columns
        else np.zeros((len(table.runs), 0))
    )
    groups = np.unique(np.round(X, 9), axis=0, return_inverse=True)[1].ravel()
    settings = observations.settings()
    differ: dict[str, dict[float | str, None]] = {}
    largest, where = 0.0, ""
    order = np.argsort(groups, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if len(rows) < 2:
            continue
        mine = [settings.get(table.runs[i], {}) for i in rows.tolist()]
        varying = _varying(mine)
        if not varying:
            continue
        for name, facts in varying.items():
            differ.setdefault(name, {}).update(facts)
        for target in table.y.column_names:
            y = table.y.column(target).to_numpy()[rows]
            y = y[np.isfinite(y)]
            if len(y) > 1 and np.ptp(y) > largest:
                largest, where = float(np.ptp(y)), target
    return largest, where, {name: list(facts) for name, facts in differ.items()}


def _varying(settings: Sequence[Mapping[str, float | str]]) -> dict[str, dict[float | str, None]]:
    """Settings that differ between some runs: ``{name: its values, as keys in their order}``."""
    seen: dict[str, dict[float | str, None]] = {}
    for facts in settings:
        for name, fact in facts.items():
            seen.setdefault(name, {}).setdefault(fact)
    return {name: facts for name, facts in seen.items() if len(facts) > 1}


def warn_unexplained(observations: Observations, table: Table) -> None:
    """Warn where runs of equal inputs differ and a setting that no law uses varies among them."""
    largest, target, varying = unexplained(observations, table)
    if not varying or largest <= 0:
        return
    shown = []
    for name, facts in list(varying.items())[:6]:
        shown.append(f"{name!r} ({', '.join(map(_short, facts[:3]))}{', ...' if len(facts) > 3 else ''})")
    more = f" and {len(varying) - 6} more" if len(varying) > 6 else ""
    inputs = ", ".join(table.X.column_names[:6]) + (", ..." if table.X.num_columns > 6 else "")
    verbs = ("varies", "is") if len(varying) == 1 else ("vary", "are")
    warnings.warn(
        f"Runs of equal {inputs} differ by up to {largest:.3g} on {target!r}, and {', '.join(shown)}{more} {verbs[0]} "
        f"among them and {verbs[1]} not used: to the law this is noise. Keep the rows of one value, or the best, and "
        f"fit again.",
        MixlawWarning,
        stacklevel=3,
    )


def _short(fact: float | str) -> str:
    return f"{fact:g}" if isinstance(fact, float) else fact

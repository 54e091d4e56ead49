"""``mixlaw fit runs.csv --at params=7B,tokens=140B``: losses of larger runs than those of the files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError, FitError, MixlawWarning
from mixlaw.kit.units import parse_count

__all__ = ["asked_runs", "larger_runs"]


def asked_runs(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns (m,) of asked runs from texts such as ``"params=7B,tokens=140B"``.

    Raises:
        ConfigError: a text of another form, or texts that name different columns.

    Example:
        >>> {name: column.tolist() for name, column in asked_runs(["params=7B,tokens=140B"]).items()}
        {'params': [7000000000.0], 'tokens': [140000000000.0]}
    """
    rows = []
    for text in texts:
        parts = [part.partition("=") for part in text.split(",")]
        if any(not (name.strip() and sign and value.strip()) for name, sign, value in parts):
            raise ConfigError(f"--at {text!r} must look like params=7B,tokens=140B.")
        rows.append({name.strip(): float(parse_count(value, f"--at {name.strip()}")) for name, _, value in parts})
        if set(rows[-1]) != set(rows[0]):
            raise ConfigError(f"--at {text!r} has other columns than --at {texts[0]!r}. Give all of them the same.")
        if "tokens" not in rows[-1] or not any("params" in name for name in rows[-1]):
            raise ConfigError(f"--at {text!r} needs params and tokens, for example params=7B,tokens=140B.")
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def larger_runs(
    observations: Observations, X: pa.Table, y: pa.Table, runs: Sequence[str], at: Mapping[str, np.ndarray]
) -> list[Any]:
    """:func:`mixlaw.laws.extrapolate` for each target of a table of sizes, with every count of parameters on record.

    Args:
        X, y: sizes and losses of runs, and ``runs`` (n,) their ids.
        at: columns (m,) of the asked runs.

    Raises:
        ConfigError: the asked runs name a column that the runs do not have.
        FitError: no target could be extrapolated.

    Example:
        ``larger_runs(observations, X, y, table.runs, asked_runs(["params=7B,tokens=140B"]))``
    """
    from mixlaw.laws import extrapolate

    columns = {name: X.column(name).to_numpy().astype(float) for name in X.column_names} | _counts(observations, runs)
    unknown = [name for name in at if name not in columns]
    if unknown:
        raise ConfigError(f"--at names {', '.join(unknown)}, which the runs do not have. Known: {', '.join(columns)}.")
    found, failed = [], []
    for target in y.column_names:
        losses = y.column(target).to_numpy().astype(float)
        try:
            found.append(extrapolate(columns, {target: losses}, at))
        except (FitError, DataError) as error:
            failed.append(f"{target}: {error}")
    if not found:
        raise FitError("Nothing could be extrapolated. " + " ".join(failed[:3]))
    for text in failed:
        warnings.warn(text, MixlawWarning, stacklevel=2)
    return found


def _counts(observations: Observations, runs: Sequence[str]) -> dict[str, np.ndarray]:
    """Further counts of parameters that are known of all these runs: of the runs table, and of their settings."""
    total = dict(zip(observations.runs["run"].to_pylist(), observations.runs["params_total"].to_pylist()))
    settings = observations.settings()
    facts = [{**settings.get(run, {}), "params_total": total.get(run)} for run in runs]
    out = {}
    for name in sorted({name for fact in facts for name in fact if "params" in name.lower()}):
        values = [fact.get(name) for fact in facts]
        numbers = [float(v) for v in values if isinstance(v, int | float)]
        if len(numbers) == len(facts):
            out[name] = np.array(numbers)
    return out

"""Weights & Biases exports: the runs table, and the CSV of a line chart. No wandb package is needed.

=======================  =========================================================================================
file                     columns
=======================  =========================================================================================
runs table (web page)    ``Name``, ``State``, ``Created`` ..., then configuration and summary by their own names
runs table (public API)  ``name`` with ``config`` and ``summary`` as JSON or Python text; or ``config.*``, ``summary.*``
line chart               ``Step``, then ``"<run> - <metric>"`` with its ``__MIN`` and ``__MAX``
=======================  =========================================================================================
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mixlaw.data.observations import Observations
from mixlaw.errors import DataError
from mixlaw.io.frames import numbers, read_columns, read_frame
from mixlaw.io.names import measured_values
from mixlaw.io.runlogs import RunLog, number, to_observations

__all__ = ["read", "recognises"]

_PAGE = ("State", "Created", "Runtime", "User", "Sweep", "Notes", "Tags")
_AXES = ("Step", "_step", "global_step", "trainer/global_step")
_BAND = ("__MIN", "__MAX")
_SPLIT = " - "


def _is_runs_table(columns: Sequence[str]) -> bool:
    """Whether the columns are those of an exported runs table."""
    page = "Name" in columns and "State" in columns and any(c in columns for c in _PAGE[1:])
    api = "name" in columns and "config" in columns and "summary" in columns
    flat = any(c.startswith("config.") for c in columns) and any(c.startswith("summary") for c in columns)
    return page or api or flat


def _is_chart(columns: Sequence[str]) -> bool:
    """Whether the columns are those of a line chart: a step and ``run - metric`` with bands."""
    return bool(columns) and columns[0] in _AXES and any(_SPLIT in c and c.endswith(_BAND) for c in columns)


def recognises(paths: Sequence[Path]) -> bool:
    """Runs tables and charts only."""
    return all(_is_chart(columns) or _is_runs_table(columns) for columns in map(read_columns, paths))


def read(
    paths: Sequence[Path],
    *,
    mixtures: str | Path | None = None,
    values: Sequence[str] | None = None,
    repair: bool = False,
    source: str | None = None,
) -> Observations:
    """Observations from exported CSVs: runs tables, line charts, or both (charts are joined to the table by run name).

    Empty cells and the text ``NaN`` are values not measured; ``Infinity`` is a run that diverged.

    Args:
        mixtures: table of mixtures (columns ``run``, one per domain) where no configuration holds them.
        values: metrics that are losses, where their names do not say so.
        repair: rescale weights that do not sum to one.

    Raises:
        DataError: neither layout, runs that share a name, or what
            :func:`~mixlaw.io.runlogs.to_observations` refuses.
    """
    logs: dict[str, RunLog] = {}
    charts: list[tuple[Path, pa.Table]] = []
    where = ", ".join(p.name for p in paths)
    for path in paths:
        table = read_frame(path)
        if _is_chart(table.column_names):
            charts.append((path, table))
        elif _is_runs_table(table.column_names):
            for log in _read_runs(table):
                if log.run in logs:
                    raise DataError(
                        f"{path.name} has several runs named {log.run!r}. Add the column ID to the export (runs table, "
                        f"Columns), so that they can be told apart."
                    )
                logs[log.run] = log
        else:
            raise DataError(
                f"{path.name} is neither a W&B runs table (Name, State, ...) nor the CSV of a line chart "
                f"(Step, 'run - metric', ...). Columns: {table.column_names[:12]}."
            )
    by_name: dict[str, list[RunLog]] = {}
    for log in logs.values():
        by_name.setdefault(log.name, []).append(log)
    charted: set[tuple[str, str]] = set()
    for path, table in charts:
        for run, key, entries in _read_chart(table, path):
            same = by_name.get(run, [])
            if len(same) > 1:
                raise DataError(f"{path.name}: {run!r} names {len(same)} runs; give them names of their own.")
            log = same[0] if same else logs.setdefault(run, RunLog(run=run, name=run))
            if (log.run, key) not in charted:  # the chart's steps stand for the table's single summary
                log.metrics = [m for m in log.metrics if not (m[0] == key and m[1] is None)]
            charted.add((log.run, key))
            log.metrics += entries
    return to_observations(
        list(logs.values()), where=where, mixtures=mixtures, values=values, repair=repair, source=source
    )


def _read_runs(table: pa.Table) -> list[RunLog]:
    columns = table.column_names
    id_column = next((c for c in ("ID", "id", "run_id") if c in columns), None)
    name_column = next((c for c in ("Name", "name", "display_name") if c in columns), None)
    label = id_column or name_column
    if label is None:
        raise DataError(f"The W&B runs table has no column that names its runs (Name or ID). Columns: {columns[:12]}.")
    logs = []
    for row in table.to_pylist():
        name = str(row[name_column]) if name_column else str(row[label])
        state = str(row.get("State", row.get("state")) or "finished").lower()
        log = RunLog(run=str(row[label]), name=name, status="done" if state == "finished" else "partial")
        config, summary = _config_and_summary(row, {label, name_column, "State", "state", *_PAGE})
        log.config = config
        step = number(summary.get("_step"))
        for key, raw in summary.items():
            value = number(raw)
            if value is not None and key != "_step":
                log.metrics.append((key, None if step is None else int(step), value))
        logs.append(log)
    return logs


def _config_and_summary(row: Mapping[str, Any], skip: set[str | None]) -> tuple[dict[str, Any], dict[str, Any]]:
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    mixed: dict[str, Any] = {}
    for key, value in row.items():
        if key in skip or value is None:
            continue
        if key in ("config", "summary") and isinstance(value, str):
            (config if key == "config" else summary).update(_flatten(_parse(value, key)))
        elif key.startswith(("config.", "config/")):
            config[key[len("config.") :]] = value
        elif key.startswith(("summary.", "summary/", "summary_metrics.")):
            summary[key.split("." if "." in key[:16] else "/", 1)[1]] = value
        else:
            mixed[key] = value
    measured = measured_values(list(mixed))  # the web page does not say which column is which
    for key, value in mixed.items():
        (summary if key in measured or key == "_step" else config)[key] = value
    if not summary:
        summary = {k: v for k, v in mixed.items() if number(v) is not None}
    return config, summary


def _parse(text: str, what: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError:
        try:
            parsed = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise DataError(f"The W&B column {what!r} holds {text[:60]!r}, neither JSON nor a Python dict.") from None
    if not isinstance(parsed, Mapping):
        raise DataError(f"The W&B column {what!r} holds {text[:60]!r}, which is not a mapping.")
    return parsed


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names; W&B's ``{"value": ...}`` wrapper is taken off."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and "value" in value and set(value) <= {"value", "desc"}:
            value = value["value"]
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _read_chart(table: pa.Table, path: Path) -> list[tuple[str, str, list[tuple[str, int | None, float]]]]:
    axis = numbers(table, table.column_names[0], path.name)
    result = []
    for column in table.column_names[1:]:
        if column.endswith(_BAND) or _SPLIT not in column:
            continue
        run, key = column.rsplit(_SPLIT, 1)
        if key in _AXES:
            continue
        entries: list[tuple[str, int | None, float]] = []
        for step, value in zip(axis, numbers(table, column, path.name)):
            if value == value and step == step:  # empty cells are steps at which this run logged nothing
                entries.append((key, int(step), float(value)))
        result.append((run.removeprefix("Group: "), key, entries))
    return result

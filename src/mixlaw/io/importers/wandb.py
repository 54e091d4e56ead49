"""Weights & Biases exports: the runs table, and the CSV of a line chart. No wandb package is needed.

=======================  =========================================================================================
file                     columns
=======================  =========================================================================================
runs table (web page)    ``State``, ``Name`` or ``ID``, ..., then configuration and summary by their own names
runs table (public API)  ``name`` with ``config`` and ``summary`` as JSON or Python text; or ``config.*``, ``summary.*``
line chart               ``Step`` or tokens, then ``"<run> - <metric>"`` with its ``__MIN`` and ``__MAX``
=======================  =========================================================================================
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mixlaw.data.observations import Observations
from mixlaw.data.taken import Taken
from mixlaw.errors import DataError
from mixlaw.io.asked import Values, Weights
from mixlaw.io.frames import numbers, read_columns, read_frame, whole
from mixlaw.io.names import field_of, measured_values, training_loss, weight_columns
from mixlaw.io.runlogs import Logged, RunLog, number, to_observations

__all__ = ["read", "recognises"]

_PAGE = ("State", "Created", "Runtime", "User", "Sweep", "Notes", "Tags")
_AXES = ("Step", "_step", "global_step", "trainer/global_step")
_BAND = ("__MIN", "__MAX")
_SPLIT = " - "


def _is_runs_table(columns: Sequence[str]) -> bool:
    """Whether the columns are those of an exported runs table."""
    page = "State" in columns and ("Name" in columns or "ID" in columns)
    api = "name" in columns and "config" in columns and "summary" in columns
    flat = any(c.startswith("config.") for c in columns) and any(c.startswith("summary") for c in columns)
    return page or api or flat


def _is_chart(columns: Sequence[str]) -> bool:
    """Whether the columns are those of a line chart: an axis and ``run - metric`` with bands."""
    return len(columns) > 1 and _SPLIT not in columns[0] and any(_SPLIT in c and c.endswith(_BAND) for c in columns)


def recognises(paths: Sequence[Path]) -> bool:
    """Runs tables and charts only."""
    return all(_is_chart(columns) or _is_runs_table(columns) for columns in map(read_columns, paths))


def read(
    paths: Sequence[Path],
    *,
    mixtures: str | Path | None = None,
    weights: Weights | None = None,
    values: Values | None = None,
    ignore: Sequence[str] | None = None,
    repair: bool = False,
    source: str | None = None,
) -> Observations:
    """Observations from exported CSVs: runs tables, line charts, or both (charts are joined to the table by run name).

    Empty cells and the text ``NaN`` are values not measured; ``Infinity`` is a run that diverged.

    Args:
        mixtures: table of mixtures (columns ``run``, one per domain) where no configuration holds them.
        weights: ``{domain: column}``, or columns, where the usual names do not tell them.
        values: ``{metric: what it holds}`` (see :data:`~mixlaw.io.names.MEASURES`), or metrics.
        ignore: columns to leave out.
        repair: rescale weights that do not sum to one.

    Raises:
        DataError: neither layout, runs that share a name, or what
            :func:`~mixlaw.io.runlogs.to_observations` refuses.
    """
    logs: dict[str, RunLog] = {}
    charts: list[tuple[Path, pa.Table]] = []
    aside: list[Taken] = []
    where = ", ".join(p.name for p in paths)
    for path in paths:
        table = read_frame(path)
        if _is_chart(table.column_names):
            charts.append((path, table))
            aside += _aside_of_chart(table, where)
        elif _is_runs_table(table.column_names):
            rows = _read_runs(table, _names_of(weights), _names_of(values))
            aside += _aside(table, where) + _no_numbers(table, rows, where)
            for log in rows:
                if log.run in logs:
                    raise DataError(
                        f"{path.name} has several runs named {log.run!r}. Add the column ID to the export (runs table, "
                        f"Columns), so that they can be told apart."
                    )
                logs[log.run] = log
        else:
            raise DataError(
                f"{path.name} is neither a W&B runs table (Name, State, ...) nor the CSV of a line chart "
                f"(an axis, 'run - metric', ...). Columns: {table.column_names[:12]}."
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
                log.metrics = [m for m in log.metrics if not (m.key == key and m.step is None)]
            charted.add((log.run, key))
            log.metrics += entries
    return to_observations(
        list(logs.values()),
        where=where,
        mixtures=mixtures,
        weights=weights,
        values=values,
        ignore=ignore,
        repair=repair,
        source=source,
        aside=aside,
    )


def _names_of(asked: Weights | Values | None) -> list[str]:
    """Columns that options may name: of ``domain=column`` and ``column=kind`` both sides."""
    if isinstance(asked, Mapping):
        return [*asked.keys(), *asked.values()]
    return [part for text in asked or () for part in (text, text.partition("=")[2], text.rpartition("=")[0])]


def _aside(table: pa.Table, where: str) -> list[Taken]:
    """Columns of a runs table that are about the run's record."""
    label, name = _labels(table.column_names)
    taken = []
    for column in table.column_names:
        if column in (label, name):
            taken.append(Taken(where, column, "id"))
        elif column in ("State", "state"):
            taken.append(Taken(where, column, "setting", "status", note="whether the run finished"))
        elif column in _PAGE:
            taken.append(Taken(where, column, "unused", note="of the web page"))
    return taken


def _no_numbers(table: pa.Table, logs: Sequence[RunLog], where: str) -> list[Taken]:
    """Columns of a runs table that no run has as a setting or as a number."""
    label, name = _labels(table.column_names)
    known = {key for log in logs for key in log.config} | {entry.key for log in logs for entry in log.metrics}
    aside = {label, name, "State", "state", "config", "summary", *_PAGE}
    lacking = [c for c in table.column_names if c not in aside and not {c, _key(c)} & known]
    return [
        Taken(where, c, "size", "step") if _key(c) == "_step" else Taken(where, c, "unused", note="holds no number")
        for c in lacking
    ]


def _key(column: str) -> str:
    """The key of the configuration or the summary that a column holds."""
    if column.startswith(("config.", "config/")):
        return column[len("config.") :]
    if column.startswith(("summary.", "summary/", "summary_metrics.")):
        return column.split("." if "." in column[:16] else "/", 1)[1]
    return column


def _aside_of_chart(table: pa.Table, where: str) -> list[Taken]:
    """The axis of a chart, and its bands in one line."""
    label = table.column_names[0]
    bands = [c for c in table.column_names if c.endswith(_BAND)]
    axis = "tokens" if "tokens" in label.lower() else "step"
    return [
        Taken(where, label, "size", axis, note="the chart's axis"),
        Taken(where, f"{bands[0]} ...", "unused", note=f"{len(bands)} columns with the bands of the chart"),
    ]


def _labels(columns: Sequence[str]) -> tuple[str | None, str | None]:
    """The column that identifies the runs, and the one that names them."""
    id_column = next((c for c in ("ID", "id", "run_id") if c in columns), None)
    name_column = next((c for c in ("Name", "name", "display_name") if c in columns), None)
    return id_column or name_column, name_column


def _read_runs(table: pa.Table, weights: Sequence[str], values: Sequence[str]) -> list[RunLog]:
    columns = table.column_names
    label, name_column = _labels(columns)
    if label is None:
        raise DataError(f"The W&B runs table has no column that names its runs (Name or ID). Columns: {columns[:12]}.")
    logs = []
    for row in table.to_pylist():
        name = str(row[name_column]) if name_column else str(row[label])
        state = str(row.get("State", row.get("state")) or "finished").lower()
        log = RunLog(run=str(row[label]), name=name, status="done" if state == "finished" else "partial")
        config, summary = _config_and_summary(row, {label, name_column, "State", "state", *_PAGE}, weights, values)
        log.config = config
        step = number(summary.get("_step"))
        for key, raw in summary.items():
            value = number(raw)
            if value is not None and key != "_step":
                log.metrics.append(Logged(key, whole(step, "_step", "the W&B runs table"), value))
        logs.append(log)
    return logs


def _config_and_summary(
    row: Mapping[str, Any], skip: set[str | None], weights: Sequence[str], values: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    mixed: dict[str, Any] = {}
    for key, value in row.items():
        if key in skip or value is None:
            continue
        if key in ("config", "summary") and isinstance(value, str):
            (config if key == "config" else summary).update(_flatten(_parse(value, key)))
        elif key.startswith(("config.", "config/")):
            config[_key(key)] = value
        elif key.startswith(("summary.", "summary/", "summary_metrics.")):
            summary[_key(key)] = value
        else:
            mixed[key] = value
    measured = measured_values(list(mixed))  # the web page does not say which column is which
    of_run = {k: v for k, v in mixed.items() if k in measured or k == "_step" or k in values or training_loss(k)}
    weight = weight_columns(list(mixed))
    if not of_run and not summary:  # nothing is named as measured: any number but a weight may be, if the user says so
        of_run = {k: v for k, v in mixed.items() if number(v) is not None and k not in weight and k not in weights}
    for key, value in mixed.items():
        (summary if key in of_run else config)[key] = value
    return config, summary


def _parse(text: str, what: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        try:
            parsed = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
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


def _read_chart(table: pa.Table, path: Path) -> list[tuple[str, str, list[Logged]]]:
    """``(run, metric, entries)`` of each line. The axis is a step, or tokens; rows are in the order they were logged.

    Raises:
        DataError: an axis that is neither.
    """
    label = table.column_names[0]
    is_step = label in _AXES or field_of(label) == "step"
    if not is_step and field_of(label) != "tokens" and "tokens" not in label.lower():
        raise DataError(
            f"{path.name} is a chart over {label!r}, which is neither steps nor tokens. Set the chart's x axis to Step "
            f"or to the metric of tokens, and export it again."
        )
    axis = numbers(table, label, path.name)
    result = []
    for column in table.column_names[1:]:
        if column.endswith(_BAND) or _SPLIT not in column:
            continue
        run, key = column.rsplit(_SPLIT, 1)
        if key in _AXES:
            continue
        entries: list[Logged] = []
        for row, (at, value) in enumerate(zip(axis.tolist(), numbers(table, column, path.name).tolist())):
            if math.isnan(value) or math.isnan(at):
                continue  # empty cells are steps at which this run logged nothing
            if is_step:
                entries.append(Logged(key, whole(at, label, path.name), value, time=row))
            else:
                entries.append(Logged(key, None, value, tokens=at, time=row))
        result.append((run.removeprefix("Group: "), key, entries))
    return result

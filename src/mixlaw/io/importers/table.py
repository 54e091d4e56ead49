"""One generic table of runs, wide or long.

Wide: a row per run (and step), weights and losses in columns. Long: a row per measured value.

=================================  ==============================================================================
column                             read as
=================================  ==============================================================================
``run`` / ``run_id`` / ``name``    run id (rows are numbered without it)
``weight_X``, ``mix_X``, ``X``     weight of domain X (prefixes ``weight_ weights/ mix_ mixture_ train_ ratio_ w_``)
``loss_X``, ``val_X``              loss on X, in nats per token (prefixes ``loss_ loss/ val_loss_ valid_ val_ eval_``)
``bpb_X``, ``acc_X``               bits per byte, accuracy
``params``, ``tokens``, ``step``   and their usual other names (``N``, ``D``, ``non_embedding_params``, ...)
``target``, ``value``              long tables: validation set (``validation_domain``), and value (or ``loss``)
=================================  ==============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mixlaw.errors import DataError
from mixlaw.io.importers.frames import check_weights, numbers, read_frame
from mixlaw.mixture import Mixture
from mixlaw.observations import Observations

__all__ = ["read_table"]

_WEIGHT = ("weight_", "weights/", "weight/", "mix_", "mixture_", "train_", "ratio_", "w_")
_VALUES = {
    ("loss", "nats_per_token"): ("loss_", "loss/", "val_loss_", "val_loss/", "valid_", "val_", "eval_loss_", "eval_"),
    ("bits_per_byte", "bits_per_byte"): ("bpb_", "bpb/"),
    ("accuracy", "fraction"): ("acc_", "acc/", "accuracy_", "accuracy/"),
}
_ALIASES = {
    "run": ("run", "run_id", "run_name", "name", "index", "id"),
    "params": ("params", "non_embedding_params", "n_params", "num_params", "n"),
    "params_total": ("params_total", "total_params"),
    "tokens": ("tokens", "train_tokens", "n_tokens", "num_tokens", "d"),
    "step": ("step", "steps", "global_step", "_step", "iteration"),
    "seed": ("seed",),
    "target": ("target", "validation_domain", "validation_set", "dataset", "domain", "task"),
    "value": ("value", "loss", "val_loss"),
    "metric": ("metric",),
}


def _find(columns: Sequence[str], what: str) -> str | None:
    lowered = {c.lower(): c for c in columns}
    return next((lowered[a] for a in _ALIASES[what] if a in lowered), None)


def _strip(column: str, prefixes: Sequence[str]) -> str | None:
    for prefix in sorted(prefixes, key=len, reverse=True):
        if column.lower().startswith(prefix) and len(column) > len(prefix):
            return column[len(prefix) :]
    return None


def read_table(
    paths: Sequence[Path],
    *,
    weights: Sequence[str] | None = None,
    values: Sequence[str] | None = None,
    repair: bool = False,
    source: str | None = None,
) -> Observations:
    """Observations from one wide or long table (several files of one layout are stacked).

    Args:
        weights, values: column names, where the usual prefixes do not tell them.
        repair: rescale weights that do not sum to one.
        source: recorded with every value; default the file's name.

    Raises:
        DataError: no column of values, weights that are none, the same run with two mixtures.
    """
    tables = [read_frame(p) for p in paths]
    where = ", ".join(p.name for p in paths)
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowInvalid as error:
        raise DataError(f"{where}: the files' columns do not fit together: {error}") from None
    if table.num_rows == 0:
        raise DataError(f"{where} holds no rows.")
    columns = list(table.column_names)
    known = {what: _find(columns, what) for what in _ALIASES}
    weight_columns = list(weights) if weights else [c for c in columns if _strip(c, _WEIGHT) and _numeric(table, c)]
    is_long = known["target"] is not None and known["value"] is not None
    value_columns = _value_columns(table, columns, weight_columns, values)
    if not is_long and not value_columns:
        raise DataError(
            f"{where} has no column of measured values. Name them loss_<set>, bpb_<set> or acc_<set>, or pass values=. "
            f"Columns: {columns}."
        )
    sizes = {k: numbers(table, c, where) for k in ("params", "params_total", "tokens", "step") if (c := known[k])}
    run_ids = _run_ids(table, known["run"], weight_columns, sizes, is_long)
    domains = [_strip(c, _WEIGHT) or c for c in weight_columns]
    mix = np.column_stack([numbers(table, c, where) for c in weight_columns]) if weight_columns else None
    runs = _runs(table, run_ids, mix, domains, sizes, known, where, repair)
    records: list[dict[str, Any]] = []
    label = source or where
    if is_long:
        metric = known["metric"]
        targets = table.column(known["target"]).to_pylist()
        metrics = table.column(metric).to_pylist() if metric else ["loss"] * table.num_rows
        column = numbers(table, str(known["value"]), where)
        for i, (run, target) in enumerate(zip(run_ids, targets)):
            records.append(_value(run, sizes, i, str(target), str(metrics[i]), None, float(column[i]), label))
    else:
        for name, (target, metric_name, unit) in value_columns.items():
            column = numbers(table, name, where)
            for i, run in enumerate(run_ids):
                records.append(_value(run, sizes, i, target, metric_name, unit, float(column[i]), label))
    kept = [r for r in records if not math.isnan(r["value"])]
    for r in kept:
        if math.isinf(r["value"]):
            r["censored"] = "right"
    return Observations.from_records(runs, kept, source=label)


def _numeric(table: pa.Table, column: str) -> bool:
    kind = table.schema.field(column).type
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _value_columns(
    table: pa.Table, columns: Sequence[str], weight_columns: Sequence[str], values: Sequence[str] | None
) -> dict[str, tuple[str, str, str]]:
    """``{column: (target, metric, unit)}``."""
    found: dict[str, tuple[str, str, str]] = {}
    for column in values if values is not None else columns:
        if column in weight_columns:
            continue
        for (metric, unit), prefixes in _VALUES.items():
            target = _strip(column, prefixes)
            if target and _numeric(table, column):
                found[column] = (target, metric, unit)
        if column not in found and (values is not None or column.lower() == "loss"):
            if column not in columns:
                raise DataError(f"There is no column {column!r}; columns: {list(columns)}.")
            found[column] = (column, "loss", "nats_per_token")
    return found


def _run_ids(
    table: pa.Table, run: str | None, weight_columns: Sequence[str], sizes: dict[str, Any], is_long: bool
) -> list[str]:
    """Run of each row: its column; without one, rows of equal mixture and size are one run (long, stepped tables)."""
    size = sizes.get("params")
    if run is not None:
        names = [str(r) for r in table.column(run).to_pylist()]
        return names if size is None or not is_long else [f"{n}@{s:g}" for n, s in zip(names, size)]
    if not (is_long or "step" in sizes):
        return [f"run{i + 1}" for i in range(table.num_rows)]
    keys = table.select(list(weight_columns)).to_pylist()
    labels: dict[Any, str] = {}
    result = []
    for i, row in enumerate(keys):
        key = (tuple(row.values()), None if size is None else size[i])
        result.append(labels.setdefault(key, f"run{len(labels) + 1}"))
    return result


def _runs(
    table: pa.Table,
    run_ids: Sequence[str],
    mix: Any,
    domains: Sequence[str],
    sizes: dict[str, Any],
    known: dict[str, str | None],
    where: str,
    repair: bool,
) -> list[dict[str, Any]]:
    first: dict[str, int] = {}
    for i, run in enumerate(run_ids):
        if run in first and mix is not None and not np.array_equal(mix[i], mix[first[run]], equal_nan=True):
            raise DataError(
                f"{where}: run {run!r} has two mixtures (rows {first[run] + 2} and {i + 2}). "
                f"Give each run its own name."
            )
        first.setdefault(run, i)
    names = list(first)
    rows = np.array(list(first.values()))
    schedules: list[Mixture | None] = [None] * len(names)
    if mix is not None and len(domains):
        chosen = check_weights(mix[rows], domains, names, where, repair)
        schedules = [Mixture.from_array(domains, w) for w in chosen]
    seeds = table.column(known["seed"]).to_pylist() if known["seed"] else None
    last_tokens: dict[str, float] = {}
    if "tokens" in sizes:
        for run, count in zip(run_ids, sizes["tokens"]):
            if np.isfinite(count):
                last_tokens[run] = max(float(count), last_tokens.get(run, 0.0))
    runs = []
    for name, row, schedule in zip(names, rows.tolist(), schedules):
        record: dict[str, Any] = {"run": name, "schedule": schedule, "tokens": last_tokens.get(name)}
        for key in ("params", "params_total"):
            if key in sizes and np.isfinite(sizes[key][row]):
                record[key] = float(sizes[key][row])
        if seeds is not None and seeds[row] is not None:
            record["seed"] = int(seeds[row])
        runs.append(record)
    return runs


def _value(
    run: str, sizes: dict[str, Any], i: int, target: str, metric: str, unit: str | None, value: float, source: str
) -> dict[str, Any]:
    step = sizes["step"][i] if "step" in sizes else math.nan
    tokens = sizes["tokens"][i] if "tokens" in sizes else math.nan
    return {
        "run": run,
        "step": None if math.isnan(step) else int(step),
        "tokens": None if math.isnan(tokens) else float(tokens),
        "target": target,
        "metric": metric,
        "unit": unit,
        "value": value,
        "source": source,
    }

"""One generic table of runs, wide or long.

Wide: a row per run (and step), weights and losses in columns. Long: a row per measured value.

=================================  ==============================================================================
column                             read as
=================================  ==============================================================================
``run`` / ``run_id`` / ``name``    run id (rows are numbered without it)
``weight_X``, ``mix_X``, ...       weight of domain X (``weight weights mix mixture ratio`` + ``_``, ``/`` or ``.``;
                                   ``train_X``, ``w_X`` where nothing is named a weight outright)
``loss_X``, ``val/X/loss``         loss on X, in nats per token (``val_X``, ``eval_X`` where nothing is named a loss)
``bpb_X``, ``acc_X``               bits per byte, accuracy
``params``, ``tokens``, ``step``   and their usual other names (``N``, ``D``, ``non_embedding_params``, ...)
``unique_tokens``                  becomes epochs; ``train_set``, ``corpus``: the one set a run trained on
``target``, ``value``              long tables: validation set (``validation_domain``), value (or ``loss``); ``metric``,
                                   ``unit`` and ``shots`` beside them
=================================  ==============================================================================
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mixlaw.data.columns import SIZES
from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.errors import DataError, MixlawWarning
from mixlaw.io.frames import check_weights, numbers, read_frame
from mixlaw.io.names import ALIASES, find, measured, measured_values
from mixlaw.io.names import weight_columns as named_weights

__all__ = ["PRIORITY", "read", "recognises"]

PRIORITY = -1
"""What no other importer recognises is read as a table of runs."""

_SIZES = ("params", "params_total", *(name for name in SIZES if name != "params"))
_METRICS = {"acc": "accuracy", "bpb": "bits_per_byte", "val_loss": "loss", "cross_entropy": "loss", "nll": "loss"}


def recognises(paths: Sequence[Path]) -> bool:
    """Any files."""
    return not any(p.is_dir() for p in paths)


def read(
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
    known = {what: find(columns, what) for what in ALIASES}
    domain_of = _weights(table, columns, known, weights)
    is_long = known["target"] is not None and known["value"] is not None
    value_columns = _value_columns(table, columns, list(domain_of), values, where)
    if not is_long and not value_columns:
        raise DataError(
            f"{where} has no column of measured values. Name them loss_<set>, bpb_<set> or acc_<set>, or pass values=. "
            f"Columns: {columns}."
        )
    sizes = {k: numbers(table, c, where) for k in _SIZES if (c := known[k])}
    run_ids = _run_ids(table, known["run"], list(domain_of), sizes, is_long, where)
    domains = list(domain_of.values())
    mix = np.column_stack([numbers(table, c, where) for c in domain_of]) if domain_of else None
    runs = _runs(table, run_ids, mix, domains, sizes, known, where, repair)
    label = source or where
    if is_long:
        records = _long_records(table, run_ids, sizes, known, where, label)
    else:
        records = []
        for name, (target, metric_name, unit) in value_columns.items():
            column = numbers(table, name, where)
            for i, run in enumerate(run_ids):
                records.append(_value(run, sizes, i, target, metric_name, unit, float(column[i]), label))
    kept = [r for r in records if not math.isnan(r["value"])]
    for r in kept:
        if math.isinf(r["value"]):
            r["censored"] = "right"
    repeats = known["run"] is None and not is_long and "step" not in sizes
    return Observations.from_records(runs, _once(kept, where, said=repeats), source=label)


def _weights(
    table: pa.Table, columns: Sequence[str], known: dict[str, str | None], weights: Sequence[str] | None
) -> dict[str, str]:
    """``{column: domain}`` of the mixture weights."""
    if weights:
        unknown = [c for c in weights if c not in columns]
        if unknown:
            raise DataError(f"There is no column {unknown[0]!r}; columns: {list(columns)}.")
        return {c: named_weights([c]).get(c, c) for c in weights}
    taken = {c for c in known.values() if c}
    return {c: d for c, d in named_weights(columns).items() if c not in taken and _numeric(table, c)}


def _long_records(
    table: pa.Table,
    run_ids: Sequence[str],
    sizes: dict[str, Any],
    known: dict[str, str | None],
    where: str,
    label: str,
) -> list[dict[str, Any]]:
    def texts(field: str, default: str | None) -> list[Any]:
        column = known[field]
        return table.column(column).to_pylist() if column else [default] * table.num_rows

    column = numbers(table, str(known["value"]), where)
    records = []
    for i, (target, metric, unit, shots) in enumerate(
        zip(texts("target", None), texts("metric", "loss"), texts("unit", None), texts("shots", None))
    ):
        name = _METRICS.get(str(metric).lower(), str(metric))
        record = _value(run_ids[i], sizes, i, str(target), name, unit and str(unit), float(column[i]), label)
        records.append(record | {"shots": None if shots is None else int(shots)})
    return records


def _once(records: Sequence[dict[str, Any]], where: str, said: bool = False) -> list[dict[str, Any]]:
    """Each value once: equal repetitions are dropped and said (unless ``said`` already, of whole rows).

    Raises:
        DataError: one value of one run was measured twice, differently.
    """
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    repeated = 0
    for r in records:
        key = (r["run"], r["step"], r["target"], r["metric"], r["unit"], r.get("shots"))
        first = seen.setdefault(key, r)
        if first is not r:
            if first["value"] != r["value"]:
                raise DataError(
                    f"{where}: run {r['run']!r} has two values of {r['metric']} on {r['target']!r}"
                    f"{'' if r['step'] is None else ' at step ' + str(r['step'])}: {first['value']:g} and "
                    f"{r['value']:g}. Give each run (each seed) its own name, or add a column 'step'."
                )
            repeated += 1
    if repeated and not said:
        warnings.warn(
            f"{where}: {repeated} values are there twice, equally; each is used once.", MixlawWarning, stacklevel=3
        )
    return list(seen.values())


def _numeric(table: pa.Table, column: str) -> bool:
    kind = table.schema.field(column).type
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _value_columns(
    table: pa.Table, columns: Sequence[str], weight_columns: Sequence[str], values: Sequence[str] | None, where: str
) -> dict[str, tuple[str, str, str]]:
    """``{column: (target, metric, unit)}``.

    Raises:
        DataError: a column asked for is not there, or holds nothing.
    """
    if values is None:
        others = [c for c in columns if c not in weight_columns]
        # of a column that is named a loss and holds some numbers, what is none of them is refused where it is read
        filled = [c for c in others if (_numeric(table, c) or measured(c)) and _some_number(table, c)]
        found = measured_values(filled)
        for column in others:
            if column not in found and measured(column):
                _warn_useless(table, column, where)
        return found
    unknown = [c for c in values if c not in columns]
    if unknown:
        raise DataError(f"There is no column {unknown[0]!r}; columns: {list(columns)}.")
    empty = [c for c in values if not _some_number(table, c)]
    if empty:
        raise DataError(f"{where}: column {empty[0]!r} was asked for and holds no number.")
    return {c: measured_values([c]).get(c, (c, "loss", "nats_per_token")) for c in values}


def _some_number(table: pa.Table, column: str) -> bool:
    """Whether any value is a number (infinity is one: a loss that diverged)."""
    for value in table.column(column).to_pylist():
        try:
            if value is not None and not math.isnan(float(value)):
                return True
        except (TypeError, ValueError):
            continue
    return False


def _warn_useless(table: pa.Table, column: str, where: str) -> None:
    texts = [(row, v) for row, v in enumerate(table.column(column).to_pylist()) if isinstance(v, str) and v.strip()]
    holds = f"holds text (row {texts[0][0] + 2}: {texts[0][1]!r})" if texts else "is empty"
    warnings.warn(
        f"{where}: column {column!r} is named as a measured value but {holds}; it is left out.",
        MixlawWarning,
        stacklevel=4,
    )


def _run_ids(
    table: pa.Table,
    run: str | None,
    weight_columns: Sequence[str],
    sizes: dict[str, Any],
    is_long: bool,
    where: str,
) -> list[str]:
    """Run of each row: its column; without one, rows of equal mixture and size are one run (long, stepped tables), and
    in wide tables rows that are equal throughout: two seeds never agree in every digit of every loss."""
    size = sizes.get("params")
    if run is not None:
        names = [str(r) for r in table.column(run).to_pylist()]
        if size is None or not is_long:
            return names
        sizes_of: dict[str, set[str]] = {}
        for name, value in zip(names, size):
            sizes_of.setdefault(name, set()).add(f"{value:g}")
        # one name at several sizes is several runs; a name at one size is the run as its owner knows it
        return [n if len(sizes_of[n]) == 1 else f"{n}@{s:g}" for n, s in zip(names, size)]
    if not (is_long or "step" in sizes):
        ids: dict[str, str] = {}
        rows = [ids.setdefault(repr(tuple(row.values())), f"run{i + 1}") for i, row in enumerate(table.to_pylist())]
        if len(ids) < len(rows):
            first = next(i for i, name in enumerate(rows) if name != f"run{i + 1}")
            warnings.warn(
                f"{where}: {len(rows) - len(ids)} of {len(rows)} rows repeat another in every column (row {first + 2} "
                f"that of {rows[first]}); each run is used once. If they are different runs, name them in a column "
                f"'run'.",
                MixlawWarning,
                stacklevel=3,
            )
        return rows
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
    sets = table.column(known["training_set"]).to_pylist() if known["training_set"] else None
    if mix is not None and len(domains):
        given = ~np.isnan(mix[rows]).all(axis=1)
        if not given.all():
            lacking = [n for n, g in zip(names, given) if not g]
            warnings.warn(
                f"{where}: the runs {lacking[:5]} ({len(lacking)}) have no mixture.", MixlawWarning, stacklevel=3
            )
        here = np.flatnonzero(given)
        chosen = check_weights(mix[rows[here]], domains, [names[i] for i in here], where, repair)
        for i, w in zip(here.tolist(), chosen):
            schedules[i] = Mixture.from_array(domains, w)
    elif sets is not None:  # a study of several training sets: each run trains on one of them
        every = list(dict.fromkeys(str(s) for s in sets if s is not None))
        for i, row in enumerate(rows.tolist()):
            if sets[row] is not None:
                schedules[i] = Mixture({name: float(name == str(sets[row])) for name in every})
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
        unique = sizes["unique_tokens"][row] if "unique_tokens" in sizes else math.nan
        if unique > 0 and "tokens" in sizes and sizes["tokens"][row] > 0:
            trained = str(sets[row]) if sets is not None and sets[row] is not None else "all"
            record["epochs"] = {trained: float(sizes["tokens"][row] / unique)}
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

"""One generic table of runs, wide or long.

Wide: a row per run (and step), weights and losses in columns. Long: a row per measured value.

=================================  ==============================================================================
column                             read as
=================================  ==============================================================================
``run`` / ``run_id`` / ``name``    run id (rows are numbered without it; files of one run each go by their names)
``weight_X``, ``mix_X``, ...       weight of domain X (``weight weights mix mixture ratio`` + ``_``, ``/`` or ``.``;
                                   ``X_weight``, ``train_X``, ``w_X`` where nothing is named a weight outright)
``loss_X``, ``X_loss``,            loss on X, in nats per token (``val_X``, ``eval_X`` where nothing is named a loss)
``val/X/loss``
``bpb_X``, ``acc_X``, ``ppl_X``    bits per byte, accuracy, perplexity (kept as the loss, its logarithm)
``params``, ``tokens``, ``step``   and their usual other names (``N``, ``D``, ``non_embedding_params``, ...)
``unique_tokens``                  becomes epochs; ``train_set``, ``corpus``: the one set a run trained on
``target``, ``value``              long tables: validation set (``validation_domain``), value (or ``loss``); ``metric``,
                                   ``unit`` and ``shots`` beside them
anything else                      a setting, kept with the run; named where it is not used
=================================  ==============================================================================
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mixlaw.data.columns import SIZES
from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.data.taken import Taken
from mixlaw.errors import ConfigError, DataError, MixlawWarning
from mixlaw.io.asked import Asked, Values, Weights, refuse_rivals
from mixlaw.io.endings import mark_endings
from mixlaw.io.frames import check_weights, is_table, numbers, read_frame, weight_numbers, whole
from mixlaw.io.names import ALIASES, MEASURES, Measure, is_id, measured, measured_values, why_no_value
from mixlaw.io.names import weight_columns as named_weights
from mixlaw.kit.units import parse_count

__all__ = ["PRIORITY", "read", "recognises"]

PRIORITY = -1
"""What no other importer recognises is read as a table of runs."""

_SIZES = ("params", "params_total", *(name for name in SIZES if name != "params"))
_METRICS = {"acc": "accuracy", "bpb": "bits_per_byte", "val_loss": "loss", "cross_entropy": "loss", "nll": "loss"}
_METRICS |= {"ppl": "perplexity", "bits": "bits_per_token", "bpt": "bits_per_token"}
_UNITS = {"nats": "nats_per_token", "nat": "nats_per_token", "nats/token": "nats_per_token", "bpb": "bits_per_byte"}
_CONVERTED = {"bits": "bits_per_token", "bit": "bits_per_token", "bits/token": "bits_per_token", "%": "percent"}
_CONVERTED |= {"ppl": "perplexity", "percentage": "percent", "bits_per_token": "bits_per_token"}
_CONVERTED |= {"perplexity": "perplexity", "percent": "percent"}


_DOMAIN_TOKENS = re.compile(r"(?:num_|n_)?tokens[_/.](?!per[_/.]).+", re.IGNORECASE)


@dataclass(frozen=True)
class _Plan:
    """What each column of a table is.

    Args:
        known: ``{field of ALIASES: column}``.
        weights: ``{column: domain}``.
        values: ``{column: measure}`` of a wide table.
        settings: columns that are facts about the runs.
        is_long: whether each row is one value.
        taken: the same in words, for every column.
    """

    known: dict[str, str]
    weights: dict[str, str]
    values: dict[str, Measure]
    settings: tuple[str, ...]
    is_long: bool
    taken: tuple[Taken, ...]


def recognises(paths: Sequence[Path]) -> bool:
    """Any files, or one folder of nothing but tables."""
    if len(paths) == 1 and paths[0].is_dir():
        return bool(_tables(paths[0]))
    return not any(p.is_dir() for p in paths)


def _tables(folder: Path) -> list[Path]:
    """The tables of a folder, by name; none where it holds something else too."""
    files = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    return files if files and all(p.is_file() and is_table(p) for p in files) else []


def read(
    paths: Sequence[Path],
    *,
    weights: Weights | None = None,
    values: Values | None = None,
    ignore: Sequence[str] | None = None,
    repair: bool = False,
    source: str | None = None,
) -> Observations:
    """Observations from one wide or long table; several files of one layout are stacked, and a file of one run's curve
    is a run of the file's name.

    Args:
        weights: ``{domain: column}``, or columns, where the usual names do not tell them.
        values: ``{column: what it holds}`` (see :data:`~mixlaw.io.names.MEASURES`), or columns.
        ignore: columns to leave out.
        repair: rescale weights that do not sum to one.
        source: recorded with every value; default the file's name.

    Raises:
        DataError: no column of values, weights that are none, the same run with two mixtures.
    """
    files = [file for p in paths for file in (_tables(p) if p.is_dir() else [p])]
    tables = [read_frame(p) for p in files]
    where = ", ".join(p.name for p in files[:4]) + (f" and {len(files) - 4} more" if len(files) > 4 else "")
    tables = _named_by_file(files, tables)
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"{where}: the files' columns do not fit together: {error}") from None
    if table.num_rows == 0:
        raise DataError(f"{where} holds no rows.")
    asked = Asked.of(table.column_names, where, weights, values, ignore)
    plan = _plan(table, asked, where)
    known, domains = plan.known, list(plan.weights.values())
    sizes = {k: _counts(table, known[k], where) for k in _SIZES if k in known}
    for step in sizes.get("step", ()):
        whole(float(step), known["step"], where)
    run_ids = _run_ids(table, known.get("run"), list(plan.weights), sizes, plan.is_long, where)
    mix = weight_numbers(table, plan.weights, run_ids, where) if plan.weights else None
    runs = _runs(table, run_ids, mix, domains, sizes, known, where, repair)
    label = source or where
    if plan.is_long:
        records = _long_records(table, run_ids, sizes, known, where, label)
    else:
        records = [
            _value(run, sizes, i, measure, measure.value(float(column[i])), label)
            for name, measure in plan.values.items()
            for column in [numbers(table, name, where)]
            for i, run in enumerate(run_ids)
        ]
    kept = [r for r in records if not math.isnan(r["value"])]
    repeats = "run" not in known and not plan.is_long and "step" not in sizes
    kept = _once(kept, where, said=repeats)
    taken = _settings(table, plan, run_ids, runs)
    mark_endings(runs, kept, where)
    return Observations.from_records(runs, kept, source=label, columns=taken)


def _named_by_file(files: Sequence[Path], tables: list[pa.Table]) -> list[pa.Table]:
    """Tables with a column ``run`` of the file's name, where several files hold the curve of one run each."""
    if len(tables) < 2 or any(_find(t.column_names, "run") for t in tables):
        return tables
    for table in tables:
        axis = _find(table.column_names, "step") or _find(table.column_names, "tokens")
        if axis is None or table.num_rows < 2 or _find(table.column_names, "target"):
            return tables
        steps = table.column(axis).to_pylist()
        mixtures = {tuple(row.values()) for row in table.select(list(named_weights(table.column_names))).to_pylist()}
        if len(set(steps)) < len(steps) or len(mixtures) > 1:
            return tables
    names = [f.name.split(".")[0] for f in files]
    if len(set(names)) < len(names):  # of one name in several folders
        names = [f"{f.parent.name}/{name}" for f, name in zip(files, names)]
    return [t.append_column("run", pa.array([name] * t.num_rows, pa.string())) for name, t in zip(names, tables)]


def _find(columns: Sequence[str], field: str) -> str | None:
    lowered = {c.lower(): c for c in columns}
    return next((lowered[a] for a in ALIASES[field] if a in lowered), None)


def _plan(table: pa.Table, asked: Asked, where: str) -> _Plan:
    """What each column is, from what was asked, the names, and what the cells hold.

    Raises:
        DataError: no column of values; one that was asked for and holds no number.
    """
    every = list(table.column_names)
    taken: dict[str, Taken] = {c: Taken(where, c, "unused", note="left out as asked") for c in asked.ignore}
    for column, domain in asked.weights.items():
        taken[column] = Taken(where, column, "weight", domain)
    for column in asked.values or ():
        if not _some_number(table, column):
            raise DataError(f"{where}: column {column!r} was asked for and holds no number.")

    def free() -> list[str]:
        return [c for c in every if c not in taken and c not in (asked.values or ())]

    weights = dict(asked.weights) or _weights(table, free())
    for column, domain in weights.items():
        taken[column] = Taken(where, column, "weight", domain)
    known = {field: found for field in ALIASES if (found := _find(free(), field))}
    is_long = "target" in known and "value" in known and asked.values is None
    if not is_long:
        for field in ("target", "value", "metric", "unit", "shots"):
            known.pop(field, None)
    if weights:
        known.pop("training_set", None)
    run = _run_column(table, free(), list(weights), is_long or "step" in known)
    known = {field: column for field, column in known.items() if field != "run"} | ({"run": run} if run else {})
    for field, column in known.items():
        taken[column] = _taken_field(where, column, field)
    chosen = dict(asked.values or {}) if not is_long else {}
    if not is_long and asked.values is None:
        chosen = _value_columns(table, free(), where)
    for column, measure in chosen.items():
        taken[column] = Taken(where, column, "value", measure.target, measure.metric, measure.unit, measure.note)
    if not is_long and not chosen:
        raise DataError(
            f"{where} has no column of measured values. Name them loss_<set>, bpb_<set>, ppl_<set> or acc_<set>, or "
            f"say which they are and what they hold: values= (--value COLUMN=loss). Columns: {every}."
        )
    refuse_rivals(chosen, where)
    settings = []
    for column in free():
        if column in taken:
            continue
        role, note = _rest(table, column, chosen, bool(weights))
        taken[column] = Taken(where, column, role, column if role == "setting" else "", note=note)
        if role == "setting":
            settings.append(column)
    return _Plan(known, weights, chosen, tuple(settings), is_long, tuple(taken[c] for c in every))


def _taken_field(where: str, column: str, field: str) -> Taken:
    if field == "run":
        return Taken(where, column, "id")
    if field in _SIZES:
        return Taken(where, column, "size", field)
    if field == "value":
        return Taken(where, column, "value", "the set of its row")
    return Taken(where, column, "setting", field, note="of each value" if field in ("target", "metric", "unit") else "")


def _run_column(table: pa.Table, columns: Sequence[str], weights: Sequence[str], several_rows: bool) -> str | None:
    """The column that names the runs. ``model``, ``name`` and ``index`` may be something else (the size, the set, a row
    number); they name the runs only where each name has one mixture, and one row where rows are runs."""
    lowered = {c.lower(): c for c in columns}
    for alias in ALIASES["run"]:
        column = lowered.get(alias)
        if column is None:
            continue
        if alias in ("run", "run_id", "run_name", "id"):
            return column
        names = table.column(column).to_pylist()
        rows = table.select(list(weights)).to_pylist() if weights else [{}] * len(names)
        of_name: dict[Any, set[Any]] = {}
        for name, row in zip(names, rows):
            of_name.setdefault(name, set()).add(tuple(row.values()))
        if all(len(m) == 1 for m in of_name.values()) and (several_rows or len(of_name) == len(names)):
            return column
    return None


def _rest(table: pa.Table, column: str, chosen: Mapping[str, Measure], has_weights: bool) -> tuple[str, str]:
    """Role of a column that is nothing known, and why."""
    cells = [v for v in table.column(column).to_pylist() if v is not None and v != ""]
    if not cells:
        return "unused", "empty"
    if reason := why_no_value(column, chosen):
        return "unused", reason
    if measured(column):
        return "unused", "a value that was not asked for"
    if is_id(column):
        return "id", "not used: the runs have another name"
    if not has_weights and _DOMAIN_TOKENS.fullmatch(column):
        return (
            "setting",
            "tokens of a domain? say --weight DOMAIN=COLUMN for each, with --repair to divide by their sum",
        )
    if column.lower() in ALIASES["run"]:
        return "setting", "it repeats, so it does not name the runs; where it is a size, give a column params"
    if column.lower() in (a for names in ALIASES.values() for a in names):
        return "setting", "another column says the same field"
    return "setting", ""


def _settings(table: pa.Table, plan: _Plan, run_ids: Sequence[str], runs: Sequence[dict[str, Any]]) -> list[Taken]:
    """Write the settings into the runs' records; what changes within a run is no setting of it, and is said."""
    taken = {t.column: t for t in plan.taken}
    by_run = {r["run"]: r for r in runs}
    for column in plan.settings:
        facts: dict[str, Any] = {}
        changes = False
        for run, fact in zip(run_ids, table.column(column).to_pylist()):
            if fact is not None and fact != "":
                changes |= facts.setdefault(run, fact) != fact
        note = taken[column].note
        if changes:
            where = taken[column].file
            taken[column] = Taken(
                where, column, "unused", note=note or "changes within a run, and is no value by its name"
            )
            continue
        for run, fact in facts.items():
            kept = fact if isinstance(fact, int | float | str) else str(fact)
            by_run[run].setdefault("settings", {})[column] = kept
        different = len(set(map(str, facts.values())))
        said = f"{different} values" if different > 1 else f"always {next(iter(facts.values()))}"
        taken[column] = Taken(taken[column].file, column, "setting", column, note=f"{said}; {note}" if note else said)
    return list(taken.values())


def _counts(table: pa.Table, column: str, where: str) -> Any:
    """A column of counts (n,), which may be written as ``14M`` or ``1.4B``."""
    cells = table.column(column).to_pylist()
    if not any(isinstance(v, str) for v in cells):
        return numbers(table, column, where)
    out = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        if cell is None or cell == "":
            continue
        try:
            out[row] = float(parse_count(cell))
        except (ConfigError, ValueError):
            raise DataError(
                f"{where}, column {column!r}, row {row + 2}: {cell!r} is not a count (1400000, 1.4M). Correct it, or "
                f"leave the column out: ignore=[{column!r}] (--ignore {column})."
            ) from None
    return out


def _weights(table: pa.Table, columns: Sequence[str]) -> dict[str, str]:
    """``{column: domain}`` of the mixture weights: columns that are named so and hold numbers. One that is named a
    weight outright and holds some text is a weight with an error in it, told where it is read."""
    outright = {c for c in columns if named_weights([c]) and not c.lower().startswith(("train", "w_", "w/"))}
    usable = [c for c in columns if _numeric(table, c) or (c in outright and _some_digit(table, c))]
    return named_weights(usable)


def _long_records(
    table: pa.Table,
    run_ids: Sequence[str],
    sizes: dict[str, Any],
    known: Mapping[str, str],
    where: str,
    label: str,
) -> list[dict[str, Any]]:
    def texts(field: str, default: str | None) -> list[Any]:
        column = known.get(field)
        return table.column(column).to_pylist() if column else [default] * table.num_rows

    column = numbers(table, known["value"], where)
    records = []
    for i, (target, metric, unit, shots) in enumerate(
        zip(texts("target", None), texts("metric", "loss"), texts("unit", None), texts("shots", None))
    ):
        name = _METRICS.get(str(metric).lower(), str(metric))
        stated = str(unit).strip().lower() if unit else ""
        kind = _CONVERTED.get(stated, name)
        if kind in MEASURES and (kind in _CONVERTED.values() or not stated):
            measure = Measure(str(target), kind)
            record = _value(run_ids[i], sizes, i, measure, measure.value(float(column[i])), label)
        else:
            record = _value(run_ids[i], sizes, i, Measure(str(target), "loss"), float(column[i]), label)
            record |= {"metric": name, "unit": _UNITS.get(stated, unit and str(unit))}
        records.append(record | {"shots": whole(shots, known.get("shots", "shots"), where)})
    return records


def _once(records: Sequence[dict[str, Any]], where: str, said: bool = False) -> list[dict[str, Any]]:
    """Each value once: equal repetitions are dropped and said (unless ``said`` already, of whole rows).

    Raises:
        DataError: one value of one run was measured twice, differently.
    """
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    repeated = 0
    for r in records:
        key = (
            r["run"],
            r["step"] if r["step"] is not None else r["tokens"],
            r["target"],
            r["metric"],
            r["unit"],
            r.get("shots"),
        )
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


def _value_columns(table: pa.Table, columns: Sequence[str], where: str) -> dict[str, Measure]:
    """``{column: measure}`` by name. Of a column that is named a loss and holds some numbers, what is none of them is
    refused where it is read."""
    filled = [c for c in columns if (_numeric(table, c) or measured(c)) and _some_number(table, c)]
    found = measured_values(filled)
    for column in columns:
        if column not in found and measured(column) and column not in filled:
            _warn_useless(table, column, where)
    return found


def _some_digit(table: pa.Table, column: str) -> bool:
    """Whether any cell has a digit in it, number or not (``1,000``, ``40 %``)."""
    return any(c.isdigit() for v in table.column(column).to_pylist() if v is not None for c in str(v))


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
    known: Mapping[str, str],
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
    for field in ("params", "params_total", "seed"):
        _refuse_two(table, run_ids, sizes.get(field), known.get(field), where)
    names = list(first)
    rows = np.array(list(first.values()))
    schedules: list[Mixture | None] = [None] * len(names)
    sets = table.column(known["training_set"]).to_pylist() if "training_set" in known else None
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
    seeds = table.column(known["seed"]).to_pylist() if "seed" in known else None
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
        if seeds is not None:
            record["seed"] = whole(seeds[row], known["seed"], where)
        runs.append(record)
    return runs


def _refuse_two(table: pa.Table, run_ids: Sequence[str], numbers: Any, column: str | None, where: str) -> None:
    """Refuse a run with two sizes or seeds: which of its rows is right, nobody can know.

    Raises:
        DataError: names the run and its rows.
    """
    if column is None:
        return
    cells = table.column(column).to_pylist()
    seen: dict[str, int] = {}
    for i, (run, cell) in enumerate(zip(run_ids, cells if numbers is None else numbers)):
        if cell is None or cell == "" or cell != cell:
            continue
        before = seen.setdefault(run, i)
        if cell != (cells if numbers is None else numbers)[before]:
            raise DataError(
                f"{where}: run {run!r} has two values of {column!r}, {cells[before]} and {cells[i]} (rows {before + 2} "
                f"and {i + 2}). Give each run its own name, or leave the column out: ignore=[{column!r}] (--ignore "
                f"{column})."
            )


def _value(run: str, sizes: dict[str, Any], i: int, measure: Measure, value: float, source: str) -> dict[str, Any]:
    step = sizes["step"][i] if "step" in sizes else math.nan
    tokens = sizes["tokens"][i] if "tokens" in sizes else math.nan
    return {
        "run": run,
        "step": None if math.isnan(step) else int(step),
        "tokens": None if math.isnan(tokens) else float(tokens),
        "target": measure.target,
        "metric": measure.metric,
        "unit": measure.unit,
        "value": value,
        "censored": "none",
        "source": source,
    }

"""olmix's pair of files (arXiv 2602.12237): ``ratios.csv`` of mixtures and ``metrics.csv`` of bits per byte.

Both name their runs in ``run_id`` (or ``run``); ``name`` and ``index`` columns may follow. All other columns are
domains in the one, metrics in the other.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.data.taken import Taken
from mixlaw.errors import ConfigError, DataError, MixlawWarning, did_you_mean
from mixlaw.io.asked import Asked, Values, Weights, refuse_rivals
from mixlaw.io.endings import mark_endings
from mixlaw.io.frames import check_weights, is_table, numbers, read_frame, weight_numbers, whole
from mixlaw.io.names import Measure, field_of, find, is_id, measured, training_loss, weight_domain

__all__ = ["read", "recognises"]

_IDS = ("run_id", "run", "name", "index", "")
_ENDING = re.compile(r"\.(?:csv|tsv|parquet)(?:\.gz)?$")
_FIELDS = ("params", "params_total", "tokens", "unique_tokens", "step", "seed")
_TIME = re.compile(
    r"(?:^|_)(?:runtime|timestamp|created(?:_at)?|updated(?:_at)?|time|seconds|hours|date|epochs?)$", re.I
)
_UNITS = {"bits_per_byte": "bits_per_byte", "loss": "nats_per_token", "accuracy": "fraction"}


def _find_pair(paths: Sequence[Path]) -> tuple[Path, Path] | None:
    """``(ratios, metrics)`` among two files, or in a folder, by their names; None where they are not."""
    files = sorted(paths[0].iterdir()) if len(paths) == 1 and paths[0].is_dir() else list(paths)
    named = [(f, _ENDING.sub("", f.name.lower())) for f in files if is_table(f)]
    ratios = [f for f, name in named if name.endswith("ratios")]
    metrics = [f for f, name in named if name.endswith("metrics")]
    return (ratios[0], metrics[0]) if len(ratios) == 1 and len(metrics) == 1 else None


def recognises(paths: Sequence[Path]) -> bool:
    """Two files, or one folder, with one table of ratios and one of metrics by their names."""
    return len(paths) <= 2 and _find_pair(paths) is not None


def read(
    paths: Sequence[Path],
    *,
    metric: Literal["bits_per_byte", "loss", "accuracy"] = "bits_per_byte",
    weights: Weights | None = None,
    values: Values | None = None,
    ignore: Sequence[str] | None = None,
    repair: bool = False,
    source: str | None = None,
) -> Observations:
    """Observations from olmix's two files, or the folder that holds them, joined on the run.

    Runs in only one of the files are left out, and named in a warning. A metric whose name says what it is
    (``eval/downstream/boolq_acc``, ``web_bpb``) is read as that. Ids, sizes, times and texts are no metrics.

    Args:
        metric: what the columns measure where their names do not say.
        weights: ``{domain: column}``, or columns; default all numbers of the ratios that are no ids or sizes.
        values: ``{column: what it holds}``, or columns; default all numbers of the metrics that are no ids or settings.
        ignore: columns to leave out.
        repair: rescale weights that do not sum to one.

    Raises:
        DataError: not such a pair, no common run, repeated runs, weights that are none.
    """
    if metric not in _UNITS:
        raise ConfigError(f"metric={metric!r}.{did_you_mean(metric, _UNITS)}")
    pair = _find_pair(paths)
    if pair is None:
        raise DataError(f"{[p.name for p in paths]} are not olmix's pair: one file *ratios.csv, one *metrics.csv.")
    (ratio_path, ratios), (metric_path, metrics) = ((p, read_frame(p)) for p in pair)
    (ratio_key, ratio_runs), (metric_key, metric_runs) = _keys(ratios, ratio_path, metrics, metric_path)
    measured_runs = set(metric_runs)
    common = [r for r in ratio_runs if r in measured_runs]
    if not common:
        raise DataError(
            f"{ratio_path.name} and {metric_path.name} share no run: {ratio_runs[:3]} ... against {metric_runs[:3]} ..."
        )
    alone = sorted(set(ratio_runs) ^ set(metric_runs))
    if alone:
        warnings.warn(
            f"{len(alone)} runs are in only one of {ratio_path.name} and {metric_path.name} and are left out: "
            f"{alone[:5]}.",
            MixlawWarning,
            stacklevel=2,
        )
    where = f"{ratio_path.name}, {metric_path.name}"
    asked = Asked.of([*ratios.column_names, *metrics.column_names], where, weights, values, ignore)
    label = source or metric_path.name
    runs: dict[str, dict[str, Any]] = {run: {"run": run} for run in common}
    taken: list[Taken] = []
    domains = dict(asked.weights) or {c: weight_domain(c) or c for c in _plain(ratios, asked)}
    if not domains:
        raise DataError(f"{ratio_path.name} has no column of a domain; columns: {ratios.column_names}.")
    taken += _take_rest(ratios, ratio_path.name, ratio_key, ratio_runs, domains, {}, asked, runs)
    matrix = weight_numbers(ratios, domains, ratio_runs, ratio_path.name)
    matrix = matrix[[row for row, run in enumerate(ratio_runs) if run in measured_runs]]
    matrix = check_weights(matrix, list(domains.values()), common, ratio_path.name, repair)
    for run, w in zip(common, matrix):
        runs[run]["schedule"] = Mixture.from_array(list(domains.values()), w)
    default = {"bits_per_byte": "bits_per_byte", "loss": "loss", "accuracy": "accuracy"}[metric]
    chosen = dict(asked.values or {}) or {c: measured(c) or Measure(c, default) for c in _metrics(metrics, asked)}
    if not chosen:
        raise DataError(f"{metric_path.name} has no column of a metric; columns: {metrics.column_names}.")
    refuse_rivals(chosen, metric_path.name)
    taken += _take_rest(metrics, metric_path.name, metric_key, metric_runs, {}, chosen, asked, runs)
    rows = {run: row for row, run in enumerate(metric_runs)}
    step = find(metrics.column_names, "step")
    steps = numbers(metrics, step, metric_path.name) if step and step not in asked.ignore else None
    records = []
    for column, measure in chosen.items():
        numeric = numbers(metrics, column, metric_path.name)
        for run in common:
            value = measure.value(float(numeric[rows[run]]))
            if math.isnan(value):
                continue
            at = None if steps is None else whole(float(steps[rows[run]]), str(step), metric_path.name)
            kept = {"run": run, "target": measure.target, "metric": measure.metric, "unit": measure.unit, "step": at}
            records.append(kept | {"value": value, "censored": "none"})
    mark_endings(list(runs.values()), records, metric_path.name)
    return Observations.from_records(list(runs.values()), records, source=label, columns=taken)


def _plain(ratios: pa.Table, asked: Asked) -> list[str]:
    """Columns of the ratios that are domains: neither ids nor sizes nor left out."""
    return [c for c in ratios.column_names if not _aside(c) and c not in asked.ignore]


def _metrics(metrics: pa.Table, asked: Asked) -> list[str]:
    """Columns of the metrics that are metrics: no ids, sizes, times or settings, and no column of texts or dates."""
    out = []
    for column in metrics.column_names:
        if _aside(column) or column in asked.ignore or _TIME.search(column) or training_loss(column):
            continue
        cells = [v for v in metrics.column(column).to_pylist() if v is not None and v != ""]
        if cells and any(_is_number(v) for v in cells):  # one text among numbers is refused where it is read
            out.append(column)
    return out


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return not isinstance(cell, bool)


def _aside(column: str) -> bool:
    """Whether a column is an id, a size or another fact about the run, by its name."""
    field = field_of(column)
    return column.lower() in _IDS or is_id(column) or column.startswith("_") or field in _FIELDS


def _take_rest(
    table: pa.Table,
    file: str,
    key: str,
    names: Sequence[str],
    weights: Mapping[str, str],
    values: Mapping[str, Measure],
    asked: Asked,
    runs: dict[str, dict[str, Any]],
) -> list[Taken]:
    """What each column is; sizes, seeds and settings are written into the records of ``runs``."""
    taken = []
    for column in table.column_names:
        field = field_of(column)
        if column in asked.ignore:
            taken.append(Taken(file, column, "unused", note="left out as asked"))
        elif column in weights:
            taken.append(Taken(file, column, "weight", weights[column]))
        elif column in values:
            m = values[column]
            taken.append(Taken(file, column, "value", m.target, m.metric, m.unit, m.note))
        elif column == key or column.lower() in _IDS or is_id(column):
            taken.append(
                Taken(file, column, "id", note="" if column == key else "not used: the runs have another name")
            )
        elif field == "step":
            taken.append(Taken(file, column, "size", "step"))
        else:
            is_size = field in ("params", "params_total", "tokens")
            cells = table.column(column).to_pylist()
            for run, cell in zip(names, cells):
                if run not in runs or cell is None or cell == "":
                    continue
                if is_size and field is not None and _is_number(cell):
                    runs[run][field] = float(cell)
                elif field == "seed" and _is_number(cell):
                    runs[run]["seed"] = whole(cell, column, file)
                else:
                    kept = cell if isinstance(cell, int | float | str) else str(cell)
                    runs[run].setdefault("settings", {})[column] = kept
            some = any(cell is not None and cell != "" for cell in cells)
            role = "size" if is_size else "setting" if some else "unused"
            name = str(field) if is_size or field == "seed" else column if some else ""
            taken.append(Taken(file, column, role, name, note="" if some else "empty"))
    return taken


def _keys(
    ratios: pa.Table, ratio_path: Path, metrics: pa.Table, metric_path: Path
) -> tuple[tuple[str, list[str]], tuple[str, list[str]]]:
    """The column that names the runs in each file, and the names: the first usual one that both files have, so that
    they can be joined, else the first of each."""
    both = [i for i in _IDS if all(i in {c.lower() for c in t.column_names} for t in (ratios, metrics))]
    return _runs(ratios, ratio_path, both[:1] or _IDS), _runs(metrics, metric_path, both[:1] or _IDS)


def _runs(table: pa.Table, path: Path, ids: Sequence[str]) -> tuple[str, list[str]]:
    lowered = {c.lower(): c for c in table.column_names}
    column = next((lowered[i] for i in ids if i in lowered), None)
    if column is None:
        raise DataError(f"{path.name} has no column that names its runs (run_id); columns: {table.column_names}.")
    runs = [str(v) for v in table.column(column).to_pylist()]
    twice = sorted(run for run, times in Counter(runs).items() if times > 1)
    if twice:
        raise DataError(f"{path.name} repeats the runs {twice[:5]}; each run needs its own {column!r}.")
    return column, runs

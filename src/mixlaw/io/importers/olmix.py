"""olmix's pair of files (arXiv 2602.12237): ``ratios.csv`` of mixtures and ``metrics.csv`` of bits per byte.

Both name their runs in ``run_id`` (or ``run``); ``name`` and ``index`` columns may follow. All other columns are
domains in the one, metrics in the other.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError, MixlawWarning, did_you_mean
from mixlaw.io.frames import check_weights, numbers, read_frame
from mixlaw.io.names import measured_values

__all__ = ["read", "recognises"]

_IDS = ("run_id", "run", "name", "index", "")
_UNITS = {"bits_per_byte": "bits_per_byte", "loss": "nats_per_token", "accuracy": "fraction"}


def _find_pair(paths: Sequence[Path]) -> tuple[Path, Path] | None:
    """``(ratios, metrics)`` among two files, or in a folder, by their names; None where they are not."""
    files = sorted(paths[0].iterdir()) if len(paths) == 1 and paths[0].is_dir() else list(paths)
    tables = [f for f in files if f.suffix in (".csv", ".parquet")]
    ratios = [f for f in tables if f.stem.lower().endswith("ratios")]
    metrics = [f for f in tables if f.stem.lower().endswith("metrics")]
    return (ratios[0], metrics[0]) if len(ratios) == 1 and len(metrics) == 1 else None


def recognises(paths: Sequence[Path]) -> bool:
    """Two files, or one folder, with one table of ratios and one of metrics by their names."""
    return len(paths) <= 2 and _find_pair(paths) is not None


def read(
    paths: Sequence[Path],
    *,
    metric: Literal["bits_per_byte", "loss", "accuracy"] = "bits_per_byte",
    repair: bool = False,
    source: str | None = None,
) -> Observations:
    """Observations from olmix's two files, or the folder that holds them, joined on the run.

    Runs in only one of the files are left out, and named in a warning. A metric logged under a
    path that says what it is (``eval/downstream/boolq_acc``) is read as that.

    Args:
        metric: what the columns measure where their names do not say.
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
    ratio_runs, metric_runs = _runs(ratios, ratio_path), _runs(metrics, metric_path)
    measured = set(metric_runs)
    common = [r for r in ratio_runs if r in measured]
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
    domains = [c for c in ratios.column_names if c.lower() not in _IDS]
    if not domains:
        raise DataError(f"{ratio_path.name} has no column of a domain; columns: {ratios.column_names}.")
    matrix = np.column_stack([numbers(ratios, c, ratio_path.name) for c in domains])
    matrix = matrix[[row for row, run in enumerate(ratio_runs) if run in measured]]
    matrix = check_weights(matrix, domains, common, ratio_path.name, repair)
    label = source or metric_path.name
    rows = {run: row for row, run in enumerate(metric_runs)}
    columns = [c for c in metrics.column_names if c.lower() not in _IDS]
    if not columns:
        raise DataError(f"{metric_path.name} has no column of a metric; columns: {metrics.column_names}.")
    values = []
    for column in columns:
        said = measured_values([column]).get(column) if "/" in column else None
        target, kind, unit = said or (column, metric, _UNITS[metric])
        numeric = numbers(metrics, column, metric_path.name)
        for run in common:
            value = float(numeric[rows[run]])
            if math.isnan(value):
                continue
            record = {"run": run, "target": target, "metric": kind, "unit": unit, "value": value}
            values.append(record if math.isfinite(value) else record | {"value": math.inf, "censored": "right"})
    runs = [{"run": run, "schedule": Mixture.from_array(domains, w)} for run, w in zip(common, matrix)]
    return Observations.from_records(runs, values, source=label)


def _runs(table: pa.Table, path: Path) -> list[str]:
    lowered = {c.lower(): c for c in table.column_names}
    column = next((lowered[i] for i in _IDS if i in lowered), None)
    if column is None:
        raise DataError(f"{path.name} has no column that names its runs (run_id); columns: {table.column_names}.")
    runs = [str(v) for v in table.column(column).to_pylist()]
    twice = sorted(run for run, times in Counter(runs).items() if times > 1)
    if twice:
        raise DataError(f"{path.name} repeats the runs {twice[:5]}; each run needs its own {column!r}.")
    return runs

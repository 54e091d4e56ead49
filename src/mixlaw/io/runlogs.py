"""Logs of experiment trackers as observations: what the W&B, MLflow and TensorBoard importers share.

A tracker gives each run a configuration (key to value) and metrics (key, step, value). The mixture is in the
configuration (``weight_web``, ``mixture.web``, ``weights/web``, ...) or in a companion table ``mixtures=``; values are
the metrics whose names say a loss, bits per byte or an accuracy (see :mod:`mixlaw.io.names`).
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.errors import DataError, MixlawWarning, did_you_mean
from mixlaw.io.frames import check_weights, numbers, read_frame
from mixlaw.io.names import ALIASES, find, measured_values, weight_columns

__all__ = ["RunLog", "number", "to_observations"]

_CONFIG_FIELDS = ("params", "params_total", "tokens", "seed")
_SEPARATORS = ("/", ".")


@dataclass
class RunLog:
    """One run as a tracker recorded it.

    Args:
        run: id, unique.
        name: the name people gave it, used to find it in a companion table; may repeat.
        config: hyperparameters.
        metrics: ``(key, step, value)``; ``step`` None for a summary, ``value`` may be NaN or infinite.
        status: ``"done"``, ``"partial"`` or ``"diverged"``.
    """

    run: str
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    metrics: list[tuple[str, int | None, float]] = field(default_factory=list)
    status: str = "done"


def number(value: Any) -> float | None:
    """A finite or infinite number, NaN included; None where ``value`` is none (text, booleans, empty)."""
    if value is None or isinstance(value, bool) or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def to_observations(
    logs: Sequence[RunLog],
    *,
    where: str,
    mixtures: str | Path | None = None,
    values: Sequence[str] | None = None,
    repair: bool = False,
    source: str | None = None,
) -> Observations:
    """Observations from runs of a tracker.

    Runs without a mixture are kept and named in a warning. A loss that is NaN or infinite is recorded as censored
    (its true value is above every number measured) and its run as diverged.

    Raises:
        DataError: repeated runs, no measured values, weights that are none, one value measured twice.
    """
    logs = list(logs)
    if not logs:
        raise DataError(f"{where} holds no runs.")
    repeated = sorted(run for run, times in Counter(log.run for log in logs).items() if times > 1)
    if repeated:
        raise DataError(
            f"{where} repeats the runs {repeated[:5]}; each run needs its own id. Export an ID column beside the name, "
            f"or rename them."
        )
    keys = list(dict.fromkeys(key for log in logs for key, _, _ in log.metrics))
    chosen = _chosen(keys, values, where)
    schedules = _mixtures(logs, mixtures, where, repair)
    runs: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    label = source or where
    diverged: dict[str, str] = {}
    for log in logs:
        record: dict[str, Any] = {"run": log.run, "schedule": schedules.get(log.run), "status": log.status}
        for name in _CONFIG_FIELDS:
            value = _config_number(log.config, name)
            if value is not None:
                record[name] = int(value) if name == "seed" else value
        mine = _values(log, chosen, label, where)
        for r in mine:
            if r["censored"] == "right":
                diverged.setdefault(log.run, r["target"])
        if log.run in diverged:
            record["status"] = "diverged"
        trained = [r["tokens"] for r in mine if r["tokens"] is not None]
        if "tokens" not in record and trained:
            record["tokens"] = max(trained)
        runs.append(record)
        records.extend(mine)
    _say(logs, runs, records, schedules, diverged, where)
    return Observations.from_records(runs, records, source=label)


def _chosen(keys: Sequence[str], values: Sequence[str] | None, where: str) -> dict[str, tuple[str, str, str]]:
    known = measured_values(keys)
    if values is None:
        if not known:
            raise DataError(
                f"{where}: no metric is a measured value. Log them as loss/<set>, bpb/<set> or acc/<set>, or name them "
                f"with values=. Metrics: {keys[:20]}."
            )
        return known
    for name in values:
        if name not in keys:
            raise DataError(f"{where}: there is no metric {name!r}.{did_you_mean(name, keys)}")
    alone = {name: measured_values([name]).get(name, (name, "loss", "nats_per_token")) for name in values}
    return {name: known.get(name, alone[name]) for name in values}


def _values(log: RunLog, chosen: Mapping[str, tuple[str, str, str]], source: str, where: str) -> list[dict[str, Any]]:
    """Value records of one run; a later entry for the same key and step replaces the earlier (a resumed run)."""
    last: dict[tuple[str, int | None], float] = {}
    trained: dict[int | None, float] = {}
    for key, step, value in log.metrics:
        if key in chosen:
            last[(key, step)] = value
        elif key.lower() in ALIASES["tokens"] and math.isfinite(value):
            trained[step] = value
    owner: dict[tuple[str, str, int | None], str] = {}
    records = []
    for (key, step), value in last.items():
        target, metric, unit = chosen[key]
        other = owner.setdefault((target, metric, step), key)
        if other != key:
            raise DataError(
                f"{where}: in run {log.run!r} both {other!r} and {key!r} are the {metric} on {target!r}. "
                f"Choose with values=."
            )
        finite = math.isfinite(value)
        records.append(
            {
                "run": log.run,
                "step": step,
                "tokens": trained.get(step),
                "target": target,
                "metric": metric,
                "unit": unit,
                "value": value if finite else math.inf,
                "censored": "none" if finite else "right",
                "source": source,
            }
        )
    return records


def _config_number(config: Mapping[str, Any], field_name: str) -> float | None:
    """A field of the configuration by its usual names, also nested (``model/params``); whole names first."""
    lowered = {k.lower(): k for k in config}
    for nested in (False, True):
        for alias in ALIASES[field_name]:
            if nested and len(alias) == 1:
                continue  # a nested "n" or "d" may be anything
            for low, key in lowered.items():
                tail = low
                for separator in _SEPARATORS:
                    tail = tail.rpartition(separator)[2] if nested else tail
                value = number(config[key]) if tail == alias else None
                if value is not None and math.isfinite(value) and value >= 0:
                    return value
    return None


def _mixtures(logs: Sequence[RunLog], mixtures: str | Path | None, where: str, repair: bool) -> dict[str, Mixture]:
    if mixtures is not None:
        return _companion(logs, Path(mixtures), repair)
    found: dict[str, dict[str, float]] = {}
    for log in logs:
        weights: dict[str, float] = {}
        for key, domain in weight_columns(list(log.config)).items():
            value = number(log.config[key])
            if value is not None:
                weights[domain] = value
        for key, nested in log.config.items():  # a whole mixture under one key
            if isinstance(nested, Mapping) and key.lower() in ("weights", "mixture", "mix", "ratios", "domain_weights"):
                weights |= {str(d): v for d, w in nested.items() if (v := number(w)) is not None}
        if weights:
            found[log.run] = weights
    if not found:
        return {}
    domains = list(dict.fromkeys(d for weights in found.values() for d in weights))
    names = list(found)
    matrix = np.array([[found[n].get(d, 0.0) for d in domains] for n in names])
    matrix = check_weights(matrix, domains, names, where, repair)
    return {n: Mixture.from_array(domains, w) for n, w in zip(names, matrix)}


def _companion(logs: Sequence[RunLog], path: Path, repair: bool) -> dict[str, Mixture]:
    """Mixtures from a table with a column of run names or ids and one column per domain."""
    if not path.exists():
        raise DataError(f"mixtures={str(path)!r}: there is no such file.")
    table = read_frame(path)
    columns = list(table.column_names)
    key = find(columns, "run")
    if key is None:
        raise DataError(f"{path.name} has no column 'run' that names the runs; columns: {columns}.")
    labels = [str(v) for v in table.column(key).to_pylist()]
    twice = sorted(label for label, times in Counter(labels).items() if times > 1)
    if twice:
        raise DataError(f"{path.name} gives the runs {twice[:5]} more than once.")
    named = weight_columns(columns)
    weights = named or {c: c for c in columns if find([c], "run") is None}
    domains = list(weights.values())
    matrix = np.column_stack([numbers(table, c, path.name) for c in weights])
    matrix = check_weights(matrix, domains, labels, path.name, repair)
    by_label = {label: Mixture.from_array(domains, w) for label, w in zip(labels, matrix)}
    result = {}
    for log in logs:
        mixture = by_label.get(log.run) or by_label.get(log.name)
        if mixture is not None:
            result[log.run] = mixture
    if not result:
        raise DataError(
            f"{path.name} names none of the runs: it has {labels[:5]}, the runs are {[log.run for log in logs][:5]}."
        )
    return result


def _say(
    logs: Sequence[RunLog],
    runs: Sequence[Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]],
    schedules: Mapping[str, Mixture],
    diverged: Mapping[str, str],
    where: str,
) -> None:
    """Warnings about what a reader of the runs must know."""
    texts = []
    without = [log.run for log in logs if log.run not in schedules]
    if without:
        which = "no run has" if len(without) == len(logs) else f"the runs {without[:5]} ({len(without)}) have"
        texts.append(
            f"{which} a recorded mixture. Log weights as weight_<domain> in the configuration, or give a table of them "
            f"with mixtures= (columns run, <domain> ...)"
        )
    measured = {r["run"] for r in records}
    empty = [log.run for log in logs if log.run not in measured]
    if empty:
        texts.append(f"the runs {empty[:5]} ({len(empty)}) have no measured value")
    partial = [str(r["run"]) for r in runs if r["status"] == "partial"]
    if partial:
        texts.append(f"the runs {partial[:5]} ({len(partial)}) did not finish; their last values are not final")
    if diverged:
        shown = [f"{run} ({target})" for run, target in list(diverged.items())[:5]]
        texts.append(f"{len(diverged)} runs diverged (a loss that is NaN or infinite): {shown}")
    metrics: dict[str, dict[str, set[str]]] = {}
    for r in records:
        metrics.setdefault(str(r["target"]), {}).setdefault(str(r["metric"]), set()).add(str(r["run"]))
    for target, per_metric in metrics.items():
        if {"loss", "bits_per_byte"} <= set(per_metric) and per_metric["loss"] != per_metric["bits_per_byte"]:
            texts.append(
                f"{target!r} is measured in nats per token in {len(per_metric['loss'])} runs and in bits per byte in "
                f"{len(per_metric['bits_per_byte'])}; a fit uses one of the two, so runs with the other are left out"
            )
    for text in texts:
        warnings.warn(f"{where}: {text}.", MixlawWarning, stacklevel=4)

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
from typing import Any, NamedTuple

import numpy as np

from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.data.taken import Taken
from mixlaw.errors import DataError, MixlawWarning
from mixlaw.io.asked import Asked, Values, Weights
from mixlaw.io.endings import mark_endings
from mixlaw.io.frames import check_weights, read_frame, weight_numbers, whole
from mixlaw.io.names import ALIASES, Measure, find, is_id, measured_values, weight_columns, why_no_value

__all__ = ["Logged", "RunLog", "number", "to_observations", "without_abandoned"]

_CONFIG_FIELDS = ("params", "params_total", "tokens", "seed")
_SEPARATORS = ("/", ".")
_WHOLE = ("weights", "mixture", "mix", "ratios", "domain_weights")  # keys under which a whole mixture may lie


class Logged(NamedTuple):
    """One number of a log.

    Attributes:
        key: name of the metric.
        step: None for a summary.
        value: may be NaN or infinite.
        tokens: trained when it was logged, where the log says so.
        time: when it was written, in any unit that grows; None where the log does not say.
    """

    key: str
    step: int | None
    value: float
    tokens: float | None = None
    time: float | None = None


@dataclass
class RunLog:
    """One run as a tracker recorded it.

    Args:
        run: id, unique.
        name: the name people gave it, used to find it in a companion table; may repeat.
        config: hyperparameters.
        metrics: in the order they were written; a tuple ``(key, step, value)`` is accepted for a :class:`Logged`.
        status: ``"done"``, ``"partial"`` or ``"diverged"``.
    """

    run: str
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    metrics: list[Any] = field(default_factory=list)
    status: str = "done"


def number(value: Any) -> float | None:
    """A finite or infinite number, NaN included; None where ``value`` is none (text, booleans, empty)."""
    if value is None or isinstance(value, bool) or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def without_abandoned(entries: Sequence[Logged]) -> tuple[list[Logged], int | None]:
    """Entries without those that a restart made stale, and the smallest step that was written again.

    A run that restarts from an earlier checkpoint writes smaller steps after larger ones. What it had written from
    that step on belongs to a continuation that was given up: of the same key, and, where times are known, of every key.

    Args:
        entries: of one run, each key's in the order they were written.

    Example:
        >>> kept, again = without_abandoned([Logged("loss", s, v) for s, v in ((100, 3.0), (200, 1.0), (150, 2.5))])
        >>> [(e.step, e.value) for e in kept], again
        ([(100, 3.0), (150, 2.5)], 150)
    """
    last: dict[str, int] = {}
    restarts: list[tuple[int, str, int, float | None]] = []  # position, key, step, time
    for i, e in enumerate(entries):
        if e.step is None:
            continue
        if e.step < last.get(e.key, e.step):
            restarts.append((i, e.key, e.step, e.time))
        last[e.key] = e.step
    if not restarts:
        return list(entries), None

    # several keys go back at one restart, one after another: its time is that of the first, its step the smallest
    events: list[tuple[float, int, set[str]]] = []
    for _, key, step, time in sorted((r for r in restarts if r[3] is not None), key=lambda r: r[3] or 0.0):
        if time is not None and events and key not in events[-1][2]:
            events[-1] = (events[-1][0], min(step, events[-1][1]), events[-1][2] | {key})
        elif time is not None:
            events.append((time, step, {key}))

    def stale(i: int, e: Logged) -> bool:
        if e.step is None:
            return False
        if any(e.key == key and i < position and e.step >= step for position, key, step, _ in restarts):
            return True
        return e.time is not None and any(e.time < time and e.step >= step for time, step, _ in events)

    return [e for i, e in enumerate(entries) if not stale(i, e)], min(step for _, _, step, _ in restarts)


def to_observations(
    logs: Sequence[RunLog],
    *,
    where: str,
    mixtures: str | Path | None = None,
    weights: Weights | None = None,
    values: Values | None = None,
    ignore: Sequence[str] | None = None,
    repair: bool = False,
    source: str | None = None,
    aside: Sequence[Taken] = (),
) -> Observations:
    """Observations from runs of a tracker.

    Runs without a mixture are kept and named in a warning. A loss that is NaN or infinite is recorded as censored
    (its true value is above every number measured) and its run as diverged. What was written before a restart from an
    earlier step is left out from that step on.

    Args:
        weights: ``{domain: key of the configuration}``, or keys, where the usual names do not tell them.
        values: ``{metric: what it holds}`` (see :data:`~mixlaw.io.names.MEASURES`), or metrics.
        ignore: keys and metrics to leave out.
        aside: columns of the file that are neither configuration nor metric, and what they were taken as.

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
    restarted: dict[str, int] = {}
    for log in logs:
        log.metrics, again = without_abandoned([Logged(*entry) for entry in log.metrics])
        if again is not None:
            restarted[log.run] = again
    keys = list(dict.fromkeys(entry.key for log in logs for entry in log.metrics))
    settings = list(dict.fromkeys(key for log in logs for key in log.config))
    asked_weights = Asked.of(settings, where, weights, noun="key of the configuration").weights if weights else {}
    asked = Asked.of([*keys, *settings], where, None, values, ignore, noun="metric")
    chosen = _chosen([k for k in keys if k not in asked.ignore], settings, asked, where)
    used, schedules = _mixtures(logs, mixtures, asked_weights, asked.ignore, where, repair)
    runs: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    label = source or where
    fields: dict[str, str] = {}
    for log in logs:
        record: dict[str, Any] = {"run": log.run, "schedule": schedules.get(log.run), "status": log.status}
        config = {k: v for k, v in log.config.items() if k not in asked.ignore}
        for name in _CONFIG_FIELDS:
            found = _config_number(config, name)
            if found is not None:
                fields[found[0]] = name
                record[name] = whole(found[1], found[0], where) if name == "seed" else found[1]
        facts = {k: _fact(v) for k, v in config.items() if k not in used and k not in fields and _fact(v) is not None}
        record["settings"] = facts or None
        mine = _values(log, chosen, label, where)
        trained = [r["tokens"] for r in mine if r["tokens"] is not None]
        if "tokens" not in record and trained:
            record["tokens"] = max(trained)
        runs.append(record)
        records.extend(mine)
    _say(logs, runs, records, schedules, restarted, where)
    mark_endings(runs, records, where)
    taken = list(dict.fromkeys(aside))
    taken += [_taken_setting(where, key, logs, used, fields, asked) for key in settings]
    taken += [_taken_metric(where, key, chosen, asked) for key in keys]
    return Observations.from_records(runs, records, source=label, columns=taken)


def _fact(value: Any) -> float | str | None:
    """A setting as a number or a text; None for lists, mappings and nothing."""
    as_number = number(value)
    if as_number is not None:
        return as_number
    return str(value) if isinstance(value, str | bool) and value != "" else None


def _taken_setting(
    where: str, key: str, logs: Sequence[RunLog], used: Mapping[str, str], fields: Mapping[str, str], asked: Asked
) -> Taken:
    facts = [log.config[key] for log in logs if log.config.get(key) not in (None, "")]
    if key in asked.ignore:
        return Taken(where, key, "unused", note="left out as asked")
    if key in used:
        return Taken(where, key, "weight", used[key] or "the domains in it")
    if key in fields:
        return Taken(where, key, "setting" if fields[key] == "seed" else "size", fields[key])
    if not facts:
        return Taken(where, key, "unused", note="empty")
    if _fact(facts[0]) is None:
        return Taken(where, key, "unused", note="neither a number nor a text")
    if is_id(key):
        return Taken(where, key, "id", note="not used: the runs have another name")
    different = len(set(map(str, facts)))
    return Taken(where, key, "setting", key, note=f"{different} values" if different > 1 else f"always {facts[0]}")


def _taken_metric(where: str, key: str, chosen: Mapping[str, Measure], asked: Asked) -> Taken:
    if key in chosen:
        m = chosen[key]
        return Taken(where, key, "value", m.target, m.metric, m.unit, m.note)
    if key in asked.ignore:
        return Taken(where, key, "unused", note="left out as asked")
    if key.lower() in ALIASES["tokens"]:
        return Taken(where, key, "size", "tokens")
    if key.lower() in ALIASES["step"]:
        return Taken(where, key, "size", "step")
    return Taken(where, key, "unused", note=why_no_value(key, chosen) or "not named as a measured value")


def _chosen(keys: Sequence[str], settings: Sequence[str], asked: Asked, where: str) -> dict[str, Measure]:
    if asked.values is not None:
        return dict(asked.values)
    known = measured_values(keys)
    if not known:
        raise DataError(
            f"{where}: no metric is a measured value. Log them as loss/<set>, bpb/<set> or acc/<set>, or name them and "
            f"what they hold with values= (--value METRIC=loss), or give the table or chart of them beside this one. "
            f"Metrics: {list(keys)[:20]}; settings: {list(settings)[:20]}."
        )
    return known


def _values(log: RunLog, chosen: Mapping[str, Measure], source: str, where: str) -> list[dict[str, Any]]:
    """Value records of one run; a later entry for the same key and step replaces the earlier (a resumed run)."""
    last: dict[tuple[str, int | None, float | None], float] = {}
    trained: dict[int | None, float] = {}
    for entry in log.metrics:
        if entry.key in chosen:
            last[(entry.key, entry.step, entry.tokens)] = entry.value
        elif entry.key.lower() in ALIASES["tokens"] and math.isfinite(entry.value):
            trained[entry.step] = entry.value
    owner: dict[tuple[Any, ...], str] = {}
    records = []
    for (key, step, tokens), value in last.items():
        measure = chosen[key]
        other = owner.setdefault((measure.target, measure.metric, step, tokens), key)
        if other != key:
            raise DataError(
                f"{where}: in run {log.run!r} both {other!r} and {key!r} are the {measure.metric} on "
                f"{measure.target!r}. Choose with values=, or leave one out with ignore=."
            )
        records.append(
            {
                "run": log.run,
                "step": step,
                "tokens": tokens if tokens is not None else trained.get(step),
                "target": measure.target,
                "metric": measure.metric,
                "unit": measure.unit,
                "value": measure.value(value),
                "censored": "none",
                "source": source,
            }
        )
    return records


def _config_number(config: Mapping[str, Any], field_name: str) -> tuple[str, float] | None:
    """Key and number of a field of the configuration by its usual names, also nested (``model/params``); whole names
    first."""
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
                    return key, value
    return None


def _mixtures(
    logs: Sequence[RunLog],
    mixtures: str | Path | None,
    asked: Mapping[str, str],
    ignore: frozenset[str],
    where: str,
    repair: bool,
) -> tuple[dict[str, str], dict[str, Mixture]]:
    """``({key of the configuration: domain}, {run: mixture})``; an empty domain where a key holds a whole mixture.

    Raises:
        DataError: a key named a weight that holds text in some run and numbers in others.
    """
    if mixtures is not None:
        return {}, _companion(logs, Path(mixtures), repair)
    keys = [k for k in dict.fromkeys(key for log in logs for key in log.config) if k not in ignore]
    named = dict(asked) or {
        key: domain
        for key, domain in weight_columns(keys).items()
        if any(number(log.config.get(key)) is not None for log in logs)
    }
    used: dict[str, str] = {}
    found: dict[str, dict[str, float]] = {}
    for log in logs:
        weights: dict[str, float] = {}
        for key, domain in named.items():
            given = log.config.get(key)
            if given is None or given == "":
                continue
            value = number(given)
            if value is None:
                raise DataError(
                    f"{where}: run {log.run!r} has weight {given!r} of {domain!r} ({key!r}), which is no number. Write "
                    f"0 where a run drew nothing from it, or leave the key out: ignore=[{key!r}] (--ignore {key})."
                )
            weights[domain] = value
            used[key] = domain
        for key, nested in log.config.items():  # a whole mixture under one key
            if not asked and isinstance(nested, Mapping) and key.lower() in _WHOLE and key not in ignore:
                weights |= {str(d): v for d, w in nested.items() if (v := number(w)) is not None}
                used[key] = ""
        if weights:
            found[log.run] = weights
    if not found:
        return {}, {}
    domains = list(dict.fromkeys(d for weights in found.values() for d in weights))
    names = list(found)
    matrix = np.array([[found[n].get(d, 0.0) for d in domains] for n in names])
    matrix = check_weights(matrix, domains, names, where, repair)
    return used, {n: Mixture.from_array(domains, w) for n, w in zip(names, matrix)}


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
    weights = named or {c: c for c in columns if find([c], "run") is None and not is_id(c)}
    domains = list(weights.values())
    matrix = weight_numbers(table, weights, labels, path.name)
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
    restarted: Mapping[str, int],
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
    if restarted:
        shown = ", ".join(f"{run} from step {step}" for run, step in list(restarted.items())[:5])
        texts.append(f"{len(restarted)} runs were restarted ({shown}); what they had written from there on is left out")
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

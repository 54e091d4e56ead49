"""From measured values to ``X, y``: the rows that a law is fitted to, and the run of each."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from mixlaw.data.columns import sizes_of
from mixlaw.data.mixture import Schedule
from mixlaw.errors import DataError, MixlawWarning, did_you_mean

__all__ = ["At", "Features", "Missing", "Table", "rising_columns", "tabulate"]

At = Literal["final", "all"]
Features = Literal["mixture", "scale", "repeated", "joint", "phases"]
Missing = Literal["error", "drop", "keep"]

_Key = tuple[str, int]  # (run, step), a step of -1 where none was recorded


@dataclass(frozen=True)
class Table:
    """What a law is fitted to: ``X, y = table``, and the run of each row.

    Args:
        X: features, one row per measurement.
        y: targets, as many rows.
        runs: id of the run of each row.

    Example:
        >>> from mixlaw import Observations
        >>> runs = [{"run": "a", "schedule": {"web": 1.0}}]
        >>> table = Observations.from_records(runs, [{"run": "a", "target": "t", "value": 3.0}]).table()
        >>> X, y = table
        >>> table.runs, y.column("t").to_pylist()
        (('a',), [3.0])
    """

    X: pa.Table
    y: pa.Table
    runs: tuple[str, ...]

    def __iter__(self) -> Iterator[pa.Table]:
        return iter((self.X, self.y))

    def __getitem__(self, index: int) -> pa.Table:
        return (self.X, self.y)[index]

    def __len__(self) -> int:
        return 2


def tabulate(
    runs: pa.Table,
    values: pa.Table,
    schedules: Mapping[str, Schedule],
    targets: Sequence[str] | None = None,
    *,
    metric: str = "loss",
    at: At = "final",
    features: Features = "mixture",
    missing: Missing = "drop",
) -> Table:
    """The table that :meth:`mixlaw.Observations.table` returns; its arguments are explained there.

    Args:
        runs, values: tables of :class:`mixlaw.Observations`.
        schedules: of each run that has one, all over the same domains; asked where ``features`` holds weights.

    Raises:
        DataError: unknown target, nothing left, or mixed units of one target.

    Example:
        >>> from mixlaw import Observations
        >>> seen = Observations.from_records(
        ...     [{"run": "a", "params": 1e6, "tokens": 2e7}], [{"run": "a", "target": "t", "value": 3.0}]
        ... )
        >>> tabulate(seen.runs, seen.values, {}, features="scale").X.column_names
        ['params', 'tokens']
    """
    measured = _Measured.read(runs, values, targets, metric)
    keys = measured.final() if at == "final" else measured.every()
    keys = _complete(keys, measured, missing)
    if not keys:
        which = "No run that came to its end" if at == "final" else "No run"
        raise DataError(
            f"{which} has all of the targets {measured.targets[:10]} measured as {metric!r}. "
            f"Ask for fewer targets, or use missing='keep'."
        )
    columns: dict[str, list[float]] = {}
    if features in ("mixture", "phases"):
        _warn_mixed_sizes(runs, {run for run, _ in keys})
    if features in ("mixture", "joint", "phases"):
        columns |= _weight_columns(keys, schedules, by_phase=features == "phases")
        if taken := sizes_of(columns):
            raise DataError(
                f"A domain is called {taken[0]!r}, which is the name of a size in every table of runs. Give it another "
                f"name, for a file --weight NAME=COLUMN (weights={{NAME: COLUMN}})."
            )
    if features in ("scale", "repeated", "joint"):
        columns |= _size_columns(keys, measured, runs, features)
    if features == "joint" and at == "all":
        columns["step"] = [float(measured.steps[k]) for k in keys]
    y = _values_table({t: [measured.rows[k].get(t, math.nan) for k in keys] for t in measured.targets}, measured.rising)
    return Table(pa.table(columns), y, tuple(run for run, _ in keys))


_HIGHER = {b"better": b"higher"}


def _values_table(columns: Mapping[str, Sequence[float]], rising: Collection[str]) -> pa.Table:
    """Values by target; those that are better when higher say so in their column's metadata."""
    fields = [pa.field(t, pa.float64(), metadata=_HIGHER if t in rising else None) for t in columns]
    return pa.table(dict(columns), schema=pa.schema(fields))


def rising_columns(table: Any) -> list[str]:
    """Columns that say they are better when higher, of a table of :meth:`Observations.table`; none of anything else.

    Example:
        >>> rising_columns({"exam": [2.5, 2.4]})
        []
    """
    if not isinstance(table, pa.Table):
        return []
    return [f.name for f in table.schema if (f.metadata or {}).get(b"better") == b"higher"]


@dataclass(frozen=True)
class _Measured:
    """Values of one metric by run and step: ``rows[run, step][target]``, NaN where only a bound is known.

    Args:
        targets: those asked for.
        rows: of all runs but the diverged ones.
        trained: tokens trained at each of them, where recorded.
        steps: step of each of them, -1 where none was recorded.
        status: of each run, in the order of the runs table.
    """

    targets: list[str]
    rows: dict[_Key, dict[str, float]]
    trained: dict[_Key, float | None]
    steps: dict[_Key, int]
    status: dict[str, str]
    rising: frozenset[str] = frozenset()
    """Targets that are better when higher."""

    @classmethod
    def read(cls, runs: pa.Table, values: pa.Table, targets: Sequence[str] | None, metric: str) -> _Measured:
        """Raises DataError for a target that was not measured, and for values of one target in several units."""
        records = values.select(["run", "step", "tokens", "target", "metric", "unit", "value", "censored"]).to_pylist()
        has_metric = {r["target"] for r in records if r["metric"] == metric}
        available = [t for t in dict.fromkeys(r["target"] for r in records) if t in has_metric]
        wanted = list(targets) if targets is not None else available
        for name in wanted:
            if name not in available:
                raise DataError(f"No {metric!r} was measured on {name!r}.{did_you_mean(name, available)}")
        status = dict(zip(runs.column("run").to_pylist(), runs.column("status").to_pylist()))
        rows: dict[_Key, dict[str, float]] = {}
        trained: dict[_Key, float | None] = {}
        steps: dict[_Key, int] = {}
        units: dict[str, set[str]] = {}
        for record in records:
            if record["metric"] != metric or record["target"] not in wanted or status[record["run"]] == "diverged":
                continue
            key = (record["run"], _place(record["step"], record["tokens"]))
            value = record["value"] if record["censored"] == "none" else math.nan
            rows.setdefault(key, {})[record["target"]] = value
            trained[key] = record["tokens"]
            steps[key] = -1 if record["step"] is None else record["step"]
            units.setdefault(record["target"], set()).add(record["unit"])
        mixed = {t: sorted(u) for t, u in units.items() if len(u) > 1}
        if mixed:
            raise DataError(f"Values of one target come in several units: {mixed}. Convert them to one first.")
        rising = frozenset(
            t for t, u in units.items() if "higher_is_better" in u or (metric == "accuracy" and "fraction" in u)
        )
        return cls(wanted, rows, trained, steps, status, rising)

    def final(self) -> list[_Key]:
        """The last step of each run that came to its end, in the order of the runs table; warns of the others."""
        unfinished = sorted({run for run, _ in self.rows if self.status[run] == "partial"})
        if unfinished:
            warnings.warn(
                f"{len(unfinished)} runs did not come to their end, for example {unfinished[:3]}: their last step "
                f"is not a final loss, so they are left out. Use at='all' for laws of whole curves.",
                MixlawWarning,
                stacklevel=4,  # whoever called Observations.table
            )
        last: dict[str, int] = {}
        for run, step in self.rows:
            if self.status[run] != "partial":
                last[run] = max(step, last.get(run, step))
        return [(run, last[run]) for run in self.status if run in last]

    def every(self) -> list[_Key]:
        """Every step of every run, in the order of the runs table."""
        order = {run: i for i, run in enumerate(self.status)}
        return sorted(self.rows, key=lambda k: (order[k[0]], k[1]))

    def lacking(self, key: _Key) -> list[str]:
        """Targets without a number in this row."""
        return [t for t in self.targets if math.isnan(self.rows[key].get(t, math.nan))]


def _place(step: int | None, tokens: float | None) -> int:
    """Where on its run's curve a value lies: its step, else the tokens trained, else -1."""
    if step is not None:
        return step
    return -1 if tokens is None or not math.isfinite(tokens) else int(tokens)


def _complete(keys: list[_Key], measured: _Measured, missing: Missing) -> list[_Key]:
    """The rows that are used: without those that lack a target where these are to be dropped."""
    incomplete = [k for k in keys if measured.lacking(k)]
    if incomplete and missing == "error":
        run, step = incomplete[0]
        raise DataError(
            f"{len(incomplete)} rows lack some target; run {run!r} step {step} lacks "
            f"{measured.lacking(incomplete[0])[:5]}."
        )
    if missing != "drop":
        return keys
    gone = set(incomplete)
    return [k for k in keys if k not in gone]


def _weight_columns(keys: list[_Key], schedules: Mapping[str, Schedule], by_phase: bool) -> dict[str, list[float]]:
    """Weight of each domain: the average over a run's phases, or in each of them (columns ``domain@1``, ...)."""
    without = sorted({run for run, _ in keys if run not in schedules})
    if without:
        raise DataError(f"Runs {without[:5]} have no mixture recorded; use features='scale'.")
    domains = next(iter(schedules.values())).domains
    if not by_phase:
        averages = {run: schedules[run].mixture for run in {run for run, _ in keys}}
        return {d: [averages[run][d] for run, _ in keys] for d in domains}
    counts = {schedules[run].num_phases for run, _ in keys}
    if len(counts) > 1:
        raise DataError(f"Runs differ in their number of phases ({sorted(counts)}); select one kind.")
    return {
        f"{d}@{p + 1}": [schedules[run].phases[p].mixture[d] for run, _ in keys]
        for p in range(counts.pop())
        for d in domains
    }


def _size_columns(keys: list[_Key], measured: _Measured, runs: pa.Table, features: Features) -> dict[str, list[float]]:
    """``params`` and ``tokens`` (those trained when the row was measured), and ``unique_tokens`` if they are wanted."""
    info = {r["run"]: r for r in runs.select(["run", "params", "tokens", "epochs"]).to_pylist()}
    columns: dict[str, list[float]] = {}
    for name in ("params", "tokens"):
        numbers = [
            measured.trained[k] if name == "tokens" and measured.trained[k] is not None else info[k[0]][name]
            for k in keys
        ]
        if any(v is None for v in numbers):
            lacking = sorted({k[0] for k, v in zip(keys, numbers) if v is None})
            raise DataError(f"Runs {lacking[:5]} have no {name!r} recorded; it is needed for {features!r}.")
        columns[name] = [float(v) for v in numbers if v is not None]
    if features == "repeated":
        columns["unique_tokens"] = [_unique_tokens(info[run]) for run, _ in keys]
    return columns


def _unique_tokens(run: Mapping[str, Any]) -> float:
    epochs = dict(run["epochs"] or [])
    if len(epochs) != 1 or not run["tokens"]:
        raise DataError(
            f"Run {run['run']!r} does not say how often it repeats one training set (epochs: {epochs or None}); "
            f"features='repeated' needs tokens and unique_tokens of every run."
        )
    return min(float(run["tokens"]), float(round(run["tokens"] / next(iter(epochs.values())))))


def _warn_mixed_sizes(runs: pa.Table, used: set[str]) -> None:
    """Runs of different sizes or lengths do not share one law of the mixture alone."""
    for name in ("params", "tokens"):
        values = [v for r, v in zip(runs.column("run").to_pylist(), runs.column(name).to_pylist()) if r in used]
        known = [v for v in values if v is not None]
        if known and max(known) > 1.01 * min(known):
            warnings.warn(
                f"The runs differ in {name} ({min(known):.4g} to {max(known):.4g}), which a law of the mixture "
                f"alone takes for noise. Select one size, or use features='joint'.",
                MixlawWarning,
                stacklevel=4,  # whoever called Observations.table
            )

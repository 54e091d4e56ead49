"""The narrow waist: what was measured. Everything left of it makes measurements, everything right explains them.

Three Arrow tables. **runs** has one row per training run; **values** one row per number measured in it; **items** one
row per question or example, where single ones were scored. Only measured or imported values can enter: there is no way
to write a predicted number into these tables.

Saved tables hold the number of their format. A reader adds the columns that an older file lacks, as null, and refuses a
newer format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixlaw.data.importing import importer_of
from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.saved_tables import AGAIN, format_of, load_tables, save_tables, warn_unsealed
from mixlaw.data.table import At, Features, Missing, Table, tabulate
from mixlaw.data.taken import COLUMNS_SCHEMA, Taken, taken_table, taken_text
from mixlaw.errors import DataError, did_you_mean
from mixlaw.kit import html
from mixlaw.kit.units import format_count

__all__ = ["FORMAT", "ITEMS_SCHEMA", "RUNS_SCHEMA", "VALUES_SCHEMA", "Observations", "Table"]

FORMAT = 1
"""Number of the format that :meth:`Observations.save` writes. 0.1.0 wrote format 0, without a number."""

_PHASE = pa.struct([("fraction", pa.float64()), ("weights", pa.map_(pa.string(), pa.float64()))])
_ROW = pa.struct([("run", pa.string()), ("step", pa.int64()), ("target", pa.string()), ("metric", pa.string())])

RUNS_SCHEMA = pa.schema(
    [
        ("run", pa.string()),  # id, unique
        ("schedule", pa.list_(_PHASE)),  # null where the mixture is not known (a pure scaling study)
        ("params", pa.float64()),  # non-embedding parameters N
        ("params_total", pa.float64()),
        ("tokens", pa.float64()),  # token budget D of the run
        ("learning_rate", pa.string()),  # schedule as JSON
        ("batch_tokens", pa.float64()),
        ("seed", pa.int64()),
        ("replicate_group", pa.string()),
        ("epochs", pa.map_(pa.string(), pa.float64())),
        ("start", pa.string()),  # run it started from
        ("trainer", pa.string()),
        ("corpus_hash", pa.string()),
        ("status", pa.string()),  # "done" | "diverged" | "partial"
        # since format 1
        ("settings", pa.map_(pa.string(), pa.struct([("number", pa.float64()), ("text", pa.string())]))),
        ("realised", pa.list_(_PHASE)),  # what was really drawn, where the planned schedule was rounded or changed
    ]
)
"""Columns of the runs table; all but ``run`` may be null. ``settings`` holds further facts (width, layers, family,
...), each a number or a text."""

VALUES_SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("step", pa.int64()),
        ("tokens", pa.float64()),  # trained when measured
        ("target", pa.string()),  # validation set or task
        ("target_hash", pa.string()),
        ("metric", pa.string()),  # "loss", "bits_per_byte", "accuracy", ...
        ("unit", pa.string()),  # "nats_per_token", "bits_per_byte", "fraction", ...
        ("value", pa.float64()),
        ("std", pa.float64()),
        ("censored", pa.string()),  # "none" | "left" (true value below) | "right" (above) | "interval" (to value_high)
        ("prompt_format", pa.string()),
        ("shots", pa.int64()),
        ("source", pa.string()),  # "measured", where it was imported from, or "derived:<function>"
        # since format 1
        ("value_high", pa.float64()),  # upper end, where censored is "interval"
        ("num_items", pa.int64()),  # questions or examples that a score is the mean of
        ("derived_from", pa.list_(_ROW)),  # the rows that a derived value was computed from
    ]
)
"""Columns of the values table. ``value`` is finite, or infinite only where ``censored`` says so."""

ITEMS_SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("step", pa.int64()),
        ("target", pa.string()),  # the task that the item belongs to
        ("item", pa.string()),  # id of the question or example within its target
        ("metric", pa.string()),
        ("value", pa.float64()),
    ]
)
"""Columns of the items table: results of single questions or examples. ``value`` is finite."""

_LATER = {
    "runs": ("settings", "realised"),
    "values": ("value_high", "num_items", "derived_from"),
    "items": (),
    "columns": (),
}
"""Columns that files of format 0 lack; they are null there."""

_SCHEMAS = {"runs": RUNS_SCHEMA, "values": VALUES_SCHEMA, "items": ITEMS_SCHEMA, "columns": COLUMNS_SCHEMA}
_MAY_LACK = ("columns", "items")  # tables that are saved only where they hold something
_LARGEST_SIZE = 1e30
_CENSORED = ("none", "left", "right", "interval")
_STATUS = ("done", "diverged", "partial")


@dataclass(frozen=True)
class Observations:
    """Runs and what was measured in them.

    Args:
        runs: table in :data:`RUNS_SCHEMA`.
        values: table in :data:`VALUES_SCHEMA`.
        items: table in :data:`ITEMS_SCHEMA`; empty by default.
        columns: what each column of the files was taken as that they were imported from, a table in
            :data:`~mixlaw.data.taken.COLUMNS_SCHEMA`; empty by default.

    Raises:
        DataError: wrong columns, repeated run ids, values or items of unknown runs, NaN values, intervals without two
            ends, derived values that do not name their rows, sources that say "predicted".

    Example:
        >>> obs = Observations.from_records(
        ...     [{"run": "a", "schedule": {"web": 1.0}}],
        ...     [{"run": "a", "target": "web", "value": 3.2}],
        ... )
        >>> X, y = obs.table()
        >>> y.column("web").to_pylist()
        [3.2]
    """

    runs: pa.Table
    values: pa.Table
    items: pa.Table = field(default_factory=ITEMS_SCHEMA.empty_table)
    columns: pa.Table = field(default_factory=COLUMNS_SCHEMA.empty_table)

    def __post_init__(self) -> None:
        for what, schema in _SCHEMAS.items():
            table = getattr(self, what)
            if table.schema.names != schema.names:
                extra = [n for n in table.schema.names if n not in schema.names]
                missing = [n for n in schema.names if n not in table.schema.names]
                raise DataError(f"The {what} table lacks columns {missing} and has unknown columns {extra}.")
            object.__setattr__(self, what, table.cast(schema))
        ids = self.runs.column("run").to_pylist()
        if len(set(ids)) != len(ids) or None in ids:
            repeated = sorted({str(i) for i in ids if ids.count(i) > 1})[:5]
            raise DataError(f"Run ids must be present and unique; repeated: {repeated}.")
        for what in ("values", "items"):
            unknown = set(getattr(self, what).column("run").to_pylist()) - set(ids)
            if unknown:
                raise DataError(
                    f"{what.capitalize()} name runs that the runs table lacks: {sorted(map(str, unknown))[:5]}."
                )
        status = set(self.runs.column("status").to_pylist()) - set(_STATUS)
        if status:
            raise DataError(f"Run status must be one of {_STATUS}, got {sorted(map(str, status))}.")
        censored = set(self.values.column("censored").to_pylist()) - set(_CENSORED)
        if censored:
            raise DataError(f"'censored' must be one of {_CENSORED}, got {sorted(map(str, censored))}.")
        numbers = self.values.column("value").to_numpy(zero_copy_only=False)
        flags = np.array(self.values.column("censored").to_pylist(), dtype=object)
        bad = np.where(~np.isfinite(numbers) & (flags == "none"))[0] if len(numbers) else np.array([])
        if len(bad):
            rows = self.values.take(bad[:3]).select(["run", "step", "target", "value"]).to_pylist()
            raise DataError(
                f"{len(bad)} values are NaN or infinite, for example {rows}. Leave out what was not measured; "
                f"record a diverged run with status 'diverged' and its values censored='right'."
            )
        sources = {s for s in self.values.column("source").to_pylist() if s and "predict" in s.lower()}
        if sources:
            raise DataError(f"Predicted numbers cannot enter observations; sources {sorted(sources)}.")
        self._check_intervals()
        self._check_derived()
        scores = self.items.column("value")
        if scores.null_count or not pc.all(pc.is_finite(scores), min_count=0).as_py():
            raise DataError("Values of items must be finite numbers. Leave out what was not measured.")

    def _check_intervals(self) -> None:
        """An interval has two ends in order, and nothing else has a second one."""
        is_interval = pc.equal(self.values["censored"], "interval")
        has_end = pc.is_valid(self.values["value_high"])
        ordered = pc.fill_null(pc.less(self.values["value"], self.values["value_high"]), False)
        bad = self.values.filter(pc.or_(pc.xor(is_interval, has_end), pc.and_(is_interval, pc.invert(ordered))))
        if bad.num_rows:
            shown = bad.slice(0, 3).select(["run", "target", "value", "value_high", "censored"]).to_pylist()
            raise DataError(
                f"{bad.num_rows} values have censored='interval' without value < value_high, or a value_high without "
                f"it, for example {shown}."
            )
        counts = self.values["num_items"]
        if counts.null_count < len(counts) and pc.min(counts).as_py() < 1:
            raise DataError(f"num_items must be at least 1 where it is known, got {pc.min(counts).as_py()}.")

    def _check_derived(self) -> None:
        """A derived value names the rows it comes from, and a measured one names none."""
        is_derived = pc.fill_null(pc.starts_with(self.values["source"], "derived:"), False)
        names_rows = pc.fill_null(pc.greater(pc.list_value_length(self.values["derived_from"]), 0), False)
        bad = self.values.filter(pc.xor(is_derived, names_rows))
        if bad.num_rows:
            shown = bad.slice(0, 3).select(["run", "target", "metric", "source"]).to_pylist()
            raise DataError(
                f"A value computed from others has the source 'derived:<function>' and names them in derived_from; "
                f"{bad.num_rows} values have only one of the two, for example {shown}."
            )

    # ---- making ------------------------------------------------------------------------------------
    @classmethod
    def from_records(
        cls,
        runs: Iterable[Mapping[str, Any]],
        values: Iterable[Mapping[str, Any]],
        source: str = "measured",
        items: Iterable[Mapping[str, Any]] = (),
        columns: Sequence[Taken] = (),
    ) -> Observations:
        """From dicts; missing fields take their defaults.

        Args:
            runs: ``schedule`` and ``realised`` may be a :class:`Schedule`, a :class:`Mixture` or ``{domain: weight}``;
                ``settings`` is ``{name: number or text}``.
            values: ``derived_from`` is a list of ``{run, step, target, metric}``.
            source: of every value that does not state its own.
            items: results of single questions or examples.
            columns: what each column of the files was taken as.

        Raises:
            DataError: an unknown field, with the nearest known one, or what the constructor refuses.
        """
        run_rows, value_rows = [], []
        run_names, value_names, item_names = RUNS_SCHEMA.names, VALUES_SCHEMA.names, ITEMS_SCHEMA.names
        for row in runs:
            unknown = [k for k in row if k not in run_names]
            if unknown:
                raise DataError(f"Unknown run field {unknown[0]!r}.{did_you_mean(unknown[0], run_names)}")
            full: dict[str, Any] = {name: row.get(name) for name in run_names}
            full["schedule"] = _schedule_rows(full["schedule"])
            full["realised"] = _schedule_rows(full["realised"])
            full["settings"] = _setting_rows(full["settings"])
            full["status"] = full["status"] or "done"
            if full["epochs"] is not None:
                full["epochs"] = list(dict(full["epochs"]).items())
            run_rows.append(full)
        for row in values:
            unknown = [k for k in row if k not in value_names]
            if unknown:
                raise DataError(f"Unknown value field {unknown[0]!r}.{did_you_mean(unknown[0], value_names)}")
            full = {name: row.get(name) for name in value_names}
            full["metric"] = full["metric"] or "loss"
            full["unit"] = full["unit"] or ("nats_per_token" if full["metric"] == "loss" else full["metric"])
            full["censored"] = full["censored"] or "none"
            full["source"] = full["source"] or source
            value_rows.append(full)
        item_rows = []
        for row in items:
            unknown = [k for k in row if k not in item_names]
            if unknown:
                raise DataError(f"Unknown item field {unknown[0]!r}.{did_you_mean(unknown[0], item_names)}")
            item_rows.append({name: row.get(name) for name in item_names})
        tables = {}
        for what, rows, schema in (
            ("runs", run_rows, RUNS_SCHEMA),
            ("values", value_rows, VALUES_SCHEMA),
            ("items", item_rows, ITEMS_SCHEMA),
        ):
            try:
                tables[what] = pa.Table.from_pylist(rows, schema=schema)
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
                raise DataError(f"The {what} hold what their table cannot: {error}. Correct it.") from None
        return cls(tables["runs"], tables["values"], tables["items"], taken_table(columns))

    @classmethod
    def empty(cls) -> Observations:
        """No runs yet."""
        return cls(RUNS_SCHEMA.empty_table(), VALUES_SCHEMA.empty_table())

    @classmethod
    def read(
        cls, path: str | Path | Sequence[str | Path], *, format: str | None = None, **options: Any
    ) -> Observations:
        """From a study folder, a folder written by :meth:`save`, CSV (wide or long), Parquet, RegMix, olmix,
        W&B, MLflow or TensorBoard exports; see :mod:`mixlaw.io.importers`.

        Args:
            path: one path, or several where a format is a pair of files.
            format: name of the importer; default: the one that recognises the paths.
            options: of the importer, such as ``repair=True`` or ``source="our swarm"``.

        Raises:
            DataError: nothing there, no importer recognises it, or a loss in nats is negative.
            ConfigError: unknown format, or an option its importer does not have.

        Example:
            ``Observations.read("runs.csv", repair=True)``
        """
        paths = [Path(path)] if isinstance(path, str | Path) else [Path(p) for p in path]
        missing = [str(p) for p in paths if not p.exists()]
        if missing:
            raise DataError(f"{', '.join(missing)} cannot be read: no such file or folder.")
        result: Observations = importer_of(paths, format, options)(paths, **options)
        result._check_signs(", ".join(p.name for p in paths))
        return result

    def _check_signs(self, where: str) -> None:
        """Losses in nats per token and bits per byte are minus a logarithm of a probability, so never below zero;
        fractions lie in [0, 1]; and no run has a size below 0 or of thirty digits."""
        sized = self.runs.select(["run", "params", "params_total", "tokens"]).to_pylist()
        for run in (*sized, *self.values.select(["run", "tokens"]).to_pylist()):
            for size in ("params", "params_total", "tokens"):
                if run.get(size) is not None and not 0 <= run[size] <= _LARGEST_SIZE:
                    raise DataError(
                        f"{where}: run {run['run']!r} has {run[size]:g} {size}, which no run can have. Correct it, or "
                        f"leave the column out: ignore= (--ignore)."
                    )
        values = self.values.select(["run", "target", "metric", "unit", "value"]).to_pylist()
        bad = [v for v in values if v["unit"] in ("nats_per_token", "bits_per_byte") and v["value"] < 0]
        if bad:
            first, count = bad[0], "1 value is" if len(bad) == 1 else f"{len(bad)} values are"
            raise DataError(
                f"{where}: run {first['run']!r} has {first['metric']} {first['value']:g} on {first['target']!r} "
                f"({count} below 0); {first['unit'].replace('_', ' ')} are never negative. Correct it or leave it "
                f"empty; where it is another thing (a log-likelihood, a z-score), say so in a column 'unit' of a long "
                f"table."
            )
        many = [v for v in values if v["unit"] == "fraction" and v["value"] > 1]
        if many:
            raise DataError(
                f"{where}: run {many[0]['run']!r} has {many[0]['metric']} {many[0]['value']:g} on "
                f"{many[0]['target']!r} ({len(many)} values above 1); fractions lie in [0, 1]. Where they are percent, "
                f"say so: values={{COLUMN: 'percent'}} (--value COLUMN=percent)."
            )

    @classmethod
    def concat(cls, parts: Sequence[Observations]) -> Observations:
        """All runs of ``parts``.

        Raises:
            DataError: a run is in several of them.
        """
        if not parts:
            return cls.empty()
        return cls(*(pa.concat_tables([getattr(p, what) for p in parts]) for what in _SCHEMAS))

    def save(self, folder: str | Path) -> None:
        """Write ``runs.parquet`` and ``values.parquet``, and ``items.parquet`` and ``columns.parquet`` where there are
        any (each whole or not at all), and after them their checksums."""
        more = [n for n in _MAY_LACK if getattr(self, n).num_rows or (Path(folder) / f"{n}.parquet").exists()]
        save_tables(folder, {name: getattr(self, name) for name in (*more, "values", "runs")}, FORMAT)

    @classmethod
    def load(cls, folder: str | Path) -> Observations:
        """Inverse of :meth:`save`; also of what every earlier version saved.

        Raises:
            DataError: no such tables, tables of a newer format, files that cannot be read, or files that are not as
                they were saved.
        """
        loaded, sealed = cls._load(Path(folder))
        if not sealed:
            warn_unsealed(f"{folder} carries")
        return loaded

    @classmethod
    def load_runs(cls, root: str | Path, runs: Sequence[str]) -> Observations:
        """What runs measured, each saved in ``root/<run>`` under its own id.

        Raises:
            DataError: what :meth:`load` refuses, or a folder that holds another run than its name says.

        Example:
            >>> import tempfile
            >>> root = Path(tempfile.mkdtemp())
            >>> Observations.from_records([{"run": "a"}], []).save(root / "a")
            >>> len(Observations.load_runs(root, ["a"]))
            1
        """
        parts, unsealed = [], []
        for run in runs:
            part, sealed = cls._load(Path(root) / run)
            held = part.runs["run"].to_pylist()
            if held != [run]:
                raise DataError(f"{Path(root) / run} holds what was measured in {held[:5]}, not in that run. {AGAIN}")
            parts.append(part)
            unsealed += [] if sealed else [run]
        if unsealed:
            verb = "carries" if len(unsealed) == 1 else "carry"
            warn_unsealed(f"{len(unsealed)} of {len(runs)} runs in {root}, for example {unsealed[0]}, {verb}")
        return cls.concat(parts)

    @classmethod
    def _load(cls, root: Path) -> tuple[Observations, bool]:
        """Saved observations, and whether they carry checksums."""
        tables, sealed = load_tables(root, ["runs", "values"], list(_MAY_LACK))
        today = {name: _in_todays_columns(table, name, root / f"{name}.parquet") for name, table in tables.items()}
        try:
            return cls(**today), sealed
        except (DataError, pa.ArrowException, TypeError, KeyError) as error:
            raise DataError(f"{root} holds no observations as mixlaw saves them: {error} {AGAIN}") from None

    # ---- reading -----------------------------------------------------------------------------------
    def __len__(self) -> int:
        return int(self.runs.num_rows)

    def _repr_html_(self) -> str:
        """What a notebook shows: how many runs and values there are, and the last value of each target."""
        count = len(self)
        parts = [f"{count} run{'' if count == 1 else 's'}, {self.values.num_rows} values"]
        if self.items.num_rows:
            parts.append(f"{self.items.num_rows} items")
        states = pc.value_counts(self.runs["status"]).to_pylist()
        parts += [f"{c['counts']} {c['values']}" for c in states if c["values"] != "done"]
        shown = self.runs.slice(0, 10).select(["run", "params", "tokens"]).to_pylist()
        targets = list(dict.fromkeys(zip(self.values["target"].to_pylist(), self.values["metric"].to_pylist())))
        last: dict[tuple[str, str, str], tuple[int, str]] = {}
        signs = {"none": "", "left": "< ", "right": "> ", "interval": "from "}
        names = {r["run"] for r in shown}
        for v in self.values.select(["run", "target", "metric", "step", "value", "censored"]).to_pylist():
            key, step = (v["run"], v["target"], v["metric"]), -1 if v["step"] is None else v["step"]
            if v["run"] in names and step >= last.get(key, (-2, ""))[0]:
                last[key] = (step, f"{signs[v['censored']]}{v['value']:#.4g}")
        rows = [
            [
                r["run"],
                *("" if r[size] is None else format_count(r[size]) for size in ("params", "tokens")),
                *(last.get((r["run"], *t), (0, ""))[1] for t in targets[:8]),
            ]
            for r in shown
        ]
        headers = ["run", "params", "tokens", *(t if m == "loss" else f"{t}, {m}" for t, m in targets[:8])]
        beyond = ((count - 10, "run"), (len(targets) - 8, "target"))
        more = [f"{n} more {word}{'' if n == 1 else 's'}" for n, word in beyond if n > 0]
        domains = f"Domains: {', '.join(self.domains)}" if self.domains else "No mixtures recorded"
        table = html.table(headers, rows, "Last measured value of each target") if rows else ""
        return html.lines([", ".join(parts), domains]) + table + html.lines([", ".join(more)] if more else [])

    @property
    def domains(self) -> list[str]:
        """Training domains named by any run, in order of first appearance."""
        seen: dict[str, None] = {}
        for phases in self.runs.column("schedule").to_pylist():
            for phase in phases or []:
                for name, _ in phase["weights"]:
                    seen.setdefault(name)
        return list(seen)

    def settings(self) -> dict[str, dict[str, float | str]]:
        """Further facts of each run, ``{run: {name: number or text}}``; empty where none are known.

        Example:
            >>> Observations.from_records([{"run": "a", "settings": {"width": 64, "family": "llama"}}], []).settings()
            {'a': {'width': 64.0, 'family': 'llama'}}
        """
        return {
            run: {name: v["number"] if v["text"] is None else v["text"] for name, v in facts or []}
            for run, facts in zip(self.runs["run"].to_pylist(), self.runs["settings"].to_pylist())
        }

    @property
    def targets(self) -> list[str]:
        """Validation sets and tasks with values, in order of first appearance."""
        return list(dict.fromkeys(self.values.column("target").to_pylist()))

    def schedules(self, realised: bool = False) -> dict[str, Schedule]:
        """Schedule of each run that has one, over all of :attr:`domains` (weight 0 where a run does not name one).

        Args:
            realised: what was really drawn instead of what was planned; only runs for which it is known.
        """
        domains, result = self.domains, {}
        column = self.runs.column("realised" if realised else "schedule").to_pylist()
        for run, phases in zip(self.runs.column("run").to_pylist(), column):
            if phases:
                result[run] = Schedule.from_dict(
                    {
                        "phases": [
                            {
                                "fraction": p["fraction"],
                                "weights": {d: dict(p["weights"]).get(d, 0.0) for d in domains},
                            }
                            for p in phases
                        ]
                    }
                )
        return result

    def select(self, runs: Iterable[str]) -> Observations:
        """Only these runs, their values and their items."""
        keep = pa.array(list(runs), pa.string())
        tables = (self.runs, self.values, self.items)
        runs, values, items = (table.filter(pc.is_in(table.column("run"), keep)) for table in tables)
        return Observations(runs, values, items, self.columns)

    def columns_text(self) -> str:
        """What each column of the imported files was taken as, in words; empty for runs that were not imported.

        Example:
            >>> import tempfile
            >>> file = Path(tempfile.mkdtemp()) / "runs.csv"
            >>> _ = file.write_text("weight_web,weight_code,lr,loss_web\\n0.5,0.5,0.001,3.1\\n")
            >>> print(Observations.read(file).columns_text())
            Columns of runs.csv:
              weight_web   weight of web
              weight_code  weight of code
              lr           setting (always 0.001)
              loss_web     loss on web, nats per token
        """
        return "\n".join(taken_text(self.columns))

    def table(
        self,
        targets: Sequence[str] | None = None,
        *,
        metric: str = "loss",
        at: At = "final",
        features: Features = "mixture",
        missing: Missing = "drop",
    ) -> Table:
        """``X, y`` for fitting a law, and the run of each row.

        Args:
            targets: validation sets, default all that have ``metric``.
            at: ``"final"`` = the last measured step of each run that came to its end (those with status ``"partial"``
                are left out, with a warning); ``"all"`` = one row per run and step.
            features: ``"mixture"`` = weights (average over phases); ``"scale"`` = ``params``, ``tokens``;
                ``"repeated"`` = ``params``, ``tokens``, ``unique_tokens`` seen (of runs on one training set, from
                their epochs); ``"joint"`` = weights, ``params``, ``tokens`` (and ``step``); ``"phases"`` = weights per
                phase, columns ``domain@1`` ...
            missing: rows where some target was not measured or is censored: ``"drop"`` them, ``"keep"`` them as
                NaN, or raise an ``"error"``. Diverged runs are never used.

        Returns:
            A :class:`Table`: ``X, y = observations.table()`` are two pyarrow tables with equally many rows: of weights
            (shares of the tokens) or sizes, and of values in their unit (losses in nats per token). For these,
            ``observations.table().runs`` holds the run id of each row.

        Raises:
            DataError: unknown target, nothing left, or mixed units of one target.
        """
        schedules = {} if features in ("scale", "repeated") else self.schedules()
        return tabulate(
            self.runs, self.values, schedules, targets, metric=metric, at=at, features=features, missing=missing
        )


def _schedule_rows(value: Any) -> list[dict[str, Any]] | None:
    if value is None:
        return None
    if isinstance(value, Mapping) and "phases" in value:
        value = Schedule.from_dict(value)
    if isinstance(value, Mapping):
        value = Mixture(value)
    if isinstance(value, Mixture):
        value = Schedule.constant(value)
    if not isinstance(value, Schedule):
        raise DataError(f"A run's schedule must be a Schedule, a Mixture or {{domain: weight}}, got {value!r}.")
    return [{"fraction": p.fraction, "weights": list(p.mixture.to_dict().items())} for p in value.phases]


def _setting_rows(value: Any) -> list[tuple[str, dict[str, Any]]] | None:
    if value is None:
        return None
    rows = []
    for name, fact in dict(value).items():
        is_number = isinstance(fact, int | float)  # True and False are 1 and 0
        if not is_number and not isinstance(fact, str):
            raise DataError(f"Settings of a run are numbers or texts, got {name!r}: {fact!r}.")
        rows.append((str(name), {"number": float(fact) if is_number else None, "text": None if is_number else fact}))
    return rows


def _in_todays_columns(table: pa.Table, what: str, path: Path) -> pa.Table:
    """A saved table with the columns that its format lacked, as null."""
    written = format_of(table, str(path))
    if written > FORMAT:
        raise DataError(
            f"{path} is of format {written}, and this version of mixlaw reads up to format {FORMAT}. Install a newer "
            f"mixlaw to read it."
        )
    schema = _SCHEMAS[what]
    for name in _LATER[what]:
        if name not in table.column_names and written == 0:
            table = table.append_column(schema.field(name), pa.nulls(table.num_rows, schema.field(name).type))
    return table

"""What must hold of tables of runs that are read: the right answer, everything said, and nothing left behind."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.sound_runs import Runs
from mixlaw import Observations
from mixlaw.errors import MixlawError
from mixlaw.io.frames import read_frame
from mixlaw.study.fit_files import fit_files

_NO_COLUMNS = ("config", "summary")
_FLATTENED = re.compile(r"(?:config|summary|summary_metrics|params|metrics)[./]")


def sound(observations: Observations) -> None:
    """Weights sum to one, values are numbers or bounds, and what is saved is loaded as it was."""
    for schedule in observations.schedules().values():
        assert abs(math.fsum(schedule.mixture.weights) - 1) < 1e-6
    for row in observations.values.to_pylist():
        assert math.isfinite(row["value"]) or row["censored"] != "none", row
    observations.columns_text()
    with tempfile.TemporaryDirectory() as folder:
        observations.save(Path(folder) / "saved")
        again = Observations.load(Path(folder) / "saved")
    assert repr(again.runs.to_pylist()) == repr(observations.runs.to_pylist())  # where NaN is NaN
    assert repr(again.values.to_pylist()) == repr(observations.values.to_pylist())
    for features in ("mixture", "joint"):
        try:
            X, y = observations.table(at="all" if features == "joint" else "final", features=features)
        except MixlawError:
            continue
        assert X.num_rows == y.num_rows > 0
        weights = np.array([X.column(d).to_pylist() for d in next(iter(observations.schedules().values())).domains])
        assert np.allclose(weights.sum(0), 1, atol=1e-6)


def everything_said(paths: list[Path], observations: Observations) -> None:
    """Every column of the files is in the table of what it was taken as."""
    said = set(observations.columns["column"].to_pylist())
    for path in paths:
        columns = read_frame(path).column_names
        if " - " not in "".join(columns):  # the lines of a chart are said as metrics
            unsaid = [c for c in columns if not {c, _FLATTENED.sub("", c, count=1)} & {*said, *_NO_COLUMNS}]
            assert not unsaid, f"nothing is said of the columns {unsaid}"


def files_read(given: tuple[list[tuple[str, bytes]], str | None, dict[str, Any]]) -> None:
    """Any files: read soundly and said, or refused, and then nothing is written."""
    files, format, options = given
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, (ending, data) in enumerate(files):
            paths.append(Path(folder) / f"{('ratios', 'metrics')[number]}{ending}")
            paths[-1].write_bytes(data)
        observations = Observations.read(paths, format=format, **options)
        everything_said(paths, observations)
        sound(observations)
        options = {name: value for name, value in options.items() if name != "source"}  # of no fit
        try:
            fit_files(paths, Path(folder) / "fit", format=format, dry_run=True, say=lambda text: None, **options)
        finally:
            assert not (Path(folder) / "fit").exists(), "a dry run wrote"


def runs_read(given: tuple[Runs, tuple[str, bytes], int]) -> None:
    """A table that is known: the right answer, and the same one whatever the order of its rows and columns."""
    runs, (ending, data), order = given
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"runs{ending}"
        path.write_bytes(data)
        if not runs.faults:
            observations = Observations.read(path, **runs.options)
            everything_said([path], observations)
            _right(runs, observations)
        if any(" - " in column for column in runs.columns):
            return  # a chart's first column is its axis
        moved = Path(folder) / "moved.csv"
        moved.write_text(_moved(runs, order), encoding="utf-8")
        first, second = (_answer(Path(folder) / name, runs) for name in (path.name, moved.name))
        assert type(first) is type(second), f"{first}\nbut with rows and columns in another order: {second}"
        if isinstance(first, MixlawError):
            raise first
        assert _same(first, second), f"{first}\nbut with rows and columns in another order: {second}"
        observations = Observations.read(path, **runs.options)
        everything_said([path], observations)
        sound(observations)
        fit_files([path], Path(folder) / "fit", dry_run=True, say=lambda text: None, **runs.options)


def _moved(runs: Runs, order: int) -> str:
    """The same table with its rows and columns in another order."""
    rng = np.random.default_rng(order)
    columns = rng.permutation(len(runs.columns)).tolist()
    rows = rng.permutation(len(runs.rows)).tolist()
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([runs.columns[j] for j in columns])
    writer.writerows([[runs.rows[i][j] for j in columns] for i in rows])
    return text.getvalue()


def _answer(path: Path, runs: Runs) -> dict[str, Any] | MixlawError:
    """What is read from a table, in an order of its own; or the refusal."""
    try:
        observations = Observations.read(path, source="runs", **runs.options)
    except MixlawError as error:
        return error
    named = any(row["taken_as"] == "id" and not row["note"] for row in observations.columns.to_pylist())
    mixtures = {run: sorted(s.mixture.to_dict().items()) for run, s in observations.schedules().items()}
    values: dict[str, list[Any]] = {}
    for row in observations.values.to_pylist():
        key = [row[k] for k in ("step", "tokens", "target", "metric", "unit", "value", "censored", "shots")]
        values.setdefault(row["run"], []).append(repr(key))
    of_runs = []
    for row in observations.runs.to_pylist():
        settings = sorted((s if isinstance(s, tuple) else tuple(s.items())) for s in row["settings"] or [])
        of_runs.append(
            {
                "run": row["run"] if named else "",
                "weights": mixtures.get(row["run"], []),
                "facts": repr([row[k] for k in ("params", "tokens", "seed", "status")] + [settings]),
                "values": sorted(values.get(row["run"], [])),
            }
        )
    taken = sorted((c["column"], c["taken_as"], c["name"]) for c in observations.columns.to_pylist())
    return {"runs": sorted(of_runs, key=_in_order), "taken": taken}


def _in_order(run: dict[str, Any]) -> str:
    return json.dumps([run["run"], run["facts"], run["values"], [(d, round(w, 9)) for d, w in run["weights"]]])


def _same(first: Any, second: Any) -> bool:
    """Equal, with weights within the error of one addition."""
    if first["taken"] != second["taken"] or len(first["runs"]) != len(second["runs"]):
        return False
    for a, b in zip(first["runs"], second["runs"]):
        if {k: v for k, v in a.items() if k != "weights"} != {k: v for k, v in b.items() if k != "weights"}:
            return False
        if [d for d, _ in a["weights"]] != [d for d, _ in b["weights"]]:
            return False
        if not np.allclose([w for _, w in a["weights"]], [w for _, w in b["weights"]], rtol=0, atol=1e-12):
            return False
    return True


def _right(runs: Runs, observations: Observations) -> None:
    """The observations are what the table was made from."""
    schedules = observations.schedules()
    assert len(observations) == len(schedules), "runs without a mixture"
    if runs.named:
        assert observations.runs["run"].to_pylist() == list(runs.named)
    measured: dict[str, dict[tuple[str, int | None], float]] = {}
    for row in observations.values.to_pylist():
        measured.setdefault(row["run"], {})[row["target"], row["step"]] = row["value"]
    expected = Counter(
        json.dumps(
            [
                sorted(_rounded(w).items()),
                sorted((t, s or 0, round(v, 9)) for (k, t, s), v in runs.values.items() if k == i),
            ]
        )
        for i, w in enumerate(runs.weights)
    )
    found = Counter(
        json.dumps(
            [
                sorted(_rounded(schedules[run].mixture.to_dict()).items()),
                sorted((t, s or 0, round(v, 9)) for (t, s), v in measured.get(run, {}).items()),
            ]
        )
        for run in schedules
    )
    assert found == expected, f"read: {found}\nwritten: {expected}"


def _rounded(weights: dict[str, float]) -> dict[str, float]:
    return {d: round(w, 9) + 0.0 for d, w in weights.items()}

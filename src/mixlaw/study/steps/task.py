"""Laws of an accuracy that follows from a loss: from pairs in a file, or from what the study's runs measured."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.kit.arrays import Array

if TYPE_CHECKING:
    from mixlaw.optimize import TaskLaw

__all__ = ["task_laws"]


def task_laws(observations: Callable[[], Observations], files: Mapping[str, Path | None]) -> dict[str, TaskLaw]:
    """Task laws by validation set, for ``task`` of :meth:`mixlaw.Study.optimize`.

    Args:
        observations: gives the runs; called only where they are needed.
        files: for each set a CSV with the columns ``loss`` (nats per token) and ``accuracy``, or None where the study's
            runs measured both.

    Raises:
        ConfigError: a set that the runs do not measure both on.
        DataError: no such file, or other columns.
    """
    from mixlaw.optimize import TaskLaw

    return {
        name: TaskLaw.fit(*(_pairs_of_runs(observations(), name) if path is None else _pairs_of_file(path)))
        for name, path in files.items()
    }


def _pairs_of_file(path: Path) -> tuple[Array, Array]:
    if not path.is_file():
        raise DataError(f"task: {path} is not a file. Give a CSV with the columns loss and accuracy.")
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    columns = list(rows[0]) if rows else []
    for name in ("loss", "accuracy"):
        if name not in columns:
            raise DataError(f"task: {path} lacks the column {name!r}; it has {columns}.{did_you_mean(name, columns)}")
    try:
        pairs = np.array([[float(row["loss"]), float(row["accuracy"])] for row in rows])
    except (TypeError, ValueError) as error:
        raise DataError(f"task: {path}: loss and accuracy must be numbers in every row: {error}.") from None
    return pairs[:, 0], pairs[:, 1]


def _pairs_of_runs(observations: Observations, name: str) -> tuple[Array, Array]:
    """Loss and accuracy on ``name`` wherever a run measured both at one step."""
    rows = observations.values.select(["run", "step", "target", "metric", "value", "censored"]).to_pylist()
    seen: dict[tuple[str, int], dict[str, float]] = {}
    for row in rows:
        if row["target"] == name and row["censored"] == "none" and row["metric"] in ("loss", "accuracy"):
            seen.setdefault((row["run"], row["step"]), {})[row["metric"]] = row["value"]
    both = [(v["loss"], v["accuracy"]) for v in seen.values() if len(v) == 2]
    if not both:
        have = sorted({r["target"] for r in rows if r["metric"] == "accuracy"})
        hint = did_you_mean(name, have) if have else " No run measured an accuracy."
        raise ConfigError(
            f"task {name!r}: no run measured both loss and accuracy on it.{hint} Or give pairs: {name}=PAIRS.csv."
        )
    pairs = np.array(both)
    return pairs[:, 0], pairs[:, 1]

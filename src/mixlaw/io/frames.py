"""Reading CSV and Parquet into Arrow, and checking mixture weights: what every table importer needs."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from mixlaw.errors import DataError, MixlawWarning
from mixlaw.kit.parquet import read_schema, read_table

__all__ = ["check_weights", "numbers", "read_columns", "read_frame"]

ROUNDING = 0.005
"""Sums off by up to this come from published tables rounded to three digits (RegMix's: 0.996 to 1.003)."""


def read_frame(path: Path) -> pa.Table:
    """An Arrow table from ``.csv``, ``.tsv`` or ``.parquet``.

    Raises:
        DataError: not readable as such, or another kind of file.
    """
    name = path.name.lower()
    try:
        if name.endswith(".parquet"):
            return read_table(path, str(path))
        if name.endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz")):
            delimiter = "\t" if ".tsv" in name else ","
            return pa.csv.read_csv(path, parse_options=pa.csv.ParseOptions(delimiter=delimiter))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    raise DataError(f"{path} is none of .csv, .tsv, .parquet. Export it as one of these, or name its format.")


def read_columns(path: Path) -> list[str]:
    """Column names of a ``.csv``, ``.tsv`` or ``.parquet``, without its rows; empty for any other file.

    Raises:
        DataError: not readable as such.
    """
    try:
        if path.suffix == ".parquet":
            return read_schema(path)
        if path.suffix in (".csv", ".tsv"):
            with path.open(encoding="utf-8-sig", newline="") as file:
                return next(csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ","), [])
    except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    return []


def numbers(table: pa.Table, column: str, where: str) -> npt.NDArray[np.float64]:
    """A numeric column (n,), NaN where empty.

    Raises:
        DataError: it holds text; shows the first such value and its row.
    """
    values = table.column(column).to_pylist()
    result = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        if value is None or value == "":
            continue
        try:
            result[row] = float(value)
        except (TypeError, ValueError):
            raise DataError(f"{where}, column {column!r}, row {row + 2}: {value!r} is not a number.") from None
    return result


def check_weights(
    weights: npt.NDArray[np.float64], domains: Sequence[str], runs: Sequence[str], where: str, repair: bool
) -> npt.NDArray[np.float64]:
    """Mixture weights (n, K) that sum to one.

    Sums that are off are reported with the runs; with ``repair`` they are rescaled and the report is a warning.

    Raises:
        DataError: negative, above one, missing, or not summing to one without ``repair``.
    """
    bad = ~np.isfinite(weights) | (weights < 0) | (weights > 1 + 1e-6)
    if bad.any():
        row, col = (int(i[0]) for i in np.where(bad))
        raise DataError(
            f"{where}: run {runs[row]!r} has weight {float(weights[row, col])} of {domains[col]!r}; weights are "
            f"shares of tokens in [0, 1]. Divide percentages by 100, counts by their sum."
        )
    total = weights.sum(1)
    off = np.flatnonzero(np.abs(total - 1) > 1e-6)
    if len(off):
        worst = off[np.argmax(np.abs(total[off] - 1))]
        text = (
            f"{where}: the weights of {len(off)} of {len(runs)} runs do not sum to 1 (from {total.min():.4f} to "
            f"{total.max():.4f}; worst: run {runs[worst]!r}, {total[worst]:.4f})"
        )
        if not repair:
            hint = " That looks like rounding." if np.abs(total - 1).max() <= ROUNDING else ""
            raise DataError(
                f"{text}.{hint} Correct them, drop those runs, or ask for rescaling: repair=True (`--repair`; in a "
                f"study.yaml `repair: true`)."
            )
        if total.min() <= 0:
            raise DataError(f"{text}; a run without any weight cannot be rescaled.")
        warnings.warn(f"{text}; rescaled as asked.", MixlawWarning, stacklevel=3)
        weights = weights / total[:, None]
    return weights

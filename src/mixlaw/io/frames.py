"""Reading CSV and Parquet into Arrow, and checking mixture weights: what every table importer needs."""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from mixlaw.errors import DataError, MixlawWarning
from mixlaw.kit.parquet import read_schema, read_table

__all__ = ["check_weights", "is_table", "numbers", "read_columns", "read_frame", "weight_numbers", "whole"]

_TEXT = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_SEPARATORS = (",", ";", "\t", "|")
_LARGEST = 1 << 28  # bytes that a packed text table may unpack to
_MOST = 10**18  # what whole numbers of runs stay below; 64 bits hold them
_HEAD = 1 << 22  # bytes in which a table's first line must end
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|infinity|nan)", re.IGNORECASE | re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:e[+-]?\d+)?", re.IGNORECASE | re.ASCII)

ROUNDING = 0.005
"""Sums off by up to this come from published tables rounded to three digits (RegMix's: 0.996 to 1.003)."""


@dataclass(frozen=True)
class _Layout:
    """How a text table is written: its text without marks, separator, and whether a comma is the decimal sign."""

    text: str
    separator: str
    notes: tuple[str, ...]


def read_frame(path: Path) -> pa.Table:
    """An Arrow table from ``.csv``, ``.tsv`` or ``.parquet``.

    Text tables may be separated by commas, semicolons, tabs or bars, whatever their name ends in; may begin with
    ``sep=;``; may be UTF-8, UTF-16 or Windows-1252; may have decimal commas and blanks around cells. What differs from
    a plain CSV is said in a warning. Rows without any cell are left out.

    Raises:
        DataError: not readable as such, two columns of one name, or another kind of file.
    """
    name = path.name.lower()
    try:
        if name.endswith(".parquet"):
            table = read_table(path, str(path))
            _refuse_repeated(table.column_names, path)
            return table
        if name.endswith(_TEXT):
            return _read_text(path)
    except (pa.ArrowInvalid, pa.ArrowTypeError, csv.Error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    raise DataError(f"{path} is none of .csv, .tsv, .parquet. Export it as one of these, or name its format.")


def _read_text(path: Path) -> pa.Table:
    layout = _layout(path, _bytes(path))
    options = pa.csv.ParseOptions(delimiter=layout.separator, newlines_in_values=True)
    table = pa.csv.read_csv(io.BytesIO(layout.text.encode()), parse_options=options)
    names = [str(c).strip() for c in table.column_names]
    table = table.rename_columns(names)
    table = _without_copies(table, path)
    columns = []
    commas = False
    for column in table.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column, decimal = _clean(column, layout.separator)
            commas |= decimal
        columns.append(column)
    table = pa.table(dict(zip(table.column_names, columns)))
    notes = [*layout.notes, *(["decimal commas"] if commas else [])]
    if notes:
        warnings.warn(f"{path.name} was read with {', '.join(notes)}.", MixlawWarning, stacklevel=4)
    filled = np.zeros(table.num_rows, dtype=bool)
    for column in table.columns:
        there = pc.is_valid(column)
        if pa.types.is_string(column.type):
            there = pc.and_(there, pc.fill_null(pc.not_equal(column, ""), False))
        filled |= there.to_numpy(zero_copy_only=False)
    return table if filled.all() else table.filter(pa.array(filled))


def _bytes(path: Path) -> bytes:
    """The bytes of a text table, unpacked.

    Raises:
        DataError: one that unpacks to more than a table of runs can be.
    """
    if not path.name.lower().endswith(".gz"):
        return path.read_bytes()
    with gzip.open(path) as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise DataError(
            f"{path} unpacks to more than {_LARGEST >> 20} MB, which is no table of runs. Unpack it and look into it."
        )
    return data


def _layout(path: Path, data: bytes) -> _Layout:
    """The text of a table and how it is separated.

    Raises:
        DataError: bytes that are text in no encoding that spreadsheets write.
    """
    notes = []
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
        notes.append("encoding UTF-16")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
            notes.append("encoding Windows-1252 (it is not UTF-8)")
    if "\x00" in text[:4096]:
        raise DataError(f"{path} holds NUL characters: it is no text, or UTF-16 without a mark. Save it as CSV UTF-8.")
    text = text.lstrip("\r\n")
    first, *others = re.split("\r\n|\r|\n", text, maxsplit=1)  # old spreadsheets end lines with \\r alone
    rest = "".join(others)
    usual = "\t" if ".tsv" in path.name.lower() else ","
    stated = re.fullmatch(r"\"?sep=(.)\"?\s*", first.strip("\r"), re.IGNORECASE)
    if stated:
        return _Layout(rest, stated[1], (*notes, f"the separator {stated[1]!r} that its first line states"))
    counts = {mark: len(_first_row(text, mark)) for mark in _SEPARATORS}
    best = max(_SEPARATORS, key=lambda mark: (counts[mark], mark == usual))
    separator = usual if counts[usual] > 1 and counts[best] < 2 * counts[usual] else best
    if separator != usual:
        notes.append(f"the separator {separator!r}")
    return _Layout(text, separator, tuple(notes))


def _first_row(text: str, separator: str) -> list[str]:
    """The cells of a text's first row; a quoted one may hold line ends."""
    return next(csv.reader(io.StringIO(text[:_HEAD], newline=""), delimiter=separator), [])


def _clean(column: pa.ChunkedArray, separator: str) -> tuple[pa.ChunkedArray, bool]:
    """A column of text without blanks around its cells, as numbers where all of them are; whether by decimal commas."""
    texts = [None if v is None else v.strip() for v in column.to_pylist()]
    given = [v for v in texts if v]
    if all(_NUMBER.fullmatch(v) for v in given):
        return pa.chunked_array([pa.array([float(v) if v else None for v in texts], pa.float64())]), False
    if separator != "," and given and all(_DECIMAL_COMMA.fullmatch(v) or _NUMBER.fullmatch(v) for v in given):
        numbers_ = [float(v.replace(",", ".")) if v else None for v in texts]
        return pa.chunked_array([pa.array(numbers_, pa.float64())]), True
    return pa.chunked_array([pa.array(texts, pa.string())]), False


def _without_copies(table: pa.Table, path: Path) -> pa.Table:
    """The table with each name once: a column that repeats another in every cell is left out and said.

    Raises:
        DataError: two columns of one name that differ.
    """
    first: dict[str, int] = {}
    copies = []
    for i, name in enumerate(table.column_names):
        j = first.setdefault(name, i)
        if j == i or (name == "" and not any(v not in (None, "") for v in table.column(i).to_pylist())):
            continue
        if table.column(i).equals(table.column(j)):
            copies.append(name)
            continue
        raise DataError(
            f"{path.name} has two columns {name!r} (columns {j + 1} and {i + 1}) that differ. Rename or remove one."
        )
    if copies:
        warnings.warn(
            f"{path.name} has the columns {copies} twice, with equal cells; each is used once.",
            MixlawWarning,
            stacklevel=5,
        )
    return table.select(list(first.values()))


def _refuse_repeated(names: Sequence[str], path: Path) -> None:
    twice = sorted({n for n in names if list(names).count(n) > 1})
    if twice:
        raise DataError(f"{path.name} has several columns of one name: {twice[:5]}. Rename or remove one.")


def read_columns(path: Path) -> list[str]:
    """Column names of a table (:func:`is_table`), without its rows; empty for any other file.

    Raises:
        DataError: not readable as such.
    """
    try:
        if path.name.lower().endswith(".parquet"):
            return read_schema(path)
        if path.name.lower().endswith(_TEXT):
            with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
                data = file.read(_HEAD)
            layout = _layout(path, data if len(data) < _HEAD else data[: data.rfind(b"\n") + 1])
            return [name.strip() for name in _first_row(layout.text, layout.separator)]
    except (pa.ArrowInvalid, csv.Error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    return []


def is_table(path: Path) -> bool:
    """Whether the name ends as those of tables that :func:`read_frame` reads.

    Example:
        >>> is_table(Path("runs.csv")), is_table(Path("runs.json"))
        (True, False)
    """
    return path.name.lower().endswith((*_TEXT, ".parquet"))


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


def whole(value: float | str | None, what: str, where: str) -> int | None:
    """A step, a seed or another count of a file as a whole number; a fraction is cut off. None where it is empty or
    NaN.

    Args:
        what: the column or key, for messages.

    Raises:
        DataError: no number, an infinity, or more than 64 bits hold.

    Example:
        >>> whole("1e3", "step", "runs.csv")
        1000
        >>> whole(float("inf"), "step", "runs.csv")
        Traceback (most recent call last):
            ...
        mixlaw.errors.DataError: runs.csv: inf in 'step' is not a whole number of at most 18 digits. Correct it, ...
    """
    if value is None or value == "" or value != value:
        return None
    try:
        number = int(value) if isinstance(value, int) else int(float(value))
    except (TypeError, ValueError, OverflowError):
        number = _MOST
    if abs(number) >= _MOST:
        raise DataError(
            f"{where}: {value!r} in {what!r} is not a whole number of at most 18 digits. Correct it, or leave the "
            f"column out: ignore=[{what!r}] (--ignore {what})."
        )
    return number


def weight_numbers(
    table: pa.Table, weights: Mapping[str, str], runs: Sequence[str], where: str
) -> npt.NDArray[np.float64]:
    """Columns of weights (n, K), NaN where empty.

    Args:
        weights: ``{column: domain}``.
        runs: of each row, for messages.

    Raises:
        DataError: a cell that holds text; names the run, the domain and the text.
    """
    matrix = np.full((table.num_rows, len(weights)), np.nan)
    for j, (column, domain) in enumerate(weights.items()):
        for i, cell in enumerate(table.column(column).to_pylist()):
            if cell is None or cell == "":
                continue
            try:
                matrix[i, j] = float(cell)
            except (TypeError, ValueError):
                raise DataError(
                    f"{where}: run {runs[i]!r} has weight {cell!r} of {domain!r} (column {column!r}, row {i + 2}), "
                    f"which is no number. Write 0 where a run drew nothing from it, or leave the column out: "
                    f"ignore=[{column!r}] (--ignore {column})."
                ) from None
    return matrix


def check_weights(
    weights: npt.NDArray[np.float64], domains: Sequence[str], runs: Sequence[str], where: str, repair: bool
) -> npt.NDArray[np.float64]:
    """Mixture weights (n, K) that sum to one.

    Sums that are off are reported with the runs; with ``repair`` they are rescaled (percentages and counts of tokens as
    well) and the report is a warning.

    Raises:
        DataError: negative or missing, or above one or not summing to one without ``repair``.
    """
    bad = ~np.isfinite(weights) | (weights < 0) | ((weights > 1 + 1e-6) & (not repair))
    if bad.any():
        row, col = (int(i[0]) for i in np.where(bad))
        value = float(weights[row, col])
        what = "no weight" if np.isnan(value) else f"weight {value}"
        raise DataError(
            f"{where}: run {runs[row]!r} has {what} of {domains[col]!r}; weights are shares of tokens in [0, 1]. "
            + (
                "Write 0 where a run drew nothing from it."
                if np.isnan(value)
                else "Divide percentages by 100, counts by their sum, or ask for both: repair=True (`--repair`)."
            )
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
            hint = ""
            if np.abs(total - 1).max() <= ROUNDING:
                hint = " That looks like rounding."
            elif 2 * len(off) > len(runs) and total.max() <= 1 + ROUNDING:
                hint = (
                    " Is a domain's column missing, or not named as a weight (DOMAIN=COLUMN in weights=, or "
                    "`--weight`)? Rescaling would not bring it back."
                )
            raise DataError(
                f"{text}.{hint} Correct them, drop those runs, or ask for rescaling: repair=True (`--repair`; in a "
                f"study.yaml `repair: true`)."
            )
        if total.min() <= 0:
            raise DataError(f"{text}; a run without any weight cannot be rescaled.")
        warnings.warn(f"{text}; rescaled as asked.", MixlawWarning, stacklevel=3)
        weights = weights / total[:, None]
    return weights

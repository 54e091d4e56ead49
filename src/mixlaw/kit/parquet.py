"""Parquet files that cannot exhaust the memory: what one would unpack to is compared with its size beforehand.

A few hundred bytes can stand for billions of rows, or for one long text a million times. Real tables do not: they are
well below the limits here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixlaw.errors import DataError

__all__ = ["open_parquet", "read_schema", "read_table", "rows_at_once"]

ROWS_PER_BYTE = 100
"""A file has at most this many rows per byte, beyond :data:`FREE_ROWS`."""
FREE_ROWS = 1_000_000
EXPANSION = 1000
"""A file unpacks to at most this many times its size, beyond :data:`FREE_BYTES`."""
FREE_BYTES = 1 << 28

_FAILURES = (pa.ArrowException, OSError, ValueError, MemoryError)


def open_parquet(source: Any, size: int, where: str) -> pq.ParquetFile:
    """A Parquet file of ``size`` bytes whose own figures are believable.

    Args:
        source: an open binary file, or a path.
        where: the file, for messages.

    Raises:
        DataError: no Parquet file, or one that says that it unpacks to far more than its size.

    Example:
        >>> import io
        >>> buffer = io.BytesIO()
        >>> pq.write_table(pa.table({"loss": [3.0, 2.9]}), buffer)
        >>> open_parquet(buffer, len(buffer.getvalue()), "runs.parquet").metadata.num_rows
        2
    """
    try:
        file = pq.ParquetFile(source)
        facts = file.metadata
        unpacked = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
    except _FAILURES as error:
        raise DataError(f"{where} cannot be read as Parquet: {error}.") from None
    if facts.num_rows > max(FREE_ROWS, ROWS_PER_BYTE * size):
        raise DataError(f"{where} has {size} bytes and says that it holds {facts.num_rows} rows: it is not read.")
    _check_size(unpacked, size, where)
    return file


def rows_at_once(file: pq.ParquetFile, column: str, most: int = 256) -> int:
    """How many rows of a text column may be unpacked at once, so that they surely fit: each may be as long as all that
    its row group holds.

    Example:
        >>> import io
        >>> buffer = io.BytesIO()
        >>> pq.write_table(pa.table({"text": ["a", "b"]}), buffer)
        >>> rows_at_once(pq.ParquetFile(buffer), "text")
        256
    """
    facts, largest = file.metadata, 1
    for i in range(facts.num_row_groups):
        group = facts.row_group(i)
        for j in range(group.num_columns):
            if group.column(j).path_in_schema.split(".")[0] == column:
                largest = max(largest, group.column(j).total_uncompressed_size)
    return max(1, min(most, FREE_BYTES // largest))


def read_table(source: str | Path | bytes, where: str) -> pa.Table:
    """A whole Parquet file as a table, read in bounded memory.

    Args:
        source: a path, or the content of the file.

    Raises:
        DataError: not readable, or it would unpack to far more than its size.

    Example:
        >>> import io
        >>> buffer = io.BytesIO()
        >>> pq.write_table(pa.table({"run": ["a", "b"], "loss": [3.0, 2.9]}), buffer)
        >>> read_table(buffer.getvalue(), "runs.parquet").column("run").to_pylist()
        ['a', 'b']
    """
    size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
    file = open_parquet(_open(source), size, where)
    try:
        texts = [f.name for f in file.schema_arrow if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
        table = pq.ParquetFile(_open(source), read_dictionary=texts).read()
        for index, name in enumerate(table.column_names):
            column, kind = table.column(index), file.schema_arrow.field(index).type
            if pa.types.is_dictionary(column.type):
                _check_size(sum(map(_length, column.chunks)), size, where)
            if column.type != kind:
                table = table.set_column(index, pa.field(name, kind), column.cast(kind))
        table.validate(full=True)  # text that is no UTF-8
        return table.replace_schema_metadata(file.schema_arrow.metadata)
    except _FAILURES as error:
        raise DataError(f"{where} cannot be read as Parquet: {error}.") from None


def read_schema(path: Path) -> list[str]:
    """Names of the columns, without reading rows.

    Raises:
        DataError: no Parquet file.
    """
    try:
        return list(pq.read_schema(path).names)
    except _FAILURES as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}.") from None


def _open(source: str | Path | bytes) -> Any:
    return pa.BufferReader(source) if isinstance(source, bytes) else source


def _length(chunk: pa.DictionaryArray) -> int:
    """Bytes of text that a dictionary's values would have when each row holds its own."""
    if not (pa.types.is_string(chunk.dictionary.type) or pa.types.is_large_string(chunk.dictionary.type)):
        return 0
    lengths = pc.fill_null(pc.binary_length(chunk.dictionary), 0).to_numpy(zero_copy_only=False)
    indices = chunk.indices.drop_null().to_numpy(zero_copy_only=False)
    return int(lengths[indices].sum(dtype="int64"))


def _check_size(unpacked: int, size: int, where: str) -> None:
    if unpacked > max(FREE_BYTES, EXPANSION * size):
        raise DataError(
            f"{where} has {size} bytes and would unpack to {unpacked}, more than {EXPANSION} times as many: it is not "
            f"read."
        )

"""Arrow tables in a folder: one Parquet file each, and beside them their checksums, written last.

A file says the number of its format in its own metadata. ``checksums.json`` holds the SHA-256 of every file, so that a
damaged, torn or edited one is told from what was saved.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixlaw.data import formats
from mixlaw.errors import DataError, MixlawWarning
from mixlaw.kit.parquet import read_table
from mixlaw.kit.store import Store

__all__ = ["AGAIN", "CHECKSUMS", "format_of", "load_tables", "save_tables", "warn_unsealed"]

CHECKSUMS = "checksums.json"
AGAIN = "Restore it from a copy, or delete its folder and make it again (a run: `mixlaw train`)."

_FORMAT_KEY = "mixlaw.format"


def save_tables(folder: str | Path, tables: Mapping[str, pa.Table], number: int) -> None:
    """Write ``<name>.parquet`` of each table, in order and each whole or not at all, and then their checksums.

    Args:
        number: of the tables' format.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> save_tables(folder, {"runs": pa.table({"run": ["a"]})}, 1)
        >>> tables, sealed = load_tables(folder, ["runs"])
        >>> tables["runs"].column("run").to_pylist(), sealed
        (['a'], True)
    """
    store, digests = Store(folder), {}
    for name, table in tables.items():
        buffer = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({_FORMAT_KEY: str(number)}), buffer, compression="zstd")
        store.write_bytes(f"{name}.parquet", buffer.getvalue())
        digests[f"{name}.parquet"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    formats.write(store, CHECKSUMS, "tables", {"sha256": digests})


def load_tables(
    folder: str | Path, needed: Sequence[str], others: Sequence[str] = ()
) -> tuple[dict[str, pa.Table], bool]:
    """The tables of a folder by name, and whether they carry checksums.

    Args:
        needed: names of tables that must be there.
        others: names of tables that may be there.

    Raises:
        DataError: a table is missing, cannot be read, or is not as it was saved.

    Example:
        >>> load_tables("a folder without tables", ["runs"])
        Traceback (most recent call last):
            ...
        mixlaw.errors.DataError: a folder without tables does not hold runs.parquet: these are no saved observations.
    """
    root = Path(folder)
    lacking = [f"{name}.parquet" for name in needed if not (root / f"{name}.parquet").exists()]
    if lacking:
        raise DataError(f"{root} does not hold {' and '.join(lacking)}: these are no saved observations.")
    there = [*needed, *(name for name in others if (root / f"{name}.parquet").exists())]
    digests = _checksums(root) if (root / CHECKSUMS).exists() else None
    if digests is not None and sorted(digests) != sorted(f"{name}.parquet" for name in there):
        raise DataError(f"{root} holds the tables {there}, and {sorted(digests)} were saved there. {AGAIN}")
    read = {
        name: _read(root / f"{name}.parquet", None if digests is None else digests[f"{name}.parquet"]) for name in there
    }
    return read, digests is not None


def format_of(table: pa.Table, where: str) -> int:
    """The number of the format that a table was saved in; 0 where it says none.

    Raises:
        DataError: it says something that is no number.

    Example:
        >>> format_of(pa.table({"run": ["a"]}), "runs.parquet")
        0
    """
    said = (table.schema.metadata or {}).get(_FORMAT_KEY.encode(), b"0")
    if not re.fullmatch(rb"[0-9]{1,9}", said):
        raise DataError(f"{where} says that it is of format {said!r}, which is no number. {AGAIN}")
    return int(said)


def warn_unsealed(what: str) -> None:
    """Say that there are no checksums; ``what`` is the subject of the sentence with its verb.

    Example:
        >>> with warnings.catch_warnings(record=True) as said:
        ...     warn_unsealed("my-runs carries")
        >>> str(said[0].message)
        'my-runs carries no checksums: the first version of mixlaw wrote this, or checksums.json was removed. ...
    """
    warnings.warn(
        f"{what} no checksums: the first version of mixlaw wrote this, or {CHECKSUMS} was removed. Whether anything "
        f"was changed since cannot be told.",
        MixlawWarning,
        stacklevel=4,
    )


def _checksums(root: Path) -> dict[str, Any]:
    held = formats.load(root / CHECKSUMS, "tables").get("sha256")
    if not isinstance(held, Mapping):
        raise DataError(f"{root / CHECKSUMS} holds no checksums of the tables beside it. {AGAIN}")
    return dict(held)


def _read(path: Path, digest: str | None) -> pa.Table:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}. {AGAIN}") from None
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise DataError(f"{path} was changed or damaged after it was saved: it does not give its checksum. {AGAIN}")
    try:
        return read_table(data, str(path))
    except DataError as error:
        raise DataError(f"{error} {AGAIN}") from None

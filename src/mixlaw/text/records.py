"""Files of plain records, such as the questions of a task: one JSON object per line, a JSON list, or a table."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from mixlaw.errors import DataError
from mixlaw.kit.hashing import content_hash
from mixlaw.text.readers import ReadCounts, SourceFile, find_files, numbered_lines

__all__ = ["ENDINGS", "read_records", "records_hash"]

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".json", ".csv")
"""What the name of a file of records ends in."""


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of one file, in its order.

    Args:
        path: ``.jsonl`` (also ``.gz`` and ``.zst``), one JSON object per line; ``.json``, a list of objects; ``.csv``,
            one record a row, all of its values texts. Local, or any fsspec URL.

    Raises:
        DataError: not there, of another ending, damaged, or a line that is no JSON object; names the file and the line.

    Example:
        >>> import fsspec
        >>> with fsspec.open("memory://tasks/sums.jsonl", "w") as f: _ = f.write('{"question": "1+1", "answer": "2"}')
        >>> read_records("memory://tasks/sums.jsonl")
        [{'question': '1+1', 'answer': '2'}]
    """
    name = str(path).lower()
    if not name.endswith(ENDINGS):
        raise DataError(
            f"{str(path)!r} is no file of records by its ending. Give one of {', '.join(ENDINGS)}: a JSON object per "
            f"line, a JSON list of objects, or a table."
        )
    found = find_files([str(path)])
    if len(found) != 1:
        raise DataError(f"{str(path)!r} holds {len(found)} files. Give the path of one file of records.")
    file = found[0]
    if name.endswith(".json"):
        records = _json_list(file)
    elif name.endswith(".csv"):
        records = _table(file)
    else:
        records = [_object(line, f"{path}, line {number}") for number, line in numbered_lines(file, ReadCounts())]
    if not records:
        raise DataError(f"{str(path)!r} holds no record. Put one JSON object on each line.")
    return records


def records_hash(records: list[dict[str, Any]]) -> str:
    """Content hash of records: it does not depend on the file's name, place, form or compression.

    Example:
        >>> records_hash([{"a": 1, "b": 2}]) == records_hash([{"b": 2, "a": 1}])
        True
    """
    return content_hash({"records": records})


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise DataError(f"{where} is not JSON: {error}: {line[:80]!r}. Correct or remove the line.") from None
    if not isinstance(record, dict):
        raise DataError(f'{where} holds {line[:80]!r}; each line must be an object such as {{"question": "..."}}.')
    return record


def _content(file: SourceFile) -> str:
    with file.fs.open(file.path, "rb") as handle:
        content = handle.read()
    try:
        return str(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{file.path} is not UTF-8: {error}. Convert it with iconv.") from None


def _json_list(file: SourceFile) -> list[dict[str, Any]]:
    text = _content(file)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = " One JSON object per line is .jsonl." if text.lstrip()[:1] == "{" else ""
        raise DataError(f"{file.path} is not JSON: {error}.{hint}") from None
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise DataError(f"{file.path} must hold a list of objects, and holds {text[:60]!r}.")
    return data


def _table(file: SourceFile) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(_content(file), newline=""))
    rows: list[dict[str, Any]] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{file.path}, line {reader.line_num} has not the columns of the first line, "
                    f"{', '.join(reader.fieldnames or [])}. Correct the line."
                )
            rows.append(dict(row))
    except csv.Error as error:
        raise DataError(f"{file.path}, line {reader.line_num} is no line of a table: {error}.") from None
    return rows

"""The header of every JSON file that mixlaw writes for itself, and the one check of it.

A file is its content with one key more, ``"format"``: which kind of file it is, the number of its format, the version
that wrote it, and a checksum of the content. The header stands outside whatever the content is hashed for, so it
changes no run's id, no recipe's hash and no ledger's chain. Files of 0.1.0 have no header and are of format 0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mixlaw.errors import DataError

__all__ = ["HEADER", "checksum", "seal", "unseal"]

HEADER = "format"

_FIELDS = frozenset({"kind", "number", "version", "checksum"})


def checksum(content: Any) -> str:
    """SHA-256 of what JSON holds of ``content``: spaces and the order of keys do not matter.

    Example:
        >>> checksum({"a": 1, "b": (2,)}) == checksum({"b": [2], "a": 1})
        True
    """
    return _checksum_of_json(json.loads(json.dumps(content)))  # as it is read back: tuples are lists, keys are texts


def _checksum_of_json(held: Any) -> str:
    """The same of what JSON held already."""
    return hashlib.sha256(json.dumps(held, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def seal(content: Mapping[str, Any], kind: str, number: int) -> dict[str, Any]:
    """``content`` with its header, ready to be written as JSON.

    Raises:
        DataError: the content has a key ``"format"`` of its own.

    Example:
        >>> sorted(seal({"web": 1.0}, "mixture", 1)["format"])
        ['checksum', 'kind', 'number', 'version']
    """
    from mixlaw import __version__

    if HEADER in content:
        raise DataError(f"A {kind} to be written has a key {HEADER!r} of its own; that name is taken by the header.")
    header = {"kind": kind, "number": number, "version": __version__, "checksum": checksum(content)}
    return {HEADER: header, **content}


def unseal(data: Any, kind: str, number: int, where: str, again: str) -> tuple[dict[str, Any], int]:
    """The content without its header, and the number of the format it was written in.

    Args:
        data: what JSON held, as :func:`json.loads` gives it.
        kind: what the file must be.
        number: the newest format that this version reads.
        where: the file, for messages.
        again: a sentence for messages, how such a file is made anew.

    Raises:
        DataError: another kind of file, a newer format, or content that was altered after it was written.

    Example:
        >>> unseal(seal({"web": 1.0}, "mixture", 1), "mixture", 1, "mixture.json", "")
        ({'web': 1.0}, 1)
        >>> unseal({"web": 1.0}, "mixture", 1, "mixture.json", "")
        ({'web': 1.0}, 0)
    """
    if not isinstance(data, Mapping):
        raise DataError(f"{where} is no {kind} written by mixlaw: it holds a {type(data).__name__}. {again}")
    content = {key: value for key, value in data.items() if key != HEADER}
    header = data.get(HEADER)
    if header is None:
        lost = [key for key, value in content.items() if isinstance(value, Mapping) and set(value) >= _FIELDS]
        if lost:  # the first version wrote no header at all
            raise DataError(
                f"{where} was changed after mixlaw wrote it: its header is called {lost[0]!r}, not {HEADER!r}. Restore "
                f"it from a copy. {again}"
            )
        return content, 0
    if not isinstance(header, Mapping) or not set(header) >= _FIELDS:
        raise DataError(f"{where} has a header that mixlaw did not write: {header!r}. Restore it from a copy. {again}")
    if header["kind"] != kind:
        raise DataError(f"{where} is a {header['kind']}, not a {kind}. Give the right file. {again}")
    if not isinstance(header["number"], int) or header["number"] > number:
        raise DataError(
            f"{where} is a {kind} of format {header['number']}, written by mixlaw {header['version']}; this version "
            f"reads up to format {number}. Install a newer mixlaw. {again}"
        )
    if header["checksum"] != _checksum_of_json(content):
        raise DataError(
            f"{where} was changed after mixlaw {header['version']} wrote it: its content does not give its checksum. "
            f"Restore it from a copy. {again}"
        )
    return content, header["number"]

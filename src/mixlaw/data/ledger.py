"""Predictions written down before the run, measurements after: append-only and hash-chained.

Entry ``n`` holds the hash of entry ``n - 1``; the hash of the last entry is the *head*. A report prints the head, so
a ledger edited afterwards no longer leads to the printed head.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from mixlaw.data import formats
from mixlaw.errors import DataError
from mixlaw.kit.artefact import seal
from mixlaw.kit.store import Store

__all__ = ["Entry", "Ledger"]

Kind = Literal["prediction", "measurement"]
GENESIS = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Args:
        number: place in the ledger, from 1.
        kind: ``"prediction"`` or ``"measurement"``.
        time: when it was appended, ISO 8601 in UTC.
        body: what was predicted or measured, as plain data.
        previous: hash of the entry before; 64 zeros for the first.

    Example:
        >>> first = Entry(1, "prediction", "2026-01-01T00:00:00+00:00", {"loss": 2.5}, previous="0" * 64)
        >>> edited = Entry(1, "prediction", "2026-01-01T00:00:00+00:00", {"loss": 2.4}, previous="0" * 64)
        >>> len(first.hash), first.hash == edited.hash
        (64, False)
    """

    number: int
    kind: Kind
    time: str
    body: dict[str, Any]
    previous: str

    @property
    def hash(self) -> str:
        """SHA-256 of the entry as canonical JSON."""
        return hashlib.sha256(_canonical(self.to_dict())).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain data as stored."""
        return {
            "number": self.number,
            "kind": self.kind,
            "time": self.time,
            "body": self.body,
            "previous": self.previous,
        }


def _canonical(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


class Ledger:
    """The ledger of a study, one object per entry under ``ledger/`` of its store.

    Args:
        store: where the entries lie.
        folder: their folder in the store.

    Example:
        >>> import tempfile
        >>> ledger = Ledger(Store(tempfile.mkdtemp()))
        >>> _ = ledger.append("prediction", {"loss": 2.5})
        >>> len(ledger), ledger.verify() == ledger.head
        (1, True)
    """

    def __init__(self, store: Store, folder: str = "ledger") -> None:
        self.store = store
        self.folder = folder

    def append(self, kind: Kind, body: dict[str, Any]) -> Entry:
        """Add an entry; two processes appending at once never share a number.

        Raises:
            DataError: the chain is broken, or ``body`` is not plain data.
        """
        if kind not in ("prediction", "measurement"):
            raise DataError(f"A ledger entry is a 'prediction' or a 'measurement', got {kind!r}.")
        try:
            body = json.loads(_canonical(body))
        except (TypeError, ValueError) as error:
            raise DataError(f"A ledger entry must be plain finite data: {error}.") from None
        for _ in range(100):
            entries = list(self)
            previous = entries[-1].hash if entries else GENESIS
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            entry = Entry(len(entries) + 1, kind, now, body, previous)
            try:
                file = _canonical(seal(entry.to_dict(), "ledger entry", formats.KINDS["ledger entry"].number))
                self.store.create_bytes(f"{self.folder}/{entry.number:06d}.json", file + b"\n")
            except FileExistsError:  # somebody else appended meanwhile: chain onto theirs
                continue
            return entry
        raise DataError(f"Could not append to the ledger in {self.store.url}: the next number was taken 100 times.")

    def __iter__(self) -> Iterator[Entry]:
        """Entries in order, each checked against the one before.

        Raises:
            DataError: a missing, edited or reordered entry, or one of a newer format.
        """
        previous = GENESIS
        for index, name in enumerate(self.store.list(self.folder), start=1):
            where = f"{self.folder}/{name}"
            data = formats.read(self.store, where, "ledger entry")
            if name != f"{index:06d}.json" or data.get("number") != index or data.get("previous") != previous:
                raise DataError(
                    f"The ledger's chain is broken at {where}: an entry was changed, removed or reordered. "
                    f"Restore {self.folder}/ from a copy."
                )
            entry = Entry(**data)
            previous = entry.hash
            yield entry

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def head(self) -> str:
        """Hash of the last entry (64 zeros for an empty ledger)."""
        last = GENESIS
        for entry in self:
            last = entry.hash
        return last

    def verify(self, head: str | None = None) -> str:
        """Check the chain, and that it passes through a ``head`` printed earlier; returns today's head.

        Raises:
            DataError: broken, or ``head`` is not part of the chain.
        """
        hashes = [entry.hash for entry in self]
        if head is not None and head != GENESIS and head not in hashes:
            raise DataError(
                f"The head {head} printed earlier is not in this ledger ({len(hashes)} entries): it was changed "
                f"since that report was made."
            )
        return hashes[-1] if hashes else GENESIS

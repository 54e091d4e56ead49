"""Predictions written down before the run, measurements after: append-only and hash-chained.

Entry ``n`` holds the hash of entry ``n - 1``; the hash of the last entry is the *head*. The head is kept beside the
entries (``ledger-head.json``), so that the last entry cannot be edited or removed unseen either, and it is printed by
reports. Whoever may write in the folder can write a new ledger with a new head; the head that was printed elsewhere is
what tells.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from mixlaw.data import formats
from mixlaw.errors import DataError, MixlawWarning
from mixlaw.kit.artefact import seal
from mixlaw.kit.store import Store

__all__ = ["Entry", "Ledger"]

Kind = Literal["prediction", "measurement"]
GENESIS = "0" * 64

CLOCKS_DIFFER = datetime.timedelta(minutes=10)
"""The clocks of two machines that write into one ledger may differ by this much."""

_KEEPS_HEAD = 2
"""Entries of this format and later ones are written together with the kept head."""


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
        self.head_file = f"{folder}-head.json"

    def append(self, kind: Kind, body: dict[str, Any]) -> Entry:
        """Add an entry, and keep the new head; two processes appending at once never share a number.

        Raises:
            DataError: the chain is broken, ``body`` is not plain data, or the clock here is behind the last entry.
        """
        if kind not in ("prediction", "measurement"):
            raise DataError(f"A ledger entry is a 'prediction' or a 'measurement', got {kind!r}.")
        try:
            body = json.loads(_canonical(body))
        except (TypeError, ValueError) as error:
            raise DataError(f"A ledger entry must be plain finite data: {error}.") from None
        for _ in range(100):
            entries = self._entries()
            previous = entries[-1].hash if entries else GENESIS
            self._begin(len(entries), previous)
            now = datetime.datetime.now(datetime.UTC)
            if entries and _time_of(entries[-1]) > now + CLOCKS_DIFFER:
                raise DataError(
                    f"The ledger's last entry is of {entries[-1].time}, and the clock here says "
                    f"{now.isoformat(timespec='seconds')}. Set this machine's clock, then run the same command again."
                )
            entry = Entry(len(entries) + 1, kind, now.isoformat(timespec="seconds"), body, previous)
            try:
                file = _canonical(seal(entry.to_dict(), "ledger entry", formats.KINDS["ledger entry"].number))
                self.store.create_bytes(f"{self.folder}/{entry.number:06d}.json", file + b"\n")
            except FileExistsError:  # somebody else appended meanwhile: chain onto theirs
                continue
            self._keep(entry)
            return entry
        raise DataError(f"Could not append to the ledger in {self.store.url}: the next number was taken 100 times.")

    def __iter__(self) -> Iterator[Entry]:
        """Entries in order, each checked against the one before, and the chain against the head that is kept.

        Files in the folder that are no entries are left alone, with a warning.

        Raises:
            DataError: a missing, edited or reordered entry, the last one included; one of a newer format; or one that
                is dated before its predecessor.
        """
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    @property
    def head(self) -> str:
        """Hash of the last entry (64 zeros for an empty ledger)."""
        entries = self._entries()
        return entries[-1].hash if entries else GENESIS

    def verify(self, head: str | None = None) -> str:
        """Check the chain, the kept head, that no entry is dated in the future, and that the chain passes through a
        ``head`` printed earlier; returns today's head.

        Args:
            head: the head, or its first digits (8 at least), as ``mixlaw status`` and the report print it. Where it is
                the last entry's and no head is kept, it is kept from now on.

        Raises:
            DataError: broken, or ``head`` is not part of the chain.
        """
        wanted = None if head is None else head.strip().lower()
        if wanted is not None and not re.fullmatch("[0-9a-f]{8,64}", wanted):
            raise DataError(
                f"{head!r} is no head of a ledger: it is 64 hexadecimal digits, of which at least 8 are needed. "
                f"`mixlaw status` and the report print it."
            )
        kept = self._kept()
        chain = self._chain()
        hashes = [entry.hash for entry, _ in chain]
        if wanted is not None and not any(h.startswith(wanted) for h in (GENESIS, *hashes)):
            raise DataError(
                f"The head {head} printed earlier is not in this ledger ({len(hashes)} entries): it was changed "
                f"since that report was made. Restore {self.folder}/ and {self.head_file} from a copy."
            )
        if wanted is not None and hashes and hashes[-1].startswith(wanted) and kept is None:
            self._keep(chain[-1][0])
            kept = self._kept()
        self._check_kept(chain, kept)
        now = datetime.datetime.now(datetime.UTC)
        for entry, _ in chain:
            if _time_of(entry) > now + CLOCKS_DIFFER:
                raise DataError(
                    f"{self.folder}/{entry.number:06d}.json is dated {entry.time}, which is in the future: the clock "
                    f"here says {now.isoformat(timespec='seconds')}. Where the clock is right, the entry is not "
                    f"genuine: restore {self.folder}/ from a copy."
                )
        return hashes[-1] if hashes else GENESIS

    # ---- the chain ---------------------------------------------------------------------------------------
    def _entries(self) -> list[Entry]:
        kept = self._kept()  # before the chain, which others may lengthen meanwhile
        chain = self._chain()
        self._check_kept(chain, kept)
        return [entry for entry, _ in chain]

    def _chain(self) -> list[tuple[Entry, int]]:
        """Every entry with the number of its format, each checked against the one before."""
        names = self.store.list(self.folder)
        strangers = [name for name in names if not re.fullmatch(r"[0-9]{6,}\.json", name)]
        if strangers:
            warnings.warn(
                f"{self.store.path(self.folder)} holds files that are no entries of the ledger and are not read: "
                f"{', '.join(strangers[:5])}. Move them elsewhere.",
                MixlawWarning,
                stacklevel=4,
            )
        chain: list[tuple[Entry, int]] = []
        for index, name in enumerate((n for n in names if n not in strangers), start=1):
            where = f"{self.folder}/{name}"
            data, number = formats.numbered(self.store, where, "ledger entry")
            previous = chain[-1][0].hash if chain else GENESIS
            if name != f"{index:06d}.json" or data.get("number") != index or data.get("previous") != previous:
                raise DataError(
                    f"The ledger's chain is broken at {where}: an entry was changed, removed or reordered. "
                    f"Restore {self.folder}/ from a copy."
                )
            entry = self._entry(data, where)
            if chain and _time_of(entry) < _time_of(chain[-1][0]) - CLOCKS_DIFFER:
                raise DataError(
                    f"{where} is dated {entry.time}, before the entry it follows ({chain[-1][0].time}), which cannot "
                    f"be. Restore {self.folder}/ from a copy."
                )
            chain.append((entry, number))
        return chain

    def _entry(self, data: dict[str, Any], where: str) -> Entry:
        if set(data) != {"number", "kind", "time", "body", "previous"} or not isinstance(data["body"], dict):
            raise DataError(f"{where} is no entry of a ledger. Restore {self.folder}/ from a copy.")
        if data["kind"] not in ("prediction", "measurement"):
            raise DataError(f"{where} is of the kind {data['kind']!r}. Restore {self.folder}/ from a copy.")
        entry = Entry(**data)
        try:
            aware = _time_of(entry).tzinfo is not None
        except (TypeError, ValueError):
            aware = False
        if not aware:
            raise DataError(
                f"{where} is dated {entry.time!r}, which is no time with its zone. Restore {self.folder}/ from a copy."
            )
        return entry

    # ---- the head that is kept beside the entries -----------------------------------------------------------
    def _begin(self, number: int, head: str) -> None:
        """Keep a head from the first entry on, so that its absence tells."""
        if not self.store.exists(self.head_file):
            sealed = seal({"number": number, "head": head}, "ledger head", formats.KINDS["ledger head"].number)
            with contextlib.suppress(FileExistsError):  # somebody else begins at this moment
                self.store.create_bytes(self.head_file, _canonical(sealed) + b"\n")

    def _keep(self, entry: Entry) -> None:
        kept = self._kept()
        if kept is None or kept[0] < entry.number:  # else somebody else appended meanwhile, and kept a later one
            formats.write(self.store, self.head_file, "ledger head", {"number": entry.number, "head": entry.hash})

    def _kept(self) -> tuple[int, str] | None:
        """Number and hash of the entry that is kept as the head; None where none is kept."""
        if not self.store.exists(self.head_file):
            return None
        kept = formats.read(self.store, self.head_file, "ledger head")
        number, head = kept.get("number"), kept.get("head")
        if not isinstance(number, int) or number < 0 or not isinstance(head, str):
            raise DataError(
                f"{self.store.path(self.head_file)} is no head of a ledger: {kept}. Restore it from a copy."
            )
        return number, head

    def _check_kept(self, chain: list[tuple[Entry, int]], kept: tuple[int, str] | None) -> None:
        """The chain must pass through the kept head; what a killed process appended after it may follow."""
        if kept is None:
            if any(number >= _KEEPS_HEAD for _, number in chain):
                raise DataError(
                    f"{self.store.path(self.head_file)} is missing, without which nobody can tell whether the last "
                    f"entries of the ledger are still there. Restore it from a copy; or compare with a head that was "
                    f"printed earlier, which keeps it again: `mixlaw ledger verify FOLDER HEAD`."
                )
            return
        number, head = kept
        if len(chain) < number:
            raise DataError(
                f"The ledger has {len(chain)} entries, and {self.head_file} says there were {number}: the last ones "
                f"were removed. Restore {self.folder}/ from a copy."
            )
        if (chain[number - 1][0].hash if number else GENESIS) != head:
            raise DataError(
                f"{self.folder}/{number:06d}.json is not the entry whose hash {self.head_file} keeps: it was changed "
                f"after it was written. Restore {self.folder}/ from a copy."
            )


def _time_of(entry: Entry) -> datetime.datetime:
    return datetime.datetime.fromisoformat(entry.time)

"""A task that is not training: count the words of files that another program may still be writing.

A file is whole when its last line is ``END``. The task reads what is there, publishes its counts after every block of
lines, and waits for more; so a test catches it in its middle by writing half a file, and no time decides anything.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mixlaw.errors import DataError, RunStopped
from mixlaw.kit.store import Store

from processes import wait_until


def file_key(path: str) -> str:
    return Path(path).stem


@dataclass(frozen=True)
class CountWords:
    """An item is the path of a text file. ``a.txt`` waits for ``b.txt`` where ``after`` says ``{"a": ("b",)}``."""

    after: dict[str, tuple[str, ...]] | None = None
    block: int = 10

    noun = "file"

    def waits_for(self, item: str) -> Sequence[str]:
        return (self.after or {}).get(file_key(item), ())

    def is_done(self, item: str, folder: Path) -> bool:
        return (folder / "words.json").exists()

    def run(self, item: str, folder: Path, progress, should_stop) -> None:
        print(f"pid {os.getpid()} counts {item}", flush=True)
        store = Store(folder)
        state = store.read_json("state.json") if store.exists("state.json") else {"lines": 0, "byte": 0, "words": {}}
        words, began = Counter(state["words"]), state["lines"]

        def publish() -> None:
            store.write_json("state.json", {"lines": lines, "byte": text.tell(), "words": dict(words)})

        with open(item, "rb") as text:
            text.seek(state["byte"])
            lines = began
            while True:
                here = text.tell()
                line = text.readline()
                if not line.endswith(b"\n"):
                    text.seek(here)
                    publish()
                    if should_stop():
                        raise RunStopped(f"stopped at line {lines} of {item}", item)
                    wait_until(lambda at=here: should_stop() or os.path.getsize(item) > at, f"{item} goes on")
                    continue
                if line == b"END\n":
                    break
                try:
                    words.update(line.decode().split())
                except UnicodeDecodeError as error:
                    raise DataError(f"{item}, line {lines + 1} is not UTF-8: {error}. Convert the file.") from error
                lines += 1
                if lines % self.block == 0:
                    publish()
                    progress(lines, lines)
        store.write_json("words.json", {"words": dict(words), "lines": lines, "began": began, "worker": os.getpid()})

    def read(self, item: str, folder: Path) -> dict:
        return Store(folder).read_json("words.json")


class CannotArrive(CountWords):
    """Its workers fail to unpickle it, as where a module is installed on one machine only."""

    def __reduce__(self):
        return (_missing, ())


def _missing():
    raise ImportError("a module that only the caller's machine has")

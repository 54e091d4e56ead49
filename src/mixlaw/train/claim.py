"""Which process trains a run: only it may publish in the run's folder.

A worker that was stopped, or cut off from a driver that died, may wake long after another process took the run over and
finished it. So a trainer writes its name into the folder when it begins (``owner.json``), and looks, each time it
publishes something, whether its name still stands there and the run is not done.
"""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixlaw.errors import DataError, RunError
from mixlaw.kit.lock import briefly
from mixlaw.kit.store import Store

__all__ = ["OWNER", "Claim"]

OWNER = "owner.json"


class Claim:
    """This process' hold on a run, from the making of the claim until another process makes one.

    Args:
        folder: the run's folder, ``runs/<run-id>``.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> first, second = Claim(folder), Claim(folder)
        >>> with second.publishing():
        ...     pass
        >>> with first.publishing():  # doctest: +ELLIPSIS
        ...     pass
        Traceback (most recent call last):
        mixlaw.errors.RunError: ... is trained by another process now ...
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.name = uuid.uuid4().hex
        with briefly(self.folder):
            owner = {"owner": self.name, "process": os.getpid(), "machine": platform.node()}
            Store(self.folder).write_json(OWNER, owner)

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """While the block publishes something in the folder, nobody else can take the run over.

        Raises:
            RunError: another process trains the run now, or has finished it.
        """
        with briefly(self.folder):
            if (self.folder / "DONE").exists():
                raise RunError(f"The run in {self.folder} was finished by another process; what it wrote there stays.")
            owner = self._owner()
            if owner.get("owner") != self.name:
                who = (
                    f"process {owner['process']} on {owner['machine']}" if owner.get("machine") else "which is unknown"
                )
                raise RunError(
                    f"The run in {self.folder} is trained by another process now ({who}); what this one has is not "
                    f"published."
                )
            yield

    def release(self) -> None:
        """Take the name away; the run is done."""
        (self.folder / OWNER).unlink(missing_ok=True)

    def _owner(self) -> dict[str, Any]:
        try:
            owner = Store(self.folder).read_json(OWNER)
        except DataError:  # removed or damaged: then it is not ours for sure
            return {}
        return owner if isinstance(owner, dict) and {"process", "machine"} <= set(owner) else {}

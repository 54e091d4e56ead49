"""Files that are never half-written: write beside, fsync, rename; object stores publish with one put.

A path may be local or any fsspec URL. What a killed process leaves behind (``*.tmp-...``) is never read, and
:func:`sweep` removes it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
import uuid
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mixlaw.errors import DataError

__all__ = ["Store", "folder_name", "sweep", "temporary_beside"]


def folder_name(name: str) -> str:
    """The folder for what has a name of a user's, such as a domain: the name itself, with ``/`` written as in a URL.

    Example:
        >>> folder_name("web"), folder_name("HuggingFaceFW/fineweb")
        ('web', 'HuggingFaceFW%2Ffineweb')
    """
    if name in {".", ".."}:
        return name.replace(".", "%2E")
    return quote(name, safe=" ") if "/" in name else name


_DAY = 86_400.0
_TEMPORARY = re.compile(r"\.tmp-(?:(?P<machine>[0-9a-f]{8})-(?P<process>[0-9]+)-)?[0-9a-z]+$")


def temporary_beside(target: str | os.PathLike[str]) -> str:
    """A name beside ``target`` for a file that is not finished; it says which process of which machine writes it.

    Example:
        >>> temporary_beside("runs/a.json").startswith("runs/a.json.tmp-")
        True
    """
    return f"{os.fspath(target)}.tmp-{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def sweep(folder: str | os.PathLike[str]) -> list[str]:
    """Remove unfinished files under a local folder whose writer is gone; returns their names.

    A writer of this machine is gone when its process is; of others nothing is known but that no file takes a day to
    write without a change.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with open(temporary_beside(f"{folder}/a.json"), "w") as file:
        ...     _ = file.write("half")
        >>> sweep(folder)  # this process lives
        []
    """
    removed = []
    for root, _, names in os.walk(folder):
        for name in names:
            found = _TEMPORARY.search(name)
            if found is None:
                continue
            path = os.path.join(root, name)
            try:
                if _is_abandoned(path, found["machine"], found["process"]):
                    os.unlink(path)
                    removed.append(path)
            except FileNotFoundError:  # finished meanwhile
                continue
    return removed


def _is_abandoned(path: str, machine: str | None, process: str | None) -> bool:
    if machine == _machine() and process is not None:
        try:
            os.kill(int(process), 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:  # somebody else's process
            return False
    return time.time() - os.stat(path).st_mtime > _DAY


def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


class Store:
    """A folder on any fsspec path.

    Example:
        >>> import tempfile
        >>> store = Store(tempfile.mkdtemp())
        >>> store.write_json("a/b.json", {"x": 1})
        >>> store.read_json("a/b.json")
        {'x': 1}
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        # imported here because a recipe or corpus that never touches a file needs none of it, and it takes a while
        import fsspec
        from fsspec.implementations.local import LocalFileSystem

        self.fs, path = fsspec.core.url_to_fs(os.fspath(root))
        self.root = str(path).rstrip("/")
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self.url = os.fspath(root)

    def path(self, *parts: str) -> str:
        """Absolute path (inside the filesystem) of a name in the store."""
        return "/".join([self.root, *parts])

    def local_path(self, *parts: str) -> Path:
        """The same as a :class:`Path`; only local stores have one."""
        if not self.is_local:
            raise DataError(f"{self.url} is not a local folder; this step needs one.")
        return Path(self.path(*parts))

    def exists(self, *parts: str) -> bool:
        """Whether the name is there, complete."""
        return bool(self.fs.exists(self.path(*parts)))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Publish ``data`` under ``name``: readers see the old content or the new, never a part."""
        target = self.path(name)
        if not self.is_local:
            with self.fs.open(target, "wb") as handle:  # object stores publish on close, whole
                handle.write(data)
            return
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = temporary_beside(target)
        try:
            with open(temporary, "wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, target)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
        _fsync_folder(os.path.dirname(target))

    def create_bytes(self, name: str, data: bytes) -> None:
        """Like :meth:`write_bytes`, but ``name`` must not exist yet (append-only logs).

        Raises:
            FileExistsError: it exists.
        """
        if not self.is_local:
            if self.exists(name):
                raise FileExistsError(name)
            self.write_bytes(name, data)
            return
        target = self.path(name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = temporary_beside(target)
        try:
            with open(temporary, "wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            os.link(temporary, target)  # atomic, fails if the target exists
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
        _fsync_folder(os.path.dirname(target))

    def read_bytes(self, name: str) -> bytes:
        """Content of ``name``.

        Raises:
            DataError: it is not there.
        """
        try:
            return bytes(self.fs.cat_file(self.path(name)))
        except FileNotFoundError:
            raise DataError(f"{name!r} is not in {self.url}.") from None
        except IsADirectoryError:
            raise DataError(f"{self.path(name)} is a folder, not a file. Move it elsewhere.") from None

    def write_json(self, name: str, data: Any) -> None:
        """Publish plain data as indented JSON."""
        self.write_bytes(name, (json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())

    def read_json(self, name: str) -> Any:
        """Plain data from JSON.

        Raises:
            DataError: not there, or not JSON.
        """
        try:
            return json.loads(self.read_bytes(name))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.path(name)} is not valid JSON: {error}.") from None

    def list(self, *parts: str) -> list[str]:
        """Names directly under a folder of the store, sorted; unfinished files are not listed."""
        folder = self.path(*parts)
        if not self.fs.exists(folder):
            return []
        self.fs.invalidate_cache(folder)
        names = [str(p).rstrip("/").rsplit("/", 1)[-1] for p in self.fs.ls(folder, detail=False)]
        return sorted(n for n in names if ".tmp-" not in n)


def _fsync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""One process at a time works on a study.

The lock is the operating system's (``flock``) on the study's folder and on ``.lock`` in it, so it ends with the
process that holds it, however that ends: a killed study is continued at once. Removing the file lets nobody in, since
the folder is locked too. What the file says (process, machine, verb) only tells a second process whom it waits for.
Processes that train runs for the holder need no lock of their own: they write in ``runs/`` alone and do not inherit
it. Where a file system knows no ``flock``, the process named in the file counts, as long as it lives on this machine.
"""

from __future__ import annotations

import datetime
import errno
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from mixlaw.errors import DataError
from mixlaw.kit.store import sweep

__all__ = ["LOCK", "briefly", "exclusive", "hold"]

LOCK = ".lock"
"""Name of the lock file in a study's folder. It stays there, empty, when nobody works."""

_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF}

_held: dict[tuple[int, str], tuple[list[int], list[int]]] = {}
"""``{(process, path): ([how many times entered], descriptors)}``."""
_guard = threading.Lock()


@contextmanager
def hold(folder: str | Path, verb: str) -> Iterator[None]:
    """Hold the study in ``folder`` while the block runs; verbs of one process may hold it inside each other.

    Raises:
        DataError: another process holds it; names the process and the file.

    Example:
        >>> import tempfile
        >>> with hold(tempfile.mkdtemp(), "train"):
        ...     pass
    """
    path = Path(folder).resolve() / LOCK
    key = (os.getpid(), str(path))
    with _guard:
        if key in _held:
            _held[key][0][0] += 1
        else:
            _held[key] = ([1], _take(path, verb))
            sweep(path.parent)
    try:
        yield
    finally:
        with _guard:
            _held[key][0][0] -= 1
            if not _held[key][0][0]:
                _release(_held.pop(key)[1])


@contextmanager
def briefly(folder: str | Path, seconds: float = 60.0) -> Iterator[None]:
    """Hold a folder for a moment, waiting for whoever holds it; where the file system has no locks, at once.

    Raises:
        DataError: somebody holds it for longer than ``seconds``.

    Example:
        >>> import tempfile
        >>> with briefly(tempfile.mkdtemp()):
        ...     pass
    """
    import fcntl

    file, end = os.open(folder, os.O_RDONLY | os.O_CLOEXEC), time.monotonic() + seconds
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise DataError(
                        f"{folder} is held by another process, for {seconds:g} s now; perhaps it was stopped while it "
                        f"wrote there. End it, then run the same command again."
                    ) from None
                time.sleep(0.01)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                break
        yield
    finally:
        os.close(file)


class _HasFolder(Protocol):
    folder: Path


S = TypeVar("S", bound=_HasFolder)
P = ParamSpec("P")
R = TypeVar("R")


def exclusive(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A verb of a study that no other process may run beside another such verb on the same folder."""

    @wraps(method)
    def locked(study: S, *args: P.args, **kwargs: P.kwargs) -> R:
        with hold(study.folder, method.__name__):
            return method(study, *args, **kwargs)

    return locked


def _take(path: Path, verb: str) -> list[int]:
    import fcntl

    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(path, _told(path)) from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        return [_take_file(path, verb), folder]
    except BaseException:
        os.close(folder)
        raise


def _take_file(path: Path, verb: str) -> int:
    import fcntl

    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(path, _read(file)) from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            holder = _read(file)
            if holder.get("host") == platform.node() and _alive(holder.get("pid")):
                raise _busy(path, holder) from None
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        told = {"pid": os.getpid(), "host": platform.node(), "verb": verb, "since": now}
        os.ftruncate(file, 0)
        os.pwrite(file, (json.dumps(told) + "\n").encode(), 0)
    except BaseException:
        os.close(file)
        raise
    return file


def _release(files: list[int]) -> None:
    os.ftruncate(files[0], 0)
    for file in files:  # which gives the locks back; the file stays, since removing it would race with the next holder
        os.close(file)


def _told(path: Path) -> dict[str, Any]:
    """What the holder wrote about itself, where the file is still there."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    try:
        return _read(file)
    finally:
        os.close(file)


def _read(file: int) -> dict[str, Any]:
    try:
        told = json.loads(os.pread(file, 4096, 0))
    except ValueError:  # the holder has the lock and is about to write who it is
        return {}
    return told if isinstance(told, dict) else {}


def _alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's process
    return True


def _busy(path: Path, holder: dict[str, Any]) -> DataError:
    who = f"process {holder['pid']} on {holder['host']}" if {"pid", "host"} <= set(holder) else "another process"
    doing = f" (mixlaw {holder['verb']}, since {holder['since']})" if {"verb", "since"} <= set(holder) else ""
    return DataError(
        f"{path.parent} is being worked on by {who}{doing}; it holds {path}. Wait until it is done, or end it: what "
        f"it did so far is kept, and the lock ends with the process."
    )

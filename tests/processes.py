"""For tests that start processes: wait for what they do, never for a time.

A test waits for an event (a file appears, a process ends) and fails only after ``HANG_SECONDS``, which no machine needs
however loaded it is: then the event is not slow, it never comes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

HANG_SECONDS = 600.0


def wait_until(happened: Callable[[], object], what: str) -> None:
    """Return when ``happened()`` is true; ``what`` names the event where it never comes."""
    began = time.monotonic()
    while not happened():
        if time.monotonic() - began > HANG_SECONDS:
            raise AssertionError(f"After {HANG_SECONDS:g} s, still not: {what}.")
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for by its parent (a zombie) does not."""
    try:
        with open(f"/proc/{pid}/stat") as handle:
            return handle.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        pass
    if os.path.exists("/proc/self/stat"):
        return False
    try:  # a system without /proc
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def child_environment() -> dict[str, str]:
    """This process's environment, with its import path for the Python that is started."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}

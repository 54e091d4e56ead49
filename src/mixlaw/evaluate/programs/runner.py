"""Run programs that a model wrote, each in a process that cannot do much harm, and say which passed.

What is guaranteed, on Linux on x86_64 and aarch64 (elsewhere nothing is run):

- No network: the kernel refuses to make a socket of any kind.
- A program ends after ``seconds``, killed with every process that it started. None of them can leave the group that is
  killed, or send a signal to another process.
- Each of its processes has at most ``memory`` bytes of address space and ``cpu_seconds`` of processor time; each file
  that it writes at most ``file_size`` bytes; there are at most ``processes`` of them, threads included.
- It has no rights of root, even where mixlaw itself runs as root.
- Where namespaces can be made (``isolation == "namespaces"``; most machines, not most containers) it can write nothing
  but a folder in memory of ``folder_size`` bytes, which goes with it. Elsewhere (``"limits"``) it can write what its
  user can: for root that is a user without files, otherwise it is **your user's files**.

What is not: it can read what its user can read (it has no network to send it to, but nothing hides it); memory in all
is bounded by ``memory`` times ``processes`` only; and a program that is written to cheat the tests, which stand in the
same process, can do so. A fault in the kernel is a way out. Run programs of a model that you do not trust in a virtual
machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from mixlaw.errors import ConfigError, RunError
from mixlaw.kit.cores import WORKER_ENVIRONMENT, cores

__all__ = ["Limits", "Outcome", "run_program", "run_programs"]

_INSIDE = str(Path(__file__).with_name("inside.py"))
_USERS = range(61184, 65520)  # of users that exist for a moment only, as systemd's transient ones
_MACHINES = ("x86_64", "aarch64")
_READ = 1 << 16
_PREPARED = 60.0  # seconds for a process to be ready for its program, on the busiest machine


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Args:
        seconds: from its start to its end, the preparation of its process not counted.
        cpu_seconds: of processor time, a whole number, for each of its processes.
        memory: bytes of address space, for each of its processes; Python itself needs about 50 MB.
        file_size: bytes of one file.
        folder_size: bytes of all files in its working folder.
        processes: processes and threads, itself included.

    Raises:
        ConfigError: a limit is no positive number.

    Example:
        >>> Limits(seconds=2.0).memory
        536870912
    """

    seconds: float = 10.0
    cpu_seconds: int = 5
    memory: int = 512 << 20
    file_size: int = 1 << 20
    folder_size: int = 16 << 20
    processes: int = 4

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            kinds = (int, float) if name == "seconds" else (int,)
            if not isinstance(value, kinds) or isinstance(value, bool) or not 0 < value < 1 << 50:
                raise ConfigError(
                    f"The limit {name} of programs must be a positive {'' if name == 'seconds' else 'whole '}number, "
                    f"got {value!r}."
                )


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Args:
        kind: ``"passed"``: to its end; ``"failed"``: an assertion failed, or it left before its end; ``"timed out"``:
            the limit of wall or processor time; ``"error"``: it raised something else, or was killed.
        message: what was raised.
        isolation: ``"namespaces"`` or ``"limits"``, see :mod:`mixlaw.evaluate.programs.runner`.

    Example:
        >>> Outcome("failed", "AssertionError: sum", "namespaces").kind
        'failed'
    """

    kind: Literal["passed", "failed", "timed out", "error"]
    message: str
    isolation: str


def run_program(program: str, limits: Limits | None = None) -> Outcome:
    """Run one Python program.

    Args:
        program: its source; it passes by reaching its end.
        limits: what it may use.

    Raises:
        ConfigError: programs cannot be shut in on this system.
        RunError: the process could not be prepared.

    Example:
        >>> run_program("assert 1 + 1 == 2").kind
        'passed'
        >>> run_program("assert 1 + 1 == 3, 'sum'").message
        'AssertionError: sum'
    """
    _refuse_other_systems()
    limits = limits or Limits()
    secret = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="mixlaw-program-") as folder, tempfile.TemporaryFile("w+") as given:
        # Two programs at once have two user ids, whose processes are counted apart.
        user = _USERS[secrets.randbelow(len(_USERS))]
        json.dump({"program": program, "limits": asdict(limits), "user": user, "secret": secret}, given)
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", _INSIDE],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"PATH": os.defpath, "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", **WORKER_ENVIRONMENT},
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            said, in_time = _read(process.stdout.fileno(), process.pid, limits.seconds, secret.encode())
        finally:
            # The leader has not been waited for, so the group still is its own, however many have ended in it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.stdout.close()
            process.wait()
    return _outcome(said, in_time, process.returncode, secret)


def run_programs(programs: Sequence[str], limits: Limits | None = None) -> list[Outcome]:
    """Run many programs, as many at a time as there are cores; see :func:`run_program`.

    Example:
        >>> [outcome.kind for outcome in run_programs(["x = 1", "x = y"])]
        ['passed', 'error']
    """
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(lambda program: run_program(program, limits), programs))


def _refuse_other_systems() -> None:
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        raise ConfigError(
            f"Programs are run on Linux on {' or '.join(_MACHINES)} only, where the kernel can shut them in; this is "
            f"{sys.platform} on {platform.machine()}. Run this evaluator there, or leave it out."
        )


def _read(pipe: int, process: int, seconds: float, secret: bytes) -> tuple[list[dict[str, str]], bool]:
    """What the process said, until it said its outcome, ended or ran out of time; and whether it was in time."""
    content, until, started = b"", time.monotonic() + _PREPARED, False
    ended = os.pidfd_open(process)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            os.set_blocking(pipe, False)
            while True:
                ready = {key.fd for key, _ in selector.select(max(0.0, until - time.monotonic()))}
                if not ready:
                    return _lines(content), False
                if pipe in ready:
                    with contextlib.suppress(BlockingIOError):
                        content += os.read(pipe, _READ)
                if not started and content.count(b"\n") >= 2:  # the line that says how it is shut in
                    until, started = time.monotonic() + seconds, True
                if ended in ready or (secret in content and content.endswith(b"\n")) or len(content) > 2 * _READ:
                    return _lines(content), True
    finally:
        os.close(ended)


def _lines(content: bytes) -> list[dict[str, str]]:
    found = []
    for line in content.splitlines():
        # A program that finds the descriptor can write what it likes there; only the one with the secret counts.
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict)]


def _outcome(said: Sequence[dict[str, str]], in_time: bool, status: int, secret: str) -> Outcome:
    if not said or "isolation" not in said[0]:
        why = said[0].get("setup", "") if said else f"it ended with status {status}"
        why = why if in_time else f"it was not ready after {_PREPARED:.0f} s"
        raise RunError(
            f"The process for a program could not be prepared ({why}). Where mixlaw runs as root, every user must be "
            f"able to read {sys.executable} and the packages beside it."
        )
    isolation = said[0]["isolation"]
    for line in said:
        if line.get("secret") == secret:
            return Outcome(line["outcome"], line["message"], isolation)  # type: ignore[arg-type]
    if not in_time:
        return Outcome("timed out", "the limit of wall time", isolation)
    if status == -signal.SIGXCPU:
        return Outcome("timed out", "the limit of processor time", isolation)
    if status < 0:
        return Outcome("error", f"ended by the signal {signal.Signals(-status).name}", isolation)
    return Outcome("failed", "it left before its tests had ended", isolation)

"""Runs on this machine: one single-thread worker process per core.

Many small models train fastest this way: two threads on one small model mostly wait for each other, and collapse when
the machine is busy. Workers are started by ``spawn``, import torch once, and train many specs.
"""

from __future__ import annotations

import ctypes
import inspect
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.sharedctypes import RawArray, RawValue
from pathlib import Path
from typing import Any

from mixlaw.data.observations import Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, MixlawError, RunError
from mixlaw.train.contract import RunStopped, Trainer, is_done, log_tail
from mixlaw.train.cores import cores, worker_environment

__all__ = ["LocalExecutor", "Result"]

Result = tuple[RunSpec, Observations | RunError]
"""A spec and what was measured, or why it failed."""

_EARLY_DEATHS = 3


@dataclass
class _Worker:
    """The parent's end of one worker process."""

    process: Any
    pipe: connection.Connection
    slot: int
    ready: bool = False
    spec: RunSpec | None = None


@dataclass(frozen=True)
class LocalExecutor:
    """Trains specs in worker processes of this machine.

    Args:
        workers: processes; default one per core.
        grace_seconds: how long a worker may take to publish its checkpoint when everything stops, before it is killed.
        poll_seconds: how often ``progress`` is called.

    Example:
        >>> for spec, result in LocalExecutor().map(trainer, specs, Path("study/runs")):   # doctest: +SKIP
        ...     print(spec.id, result)
    """

    workers: int | None = None
    grace_seconds: float = 20.0
    poll_seconds: float = 0.2

    def __post_init__(self) -> None:
        if self.workers is not None and (not isinstance(self.workers, int) or self.workers < 1):
            raise ConfigError(f"LocalExecutor workers must be a positive whole number or None, got {self.workers!r}.")
        if self.grace_seconds < 0 or self.poll_seconds <= 0:
            raise ConfigError(
                f"LocalExecutor needs grace_seconds >= 0 and poll_seconds > 0, got {self.grace_seconds}, "
                f"{self.poll_seconds}."
            )

    def map(
        self,
        trainer: Trainer,
        specs: Iterable[RunSpec],
        root: str | Path,
        progress: Callable[[RunSpec, int, int], None] | None = None,
    ) -> Iterator[Result]:
        """Train every spec in ``root/<spec.id>`` and yield each as it finishes.

        Runs that are done are read, not trained. A spec that starts from another one in the list waits for it. A
        failed run, or a worker that was killed, gives a :class:`~mixlaw.errors.RunError` for its spec; the others go
        on. When the iteration is left early, by Ctrl-C or ``close()``, the workers publish their checkpoints and
        end; mapping again continues.

        Args:
            trainer: see :class:`~mixlaw.train.contract.Trainer`; sent to the workers by pickling.
            specs: what to train; a spec given twice is trained once and yielded twice.
            root: folder of run folders, created where missing.
            progress: ``progress(spec, step, num_steps)``, called in this process while it waits.

        Raises:
            RunError: worker processes die as they start.
        """
        root = Path(root)
        wanted: dict[str, list[RunSpec]] = {}
        for spec in specs:
            wanted.setdefault(spec.id, []).append(spec)
        waiting: dict[str, RunSpec] = {}
        for key, group in wanted.items():
            if is_done(root / key):
                for spec in group:
                    yield spec, _collect(spec, root / key)
            else:
                waiting[key] = group[0]
        if not waiting:
            return
        pool = _Pool(trainer, root, min(self.workers or cores(), len(waiting)), self)
        failed: set[str] = set()
        try:
            while waiting or pool.busy():
                for key, spec in list(waiting.items()):
                    if spec.start_run in failed:
                        del waiting[key]
                        failed.add(key)
                        message = f"Run {key} starts from run {spec.start_run}, which failed."
                        for twin in wanted[key]:
                            yield twin, RunError(message, twin)
                    elif spec.start_run not in waiting and not pool.training(spec.start_run) and pool.assign(spec):
                        del waiting[key]
                if waiting and not pool.busy() and all(s.start_run in waiting for s in waiting.values()):
                    raise ConfigError(f"Runs {sorted(waiting)} start from one another in a circle.")
                for spec, error in pool.wait():
                    result = error if error is not None else _collect(spec, root / spec.id)
                    if isinstance(result, RunError):
                        failed.add(spec.id)
                    for twin in wanted[spec.id]:
                        yield twin, result
                if progress is not None:
                    pool.report(progress)
        finally:
            pool.shut_down()


@dataclass
class _Pool:
    """The workers, and how the parent talks to them.

    A worker has a pipe of its own for specs and results, so that one killed in the middle of a message harms nobody;
    progress and the stop flag are in shared memory without locks, so that a slow reader never blocks training.
    """

    trainer: Trainer
    root: Path
    size: int
    options: LocalExecutor
    workers: list[_Worker] = field(default_factory=list)
    early_deaths: int = 0

    def __post_init__(self) -> None:
        self.context = multiprocessing.get_context("spawn")
        self.stop = RawValue(ctypes.c_int, 0)
        self.steps = RawArray(ctypes.c_longlong, 2 * self.size)
        try:
            for slot in range(self.size):
                self.workers.append(self.start(slot))
        except BaseException:
            self.shut_down()
            raise

    def start(self, slot: int) -> _Worker:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(
            target=_serve,
            args=(theirs, self.trainer, slot, self.steps, self.stop, os.getpid()),
            name=f"mixlaw-worker-{slot}",
            daemon=False,  # a daemon could not start processes of its own; it ends when our end of the pipe closes
        )
        with worker_environment():
            process.start()
        theirs.close()
        return _Worker(process, ours, slot)

    def busy(self) -> bool:
        return any(worker.spec is not None for worker in self.workers)

    def training(self, key: str | None) -> bool:
        return any(worker.spec is not None and worker.spec.id == key for worker in self.workers)

    def assign(self, spec: RunSpec) -> bool:
        """Give ``spec`` to an idle worker; False where there is none."""
        for worker in self.workers:
            if worker.ready and worker.spec is None:
                self.steps[2 * worker.slot], self.steps[2 * worker.slot + 1] = 0, 0
                worker.spec = spec
                try:
                    worker.pipe.send((spec, self.root / spec.id))
                except OSError:  # it has just died; wait() finds out
                    worker.ready = False
                return True
        return False

    def wait(self) -> list[tuple[RunSpec, RunError | None]]:
        """Runs that ended within the next poll interval."""
        handles: list[Any] = [w.pipe for w in self.workers] + [w.process.sentinel for w in self.workers]
        ready = connection.wait(handles, timeout=self.options.poll_seconds)
        ended: list[tuple[RunSpec, RunError | None]] = []
        for index, worker in enumerate(self.workers):
            if worker.pipe not in ready and worker.process.sentinel not in ready:
                continue
            alive = True
            try:
                while worker.pipe.poll():
                    message = worker.pipe.recv()
                    if message == "ready":
                        worker.ready, self.early_deaths = True, 0
                    elif worker.spec is not None:
                        ended.append((worker.spec, message))
                        worker.spec = None
            except (EOFError, OSError):
                alive = False
            if alive and worker.process.sentinel not in ready:
                continue
            worker.process.join()
            worker.pipe.close()
            if worker.spec is not None:
                ended.append((worker.spec, _death(worker, self.root / worker.spec.id)))
            elif not worker.ready:
                self.early_deaths += 1
                if self.early_deaths >= _EARLY_DEATHS:
                    raise RunError(
                        f"Worker processes die as they start (exit code {worker.process.exitcode}); their messages are "
                        f"above. A script that trains must do so under `if __name__ == '__main__':`, because workers "
                        f"import it."
                    )
            self.workers[index] = self.start(worker.slot)
        return ended

    def report(self, progress: Callable[[RunSpec, int, int], None]) -> None:
        for worker in self.workers:
            if worker.spec is not None and self.steps[2 * worker.slot + 1]:
                progress(worker.spec, self.steps[2 * worker.slot], self.steps[2 * worker.slot + 1])

    def shut_down(self) -> None:
        """Ask every worker to publish its checkpoint and end; kill those that do not."""
        self.stop.value = 1
        for worker in self.workers:
            try:
                worker.pipe.send(None)
            except OSError:  # dead already
                continue
        try:
            waited = self.options.grace_seconds
            for worker in self.workers:
                worker.process.join(waited if worker.process.is_alive() else 0)
        finally:
            for worker in self.workers:
                if worker.process.is_alive():
                    worker.process.terminate()
                    worker.process.join(1.0)
                if worker.process.is_alive():
                    worker.process.kill()
                worker.process.join()
                worker.pipe.close()
            self.workers.clear()


def _collect(spec: RunSpec, folder: Path) -> Observations | RunError:
    if not is_done(folder):
        return RunError(
            f"The trainer returned from run {spec.id} without finishing it: there is no DONE in {folder}.",
            spec,
            log_tail(folder / "log.txt"),
        )
    try:
        return Observations.load(folder)
    except MixlawError as error:
        return RunError(f"Run {spec.id} is done but cannot be read: {error}", spec)


def _death(worker: _Worker, folder: Path) -> RunError:
    assert worker.spec is not None
    code = worker.process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in {int(s) for s in signal.Signals} else f"signal {-code}"
        how = f"was killed by {name}" + (", perhaps because memory ran out" if name == "SIGKILL" else "")
    else:
        how = f"ended with exit code {code}"
    return RunError(
        f"The worker training run {worker.spec.id} {how}. Train it again to continue from its last checkpoint; "
        f"its log is {folder / 'log.txt'}.",
        worker.spec,
        log_tail(folder / "log.txt"),
    )


def _serve(pipe: connection.Connection, trainer: Any, slot: int, steps: Any, stop: Any, parent: int) -> None:
    """A worker's life: receive a spec, train it, say how it ended.

    What a trainer raises beyond mixlaw's own errors ends the worker with its traceback in the run's log; the parent
    reports it and starts another.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops us after a checkpoint
    accepted = inspect.signature(trainer.run).parameters

    def should_stop() -> bool:
        return bool(stop.value) or os.getppid() != parent

    def progress(step: int, num_steps: int) -> None:
        steps[2 * slot], steps[2 * slot + 1] = step, num_steps

    hooks = {name: hook for name, hook in (("progress", progress), ("should_stop", should_stop)) if name in accepted}
    pipe.send("ready")
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):  # the parent is gone
            return
        if task is None:
            return
        spec, folder = task
        folder.mkdir(parents=True, exist_ok=True)
        _log_to(folder / "log.txt")
        answer: RunError | None = None
        try:
            trainer.run(spec, folder, **hooks)
        except RunStopped:
            return
        except RunError as error:
            answer = error
        except MixlawError as error:
            answer = RunError(f"Run {spec.id} failed: {error}", spec, log_tail(folder / "log.txt"))
        try:
            pipe.send(answer)
        except OSError:
            return


def _log_to(path: Path) -> None:
    """Send what this process prints, and what native code prints, to a run's log."""
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)

"""Work on this machine: one single-thread worker process per core.

Many small models train fastest this way: two threads on one small model mostly wait for each other, and collapse when
the machine is busy. Workers are started by ``spawn``, import what the task needs once, and process many items.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.sharedctypes import RawArray, RawValue
from pathlib import Path
from typing import Any, TypeVar

from mixlaw.errors import ConfigError, MixlawError, RunError, RunStopped
from mixlaw.execute.contract import ItemProgress, Task
from mixlaw.execute.queue import Queue
from mixlaw.kit.cores import cores, worker_environment
from mixlaw.kit.logs import log_tail, log_to

__all__ = ["LocalExecutor"]

Item = TypeVar("Item")

_EARLY_DEATHS = 3


@dataclass
class _Worker:
    """The parent's end of one worker process."""

    process: Any
    pipe: connection.Connection
    slot: int
    ready: bool = False
    key: str | None = None
    """The item it processes."""


@dataclass(frozen=True)
class LocalExecutor:
    """Processes items in worker processes of this machine.

    Args:
        workers: processes; default one per core.
        grace_seconds: how long a worker may take to publish its checkpoint when everything stops, before it is killed.
        poll_seconds: how often ``progress`` is called.

    Raises:
        ConfigError: an option has no meaning.

    Example:
        >>> from mixlaw.train import TrainingTask
        >>> runs = LocalExecutor().map(TrainingTask(trainer), specs, lambda s: s.id, "study/runs")   # doctest: +SKIP
        >>> for spec, result in runs:                                                                # doctest: +SKIP
        ...     print(spec.id, result)
    """

    workers: int | None = None
    grace_seconds: float = 20.0
    poll_seconds: float = 0.2

    def __post_init__(self) -> None:
        if self.workers is not None and (not isinstance(self.workers, int) or self.workers < 1):
            raise ConfigError(f"LocalExecutor workers must be a positive whole number or None, got {self.workers!r}.")
        seconds = (self.grace_seconds, self.poll_seconds)
        if not all(isinstance(s, int | float) for s in seconds) or self.grace_seconds < 0 or self.poll_seconds <= 0:
            raise ConfigError(
                f"LocalExecutor needs grace_seconds >= 0 and poll_seconds > 0, got {self.grace_seconds!r}, "
                f"{self.poll_seconds!r}."
            )

    def map(
        self,
        task: Task,
        items: Iterable[Item],
        key: Callable[[Item], str],
        root: str | Path,
        progress: ItemProgress | None = None,
    ) -> Iterator[tuple[Item, Any | RunError]]:
        """Process every item in ``root/<key(item)>``; see :meth:`mixlaw.execute.contract.Executor.map`.

        What a task raises beyond mixlaw's own errors ends its worker, with the traceback in the item's log; another
        one is started.
        """
        queue = Queue(task, items, key, root)
        yield from queue.finished_before()
        if not queue.unfinished:
            return
        pool = _Pool(queue, min(self.workers or cores(), queue.unfinished), self)
        try:
            while queue.unfinished:
                for worker in pool.idle():
                    if (next_key := queue.start()) is None:
                        break
                    pool.assign(worker, next_key)
                for ended, error in pool.wait():
                    yield from queue.end(ended, error)
                if progress is not None:
                    pool.report(progress)
        finally:
            pool.shut_down()


@dataclass
class _Pool:
    """The workers, and how the parent talks to them.

    A worker has a pipe of its own for items and results, so that one killed in the middle of a message harms nobody;
    progress and the stop flag are in shared memory without locks, so that a slow reader never blocks
    a worker.
    """

    queue: Queue[Any]
    size: int
    options: LocalExecutor
    workers: list[_Worker] = field(default_factory=list)
    early_deaths: int = 0

    def __post_init__(self) -> None:
        self.context = multiprocessing.get_context("spawn")
        self.stop = RawValue(ctypes.c_int, 0)
        self.steps = RawArray(ctypes.c_longlong, 2 * self.size)
        try:
            pickle.dumps(self.queue.task)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"{self.queue.task!r} cannot be sent to worker processes: {error}. Define its class, and all it holds, "
                f"at the top of a file; open files and functions within functions cannot be sent."
            ) from error
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
            args=(theirs, self.queue.task, slot, self.steps, self.stop, os.getpid()),
            name=f"mixlaw-worker-{slot}",
            daemon=False,  # a daemon could not start processes of its own; it ends when our end of the pipe closes
        )
        with worker_environment():
            process.start()
        theirs.close()
        return _Worker(process, ours, slot)

    def idle(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.ready and worker.key is None]

    def assign(self, worker: _Worker, key: str) -> None:
        """Give an item to an idle worker."""
        self.steps[2 * worker.slot], self.steps[2 * worker.slot + 1] = 0, 0
        worker.key = key
        try:
            worker.pipe.send((self.queue.items[key][0], key, self.queue.folder(key)))
        except OSError:  # it has just died; wait() finds out
            worker.ready = False

    def wait(self) -> list[tuple[str, RunError | None]]:
        """Keys of items that ended within the next poll interval."""
        handles: list[Any] = [w.pipe for w in self.workers] + [w.process.sentinel for w in self.workers]
        ready = connection.wait(handles, timeout=self.options.poll_seconds)
        ended: list[tuple[str, RunError | None]] = []
        for index, worker in enumerate(self.workers):
            if worker.pipe not in ready and worker.process.sentinel not in ready:
                continue
            alive = True
            try:
                while worker.pipe.poll():
                    message = worker.pipe.recv()
                    if message == "ready":
                        worker.ready, self.early_deaths = True, 0
                    elif worker.key is not None:
                        ended.append((worker.key, message))
                        worker.key = None
            except (EOFError, OSError):
                alive = False
            if alive and worker.process.sentinel not in ready:
                continue
            worker.process.join()
            worker.pipe.close()
            if worker.key is not None:
                ended.append((worker.key, self.queue.death(worker.key, _how(worker.process.exitcode))))
            elif not worker.ready:
                self.early_deaths += 1
                if self.early_deaths >= _EARLY_DEATHS:
                    raise RunError(
                        f"Worker processes die as they start (exit code {worker.process.exitcode}); their messages are "
                        f"above. A script that maps must do so under `if __name__ == '__main__':`, because workers "
                        f"import it."
                    )
            self.workers[index] = self.start(worker.slot)
        return ended

    def report(self, progress: ItemProgress) -> None:
        for worker in self.workers:
            if worker.key is not None and self.steps[2 * worker.slot + 1]:
                item = self.queue.items[worker.key][0]
                progress(item, self.steps[2 * worker.slot], self.steps[2 * worker.slot + 1])

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


def _how(code: int | None) -> str:
    """How a worker ended, completing "The worker ..."."""
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in {int(s) for s in signal.Signals} else f"signal {-code}"
    return f"was killed by {name}" + (", perhaps because memory ran out" if name == "SIGKILL" else "")


def _serve(pipe: connection.Connection, task: Task, slot: int, steps: Any, stop: Any, parent: int) -> None:
    """A worker's life: receive an item, process it, say how it ended.

    What a task raises beyond mixlaw's own errors ends the worker with its traceback in the item's log; the parent
    reports it and starts another.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops us after a checkpoint

    def should_stop() -> bool:
        return bool(stop.value) or os.getppid() != parent

    def progress(step: int, num_steps: int) -> None:
        steps[2 * slot], steps[2 * slot + 1] = step, num_steps

    pipe.send("ready")
    while True:
        try:
            given = pipe.recv()
        except (EOFError, OSError):  # the parent is gone
            return
        if given is None:
            return
        item, key, folder = given
        log_to(folder / "log.txt")
        answer: RunError | None = None
        try:
            task.run(item, folder, progress, should_stop)
        except RunStopped:
            return
        except RunError as error:
            answer = error
        except MixlawError as error:
            answer = RunError(f"The {task.noun} {key} failed: {error}", item, log_tail(folder / "log.txt"))
        try:
            pipe.send(answer)
        except OSError:
            return

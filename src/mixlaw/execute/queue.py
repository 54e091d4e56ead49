"""Which items may start, and what their end means for the others: the part of ``map`` that every executor shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from mixlaw.errors import ConfigError, MixlawError, RunError
from mixlaw.execute.contract import Task
from mixlaw.kit.logs import log_tail

__all__ = ["Queue"]

Item = TypeVar("Item")


class Queue(Generic[Item]):
    """The items of one ``map``, from waiting over running to ended.

    Args:
        task, items, key, root: see :meth:`mixlaw.execute.contract.Executor.map`.

    Raises:
        ConfigError: ``task`` is not a task, ``items`` are none, or a key cannot name a folder.

    Example:
        An executor takes with :meth:`start` and, later, tells :meth:`end`, until none is unfinished:

        >>> from mixlaw.train import CommandTrainer, TrainingTask
        >>> task = TrainingTask(CommandTrainer(None, "tokens", ["train"]))
        >>> queue = Queue(task, [], key=lambda spec: spec.id, root="runs")
        >>> list(queue.finished_before()), queue.start(), queue.unfinished
        ([], None, 0)
    """

    def __init__(self, task: Task, items: Iterable[Item], key: Callable[[Item], str], root: str | Path) -> None:
        if not isinstance(task, Task):
            raise ConfigError(
                f"An executor maps a task, and {task!r} is none: it lacks one of noun, waits_for, is_done, run and "
                f"read. A trainer becomes one as mixlaw.train.TrainingTask(trainer)."
            )
        if not isinstance(items, Iterable):
            raise ConfigError(f"An executor maps a list of items, or anything else to iterate over; got {items!r}.")
        self.task = task
        self.root = Path(root)
        self.items: dict[str, list[Item]] = {}
        for item in items:
            self.items.setdefault(_folder_name(key(item), item), []).append(item)
        self._waiting: dict[str, None] = {}  # in the order given
        self._running: set[str] = set()
        self._failed: set[str] = set()

    @property
    def unfinished(self) -> int:
        """Items (of different keys) that wait or run."""
        return len(self._waiting) + len(self._running)

    def folder(self, key: str) -> Path:
        """The item's folder."""
        return self.root / key

    def finished_before(self) -> Iterator[tuple[Item, Any | RunError]]:
        """What was done before; all others wait from now on."""
        for key, twins in self.items.items():
            if self.task.is_done(twins[0], self.folder(key)):
                yield from self._results(key, None)
            else:
                self._waiting[key] = None

    def start(self) -> str | None:
        """The key of the next item that waits for none of the others, which runs from now on; None: there is none yet.

        Raises:
            ConfigError: items wait for one another in a circle, so that none could ever start.
        """
        for key in self._waiting:
            if not any(k in self._waiting or k in self._running for k in self.task.waits_for(self.items[key][0])):
                del self._waiting[key]
                self._running.add(key)
                return key
        if self._waiting and not self._running:
            raise ConfigError(f"The {self.task.noun}s {sorted(self._waiting)} wait for one another in a circle.")
        return None

    def end(self, key: str, error: RunError | None) -> Iterator[tuple[Item, Any | RunError]]:
        """The item ended, well (None) or not; yields its result, and those of items that can now never start."""
        self._running.remove(key)
        yield from self._results(key, error)
        if key in self._failed:
            for waiting in [k for k in self._waiting if key in self.task.waits_for(self.items[k][0])]:
                if waiting in self._waiting:  # not lost already through another one
                    del self._waiting[waiting]
                    self._running.add(waiting)
                    message = f"The {self.task.noun} {waiting} waits for the {self.task.noun} {key}, which failed."
                    yield from self.end(waiting, RunError(message, self.items[waiting][0]))

    def death(self, key: str, how: str) -> RunError:
        """The error of an item whose worker ended; ``how`` completes "The worker of run x ..."."""
        log = self.folder(key) / "log.txt"
        return RunError(
            f"The worker of {self.task.noun} {key} {how}. Start it again to continue from what it had saved; "
            f"its log is {log}.",
            self.items[key][0],
            log_tail(log),
        )

    def _results(self, key: str, error: RunError | None) -> Iterator[tuple[Item, Any | RunError]]:
        result = self._collect(key) if error is None else error
        if isinstance(result, RunError):
            self._failed.add(key)
        for twin in self.items[key]:
            yield twin, result

    def _collect(self, key: str) -> Any | RunError:
        item, folder = self.items[key][0], self.folder(key)
        if not self.task.is_done(item, folder):
            return RunError(
                f"The {self.task.noun} {key} ended without finishing: {folder} does not hold what says that it is "
                f"done. What was printed is in its log.txt.",
                item,
                log_tail(folder / "log.txt"),
            )
        try:
            return self.task.read(item, folder)
        except MixlawError as error:
            return RunError(f"The {self.task.noun} {key} is done but cannot be read: {error}", item)


def _folder_name(key: Any, item: Any) -> str:
    if not isinstance(key, str) or not key or key in (".", "..") or "/" in key or "\\" in key or "\0" in key:
        raise ConfigError(
            f"key gave {key!r} for {item!r}, which cannot name a folder. Give a function that returns a text of "
            f"letters, digits, '-', '_' and '.', such as a run's id."
        )
    return key

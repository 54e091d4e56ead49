"""What executors promise, and what they are given: a task and its items.

A *task* knows how to process one *item* in a folder of its own: training is a task whose items are run specs
(:class:`mixlaw.train.TrainingTask`), and curation is another whose items are files of text. An *executor* knows where
work runs: on the cores of this machine, or on a cluster. Neither knows anything about the other, so every task runs on
every executor.

An executor is one file in this room, ``<name>_executor.py``. Its constructor takes ``workers`` and options of its own,
and ``study.yaml`` reaches it as ``executor: {name: local, workers: 2, options: {grace_seconds: 60}}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from mixlaw.errors import RunError

__all__ = ["Executor", "ItemProgress", "Progress", "ShouldStop", "Task"]

Item = TypeVar("Item")

Progress = Callable[[int, int], None]
"""``progress(step, num_steps)``, which a task calls now and then while it processes an item."""

ShouldStop = Callable[[], bool]
"""Which a task asks often; True means: publish what is needed to continue, and raise
:class:`~mixlaw.errors.RunStopped`."""

ItemProgress = Callable[[Any, int, int], None]
"""``progress(item, step, num_steps)``, which an executor calls in the caller's process."""


@runtime_checkable
class Task(Protocol):
    """Processes items, each in a folder of its own. It is small and picklable: it is sent to every worker.

    Nothing that an item needs may live in the task's memory: a worker may be killed, and another one, perhaps on
    another machine, goes on from what the folder holds. The example counts the words of files.

    Example:
        >>> from dataclasses import dataclass
        >>> from mixlaw.kit.store import Store
        >>> @dataclass(frozen=True)
        ... class CountWords:
        ...     noun = "file"
        ...     def waits_for(self, item):
        ...         return ()
        ...     def is_done(self, item, folder):
        ...         return (folder / "words.json").exists()
        ...     def run(self, item, folder, progress, should_stop):
        ...         Store(folder).write_json("words.json", len(Path(item).read_text().split()))
        ...     def read(self, item, folder):
        ...         return Store(folder).read_json("words.json")
        >>> isinstance(CountWords(), Task)
        True
    """

    @property
    def noun(self) -> str:
        """What messages call an item: ``"run"``, ``"file"``."""

    def waits_for(self, item: Any) -> Sequence[str]:
        """Keys of the items that must be done before this one, such as the run whose weights it starts from.

        Keys that are not among the items of the call are taken to be done. Where one of them fails, so does this item.
        """

    def is_done(self, item: Any, folder: Path) -> bool:
        """Whether ``folder`` holds the finished item. It is then read and not processed."""

    def run(self, item: Any, folder: Path, progress: Progress, should_stop: ShouldStop) -> None:
        """Process ``item`` in ``folder``, which exists; continue it where it was cut off. What is printed goes to
        ``folder/log.txt``.

        Raises:
            MixlawError: the item failed; the others go on, and the worker stays.
            RunStopped: ``should_stop()`` was true, and what is needed to continue was published.
        """

    def read(self, item: Any, folder: Path) -> Any:
        """The result of a finished item. It is called in the caller's process.

        Raises:
            MixlawError: the folder does not hold what it should.
        """


@runtime_checkable
class Executor(Protocol):
    """Runs tasks somewhere. An executor is made with ``workers`` and options of its own, and keeps no state."""

    workers: int | None
    """How many items are processed at once; None: as many as the place has room for."""

    def map(
        self,
        task: Task,
        items: Iterable[Item],
        key: Callable[[Item], str],
        root: str | Path,
        progress: ItemProgress | None = None,
    ) -> Iterator[tuple[Item, Any | RunError]]:
        """Process every item in ``root/<key(item)>`` and yield each with its result as it finishes.

        Items that are done are read, not processed. An item that waits for others of the list starts when they are
        done. One that fails, or whose worker was killed, gives a :class:`~mixlaw.errors.RunError`; the others go on.
        When the iteration is left early, by Ctrl-C or ``close()``, the workers publish what is needed to continue and
        end; mapping again continues.

        Args:
            task: what is done with an item; sent to the workers by pickling.
            items: what to process, picklable. Items of one key are processed once, and each is yielded.
            key: names an item's folder; called in this process only. For run specs, ``lambda spec: spec.id``.
            root: folder of the items' folders, created where missing.
            progress: ``progress(item, step, num_steps)``, called in this process while it waits.

        Raises:
            ConfigError: ``task`` is not a :class:`Task`, ``items`` are none, a key cannot name a folder, or items wait
                for one another.
            RunError: workers die as they start.
        """

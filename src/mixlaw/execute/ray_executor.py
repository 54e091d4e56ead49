"""Work on a Ray cluster: one actor per worker, on this machine or on many.

Each worker is a Ray actor that processes one item at a time and lives as long as ``map``, so that what a task imports
is loaded once. Items' folders must be reachable from every node under the same path (a shared filesystem); nothing but
specs, steps and errors travels through Ray.
"""

from __future__ import annotations

import math
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mixlaw.errors import ConfigError, MixlawError, RunError, did_you_mean
from mixlaw.execute.contract import ItemProgress, Task
from mixlaw.execute.queue import Queue
from mixlaw.kit.cores import WORKER_ENVIRONMENT, cores
from mixlaw.kit.extras import require_extra
from mixlaw.kit.logs import log_tail, log_to

__all__ = ["RayExecutor"]

Item = TypeVar("Item")

_RESOURCES = ("num_cpus", "num_gpus", "memory", "resources")
_TOTALS = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
_EARLY_DEATHS = 3
_OBJECT_STORE_BYTES = 100 * 2**20  # of a cluster started here; nothing large passes through it


@dataclass(frozen=True)
class RayExecutor:
    """Processes items on a Ray cluster. Needs ``pip install 'mixlaw[ray]'``.

    A program that has called ``ray.init`` keeps its own connection. Otherwise the executor connects to ``address``
    while it maps, or starts a cluster on this machine, reachable from this machine only and without a dashboard, and
    ends it afterwards. Workers get this process's import path and, as those of the local executor, one thread each.

    Args:
        workers: items processed at once; None: as many as the cluster's resources allow.
        address: of a running cluster, as ``ray.init`` takes it (``"auto"``, ``"10.0.0.1:6379"``); None: the one that
            the variable ``RAY_ADDRESS`` names, or else a new one on this machine.
        resources: what one worker needs, as Ray's actors take it: ``num_cpus`` (1), ``num_gpus``, ``memory`` (bytes)
            and ``resources`` (a mapping of the cluster's own).
        grace_seconds: how long a worker may take to publish its checkpoint when everything stops, before it is killed.
        poll_seconds: how often ``progress`` is called.

    Raises:
        ConfigError: an option has no meaning.
        MissingExtraError: Ray is not installed.

    Example:
        In ``study.yaml``::

            executor: {name: ray, workers: 8, options: {address: auto, resources: {num_cpus: 1}}}
    """

    workers: int | None = None
    address: str | None = None
    resources: Mapping[str, Any] = field(default_factory=lambda: {"num_cpus": 1})
    grace_seconds: float = 60.0
    poll_seconds: float = 0.5

    def __post_init__(self) -> None:
        if self.workers is not None and (not isinstance(self.workers, int) or self.workers < 1):
            raise ConfigError(f"RayExecutor workers must be a positive whole number or None, got {self.workers!r}.")
        seconds = (self.grace_seconds, self.poll_seconds)
        if not all(isinstance(s, int | float) for s in seconds) or self.grace_seconds < 0 or self.poll_seconds <= 0:
            raise ConfigError(
                f"RayExecutor needs grace_seconds >= 0 and poll_seconds > 0, got {self.grace_seconds!r}, "
                f"{self.poll_seconds!r}."
            )
        if not isinstance(self.resources, Mapping):
            raise ConfigError(
                f"RayExecutor resources must be a mapping such as {{'num_cpus': 1}}, got {self.resources!r}."
            )
        for name in self.resources:
            if name not in _RESOURCES:
                raise ConfigError(f"RayExecutor resources has no {name!r}.{did_you_mean(name, _RESOURCES)}")
        require_extra("ray", "ray")

    def map(
        self,
        task: Task,
        items: Iterable[Item],
        key: Callable[[Item], str],
        root: str | Path,
        progress: ItemProgress | None = None,
    ) -> Iterator[tuple[Item, Any | RunError]]:
        """Process every item in ``root/<key(item)>``; see :meth:`mixlaw.execute.contract.Executor.map`.

        What a task raises beyond mixlaw's own errors replaces its worker, with the traceback in the item's log.

        Raises:
            ConfigError: no cluster at ``address``, or it lacks what one worker needs.
        """
        queue = Queue(task, items, key, Path(root).absolute())
        yield from queue.finished_before()
        if not queue.unfinished:
            return
        with _connected(self):
            pool = _Pool(queue, min(self._room(), queue.unfinished), self)
            try:
                while queue.unfinished:
                    for worker in pool.idle():
                        if (next_key := queue.start()) is None:
                            break
                        worker.assign(next_key, queue)
                    for ended, error in pool.wait():
                        yield from queue.end(ended, error)
                    if progress is not None:
                        pool.report(progress)
            finally:
                pool.shut_down()

    def _room(self) -> int:
        """Workers that the cluster has room for, at most ``workers``."""
        ray = require_extra("ray", "ray")
        total = ray.cluster_resources()
        needs = {_TOTALS[k]: v for k, v in self.resources.items() if k != "resources" and v}
        needs.update(self.resources.get("resources", {}))
        for name, amount in needs.items():
            if total.get(name, 0) < amount:
                raise ConfigError(
                    f"One worker needs {name} {amount:g} (resources={dict(self.resources)}), and the whole Ray cluster "
                    f"has {total.get(name, 0):g}. Ask for less, or start the cluster's nodes first."
                )
        room = min((int(total[name] / amount) for name, amount in needs.items() if amount), default=cores())
        return min(self.workers or room, room)


@contextmanager
def _connected(options: RayExecutor) -> Iterator[None]:
    """A connection to a cluster while the block runs; one that exists already is used and kept."""
    ray = require_extra("ray", "ray")
    if ray.is_initialized():
        yield
        return
    address = options.address or os.environ.get("RAY_ADDRESS") or "local"
    arguments: dict[str, Any] = {}
    if address == "local":
        per_worker = options.resources.get("num_cpus", 1)
        arguments = {
            "num_cpus": cores() if options.workers is None else max(1, math.ceil(options.workers * per_worker)),
            "object_store_memory": _OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        with _on_this_machine_only() if address == "local" else nullcontext():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **arguments)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ConfigError(f"RayExecutor could not connect to a cluster at address={address!r}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _on_this_machine_only() -> Iterator[None]:
    """A cluster that starts in the block listens on the loopback interface only, and reports nothing to Ray's makers.

    Ray has no argument for either. On macOS and Windows it uses the loopback address by itself, unless it is told to
    be a cluster of several machines; here it is told not to be one. ``test_ray_executor.py`` looks at the sockets.
    """
    constants = require_extra("ray._private.ray_constants", "ray")
    several = constants.ENABLE_RAY_CLUSTER
    usage = os.environ.get("RAY_USAGE_STATS_ENABLED")
    constants.ENABLE_RAY_CLUSTER, os.environ["RAY_USAGE_STATS_ENABLED"] = False, "0"
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = several
        if usage is None:
            del os.environ["RAY_USAGE_STATS_ENABLED"]
        else:
            os.environ["RAY_USAGE_STATS_ENABLED"] = usage


class _Serve:
    """The life of a worker, in an actor: one thread processes items, another answers questions about it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.stopping = threading.Event()
        self.at = (0, 0)

    def ready(self) -> None:
        """Says that the actor has started."""

    def process(self, item: Any, key: str, folder: Path) -> tuple[bool, RunError | None]:
        """Process one item; whether the worker is as good as new, and the item's error."""
        self.at = (0, 0)
        log = folder / "log.txt"
        log_to(log)
        try:
            self.task.run(item, folder, self._note, self.stopping.is_set)
        except RunError as error:
            return True, error
        except MixlawError as error:
            return True, RunError(f"The {self.task.noun} {key} failed: {error}", item, log_tail(log))
        except SystemExit as error:
            message = f"The worker of {self.task.noun} {key} ended with exit code {error.code}."
            return False, RunError(message, item, log_tail(log))
        except BaseException as error:  # noqa: BLE001 - reported, and this worker is not used again
            traceback.print_exc()
            sys.stderr.flush()
            message = f"The {self.task.noun} {key} failed with {type(error).__name__}: {error}."
            return False, RunError(message, item, log_tail(log))
        return True, None

    def _note(self, step: int, num_steps: int) -> None:
        self.at = (step, num_steps)

    def where(self) -> tuple[int, int]:
        """Step and number of steps of the item being processed."""
        return self.at

    def stop(self) -> None:
        """Let the task publish what it needs to continue."""
        self.stopping.set()


@dataclass
class _Worker:
    """The caller's end of one actor."""

    actor: Any
    awaited: Any
    """Reference to what it does now: it starts, or processes an item; None: it is idle."""
    key: str | None = None
    asked: Any = None
    """Reference to the answer of where it is."""

    def assign(self, key: str, queue: Queue[Any]) -> None:
        self.key = key
        self.awaited = self.actor.process.remote(queue.items[key][0], key, queue.folder(key))


@dataclass
class _Pool:
    """The actors of one ``map``."""

    queue: Queue[Any]
    size: int
    options: RayExecutor
    workers: list[_Worker] = field(default_factory=list)
    early_deaths: int = 0

    def __post_init__(self) -> None:
        ray = require_extra("ray", "ray")
        variables = {**WORKER_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(_import_path())}
        remote = ray.remote(
            **self.options.resources,
            concurrency_groups={"talk": 1},  # a thread of its own, for questions while an item is processed
            max_restarts=0,
            runtime_env={"env_vars": variables},
        )
        self.kind = remote(_Serve)
        self.workers = [self.start() for _ in range(self.size)]

    def start(self) -> _Worker:
        actor = self.kind.remote(self.queue.task)
        return _Worker(actor, actor.ready.remote())

    def idle(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.awaited is None]

    def wait(self) -> list[tuple[str, RunError | None]]:
        """Keys of items that ended within the next poll interval, and how."""
        ray = require_extra("ray", "ray")
        busy = {worker.awaited: i for i, worker in enumerate(self.workers) if worker.awaited is not None}
        done, _ = ray.wait(list(busy), num_returns=1, timeout=self.options.poll_seconds)
        ended: list[tuple[str, RunError | None]] = []
        for reference in done:
            index = busy[reference]
            worker = self.workers[index]
            good, error = True, None
            try:
                answer = ray.get(reference)
                if worker.key is None:
                    self.early_deaths = 0
                else:
                    good, error = answer
            except ray.exceptions.RayError as fault:
                good = False
                if worker.key is None:
                    self._died_early(fault)
                else:
                    error = self.queue.death(worker.key, f"died: {_first_line(fault)}")
            if worker.key is not None:
                ended.append((worker.key, error))
            if good:
                worker.awaited = worker.key = worker.asked = None
            else:
                ray.kill(worker.actor)
                self.workers[index] = self.start()
        return ended

    def _died_early(self, fault: Exception) -> None:
        self.early_deaths += 1
        if self.early_deaths >= _EARLY_DEATHS:
            raise RunError(
                f"Ray workers die as they start: {fault}\nEvery node needs mixlaw, and the modules that the task is "
                f"made of, for the same Python."
            )

    def report(self, progress: ItemProgress) -> None:
        ray = require_extra("ray", "ray")
        for worker in self.workers:
            if worker.key is None:
                continue
            if worker.asked is None:
                worker.asked = worker.actor.where.options(concurrency_group="talk").remote()
            elif ray.wait([worker.asked], timeout=0)[0]:
                try:
                    step, num_steps = ray.get(worker.asked)
                except ray.exceptions.RayError:  # it has just died; wait() finds out
                    continue
                worker.asked = None
                if num_steps:
                    progress(self.queue.items[worker.key][0], step, num_steps)

    def shut_down(self) -> None:
        """Ask every worker to publish what it needs to continue and end; kill those that do not."""
        ray = require_extra("ray", "ray")
        busy = []
        for worker in self.workers:
            if worker.key is not None:
                worker.actor.stop.options(concurrency_group="talk").remote()
                busy.append(worker.awaited)
        try:
            if busy:
                ray.wait(busy, num_returns=len(busy), timeout=self.options.grace_seconds)
        finally:
            for worker in self.workers:
                ray.kill(worker.actor)
            self.workers.clear()


def _import_path() -> list[str]:
    """Where this process imports from, without Python's own folders, which a worker has itself."""
    own = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    paths = [os.path.abspath(p) for p in sys.path]
    return list(dict.fromkeys(p for p in paths if os.path.isdir(p) and not p.startswith(own)))


def _first_line(fault: Exception) -> str:
    return str(fault).strip().splitlines()[0]

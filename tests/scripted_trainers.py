"""Trainers that do what their spec's ``model`` says, for the faults that an executor must survive.

Nothing here takes a set time: a run that must be caught in its middle waits there until the test has caught it.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from mixlaw.data.mixture import Schedule
from mixlaw.data.observations import Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, RunError, RunStopped
from mixlaw.kit.store import Store
from mixlaw.train.contract import finish, is_done
from mixlaw.train.training_task import TrainingTask

from processes import wait_until

MIDDLE = 50
"""The step at which a run that does ``hold`` waits."""


def scripted(do: str, seed: int = 0, **changes: object) -> RunSpec:
    """A spec whose run does ``do``."""
    values: dict[str, object] = {"model": {"do": do}, "batch": 1, "context": 8, "seed": seed, **changes}
    return RunSpec(Schedule.constant({"web": 1.0}), tokens=800, **values)  # type: ignore[arg-type]


def train(executor, trainer, specs, root, progress=None):
    """``(spec, result)`` of every spec, as the executor yields them."""
    return executor.map(TrainingTask(trainer), specs, lambda spec: spec.id, root, progress=progress)


@dataclass(frozen=True)
class ScriptedTrainer:
    """What each word of a spec's ``model`` does; its "checkpoint" is a file ``step`` with the number of the step.

    ``learn`` ends well. ``hold`` waits at step ``MIDDLE`` (the file ``holding`` says that it does) until it is told to
    stop or a file ``go`` appears beside it, and ends well when it is continued. ``report`` waits at every 25th step for
    a file of that step's number, which the test writes when it hears of the step. The other words end as they say.
    """

    def run(self, spec: RunSpec, folder: Path, progress=None, should_stop=None) -> None:
        if is_done(folder):
            raise AssertionError("a done run was given to a worker")
        store = Store(folder)
        do = spec.model["do"]
        print(f"pid {os.getpid()} does {do}", flush=True)
        if do == "fail":
            raise RunError("the optimiser said no", spec, "the log's last words")
        if do == "misconfigured":
            raise ConfigError("there is no such model")
        if do == "bug":
            raise ZeroDivisionError("a bug in the trainer")
        if do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if do == "exit":
            sys.exit(7)
        if do == "forget":
            return
        start = int(store.read_bytes("step")) if store.exists("step") else 0
        for step in range(start, spec.num_steps):
            if progress is not None:
                progress(step + 1, spec.num_steps)
            if do == "hold" and step + 1 == MIDDLE:
                (folder / "holding").touch()
                wait_until(lambda: should_stop() or (folder / "go").exists(), "told to stop or to go on")
            if do == "report" and (step + 1) % 25 == 0:
                heard = folder / str(step + 1)
                wait_until(heard.exists, f"step {step + 1} was reported to the parent")
            if should_stop is not None and should_stop():
                store.write_bytes("step", str(step + 1).encode())
                raise RunStopped(f"stopped at {step + 1}", spec)
        row = {"run": spec.id, "schedule": spec.schedule, "start": str(start), "trainer": str(os.getpid())}
        value = {"run": spec.id, "step": spec.num_steps, "target": "web", "value": float(spec.seed)}
        finish(folder, Observations.from_records([row], [value]))


@dataclass(frozen=True)
class PlainTrainer:
    """Takes no hooks, as a user's own trainer may."""

    def run(self, spec: RunSpec, folder: Path) -> None:
        ScriptedTrainer().run(spec, folder)


@dataclass(frozen=True)
class EnvironmentTrainer:
    """Reports the threads its process may use as its "loss"."""

    def run(self, spec: RunSpec, folder: Path) -> None:
        import torch

        row = {"run": spec.id, "schedule": spec.schedule}
        value = {"run": spec.id, "step": 1, "target": "web", "value": float(torch.get_num_threads())}
        finish(folder, Observations.from_records([row], [value]))

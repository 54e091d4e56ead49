"""Trainers that do what their spec's ``model`` says, for the faults that an executor must survive."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mixlaw.data.mixture import Schedule
from mixlaw.data.observations import Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, RunError
from mixlaw.kit.store import Store
from mixlaw.train.contract import RunStopped, finish, is_done


def scripted(do: str, seed: int = 0, **changes: object) -> RunSpec:
    """A spec whose run does ``do``."""
    values: dict[str, object] = {"model": {"do": do}, "batch": 1, "context": 8, "seed": seed, **changes}
    return RunSpec(Schedule.constant({"web": 1.0}), tokens=800, **values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ScriptedTrainer:
    """``learn``: ends well; the other words: ends as they say. Its "checkpoint" is a file with the step."""

    step_seconds: float = 0.0

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
            time.sleep(self.step_seconds)
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

"""Training as a task of an executor: one item is one run spec."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mixlaw.data.observations import Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import DataError
from mixlaw.train.contract import Progress, ShouldStop, Trainer, is_done
from mixlaw.train.strategy_of import reference_of

__all__ = ["TrainingTask"]


@dataclass(frozen=True)
class TrainingTask:
    """Trains run specs with ``trainer``; the result of one is its :class:`~mixlaw.data.observations.Observations`.

    A run that starts from another one, or compares with one, waits for it. It satisfies
    :class:`mixlaw.execute.contract.Task`.

    Args:
        trainer: see :class:`~mixlaw.train.contract.Trainer`.

    Example:
        >>> from mixlaw.execute import LocalExecutor
        >>> task = TrainingTask(trainer)  # doctest: +SKIP
        >>> runs = LocalExecutor().map(task, specs, lambda spec: spec.id, "study/runs")  # doctest: +SKIP
    """

    trainer: Trainer

    noun = "run"

    def waits_for(self, item: RunSpec) -> Sequence[str]:
        """The run whose weights this one starts from, and the reference that its strategy compares with."""
        return tuple(run for run in (item.start_run, reference_of(item)) if run is not None)

    def is_done(self, item: RunSpec, folder: Path) -> bool:
        """Whether the run's ``DONE`` is there."""
        return is_done(folder)

    def run(self, item: RunSpec, folder: Path, progress: Progress, should_stop: ShouldStop) -> None:
        """Train; the trainer gets those of ``progress`` and ``should_stop`` that its ``run`` names.

        Raises:
            RunError: the run failed.
            RunStopped: it was stopped and can be continued.
        """
        hooks = {"progress": progress, "should_stop": should_stop}
        accepted = inspect.signature(self.trainer.run).parameters
        self.trainer.run(item, folder, **{name: hook for name, hook in hooks.items() if name in accepted})

    def read(self, item: RunSpec, folder: Path) -> Observations:
        """What the run measured.

        Raises:
            DataError: the folder does not hold it, or it is not as it was saved.
        """
        found = Observations.load(folder)
        if (held := found.runs["run"].to_pylist()) != [item.id]:
            raise DataError(f"{folder} holds what was measured in {held[:5]}, not in the run {item.id}.")
        return found

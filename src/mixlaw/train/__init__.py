"""Training runs: the proxy model, its loop, evaluation, checkpoints, and trainers of the user's own.

A *trainer* has one method, ``run(spec, folder)``: it trains what the :class:`~mixlaw.data.runspec.RunSpec` describes
and leaves ``spec.json``, ``runs.parquet``, ``values.parquet``, ``log.txt`` and, last of all, ``DONE`` in ``folder``.
It may also take the keywords ``progress`` and ``should_stop`` (see :mod:`mixlaw.train.contract`). Nothing here imports
torch until a built-in trainer runs.
"""

from __future__ import annotations

from mixlaw.data.seams import TRAINERS as TRAINERS
from mixlaw.kit.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "CommandTrainer": "mixlaw.train.command_trainer",
        "ModelConfig": "mixlaw.models.proxy.presets",
        "RunStopped": "mixlaw.errors",
        "Throughput": "mixlaw.train.throughput",
        "TorchTrainer": "mixlaw.train.torch_trainer",
        "Trainer": "mixlaw.train.contract",
        "TrainingTask": "mixlaw.train.training_task",
        "flops": "mixlaw.train.throughput",
        "measure": "mixlaw.train.throughput",
        "model_config": "mixlaw.models.proxy.presets",
        "presets": "mixlaw.models.proxy.presets",
    },
)

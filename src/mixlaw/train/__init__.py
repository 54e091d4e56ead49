"""Training runs: the proxy model, its loop, evaluation, checkpoints, and trainers of the user's own.

A *trainer* has one method, ``run(spec, folder)``: it trains what the :class:`~mixlaw.runspec.RunSpec` describes and
leaves ``spec.json``, ``runs.parquet``, ``values.parquet``, ``log.txt`` and, last of all, ``DONE`` in ``folder``. It may
also take the keywords ``progress`` and ``should_stop`` (see :mod:`mixlaw.train.contract`). Nothing here imports torch
until a built-in trainer runs.
"""

from __future__ import annotations

import importlib
from typing import Any

from mixlaw.registry import Registry

__all__ = [
    "TRAINERS",
    "CommandTrainer",
    "ModelConfig",
    "RunStopped",
    "Throughput",
    "TorchTrainer",
    "Trainer",
    "flops",
    "measure",
    "model_config",
    "presets",
]

TRAINERS = Registry(
    "trainer",
    {
        "torch": "mixlaw.train.trainer:TorchTrainer",
        "command": "mixlaw.train.command:CommandTrainer",
    },
)

_LAZY = {
    "CommandTrainer": "mixlaw.train.command",
    "ModelConfig": "mixlaw.train.presets",
    "RunStopped": "mixlaw.train.contract",
    "Throughput": "mixlaw.train.throughput",
    "TorchTrainer": "mixlaw.train.trainer",
    "Trainer": "mixlaw.train.contract",
    "flops": "mixlaw.train.throughput",
    "measure": "mixlaw.train.throughput",
    "model_config": "mixlaw.train.presets",
    "presets": "mixlaw.train.presets",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'mixlaw.train' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)

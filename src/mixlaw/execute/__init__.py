"""Executors: where work runs. Each has ``map(task, items, key, root)``, which yields results as they finish.

A *task* is what is done with an item: training is one (:class:`mixlaw.train.TrainingTask`), curation another. See
:mod:`mixlaw.execute.contract`.
"""

from __future__ import annotations

from mixlaw.data.seams import EXECUTORS as EXECUTORS
from mixlaw.kit.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {"Executor": "mixlaw.execute.contract", "Task": "mixlaw.execute.contract"},
    registry=EXECUTORS,
)

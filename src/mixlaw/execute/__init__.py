"""Executors: where training runs run. Each has ``map(trainer, specs, root)``, which yields results as they finish."""

from __future__ import annotations

from mixlaw.data.seams import EXECUTORS as EXECUTORS
from mixlaw.kit.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"LocalExecutor": "mixlaw.execute.local_executor"})

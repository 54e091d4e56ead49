"""Executors: where training runs run. Each has ``map(trainer, specs, root)``, which yields results as they finish."""

from __future__ import annotations

import importlib
from typing import Any

from mixlaw.registry import Registry

__all__ = ["EXECUTORS", "LocalExecutor"]

EXECUTORS = Registry("executor", {"local": "mixlaw.execute.local:LocalExecutor"})

_LAZY = {"LocalExecutor": "mixlaw.execute.local"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'mixlaw.execute' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)

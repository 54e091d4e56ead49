"""mixlaw: predict what a language model learns from a data mixture before it is trained, and find the best one.

Everything public is loaded when first used, so ``import mixlaw`` stays light.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "Budget": "mixlaw.budget",
    "Constraints": "mixlaw.budget",
    "Group": "mixlaw.budget",
    "Limit": "mixlaw.budget",
    "Certificate": "mixlaw.recipe",
    "Corpus": "mixlaw.corpus",
    "Domain": "mixlaw.corpus",
    "Ledger": "mixlaw.ledger",
    "Mixture": "mixlaw.mixture",
    "MixlawError": "mixlaw.errors",
    "MixlawWarning": "mixlaw.errors",
    "Observations": "mixlaw.observations",
    "Phase": "mixlaw.mixture",
    "Prediction": "mixlaw.prediction",
    "Recipe": "mixlaw.recipe",
    "RunSpec": "mixlaw.runspec",
    "Schedule": "mixlaw.mixture",
    "Store": "mixlaw.store",
    "Study": "mixlaw.study",
    "ValidationSet": "mixlaw.corpus",
}
_ROOMS = ("tokens", "design", "train", "execute", "laws", "optimize", "io", "report")

__all__ = sorted([*_LAZY, *_ROOMS])


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
    elif name in _ROOMS:
        value = importlib.import_module(f"mixlaw.{name}")
    else:
        raise AttributeError(f"module 'mixlaw' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

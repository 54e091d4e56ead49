"""Results for people: plots (one call each), one self-contained HTML page, and a page of sliders.

Everything is imported when first used; ``import mixlaw.report`` loads neither Matplotlib nor any law.
"""

from __future__ import annotations

import importlib
from typing import Any

_LAZY = {
    "ReportFacts": "mixlaw.report.facts",
    "page": "mixlaw.report.document",
}
_MODULES = ("plots", "steer")

__all__ = sorted([*_LAZY, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"mixlaw.report.{name}")
    raise AttributeError(f"mixlaw.report has no {name!r}; known: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__

"""Selection: which documents or examples to train on. Each selector is one file, in :data:`SELECTORS`."""

from __future__ import annotations

from mixlaw.data.seams import SELECTORS as SELECTORS
from mixlaw.kit.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Candidates": "mixlaw.select.contract",
        "NgramImportance": "mixlaw.select.importance",
        "ResamplingReport": "mixlaw.select.resampling",
        "Scorer": "mixlaw.select.contract",
        "Selector": "mixlaw.select.contract",
        "resample": "mixlaw.select.resampling",
    },
    registry=SELECTORS,
)

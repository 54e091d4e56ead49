"""Curation: steps that keep, change or reject documents. Each is one file of ``steps``, in :data:`STEPS`."""

from __future__ import annotations

from mixlaw.data.seams import STEPS as STEPS
from mixlaw.kit.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Rejected": "mixlaw.curate.contract",
        "Step": "mixlaw.curate.contract",
        "step_hash": "mixlaw.curate.contract",
    },
    registry=STEPS,
)

"""Evaluators: what is measured of a model beyond its training loss. Each is one file, in :data:`EVALUATORS`."""

from __future__ import annotations

from mixlaw.data.seams import EVALUATORS as EVALUATORS
from mixlaw.kit.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Evaluation": "mixlaw.evaluate.contract",
        "Evaluator": "mixlaw.evaluate.contract",
        "Question": "mixlaw.evaluate.contract",
    },
    registry=EVALUATORS,
)

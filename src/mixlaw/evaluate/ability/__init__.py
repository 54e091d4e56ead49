"""What single items tell: ability on a common scale, the next item worth asking, and whether a task can tell models
apart at all. NumPy and observations only; no model is loaded here."""

from __future__ import annotations

from mixlaw.kit.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Ability": "mixlaw.evaluate.ability.item_response",
        "Items": "mixlaw.evaluate.ability.item_response",
        "Responses": "mixlaw.evaluate.ability.item_response",
        "signal_to_noise": "mixlaw.evaluate.ability.task_noise",
    },
)

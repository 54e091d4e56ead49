"""Laws of format 0 named the path of a class (``mixlaw.laws.m1:M1``); since format 1 they hold a registry name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["migrate"]

FORMER = {
    "mixlaw.laws.m1:M1": "m1",
    "mixlaw.laws.m2:M2": "m2",
    "mixlaw.laws.m3:M3": "m3",
    "mixlaw.laws.m4:M4": "m4",
    "mixlaw.laws.implicit:Implicit": "implicit",
    "mixlaw.laws.loglinear:LogLinear": "log_linear",
    "mixlaw.laws.effective:EffectiveTokens": "effective_tokens",
    "mixlaw.laws.bimix:BiMix": "bi_mix",
    "mixlaw.laws.autoscale:AutoScale": "auto_scale",
    "mixlaw.laws.gp:GaussianProcess": "gaussian_process",
    "mixlaw.laws.trees:Trees": "trees",
    "mixlaw.laws.auto:Auto": "auto",
    "mixlaw.laws.kaplan:Kaplan": "kaplan",
    "mixlaw.laws.chinchilla:Chinchilla": "chinchilla",
    "mixlaw.laws.repeated:RepeatedData": "repeated_data",
    "mixlaw.laws.annealing:LearningRateAnnealing": "learning_rate_annealing",
    "mixlaw.laws.broken:BrokenPowerLaw": "broken_power_law",
    "mixlaw.laws.nested:Nested": "nested",
    "mixlaw.laws.joint:Joint": "joint",
    "mixlaw.laws.published_laws:PublishedLaw": "published",
    "mixlaw.optimize.phases:PhaseLaw": "phase_law",
    "mixlaw.optimize.restricted:Restricted": "restricted",
    "mixlaw.optimize.task:TaskLaw": "task",
}


def migrate(content: dict[str, Any]) -> dict[str, Any]:
    """The same law, and every law inside it, under its registry name.

    Example:
        >>> migrate({"class": "mixlaw.laws.gp:GaussianProcess", "params": {}, "state": {}})["class"]
        'gaussian_process'
    """
    return _named(content)  # type: ignore[no-any-return]


def _named(value: Any) -> Any:
    if isinstance(value, Mapping):
        out = {key: _named(part) for key, part in value.items()}
        if {"class", "params", "state"} <= set(out):
            out["class"] = FORMER.get(out["class"], out["class"])
        return out
    if isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        return [_named(part) for part in value]
    return value

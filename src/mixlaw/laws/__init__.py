"""Laws: what a language model's losses are, as a function of mixture, size and tokens.

``mixlaw.laws.M4()`` and every other name below is imported when first used. ``LAWS`` maps registry names
(``"m4"``, ``"chinchilla"``, ...) to the classes, for the command line and for :func:`compare`; a user's own law
joins with ``LAWS.register("mine", MyLaw)``.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from mixlaw.registry import Registry

_CLASSES = {  # registry name -> "module:Class"; the attribute of mixlaw.laws is the class's own name
    # mixtures
    "m1": "mixlaw.laws.m1:M1",
    "m2": "mixlaw.laws.m2:M2",
    "m3": "mixlaw.laws.m3:M3",
    "m4": "mixlaw.laws.m4:M4",
    "implicit": "mixlaw.laws.implicit:Implicit",
    "loglinear": "mixlaw.laws.loglinear:LogLinear",
    "effective_tokens": "mixlaw.laws.effective:EffectiveTokens",
    "bimix": "mixlaw.laws.bimix:BiMix",
    "autoscale": "mixlaw.laws.autoscale:AutoScale",
    "gp": "mixlaw.laws.gp:GaussianProcess",
    "trees": "mixlaw.laws.trees:Trees",
    "auto": "mixlaw.laws.auto:Auto",
    # size and data
    "kaplan": "mixlaw.laws.kaplan:Kaplan",
    "chinchilla": "mixlaw.laws.chinchilla:Chinchilla",
    "repeated_data": "mixlaw.laws.repeated:RepeatedData",
    "annealing": "mixlaw.laws.annealing:LearningRateAnnealing",
    "broken": "mixlaw.laws.broken:BrokenPowerLaw",
    # both
    "nested": "mixlaw.laws.nested:Nested",
    "joint": "mixlaw.laws.joint:Joint",
}

LAWS: Registry = Registry("law", _CLASSES)

_ATTRIBUTES = {target.partition(":")[2]: target for target in _CLASSES.values()} | {
    "Exponential": "mixlaw.laws.m4:M4",
    "Law": "mixlaw.laws.base:Law",
    "Atoms": "mixlaw.laws.base:Atoms",
    "compare": "mixlaw.laws.compare:compare",
    "effects": "mixlaw.laws.effects:effects",
    "published": "mixlaw.laws.published_laws:published",
    "rank_transfer": "mixlaw.laws.transfer:rank_transfer",
}

__all__ = ["LAWS", *sorted(_ATTRIBUTES)]


def __getattr__(name: str) -> Any:
    try:
        module, _, attribute = _ATTRIBUTES[name].partition(":")
    except KeyError:
        from mixlaw.errors import did_you_mean

        raise AttributeError(f"mixlaw.laws has no {name!r}.{did_you_mean(name, sorted(_ATTRIBUTES))}") from None
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(__all__) | set(globals()))


class _Laws(ModuleType):
    """Keeps ``laws.compare`` the function once the file ``laws/compare.py`` has been imported: importing a
    submodule would otherwise put the module in its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _ATTRIBUTES.get(name, "").endswith(f".{name}:{name}"):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Laws

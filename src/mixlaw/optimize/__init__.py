"""The best mixture a law and a budget allow, certified where that is possible, and what each limit costs.

``mixlaw.optimize`` is this room **and** the function: ``mixlaw.optimize(law, objective, budget, corpus)`` calls
:func:`mixlaw.optimize.optimize`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_ATTRIBUTES = {
    "optimize": "mixlaw.optimize.api",
    "Repetition": "mixlaw.optimize.forms",
    "TaskLaw": "mixlaw.optimize.task",
    "baselines": "mixlaw.optimize.baselines",
    "Critical": "mixlaw.optimize.critical",
    "critical_from_observations": "mixlaw.optimize.critical",
    "PhaseLaw": "mixlaw.optimize.phases",
    "best_schedule": "mixlaw.optimize.schedule",
    "frontier": "mixlaw.optimize.pareto",
    "price": "mixlaw.optimize.prices",
    "temperature": "mixlaw.optimize.baselines",
    "unimax": "mixlaw.optimize.baselines",
}

__all__ = sorted(_ATTRIBUTES)


class _Room(ModuleType):
    """A module that can be called like the function it is named after."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See :func:`mixlaw.optimize.optimize`."""
        return self.optimize(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name not in _ATTRIBUTES:
            from mixlaw.errors import did_you_mean

            if name.startswith("__"):
                raise AttributeError(name)
            raise AttributeError(f"mixlaw.optimize has no {name!r}.{did_you_mean(name, _ATTRIBUTES)}")
        value = getattr(importlib.import_module(_ATTRIBUTES[name]), name)
        vars(self)[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ATTRIBUTES and isinstance(value, ModuleType):
            return  # importing the submodule of that name must not hide the function
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *_ATTRIBUTES})


sys.modules[__name__].__class__ = _Room

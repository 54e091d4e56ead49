"""The best mixture a law and a budget allow, certified where that is possible, and what each limit costs.

``mixlaw.optimize`` is this room **and** the function: ``mixlaw.optimize(law, objective, budget, corpus)`` calls
:func:`mixlaw.optimize.optimize`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixlaw.optimize.api import optimize as optimize
    from mixlaw.optimize.baselines import baselines, temperature, unimax
    from mixlaw.optimize.critical import Critical, critical, critical_from_observations
    from mixlaw.optimize.forms import Repetition
    from mixlaw.optimize.new_runs import NewRuns
    from mixlaw.optimize.pareto import Frontier, frontier
    from mixlaw.optimize.phases import PhaseLaw
    from mixlaw.optimize.prices import price
    from mixlaw.optimize.restricted import Restricted
    from mixlaw.optimize.reuse import Reuse, reuse
    from mixlaw.optimize.schedule import best_schedule
    from mixlaw.optimize.task import TaskLaw

_ATTRIBUTES = {
    "Critical": "mixlaw.optimize.critical",
    "Frontier": "mixlaw.optimize.pareto",
    "NewRuns": "mixlaw.optimize.new_runs",
    "PhaseLaw": "mixlaw.optimize.phases",
    "Repetition": "mixlaw.optimize.forms",
    "Restricted": "mixlaw.optimize.restricted",
    "Reuse": "mixlaw.optimize.reuse",
    "TaskLaw": "mixlaw.optimize.task",
    "baselines": "mixlaw.optimize.baselines",
    "best_schedule": "mixlaw.optimize.schedule",
    "critical": "mixlaw.optimize.critical",
    "critical_from_observations": "mixlaw.optimize.critical",
    "frontier": "mixlaw.optimize.pareto",
    "optimize": "mixlaw.optimize.api",
    "price": "mixlaw.optimize.prices",
    "reuse": "mixlaw.optimize.reuse",
    "temperature": "mixlaw.optimize.baselines",
    "unimax": "mixlaw.optimize.baselines",
}

__all__ = [  # the names of _ATTRIBUTES, written out for type checkers
    "Critical",
    "Frontier",
    "NewRuns",
    "PhaseLaw",
    "Repetition",
    "Restricted",
    "Reuse",
    "TaskLaw",
    "baselines",
    "best_schedule",
    "critical",
    "critical_from_observations",
    "frontier",
    "optimize",
    "price",
    "reuse",
    "temperature",
    "unimax",
]


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
            return  # importing the submodule must not hide the function of the same name
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *_ATTRIBUTES})


sys.modules[__name__].__class__ = _Room

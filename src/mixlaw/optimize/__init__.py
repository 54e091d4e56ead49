"""The best mixture a law and a budget allow, certified where that is possible, and what each limit costs.

``mixlaw.optimize`` is this room **and** the function: ``mixlaw.optimize(law, objective, budget, corpus)`` calls
:func:`mixlaw.optimize.optimize`.
"""

from __future__ import annotations

from mixlaw.kit.lazy import attach, call_as

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Critical": "mixlaw.optimize.critical_share",
        "Frontier": "mixlaw.optimize.around.pareto",
        "PhaseLaw": "mixlaw.laws.mixture.phase_law",
        "Request": "mixlaw.optimize.pose.request",
        "Repetition": "mixlaw.optimize.pose.forms",
        "Restricted": "mixlaw.laws.core.restricted",
        "TaskLaw": "mixlaw.optimize.pose.task",
        "answer": "mixlaw.optimize.optimum",
        "baselines": "mixlaw.optimize.around.baselines",
        "best_schedule": "mixlaw.optimize.schedules.best",
        "critical": "mixlaw.optimize.critical_share",
        "critical_from_observations": "mixlaw.optimize.critical_share",
        "frontier": "mixlaw.optimize.around.pareto",
        "optimize": "mixlaw.optimize.optimum",
        "price": "mixlaw.optimize.around.prices",
        "temperature": "mixlaw.optimize.around.baselines",
        "unimax": "mixlaw.optimize.around.baselines",
    },
)
call_as(__name__, "optimize")

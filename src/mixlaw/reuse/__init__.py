"""What old runs still say after the corpus has changed, and the few new runs that are missing."""

from __future__ import annotations

from mixlaw.kit.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "NewRuns": "mixlaw.reuse.new_runs",
        "Reuse": "mixlaw.reuse.old_runs",
        "reuse": "mixlaw.reuse.old_runs",
    },
)

"""Results for people: plots (one call each), one self-contained HTML page, and a page of sliders.

Everything is imported when first used; ``import mixlaw.report`` loads neither Matplotlib nor any law.
"""

from __future__ import annotations

from mixlaw.kit.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {"ReportFacts": "mixlaw.report.facts", "page": "mixlaw.report.document"},
    modules=("plots", "steer"),
)

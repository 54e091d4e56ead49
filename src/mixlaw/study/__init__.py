"""The study: one folder and one ``study.yaml``; every step reads what is there and is safe to repeat."""

from __future__ import annotations

from mixlaw.kit.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"Study": "mixlaw.study.study"})

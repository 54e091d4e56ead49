"""The next runs by expected reduction of regret: :func:`mixlaw.design.plan` as a sampler."""

from __future__ import annotations

from mixlaw.design.adaptive.sequential import propose

__all__ = ["propose"]

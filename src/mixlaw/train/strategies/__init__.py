"""Strategies: what changes the mixture while a run trains. Each is one file, in :data:`STRATEGIES`."""

from __future__ import annotations

from mixlaw.data.seams import STRATEGIES as STRATEGIES
from mixlaw.kit.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"Strategy": "mixlaw.train.strategies.contract"}, registry=STRATEGIES)

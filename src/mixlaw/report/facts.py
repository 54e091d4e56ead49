"""What a report is made from: data types only, any of which may be missing in an unfinished study."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mixlaw.data.corpus import Corpus
from mixlaw.data.ledger import GENESIS, Entry
from mixlaw.data.observations import Observations
from mixlaw.data.recipe import Recipe

__all__ = ["ReportFacts", "installed_versions"]

_PACKAGES = ("mixlaw", "numpy", "scipy", "scikit-learn", "pyarrow", "tokenizers", "clarabel", "torch", "matplotlib")


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on, without importing them."""
    versions = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@dataclass(frozen=True)
class ReportFacts:
    """Everything :func:`mixlaw.report.page` may show. What is None or empty is said to be missing.

    Args:
        title: name of the study.
        corpus: the text that was measured.
        observations: the swarm's runs (of one size, that the law was fitted to).
        law: the fitted law (any :class:`~mixlaw.laws.core.base.Law`).
        league: what ``laws.compare`` returned, as plain data.
        effects: what ``laws.effects`` returned, or as plain data; drawn as a heat map.
        recipe: the proposed mixture with its predictions.
        entries: the ledger, in order.
        verification: ``verification.json``; its shape is written down in ``docs/plots.md``.
        config: ``study.yaml`` as plain data.
        failures: ``{run id: message}`` of runs that failed.
        commands: the command lines that made the study, in order.
        next_step: the command line that continues an unfinished study, or "".
        versions: see :func:`installed_versions`.
        now: when the report was made (ISO 8601).
        stale: ``{verb: why what it wrote no longer holds}``; see :mod:`mixlaw.study.freshness`.
        schedule: the proposed mixtures of several phases, where runs with phases were there to find them from.
        unsealed: which files carry no checksum, in words; empty where all do.
        equal_tokens: how experts and mixtures predict at equal tokens, as a table; empty where there are not both.

    Example:
        >>> ReportFacts("empty").ledger_head[:4]
        '0000'
    """

    title: str
    corpus: Corpus | None = None
    observations: Observations | None = None
    law: Any = None
    league: Mapping[str, Any] | None = None
    effects: Any = None
    recipe: Recipe | None = None
    entries: tuple[Entry, ...] = ()
    verification: Mapping[str, Any] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    next_step: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    now: str = ""
    stale: Mapping[str, str] = field(default_factory=dict)
    schedule: Recipe | None = None
    unsealed: str = ""
    equal_tokens: str = ""

    @property
    def ledger_head(self) -> str:
        """Hash of the last ledger entry (64 zeros without entries)."""
        return self.entries[-1].hash if self.entries else GENESIS

    @property
    def objective(self) -> dict[str, float]:
        """Objective weights, summing to one; empty where nobody stated an objective by weights."""
        stated = (self.recipe.objective if self.recipe is not None else None) or self.config.get("objective") or {}
        weights = {k: float(v) for k, v in stated.items() if isinstance(v, int | float)}
        if len(weights) != len(stated) or sum(weights.values()) <= 0:
            weights = {k: float(v) for k, v in (self.config.get("objective") or {}).items()}
        total = sum(weights.values())
        return {k: v / total for k, v in weights.items() if v > 0} if total > 0 else {}

    @property
    def own(self) -> dict[str, str]:
        """Which training domain each validation set was split from."""
        return {v.name: v.domain for v in self.corpus.validation if v.domain} if self.corpus is not None else {}

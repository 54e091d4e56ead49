"""OLMo-core's source mixtures: select *tokens* per source before training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from mixlaw.errors import ExportError
from mixlaw.io.exporters.base import Simulation, summarize
from mixlaw.recipe import Recipe
from mixlaw.store import Store

__all__ = ["OlmoCore"]


class OlmoCore:
    """YAML of a ``SourceMixtureDatasetConfig``: ``target_ratio`` and ``max_repetition_ratio`` per source.

    Ratios are of tokens. A source needed for more than one epoch must allow it: ``max_repetition_ratio`` is the
    recipe's epochs, rounded up to a hundredth. OLMo-core has no phases inside one mixture; each phase becomes a block.
    """

    draws = "tokens"

    def __init__(self, sequence_length: int = 4096, path: str = "{domain}/*.npy") -> None:
        self.sequence_length = sequence_length
        self.path = path

    def write(self, recipe: Recipe, path: Path) -> Path:
        """YAML with one block per phase."""
        blocks = []
        unique = recipe.corpus.unique_tokens
        for phase in recipe.schedule.phases:
            tokens = round(phase.fraction * recipe.tokens)
            sources: list[dict[str, Any]] = []
            for domain, weight in phase.mixture.to_dict().items():
                if weight <= 0:
                    continue
                needed = weight * tokens / unique[domain]
                sources.append(
                    {
                        "source_name": domain,
                        "target_ratio": weight,
                        "max_repetition_ratio": max(1.0, math.ceil(needed * 100) / 100),
                        "paths": [self.path.format(domain=domain)],
                    }
                )
            blocks.append({"requested_tokens": tokens, "source_list": {"sources": sources}})
        text = "# target_ratio is a share of tokens\n" + yaml.safe_dump({"phases": blocks}, sort_keys=False)
        Store(path.parent).write_bytes(path.name, text.encode())
        return path

    def simulate(self, recipe: Recipe) -> Simulation:
        """OLMo-core 2.0, ``SourceMixtureDatasetConfig.build``: ``int(tokens * ratio)`` per source, whole instances of
        ``sequence_length`` tokens, the instances still missing by largest remainder.

        Raises:
            ExportError: a phase shorter than one instance.
        """
        phase_tokens = []
        for phase in recipe.schedule.phases:
            tokens = round(phase.fraction * recipe.tokens)
            wanted = tokens // self.sequence_length
            if wanted < 1:
                raise ExportError(f"A phase of {tokens} tokens holds no instance of {self.sequence_length} tokens.")
            needed = {d: int(tokens * w) for d, w in phase.mixture.to_dict().items()}
            instances = {d: n // self.sequence_length for d, n in needed.items()}
            order = sorted(needed, key=lambda d: -(needed[d] % self.sequence_length))
            for d in order[: max(0, wanted - sum(instances.values()))]:
                instances[d] += 1 if needed[d] else 0
            phase_tokens.append({d: float(n * self.sequence_length) for d, n in instances.items()})
        return summarize(recipe, "OLMo-core 2.0 source mixture", self.draws, phase_tokens)

"""OLMo-core's source mixtures: select *tokens* per source before training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from mixlaw.data.recipe import Recipe
from mixlaw.errors import ConfigError, ExportError
from mixlaw.io.exporters.base import Exporter, Simulation, at_least, summarize
from mixlaw.kit.store import Store

__all__ = ["OlmoCore"]


class OlmoCore(Exporter):
    """YAML of a ``SourceMixtureDatasetConfig``: ``target_ratio`` and ``max_repetition_ratio`` per source.

    Ratios are of tokens. A source needed for more than one epoch must allow it: ``max_repetition_ratio`` is the epochs
    needed, with the rounding up to whole batches, rounded up to a hundredth. OLMo-core has no phases inside one
    mixture; each phase becomes a block. ``batch_tokens`` is the global batch in tokens: OLMo-core rounds a phase up to
    whole batches.
    """

    draws = "tokens"

    def __init__(self, sequence_length: int = 4096, path: str = "{domain}/*.npy", batch_tokens: int = 131_072) -> None:
        at_least(1, sequence_length=sequence_length, batch_tokens=batch_tokens)
        if batch_tokens % sequence_length:
            raise ConfigError(
                f"batch_tokens={batch_tokens} is no multiple of sequence_length={sequence_length}, as OLMo-core needs."
            )
        self.sequence_length = sequence_length
        self.batch_tokens = batch_tokens
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
                most = weight * self._whole_batches(tokens) + self.sequence_length
                needed = most / unique[domain] if most > unique[domain] else 1.0
                sources.append(
                    {
                        "source_name": domain,
                        "target_ratio": weight,
                        "max_repetition_ratio": math.ceil(needed * 100) / 100,
                        "paths": [self.path.format(domain=domain)],
                    }
                )
            blocks.append(
                {
                    "requested_tokens": tokens,
                    "global_batch_size": self.batch_tokens,
                    "source_list": {"sources": sources},
                }
            )
        text = "# target_ratio is a share of tokens\n" + yaml.safe_dump({"phases": blocks}, sort_keys=False)
        Store(path.parent).write_bytes(path.name, text.encode())
        return path

    def _whole_batches(self, tokens: int) -> int:
        return math.ceil(tokens / self.batch_tokens) * self.batch_tokens

    def simulate(self, recipe: Recipe) -> Simulation:
        """OLMo-core 2.0, ``SourceMixtureDatasetConfig.build``, with one file per domain.

        ``int(tokens * ratio)`` tokens per source, a whole copy of the file for each whole epoch and the rest from the
        next; whole instances of ``sequence_length`` tokens of each; the instances missing to whole batches evenly, then
        by largest remainder, where a file has instances left.

        Raises:
            ExportError: a phase shorter than one instance.
        """
        unique = recipe.corpus.unique_tokens
        size = self.sequence_length
        phase_tokens = []
        for phase in recipe.schedule.phases:
            tokens = round(phase.fraction * recipe.tokens)
            if tokens < size:
                raise ExportError(f"A phase of {tokens} tokens holds no instance of {size} tokens.")
            files: list[tuple[str, int, int]] = []  # domain, tokens wanted of the copy, tokens it has
            for domain, weight in phase.mixture.to_dict().items():
                wanted = int(tokens * weight) if weight > 0 else 0
                while wanted > 0:
                    part = min(wanted, int(unique[domain]))
                    files.append((domain, part, int(unique[domain])))
                    wanted -= part
            instances = _apportion(files, self._whole_batches(tokens) // size, size)
            drawn = dict.fromkeys(recipe.schedule.domains, 0.0)
            for (domain, _, _), count in zip(files, instances):
                drawn[domain] += float(count * size)
            phase_tokens.append(drawn)
        return summarize(recipe, "OLMo-core 2.0 source mixture", self.draws, phase_tokens)


def _apportion(files: list[tuple[str, int, int]], requested: int, size: int) -> list[int]:
    """Instances of ``size`` tokens per file, ``requested`` in all where the files hold as many."""
    capacity = [has // size for _, _, has in files]
    counts = [wanted // size for _, wanted, _ in files]
    room = [k for k in range(len(files)) if counts[k] < capacity[k]]
    remainder = {k: files[k][1] % size for k in room}
    each = max(0, requested - sum(counts)) // len(room) if room else 0
    for k in room:
        counts[k] += min(each, capacity[k] - counts[k])
    order = sorted((k for k in room if counts[k] < capacity[k]), key=lambda k: (remainder[k], k), reverse=True)
    for k in order[: max(0, requested - sum(counts))]:
        counts[k] += 1
    return counts

"""MosaicML Streaming: ``Stream(proportion=...)`` draws *samples* of an MDS dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from mixlaw.data.recipe import Recipe
from mixlaw.errors import ExportError
from mixlaw.io.exporters.base import (
    Exporter,
    Simulation,
    at_least,
    document_probabilities,
    summarize,
    tokens_per_document,
)
from mixlaw.kit.store import Store

__all__ = ["Streaming"]


class Streaming(Exporter):
    """YAML with ``streams`` (``proportion`` each) and ``epoch_size``, one block per phase.

    A sample of an LLM dataset converted with ``--concat_tokens`` has a fixed length (``packed=True``, the default):
    then proportions are token weights. Otherwise a sample is a document and proportions are converted.
    """

    draws = "samples"

    def __init__(
        self, packed: bool = True, sequence_length: int = 2048, remote: str = "{domain}", seed: int = 9176
    ) -> None:
        at_least(1, sequence_length=sequence_length)
        at_least(0, seed=seed)
        self.packed = packed
        self.sequence_length = sequence_length
        self.remote = remote
        self.seed = seed  # StreamingDataset's shuffle_seed; 9176 is its default

    def _lengths(self, recipe: Recipe) -> npt.NDArray[np.float64]:
        if self.packed:
            return np.full(len(recipe.schedule.domains), float(self.sequence_length))
        return tokens_per_document(recipe)

    def _phases(self, recipe: Recipe) -> list[tuple[int, npt.NDArray[np.float64]]]:
        lengths = self._lengths(recipe)
        result = []
        for phase in recipe.schedule.phases:
            p = document_probabilities(phase.mixture.array(), lengths)
            size = int(phase.fraction * recipe.tokens / float(p @ lengths))
            if size < 1:
                raise ExportError(f"A phase of {phase.fraction * recipe.tokens:.0f} tokens holds no sample.")
            result.append((size, p))
        return result

    def write(self, recipe: Recipe, path: Path) -> Path:
        """YAML with one block per phase."""
        blocks: list[dict[str, Any]] = []
        for size, p in self._phases(recipe):
            streams = {
                d: {"remote": self.remote.format(domain=d), "proportion": float(v)}
                for d, v in zip(recipe.schedule.domains, p)
                if v > 0
            }
            blocks.append({"epoch_size": size, "shuffle_seed": self.seed, "streams": streams})
        unit = f"samples of {self.sequence_length} tokens" if self.packed else "documents"
        text = f"# proportion is a share of {unit}\n" + yaml.safe_dump({"phases": blocks}, sort_keys=False)
        Store(path.parent).write_bytes(path.name, text.encode())
        return path

    def simulate(self, recipe: Recipe) -> Simulation:
        """Streaming 0.9, ``Stream.apply_weights``: ``int(proportion * epoch_size)`` samples of each stream, the missing
        ones from different streams drawn by ``numpy.random.default_rng(shuffle_seed)``."""
        lengths = self._lengths(recipe)
        phase_tokens = []
        for size, p in self._phases(recipe):
            positive = np.flatnonzero(p > 0)
            choose = np.zeros(len(p), dtype=np.int64)
            choose[positive] = (size * (p[positive] / p[positive].sum())).astype(np.int64)
            missing = size - int(choose.sum())
            extra = np.random.default_rng(self.seed).choice(len(positive), missing, replace=False)
            choose[positive[extra]] += 1
            phase_tokens.append(dict(zip(recipe.schedule.domains, (choose * lengths).tolist())))
        return summarize(recipe, "MosaicML Streaming 0.9 proportions", self.draws, phase_tokens)

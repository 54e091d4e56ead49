"""Hugging Face ``datasets.interleave_datasets``: draws *examples* with given probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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

__all__ = ["HuggingFace"]


class HuggingFace(Exporter):
    """Arguments of ``datasets.interleave_datasets(datasets, probabilities, seed, stopping_strategy)``.

    One draw is an example of the dataset: a document, unless the datasets were packed into fixed-length samples
    (``packed=True``), so probabilities are proportional to weight / mean tokens per document. With
    ``stopping_strategy="all_exhausted"`` a domain that runs out starts again, as more than one epoch needs.
    The run, not the dataset, must stop after the recipe's tokens.

    Algorithm followed by :meth:`simulate`: ``datasets`` 3.0, ``interleave_datasets`` with probabilities: source indices
    come from ``numpy.random.default_rng(seed).choice(K, size=1000, p=probabilities)``, block after block.
    """

    draws = "documents"

    def __init__(self, packed: bool = False, seed: int = 42) -> None:
        at_least(0, seed=seed)
        self.packed = packed
        self.seed = seed

    def _lengths(self, recipe: Recipe) -> npt.NDArray[np.float64]:
        return np.full(len(recipe.schedule.domains), 2048.0) if self.packed else tokens_per_document(recipe)

    def probabilities(self, recipe: Recipe) -> list[dict[str, float]]:
        """Probability of each domain's examples, per phase; domains of weight 0 are left out."""
        lengths = self._lengths(recipe)
        result = []
        for phase in recipe.schedule.phases:
            p = document_probabilities(phase.mixture.array(), lengths)
            result.append({d: float(v) for d, v in zip(recipe.schedule.domains, p) if v > 0})
        return result

    def write(self, recipe: Recipe, path: Path) -> Path:
        """JSON with the arguments, one block per phase."""
        phases: list[dict[str, Any]] = []
        for phase, p in zip(recipe.schedule.phases, self.probabilities(recipe)):
            phases.append(
                {
                    "tokens": round(phase.fraction * recipe.tokens),
                    "datasets": list(p),
                    "probabilities": list(p.values()),
                    "seed": self.seed,
                    "stopping_strategy": "all_exhausted",
                }
            )
        unit = "fixed-length samples" if self.packed else "documents"
        Store(path.parent).write_json(
            path.name,
            {
                "framework": "huggingface",
                "one_draw_is": unit,
                "note": "probabilities are of examples; converted from token weights by mean tokens per document",
                "token_weights": [p.mixture.to_dict() for p in recipe.schedule.phases],
                "interleave_datasets": phases,
            },
        )
        return path

    def simulate(self, recipe: Recipe, max_draws: int = 2_000_000) -> Simulation:
        """Draw as ``interleave_datasets`` does; tokens are draws x mean tokens per document, scaled to the run.

        Raises:
            ExportError: a phase is shorter than one document.
        """
        lengths = dict(zip(recipe.schedule.domains, self._lengths(recipe)))
        phase_tokens = []
        for phase, p in zip(recipe.schedule.phases, self.probabilities(recipe)):
            names, values = list(p), np.array(list(p.values()))
            budget = phase.fraction * recipe.tokens
            mean = float(sum(v * lengths[n] for n, v in p.items()))
            wanted = int(budget / mean)
            if wanted < 1:
                raise ExportError(f"A phase of {budget:.0f} tokens is shorter than one document ({mean:.0f} tokens).")
            num = min(wanted, max_draws)
            rng = np.random.default_rng(self.seed)
            blocks = [rng.choice(len(names), size=1000, p=values) for _ in range(-(-num // 1000))]
            counts = np.bincount(np.concatenate(blocks)[:num], minlength=len(names))
            tokens = {d: 0.0 for d in recipe.schedule.domains}
            tokens.update({n: float(c * lengths[n] * budget / (num * mean)) for n, c in zip(names, counts)})
            phase_tokens.append(tokens)
        return summarize(recipe, "Hugging Face datasets 3.0 interleave_datasets", self.draws, phase_tokens)

"""torchtitan's grain pipeline: ``weighted_interleave`` draws *documents* (or packed samples), deterministically."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.recipe import Recipe
from mixlaw.errors import ExportError
from mixlaw.io.exporters.base import Exporter, Simulation, document_probabilities, summarize, tokens_per_document
from mixlaw.kit.store import Store

__all__ = ["TorchTitan", "mix_counts"]


def mix_counts(weights: npt.ArrayLike, num: int) -> npt.NDArray[np.int64]:
    """Draws per child among the first ``num`` of ``grain.MapDataset.mix``.

    grain 0.2, ``MapDataset.mix``: weights become integers by scaling the smallest to 100 and cutting the fraction, so
    a weight w is off by up to one hundredth of the smallest. Child after child then takes the ceiling of its share
    among the children that remain, in integer arithmetic.
    """
    w = np.asarray(weights, dtype=float)
    scale = 100 / w.min()
    proportions = [int(v * scale) for v in w.tolist()]
    left, remaining = num, sum(proportions)
    counts = []
    for p in proportions:
        rest = (left * (remaining - p)) // remaining
        counts.append(left - rest)
        remaining -= p
        left = rest
    return np.array(counts, dtype=np.int64)


class TorchTitan(Exporter):
    """Python for torchtitan's ``weighted_interleave([(dataset, weight), ...])``.

    One draw is a document unless the children are packed before mixing (``packed=True``): token weights are divided
    by the mean tokens per document.

    The mix ends when its first child is exhausted, and only the finished mix repeats (``infinite``): then every domain
    is repeated as often as the most repeated one, on the documents drawn so far, and the rest of it is never read.
    :meth:`simulate` counts epochs so, which may exceed a cap that tokens / unique tokens would keep; use an exporter
    that repeats each domain by itself (Megatron, Streaming) for such a recipe.
    """

    draws = "documents"

    def __init__(self, packed: bool = False) -> None:
        self.packed = packed

    def _weights(self, recipe: Recipe) -> list[dict[str, float]]:
        lengths = np.ones(len(recipe.schedule.domains)) if self.packed else tokens_per_document(recipe)
        return [
            {
                d: float(p)
                for d, p in zip(recipe.schedule.domains, document_probabilities(phase.mixture.array(), lengths))
                if p > 0
            }
            for phase in recipe.schedule.phases
        ]

    def write(self, recipe: Recipe, path: Path) -> Path:
        """A Python module with one ``weighted_interleave`` per phase; fill in the sources."""
        unit = "fixed-length samples" if self.packed else "documents"
        lines = [
            '"""torchtitan data mix, written by mixlaw.',
            "",
            f"Weights are of {unit}, as weighted_interleave draws them; they were converted from token weights.",
            '"""',
            "",
            "from torchtitan.components.data.dataset import weighted_interleave",
            "",
            "# Map each domain to its SingleDatasetConfig before use.",
            "",
        ]
        for k, (phase, weights) in enumerate(zip(recipe.schedule.phases, self._weights(recipe)), start=1):
            lines += [
                "",
                f"def phase_{k}(datasets):",
                f'    """Train for {round(phase.fraction * recipe.tokens)} tokens."""',
            ]
            lines += ["    return weighted_interleave(", "        ["]
            lines += [f"            (datasets[{d!r}], {w!r})," for d, w in weights.items()]
            lines += ["        ]", "    )", ""]
        Store(path.parent).write_bytes(path.name, "\n".join(lines).encode())
        return path

    def simulate(self, recipe: Recipe) -> Simulation:
        """Follow ``MapDataset.mix``: deterministic proportions of documents, the mix repeated as a whole.

        Raises:
            ExportError: a phase shorter than one document.
        """
        lengths: dict[str, Any] = dict(
            zip(
                recipe.schedule.domains,
                np.full(len(recipe.schedule.domains), 2048.0) if self.packed else tokens_per_document(recipe),
            )
        )
        unique = recipe.corpus.unique_tokens
        phase_tokens, reached = [], []
        for phase, weights in zip(recipe.schedule.phases, self._weights(recipe)):
            budget = phase.fraction * recipe.tokens
            mean = sum(w * lengths[d] for d, w in weights.items())
            num = int(budget / mean)
            if num < 1:
                raise ExportError(f"A phase of {budget:.0f} tokens is shorter than one document ({mean:.0f} tokens).")
            shares = list(weights.values())
            once = int(min(max(1, unique[d] // lengths[d]) / (w / sum(shares)) for d, w in weights.items()))
            passes, last = divmod(num, once)
            whole = dict(zip(weights, mix_counts(shares, min(num, once))))
            counts = dict(zip(weights, passes * mix_counts(shares, once) + mix_counts(shares, last)))
            phase_tokens.append({d: float(counts.get(d, 0) * lengths[d]) for d in recipe.schedule.domains})
            reached.append(
                {
                    d: float(max(1, whole.get(d, 0)) * lengths[d]) if passes else float(unique[d])
                    for d in recipe.schedule.domains
                }
            )
        return summarize(
            recipe, "torchtitan weighted_interleave (grain 0.2 MapDataset.mix)", self.draws, phase_tokens, reached
        )

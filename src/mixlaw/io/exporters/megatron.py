"""Megatron-LM blends: draws fixed-length *samples*, deterministically, each from the domain that is furthest behind."""

from __future__ import annotations

import shlex
import string
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import quotas
from mixlaw.data.recipe import Recipe
from mixlaw.errors import ExportError
from mixlaw.io.exporters.base import Exporter, Simulation, at_least, refuse_names, summarize
from mixlaw.kit.store import Store

__all__ = ["Megatron", "blend_counts"]


def blend_counts(weights: npt.ArrayLike, num: int) -> npt.NDArray[np.int64]:
    """Samples per domain after ``num`` draws of Megatron-Core's blending index.

    Megatron-Core 0.9, ``build_blending_indices``: draw i comes from the domain with the largest
    ``weight_j * max(i, 1) - drawn_j`` (ties to the first).
    """
    w = np.asarray(weights, dtype=float)
    drawn = np.zeros(len(w), dtype=np.int64)
    for i in range(num):
        drawn[int(np.argmax(w * max(i, 1.0) - drawn))] += 1
    return drawn


class Megatron(Exporter):
    """``--data-path`` / ``--data-args-path`` blend of Megatron-LM.

    One draw is a sample of ``sequence_length`` tokens from a packed dataset, so blend weights are token weights.
    Weights below one part in a million are refused rather than rounded away (blends with extreme weights have ended in
    an IndexError in the wild). Multi-phase schedules need one blend per phase, each with its own number of samples.
    """

    draws = "samples"

    def __init__(self, sequence_length: int = 4096, prefix: str = "{domain}_text_document") -> None:
        at_least(1, sequence_length=sequence_length)
        self.sequence_length = sequence_length
        self.prefix = prefix

    def _samples(self, recipe: Recipe) -> list[int]:
        fractions = [p.fraction for p in recipe.schedule.phases]
        return quotas(fractions, recipe.tokens // self.sequence_length).tolist()

    def write(self, recipe: Recipe, path: Path) -> Path:
        """JSON with one blend per phase: ``["0.7", "web_text_document", ...]`` as the command line takes it.

        Raises:
            ExportError: a positive weight below 1e-6, a run shorter than one sample, or a name with a blank in it.
        """
        refuse_names(recipe, string.whitespace, "Megatron splits --data-path and --data-args-path at blanks")
        phases: list[dict[str, Any]] = []
        for phase, samples in zip(recipe.schedule.phases, self._samples(recipe)):
            blend: list[str] = []
            for domain, weight in phase.mixture.to_dict().items():
                if 0 < weight < 1e-6:
                    raise ExportError(
                        f"{domain!r} has weight {weight:.2e}; Megatron blends lose weights below 1e-6. "
                        f"Set it to 0 or give it a floor in the budget."
                    )
                if weight > 0:
                    blend += [f"{weight:.10g}", self.prefix.format(domain=domain)]
            phases.append({"train_samples": samples, "blend": blend})
        Store(path.parent).write_json(
            path.name,
            {
                "framework": "megatron-lm",
                "one_draw_is": f"a sample of {self.sequence_length} tokens; weights are shares of samples = of tokens",
                "sequence_length": self.sequence_length,
                "phases": phases,
                "data_path": shlex.join(phases[0]["blend"]) if len(phases) == 1 else None,
            },
        )
        return path

    def simulate(self, recipe: Recipe, max_draws: int = 100_000) -> Simulation:
        """Follow the blending index for the first ``max_draws`` samples (its error never reaches one sample)."""
        phase_tokens = []
        for phase, samples in zip(recipe.schedule.phases, self._samples(recipe)):
            if samples < 1:
                raise ExportError(
                    f"A phase of {phase.fraction * recipe.tokens:.0f} tokens holds no sample of "
                    f"{self.sequence_length} tokens. Give a shorter sequence_length."
                )
            weights = phase.mixture.array()
            positive = np.flatnonzero(weights > 0)
            num = min(samples, max_draws)
            counts = np.zeros(len(weights))
            counts[positive] = blend_counts(weights[positive], num)
            tokens = counts * (samples / num) * self.sequence_length
            phase_tokens.append(dict(zip(recipe.schedule.domains, tokens.tolist())))
        return summarize(recipe, "Megatron-Core 0.9 blending index", self.draws, phase_tokens)

"""nanotron's Nanosets: draws fixed-length *samples*, by the same greedy rule as Megatron, then shuffled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mixlaw.data.recipe import Recipe
from mixlaw.errors import ExportError
from mixlaw.io.exporters.base import Exporter, Simulation, at_least, summarize
from mixlaw.io.exporters.megatron import blend_counts
from mixlaw.kit.store import Store

__all__ = ["Nanotron"]


class Nanotron(Exporter):
    """``data_stages`` of a nanotron config: one stage per phase, ``dataset_weights`` over folders.

    One draw is a sample of ``sequence_length`` tokens, so weights are token weights. A stage begins at a training
    step, so with more than one phase ``batch_tokens`` must be the tokens of the run's global batch, and phases are
    rounded to whole steps, in the file and in :meth:`simulate`.
    """

    draws = "samples"
    switches = True

    def __init__(self, sequence_length: int = 4096, batch_tokens: int = 1_048_576, folder: str = "{domain}") -> None:
        at_least(1, sequence_length=sequence_length, batch_tokens=batch_tokens)
        self.sequence_length = sequence_length
        self.batch_tokens = batch_tokens
        self.folder = folder

    def write(self, recipe: Recipe, path: Path) -> Path:
        """YAML with ``data_stages``.

        Raises:
            ExportError: a phase without a step of its own, or a step that is no whole number of samples.
        """
        stages: list[dict[str, Any]] = []
        for k, (phase, start) in enumerate(zip(recipe.schedule.phases, self._starts(recipe))):
            weights = {d: w for d, w in phase.mixture.to_dict().items() if w > 0}
            stages.append(
                {
                    "name": f"phase {k + 1}",
                    "start_training_step": start,
                    "data": {
                        "dataset": {
                            "dataset_folder": [self.folder.format(domain=d) for d in weights],
                            "dataset_weights": list(weights.values()),
                        }
                    },
                }
            )
        steps = f"# a step is {self.batch_tokens} tokens; phases begin at whole steps\n" if len(stages) > 1 else ""
        text = (
            f"# weights are shares of samples of {self.sequence_length} tokens = shares of tokens\n{steps}"
            + yaml.safe_dump({"data_stages": stages}, sort_keys=False)
        )
        Store(path.parent).write_bytes(path.name, text.encode())
        return path

    def _starts(self, recipe: Recipe) -> list[int]:
        """The training step, counted from 1, at which each phase begins."""
        starts, before = [1], 0.0
        if recipe.schedule.num_phases > 1 and self.batch_tokens % self.sequence_length:
            raise ExportError(
                f"A nanotron step is a whole number of samples, and batch_tokens={self.batch_tokens} is no multiple of "
                f"sequence_length={self.sequence_length}. Give batch_tokens = sequence_length x samples of a global "
                f"batch."
            )
        for k, phase in enumerate(recipe.schedule.phases[:-1]):
            before += phase.fraction
            starts.append(1 + round(before * recipe.tokens / self.batch_tokens))
            if starts[-1] <= starts[-2] or (starts[-1] - 1) * self.batch_tokens >= recipe.tokens:
                raise ExportError(
                    f"Phase {k + 2} begins {before:.3%} into a run of {recipe.tokens} tokens, at step {starts[-1]} of "
                    f"{self.batch_tokens} tokens each; phase {k + 1} begins at step {starts[-2]}, and every phase "
                    f"needs a step of its own. Give a smaller batch_tokens."
                )
        return starts

    def _samples(self, recipe: Recipe) -> list[int]:
        """Samples of each phase: whole steps, up to the run's end."""
        per_step = self.batch_tokens // self.sequence_length
        ends = [(start - 1) * per_step for start in self._starts(recipe)]
        return np.diff([*ends, recipe.tokens // self.sequence_length]).tolist()

    def simulate(self, recipe: Recipe, max_draws: int = 100_000) -> Simulation:
        """nanotron 0.4, ``build_nanoset_index_helper``: the domain furthest behind its weight is drawn next.

        A stage lasts from its ``start_training_step`` to that of the next, the last one to the end of the run.
        The index is as long as all domains together, is shuffled, and is repeated as a whole by longer runs: a domain
        whose share of one index is less than itself is then repeated on that part. Shuffling and cutting to the
        samples of the run moves a share by about ``sqrt(w (1 - w) / n)``, which is left out here.

        Raises:
            ExportError: a phase shorter than one sample, or what :meth:`write` refuses.
        """
        unique = recipe.corpus.unique_tokens
        phase_tokens, reached = [], []
        for phase, samples in zip(recipe.schedule.phases, self._samples(recipe)):
            if samples < 1:
                raise ExportError(
                    f"A phase of {phase.fraction * recipe.tokens:.0f} tokens holds no sample of {self.sequence_length} "
                    f"tokens. Give a shorter sequence_length."
                )
            weights = phase.mixture.to_dict()
            positive = [d for d, w in weights.items() if w > 0]
            num = int(min(samples, max_draws))
            drawn = blend_counts([weights[d] for d in positive], num)
            counts = dict(zip(positive, drawn.tolist()))
            scale = float(samples) / num * self.sequence_length
            phase_tokens.append({d: counts.get(d, 0) * scale for d in weights})
            index = sum(int(unique[d] // self.sequence_length) for d in positive) * self.sequence_length
            repeats = samples * self.sequence_length > index > 0
            reached.append({d: weights[d] * index if repeats and weights[d] > 0 else unique[d] for d in weights})
        return summarize(recipe, "nanotron 0.4 Nanoset index", self.draws, phase_tokens, reached)

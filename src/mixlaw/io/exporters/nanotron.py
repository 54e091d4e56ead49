"""nanotron's Nanosets: draws fixed-length *samples*, by the same greedy rule as Megatron, then shuffled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mixlaw.errors import ExportError
from mixlaw.io.exporters.base import Simulation, summarize
from mixlaw.io.exporters.megatron import blend_counts
from mixlaw.mixture import quotas
from mixlaw.recipe import Recipe
from mixlaw.store import Store

__all__ = ["Nanotron"]


class Nanotron:
    """``data_stages`` of a nanotron config: one stage per phase, ``dataset_weights`` over folders.

    One draw is a sample of ``sequence_length`` tokens, so weights are token weights. A stage begins at a training
    step, so ``batch_tokens`` (tokens of a global batch) is needed for more than one phase.
    """

    draws = "samples"

    def __init__(self, sequence_length: int = 4096, batch_tokens: int = 1_048_576, folder: str = "{domain}") -> None:
        self.sequence_length = sequence_length
        self.batch_tokens = batch_tokens
        self.folder = folder

    def write(self, recipe: Recipe, path: Path) -> Path:
        """YAML with ``data_stages``.

        Raises:
            ExportError: a phase starts within the first step of the one before.
        """
        stages: list[dict[str, Any]] = []
        before = 0.0
        for k, phase in enumerate(recipe.schedule.phases):
            start = 1 + round(before * recipe.tokens / self.batch_tokens)
            if stages and start <= stages[-1]["start_training_step"]:
                raise ExportError(
                    f"Phase {k + 1} begins {before:.3%} into a run of {recipe.tokens} tokens, less than one step of "
                    f"{self.batch_tokens} tokens after the phase before. Give a smaller batch_tokens."
                )
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
            before += phase.fraction
        text = (
            f"# weights are shares of samples of {self.sequence_length} tokens = shares of tokens\n"
            + yaml.safe_dump({"data_stages": stages}, sort_keys=False)
        )
        Store(path.parent).write_bytes(path.name, text.encode())
        return path

    def simulate(self, recipe: Recipe, max_draws: int = 100_000) -> Simulation:
        """nanotron 0.4, ``build_nanoset_index_helper``: the domain furthest behind its weight is drawn next.

        The index is as long as all domains together, is shuffled, and is repeated as a whole by longer runs: a domain
        whose share of one index is less than itself is then repeated on that part. Shuffling and cutting to the
        samples of the run moves a share by about ``sqrt(w (1 - w) / n)``, which is left out here.

        Raises:
            ExportError: a phase shorter than one sample.
        """
        fractions = [p.fraction for p in recipe.schedule.phases]
        unique = recipe.corpus.unique_tokens
        phase_tokens, reached = [], []
        for phase, samples in zip(recipe.schedule.phases, quotas(fractions, recipe.tokens // self.sequence_length)):
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

"""LLaMA-Factory: ``interleave_probs`` are handed to Hugging Face's ``interleave_datasets``; it draws *examples*."""

from __future__ import annotations

from pathlib import Path

import yaml

from mixlaw.data.recipe import Recipe
from mixlaw.errors import ExportError
from mixlaw.io.exporters.base import Exporter, Simulation, refuse_names, summarize
from mixlaw.io.exporters.huggingface import HuggingFace
from mixlaw.kit.store import Store

__all__ = ["LlamaFactory"]


class LlamaFactory(Exporter):
    """The data part of a LLaMA-Factory YAML: ``dataset``, ``mix_strategy: interleave_over``, ``interleave_probs``.

    One draw is an example; probabilities are converted from token weights by mean tokens per document, unless the
    datasets hold samples of a fixed length (``packed=True``). A domain of weight 0 is left out. LLaMA-Factory has no
    phases: a recipe with several needs one run per phase (``phase=``).
    """

    draws = "documents"

    def __init__(self, phase: int | None = None, seed: int = 42, packed: bool = False) -> None:
        self.phase = phase
        self.sampler = HuggingFace(packed, seed)

    def write(self, recipe: Recipe, path: Path) -> Path:
        """YAML to merge into a training config.

        Raises:
            ExportError: several phases and none chosen, or a name with a comma in it.
        """
        refuse_names(recipe, ",", "LLaMA-Factory splits `dataset` at commas")
        if self.phase is None and recipe.schedule.num_phases > 1:
            names = [
                path.with_name(f"{path.stem}-phase{k + 1}{path.suffix}") for k in range(recipe.schedule.num_phases)
            ]
            for k, name in enumerate(names):
                LlamaFactory(k, self.sampler.seed, self.sampler.packed).write(recipe, name)
            text = "# LLaMA-Factory has no phases: train these one after another\n" + "".join(
                f"# - {n.name}\n" for n in names
            )
            Store(path.parent).write_bytes(path.name, text.encode())
            return path
        k = self.phase or 0
        if not 0 <= k < recipe.schedule.num_phases:
            raise ExportError(f"phase={self.phase} but the recipe has {recipe.schedule.num_phases} phases.")
        p = self.sampler.probabilities(recipe)[k]
        config = {
            "dataset": ",".join(p),
            "mix_strategy": "interleave_over",
            "interleave_probs": ",".join(f"{v:.10g}" for v in p.values()),
            "seed": self.sampler.seed,
        }
        tokens = round(recipe.schedule.phases[k].fraction * recipe.tokens)
        text = f"# probabilities are of examples; stop after {tokens} tokens\n" + yaml.safe_dump(
            config, sort_keys=False
        )
        Store(path.parent).write_bytes(path.name, text.encode())
        return path

    def simulate(self, recipe: Recipe) -> Simulation:
        """LLaMA-Factory 0.9 passes ``interleave_probs`` and ``seed`` to ``datasets.interleave_datasets``."""
        inner = self.sampler.simulate(recipe)
        return summarize(recipe, "LLaMA-Factory 0.9 interleave_over", self.draws, inner.phase_tokens)

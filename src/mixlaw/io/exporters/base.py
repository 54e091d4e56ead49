"""What exporters share: their contract, the simulation's result, and the conversion from tokens to documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mixlaw.data.recipe import Recipe
from mixlaw.errors import ConfigError, ExportError

__all__ = [
    "Exporter",
    "Simulation",
    "at_least",
    "document_probabilities",
    "refuse_names",
    "summarize",
    "tokens_per_document",
]


class Exporter:
    """Base of every exporter: one training framework. Its constructor's arguments are its options.

    An exporter sees only the :class:`~mixlaw.data.recipe.Recipe`.
    """

    draws: ClassVar[str] = "samples"
    """What one draw of the framework's sampler is: ``"tokens"``, ``"samples"`` (fixed length) or ``"documents"``."""

    switches: ClassVar[bool] = False
    """Whether the framework goes from phase to phase in one run; else every phase is a run from the last checkpoint."""

    def write(self, recipe: Recipe, path: Path) -> Path:
        """Write the framework's configuration to ``path``; return the file written.

        Raises:
            ExportError: the recipe cannot be expressed there.
        """
        raise NotImplementedError(f"{type(self).__name__} must define write(recipe, path).")

    def simulate(self, recipe: Recipe) -> Simulation:
        """Follow the framework's own documented sampler, so that the conversion is checked against the framework.

        Raises:
            ExportError: the sampler would draw nothing of some phase.
        """
        raise NotImplementedError(f"{type(self).__name__} must define simulate(recipe).")


def at_least(least: int, **values: int) -> None:
    """Refuse options of an exporter below ``least``.

    Raises:
        ConfigError: names the option and its value.

    Example:
        >>> at_least(1, sequence_length=0)
        Traceback (most recent call last):
            ...
        mixlaw.errors.ConfigError: sequence_length=0 must be a whole number >= 1.
    """
    for name, value in values.items():
        if value < least:
            raise ConfigError(f"{name}={value!r} must be a whole number >= {least}.")


def refuse_names(recipe: Recipe, characters: str, because: str) -> None:
    """Refuse domains whose names the framework's own parser would take apart.

    Args:
        characters: what a name may not hold.
        because: what the framework does at them; it follows "because".

    Raises:
        ExportError: names the domains and the characters.
    """
    bad = [d for d in recipe.schedule.domains if any(c in characters for c in d) or d != d.strip()]
    if bad:
        found = sorted({c for d in bad for c in d if c in characters})
        raise ExportError(
            f"The domains {bad[:5]} cannot be written: {', '.join(map(repr, found)) or 'a blank at an end'} in a name "
            f"would be misread, because {because}. Rename them (in study.yaml, or the columns of your runs), and fit "
            f"and optimise again."
        )


@dataclass(frozen=True)
class Simulation:
    """What a framework's sampler really draws from a recipe.

    Args:
        framework: its name, with the version whose documented algorithm is followed.
        draws: what one draw is: ``"tokens"``, ``"samples"`` (fixed length) or ``"documents"``.
        phase_tokens: tokens per domain, one mapping per phase.
        tokens: tokens per domain over the run.
        epochs: how often a domain's tokens are repeated: tokens drawn / unique tokens the sampler reaches. Some
            samplers repeat a selection and leave the rest of a domain untouched; then this exceeds tokens / all unique
            tokens.
    """

    framework: str
    draws: str
    phase_tokens: tuple[Mapping[str, float], ...]
    tokens: Mapping[str, float]
    epochs: Mapping[str, float]

    @property
    def shares(self) -> dict[str, float]:
        """Share of tokens of each domain."""
        total = sum(self.tokens.values())
        return {name: count / total for name, count in self.tokens.items()}


def summarize(
    recipe: Recipe,
    framework: str,
    draws: str,
    phase_tokens: Sequence[Mapping[str, float]],
    reached: Sequence[Mapping[str, float]] | None = None,
) -> Simulation:
    """Totals and epochs from tokens per phase.

    ``reached``: unique tokens per domain the sampler can reach in each phase, where it does not reach all; phases
    begin at the same documents, so their repetitions add up.
    """
    unique = recipe.corpus.unique_tokens
    domains = recipe.schedule.domains
    total = {name: float(sum(p[name] for p in phase_tokens)) for name in domains}
    epochs = {name: count / unique[name] for name, count in total.items()}
    if reached is not None:
        for name in domains:
            parts = [p[name] / min(unique[name], r[name]) for p, r in zip(phase_tokens, reached) if p[name] > 0]
            epochs[name] = max(epochs[name], sum(parts))
    return Simulation(framework, draws, tuple(phase_tokens), total, epochs)


def tokens_per_document(recipe: Recipe) -> npt.NDArray[np.float64]:
    """Mean tokens of a document per domain (K,).

    Raises:
        ExportError: the corpus does not say how many documents a domain has.
    """
    lengths = []
    for name in recipe.schedule.domains:
        domain = recipe.corpus[name]
        if not domain.num_documents:
            raise ExportError(
                f"This framework draws documents, and the corpus does not say how many documents {name!r} has "
                f"({domain.source}). Tokenise the text with `mixlaw tokenize`, or pack it into fixed-length samples "
                f"and export with packed=True (mixlaw export ... --option packed=true)."
            )
        lengths.append(domain.unique_tokens / domain.num_documents)
    return np.array(lengths)


def document_probabilities(weights: npt.ArrayLike, lengths: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Probability of drawing a document of each domain so that its *tokens* have the given shares.

    A draw from domain j brings ``lengths[j]`` tokens, so p_j is proportional to ``weights[j] / lengths[j]``.
    """
    p = np.asarray(weights, dtype=float) / np.asarray(lengths, dtype=float)
    return p / p.sum()

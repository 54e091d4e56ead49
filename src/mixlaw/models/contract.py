"""What a model gives to whoever scores, selects or watches: log-probabilities, losses, text and gradients.

Everything goes in and comes out as NumPy arrays, so that rooms which use a model need no torch. A model is one file in
this room or in one of its folders; :class:`mixlaw.models.torch_model.TorchModel` is the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, DataError

__all__ = ["Item", "Model", "Projection", "Tokenizer"]

Tokens = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Item:
    """One question or example: tokens, and which of them are scored.

    Args:
        id: names the item within its target.
        tokens: (length,) token ids, at least two.
        scored_from: position of the first token whose loss counts, at least 1; 1 scores all but the first token, the
            length of the prompt scores the answer only.

    Raises:
        DataError: no token is left to score, or tokens are no vector of whole numbers.

    Example:
        >>> Item("capital-of-france", np.array([5, 3, 8, 2]), scored_from=3).num_scored
        1
    """

    id: str
    tokens: Tokens
    scored_from: int = 1

    def __post_init__(self) -> None:
        tokens = np.asarray(self.tokens)
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
            raise DataError(
                f"Item {self.id!r} needs a vector of token ids, got {tokens.dtype} of shape {tokens.shape}."
            )
        if not 1 <= self.scored_from < len(tokens):
            raise DataError(
                f"Item {self.id!r} has {len(tokens)} tokens and scored_from={self.scored_from}, so nothing is scored. "
                f"The first token that can be scored is 1, the last {len(tokens) - 1}."
            )
        object.__setattr__(self, "tokens", tokens.astype(np.int64))

    @property
    def num_scored(self) -> int:
        """Tokens whose loss counts."""
        return len(self.tokens) - self.scored_from


@dataclass(frozen=True)
class Projection:
    """A random projection of gradients to ``size`` numbers that keeps inner products on average.

    Gradient ``g`` becomes ``R g / sqrt(size)`` with ``R`` of independent signs, so the inner product of two projected
    gradients has the mean of the exact one and a standard deviation of about ``|g| |h| / sqrt(size)`` (Johnson and
    Lindenstrauss 1984; signs: Achlioptas 2003, doi:10.1016/S0022-0000(03)00025-4).

    Args:
        size: numbers per gradient.
        seed: of ``R``; gradients can be compared only under one seed, and of one model.

    Raises:
        ConfigError: ``size`` is not a positive whole number.

    Example:
        >>> Projection(512).size
        512
    """

    size: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or isinstance(self.size, bool) or self.size < 1:
            raise ConfigError(f"Projection size must be a positive whole number, got {self.size!r}.")


@runtime_checkable
class Tokenizer(Protocol):
    """What turns text into tokens; :class:`mixlaw.tokens.tokenizer.Encoder` is one."""

    hash: str
    """Content hash."""
    vocab_size: int
    end: int
    """Id of the token that closes a document."""

    def encode(self, texts: Iterable[str]) -> Iterator[tuple[npt.NDArray[Any], Tokens]]:
        """Batches of (ids of documents one after the other, each closed by ``end``; tokens of each document)."""

    def decode(self, tokens: Iterable[int]) -> str:
        """The text that tokens spell, without ``end``."""


@runtime_checkable
class Model(Protocol):
    """A language model with fixed weights."""

    @property
    def hash(self) -> str:
        """Content hash of the architecture and the weights: what a score was computed with."""

    @property
    def tokenizer(self) -> Tokenizer | None:
        """What its tokens mean; None where it was given token ids only."""

    def logprobs(self, tokens: Tokens) -> Floats:
        """Log-probability (nats) of each token given those before it.

        Args:
            tokens: (batch, length) token ids.

        Returns:
            (batch, length - 1): of tokens 1, 2, ...; the first has nothing before it.

        Raises:
            DataError: ``tokens`` are no matrix of ids of the vocabulary.
        """

    def loss_per_item(self, items: Sequence[Item]) -> Floats:
        """(num_items,) mean loss over the scored tokens of each item, in nats per token."""

    def generate(
        self, prompts: Sequence[Tokens], max_tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> list[Tokens]:
        """What the model writes after each prompt, without the prompt.

        Args:
            prompts: (length,) token ids each, at least one.
            max_tokens: where to stop, if the tokenizer's ``end`` does not come before.
            temperature: 0 takes the most likely token, 1 draws from the model's distribution.
            seed: of the draws, which differ between prompts; the text of a prompt does not depend on the others.
        """

    def gradients(self, items: Sequence[Item], projection: Projection) -> Floats:
        """(num_items, projection.size): projected gradient of each item's loss in the trained parameters."""

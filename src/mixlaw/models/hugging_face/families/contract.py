"""What a family promises: how its config.json is read, and what its tensors are called."""

from __future__ import annotations

from typing import ClassVar, Protocol

from mixlaw.models.hugging_face.decoder_config import DecoderConfig
from mixlaw.models.hugging_face.fields import Fields

__all__ = ["Family"]


class Family(Protocol):
    """One ``model_type``; a class whose methods are static, in a file without torch."""

    architecture: ClassVar[str]
    """The name of its language model in ``architectures``."""

    ignored: ClassVar[str]
    """A regular expression of tensors that hold nothing trained, such as tables of positions."""

    @staticmethod
    def config(fields: Fields) -> DecoderConfig:
        """The architecture that a config.json describes.

        Raises:
            ConfigError: it asks for what is not supported.
            DataError: a field is missing or no sound value.
        """

    @staticmethod
    def tensors(config: DecoderConfig) -> dict[str, tuple[str, ...]]:
        """What each tensor of the files holds: one parameter of :meth:`DecoderConfig.shapes`, or three, which are
        queries, keys and values, interleaved head by head.
        """

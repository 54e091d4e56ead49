"""What a run spec's ``model`` names: the proxy, or a published architecture. Without torch until a model is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.models.hugging_face.checkpoint_folder import config_of
from mixlaw.models.hugging_face.decoder_config import DecoderConfig
from mixlaw.models.proxy.presets import ModelConfig, model_config

__all__ = ["architecture", "build", "is_published"]


def is_published(model: Mapping[str, Any]) -> bool:
    """Whether ``model`` describes a published architecture, ``{"config": {...}}``, and not the proxy."""
    return "config" in model


def architecture(model: Mapping[str, Any], vocab_size: int | None = None) -> ModelConfig | DecoderConfig:
    """The architecture of a spec's ``model``.

    Args:
        model: of the proxy (see :func:`~mixlaw.models.proxy.presets.model_config`), or ``{"config": {...}}`` with the
            fields of a config.json and, where sequences start with a token of their own, its ``start_token``, as
            :func:`mixlaw.models.hugging_face.starting_from` gives it.
        vocab_size: of the corpus; used where a proxy's ``model`` does not say.

    Raises:
        ConfigError: an unknown preset, field or family, something that is not supported, or a vocabulary of the corpus
            that is larger than a published model's.
        DataError: a field of a config.json is missing or no sound value.

    Example:
        >>> architecture({"preset": "d64"}, vocab_size=2048).params
        100672
        >>> sizes = {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> architecture({"config": {"model_type": "llama", "vocab_size": 2048, **sizes}}).params
        100672
    """
    if not is_published(model):
        return model_config(model, vocab_size)
    for key in model:
        if key not in ("config", "start_token"):
            raise ConfigError(f"Unknown model field {key!r} beside config.{did_you_mean(str(key), ['start_token'])}")
    if not isinstance(model["config"], Mapping):
        raise ConfigError(f"Model config must be the fields of a config.json, got {model['config']!r}.")
    config, _ = config_of(model["config"], "model.config")
    start = model.get("start_token")
    if start is not None and (not isinstance(start, int) or isinstance(start, bool)):
        raise ConfigError(f"Model start_token must be the id of a token, got {start!r}.")
    config = replace(config, start_token=start)
    if vocab_size is not None and vocab_size > config.vocab_size:
        raise ConfigError(
            f"The corpus has token ids up to {vocab_size - 1}, and the model's vocabulary ends at "
            f"{config.vocab_size - 1}. Tokenise the corpus with the model's own tokenizer.json (corpus.tokenizer)."
        )
    return config


def build(config: ModelConfig | DecoderConfig, seed: int = 0) -> Any:
    """A ``torch.nn.Module`` of this architecture: with initial weights of ``seed`` for the proxy; a published one holds
    nothing until weights are loaded.

    Example:
        >>> build(architecture({"preset": "d64"}, 50)).embedding.shape
        torch.Size([50, 64])
    """
    if isinstance(config, DecoderConfig):
        from mixlaw.models.hugging_face.decoder import PublishedDecoder

        return PublishedDecoder(config)
    from mixlaw.models.proxy.model import Decoder

    return Decoder(config, seed)

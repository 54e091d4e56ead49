"""Models as checkpoint folders that ``transformers`` loads: the proxy as a Llama, published ones as they are."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.extras import require_extra
from mixlaw.kit.store import Store
from mixlaw.models.architecture import architecture
from mixlaw.models.hugging_face.checkpoint_folder import family_of
from mixlaw.models.hugging_face.decoder_config import DecoderConfig
from mixlaw.models.hugging_face.tensors import joined
from mixlaw.models.proxy.presets import ModelConfig

__all__ = ["write_folder"]


def write_folder(
    path: str | Path,
    model: Mapping[str, Any],
    weights: Mapping[str, Any],
    *,
    context: int,
    tokenizer: str | None = None,
    end: int | None = None,
) -> None:
    """Write config.json, model.safetensors and, where a tokenizer is given, its files.

    A proxy is written as a Llama. That is the same function: the factor on its attention scores is moved into the
    queries' weights, the factor on its logits into the gain of the last norm, and features are put in Llama's order,
    which turns the halves of a head and not neighbours.

    Args:
        path: a folder that is not there, or empty.
        model: ``model`` of the run spec, with the vocabulary size.
        weights: parameters by name, as :func:`mixlaw.train.trained_weights.trained_weights` reads them from a run's
            folder.
        context: longest sequence that the model was trained on, in tokens.
        tokenizer: content of the tokenizer.json.
        end: id of the token that closes a document.

    Raises:
        ConfigError: the folder holds something.
        DataError: the weights are not those of this architecture.
        MissingExtraError: safetensors is not installed.

    Example:
        >>> import tempfile
        >>> from mixlaw.models.architecture import build
        >>> model = {"width": 32, "layers": 1, "heads": 2, "mlp_width": 64, "vocab_size": 50}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_folder(folder, model, build(architecture(model)).state_dict(), context=128)
        ...     sorted(file.name for file in Path(folder).iterdir())
        ['config.json', 'model.safetensors']
    """
    require_extra("safetensors", "train")
    from safetensors.torch import save

    target = Path(path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there already and not empty. Give a folder that is not there.")
    config = architecture(model)
    if isinstance(config, DecoderConfig):
        fields, named = dict(model["config"]), dict(weights)
    else:
        fields, named = _llama_fields(config, context), _as_llama(config, weights)
        config = architecture({"config": fields})
        assert isinstance(config, DecoderConfig)
    _check(config, named)
    family = family_of(fields["model_type"], "model.config")
    tensors = {theirs: joined(named, ours, config).contiguous() for theirs, ours in family.tensors(config).items()}
    store = Store(target)
    said = {"architectures": [family.architecture], **fields, "torch_dtype": "float32"}
    if end is not None:
        said |= {"eos_token_id": end, "bos_token_id": None}
    store.write_bytes("model.safetensors", save(tensors, {"format": "pt"}))
    if tokenizer is not None:
        store.write_bytes("tokenizer.json", tokenizer.encode())
        about: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": config.context}
        if end is not None:
            about["eos_token"] = _spelled(tokenizer, end)
        store.write_bytes("tokenizer_config.json", json.dumps(about, indent=2).encode())
    store.write_bytes("config.json", json.dumps(said, indent=2).encode())  # last: with it the folder is one


def _llama_fields(config: ModelConfig, context: int) -> dict[str, Any]:
    """config.json of a proxy; the base of its rotary positions as newer and as older readers look for it."""
    return {
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.heads,
        "intermediate_size": config.mlp_width,
        "max_position_embeddings": context,
        "tie_word_embeddings": config.tie_embeddings,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
    }


def _as_llama(config: ModelConfig, weights: Mapping[str, Any]) -> dict[str, Any]:
    """The proxy's weights under the names of a published decoder."""
    # The proxy scales scores by sqrt(base_head_dim) / head_dim, Llama by 1 / sqrt(head_dim).
    scores = math.sqrt(config.base_head_dim / config.head_dim)
    found = {"embedding": weights["embedding"]}
    found["final_norm"] = weights["final_norm"] * (config.base_width / config.width)
    if not config.tie_embeddings:
        found["unembedding"] = weights["unembedding"]
    for i in range(config.layers):
        block = f"blocks.{i}."
        query, key, value = weights[f"{block}qkv"].chunk(3)
        found[f"{block}query"] = _halves(query, config) * scores
        found[f"{block}key"] = _halves(key, config)
        found[f"{block}value"] = value
        for name in ("attention_norm", "attention_out", "mlp_norm", "gate", "up", "mlp_out"):
            found[f"{block}{name}"] = weights[f"{block}{name}"]
    return found


def _halves(matrix: Any, config: ModelConfig) -> Any:
    """Rows (out, in) of each head with features 0, 2, 4, ... before 1, 3, 5, ..."""
    heads = matrix.view(config.heads, config.head_dim // 2, 2, -1)
    return heads.transpose(1, 2).reshape(matrix.shape)


def _check(config: DecoderConfig, weights: Mapping[str, Any]) -> None:
    shapes = config.shapes()
    wrong = [n for n, shape in shapes.items() if n not in weights or tuple(weights[n].shape) != shape]
    wrong += [name for name in weights if name not in shapes]
    if wrong:
        raise DataError(f"These weights are not those of the model: {', '.join(wrong[:3])} do not fit {config}.")


def _spelled(tokenizer: str, token: int) -> str:
    """The text of a special token in the content of a tokenizer.json."""
    added = json.loads(tokenizer).get("added_tokens", [])
    found = next((entry["content"] for entry in added if entry["id"] == token), None)
    if found is None:
        raise DataError(f"The tokenizer has no special token of the id {token}, which closes documents.")
    return str(found)

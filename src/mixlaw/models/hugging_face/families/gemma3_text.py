"""Gemma 3, its text models: norms before and after each part, normed queries and keys, windows in five of six layers
(Gemma Team 2025, arXiv:2503.19786)."""

from __future__ import annotations

from mixlaw.errors import ConfigError, DataError
from mixlaw.models.hugging_face.decoder_config import DecoderConfig, Rope
from mixlaw.models.hugging_face.fields import Fields
from mixlaw.models.hugging_face.naming import named

__all__ = ["Gemma3Text"]

_TOP = {"embedding": "model.embed_tokens.weight", "final_norm": "model.norm.weight", "unembedding": "lm_head.weight"}
_BLOCK = {
    "attention_norm": "input_layernorm",
    "query": "self_attn.q_proj",
    "query_norm": "self_attn.q_norm",
    "key": "self_attn.k_proj",
    "key_norm": "self_attn.k_norm",
    "value": "self_attn.v_proj",
    "attention_out": "self_attn.o_proj",
    "after_attention_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "mlp_out": "mlp.down_proj",
    "after_mlp_norm": "post_feedforward_layernorm",
}
_KINDS = ("full_attention", "sliding_attention")


class Gemma3Text:
    """``model_type: gemma3_text``."""

    architecture = "Gemma3ForCausalLM"
    ignored = r"rotary_emb(_local)?\.\w*inv_freq$"

    @staticmethod
    def config(fields: Fields) -> DecoderConfig:
        """See :meth:`mixlaw.models.hugging_face.families.contract.Family.config`."""
        fields.refuse("final_logit_softcapping", None, "logits bounded by a tanh")
        fields.refuse("attn_logit_softcapping", None, "attention scores bounded by a tanh")
        fields.refuse("use_bidirectional_attention", False, "attention to later tokens")
        layers, context = fields.count("num_hidden_layers"), fields.count("max_position_embeddings", 131_072)
        width, head_dim = fields.count("hidden_size"), fields.count("head_dim", 256)
        heads = fields.count("num_attention_heads")
        full, local = _ropes(fields, context)
        return DecoderConfig(
            family="gemma3_text",
            vocab_size=fields.count("vocab_size", 262_208),
            width=width,
            layers=layers,
            heads=heads,
            key_value_heads=fields.count("num_key_value_heads", 4),
            head_dim=head_dim,
            mlp_width=fields.count("intermediate_size"),
            context=context,
            tie_embeddings=fields.switch("tie_word_embeddings", True),
            norm="rms",
            norm_eps=fields.positive("rms_norm_eps", 1e-6),
            norm_offset=1.0,
            activation=fields.activation("hidden_activation", "gelu_pytorch_tanh"),
            gated_mlp=True,
            parallel=False,
            attention_bias=fields.switch("attention_bias", False),
            mlp_bias=False,
            head_norms=True,
            norms_after=True,
            embedding_scale=width**0.5,
            score_scale=fields.positive("query_pre_attn_scalar", 256) ** -0.5,
            rotary_dim=head_dim,
            rope=full,
            local_rope=local,
            windows=_windows(fields, layers),
        )

    @staticmethod
    def tensors(config: DecoderConfig) -> dict[str, tuple[str, ...]]:
        """See :meth:`mixlaw.models.hugging_face.families.contract.Family.tensors`."""
        return named(config, _TOP, _BLOCK)


def _ropes(fields: Fields, context: int) -> tuple[Rope, Rope]:
    """Rotary positions of layers that see all, and of those with a window; only the first are ever scaled in older
    files, which have one field for each."""
    base, local = fields.positive("rope_theta", 1_000_000.0), fields.positive("rope_local_base_freq", 10_000.0)
    given = fields.get("rope_parameters", {})
    if given and not any(kind in given for kind in _KINDS):
        raise DataError(
            f"{fields.where}: rope_parameters of Gemma 3 holds {' and '.join(_KINDS)}, got {sorted(given)}."
        )
    full = {**(given.get("full_attention") or {}), **fields.get("rope_scaling", {})}
    return fields.rope(full, base, context), fields.rope(given.get("sliding_attention") or {}, local, context)


def _windows(fields: Fields, layers: int) -> tuple[int, ...]:
    """Per layer, how many tokens a token sees; 0: all before it."""
    every = fields.count("sliding_window_pattern", 6)
    pattern = [_KINDS[bool((i + 1) % every)] for i in range(layers)]
    kinds = fields.get("layer_types", pattern)
    unknown = [kind for kind in kinds if kind not in _KINDS]
    if unknown:
        raise ConfigError(f"{fields.where}: layer_types has {unknown[0]!r}; supported are {' and '.join(_KINDS)}.")
    if "sliding_attention" not in kinds:
        return (0,) * len(kinds)
    window = fields.count("sliding_window", 4096)
    return tuple(window if kind == "sliding_attention" else 0 for kind in kinds)

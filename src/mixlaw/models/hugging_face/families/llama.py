"""Llama: RMSNorm, rotary positions, SwiGLU, heads that share keys and values (Touvron et al. 2023, arXiv:2302.13971,
arXiv:2307.09288; rotary positions of Llama 3: arXiv:2407.21783)."""

from __future__ import annotations

from mixlaw.models.hugging_face.decoder_config import DecoderConfig
from mixlaw.models.hugging_face.fields import Fields
from mixlaw.models.hugging_face.naming import named

__all__ = ["Llama"]

_TOP = {"embedding": "model.embed_tokens.weight", "final_norm": "model.norm.weight", "unembedding": "lm_head.weight"}
_BLOCK = {
    "attention_norm": "input_layernorm",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "attention_out": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "mlp_out": "mlp.down_proj",
}


class Llama:
    """``model_type: llama``, with or without biases, tied embeddings, and rotary positions scaled linearly or as in
    Llama 3."""

    architecture = "LlamaForCausalLM"
    ignored = r"rotary_emb\.inv_freq$"

    @staticmethod
    def config(fields: Fields) -> DecoderConfig:
        """See :meth:`mixlaw.models.hugging_face.families.contract.Family.config`."""
        width, heads = fields.count("hidden_size"), fields.count("num_attention_heads")
        layers, context = fields.count("num_hidden_layers"), fields.count("max_position_embeddings", 2048)
        head_dim = fields.count("head_dim", max(width // heads, 1))
        rope = fields.rope(fields.rope_values(), fields.positive("rope_theta", 10_000.0), context)
        return DecoderConfig(
            family="llama",
            vocab_size=fields.count("vocab_size"),
            width=width,
            layers=layers,
            heads=heads,
            key_value_heads=fields.count("num_key_value_heads", heads),
            head_dim=head_dim,
            mlp_width=fields.count("intermediate_size"),
            context=context,
            tie_embeddings=fields.switch("tie_word_embeddings", False),
            norm="rms",
            norm_eps=fields.positive("rms_norm_eps", 1e-6),
            norm_offset=0.0,
            activation=fields.activation("hidden_act", "silu"),
            gated_mlp=True,
            parallel=False,
            attention_bias=fields.switch("attention_bias", False),
            mlp_bias=fields.switch("mlp_bias", False),
            head_norms=False,
            norms_after=False,
            embedding_scale=1.0,
            score_scale=head_dim**-0.5,
            rotary_dim=head_dim,
            rope=rope,
            local_rope=rope,
            windows=(0,) * layers,
        )

    @staticmethod
    def tensors(config: DecoderConfig) -> dict[str, tuple[str, ...]]:
        """See :meth:`mixlaw.models.hugging_face.families.contract.Family.tensors`."""
        return named(config, _TOP, _BLOCK)

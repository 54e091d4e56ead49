"""GPT-NeoX and Pythia: LayerNorm, attention and MLP in parallel, partly rotary heads (Black et al. 2022,
arXiv:2204.06745; Biderman et al. 2023, arXiv:2304.01373)."""

from __future__ import annotations

from mixlaw.errors import ConfigError
from mixlaw.models.hugging_face.decoder_config import DecoderConfig
from mixlaw.models.hugging_face.fields import Fields

__all__ = ["GPTNeoX"]

_BLOCK = {
    "attention_norm": "input_layernorm",
    "attention_out": "attention.dense",
    "mlp_norm": "post_attention_layernorm",
    "up": "mlp.dense_h_to_4h",
    "mlp_out": "mlp.dense_4h_to_h",
}
_NAMES = {
    "embedding": "gpt_neox.embed_in.weight",
    "final_norm": "gpt_neox.final_layer_norm.weight",
    "final_norm_bias": "gpt_neox.final_layer_norm.bias",
    "unembedding": "embed_out.weight",
}


class GPTNeoX:
    """``model_type: gpt_neox``, with or without the parallel residual stream."""

    architecture = "GPTNeoXForCausalLM"
    ignored = r"rotary_emb\.inv_freq$|attention\.(masked_)?bias$"

    @staticmethod
    def config(fields: Fields) -> DecoderConfig:
        """See :meth:`mixlaw.models.hugging_face.families.contract.Family.config`."""
        width, heads = fields.count("hidden_size"), fields.count("num_attention_heads")
        layers, context = fields.count("num_hidden_layers"), fields.count("max_position_embeddings", 2048)
        if width % heads:
            raise ConfigError(f"{fields.where}: hidden_size {width} does not split into {heads} attention heads.")
        base, part = fields.positive("rotary_emb_base", 10_000.0), fields.positive("rotary_pct", 0.25)
        scaling = fields.rope_values()
        part = fields.number(scaling.pop("partial_rotary_factor", part), "partial_rotary_factor")
        rope = fields.rope(scaling, base, context)
        head_dim = width // heads
        return DecoderConfig(
            family="gpt_neox",
            vocab_size=fields.count("vocab_size"),
            width=width,
            layers=layers,
            heads=heads,
            key_value_heads=heads,
            head_dim=head_dim,
            mlp_width=fields.count("intermediate_size"),
            context=context,
            tie_embeddings=fields.switch("tie_word_embeddings", False),
            norm="layer",
            norm_eps=fields.positive("layer_norm_eps", 1e-5),
            norm_offset=0.0,
            activation=fields.activation("hidden_act", "gelu"),
            gated_mlp=False,
            parallel=fields.switch("use_parallel_residual", True),
            attention_bias=fields.switch("attention_bias", True),
            mlp_bias=True,
            head_norms=False,
            norms_after=False,
            embedding_scale=1.0,
            score_scale=head_dim**-0.5,
            rotary_dim=int(head_dim * part),
            rope=rope,
            local_rope=rope,
            windows=(0,) * layers,
        )

    @staticmethod
    def tensors(config: DecoderConfig) -> dict[str, tuple[str, ...]]:
        """See :meth:`mixlaw.models.hugging_face.families.contract.Family.tensors`."""
        found: dict[str, tuple[str, ...]] = {}
        for ours in config.shapes():
            if not ours.startswith("blocks."):
                found[_NAMES[ours]] = (ours,)
                continue
            _, layer, name = ours.split(".")
            kind = "bias" if name.endswith("_bias") else "weight"
            stem, start = name.removesuffix("_bias"), f"gpt_neox.layers.{layer}"
            if stem in ("query", "key", "value"):
                together = f"{start}.attention.query_key_value.{kind}"
                found[together] = (*found.get(together, ()), ours)
            else:
                found[f"{start}.{_BLOCK[stem]}.{kind}"] = (ours,)
        return found

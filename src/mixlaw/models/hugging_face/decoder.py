"""The decoder of every supported family in torch: plain formulas, switched by :class:`DecoderConfig`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixlaw.models.hugging_face.decoder_config import DecoderConfig, Rope
from mixlaw.models.key_value_cache import KeyValueCache
from mixlaw.models.proxy import kernels

# Letters in the shape comments: B batch (sequences), L context (tokens), d width, H heads, G heads of keys and values,
# e head dimension, r rotary dimension, h hidden width of the MLP, V vocabulary.

__all__ = ["PublishedDecoder"]


class Block(nn.Module):
    """The parameters of one layer; the formulas are the decoder's."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        for name, shape in config.block_shapes().items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))
        self.low_rank = nn.ModuleDict()  # updates by the name of their matrix, see mixlaw.models.lora

    def get(self, name: str) -> Tensor | None:
        """A parameter, or None where this family has none of that name."""
        return getattr(self, name, None)


class PublishedDecoder(nn.Module):
    """A causal language model of a published architecture; its weights come from a checkpoint.

    Args:
        config: the architecture. New parameters hold nothing until weights are loaded.

    Example:
        >>> from mixlaw.models.hugging_face.families.llama import Llama
        >>> from mixlaw.models.hugging_face.fields import Fields
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        >>> config = Llama.config(Fields({**sizes, "vocab_size": 50}, "here"))
        >>> decoder = PublishedDecoder(config)
        >>> for parameter in decoder.parameters():
        ...     _ = nn.init.ones_(parameter)
        >>> decoder(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 50])
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.width))  # (V, d)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = nn.Parameter(torch.empty(config.width))
        self.final_norm_bias = nn.Parameter(torch.empty(config.width)) if config.norm == "layer" else None
        self.unembedding = None if config.tie_embeddings else nn.Parameter(torch.empty(config.vocab_size, config.width))
        self._tables: dict[tuple[Rope, int, torch.device], tuple[Tensor, Tensor]] = {}
        self._masks: dict[tuple[int, int, torch.device], Tensor] = {}

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, context, vocabulary) for ``tokens`` (batch, context) int64, which come without the start
        token where the model has one.
        """
        return F.linear(self._hidden(tokens), self._unembedding())

    def logits_at(self, tokens: Tensor, where: Tensor, rows: int) -> Iterator[Tensor]:
        """Logits (at most ``rows``, vocabulary) at the positions where ``where`` (batch, context) is true, part by
        part."""
        for part in self._hidden(tokens)[where].split(rows):
            yield F.linear(part, self._unembedding())

    def prefill(self, tokens: Tensor, lengths: Tensor, cache: KeyValueCache) -> Tensor:
        """Logits (batch, vocabulary) after each prompt, whose keys and values go into an empty cache.

        Args:
            tokens: (batch, context) int64, padded at the end, without the start token.
            lengths: (batch,) of the prompts without padding.
            cache: with a slot for each token that is to come, and one for the start token where the model has one.
        """
        before = int(self.config.start_token is not None)
        positions = torch.arange(tokens.shape[1] + before, device=tokens.device)
        cache.place(positions.expand(len(tokens), -1))
        x = self._hidden(tokens, cache)
        return F.linear(x[torch.arange(len(x), device=x.device), lengths - 1], self._unembedding())

    def step(self, tokens: Tensor, lengths: Tensor, cache: KeyValueCache) -> Tensor:
        """Logits (batch, vocabulary) after one more token of each sequence.

        Args:
            tokens: (batch,) int64.
            lengths: (batch,) tokens of each sequence before this one, without the start token.
            cache: what :meth:`prefill` and earlier steps filled.
        """
        cache.place(lengths[:, None] + int(self.config.start_token is not None))
        x = self._normed(self._residual(tokens[:, None], cache)[:, 0], self.final_norm, self.final_norm_bias)
        return F.linear(x, self._unembedding())

    def loss(
        self, inputs: Tensor, targets: Tensor, factors: Tensor | None = None, losses: Tensor | None = None
    ) -> Tensor:
        """Mean next-token loss in nats: the plain formula; see :func:`kernels.cross_entropy` for the rest."""
        return kernels.plain_loss(self(inputs), targets, factors, losses)

    def fast_loss(
        self,
        inputs: Tensor,
        targets: Tensor,
        dtype: torch.dtype,
        factors: Tensor | None = None,
        losses: Tensor | None = None,
    ) -> Tensor:
        """Mean next-token loss in nats on a CPU with matrix products in ``dtype`` (bfloat16 or float32).

        The cross-entropy is fused with the unembedding, so that the logits of a large vocabulary are never all in
        memory. ``factors`` (n,) multiply the tokens' losses, and ``losses`` (n,) is filled with these; n = batch times
        context.
        """
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            x = self._hidden(inputs)
        rows, weight = x.flatten(0, 1).to(dtype), self._unembedding().to(dtype)
        return kernels.cross_entropy(rows, weight, targets.flatten(), factors, losses)

    # ---- inside --------------------------------------------------------------------------------------
    def _unembedding(self) -> Tensor:
        return self.embedding if self.unembedding is None else self.unembedding

    def _blocks(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block

    def _hidden(self, tokens: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """What is unembedded: (B, L, d), from the beginning of a sequence."""
        start = self.config.start_token
        if start is not None:
            tokens = F.pad(tokens, (1, 0), value=start)
        x = self._residual(tokens, cache)
        return self._normed(x if start is None else x[:, 1:], self.final_norm, self.final_norm_bias)

    def _residual(self, tokens: Tensor, cache: KeyValueCache | None) -> Tensor:
        """The residual stream after the last layer (B, L, d), of the tokens alone or after those in the cache."""
        x = F.embedding(tokens, self.embedding) * self.config.embedding_scale
        for layer, (block, window) in enumerate(zip(self._blocks(), self.config.windows)):
            attended = self._attention(self._norm(x, block, "attention_norm"), block, window, layer, cache)
            if self.config.parallel:
                x = x + attended + self._mlp(self._norm(x, block, "mlp_norm"), block)
                continue
            if self.config.norms_after:
                attended = self._norm(attended, block, "after_attention_norm")
            x = x + attended
            out = self._mlp(self._norm(x, block, "mlp_norm"), block)
            x = x + (self._norm(out, block, "after_mlp_norm") if self.config.norms_after else out)
        return x

    def _norm(self, x: Tensor, block: Block, name: str) -> Tensor:
        gain = block.get(name)
        assert gain is not None
        return self._normed(x, gain, block.get(f"{name}_bias"))

    def _normed(self, x: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
        config = self.config
        if config.norm == "layer":
            return F.layer_norm(x.float(), gain.shape, gain, bias, config.norm_eps)
        return F.rms_norm(x.float(), gain.shape, gain + config.norm_offset, config.norm_eps)

    def _linear(self, x: Tensor, block: Block, name: str) -> Tensor:
        weight = block.get(name)
        assert weight is not None
        out = F.linear(x, weight, block.get(f"{name}_bias"))
        return out + block.low_rank[name](x) if name in block.low_rank else out

    def _attention(self, x: Tensor, block: Block, window: int, layer: int, cache: KeyValueCache | None) -> Tensor:
        config = self.config
        batch, length, _ = x.shape

        def heads(name: str, count: int) -> Tensor:
            return self._linear(x, block, name).view(batch, length, count, config.head_dim).transpose(1, 2)

        q = heads("query", config.heads)  # (B, H, L, e)
        k, v = heads("key", config.key_value_heads), heads("value", config.key_value_heads)  # (B, G, L, e)
        if config.head_norms:
            q, k = self._norm(q, block, "query_norm"), self._norm(k, block, "key_norm")
        cos, sin = self._table(config.local_rope if window else config.rope, cache.slots if cache else length, x.device)
        if cache is not None:  # (B, 1, L, r / 2): each sequence has its own positions
            cos, sin = cos[cache.positions][:, None], sin[cache.positions][:, None]
        q, k = _turned(q, cos, sin).to(v.dtype), _turned(k, cos, sin).to(v.dtype)
        if cache is not None:
            mixed = cache.attend(layer, q, k, v, config.score_scale, window)  # (B, H, L, e)
        else:
            shared = config.heads // config.key_value_heads
            k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)  # (B, H, L, e)
            mask = self._mask(length, window, x.device) if 0 < window < length else None
            mixed = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, scale=config.score_scale
            )  # (B, H, L, e)
        return self._linear(mixed.transpose(1, 2).reshape(batch, length, -1), block, "attention_out")

    def _mlp(self, x: Tensor, block: Block) -> Tensor:
        up = self._linear(x, block, "up")
        if self.config.gated_mlp:
            return self._linear(self._activated(self._linear(x, block, "gate")) * up, block, "mlp_out")
        return self._linear(self._activated(up), block, "mlp_out")

    def _activated(self, x: Tensor) -> Tensor:
        if self.config.activation == "silu":
            return F.silu(x)
        return F.gelu(x, approximate="tanh" if self.config.activation == "gelu_tanh" else "none")

    def _table(self, rope: Rope, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and sines (L, r / 2) of the angles, in fp32 as published models are computed."""
        key = (rope, length, device)
        if key not in self._tables:
            with torch.inference_mode(False):  # made while evaluating, they are used in training too
                positions = torch.arange(length, dtype=torch.float32)
                angles = positions[:, None] * _frequencies(rope, self.config.rotary_dim)
                self._tables[key] = (angles.cos().to(device), angles.sin().to(device))
        return self._tables[key]

    def _mask(self, length: int, window: int, device: torch.device) -> Tensor:
        """(L, L): which tokens a token sees, itself and the ``window - 1`` before it."""
        key = (length, window, device)
        if key not in self._masks:
            with torch.inference_mode(False):
                distance = torch.arange(length)[:, None] - torch.arange(length)
                self._masks[key] = ((distance >= 0) & (distance < window)).to(device)
        return self._masks[key]


def _frequencies(rope: Rope, dim: int) -> Tensor:
    """Radians per position of each of the ``dim / 2`` pairs of features."""
    frequency = 1.0 / rope.base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    if rope.kind == "linear":
        return frequency / rope.factor
    if rope.kind == "llama3":
        # Dubey et al. 2024, arXiv:2407.21783, as released: frequencies are kept above `high` turns per original
        # context, divided by `factor` below `low` turns, and interpolated linearly in the turns in between.
        turns = rope.original_context * frequency / (2 * math.pi)
        kept = ((turns - rope.low) / (rope.high - rope.low)).clamp(0.0, 1.0)
        return (1 - kept) * frequency / rope.factor + kept * frequency
    return frequency


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn feature pairs (i, i + r/2) of ``x`` (..., L, e) by their positions' angles; features from r on stay."""
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), -1)

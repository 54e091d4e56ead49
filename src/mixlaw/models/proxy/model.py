"""The decoder: RMSNorm, rotary positions, SwiGLU; plain formulas, and a fast training path with the same maths."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixlaw.models.key_value_cache import KeyValueCache
from mixlaw.models.proxy import kernels
from mixlaw.models.proxy.presets import ModelConfig

# Letters in the shape comments: B batch (sequences), L context (tokens), n = B L rows, d width, H heads, e = d / H head
# dimension, h hidden width of the SwiGLU, V vocabulary.

__all__ = ["Decoder"]


class Block(nn.Module):
    """One layer: attention and SwiGLU, each behind an RMSNorm and added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.mlp_width
        self.attention_norm = nn.Parameter(torch.ones(width))  # (d,)
        self.qkv = nn.Parameter(torch.empty(3 * width, width))  # (3 d, d): queries, keys, values
        self.attention_out = nn.Parameter(torch.empty(width, width))  # (d, d)
        self.mlp_norm = nn.Parameter(torch.ones(width))  # (d,)
        self.gate = nn.Parameter(torch.empty(hidden, width))  # (h, d)
        self.up = nn.Parameter(torch.empty(hidden, width))  # (h, d)
        self.mlp_out = nn.Parameter(torch.empty(width, hidden))  # (d, h)
        self.low_rank = nn.ModuleDict()  # updates by the name of their matrix, see mixlaw.models.lora

    def linear(self, x: Tensor, name: str) -> Tensor:
        """A matrix's product with ``x`` (..., in), in the type of ``x``, with its low-rank update where it has one."""
        weight: Tensor = getattr(self, name)
        out = F.linear(x, weight.to(x.dtype))
        return out + self.low_rank[name](x) if name in self.low_rank else out


class Decoder(nn.Module):
    """A causal language model.

    ``forward`` is the plain formula, for evaluation, GPUs and anything that wants logits. ``fast_loss`` is the same
    model through :mod:`mixlaw.models.proxy.kernels`, for training on a CPU core.

    Args:
        config: the architecture, with its vocabulary size.
        seed: of the initial weights; drawn from a generator of the model's own.

    Initial weights and multipliers follow muP (Yang et al. 2022, arXiv:2203.03466): hidden matrices have variance
    ``1/fan_in``, those writing to the residual stream less by ``2 * layers``; logits are multiplied by
    ``base_width / width`` and attention scores by ``sqrt(base_head_dim) / head_dim``.
    """

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.width))  # (V, d)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = nn.Parameter(torch.ones(config.width))
        self.unembedding = None if config.tie_embeddings else nn.Parameter(torch.empty(config.vocab_size, config.width))
        self.logit_scale = config.base_width / config.width
        self.score_scale = math.sqrt(config.base_head_dim) / config.head_dim
        self._tables: dict[tuple[int, torch.device], Tensor] = {}
        self._turns: dict[int, Tensor] = {}
        self._draw(seed)

    @torch.no_grad()
    def _draw(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        config = self.config
        self.embedding.normal_(0.0, 0.02 if config.tie_embeddings else 0.1, generator=generator)
        residual = 1 / math.sqrt(2 * config.layers)
        for block in self._blocks():
            for weight, factor in (
                (block.qkv, 1.0),
                (block.attention_out, residual),
                (block.gate, 1.0),
                (block.up, 1.0),
                (block.mlp_out, residual),
            ):
                weight.normal_(0.0, factor / math.sqrt(weight.shape[1]), generator=generator)
        if self.unembedding is not None:
            self.unembedding.normal_(0.0, 0.02, generator=generator)

    def _blocks(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block

    def _turn(self, context: int) -> Tensor:
        """The fast path's rotary table, made once per context."""
        if context not in self._turns:
            config = self.config
            self._turns[context] = kernels.attention_turn(
                context, config.heads, config.head_dim, config.rope_base, self.score_scale
            )
        return self._turns[context]

    def _table(self, context: int) -> Tensor:
        """The plain formula's rotary table, made once per context and device."""
        key = (context, self.embedding.device)
        if key not in self._tables:
            table = kernels.rotary_table(context, self.config.head_dim, self.config.rope_base)
            self._tables[key] = table.to(key[1])
        return self._tables[key]

    # ---- the plain formula -------------------------------------------------------------------------
    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, context, vocabulary) for ``tokens`` (batch, context) int64."""
        return self._logits(self._hidden(tokens, None))

    def logits_at(self, tokens: Tensor, where: Tensor, rows: int) -> Iterator[Tensor]:
        """Logits (at most ``rows``, vocabulary) at the positions where ``where`` (batch, context) is true, part by
        part."""
        for part in self._hidden(tokens, None)[where].split(rows):
            yield self._logits(part)

    def prefill(self, tokens: Tensor, lengths: Tensor, cache: KeyValueCache) -> Tensor:
        """Logits (batch, vocabulary) after each prompt, whose keys and values go into an empty cache.

        Args:
            tokens: (batch, context) int64, padded at the end.
            lengths: (batch,) of the prompts without padding.
            cache: with a slot for each token that is to come.
        """
        cache.place(torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape))
        x = self._hidden(tokens, cache)
        return self._logits(x[torch.arange(len(x), device=x.device), lengths - 1])

    def step(self, tokens: Tensor, lengths: Tensor, cache: KeyValueCache) -> Tensor:
        """Logits (batch, vocabulary) after one more token of each sequence.

        Args:
            tokens: (batch,) int64.
            lengths: (batch,) tokens of each sequence before this one.
            cache: what :meth:`prefill` and earlier steps filled.
        """
        cache.place(lengths[:, None])
        return self._logits(self._hidden(tokens[:, None], cache)[:, 0])

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(x * self.logit_scale, self.embedding if self.unembedding is None else self.unembedding)

    def _hidden(self, tokens: Tensor, cache: KeyValueCache | None) -> Tensor:
        """What is unembedded: (B, L, d), of the tokens alone or as the continuation of what the cache holds."""
        config = self.config
        batch, length = tokens.shape
        if cache is None:
            table = self._table(length)  # (L, e / 2) complex
        else:
            table = self._table(cache.slots)[cache.positions][:, None]  # (B, 1, L, e / 2)
        x = F.embedding(tokens, self.embedding)  # (B, L, d)
        for i, block in enumerate(self._blocks()):
            normed = F.rms_norm(x, (config.width,), block.attention_norm, config.norm_eps)
            parts = block.linear(normed, "qkv").view(batch, length, 3, config.heads, config.head_dim)
            q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, L, e)
            q, k = _rotary(q, table), _rotary(k, table)
            if cache is None:
                mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.score_scale)  # (B, H, L, e)
            else:
                mixed = cache.attend(i, q, k, v, self.score_scale)
            x = x + block.linear(mixed.transpose(1, 2).reshape(batch, length, config.width), "attention_out")
            normed = F.rms_norm(x, (config.width,), block.mlp_norm, config.norm_eps)
            x = x + block.linear(F.silu(block.linear(normed, "gate")) * block.linear(normed, "up"), "mlp_out")
        return F.rms_norm(x, (config.width,), self.final_norm, config.norm_eps)

    def loss(
        self, inputs: Tensor, targets: Tensor, factors: Tensor | None = None, losses: Tensor | None = None
    ) -> Tensor:
        """Mean next-token loss in nats: the plain formula; see :func:`kernels.cross_entropy` for the rest."""
        return kernels.plain_loss(self(inputs), targets, factors, losses)

    # ---- the same, fast on a CPU -------------------------------------------------------------------
    def fast_loss(
        self,
        inputs: Tensor,
        targets: Tensor,
        dtype: torch.dtype,
        factors: Tensor | None = None,
        losses: Tensor | None = None,
    ) -> Tensor:
        """Mean next-token loss in nats with matrix products in ``dtype`` (bfloat16 or float32).

        The residual stream, the norms' statistics and the master weights stay in fp32. ``factors`` (n,) multiply the
        tokens' losses, and ``losses`` (n,) is filled with these; n = batch times context.
        """
        config = self.config
        batch, length = inputs.shape
        turn = self._turn(length)  # (L, 2, H, e / 2) complex
        x = F.embedding(inputs.flatten(), self.embedding)  # (n, d) fp32, the residual stream
        for block in self._blocks():
            normed = kernels.rms_norm(x, block.attention_norm, config.norm_eps, dtype)  # (n, d)
            qkv = block.linear(normed, "qkv").view(batch, length, 3 * config.width)
            mixed = kernels.causal_attention(qkv, turn, config.heads)  # (B, L, d)
            x = x + block.linear(mixed.view(-1, config.width), "attention_out").float()
            normed = kernels.rms_norm(x, block.mlp_norm, config.norm_eps, dtype)
            gate, up = block.linear(normed, "gate"), block.linear(normed, "up")
            # gate and up are (n, h)
            x = x + block.linear(kernels.swiglu(gate, up), "mlp_out").float()
        x = kernels.rms_norm(x, self.final_norm * self.logit_scale, config.norm_eps, dtype)
        weight = self.embedding if self.unembedding is None else self.unembedding
        return kernels.cross_entropy(x, weight.to(dtype), targets.flatten(), factors, losses)


def _rotary(x: Tensor, table: Tensor) -> Tensor:
    """Turn feature pairs (2i, 2i + 1) of ``x`` (..., context, head_dim) by their positions' angles."""
    pairs = torch.view_as_complex(x.float().contiguous().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * table).flatten(-2).to(x.dtype)

"""Operations of the decoder with hand-written backward passes, for many small models on CPU cores.

One-thread CPU training of a small decoder is not bound by matrix products but by what surrounds them: fp32 copies
under autocast, softmax over the vocabulary and over attention scores, and passes over memory. Here every operation
keeps its matrix products in the compute type (bf16 where the CPU multiplies it natively, else fp32), its reductions in
fp32, and what it saves for the backward pass small:

- causal attention in blocks of queries, which skips the masked half of the scores;
- cross-entropy fused with the unembedding, in chunks of rows that stay in cache, computing its gradient on the way;
- rotary positions as one complex product;
- RMSNorm and SwiGLU with few passes.

The plain formulas are in :mod:`mixlaw.models.proxy.model`; tests compare the two.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

# Letters in the shape comments: B batch, L context, n = B L rows, d width, H heads, e = d / H head dimension, h hidden
# width, V vocabulary, Q queries of one block, S keys up to the block's end.

__all__ = ["attention_turn", "causal_attention", "cross_entropy", "plain_loss", "rms_norm", "rotary_table", "swiglu"]

QUERY_BLOCK = 128
"""Queries per block of attention: smaller skips more of the masked half, larger has fewer calls."""

VOCABULARY_CHUNK_ELEMENTS = 2**20
"""Logits per chunk of the fused cross-entropy: 2 MB of bf16, the second-level cache of a server core."""

LARGE_VOCABULARY, ROWS_OF_A_LARGE_VOCABULARY = 2**16, 256
"""From so many tokens on, chunks are of so many rows: no chunk of logits stays in cache, and what is read and written
once per chunk, the weights and their gradient, costs most."""


class _RMSNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()  # x (n, d) -> (n, 1)
        scale.div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, gain, scale)
        return (x * scale).mul_(gain).to(dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        x, gain, scale = ctx.saved_tensors
        grad = grad.float()
        unit = x * scale  # (n, d): x / rms(x)
        weighted = grad * unit  # (n, d)
        grad_gain = weighted.sum(0)  # (d,)
        mean = (weighted @ gain).div_(x.shape[-1]).unsqueeze_(-1)  # (n, 1)
        return unit.mul_(mean).neg_().addcmul_(grad, gain).mul_(scale), grad_gain, None, None


def rms_norm(x: Tensor, gain: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """``gain * x / rms(x)`` over the last axis of fp32 ``x`` (n, d), returned in ``dtype``.

    Zhang and Sennrich 2019, arXiv:1910.07467.
    """
    return _RMSNorm.apply(x, gain, eps, dtype)  # type: ignore[no-any-return]


def rotary_table(context: int, head_dim: int, base: float) -> Tensor:
    """Unit complex numbers (context, head_dim / 2) that turn feature pairs (2i, 2i + 1) by their positions' angles.

    Rotary positions: Su et al. 2021, arXiv:2104.09864.
    """
    frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.arange(context, dtype=torch.float64)[:, None] * frequency
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


class _CausalAttention(Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, turn: Tensor, heads: int) -> Tensor:
        batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
        dim = width // heads
        parts = torch.empty(3, batch, heads, length, dim, dtype=qkv.dtype)  # (3, B, H, L, e)
        # One complex product turns queries and keys, and carries the scores' scale on the queries.
        turned = qkv[..., : 2 * width].float().view(batch, length, 2, heads, dim)  # (B, L, 2, H, e)
        torch.view_as_complex(turned.unflatten(-1, (-1, 2))).mul_(turn)
        parts[:2].copy_(turned.permute(2, 0, 3, 1, 4))
        parts[2].copy_(qkv[..., 2 * width :].view(batch, length, heads, dim).transpose(1, 2))
        q, k, v = parts.view(3, -1, length, dim).unbind(0)  # each (B H, L, e)
        keys = k.transpose(1, 2)  # (B H, e, L)
        out = torch.empty_like(q)
        mask = torch.full((QUERY_BLOCK, QUERY_BLOCK), -torch.inf, dtype=qkv.dtype).triu_(1)
        saved = []
        for start in range(0, length, QUERY_BLOCK):
            stop = min(start + QUERY_BLOCK, length)
            scores = torch.bmm(q[:, start:stop], keys[:, :, :stop])  # (B H, Q, S)
            scores[:, :, start:].add_(mask[: stop - start, : stop - start])
            weights = torch.ops.aten._softmax.out(scores, -1, False, out=scores)
            torch.bmm(weights, v[:, :stop], out=out[:, start:stop])
            saved.append(weights)
        ctx.save_for_backward(q, k, v, turn, *saved)
        ctx.heads = heads
        return out.view(batch, heads, length, dim).transpose(1, 2).reshape(batch, length, width)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        q, k, v, turn, *saved = ctx.saved_tensors
        heads, (batch, length, width) = ctx.heads, grad.shape
        dim = width // heads
        grad_out = grad.view(batch, length, heads, dim).transpose(1, 2).reshape(-1, length, dim)  # (B H, L, e)
        values = v.transpose(1, 2)  # (B H, e, L)
        grads = torch.empty(3, batch, heads, length, dim, dtype=grad.dtype)
        grad_q, grad_k, grad_v = grads.view(3, -1, length, dim).unbind(0)
        # From the last block of queries to the first: the last reaches every key and fills the gradients of keys and
        # values, the others add to them.
        blocks = list(zip(range(0, length, QUERY_BLOCK), saved, strict=True))
        for start, weights in reversed(blocks):
            stop = min(start + QUERY_BLOCK, length)
            grad_block = grad_out[:, start:stop]
            grad_weights = torch.bmm(grad_block, values[:, :, :stop])  # (B H, Q, S)
            grad_scores = torch.ops.aten._softmax_backward_data.out(
                grad_weights, weights, -1, weights.dtype, grad_input=grad_weights
            )
            torch.bmm(grad_scores, k[:, :stop], out=grad_q[:, start:stop])
            to_keys = torch.bmm(grad_scores.transpose(1, 2), q[:, start:stop])  # (B H, S, e)
            to_values = torch.bmm(weights.transpose(1, 2), grad_block)
            if stop == length:
                grad_k.copy_(to_keys)
                grad_v.copy_(to_values)
            else:
                grad_k[:, :stop].add_(to_keys)
                grad_v[:, :stop].add_(to_values)
        result = torch.empty(batch, length, 3, heads, dim, dtype=grad.dtype)  # (B, L, 3, H, e)
        turned = torch.empty(batch, length, 2, heads, dim)
        turned.copy_(grads[:2].permute(1, 3, 0, 2, 4))
        torch.view_as_complex(turned.unflatten(-1, (-1, 2))).mul_(turn.conj())  # the transpose turns back
        result[:, :, :2].copy_(turned)
        result[:, :, 2].copy_(grads[2].transpose(1, 2))
        return result.view(batch, length, 3 * width), None, None


def attention_turn(context: int, heads: int, head_dim: int, base: float, scale: float) -> Tensor:
    """The table :func:`causal_attention` takes: (context, 2, heads, head_dim / 2) complex, ``scale`` on the queries."""
    table = rotary_table(context, head_dim, base)[:, None, None, :]
    return torch.cat([table * scale, table], 1).expand(-1, -1, heads, -1).contiguous()


def causal_attention(qkv: Tensor, turn: Tensor, heads: int) -> Tensor:
    """Causal self-attention with rotary positions.

    Args:
        qkv: (batch, context, 3 * width), queries, keys and values side by side.
        turn: :func:`attention_turn`.
        heads: attention heads.

    Returns:
        (batch, context, width).
    """
    return _CausalAttention.apply(qkv, turn, heads)  # type: ignore[no-any-return]


class _SwiGLU(Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        activated = torch.nn.functional.silu(gate)
        ctx.save_for_backward(gate, up, activated)
        return activated * up

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        gate, up, activated = ctx.saved_tensors
        return torch.ops.aten.silu_backward(grad * up, gate), grad * activated


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """``silu(gate) * up`` (Shazeer 2020, arXiv:2002.05202)."""
    return _SwiGLU.apply(gate, up)  # type: ignore[no-any-return]


class _CrossEntropy(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, factors: Tensor | None, losses: Tensor | None
    ) -> Tensor:
        count, vocab = x.shape[0], weight.shape[0]
        rows = min(
            count, VOCABULARY_CHUNK_ELEMENTS // vocab if vocab < LARGE_VOCABULARY else ROWS_OF_A_LARGE_VOCABULARY
        )
        grad_x = torch.empty_like(x)  # (n, d)
        # Of a frozen unembedding (d, V) no gradient is made: a third of the products, and for a large one most memory.
        grad_weight = torch.zeros(weight.shape[::-1], dtype=torch.float32) if ctx.needs_input_grad[1] else None
        total = torch.zeros((), dtype=torch.float64)
        transposed = weight.t()  # (d, V)
        buffer = x.new_empty(rows, vocab)  # (rows, V)
        for start in range(0, count, rows):
            stop = min(start + rows, count)
            part = x[start:stop]  # (rows, d)
            place = torch.arange(stop - start).mul_(vocab).add_(targets[start:stop])  # (rows,), into the flat buffer
            # Logits, probabilities and the logits' gradient take turns in one buffer, which stays in cache.
            probability = torch.mm(part, transposed, out=buffer[: stop - start])
            torch.ops.aten._softmax.out(probability, -1, False, out=probability)
            right = probability.view(-1).take(place)  # (rows,): what the model gave the token that came
            # The smallest normal number keeps a hopeless guess finite; infinities and NaN still pass through.
            logs = right.float().clamp_min(torch.finfo(torch.float32).tiny).log_()
            if losses is not None:
                torch.neg(logs, out=losses[start:stop])
            probability.view(-1).put_(place, right - 1)
            if factors is not None:
                logs.mul_(factors[start:stop])
                probability.mul_(factors[start:stop, None].to(probability.dtype))
            total -= logs.sum(dtype=torch.float64)
            torch.mm(probability, weight, out=grad_x[start:stop])
            if grad_weight is not None:
                grad_weight.add_((part.t() @ probability).float())
        ctx.save_for_backward(grad_x, grad_weight)
        ctx.count, ctx.dtype = count, weight.dtype
        return (total / count).float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        grad_x, grad_weight = ctx.saved_tensors
        factor = grad / ctx.count
        for_weight = None if grad_weight is None else (grad_weight.t() * factor).to(ctx.dtype)
        return grad_x * factor.to(grad_x.dtype), for_weight, None, None, None


def cross_entropy(
    x: Tensor, weight: Tensor, targets: Tensor, factors: Tensor | None = None, losses: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy in nats of logits ``x @ weight.T`` without keeping them.

    Args:
        x: (n, width); weight: (vocabulary, width) in the same type; targets: (n,) int64.
        factors: (n,) by which each token's loss is multiplied before the mean over n.
        losses: (n,) fp32, filled with the loss of each token (without its factor).

    Returns:
        fp32 scalar. In bf16 a single token's loss carries a rounding of up to 0.4%, unbiased; validation losses are
        computed elsewhere, in fp32.
    """
    return _CrossEntropy.apply(x, weight, targets, factors, losses)  # type: ignore[no-any-return]


def plain_loss(logits: Tensor, targets: Tensor, factors: Tensor | None = None, losses: Tensor | None = None) -> Tensor:
    """The same of ``logits`` (batch, context, vocabulary) that are kept: for GPUs, and to compare with."""
    if factors is None and losses is None:
        return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
    each = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    if losses is not None:
        losses.copy_(each.detach())
    return (each if factors is None else each * factors).mean()

"""Operations of the decoder with hand-written backward passes, for many small models on CPU cores.

One-thread CPU training of a small decoder is not bound by matrix products but by what surrounds them: fp32 copies
under autocast, softmax over the vocabulary and over attention scores, and passes over memory. Here every operation
keeps its matrix products in the compute type (bf16 where the CPU multiplies it natively, else fp32), its reductions in
fp32, and what it saves for the backward pass small:

- causal attention in blocks of queries, which skips the masked half of the scores;
- cross-entropy fused with the unembedding, in chunks of rows that stay in cache, computing its gradient on the way;
- RMSNorm and SwiGLU that save their inputs only.

The plain formulas are in :mod:`mixlaw.train.model`; tests compare the two.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

__all__ = ["causal_attention", "cross_entropy", "rms_norm", "rotary_tables", "swiglu"]

QUERY_BLOCK = 64
"""Queries per block of attention: smaller skips more of the masked half, larger has fewer calls."""

VOCABULARY_CHUNK_ELEMENTS = 2**20
"""Logits per chunk of the fused cross-entropy: 2 MB of bf16, the second-level cache of a server core."""


class _RMSNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        scale.div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, gain, scale)
        return (x * scale).mul_(gain).to(dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        x, gain, scale = ctx.saved_tensors
        grad = grad.float()
        unit = x * scale
        weighted = grad * unit
        grad_gain = weighted.sum(0)
        mean = (weighted @ gain).div_(x.shape[-1]).unsqueeze_(-1)
        return unit.mul_(mean).neg_().addcmul_(grad, gain).mul_(scale), grad_gain, None, None


def rms_norm(x: Tensor, gain: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """``gain * x / rms(x)`` over the last axis of fp32 ``x`` (n, d), returned in ``dtype``.

    Zhang and Sennrich 2019, arXiv:1910.07467.
    """
    return _RMSNorm.apply(x, gain, eps, dtype)  # type: ignore[no-any-return]


def rotary_tables(context: int, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine (context, head_dim / 2) of rotary positions (Su et al. 2021, arXiv:2104.09864), fp32."""
    frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.arange(context, dtype=torch.float64)[:, None] * frequency
    return angle.cos().float(), angle.sin().float()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> None:
    """Turn feature i with feature i + half of ``x`` (..., T, hd) by the angles of its position."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    torch.mul(first, cos, out=out[..., :half]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=out[..., half:]).addcmul_(first, sin)


class _CausalAttention(Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, scale: float) -> Tensor:
        batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
        dim = width // heads
        parts = qkv.view(batch, length, 3, heads, dim).permute(2, 0, 3, 1, 4)
        q, k = (torch.empty(batch, heads, length, dim, dtype=qkv.dtype) for _ in range(2))
        # The scale rides on the queries' rotation, so that no pass over the scores is needed for it.
        _rotate(parts[0], cos * scale, sin * scale, q)
        _rotate(parts[1], cos, sin, k)
        q, k = q.view(-1, length, dim), k.view(-1, length, dim)
        v = parts[2].reshape(-1, length, dim)
        keys = k.transpose(1, 2)
        out = torch.empty_like(q)
        saved = []
        for start in range(0, length, QUERY_BLOCK):
            stop = min(start + QUERY_BLOCK, length)
            scores = torch.bmm(q[:, start:stop], keys[:, :, :stop])
            size = stop - start
            scores[:, :, start:].add_(torch.full((size, size), -torch.inf, dtype=qkv.dtype).triu_(1))
            weights = torch.softmax(scores, -1)
            out[:, start:stop] = torch.bmm(weights, v[:, :stop])
            saved.append(weights)
        ctx.save_for_backward(q, k, v, cos, sin, *saved)
        ctx.heads, ctx.scale = heads, scale
        return out.view(batch, heads, length, dim).transpose(1, 2).reshape(batch, length, width)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        q, k, v, cos, sin, *saved = ctx.saved_tensors
        heads, scale = ctx.heads, ctx.scale
        batch, length, width = grad.shape
        dim = width // heads
        grad_out = grad.view(batch, length, heads, dim).transpose(1, 2).reshape(-1, length, dim)
        values = v.transpose(1, 2)
        grad_q = torch.empty_like(q)
        # fp32 sums over blocks of queries; products stay in the compute type.
        grad_k, grad_v = (torch.zeros(k.shape, dtype=torch.float32) for _ in range(2))
        for start, weights in zip(range(0, length, QUERY_BLOCK), saved, strict=True):
            stop = min(start + QUERY_BLOCK, length)
            grad_block = grad_out[:, start:stop]
            grad_v[:, :stop] += torch.bmm(weights.transpose(1, 2), grad_block)
            grad_weights = torch.bmm(grad_block, values[:, :, :stop])
            grad_scores = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            grad_q[:, start:stop] = torch.bmm(grad_scores, k[:, :stop])
            grad_k[:, :stop] += torch.bmm(grad_scores.transpose(1, 2), q[:, start:stop])
        result = torch.empty(batch, length, 3, heads, dim, dtype=grad.dtype)
        parts = result.permute(2, 0, 3, 1, 4)
        shape = (batch, heads, length, dim)
        _rotate(grad_q.view(shape), cos * scale, -sin * scale, parts[0])  # a rotation's transpose turns back
        _rotate(grad_k.to(grad.dtype).view(shape), cos, -sin, parts[1])
        parts[2].copy_(grad_v.view(shape))
        return result.view(batch, length, 3 * width), None, None, None, None


def causal_attention(qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, scale: float) -> Tensor:
    """Causal self-attention with rotary positions.

    Args:
        qkv: (batch, context, 3 * width), queries, keys and values side by side.
        cos, sin: :func:`rotary_tables` in the type of ``qkv``.
        heads: attention heads.
        scale: factor of the scores.

    Returns:
        (batch, context, width).
    """
    return _CausalAttention.apply(qkv, cos, sin, heads, scale)  # type: ignore[no-any-return]


class _SwiGLU(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        gate, up = x.chunk(2, -1)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        gate, up = x.chunk(2, -1)
        result = torch.empty_like(x)
        grad_gate, grad_up = result.chunk(2, -1)
        torch.mul(grad, torch.nn.functional.silu(gate), out=grad_up)
        grad_gate.copy_(torch.ops.aten.silu_backward(grad * up, gate))
        return result


def swiglu(x: Tensor) -> Tensor:
    """``silu(gate) * up`` of ``x`` (..., 2 * hidden) = [gate, up] (Shazeer 2020, arXiv:2002.05202)."""
    return _SwiGLU.apply(x)  # type: ignore[no-any-return]


class _CrossEntropy(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        count, vocab = x.shape[0], weight.shape[0]
        rows = max(1, min(count, VOCABULARY_CHUNK_ELEMENTS // vocab))
        grad_x = torch.empty_like(x)
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32)
        total = torch.zeros((), dtype=torch.float64)
        transposed = weight.t()
        for start in range(0, count, rows):
            stop = min(start + rows, count)
            part, target = x[start:stop], targets[start:stop, None]
            probability = torch.softmax(part @ transposed, -1)
            right = probability.gather(1, target)
            # The smallest normal number keeps a hopeless guess finite; infinities and NaN still pass through.
            total -= right.float().clamp_min(torch.finfo(torch.float32).tiny).log_().sum(dtype=torch.float64)
            probability.scatter_(1, target, right - 1)
            torch.mm(probability, weight, out=grad_x[start:stop])
            grad_weight += (part.t() @ probability).t()
        ctx.save_for_backward(grad_x, grad_weight)
        ctx.count, ctx.dtype = count, weight.dtype
        return (total / count).float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        grad_x, grad_weight = ctx.saved_tensors
        factor = grad / ctx.count
        return grad_x * factor.to(grad_x.dtype), (grad_weight * factor).to(ctx.dtype), None


def cross_entropy(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats of logits ``x @ weight.T`` without keeping them.

    Args:
        x: (n, width); weight: (vocabulary, width) in the same type; targets: (n,) int64.

    Returns:
        fp32 scalar. In bf16 a single token's loss carries a rounding of up to 0.4%, unbiased; validation losses are
        computed elsewhere, in fp32.
    """
    return _CrossEntropy.apply(x, weight, targets)  # type: ignore[no-any-return]

"""What the supported architectures differ in, as numbers and switches; without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mixlaw.errors import ConfigError

__all__ = ["DecoderConfig", "Rope"]


@dataclass(frozen=True)
class Rope:
    """Rotary positions: the frequencies by which feature pairs turn.

    Args:
        base: feature pair ``i`` of ``n`` turns by ``base^(-i/n)`` per position.
        kind: ``"default"``; ``"linear"`` divides all frequencies by ``factor``; ``"llama3"`` divides the slow ones
            (wavelengths above ``original_context / low``), leaves the fast ones (below ``original_context / high``),
            and goes from one to the other in between.
        factor, low, high, original_context: of the kinds that need them.

    Example:
        >>> Rope(10_000.0, "linear", factor=8.0).kind
        'linear'
    """

    base: float
    kind: Literal["default", "linear", "llama3"] = "default"
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original_context: int = 0


@dataclass(frozen=True)
class DecoderConfig:
    """One decoder-only transformer of a supported family.

    Args:
        family: whose checkpoints these are, a name in :data:`mixlaw.data.seams.FAMILIES`.
        vocab_size, width, layers, heads, key_value_heads, head_dim, mlp_width: sizes; ``key_value_heads`` divides
            ``heads``, and each serves ``heads / key_value_heads`` of them.
        context: longest sequence in tokens that the model was made for.
        tie_embeddings: the unembedding is the embedding.
        norm: RMSNorm (``"rms"``) or LayerNorm with a bias (``"layer"``).
        norm_eps, norm_offset: added to the mean square, and to the stored gain.
        activation: ``"silu"``, ``"gelu"``, or ``"gelu_tanh"``, its approximation by a tanh.
        gated_mlp: the MLP multiplies the activation with a second projection.
        parallel: attention and MLP read the same residual stream, instead of one after the other.
        attention_bias, mlp_bias: whether projections have biases.
        head_norms: queries and keys are normed per head before they turn.
        norms_after: attention and MLP are normed once more before they are added to the residual stream.
        embedding_scale: multiplies the embedding.
        score_scale: multiplies attention scores.
        rotary_dim: features of each head that turn, an even number.
        rope: of layers that see the whole context.
        local_rope: of layers with a window.
        windows: per layer, how many tokens a token sees, itself included; 0: all before it.
        start_token: id of the token that stands before every sequence the model was trained on; None: there is none.
            The decoder puts it there itself, so sequences come without it.

    Raises:
        ConfigError: sizes that do not fit each other.
    """

    family: str
    vocab_size: int
    width: int
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    mlp_width: int
    context: int
    tie_embeddings: bool
    norm: Literal["rms", "layer"]
    norm_eps: float
    norm_offset: float
    activation: Literal["silu", "gelu", "gelu_tanh"]
    gated_mlp: bool
    parallel: bool
    attention_bias: bool
    mlp_bias: bool
    head_norms: bool
    norms_after: bool
    embedding_scale: float
    score_scale: float
    rotary_dim: int
    rope: Rope
    local_rope: Rope
    windows: tuple[int, ...]
    start_token: int | None = None

    def __post_init__(self) -> None:
        if self.heads % self.key_value_heads:
            raise ConfigError(
                f"The {self.family} model has {self.heads} attention heads and {self.key_value_heads} heads of keys "
                f"and values; the second must divide the first."
            )
        if self.rotary_dim % 2 or not 0 < self.rotary_dim <= self.head_dim:
            raise ConfigError(
                f"The {self.family} model turns {self.rotary_dim} of the {self.head_dim} features of a head; rotary "
                f"positions turn pairs, so this must be an even number of at most {self.head_dim}."
            )
        if self.start_token is not None and not 0 <= self.start_token < self.vocab_size:
            raise ConfigError(
                f"The {self.family} model's sequences are to start with token {self.start_token}, and its vocabulary "
                f"ends at {self.vocab_size - 1}."
            )
        if len(self.windows) != self.layers:
            raise ConfigError(
                f"The {self.family} model has {self.layers} layers, and {len(self.windows)} kinds of attention."
            )

    def block_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of one layer's parameters by name; matrices are (out, in)."""
        d, h = self.width, self.mlp_width
        q, kv = self.heads * self.head_dim, self.key_value_heads * self.head_dim
        biased = self.norm == "layer"
        shapes: dict[str, tuple[int, ...]] = {"attention_norm": (d,)}
        if biased:
            shapes["attention_norm_bias"] = (d,)
        for name, out, into, bias in (
            ("query", q, d, self.attention_bias),
            ("key", kv, d, self.attention_bias),
            ("value", kv, d, self.attention_bias),
            ("attention_out", d, q, self.attention_bias),
            *((("gate", h, d, self.mlp_bias),) if self.gated_mlp else ()),
            ("up", h, d, self.mlp_bias),
            ("mlp_out", d, h, self.mlp_bias),
        ):
            shapes[name] = (out, into)
            if bias:
                shapes[f"{name}_bias"] = (out,)
        if self.head_norms:
            shapes |= {"query_norm": (self.head_dim,), "key_norm": (self.head_dim,)}
        if self.norms_after:
            shapes |= {"after_attention_norm": (d,), "after_mlp_norm": (d,)}
        shapes["mlp_norm"] = (d,)
        if biased:
            shapes["mlp_norm_bias"] = (d,)
        return shapes

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all parameters by name, in a fixed order."""
        shapes: dict[str, tuple[int, ...]] = {"embedding": (self.vocab_size, self.width), "final_norm": (self.width,)}
        if self.norm == "layer":
            shapes["final_norm_bias"] = (self.width,)
        if not self.tie_embeddings:
            shapes["unembedding"] = (self.vocab_size, self.width)
        for i in range(self.layers):
            shapes |= {f"blocks.{i}.{name}": shape for name, shape in self.block_shapes().items()}
        return shapes

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that it takes: ``context``, less the token that stands before it."""
        return self.context - (self.start_token is not None)

    @property
    def params(self) -> int:
        """Non-embedding parameters ``N``: all but the embedding and the unembedding."""
        return sum(math.prod(s) for name, s in self.shapes().items() if not name.endswith("embedding"))

    @property
    def params_total(self) -> int:
        """All parameters."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    @property
    def attention_width(self) -> int:
        """Features of all attention heads together."""
        return self.heads * self.head_dim

    @property
    def base_width(self) -> int:
        """The model's own width: its learning rate is not transferred from another one."""
        return self.width

    def settings(self) -> dict[str, float | str]:
        """What a table of runs says of the model."""
        return {
            "family": self.family,
            "vocab_size": self.vocab_size,
            "width": self.width,
            "layers": self.layers,
            "heads": self.heads,
            "key_value_heads": self.key_value_heads,
            "mlp_width": self.mlp_width,
        }

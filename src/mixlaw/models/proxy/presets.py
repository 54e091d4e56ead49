"""Sizes of the decoder: named presets, and exact parameter counts, without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from mixlaw.errors import ConfigError, did_you_mean

__all__ = ["PRESETS", "ModelConfig", "model_config", "presets"]


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of a decoder with RMSNorm, rotary positions and SwiGLU, no biases.

    Args:
        width: residual stream width ``d``.
        layers, heads: depth and attention heads (``width / heads`` must be even).
        mlp_width: hidden width of SwiGLU; ``8/3 d`` gives a block the ``12 d^2`` parameters of a plain one.
        vocab_size: rows of the embedding; 0 until a corpus is known.
        tie_embeddings: the unembedding is the embedding.
        base_width: width at which the learning rate was chosen; hidden matrices of another width train with
            ``base_width / width`` times it (muP; Yang et al. 2022, arXiv:2203.03466).
        base_head_dim: head dimension at which attention logits are scaled by ``1/sqrt(dim)``; they fall as ``1/dim``.
        rope_base: rotary base frequency.
        norm_eps: added to the mean square in RMSNorm.

    Raises:
        ConfigError: a field is not a positive number of its type, or the width does not split into even heads.

    Example:
        >>> config = ModelConfig(width=64, layers=2, heads=2, mlp_width=176)
        >>> config.params  # non-embedding parameters
        100672
    """

    width: int
    layers: int
    heads: int
    mlp_width: int
    vocab_size: int = 0
    tie_embeddings: bool = False
    base_width: int = 64
    base_head_dim: int = 32
    rope_base: float = 10_000.0
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "mlp_width", "base_width", "base_head_dim"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                raise ConfigError(f"Model {name} must be a positive whole number, got {value!r}.")
        if not isinstance(self.vocab_size, int) or self.vocab_size < 0:
            raise ConfigError(f"Model vocab_size must be a whole number, got {self.vocab_size!r}.")
        if not isinstance(self.tie_embeddings, bool):
            raise ConfigError(f"Model tie_embeddings must be true or false, got {self.tie_embeddings!r}.")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ConfigError(
                f"Model width {self.width} must split into {self.heads} heads of even size (rotary positions turn "
                f"pairs of features). Choose heads that divide {self.width // 2}."
            )
        if not self.rope_base > 0 or not self.norm_eps > 0:
            raise ConfigError(f"Model rope_base and norm_eps must be positive, got {self.rope_base}, {self.norm_eps}.")

    @property
    def head_dim(self) -> int:
        """Features per attention head."""
        return self.width // self.heads

    @property
    def attention_width(self) -> int:
        """Features of all attention heads together."""
        return self.width

    def settings(self) -> dict[str, float | str]:
        """What a table of runs says of the model."""
        return asdict(self)

    @property
    def params(self) -> int:
        """Non-embedding parameters ``N``: all but the embedding and the unembedding."""
        block = 4 * self.width**2 + 3 * self.width * self.mlp_width + 2 * self.width
        return self.layers * block + self.width

    @property
    def params_total(self) -> int:
        """All parameters."""
        return self.params + self.vocab_size * self.width * (1 if self.tie_embeddings else 2)


def _preset(width: int, layers: int, heads: int) -> ModelConfig:
    # 8/3 d rounded up to a multiple of 16, the tile of bf16 matrix units.
    return ModelConfig(width, layers, heads, -(-8 * width // 3 // 16) * 16)


PRESETS: dict[str, ModelConfig] = {
    "d64": _preset(64, 2, 2),
    "d96": _preset(96, 3, 3),
    "d128": _preset(128, 4, 4),
    "d192": _preset(192, 6, 6),
    "d256": _preset(256, 6, 8),
    "d384": _preset(384, 6, 6),
    "pythia-70m": _preset(512, 6, 8),
    "pythia-160m": _preset(768, 12, 12),
    "pythia-410m": _preset(1024, 24, 16),
    "d1152": _preset(1152, 26, 18),
}
"""Named sizes. The ``pythia-*`` ones have the depth, width and heads of Pythia (Biderman et al. 2023,
arXiv:2304.01373), whose names count embeddings too: their non-embedding sizes are 19M, 85M and 302M."""


def presets() -> dict[str, int]:
    """Non-embedding parameters of every preset, smallest first.

    Example:
        >>> sizes = presets()
        >>> next(iter(sizes.items()))
        ('d64', 100672)
    """
    return dict(sorted(((name, config.params) for name, config in PRESETS.items()), key=lambda item: item[1]))


def model_config(model: Mapping[str, Any], vocab_size: int | None = None) -> ModelConfig:
    """The architecture a spec's ``model`` names: a preset, fields of :class:`ModelConfig`, or a preset with changes.

    Args:
        model: for example ``{"preset": "d64", "tie_embeddings": True}``; empty means ``{"preset": "d64"}``.
        vocab_size: of the corpus; used where ``model`` does not say.

    Raises:
        ConfigError: unknown preset or field, a field missing, or no vocabulary size.

    Example:
        >>> model_config({"preset": "d64"}, vocab_size=2048).params
        100672
    """
    values = dict(model) or {"preset": "d64"}
    known = [f.name for f in fields(ModelConfig)]
    name = values.pop("preset", None)
    for key in values:
        if key not in known:
            raise ConfigError(f"Unknown model field {key!r} in {dict(model)!r}.{did_you_mean(key, ['preset', *known])}")
    if name is not None:
        if name not in PRESETS:
            raise ConfigError(f"Unknown model preset {name!r}.{did_you_mean(str(name), PRESETS)}")
        config = replace(PRESETS[name], **values)
    else:
        missing = [n for n in ("width", "layers", "heads") if n not in values]
        if missing:
            raise ConfigError(f"Model {dict(model)!r} lacks {missing}. Give them, or a preset: {', '.join(PRESETS)}.")
        values.setdefault("mlp_width", -(-8 * int(values["width"]) // 3 // 16) * 16)
        config = ModelConfig(**values)
    if config.vocab_size == 0 and vocab_size:
        config = replace(config, vocab_size=int(vocab_size))
    if config.vocab_size == 0:
        raise ConfigError(f"Model {dict(model)!r} has no vocab_size and the corpus does not say; add vocab_size.")
    return config

"""What a low-rank update is made of: its options, checked against the model without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.models.hugging_face.decoder_config import DecoderConfig
from mixlaw.models.proxy.presets import ModelConfig

__all__ = ["LoRAOptions", "lora_options"]

_DEFAULTS: dict[str, Any] = {"rank": 8, "alpha": None, "targets": None}


@dataclass(frozen=True)
class LoRAOptions:
    """A low-rank update ``W + alpha / rank * up @ down`` of chosen matrices in every layer.

    Args:
        rank: rows of ``down`` and columns of ``up``.
        alpha: the update's weight is ``alpha / rank``.
        targets: names of the matrices, the same in every layer.
        shapes: (out, in) of each of them.
        layers: of the model.

    Example:
        >>> LoRAOptions(2, 2.0, ("query",), {"query": (16, 32)}, layers=3).num_parameters
        288
    """

    rank: int
    alpha: float
    targets: tuple[str, ...]
    shapes: Mapping[str, tuple[int, int]]
    layers: int

    @property
    def num_parameters(self) -> int:
        """Trained parameters: those of all factors."""
        return self.layers * self.rank * sum(sum(self.shapes[name]) for name in self.targets)

    def settings(self) -> dict[str, float | str]:
        """What a table of runs says of the update."""
        return {"update": "lora", "rank": self.rank, "alpha": self.alpha, "targets": " ".join(self.targets)}


def lora_options(options: Mapping[str, Any], config: ModelConfig | DecoderConfig) -> LoRAOptions:
    """The options of ``update: {name: lora}`` with defaults filled in.

    Args:
        options: ``rank`` (default 8), ``alpha`` (default: the rank, so that the update's weight is 1) and ``targets``
            (default: every matrix of a layer; embedding and unembedding are never among them).
        config: of the model that is updated.

    Raises:
        ConfigError: an unknown option, a value out of range, a matrix that the model does not have, or a rank that is
            larger than the smaller side of a matrix.

    Example:
        >>> from mixlaw.models.architecture import architecture
        >>> proxy = architecture({"preset": "d64"}, vocab_size=2048)
        >>> found = lora_options({"rank": 4, "targets": ["qkv"]}, proxy)
        >>> found.alpha, found.num_parameters
        (4.0, 2048)
        >>> lora_options({"rank": 65}, proxy)
        Traceback (most recent call last):
            ...
        mixlaw.errors.ConfigError: LoRA rank 65 is larger than the smaller side of qkv, which is 192 x 64: ...
    """
    for key in options:
        if key not in _DEFAULTS:
            raise ConfigError(f"LoRA has no option {key!r}.{did_you_mean(str(key), _DEFAULTS)}")
    values = {**_DEFAULTS, **options}
    rank, shapes = values["rank"], _matrices(config)
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise ConfigError(f"LoRA rank must be a whole number of at least 1, got {rank!r}.")
    alpha = rank if values["alpha"] is None else values["alpha"]
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < float("inf"):
        raise ConfigError(f"LoRA alpha must be a number above 0, got {alpha!r}; the update's weight is alpha / rank.")
    targets = list(shapes) if values["targets"] is None else values["targets"]
    if isinstance(targets, str) or not isinstance(targets, list | tuple) or not targets:
        raise ConfigError(f"LoRA targets must be a list of matrices among {', '.join(shapes)}, got {targets!r}.")
    for name in targets:
        if name not in shapes:
            raise ConfigError(
                f"LoRA targets name {name!r}, which the model's layers do not have; they have {', '.join(shapes)}."
                f"{did_you_mean(str(name), shapes)}"
            )
        if rank > min(shapes[name]):
            out, into = shapes[name]
            raise ConfigError(
                f"LoRA rank {rank} is larger than the smaller side of {name}, which is {out} x {into}: a product of "
                f"factors has no higher rank than that. Lower rank, or leave {name} out of targets."
            )
    ordered = tuple(name for name in shapes if name in targets)
    return LoRAOptions(rank, float(alpha), ordered, shapes, config.layers)


def _matrices(config: ModelConfig | DecoderConfig) -> dict[str, tuple[int, int]]:
    """(out, in) of the matrices of one layer by name."""
    if isinstance(config, DecoderConfig):
        return {name: (shape[0], shape[1]) for name, shape in config.block_shapes().items() if len(shape) == 2}
    d, h = config.width, config.mlp_width
    return {"qkv": (3 * d, d), "attention_out": (d, d), "gate": (h, d), "up": (h, d), "mlp_out": (d, h)}

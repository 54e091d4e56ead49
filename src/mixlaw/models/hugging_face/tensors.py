"""Tensors of safetensors files in and out, and the layouts in which families keep them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mixlaw.errors import DataError
from mixlaw.kit.extras import require_extra
from mixlaw.models.hugging_face.decoder_config import DecoderConfig

__all__ = ["joined", "read", "split"]


def read(file: Path, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """``(name, fp32 tensor)`` of each name.

    Raises:
        DataError: a value that is not finite, or the file cannot be read.
        MissingExtraError: torch or safetensors is not installed.
    """
    torch = require_extra("torch", "train")
    safetensors = require_extra("safetensors", "train")
    try:
        with safetensors.safe_open(file, "pt") as handle:
            for name in names:
                values = handle.get_tensor(name).to(torch.float32)
                if not bool(torch.isfinite(values).all()):
                    raise DataError(
                        f"{file}: {name} holds numbers that are not finite (NaN or infinity). Such a model cannot "
                        f"be used: take an earlier checkpoint, or download it again."
                    )
                yield name, values
    except (safetensors.SafetensorError, OSError) as error:
        raise DataError(f"{file} is not a readable safetensors file ({error}). Download it again.") from None


def split(values: Any, ours: Sequence[str], config: DecoderConfig) -> dict[str, Any]:
    """A tensor of the files as the parameters that it holds: itself, or queries, keys and values.

    Args:
        values: (out,) or (out, in).
        ours: the names of the parameters.
        config: of the model.
    """
    if len(ours) == 1:
        return {ours[0]: values}
    parts = values.view(config.heads, len(ours), config.head_dim, *values.shape[1:]).unbind(1)
    return {name: part.reshape(-1, *values.shape[1:]).clone() for name, part in zip(ours, parts)}


def joined(weights: Mapping[str, Any], ours: Sequence[str], config: DecoderConfig) -> Any:
    """Inverse of :func:`split`: the tensor that the files hold."""
    torch = require_extra("torch", "train")
    if len(ours) == 1:
        return weights[ours[0]]
    parts = [weights[name].view(config.heads, config.head_dim, *weights[name].shape[1:]) for name in ours]
    return torch.stack(parts, 1).reshape(-1, *parts[0].shape[2:])

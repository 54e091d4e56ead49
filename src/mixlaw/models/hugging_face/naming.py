"""Names of tensors from a table of names, for families whose files hold each parameter by itself."""

from __future__ import annotations

from collections.abc import Mapping

from mixlaw.models.hugging_face.decoder_config import DecoderConfig

__all__ = ["named"]


def named(config: DecoderConfig, top: Mapping[str, str], block: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """What each tensor of the files holds.

    Args:
        config: the architecture.
        top: names in the files of what stands in no layer, by ours.
        block: names within a layer, without ``.weight`` or ``.bias``, by ours.
    """
    found: dict[str, tuple[str, ...]] = {}
    for ours in config.shapes():
        if not ours.startswith("blocks."):
            found[top[ours]] = (ours,)
            continue
        _, layer, name = ours.split(".")
        kind = "bias" if name.endswith("_bias") else "weight"
        found[f"model.layers.{layer}.{block[name.removesuffix('_bias')]}.{kind}"] = (ours,)
    return found

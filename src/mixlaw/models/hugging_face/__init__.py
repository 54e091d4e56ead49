"""Decoders of published architectures: their checkpoint folders are read, trained further, and written again."""

from __future__ import annotations

from mixlaw.kit.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "CheckpointFolder": "mixlaw.models.hugging_face.checkpoint_folder",
        "DecoderConfig": "mixlaw.models.hugging_face.decoder_config",
        "load": "mixlaw.models.hugging_face.loading",
        "starting_from": "mixlaw.models.hugging_face.loading",
        "write_folder": "mixlaw.models.hugging_face.writing",
    },
)

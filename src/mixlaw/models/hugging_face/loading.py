"""A checkpoint folder as a model that scores, and as the start of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixlaw.models.contract import Tokenizer
from mixlaw.models.hugging_face.checkpoint_folder import CheckpointFolder
from mixlaw.models.published import opened

if TYPE_CHECKING:
    from mixlaw.models.torch_model import TorchModel

__all__ = ["load", "starting_from"]


def load(path: str | Path, tokenizer: Tokenizer | None = None, device: str = "cpu") -> TorchModel:
    """The model of a checkpoint folder, in fp32.

    Args:
        path: the folder.
        tokenizer: what its tokens mean, such as ``mixlaw.tokens.tokenizer.Encoder.load(path / "tokenizer.json")``.
        device: where it computes.

    Raises:
        ConfigError, DataError: see :class:`~mixlaw.models.hugging_face.checkpoint_folder.CheckpointFolder`.
        MissingExtraError: torch or safetensors is not installed.

    Example:
        >>> load("models/pythia-70m").logprobs(tokens)  # doctest: +SKIP
    """
    folder = CheckpointFolder(path)
    weights = folder.weights()
    from mixlaw.models.torch_model import TorchModel

    return TorchModel(folder.config, weights, tokenizer, device)


def starting_from(path: str | Path) -> dict[str, Any]:
    """The fields of a run spec that continues the training of a checkpoint: ``model``, ``start`` and ``stage``.

    Args:
        path: the folder, or a GGUF file; it must be found under the same path where the run is trained.

    Raises:
        ConfigError, DataError: see :class:`~mixlaw.models.hugging_face.checkpoint_folder.CheckpointFolder` and
            :class:`~mixlaw.models.gguf_file.GGUFFile`.

    Example:
        >>> from mixlaw import RunSpec, Schedule
        >>> fields = starting_from("models/pythia-70m")  # doctest: +SKIP
        >>> RunSpec(Schedule.constant({"web": 1.0}), tokens=1_000_000, **fields)  # doctest: +SKIP
    """
    folder = opened(path)
    start = {} if folder.start_token is None else {"start_token": folder.start_token}
    return {
        "model": {"config": folder.fields, **start},
        "start": {"checkpoint": str(path), "hash": folder.hash, "moments": "reset"},
        "stage": "continue",
    }

"""The weights that a finished run ended with, also where its checkpoint holds low-rank factors only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError
from mixlaw.models.architecture import architecture
from mixlaw.models.hugging_face.decoder_config import DecoderConfig
from mixlaw.models.lora_options import LoRAOptions, lora_options
from mixlaw.models.proxy.presets import ModelConfig
from mixlaw.models.published import opened
from mixlaw.train import checkpoint

__all__ = ["check_update", "low_rank_update", "starting_weights", "trained_weights"]


def low_rank_update(spec: RunSpec, config: ModelConfig | DecoderConfig) -> LoRAOptions | None:
    """The low-rank update that ``spec`` trains; None where it trains all weights.

    Raises:
        ConfigError: see :func:`~mixlaw.models.lora_options.lora_options`.

    Example:
        >>> from mixlaw import Schedule
        >>> spec = RunSpec(Schedule.constant({"web": 1.0}), tokens=1000, model={"preset": "d64"}, update="lora")
        >>> low_rank_update(spec, architecture(spec.model, 50)).rank
        8
    """
    return lora_options(_options(spec), config) if _name(spec) == "lora" else None


def check_update(spec: RunSpec, config: ModelConfig | DecoderConfig) -> None:
    """What a run trains is there to be trained; without torch.

    Raises:
        ConfigError: low-rank factors without a start, with the start's Adam moments, or that do not fit the model.

    Example:
        >>> from mixlaw import Schedule
        >>> spec = RunSpec(Schedule.constant({"web": 1.0}), tokens=1000, model={"preset": "d64"}, update="lora")
        >>> check_update(spec, architecture(spec.model, 50))
        Traceback (most recent call last):
            ...
        mixlaw.errors.ConfigError: update: lora adds to weights that are there, and this run has no start. ...
    """
    if _name(spec) != "lora":
        return
    if spec.start is None:
        raise ConfigError(
            "update: lora adds to weights that are there, and this run has no start. Give it one (training.start, or "
            "start of the run spec), or train all weights (update: full)."
        )
    given = spec.start.get("moments") if isinstance(spec.start, Mapping) else None
    if (given or spec.optimizer.get("moments")) == "keep":
        raise ConfigError(
            "update: lora trains new factors, which have no Adam moments to keep. Set moments to 'reset', or leave "
            "them out."
        )
    lora_options(_options(spec), config)


def starting_weights(spec: RunSpec, folder: Path) -> dict[str, Any]:
    """fp32 tensors by parameter name that the run ``spec`` in ``folder`` starts from.

    Args:
        spec: its start is a run beside ``folder``, or a checkpoint.
        folder: ``runs/<spec.id>``.

    Raises:
        ConfigError, DataError: what it starts from is missing, damaged or not supported.
        MissingExtraError: torch or safetensors is not installed.

    Example:
        >>> from mixlaw import Schedule
        >>> start = {"checkpoint": "no such folder", "hash": "0123456789abcdef"}
        >>> spec = RunSpec(Schedule.constant({"web": 1.0}), tokens=1000, start=start, stage="continue")
        >>> starting_weights(spec, Path("study/runs") / spec.id)
        Traceback (most recent call last):
            ...
        mixlaw.errors.DataError: There is no checkpoint in 'no such folder': it has no config.json. ...
    """
    if spec.start_run is not None:
        return trained_weights(folder.parent / spec.start_run)
    if not isinstance(spec.start, Mapping):
        raise ConfigError(f"The run {spec.id} starts from scratch, so it has no weights to start from.")
    return opened(spec.start["checkpoint"]).weights()


def trained_weights(folder: str | Path) -> dict[str, Any]:
    """Model weights by parameter name that the run in ``folder`` was trained to so far.

    Where only low-rank factors were trained, what they add is added to the weights that the run started from, which
    have to be where they were.

    Args:
        folder: ``runs/<id>`` of a run.

    Raises:
        ConfigError, DataError: no checkpoint, or a damaged one; or what it started from is missing.
        MissingExtraError: torch or safetensors is not installed.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoint.save(Path(folder), checkpoint.Progressed("run-1"), {"model.gain": torch.ones(3)})
        ...     list(trained_weights(folder))
        ['gain']
    """
    folder = Path(folder)
    weights = checkpoint.load_weights(folder)
    spec_file = folder / "spec.json"
    spec = RunSpec.load(spec_file) if spec_file.is_file() else None
    if spec is None or _name(spec) != "lora":
        return weights
    from mixlaw.models.lora import merged

    base = starting_weights(spec, folder)
    config = architecture(spec.model, base["embedding"].shape[0])
    return merged(base, weights, lora_options(_options(spec), config))


def _name(spec: RunSpec) -> str:
    assert isinstance(spec.update, Mapping)
    return str(spec.update["name"])


def _options(spec: RunSpec) -> Mapping[str, Any]:
    assert isinstance(spec.update, Mapping)
    options: Mapping[str, Any] = spec.update["options"]
    return options

"""Checkpoints: one safetensors file with weights, Adam moments, and where the loader and the curves stand.

The file is published whole or not at all, and holds everything a run needs to continue bit for bit: tensors by name,
and in its metadata the step, the learning curve so far, and what the numbers depend on.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mixlaw.errors import DataError
from mixlaw.kit.store import Store

__all__ = ["NAME", "Progressed", "load", "load_weights", "save"]

NAME = "checkpoint.safetensors"
_FORMAT = "mixlaw-1"


@dataclass
class Progressed:
    """What a run has done so far.

    Args:
        spec: id of the run's spec.
        step: optimiser steps done; the loader is a pure function of the spec and the step, so this is its state too.
        precision, device: how the numbers were computed; a continued run keeps them.
        values: rows for the values table.
        loss_sum, loss_count: training losses since the last point of the curve.
        over: consecutive steps with an exploded loss.
        seconds: wall-clock spent in training and evaluation.

    Example:
        >>> Progressed("run-1", step=20, precision="fp32").step
        20
    """

    spec: str
    step: int = 0
    precision: str = ""
    device: str = ""
    values: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_count: int = 0
    over: int = 0
    seconds: float = 0.0


def save(folder: Path, progressed: Progressed, tensors: dict[str, Any]) -> None:
    """Publish ``folder/checkpoint.safetensors``; ``tensors`` are fp32 tensors by name.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(Path(folder), Progressed("run-1", step=20), {"model.gain": torch.ones(3)})
        ...     state, tensors = load(Path(folder))
        >>> state.step, tensors["model.gain"].tolist()
        (20, [1.0, 1.0, 1.0])
    """
    from safetensors.torch import save as to_bytes

    ready = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    metadata = {"format": _FORMAT, "state": json.dumps(asdict(progressed))}
    Store(folder).write_bytes(NAME, to_bytes(ready, metadata))


def load(folder: Path) -> tuple[Progressed, dict[str, Any]] | None:
    """``(state, tensors)`` of the checkpoint in ``folder``, or None where there is none.

    Raises:
        DataError: a file is there but is not one of these checkpoints.

    Example:
        >>> load(Path("a folder without a checkpoint")) is None
        True
    """
    path = Path(folder) / NAME
    if not path.exists():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as handle:
            metadata = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 not a dict
    except SafetensorError as error:
        raise DataError(f"{path} is not a readable safetensors file ({error}). Remove it to start over.") from None
    if metadata.get("format") != _FORMAT:
        raise DataError(
            f"{path} was not written by this trainer (format {metadata.get('format')!r}, expected {_FORMAT!r})."
        )
    return Progressed(**json.loads(metadata["state"])), tensors


def load_weights(path: Path) -> dict[str, Any]:
    """Model weights by parameter name from a checkpoint file.

    Raises:
        DataError: it is not there, or not one of these checkpoints.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(Path(folder), Progressed("run-1"), {"model.gain": torch.ones(3), "updates": torch.tensor(7.0)})
        ...     list(load_weights(Path(folder)))
        ['gain']
    """
    found = load(path if path.is_dir() else path.parent)
    if found is None:
        raise DataError(f"There is no checkpoint in {path}.")
    return {name.removeprefix("model."): t for name, t in found[1].items() if name.startswith("model.")}

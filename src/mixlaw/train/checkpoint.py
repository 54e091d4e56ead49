"""Checkpoints: one safetensors file with weights, Adam moments, and where the loader and the curves stand.

The file is published whole or not at all, and holds everything a run needs to continue bit for bit: tensors by name,
and in its metadata the step, the learning curve so far, what the numbers depend on, and a checksum of it all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mixlaw.errors import DataError, MixlawWarning
from mixlaw.kit.store import Store
from mixlaw.train.claim import Claim

__all__ = ["NAME", "Progressed", "load", "load_weights", "save"]

NAME = "checkpoint.safetensors"
_FORMAT = "mixlaw-2"
_WITHOUT_CHECKSUM = "mixlaw-1"


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
        online: where the strategy stands that chooses the mixture, and its loader; empty without one.

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
    online: dict[str, Any] = field(default_factory=dict)


def save(folder: Path, progressed: Progressed, tensors: dict[str, Any], claim: Claim | None = None) -> None:
    """Publish ``folder/checkpoint.safetensors``; ``tensors`` are fp32 tensors by name.

    Args:
        claim: publish only while it holds.

    Raises:
        RunError: another process trains the run now, or has finished it.

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
    state = json.dumps(asdict(progressed))
    metadata = {"format": _FORMAT, "state": state, "checksum": _checksum(state, ready)}
    data = to_bytes(ready, metadata)
    with contextlib.nullcontext() if claim is None else claim.publishing():
        Store(folder).write_bytes(NAME, data)


def load(folder: Path) -> tuple[Progressed, dict[str, Any]] | None:
    """``(state, tensors)`` of the checkpoint in ``folder``, or None where there is none.

    Raises:
        DataError: a file is there but is not one of these checkpoints, or it is not as it was written.

    Example:
        >>> load(Path("a folder without a checkpoint")) is None
        True
    """
    path = Path(folder) / NAME
    if not path.exists():
        return None
    from safetensors import SafetensorError, safe_open

    again = f"Delete {path} to train the run from its beginning, which gives the same result."
    try:
        with safe_open(path, "pt") as handle:
            metadata = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable safetensors file ({error}). {again}") from None
    if metadata.get("format") not in (_FORMAT, _WITHOUT_CHECKSUM):
        raise DataError(
            f"{path} was not written by this trainer (format {metadata.get('format')!r}, expected {_FORMAT!r}). {again}"
        )
    if metadata["format"] == _WITHOUT_CHECKSUM:
        warnings.warn(
            f"{path} carries no checksum: the first version of mixlaw wrote it. Whether it was changed since cannot be "
            f"told.",
            MixlawWarning,
            stacklevel=2,
        )
    elif metadata.get("checksum") != _checksum(metadata.get("state", ""), tensors):
        raise DataError(f"{path} was changed or damaged after it was written: it does not give its checksum. {again}")
    try:
        return Progressed(**json.loads(metadata["state"])), tensors
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path} does not say how far its run is ({error!r}). {again}") from None


def _checksum(state: str, tensors: dict[str, Any]) -> str:
    import torch

    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(memoryview(tensor.flatten().view(torch.uint8).numpy()))
    return digest.hexdigest()


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

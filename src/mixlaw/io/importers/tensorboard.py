"""TensorBoard event files: scalars are the metrics, hyperparameters (``add_hparams``) the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixlaw.data.observations import Observations
from mixlaw.errors import DataError
from mixlaw.io.asked import Values, Weights
from mixlaw.io.runlogs import Logged, RunLog, number, to_observations
from mixlaw.kit.extras import require_extra

__all__ = ["read", "recognises"]

_MARK = "tfevents"
_HPARAMS = "_hparams_/session_start_info"


def _is_event_file(path: Path) -> bool:
    """Whether the name is one an event file has (``events.out.tfevents.<time>.<host>``)."""
    return _MARK in path.name and path.is_file()


def _holds_events(folder: Path) -> bool:
    """Whether an event file lies anywhere below ``folder``."""
    return any(_is_event_file(p) for p in folder.rglob(f"*{_MARK}*"))


def recognises(paths: Sequence[Path]) -> bool:
    """Event files, or folders with event files anywhere below."""
    return all(_holds_events(p) if p.is_dir() else _is_event_file(p) for p in paths)


def read(
    paths: Sequence[Path],
    *,
    mixtures: str | Path | None = None,
    weights: Weights | None = None,
    values: Values | None = None,
    ignore: Sequence[str] | None = None,
    repair: bool = False,
    source: str | None = None,
) -> Observations:
    """Observations from log folders; each folder that holds event files is a run, named by its path.

    ``add_hparams`` writes a sub-folder of its own; it belongs to the run above it.

    Args:
        mixtures: table of mixtures (columns ``run``, one per domain) where hyperparameters hold none.
        weights: ``{domain: hyperparameter}``, or hyperparameters, where the usual names do not tell them.
        values: ``{tag: what it holds}`` (see :data:`~mixlaw.io.names.MEASURES`), or tags.
        ignore: hyperparameters and tags to leave out.
        repair: rescale weights that do not sum to one.

    Raises:
        MissingExtraError: tensorboard is not installed.
        DataError: no event file, or what :func:`~mixlaw.io.runlogs.to_observations` refuses.
    """
    logs: list[RunLog] = []
    for path in paths:
        root = path if path.is_dir() else path.parent
        files = [path] if path.is_file() else sorted(path.rglob(f"*{_MARK}*"))
        folders = sorted({f.parent for f in files if _is_event_file(f)})
        if not folders:
            raise DataError(f"{path} holds no TensorBoard event file (*{_MARK}*).")
        read = {folder: _read_folder(folder, path if path.is_file() else folder) for folder in folders}
        for folder, log in read.items():
            above = next((p for p in folder.parents if p in read), None)
            if above is not None and log.config and not read[above].config:
                read[above].config = log.config
                read[above].metrics += log.metrics
                log.status = "merged"
        for folder, log in read.items():
            if log.status != "merged":
                log.run = folder.relative_to(root).as_posix() if folder != root else root.name
                log.name = folder.name
                logs.append(log)
    where = ", ".join(p.name for p in paths)
    return to_observations(
        logs,
        where=where,
        mixtures=mixtures,
        weights=weights,
        values=values,
        ignore=ignore,
        repair=repair,
        source=source,
    )


def _read_folder(folder: Path, target: Path) -> RunLog:
    accumulator = require_extra("tensorboard.backend.event_processing.event_accumulator", "track")
    tensors = require_extra("tensorboard.util.tensor_util", "track")
    events = accumulator.EventAccumulator(str(target), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    log = RunLog(run=folder.name, config=_hyperparameters(events))
    tags = events.Tags()
    for tag in tags["scalars"]:
        log.metrics += [_logged(tag, e, float(e.value)) for e in events.Scalars(tag)]
    for tag in tags["tensors"]:  # writers of TensorFlow 2 log scalars as tensors of size one
        for event in events.Tensors(tag):
            array = tensors.make_ndarray(event.tensor_proto)
            if array.size == 1 and array.dtype.kind in "fiu":
                log.metrics.append(_logged(tag, event, float(array.reshape(()))))
    log.metrics.sort(key=lambda entry: entry.time)  # as written: names of files do not sort as their times do
    return log


def _logged(tag: str, event: Any, value: float) -> Logged:
    return Logged(tag, int(event.step), value, time=float(event.wall_time))


def _hyperparameters(events: Any) -> dict[str, Any]:
    metadata = require_extra("tensorboard.plugins.hparams.metadata", "track")
    summary = events.summary_metadata.get(_HPARAMS)
    if summary is None:
        return {}
    info = metadata.parse_session_start_info_plugin_data(summary.plugin_data.content)
    config: dict[str, Any] = {}
    for name, value in info.hparams.items():
        kind = value.WhichOneof("kind")
        raw = getattr(value, kind) if kind else None
        config[name] = raw if number(raw) is None else number(raw)
    return config

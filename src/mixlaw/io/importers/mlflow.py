"""MLflow: a file store (``mlruns/<experiment>/<run>/{params,metrics,meta.yaml}``), or ``mlflow.search_runs`` as CSV.

Both are read as documented files, without importing mlflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixlaw.data.observations import Observations
from mixlaw.data.taken import Taken
from mixlaw.errors import ConfigError, DataError
from mixlaw.io.asked import Values, Weights
from mixlaw.io.frames import read_columns, read_frame, whole
from mixlaw.io.runlogs import Logged, RunLog, number, to_observations
from mixlaw.kit.yaml_text import load_yaml

__all__ = ["read", "recognises"]

_FINISHED = ("3", "FINISHED")
_NAME_TAG = "mlflow.runName"


def _run_folders(folder: Path) -> list[Path]:
    """Run folders at or below a run, an experiment, or a store; deleted ones (``.trash``) are none."""
    depths = ("meta.yaml", "*/meta.yaml", "*/*/meta.yaml")
    metas = [m for depth in depths for m in sorted(folder.glob(depth)) if ".trash" not in m.parts]
    return [m.parent for m in metas if (m.parent / "metrics").is_dir() or (m.parent / "params").is_dir()]


def _is_search_csv(columns: Sequence[str]) -> bool:
    """Whether the columns are those of ``mlflow.search_runs``."""
    return "run_id" in columns and any(c.startswith("metrics.") for c in columns)


def recognises(paths: Sequence[Path]) -> bool:
    """Stores, experiments or runs, or tables that ``mlflow.search_runs`` wrote."""
    return all(bool(_run_folders(p)) if p.is_dir() else _is_search_csv(read_columns(p)) for p in paths)


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
    """Observations from MLflow; params hold the mixture, metrics the values.

    Args:
        mixtures: table of mixtures (columns ``run``, one per domain) where params hold none.
        weights: ``{domain: param}``, or params, where the usual names do not tell them.
        values: ``{metric: what it holds}`` (see :data:`~mixlaw.io.names.MEASURES`), or metrics.
        ignore: params and metrics to leave out.
        repair: rescale weights that do not sum to one.

    Raises:
        DataError: no runs, a metrics file that is none, or what
            :func:`~mixlaw.io.runlogs.to_observations` refuses.
    """
    logs: list[RunLog] = []
    aside: list[Taken] = []
    for path in paths:
        if path.is_dir():
            logs += [log for f in _run_folders(path) if (log := _read_run(f))]
        else:
            searched = _read_search(path)
            logs += searched
            aside += _aside(read_columns(path) or read_frame(path).column_names, searched, path.name)
    names = [log.name for log in logs]
    if len(set(names)) == len(names) and all(names):  # people know their runs by name
        for log in logs:
            log.run, log.name = log.name, log.run
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
        aside=aside,
    )


def _read_run(folder: Path) -> RunLog | None:
    try:
        meta = load_yaml(_text(folder / "meta.yaml"), str(folder / "meta.yaml"))
    except ConfigError as error:
        raise DataError(f"{folder / 'meta.yaml'} cannot be read: {error}") from None
    if not isinstance(meta, dict):
        raise DataError(f"{folder / 'meta.yaml'} does not describe a run.")
    if meta.get("lifecycle_stage") == "deleted":
        return None
    tag = folder / "tags" / _NAME_TAG
    name = meta.get("run_name") or (_text(tag).strip() if tag.is_file() else "")
    log = RunLog(
        run=str(meta.get("run_id") or meta.get("run_uuid") or folder.name),
        name=str(name),
        status="done" if str(meta.get("status", "3")) in _FINISHED else "partial",
    )
    for file in _files(folder / "params"):
        log.config[file.relative_to(folder / "params").as_posix()] = _text(file).strip()
    for file in _files(folder / "metrics"):
        log.metrics += _read_metric(file, file.relative_to(folder / "metrics").as_posix())
    return log


def _text(file: Path) -> str:
    """The text of a file.

    Raises:
        DataError: bytes that are no text.
    """
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is no text ({error}). Restore it from a copy, or leave its run out.") from None


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []


def _read_metric(file: Path, key: str) -> list[Logged]:
    """Lines ``timestamp value [step [dataset]]``."""
    entries: list[Logged] = []
    for row, line in enumerate(_text(file).splitlines(), start=1):
        parts = line.split()
        if not parts:
            continue
        value = number(parts[1]) if len(parts) > 1 else None
        step = number(parts[2]) if len(parts) > 2 else 0.0
        if value is None or step is None:
            raise DataError(f"{file}, line {row}: {line!r} is not 'timestamp value step'.")
        entries.append(Logged(key, whole(step, "step", f"{file}, line {row}"), value, time=number(parts[0])))
    return entries


def _aside(columns: Sequence[str], logs: Sequence[RunLog], where: str) -> list[Taken]:
    """Columns of a table of ``mlflow.search_runs`` that are neither params nor metrics, or that hold nothing."""
    params = {f"params.{key}" for log in logs for key in log.config}
    metrics = {f"metrics.{entry.key}" for log in logs for entry in log.metrics}
    taken = []
    for column in columns:
        if column in ("run_id", f"tags.{_NAME_TAG}"):
            taken.append(Taken(where, column, "id"))
        elif column == "status":
            taken.append(Taken(where, column, "setting", "status", note="whether the run finished"))
        elif not column.startswith(("params.", "metrics.")):
            taken.append(Taken(where, column, "unused", note="neither params.* nor metrics.*"))
        elif column not in params | metrics:
            note = "empty" if column.startswith("params.") else "holds no number"
            taken.append(Taken(where, column, "unused", note=note))
    return taken


def _read_search(path: Path) -> list[RunLog]:
    table = read_frame(path)
    if not _is_search_csv(table.column_names):
        raise DataError(f"{path.name} is not a table of mlflow.search_runs: it needs run_id and metrics.* columns.")
    logs = []
    for row in table.to_pylist():
        log = RunLog(
            run=str(row["run_id"]),
            name=str(row.get(f"tags.{_NAME_TAG}") or ""),
            status="done" if str(row.get("status") or "FINISHED") in _FINISHED else "partial",
        )
        config: dict[str, Any] = {k.removeprefix("params."): v for k, v in row.items() if k.startswith("params.")}
        log.config = {k: v for k, v in config.items() if v is not None}
        for key, raw in row.items():
            value = number(raw) if key.startswith("metrics.") else None
            if value is not None:
                log.metrics.append(Logged(key.removeprefix("metrics."), None, value))
        logs.append(log)
    return logs

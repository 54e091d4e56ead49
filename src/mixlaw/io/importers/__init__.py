"""Files of runs as :class:`~mixlaw.data.observations.Observations`.

``read`` recognises what it is given; ``format=`` names it where that is ambiguous. Weights that do not sum to one are
reported and rejected, and rescaled only where ``repair=True`` asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from mixlaw.data.observations import Observations
from mixlaw.data.seams import IMPORTERS
from mixlaw.errors import ConfigError, DataError, did_you_mean

__all__ = ["IMPORTERS", "read", "takes"]


def read(path: str | Path | Sequence[str | Path], *, format: str | None = None, **options: Any) -> Observations:
    """Observations from a study folder, a saved folder, or files of runs.

    Args:
        path: one path, or several where a format is a pair of files.
        format: a name of :data:`IMPORTERS`; recognised from the content by default.
        options: of the importer, such as ``repair=True`` or ``source="our swarm"``.

    Raises:
        DataError: nothing there, no importer recognises it, or a loss in nats is negative.
        ConfigError: unknown format, or an option its importer does not take.

    Example:
        ``read(["train_mixture_1m.csv", "train_pile_loss_1m.csv"])``
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(p) for p in path]
    missing = [str(p) for p in paths if not p.exists()]
    if missing:
        raise DataError(f"{', '.join(missing)} cannot be read: no such file or folder.")
    name = format or _recognise(paths)
    importer = IMPORTERS[name]
    taken = [p for p in signature(importer).parameters if p != "paths"]
    for option in options:
        if option not in taken:
            raise ConfigError(
                f"The importer {name!r} takes no option {option!r}.{did_you_mean(option, taken)} "
                f"If this is no {name!r}, name its format (`format=`, `--format`)."
            )
    result: Observations = importer(paths, **options)
    _check_signs(result, ", ".join(p.name for p in paths))
    return result


def takes(paths: Sequence[str | Path], option: str) -> bool:
    """Whether the importer that recognises these paths has this option (a folder of a study's has no ``repair``).

    Raises:
        DataError: a folder that no importer recognises.
    """
    return option in signature(IMPORTERS[_recognise([Path(p) for p in paths])]).parameters


def _check_signs(observations: Observations, where: str) -> None:
    """Losses in nats per token and bits per byte are minus a logarithm of a probability: never below zero."""
    values = observations.values.select(["run", "target", "metric", "unit", "value"]).to_pylist()
    bad = [v for v in values if v["unit"] in ("nats_per_token", "bits_per_byte") and v["value"] < 0]
    if bad:
        first, count = bad[0], "1 value is" if len(bad) == 1 else f"{len(bad)} values are"
        raise DataError(
            f"{where}: run {first['run']!r} has {first['metric']} {first['value']:g} on {first['target']!r} "
            f"({count} below 0); {first['unit'].replace('_', ' ')} are never negative. Correct it or leave it empty; "
            f"where it is another thing (a log-likelihood, a z-score), say so in a column 'unit' of a long table."
        )


def _recognise(paths: Sequence[Path]) -> str:
    if len(paths) == 1 and paths[0].is_dir():
        folder = paths[0]
        if (folder / "study.yaml").exists() or (folder / "runs.parquet").exists() or (folder / "spec.json").exists():
            return "study"
        for name, test in _FOLDERS.items():
            if test([folder]):
                return name
        raise DataError(
            f"{folder} is not a study, a folder of saved observations, or an export mixlaw knows "
            f"({IMPORTERS.names()}). Name its format with format=."
        )
    for name, matches in _FILES.items():
        if matches(paths):
            return name
    return "table"


def _is_regmix(paths: Sequence[Path]) -> bool:
    from mixlaw.io.importers.regmix import is_regmix

    return len(paths) == 2 and is_regmix(paths)


def _is_olmix(paths: Sequence[Path]) -> bool:
    from mixlaw.io.importers.olmix import find_pair

    return len(paths) <= 2 and find_pair(paths) is not None


def _is_tensorboard(paths: Sequence[Path]) -> bool:
    from mixlaw.io.importers.tensorboard import holds_events, is_event_file

    return all(holds_events(p) if p.is_dir() else is_event_file(p) for p in paths)


def _is_mlflow(paths: Sequence[Path]) -> bool:
    from mixlaw.io.frames import read_columns
    from mixlaw.io.importers.mlflow import holds_runs, is_search_csv

    return all(holds_runs(p) if p.is_dir() else is_search_csv(read_columns(p)) for p in paths)


def _is_wandb(paths: Sequence[Path]) -> bool:
    from mixlaw.io.frames import read_columns
    from mixlaw.io.importers.wandb import is_chart, is_runs_table

    return all(is_chart(columns) or is_runs_table(columns) for columns in map(read_columns, paths))


_FILES: dict[str, Any] = {
    "olmix": _is_olmix,
    "regmix": _is_regmix,
    "tensorboard": _is_tensorboard,
    "mlflow": _is_mlflow,
    "wandb": _is_wandb,
}
_FOLDERS: dict[str, Any] = {
    "olmix": _is_olmix,
    "mlflow": _is_mlflow,
    "tensorboard": _is_tensorboard,
}

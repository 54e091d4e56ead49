"""The evaluators of a study, as its run specs name them: files of tasks with the hash of their content."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from mixlaw.errors import ConfigError, DataError
from mixlaw.study.folder import StudyFolder
from mixlaw.text.records import read_records, records_hash

__all__ = ["evaluators_of"]


def evaluators_of(study: StudyFolder) -> list[dict[str, Any]]:
    """``evaluators:`` of study.yaml for ``RunSpec.evaluators``.

    Raises:
        DataError: a task's file is missing or of another form; names it.
    """
    found = []
    for number, evaluator in enumerate(study.config.evaluators):
        tasks = {}
        for target, path in evaluator.tasks.items():
            (resolved,) = study.resolve([path])
            try:
                tasks[target] = {"path": resolved, "hash": _hash(resolved, _stamp(resolved))}
            except (DataError, ConfigError) as error:
                raise DataError(f"study.yaml, evaluators.{number}.tasks.{target}: {error}") from None
        found.append({"name": evaluator.name, "options": evaluator.options, "at": evaluator.at, "tasks": tasks})
    return found


@lru_cache(maxsize=256)
def _hash(path: str, stamp: Any) -> str:
    return records_hash(read_records(path))


def _stamp(path: str) -> tuple[int, int] | None:
    file = Path(path)
    return (file.stat().st_size, file.stat().st_mtime_ns) if file.is_file() else None

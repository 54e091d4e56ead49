"""Tasks of the lm-evaluation-harness, measured by that library on a model of ours."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from mixlaw.errors import ConfigError, DataError
from mixlaw.evaluate.contract import Evaluation, Question, Record
from mixlaw.evaluate.tasks import fields, scores, sequences
from mixlaw.evaluate.tasks.harness_model import HarnessModel
from mixlaw.kit.extras import require_extra
from mixlaw.models.contract import Model, Tokenizer

__all__ = ["LmEvaluationHarness"]

_SHARES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em", "f1", "contains", "pass@1")


@dataclass(frozen=True, eq=False)
class _Task(Question):
    loaded: Any = None
    """Tasks and groups as the library has them."""
    context: int | None = None


class LmEvaluationHarness:
    """Any task of the library ``lm_eval`` (Gao et al., EleutherAI), by its own prompts, metrics and standard errors.

    Needs the extra ``harness``. Records name tasks: ``{"task": "arc_easy", "num_fewshot": 5}``, where ``task`` may be a
    task, a tag or a group of the library, and ``include_path`` a folder with YAML files of further ones; or they hold
    one: ``{"config": {"task": "mine", "dataset_path": "json", ...}}``, the fields of such a file. Most tasks load their
    data from the Hugging Face hub when they are prepared.

    Every task, and every group that the library gives a value, has rows under ``target/task``; where there is one task,
    under ``target``. A metric keeps its name; a filter other than ``none`` is added to it, as in
    ``exact_match,strict-match``. Tasks whose code runs what the model writes are refused; ``pass_at_k`` is for that.

    Args:
        limit: documents of each task, the first ones; None: all.

    Raises:
        ConfigError: a limit below 1.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("lm_evaluation_harness", {"limit": 100}).metric
        'acc'
    """

    metric = "acc"
    unit = "fraction"
    direction: Literal["higher"] = "higher"
    floor = None

    def __init__(self, limit: int | None = None) -> None:
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise ConfigError(f"limit is how many documents of each task are used, at least 1; got {limit!r}.")
        self.limit = limit

    def prepare(
        self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None
    ) -> list[_Task]:
        """The library's tasks, loaded; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        specs = sequences.from_records(records, _spec)
        sequences.needed(tokenizer)
        tasks = require_extra("lm_eval.tasks", "harness")
        managers: dict[tuple[str | None, bool], Any] = {}
        out = []
        for number, (record, (spec, folder)) in enumerate(zip(records, specs), 1):
            name = spec if isinstance(spec, str) else str(spec["task"])
            own = record.get("config") is not None  # reading the list of the library's tasks takes seconds
            try:
                with _quiet():
                    if (folder, own) not in managers:
                        managers[folder, own] = tasks.TaskManager(include_path=folder, include_defaults=not own)
                    loaded = managers[folder, own].load([spec])
            except Exception as error:  # the library and what it loads raise all kinds
                raise DataError(
                    f"Record {number} names the task {name!r}, which lm_eval cannot load: {type(error).__name__}: "
                    f"{error}. Its tasks are listed by: lm-eval ls tasks"
                ) from error
            unsafe = [task for task, made in loaded["tasks"].items() if getattr(made, "UNSAFE_CODE", False)]
            if unsafe:
                raise DataError(
                    f"Record {number} names {', '.join(unsafe)}, which would run what the model writes in this "
                    f"process. Use the evaluator pass_at_k, which gives each program a process of its own."
                )
            out.append(_Task(name, record, loaded=loaded, context=context))
        return out

    def __call__(self, model: Model, targets: Mapping[str, Sequence[_Task]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        scores.refuse_empty(targets)
        evaluator = require_extra("lm_eval.evaluator", "harness")
        values: list[dict[str, Any]] = []
        items: list[dict[str, Any]] = []
        for target, asked in targets.items():
            for one in asked:
                with _quiet():
                    found = evaluator.evaluate(
                        HarnessModel(model, one.context), one.loaded, limit=self.limit, bootstrap_iters=1000
                    )
                alone = len(asked) == 1 and len(one.loaded["tasks"]) == 1
                values += _values(
                    found, lambda task, alone=alone, target=target: target if alone else f"{target}/{task}"
                )
                items += _items(found, target, alone)
        return Evaluation(values, items)


def _spec(record: Record) -> tuple[str | dict[str, Any], str | None]:
    """What the library is asked to load, and the folder where it looks beside its own."""
    folder = record.get("include_path")
    if record.get("config") is not None:
        config = record["config"]
        if not isinstance(config, Mapping) or not isinstance(config.get("task"), str):
            raise DataError(
                f"needs under 'config' the fields of a task with its name as 'task', got {str(config)[:60]!r}."
            )
        return dict(config), folder
    name = fields.text(record, ("task",), "the name of a task of lm_eval")
    shots = record.get("num_fewshot")
    if shots is None:
        return name, folder
    if not isinstance(shots, int) or isinstance(shots, bool) or shots < 0:
        raise DataError(f"needs a whole number of examples as 'num_fewshot', got {shots!r}.")
    return {"task": name, "num_fewshot": shots}, folder


def _values(found: Mapping[str, Any], place: Any) -> Iterator[dict[str, Any]]:
    """A row per task or group, metric and filter."""
    for task, row in found["results"].items():
        for key, value in row.items():
            metric, comma, kind = key.partition(",")
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not comma or metric.endswith("_stderr") or not number:
                continue
            error = row.get(f"{metric}_stderr,{kind}")
            count = row.get("sample_len") or found["n-samples"].get(task, {}).get("effective")
            shots = found["n-shot"].get(task)
            yield {
                "target": place(task),
                "metric": metric if kind == "none" else key,
                "unit": "fraction" if metric in _SHARES and 0 <= value <= 1 else metric,
                "value": float(value),
                "std": float(error) if isinstance(error, int | float) else None,
                "num_items": None if count is None else int(count),
                "shots": shots if isinstance(shots, int) else None,
            }


def _items(found: Mapping[str, Any], target: str, alone: bool) -> Iterator[dict[str, Any]]:
    """A row per document and metric that is a number for one document."""
    for task, samples in found["samples"].items():
        for sample in samples:
            for metric in sample["metrics"]:
                value = sample[metric]
                if isinstance(value, bool | int | float) and math.isfinite(value):
                    kind = sample["filter"]
                    name = str(sample["doc_id"])
                    yield {
                        "target": target,
                        "item": name if alone else f"{task}/{name}",
                        "metric": metric if kind == "none" else f"{metric},{kind}",
                        "value": float(value),
                    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's reports of its progress; warnings stay."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)

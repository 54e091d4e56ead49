"""Any Python function as an evaluator: your own measure, named in study.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mixlaw.errors import ConfigError, DataError
from mixlaw.evaluate.contract import Evaluation, Question, Record
from mixlaw.evaluate.tasks import fields, scores
from mixlaw.kit.lazy import load
from mixlaw.models.contract import Model, Tokenizer

__all__ = ["Callable"]


class Callable:
    """Scores every record with a function of yours: ``function(model, records, **options)`` gives one number for each.

    The function is called once per task and checkpoint. ``model`` is a :class:`~mixlaw.models.contract.Model`, with its
    tokenizer, and ``records`` are the task's, as the file has them. What the function does is not part of a run's
    identity, its name and ``options`` are: give it another name, or an option that says its version, when it changes.

    Args:
        function: ``"package.module:function"``, from a package that Python finds.
        metric, unit, direction: what the numbers are.
        options: keywords that the function gets.

    Raises:
        ConfigError: the function cannot be imported or called, or the direction is neither ``"higher"`` nor
            ``"lower"``.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("callable", {"function": "math.sqrt"})
        Traceback (most recent call last):
            ...
        mixlaw.errors.ConfigError: callable needs a function as 'package.module:function', got 'math.sqrt'.
    """

    floor = None

    def __init__(
        self,
        function: str,
        metric: str = "score",
        unit: str = "score",
        direction: Literal["lower", "higher"] = "higher",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if direction not in ("lower", "higher"):
            raise ConfigError(f"callable: direction={direction!r} must be 'lower' or 'higher'.")
        module, sign, name = function.partition(":")
        if not (module and sign and name):
            raise ConfigError(f"callable needs a function as 'package.module:function', got {function!r}.")
        try:
            self._function = load(function)
        except Exception as error:  # whatever somebody else's module raises when it is imported
            raise ConfigError(
                f"callable: {function!r} cannot be imported: {type(error).__name__}: {error}. It must stand in a "
                f"package that Python finds (installed, or in a folder of PYTHONPATH)."
            ) from error
        if not callable(self._function):
            raise ConfigError(f"callable: {function!r} is {type(self._function).__name__} and cannot be called.")
        self.function, self.metric, self.unit = function, metric, unit
        self.direction: Literal["lower", "higher"] = direction
        self.options = dict(options or {})

    def prepare(
        self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None
    ) -> list[Question]:
        """The records as they are; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        if not records:
            raise DataError("There are no records to evaluate. Leave the task out, or give it some.")
        return [
            Question(name, record, group=fields.group(record)) for name, record in zip(fields.names(records), records)
        ]

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Question]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`.

        Raises:
            DataError: the function failed, or gave anything but one finite number per record.
        """
        scores.refuse_empty(targets)
        found = {}
        for target, questions in targets.items():
            try:
                given = self._function(model, [question.record for question in questions], **self.options)
            except Exception as error:  # whatever somebody else's function raises
                raise DataError(
                    f"The function {self.function!r} failed on the task {target!r}: {type(error).__name__}: {error}."
                ) from error
            try:
                numbers = np.asarray(given, float)
            except (TypeError, ValueError):
                numbers = np.empty((0, 0))
            if numbers.shape != (len(questions),) or not np.isfinite(numbers).all():
                raise DataError(
                    f"The function {self.function!r} must give one finite number for each of the {len(questions)} "
                    f"records of {target!r}, and gave {str(given)[:80]!r}."
                )
            found[target] = {self.metric: numbers}
        return scores.evaluation(targets, found, {self.metric: self.unit})

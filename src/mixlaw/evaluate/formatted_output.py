"""Formatted output: whether a model writes JSON, and JSON of the schema that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mixlaw.errors import ConfigError
from mixlaw.evaluate.contract import Evaluation, Record
from mixlaw.evaluate.tasks import fields, scores, sequences
from mixlaw.evaluate.tasks.json_text import json_value
from mixlaw.evaluate.tasks.schemas import checked_schema, matches
from mixlaw.evaluate.tasks.written import Prompted, checked_length, checked_stops, prompted, written
from mixlaw.models.contract import Model, Tokenizer

__all__ = ["FormattedOutput"]


class FormattedOutput:
    """The shares of texts that are valid JSON and, of records with a ``schema``, that keep it.

    Records have a ``prompt`` (or a question); the prompt must say what is asked for, the schema is not added to it. The
    whole text has to be one JSON value, with or without one fence of code around it. The metrics are ``valid_json``,
    over all records, and ``matches_schema``, over those with a schema.

    Args:
        max_tokens: of what is written.
        stop: texts before which it ends, for models that do not end by themselves.
        template: the prompt of records without one, with ``{question}`` in it.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("formatted_output", {"stop": ["\\n\\n"]}).metric
        'valid_json'
    """

    metric = "valid_json"
    unit = "fraction"
    direction: Literal["higher"] = "higher"
    floor = 0.0

    def __init__(
        self, max_tokens: int = 128, stop: Sequence[str] = (), template: str = "{question}\nAnswer in JSON:\n"
    ) -> None:
        if "{question}" not in template:
            raise ConfigError(f"The template {template!r} has no place for {{question}}.")
        self.max_tokens, self.stop, self.template = checked_length(max_tokens), checked_stops(stop), template

    def prepare(
        self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None
    ) -> list[Prompted]:
        """The prompt of each record, its schema checked; see :class:`~mixlaw.evaluate.contract.Evaluator`."""

        def read(record: Record) -> str:
            if record.get("schema") is not None:
                matches(None, checked_schema(record["schema"], "'schema'"))
            return fields.prompt(record, self.template)

        return prompted(records, sequences.from_records(records, read), tokenizer, context, self.max_tokens)

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Prompted]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        scores.refuse_empty(targets)
        valid, kept = {}, {}
        with_schema: dict[str, list[Prompted]] = {}
        for target, questions in targets.items():
            found = [json_value(text) for text in written(model, questions, self.max_tokens, self.stop)]
            valid[target] = {"valid_json": np.array([value is not None for value in found], float)}
            pairs = [(q, value) for q, value in zip(questions, found) if q.record.get("schema") is not None]
            if pairs:
                with_schema[target] = [question for question, _ in pairs]
                kept[target] = {
                    "matches_schema": np.array(
                        [value is not None and matches(value.value, q.record["schema"]) for q, value in pairs], float
                    )
                }
        units = dict.fromkeys(("valid_json", "matches_schema"), self.unit)
        whole, part = scores.evaluation(targets, valid, units), scores.evaluation(with_schema, kept, units)
        return Evaluation([*whole.values, *part.values], [*whole.items, *part.items])

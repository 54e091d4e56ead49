"""Bits per byte of texts: comparable between models of different tokenizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mixlaw.evaluate.contract import Evaluation, Question, Record
from mixlaw.evaluate.tasks import fields, scores, sequences
from mixlaw.models.contract import Model, Tokenizer

__all__ = ["BitsPerByte"]


class BitsPerByte:
    """Loss of whole texts in bits, over their UTF-8 bytes; a long text counts more than a short one.

    Records have a ``text``; a group (``group``, ``task``, ...) gets a value of its own.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("bits_per_byte").direction
        'lower'
    """

    metric = "bits_per_byte"
    unit = "bits_per_byte"
    direction: Literal["lower"] = "lower"
    floor = None

    def prepare(
        self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None
    ) -> list[Question]:
        """Each text; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        texts = sequences.from_records(records, lambda record: fields.text(record, ("text",), "a text"))
        names = fields.names(records)
        found = sequences.whole(sequences.needed(tokenizer), names, texts, context)
        return [
            Question(name, record, (parts,), fields.group(record)) for name, record, parts in zip(names, records, found)
        ]

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Question]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        scores.refuse_empty(targets)
        found, sizes = {}, {}
        for target, questions in targets.items():
            sizes[target] = np.array([len(str(q.record["text"]).encode()) for q in questions], float)
            nats = np.concatenate(sequences.text_losses(model, questions))
            found[target] = {self.metric: nats / np.log(2) / sizes[target]}
        return scores.evaluation(targets, found, {self.metric: self.unit}, sizes)

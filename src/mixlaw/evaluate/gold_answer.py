"""Likelihood of the gold answer: a score that moves long before the first question is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mixlaw.errors import ConfigError
from mixlaw.evaluate.contract import Evaluation, Question, Record
from mixlaw.evaluate.tasks import fields, scores, sequences, shots
from mixlaw.models.contract import Model, Tokenizer

__all__ = ["GoldAnswer"]


class GoldAnswer:
    """Loss of the gold answer after its question, in two metrics: ``answer_bits_per_byte``, bits over the answer's
    UTF-8 bytes, and ``answer_loss``, nats per token. Every question counts the same.

    Records have a question (or a ``prompt``) and an answer; see :mod:`mixlaw.evaluate.tasks.fields`. Of a question with
    choices the right one is the answer. An answer with its reasoning (GSM8K) is scored as a whole.

    Args:
        template: of a question; ``{question}`` is replaced. A record's ``prompt`` is taken as it is.
        shots: solved examples before each question.
        shot_split: records of this ``split`` are examples and never scored; without it other records are examples.
        seed: which examples are shown.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("gold_answer").metric
        'answer_bits_per_byte'
    """

    metric = "answer_bits_per_byte"
    unit = "bits_per_byte"
    direction: Literal["lower"] = "lower"
    floor = None

    def __init__(
        self,
        template: str = "Question: {question}\nAnswer:",
        shots: int = 0,
        shot_split: str = "",
        seed: int = 0,
    ) -> None:
        if shots < 0 or "{question}" not in template:
            raise ConfigError(
                f"gold_answer needs shots >= 0 and a template with {{question}}, got {shots} and {template!r}."
            )
        self.template, self.shots, self.shot_split, self.seed = template, shots, shot_split, seed

    def prepare(
        self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None
    ) -> list[Question]:
        """Each answer after its question; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        encoder = sequences.needed(tokenizer)
        sequences.from_records(records, lambda record: (fields.answer(record), fields.prompt(record, self.template)))
        scored, examples = shots.divided(records, self.shot_split)
        before = shots.shown(scored, examples, self.shots, self.template, self.seed)
        prompts = [shown + fields.prompt(record, self.template) for shown, record in zip(before, scored)]
        answers, names = [fields.answer(record) for record in scored], fields.names(scored)
        found = sequences.continuations(encoder, names, prompts, answers, context)
        return [
            Question(name, record, (parts,), fields.group(record)) for name, record, parts in zip(names, scored, found)
        ]

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Question]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        scores.refuse_empty(targets)
        found = {}
        for target, questions in targets.items():
            nats = np.concatenate(sequences.text_losses(model, questions))
            size = np.array([len(fields.answer(q.record).encode()) for q in questions])
            tokens = np.array([sum(part.num_scored for part in q.sequences[0]) for q in questions])
            found[target] = {self.metric: nats / np.log(2) / size, "answer_loss": nats / tokens}
        units = {self.metric: self.unit, "answer_loss": "nats_per_token"}
        return scores.evaluation(targets, found, units, shots=self.shots)

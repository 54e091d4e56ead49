"""In-context gain: how much better the model predicts an answer after solved examples of the same kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mixlaw.errors import ConfigError
from mixlaw.evaluate.contract import Evaluation, Question, Record
from mixlaw.evaluate.tasks import fields, scores, sequences, shots
from mixlaw.models.contract import Model, Tokenizer

__all__ = ["InContextGain"]


class InContextGain:
    """Bits per byte of the gold answer without examples, minus that after ``shots`` examples; above 0 they help.

    Each question is its own control, so its standard error is that of the difference. Examples that do not fit into the
    context are cut away on the left: choose ``shots`` so that they do. Records are as for ``gold_answer``.

    Args:
        shots: solved examples before each question, at least one.
        template: of a question; ``{question}`` is replaced. A record's ``prompt`` is taken as it is.
        shot_split: records of this ``split`` are examples and never scored; without it other records are examples.
        seed: which examples are shown.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("in_context_gain", {"shots": 2}).direction
        'higher'
    """

    metric = "in_context_gain"
    unit = "bits_per_byte"
    direction: Literal["higher"] = "higher"
    floor = 0.0

    def __init__(
        self,
        shots: int = 4,
        template: str = "Question: {question}\nAnswer:",
        shot_split: str = "",
        seed: int = 0,
    ) -> None:
        if shots < 1 or "{question}" not in template:
            raise ConfigError(
                f"in_context_gain needs shots >= 1 and a template with {{question}}, got {shots} and {template!r}."
            )
        self.template, self.shots, self.shot_split, self.seed = template, shots, shot_split, seed

    def prepare(
        self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None
    ) -> list[Question]:
        """Each answer after its question, without and with examples; see
        :class:`~mixlaw.evaluate.contract.Evaluator`."""
        encoder = sequences.needed(tokenizer)
        sequences.from_records(records, lambda record: (fields.answer(record), fields.prompt(record, self.template)))
        scored, examples = shots.divided(records, self.shot_split)
        before = shots.shown(scored, examples, self.shots, self.template, self.seed)
        bare = [fields.prompt(record, self.template) for record in scored]
        answers, names = [fields.answer(record) for record in scored], fields.names(scored)
        without = sequences.continuations(encoder, names, bare, answers, context)
        shown = [example + prompt for example, prompt in zip(before, bare)]
        after = sequences.continuations(encoder, names, shown, answers, context)
        return [
            Question(name, record, pair, fields.group(record))
            for name, record, pair in zip(names, scored, zip(without, after))
        ]

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Question]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        scores.refuse_empty(targets)
        found = {}
        for target, questions in targets.items():
            without, after = np.array(sequences.text_losses(model, questions)).T
            size = np.array([len(fields.answer(q.record).encode()) for q in questions])
            found[target] = {self.metric: (without - after) / np.log(2) / size}
        return scores.evaluation(targets, found, {self.metric: self.unit}, shots=self.shots)

"""Chain-of-thought gain: how much better the model predicts the final answer after the reasoning that leads to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mixlaw.errors import ConfigError, DataError
from mixlaw.evaluate.contract import Evaluation, Question, Record
from mixlaw.evaluate.tasks import fields, scores, sequences
from mixlaw.models.contract import Model, Tokenizer

__all__ = ["ChainOfThoughtGain"]

_KEYS = (*fields.QUESTION_KEYS, "prompt")


class ChainOfThoughtGain:
    """Bits per byte of the final answer right after the question, minus that after the record's own reasoning; above 0
    the model makes use of it.

    The reasoning is given and not written by the model, so this is about using reasoning, not about finding it. Much of
    an answer may stand in it word for word: the gain contains copying. Records have a question, an answer and a
    rationale (see :mod:`mixlaw.evaluate.tasks.fields`); those without a rationale are left out.

    Args:
        template: without reasoning; ``{question}`` is replaced.
        reasoning_template: with it; ``{question}`` and ``{rationale}`` are replaced. It should end as the other does.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("chain_of_thought_gain").unit
        'bits_per_byte'
    """

    metric = "chain_of_thought_gain"
    unit = "bits_per_byte"
    direction: Literal["higher"] = "higher"
    floor = 0.0

    def __init__(
        self,
        template: str = "Question: {question}\nAnswer:",
        reasoning_template: str = "Question: {question}\nReasoning: {rationale}\nAnswer:",
    ) -> None:
        if "{question}" not in template or "{rationale}" not in reasoning_template:
            raise ConfigError(
                f"chain_of_thought_gain needs a template with {{question}} and a reasoning_template with "
                f"{{rationale}}, got {template!r} and {reasoning_template!r}."
            )
        self.template, self.reasoning_template = template, reasoning_template

    def prepare(
        self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None
    ) -> list[Question]:
        """Each final answer after its question, without and with the reasoning; see
        :class:`~mixlaw.evaluate.contract.Evaluator`."""
        encoder = sequences.needed(tokenizer)
        sequences.from_records(records, lambda r: (fields.final_answer(r), fields.text(r, _KEYS, "a question")))
        names = fields.names(records)
        used = [(name, record) for name, record in zip(names, records) if fields.rationale(record)]
        if not used:
            raise DataError(
                "No record gives a rationale: under 'rationale', before '####' in 'answer', or as 'solution' beside an "
                "'answer'. Without one there is no gain to measure."
            )
        names, given = [name for name, _ in used], [record for _, record in used]
        answers = [fields.final_answer(record) for record in given]
        both = []
        for template in (self.template, self.reasoning_template):
            prompts = [
                template.replace("{question}", fields.text(record, _KEYS, "a question")).replace(
                    "{rationale}", fields.rationale(record) or ""
                )
                for record in given
            ]
            both.append(sequences.continuations(encoder, names, prompts, answers, context))
        return [
            Question(name, record, pair, fields.group(record)) for name, record, pair in zip(names, given, zip(*both))
        ]

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Question]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        scores.refuse_empty(targets)
        found = {}
        for target, questions in targets.items():
            without, after = np.array(sequences.text_losses(model, questions)).T
            size = np.array([len(fields.final_answer(q.record).encode()) for q in questions])
            found[target] = {self.metric: (without - after) / np.log(2) / size}
        return scores.evaluation(targets, found, {self.metric: self.unit})

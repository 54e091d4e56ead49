"""Minimal pairs: how often the acceptable sentence of two is the likelier one (BLiMP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mixlaw.evaluate.contract import Evaluation, Question, Record
from mixlaw.evaluate.tasks import fields, scores, sequences
from mixlaw.models.contract import Model, Tokenizer

__all__ = ["MinimalPairs"]


class MinimalPairs:
    """The share of pairs whose acceptable sentence has the higher probability (Warstadt et al. 2020, arXiv:1912.00582).

    Records have ``sentence_good`` and ``sentence_bad``; ``UID`` (or ``group``) names the phenomenon, which gets a value
    of its own. A sentence's probability is that of all of its tokens after the end of a document. Equal probabilities
    count half.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("minimal_pairs").floor
        0.5
    """

    metric = "accuracy"
    unit = "fraction"
    direction: Literal["higher"] = "higher"
    floor = 0.5

    def prepare(
        self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None
    ) -> list[Question]:
        """Both sentences of each pair; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        pairs = sequences.from_records(
            records,
            lambda record: (
                fields.text(record, ("sentence_good",), "the acceptable sentence"),
                fields.text(record, ("sentence_bad",), "the unacceptable sentence"),
            ),
        )
        names = fields.names(records)
        texts = [sentence for pair in pairs for sentence in pair]
        found = sequences.whole(sequences.needed(tokenizer), [n for n in names for _ in "gb"], texts, context)
        return [
            Question(name, record, (good, bad), fields.group(record))
            for name, record, good, bad in zip(names, records, found[::2], found[1::2])
        ]

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Question]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        scores.refuse_empty(targets)
        found = {}
        for target, questions in targets.items():
            good, bad = np.array(sequences.text_losses(model, questions)).T
            found[target] = {self.metric: np.where(good < bad, 1.0, np.where(good == bad, 0.5, 0.0))}
        return scores.evaluation(targets, found, {self.metric: self.unit})

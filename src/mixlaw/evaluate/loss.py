"""The loss of every item, and its mean over the tokens of a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mixlaw.evaluate.contract import Evaluation, Record
from mixlaw.evaluate.tasks import fields, sequences
from mixlaw.evaluate.tasks.scores import mean_and_error, refuse_empty
from mixlaw.models.contract import Item, Model, Tokenizer

__all__ = ["Loss"]


class Loss:
    """Mean loss in nats per scored token; a target's value weighs each item by its scored tokens.

    So the value of items that cut a validation set into sequences is the validation loss that the trainer measures.
    ``std`` is the standard error of the value over items, for two items or more.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("loss").unit
        'nats_per_token'
    """

    metric = "loss"
    unit = "nats_per_token"
    direction: Literal["lower"] = "lower"
    floor = None

    def prepare(self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None) -> list[Item]:
        """Each document's ``text``, cut into sequences that fit into the context; see
        :class:`~mixlaw.evaluate.contract.Evaluator`."""
        texts = sequences.from_records(records, lambda record: fields.text(record, ("text",), "a text"))
        names = fields.names(records)
        documents = sequences.whole(sequences.needed(tokenizer), names, texts, context)
        return [
            Item(f"{name}.{number}" if len(parts) > 1 else name, part.tokens, part.scored_from)
            for name, parts in zip(names, documents)
            for number, part in enumerate(parts)
        ]

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Item]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        refuse_empty(targets)
        values, rows = [], []
        for target, items in targets.items():
            losses = model.loss_per_item(items)
            tokens = np.array([item.num_scored for item in items], float)
            # items are drawn whole: tokens within one go together
            mean, spread = mean_and_error(losses, tokens)
            common = {"target": target, "metric": self.metric}
            values.append({**common, "unit": self.unit, "value": mean, "std": spread, "num_items": len(items)})
            rows += [{**common, "item": item.id, "value": float(loss)} for item, loss in zip(items, losses)]
        return Evaluation(values, rows)

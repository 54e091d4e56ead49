"""Multiple choice by likelihood: is the right choice the likeliest continuation of the question?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mixlaw.errors import ConfigError
from mixlaw.evaluate.contract import Evaluation, Question, Record
from mixlaw.evaluate.tasks import fields, scores, sequences, shots
from mixlaw.models.contract import Model, Tokenizer

__all__ = ["MultipleChoice"]

_METRICS = ("accuracy", "accuracy_per_char", "accuracy_per_byte", "accuracy_unconditional")


class MultipleChoice:
    """The share of questions whose right choice has the highest score; four scores give four metrics:

    * ``accuracy``: log-probability of the choice after the question;
    * ``accuracy_per_char``, ``accuracy_per_byte``: that over the choice's characters, or bytes, so that long choices
      are not at a disadvantage;
    * ``accuracy_unconditional``: that minus the log-probability of the choice after the template's last line alone
      (``Answer:``), so that choices which are likely anyway are not at an advantage (Holtzman et al. 2021,
      arXiv:2104.08315).

    The choices are not listed in the prompt: each is scored as the text that follows it (the cloze form), which small
    models can do long before they can name a letter. Records have ``question``, ``choices`` and ``answer`` (a letter,
    an index from 0, or the choice); ``subject`` or another group gets values of its own. Of equal scores the first
    counts.

    Args:
        template: of a question; ``{question}`` is replaced. A record's ``prompt`` is taken as it is.
        shots: solved examples before each question.
        shot_split: records of this ``split`` are examples and never scored; without it other records are examples.
        seed: which examples are shown.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("multiple_choice", {"shots": 5, "shot_split": "dev"}).metric
        'accuracy'
    """

    metric = "accuracy"
    unit = "fraction"
    direction: Literal["higher"] = "higher"
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
                f"multiple_choice needs shots >= 0 and a template with {{question}}, got {shots} and {template!r}."
            )
        self.template, self.shots, self.shot_split, self.seed = template, shots, shot_split, seed

    def prepare(
        self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None
    ) -> list[Question]:
        """Each choice after its question, and then each after the template's last line; see
        :class:`~mixlaw.evaluate.contract.Evaluator`."""
        encoder = sequences.needed(tokenizer)
        sequences.from_records(records, lambda record: (fields.choices(record), fields.prompt(record, self.template)))
        scored, examples = shots.divided(records, self.shot_split)
        before = shots.shown(scored, examples, self.shots, self.template, self.seed)
        names = fields.names(scored)
        cue = self.template.rpartition("{question}")[2].rpartition("\n")[2]
        choices = [fields.choices(record)[0] for record in scored]
        prompts = [shown + fields.prompt(record, self.template) for shown, record in zip(before, scored)]
        of = [i for i, given in enumerate(choices) for _ in given]
        texts = [choice for given in choices for choice in given]
        after = sequences.continuations(encoder, [names[i] for i in of], [prompts[i] for i in of], texts, context)
        alone = sequences.continuations(encoder, [names[i] for i in of], [cue] * len(of), texts, context)
        out, start = [], 0
        for name, record, given in zip(names, scored, choices):
            own = slice(start, start + len(given))
            out.append(Question(name, record, (*after[own], *alone[own]), fields.group(record)))
            start += len(given)
        return out

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Question]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        scores.refuse_empty(targets)
        found = {}
        for target, questions in targets.items():
            right = np.zeros((len(_METRICS), len(questions)))
            for row, (question, losses) in enumerate(zip(questions, sequences.text_losses(model, questions))):
                choices, answer = fields.choices(question.record)
                after, alone = np.split(-losses, 2)
                chars = np.array([len(choice) for choice in choices])
                size = np.array([len(choice.encode()) for choice in choices])
                for metric, score in enumerate((after, after / chars, after / size, after - alone)):
                    right[metric, row] = score.argmax() == answer
            found[target] = dict(zip(_METRICS, right))
        units = dict.fromkeys(_METRICS, self.unit)
        return scores.evaluation(targets, found, units, shots=self.shots, prompt_format="cloze")

"""Exact match: whether the answer that a model writes is the right one, after both were normalised."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Literal

import numpy as np

from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.evaluate.contract import Evaluation, Record
from mixlaw.evaluate.tasks import fields, scores, sequences, shots
from mixlaw.evaluate.tasks.written import Prompted, checked_length, checked_stops, prompted, written
from mixlaw.models.contract import Model, Tokenizer

__all__ = ["ExactMatch", "extracted", "normalised"]

_NUMBER = re.compile(r"(?:(?<![\w)])[-+])?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?<=\d)")
_WAYS = ("marked", "number", "line", "whole")


class ExactMatch:
    """The share of questions whose written answer equals the gold one.

    Of what the model writes, greedily, the answer is extracted, and then both answers are normalised (see
    :func:`extracted` and :func:`normalised`). A text from which nothing can be extracted is wrong.

    Args:
        extract: ``"marked"``: what follows the last ``####``, or stands in the last ``\\boxed{}``; where neither is
            there, the last number. ``"number"``: the last number. ``"line"``: the first line that is not blank.
            ``"whole"``: the text.
        pattern: a regular expression instead; its last match, or the first group of it.
        template: of a question; ``{question}`` is replaced. A record's ``prompt`` is taken as it is.
        max_tokens: of the answer.
        stop: texts before which the answer ends.
        shots: solved examples before each question, with their whole answers, so that the model sees the form.
        shot_split: records of this ``split`` are examples and never scored; without it other records are examples.
        seed: which examples are shown.

    Records have a ``prompt`` or a question, and an answer (see :mod:`mixlaw.evaluate.tasks.fields`); of GSM8K's
    answers the gold one follows ``####``.

    Raises:
        ConfigError: an unknown way to extract, a faulty pattern or template, or options out of range.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("exact_match", {"extract": "number"}).metric
        'exact_match'
    """

    metric = "exact_match"
    unit = "fraction"
    direction: Literal["higher"] = "higher"
    floor = None

    def __init__(
        self,
        extract: str = "marked",
        pattern: str = "",
        template: str = "Question: {question}\nAnswer:",
        max_tokens: int = 128,
        stop: Sequence[str] = ("\nQuestion:",),
        shots: int = 0,
        shot_split: str = "",
        seed: int = 0,
    ) -> None:
        if extract not in _WAYS:
            raise ConfigError(
                f"Unknown way to extract an answer: {extract!r}.{did_you_mean(extract, _WAYS)} A regular expression is "
                f"given as pattern."
            )
        try:
            self.pattern = re.compile(pattern, re.DOTALL) if pattern else None
        except re.error as error:
            raise ConfigError(f"The pattern {pattern!r} is no regular expression: {error}.") from None
        if shots < 0 or "{question}" not in template:
            raise ConfigError(
                f"exact_match needs shots >= 0 and a template with {{question}}, got {shots} and {template!r}."
            )
        self.extract, self.template = extract, template
        self.shots, self.shot_split, self.seed = shots, shot_split, seed
        self.max_tokens, self.stop = checked_length(max_tokens), checked_stops(stop)

    def prepare(
        self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None
    ) -> list[Prompted]:
        """The prompt of each record; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        sequences.from_records(
            records, lambda record: (fields.prompt(record, self.template), fields.final_answer(record))
        )
        scored, examples = shots.divided(records, self.shot_split)
        before = shots.shown(scored, examples, self.shots, self.template, self.seed)
        prompts = [shown + fields.prompt(record, self.template) for shown, record in zip(before, scored)]
        return prompted(scored, prompts, tokenizer, context, self.max_tokens)

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Prompted]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        scores.refuse_empty(targets)
        found = {}
        for target, questions in targets.items():
            answers = [
                extracted(text, self.extract, self.pattern)
                for text in written(model, questions, self.max_tokens, self.stop)
            ]
            right = [
                answer is not None and normalised(answer) == normalised(fields.final_answer(question.record))
                for answer, question in zip(answers, questions)
            ]
            found[target] = {self.metric: np.array(right, float)}
        return scores.evaluation(targets, found, {self.metric: self.unit}, shots=self.shots)


def extracted(text: str, way: str, pattern: re.Pattern[str] | None = None) -> str | None:
    """The answer in a text; None where there is none.

    Args:
        text: what the model wrote.
        way: see :class:`ExactMatch`.
        pattern: instead of it.

    Example:
        >>> extracted("2 + 2 = 4 ducks\\n#### 4", "marked"), extracted("It is 4, not 1,500.", "number")
        ('4', '1,500')
        >>> extracted("(B) since", "marked", re.compile(r"\\((\\w)\\)")), extracted("none", "number")
        ('B', None)
    """
    if pattern is not None:
        matches = list(pattern.finditer(text))
        return (matches[-1].group(1) if pattern.groups else matches[-1].group()) if matches else None
    if way == "whole":
        return text
    if way == "line":
        return next((line for line in text.splitlines() if line.strip()), None)
    if way == "marked":
        marked = text.rpartition("####")
        if marked[1]:
            return next(iter(marked[2].strip().splitlines()), None)
        boxed = _boxed(text)
        if boxed is not None:
            return boxed
    numbers = [number for number in _NUMBER.findall(text) if number]
    return numbers[-1] if numbers else None


def _boxed(text: str) -> str | None:
    """What stands in the last ``\\boxed{}``, whose braces may hold further ones."""
    _, found, rest = text.rpartition("\\boxed{")
    if not found:
        return None
    depth = 1
    for place, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[:place]
    return None


def normalised(answer: str) -> str:
    """An answer in the form in which two are compared.

    Letters of full and half width and ligatures are made one (Unicode's NFKC), case is folded, blanks are joined and
    taken off the ends, and so are quotation marks, dollar signs and closing punctuation. A number is written without
    separators of thousands, trailing noughts and percent sign.

    Example:
        >>> [normalised(a) for a in ("$1,500.00", "1500", " The  Cat. ", "12%", "3.0")]
        ['1500', '1500', 'the cat', '12', '3']
    """
    text = " ".join(unicodedata.normalize("NFKC", answer).casefold().split())
    text = text.strip("\"'`“”‘’$ ").rstrip(".!?;:, ").strip("\"'`“”‘’$ ")
    number = text.removesuffix("%").rstrip().replace("$", "")
    if re.fullmatch(r"[-+]?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?", number) and any(c.isdigit() for c in number):
        try:
            value = Decimal(number.replace(",", ""))
        except InvalidOperation:
            return text
        return f"{value.normalize():f}" if value else "0"
    return text

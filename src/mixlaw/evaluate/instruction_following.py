"""Instruction following: whether what a model writes keeps constraints that can be verified without a judge."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mixlaw.errors import DataError, did_you_mean
from mixlaw.evaluate.checkers import CHECKERS
from mixlaw.evaluate.contract import Evaluation, Question, Record
from mixlaw.evaluate.tasks import fields, scores, sequences
from mixlaw.evaluate.tasks.written import Prompted, checked_length, checked_stops, prompted, written
from mixlaw.models.contract import Model, Tokenizer

__all__ = ["InstructionFollowing", "loosened"]

_LEVELS = ("prompt_strict", "prompt_loose", "instruction_strict", "instruction_loose")


class InstructionFollowing:
    """The shares of prompts and of single instructions that are followed (after Zhou et al. 2023, arXiv:2311.07911).

    Records have a ``prompt`` (or a question) and ``instructions``, a list such as
    ``[{"name": "words", "at_least": 50}, {"name": "no_commas"}]``; names and arguments are those of
    :data:`mixlaw.evaluate.checkers.CHECKERS`. What is verified must stand in the prompt too: nothing is added to it.

    A prompt is followed where all of its instructions are. An empty text follows nothing. *Loose* scores count an
    instruction as followed where one of :func:`loosened` keeps it. Values of single instructions stand under the target
    and, per checker, under ``target/checker``; their items are named ``prompt#0``, ``prompt#1``, ...

    Args:
        max_tokens: of what is written.
        stop: texts before which it ends.
        template: the prompt of records without one, with ``{question}`` in it.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("instruction_following").metric
        'prompt_strict'
    """

    metric = "prompt_strict"
    unit = "fraction"
    direction: Literal["higher"] = "higher"
    floor = None

    def __init__(self, max_tokens: int = 256, stop: Sequence[str] = (), template: str = "{question}\n") -> None:
        self.max_tokens, self.stop, self.template = checked_length(max_tokens), checked_stops(stop), template

    def prepare(
        self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None
    ) -> list[Prompted]:
        """The prompt of each record, its instructions checked; see :class:`~mixlaw.evaluate.contract.Evaluator`."""

        def read(record: Record) -> str:
            prompt = fields.prompt(record, self.template)
            for name, arguments in _instructions(record, prompt):
                _try(name, arguments)
            return prompt

        return prompted(records, sequences.from_records(records, read), tokenizer, context, self.max_tokens)

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Prompted]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        scores.refuse_empty(targets)
        prompts: dict[str, dict[str, np.ndarray]] = {}
        singles: dict[str, list[Question]] = {}
        single_scores: dict[str, dict[str, np.ndarray]] = {}
        for target, questions in targets.items():
            texts = written(model, questions, self.max_tokens, self.stop)
            strict, loose, parts = [], [], []
            for question, text in zip(questions, texts):
                asked = _instructions(question.record, fields.prompt(question.record, self.template))
                strict.append([_follows(name, text, arguments) for name, arguments in asked])
                variants = loosened(text)
                loose.append([any(_follows(name, v, arguments) for v in variants) for name, arguments in asked])
                parts += [
                    Question(f"{question.id}#{i}", question.record, group=name) for i, (name, _) in enumerate(asked)
                ]
            prompts[target] = {
                "prompt_strict": np.array([all(row) for row in strict], float),
                "prompt_loose": np.array([all(row) for row in loose], float),
            }
            singles[target] = parts
            single_scores[target] = {
                "instruction_strict": np.array([one for row in strict for one in row], float),
                "instruction_loose": np.array([one for row in loose for one in row], float),
            }
        units = dict.fromkeys(_LEVELS, self.unit)
        whole = scores.evaluation(targets, prompts, units)
        single = scores.evaluation(singles, single_scores, units)
        return Evaluation([*whole.values, *single.values], [*whole.items, *single.items])


def loosened(text: str) -> list[str]:
    """The text and seven forms of it: without its first line, its last, both, each with and without asterisks.

    A model may begin with "Sure, here it is:", end with an offer, or set words in bold.

    Example:
        >>> loosened("Sure:\\n*a*, b")
        ['Sure:\\n*a*, b', '*a*, b', 'Sure:', '', 'Sure:\\na, b', 'a, b', 'Sure:', '']
    """
    lines = text.split("\n")
    forms = [lines, lines[1:], lines[:-1], lines[1:-1]]
    joined = ["\n".join(form).strip() for form in forms]
    return [*joined, *(form.replace("*", "") for form in joined)]


def _follows(name: str, text: str, arguments: Mapping[str, Any]) -> bool:
    return bool(text.strip()) and CHECKERS[name](text, **arguments)


def _instructions(record: Record, prompt: str) -> list[tuple[str, dict[str, Any]]]:
    """``(name, arguments)`` of each instruction of a record.

    Raises:
        DataError: no list of instructions, or a name that no checker has.
    """
    given = record.get("instructions")
    if not isinstance(given, list) or not given:
        raise DataError(
            f"needs 'instructions', a list such as [{{'name': 'no_commas'}}], and has {str(given)[:60]!r} there; its "
            f"keys are {sorted(map(str, record))}."
        )
    out = []
    for one in given:
        name = one.get("name") if isinstance(one, Mapping) else None
        if not isinstance(name, str) or name not in CHECKERS:
            raise DataError(
                f"has the instruction {one!r}, whose name no checker has.{did_you_mean(str(name), CHECKERS)}"
            )
        arguments = {key: value for key, value in one.items() if key != "name"}
        if name == "repeats_prompt":
            arguments.setdefault("prompt", prompt)
        out.append((name, arguments))
    return out


def _try(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that a checker cannot take, before any model has written.

    Raises:
        DataError: names the checker and what it takes.
    """
    takes = [str(p) for p in inspect.signature(CHECKERS[name]).parameters.values()][1:]
    try:
        CHECKERS[name]("A text of some words.", **arguments)
    except DataError as error:
        raise DataError(f"has the instruction {name!r}, which {error}") from None
    except (TypeError, ValueError, AttributeError, re.error) as error:
        raise DataError(
            f"has the instruction {name!r} with {dict(arguments)}; it takes {', '.join(takes) or 'nothing'} ({error})."
        ) from None

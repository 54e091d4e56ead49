"""Function calls: whether a model calls the right function with the right arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mixlaw.errors import DataError
from mixlaw.evaluate.contract import Evaluation, Record
from mixlaw.evaluate.tasks import fields, scores, sequences
from mixlaw.evaluate.tasks.json_text import first_object
from mixlaw.evaluate.tasks.schemas import checked_schema, matches
from mixlaw.evaluate.tasks.written import Prompted, checked_length, checked_stops, prompted, written
from mixlaw.models.contract import Model, Tokenizer

__all__ = ["FunctionCalls"]

_METRICS = ("equal_to_reference", "name_right", "arguments_parse", "arguments_match_schema")
_SAID_BY = {"human": "User", "gpt": "Assistant", "function_call": "Function call", "observation": "Result"}
_ASKED = (
    "These functions can be called. A call is one JSON object with the function's name and its arguments: "
    '{"name": "...", "arguments": {...}}.'
)


@dataclass(frozen=True)
class _Call:
    name: str
    arguments: Mapping[str, Any]


class FunctionCalls:
    """The shares of function calls that are right, after the conversation that leads to them.

    Records are conversations with their functions, as in the Glaive set: ``conversations``, a list of
    ``{"from": "human" | "gpt" | "function_call" | "observation", "value": text}``, and ``input`` (or ``tools``), the
    JSON list of functions with ``name``, ``description`` and ``parameters`` (a JSON schema). Every ``function_call`` in
    them is one question, whose prompt holds the functions and what was said before; conversations without one are left
    out. Or a record has ``tools``, a ``prompt`` (or a question) that is said by the user, and the ``call``.

    The first JSON object of what is written is the call. The metrics, each over all questions:

    - ``equal_to_reference``: name and arguments equal those of the reference as JSON values.
    - ``name_right``: the name does.
    - ``arguments_parse``: there is an object with a name and an object of arguments.
    - ``arguments_match_schema``: these keep the schema of the function of that name.

    Args:
        max_tokens: of what is written.
        stop: texts before which it ends.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("function_calls").metric
        'equal_to_reference'
    """

    metric = "equal_to_reference"
    unit = "fraction"
    direction: Literal["higher"] = "higher"
    floor = 0.0

    def __init__(self, max_tokens: int = 128, stop: Sequence[str] = ("\nUser:", "\nResult:")) -> None:
        self.max_tokens, self.stop = checked_length(max_tokens), checked_stops(stop)

    def prepare(
        self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None
    ) -> list[Prompted]:
        """A question per call; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        questions, names = [], []
        for name, found in zip(fields.names(records), sequences.from_records(records, _calls)):
            questions += found
            names += [name] if len(found) == 1 else [f"{name}#{i}" for i in range(len(found))]
        if not questions:
            raise DataError("No record has a function_call among its conversations, so there is nothing to evaluate.")
        prompts = [question["prompt"] for question in questions]
        return prompted(questions, prompts, tokenizer, context, self.max_tokens, names)

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Prompted]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        scores.refuse_empty(targets)
        found = {}
        for target, questions in targets.items():
            rows = [
                _judged(_call_of(first_object(text)), question.record)
                for question, text in zip(questions, written(model, questions, self.max_tokens, self.stop))
            ]
            found[target] = dict(zip(_METRICS, np.array(rows, float).T))
        return scores.evaluation(targets, found, dict.fromkeys(_METRICS, self.unit))


def _judged(call: _Call | None, record: Record) -> tuple[bool, ...]:
    reference = record["call"]
    if call is None:
        return False, False, False, False
    name_right = call.name == reference.name
    schema = record["tools"].get(call.name)
    return (
        name_right and _same(call.arguments, reference.arguments),
        name_right,
        True,
        schema is not None and matches(call.arguments, schema),
    )


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON values: ``1`` is ``1.0``, and neither is ``true``."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _call_of(found: Any) -> _Call | None:
    """A call, whose arguments may also be the text of a JSON object; None where it is none."""
    if not isinstance(found, Mapping) or not isinstance(found.get("name"), str):
        return None
    arguments = found.get("arguments")
    if isinstance(arguments, str):
        arguments = _read(arguments)
    return _Call(found["name"], arguments) if isinstance(arguments, dict) else None


def _read(text: Any) -> Any:
    """What a text of JSON holds; anything else as it is, None where it is no JSON."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _calls(record: Record) -> list[dict[str, Any]]:
    """``{prompt, tools, call}`` of each function call of a record."""
    key = "tools" if record.get("tools") is not None else "input"
    listed = _read(record.get(key))
    if not isinstance(listed, list) or not all(
        isinstance(t, Mapping) and isinstance(t.get("name"), str) for t in listed
    ):
        raise DataError(
            f"needs 'tools' (or 'input'), a JSON list of functions with their names, and has "
            f"{str(record.get(key))[:60]!r} there; its keys are {sorted(map(str, record))}."
        )
    tools = {
        tool["name"]: checked_schema(tool.get("parameters") or {}, f"parameters of the function {tool['name']!r}")
        for tool in listed
    }
    head = "\n".join([_ASKED, *(json.dumps(tool, ensure_ascii=False) for tool in listed), "", ""])
    if "conversations" not in record:
        said = f"User: {fields.prompt(record, '{question}')}\nFunction call:"
        return [{"prompt": head + said, "tools": tools, "call": _reference(_read(record.get("call")), "'call'")}]
    turns = record["conversations"]
    if not isinstance(turns, list) or not all(
        isinstance(turn, Mapping) and turn.get("from") in _SAID_BY and isinstance(turn.get("value"), str)
        for turn in turns
    ):
        raise DataError(
            f"needs 'conversations', a list of {{'from': one of {', '.join(_SAID_BY)}, 'value': text}}, and has "
            f"{str(turns)[:60]!r} there."
        )
    out, before = [], head
    for number, turn in enumerate(turns, 1):
        before += f"{_SAID_BY[turn['from']]}:"
        if turn["from"] == "function_call":
            call = _reference(_read(turn["value"]), f"turn {number}")
            out.append({"prompt": before, "tools": tools, "call": call})
        before += f" {turn['value']}\n"
    return out


def _reference(found: Any, where: str) -> _Call:
    call = _call_of(found)
    if call is None:
        raise DataError(
            f"has no function call as {where}: it must be {{'name': text, 'arguments': object}}, and is "
            f"{str(found)[:60]!r}."
        )
    return call

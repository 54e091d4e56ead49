"""Which keys of a record are read as what.

=============  =================================================================================================
read as        the first of these keys that the record has
=============  =================================================================================================
prompt         ``prompt``, taken as it is; or ``question``, ``problem``, ``input``, put into the evaluator's template
answer         the right one of ``choices``; or ``answer``, ``target``, ``canonical_solution``, ``solution``
rationale      ``rationale``; what stands before ``####`` in ``answer`` (GSM8K); ``solution`` beside an ``answer``
choices        ``choices``, a list of texts, or ``{"text": [...], "label": [...]}`` (ARC)
group          ``group``, ``UID``, ``subject``, ``task``
id             ``id``, ``task_id``, ``pairID``, ``idx``; else its number, from 0
split          ``split``
=============  =================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixlaw.errors import DataError, did_you_mean

__all__ = ["QUESTION_KEYS", "answer", "choices", "final_answer", "group", "names", "prompt", "rationale", "text"]

QUESTION_KEYS = ("question", "problem", "input")
_ANSWER_KEYS = ("answer", "target", "canonical_solution", "solution")
_GROUP_KEYS = ("group", "UID", "subject", "task")
_ID_KEYS = ("id", "task_id", "pairID", "idx")
_FINAL = "####"

Record = Mapping[str, Any]


def text(record: Record, keys: Sequence[str], what: str) -> str:
    """The text under the first of ``keys`` that the record has; numbers are written out.

    Raises:
        DataError: it has none of them, or something else than text there.

    Example:
        >>> text({"target": "False"}, ("answer", "target"), "an answer")
        'False'
    """
    found = next((key for key in keys if record.get(key) is not None), None)
    if found is None:
        if (empty := next((key for key in keys if key in record), None)) is not None:
            raise DataError(f"holds null under {empty!r}, where {what} must be a text that is not empty.")
        raise DataError(
            f"needs {what} under {' or '.join(map(repr, keys))}, and has the keys {sorted(map(str, record))}."
            f"{did_you_mean(keys[0], map(str, record))}"
        )
    value = record[found]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(int(value)) if float(value).is_integer() else str(value)
    if not isinstance(value, str) or not value:
        raise DataError(f"holds {str(value)[:60]!r} under {found!r}, where {what} must be a text that is not empty.")
    return value


def prompt(record: Record, template: str) -> str:
    """What stands before the answer: ``prompt`` as it is, or the question in ``template``.

    Raises:
        DataError: there is neither.

    Example:
        >>> prompt({"question": "1+1?"}, "Question: {question}\\nAnswer:")
        'Question: 1+1?\\nAnswer:'
    """
    if isinstance(record.get("prompt"), str):
        return text(record, ("prompt",), "a prompt")
    return template.replace("{question}", text(record, QUESTION_KEYS, "a question"))


def answer(record: Record) -> str:
    """The gold answer as the record has it; of a question with choices, the text of the right one.

    Raises:
        DataError: there is none.

    Example:
        >>> answer({"choices": ["0", "4", "2"], "answer": "B"}), answer({"target": "False"})
        ('4', 'False')
    """
    if record.get("choices") is not None:
        given, right = choices(record)
        return given[right]
    return text(record, _ANSWER_KEYS, "an answer")


def final_answer(record: Record) -> str:
    """The answer without its rationale: what follows ``####``, where that stands in it (GSM8K).

    Raises:
        DataError: there is none.

    Example:
        >>> final_answer({"answer": "2 + 2 = 4 ducks\\n#### 4"}), final_answer({"target": "False"})
        ('4', 'False')
    """
    whole = answer(record)
    return whole.rpartition(_FINAL)[2].strip() or whole


def rationale(record: Record) -> str | None:
    """The reasoning that leads to the answer; None where the record gives none.

    Example:
        >>> rationale({"answer": "2 + 2 = 4 ducks\\n#### 4"}), rationale({"answer": "4"})
        ('2 + 2 = 4 ducks', None)
    """
    stated = record.get("rationale")
    if isinstance(stated, str) and stated.strip():
        return stated.strip()
    whole = record.get("answer")
    if isinstance(whole, str) and _FINAL in whole:
        return whole.rpartition(_FINAL)[0].strip() or None
    solution = record.get("solution")
    return solution.strip() or None if isinstance(solution, str) and whole is not None else None


def choices(record: Record) -> tuple[list[str], int]:
    """The choices and the index of the right one, which ``answer`` gives as a letter, an index or the choice itself.

    Raises:
        DataError: no list of at least two texts, or an answer that is none of them.

    Example:
        >>> choices({"choices": ["0", "4", "2"], "answer": "B"})
        (['0', '4', '2'], 1)
    """
    given = record.get("choices")
    labels = given.get("label") if isinstance(given, Mapping) else None
    given = given.get("text") if isinstance(given, Mapping) else given
    if not isinstance(given, list) or len(given) < 2 or not all(isinstance(c, str) and c for c in given):
        shown = "nothing" if given is None else f"{given!r:.60}"
        raise DataError(f"needs 'choices', a list of at least two texts, and has {shown} there.")
    right = record.get("answer", record.get("answerKey"))
    if isinstance(labels, list) and right in labels and len(labels) == len(given):
        return list(given), labels.index(right)
    if isinstance(right, int) and not isinstance(right, bool) and 0 <= right < len(given):
        return list(given), right
    if isinstance(right, str):
        if len(right) == 1 and 0 <= ord(right) - ord("A") < len(given):  # even where a choice is that letter (MMLU)
            return list(given), ord(right) - ord("A")
        if right in given:
            return list(given), given.index(right)
    raise DataError(
        f"has the answer {right!r}, and its choices are {str(given)[:80]}. Give the letter (A, B, ...), the index from "
        f"0, or the choice itself."
    )


def group(record: Record) -> str:
    """The part of the task that it belongs to; ``""`` where it says none."""
    found = next((record[key] for key in _GROUP_KEYS if record.get(key) is not None), "")
    return str(found)


def names(records: Sequence[Record]) -> list[str]:
    """An id for each record, ``group/id``; what would be given twice gets its number.

    Example:
        >>> names([{"UID": "island", "pairID": "0"}, {"question": "1+1"}])
        ['island/0', '1']
    """
    out, seen = [], set()
    for number, record in enumerate(records):
        own = next((record[key] for key in _ID_KEYS if record.get(key) is not None), number)
        part = group(record)
        name = f"{part}/{own}" if part else str(own)
        if name in seen:
            name = f"{name}#{number}"
        seen.add(name)
        out.append(name)
    return out

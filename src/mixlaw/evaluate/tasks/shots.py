"""Solved examples before a question: which, and how they are written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from mixlaw.errors import DataError
from mixlaw.evaluate.tasks import fields
from mixlaw.evaluate.tasks.sequences import spaced

__all__ = ["divided", "shown"]

Record = Mapping[str, Any]


def divided(records: Sequence[Record], shot_split: str) -> tuple[list[Record], list[Record]]:
    """``(records to score, records to show)``: those whose ``split`` is ``shot_split`` are shown and never scored.

    Raises:
        DataError: no record is of that split, or all are.

    Example:
        >>> divided([{"answer": "1", "split": "test"}, {"answer": "2", "split": "dev"}], "dev")
        ([{'answer': '1', 'split': 'test'}], [{'answer': '2', 'split': 'dev'}])
    """
    if not shot_split:
        return list(records), []
    examples = [record for record in records if record.get("split") == shot_split]
    scored = [record for record in records if record.get("split") != shot_split]
    if not examples or not scored:
        there = sorted({str(record.get("split")) for record in records})
        raise DataError(
            f"shot_split={shot_split!r} leaves {len(scored)} records to score and {len(examples)} to show; the "
            f"splits of the records are {there}."
        )
    return scored, examples


def shown(scored: Sequence[Record], examples: Sequence[Record], number: int, template: str, seed: int) -> list[str]:
    """What stands before the prompt of each scored record: ``number`` examples with their answers.

    Examples are of the question's own group. Without ``examples`` they are other scored records, never the question
    itself. Which ones is a matter of ``seed``: all questions of a group see the same, except that one which is among
    them sees the next instead.

    Raises:
        DataError: a group has too few.

    Example:
        >>> sums = [{"question": f"{n}+1?", "answer": str(n + 1)} for n in range(3)]
        >>> shown(sums, [], 1, "Q: {question} A:", seed=0)
        ['Q: 2+1? A: 3\\n\\n', 'Q: 2+1? A: 3\\n\\n', 'Q: 1+1? A: 2\\n\\n']
    """
    if not number:
        return [""] * len(scored)
    pool = examples or scored
    pools: dict[str, list[int]] = {}
    names = fields.names(pool)
    for i in sorted(range(len(pool)), key=lambda i: hashlib.sha256(f"{seed} {names[i]}".encode()).digest()):
        pools.setdefault(fields.group(pool[i]), []).append(i)
    texts: dict[int, str] = {}
    out = []
    for own, record in enumerate(scored):
        group = fields.group(record)
        chosen = [i for i in pools.get(group, [])[: number + 1] if examples or i != own][:number]
        if len(chosen) < number:
            where = f"The group {group!r}" if group else "The task"
            raise DataError(f"{where} has {len(chosen)} other records with answers, and shots={number}. Ask for fewer.")
        for i in chosen:
            if i not in texts:
                before = fields.prompt(pool[i], template)
                texts[i] = f"{before}{spaced(before, fields.answer(pool[i]))}\n\n"
        out.append("".join(texts[i] for i in chosen))
    return out

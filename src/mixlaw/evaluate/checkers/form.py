"""Checkers of form: lists, titles, sections, JSON, and marks in the text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mixlaw.errors import DataError
from mixlaw.evaluate.checkers.counts import within
from mixlaw.evaluate.tasks.json_text import json_value

__all__ = [
    "bullets",
    "highlights",
    "json_only",
    "no_commas",
    "one_of",
    "placeholders",
    "sections",
    "title",
    "two_responses",
]


def bullets(text: str, at_least: int | None = None, at_most: int | None = None) -> bool:
    """The number of bullet points: lines that begin with ``*``, ``-``, ``+`` or ``•`` and a blank.

    Example:
        >>> bullets("Two:\\n* one\\n- two\\n--- no", at_least=2, at_most=2)
        True
    """
    return within(len(re.findall(r"^\s*[*\-+•] +\S", text, re.MULTILINE)), at_least, at_most)


def json_only(text: str) -> bool:
    """Whether the whole text is one JSON value, with or without a fence of code around it.

    Example:
        >>> json_only('```json\\n{"a": 1}\\n```'), json_only('Here: {"a": 1}')
        (True, False)
    """
    return json_value(text) is not None


def title(text: str) -> bool:
    """Whether there is a title in double angle brackets, ``<<like this>>``.

    Example:
        >>> title("<<The sea>>\\nIt is wide."), title("<< >> none")
        (True, False)
    """
    return re.search(r"<<[^\n<>]*[^\s<>][^\n<>]*>>", text) is not None


def sections(text: str, marker: str, at_least: int | None = None, at_most: int | None = None) -> bool:
    """The number of sections, whose lines begin with the marker and a number or letter: ``Section 1``, ``PART A``.

    Example:
        >>> sections("Section 1\\nOne.\\nSECTION 2: two.\\nNo section 3", "Section", at_least=2, at_most=2)
        True
    """
    head = rf"^[\s#*]*{re.escape(marker.strip())}\s+(?:\d+|[IVXLC]+|[A-Z])\b"
    return within(len(re.findall(head, text, re.MULTILINE | re.IGNORECASE)), at_least, at_most)


def highlights(text: str, at_least: int | None = None, at_most: int | None = None) -> bool:
    """The number of passages between single or double asterisks on one line: ``*like this*``.

    Example:
        >>> highlights("*One*, **two words** and 3 * 4 * 5", at_least=2, at_most=2)
        True
    """
    found = re.findall(r"(?<![*\w])(\*{1,2})(?=[^\s*])[^\n*]*?(?<=[^\s*])\1(?![*\w])", text)
    return within(len(found), at_least, at_most)


def placeholders(text: str, at_least: int | None = None, at_most: int | None = None) -> bool:
    """The number of places to fill in, which stand in square brackets: ``[name]``.

    Example:
        >>> placeholders("Dear [name], come to [place]. []", at_least=2, at_most=2)
        True
    """
    return within(len(re.findall(r"\[[^\[\]\n]*\w[^\[\]\n]*\]", text)), at_least, at_most)


def no_commas(text: str) -> bool:
    """Whether there is no comma, of any script.

    Example:
        >>> no_commas("None at all."), no_commas("One, here.")
        (True, False)
    """
    return not any(comma in text for comma in ",，、،")


def one_of(text: str, choices: Sequence[str]) -> bool:
    """Whether the text is one of the given answers, but for case, blanks, quotation marks and closing points.

    Example:
        >>> one_of(" Yes.", ["yes", "no"]), one_of("Yes, sure", ["yes", "no"])
        (True, False)
    """
    if isinstance(choices, str) or not choices or not all(isinstance(choice, str) for choice in choices):
        raise DataError(f"needs a list of answers as choices, got {choices!r}.")

    def bare(answer: str) -> str:
        return " ".join(answer.casefold().split()).strip("\"'“”‘’ ").rstrip(".!")

    return bare(text) in {bare(choice) for choice in choices}


def two_responses(text: str, separator: str = "******") -> bool:
    """Whether there are two different answers, apart by the separator.

    Example:
        >>> two_responses("Red.\\n******\\nBlue."), two_responses("Red.\\n******\\nRed.")
        (True, False)
    """
    parts = [part.strip() for part in text.split(separator)]
    return len(parts) == 2 and all(parts) and parts[0] != parts[1]

"""Checkers of length: words, sentences, paragraphs."""

from __future__ import annotations

import re

from mixlaw.evaluate.checkers.counts import within

__all__ = ["paragraphs", "paragraphs_of", "sentences", "words"]

_END = re.compile(r"[.!?。！？]+[\"'”’)\]]*(?=\s|$)|[。！？]+")
_SHORT = re.compile(r"\b(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|cf|No|Fig)\.$")


def words(text: str, at_least: int | None = None, at_most: int | None = None) -> bool:
    """The number of words, which are runs of letters, digits, apostrophes and hyphens.

    Example:
        >>> words("Don't count this well-known dash - here.", at_least=6, at_most=6)
        True
    """
    return within(len(re.findall(r"\w+(?:['’\-]\w+)*", text)), at_least, at_most)


def sentences(text: str, at_least: int | None = None, at_most: int | None = None) -> bool:
    """The number of sentences: they end in a full stop, exclamation or question mark before a blank or the end.

    A point after a single letter or a common abbreviation (``Dr.``, ``e.g.``) ends none. What follows the last one
    counts as one where it has a letter.

    Example:
        >>> sentences("Dr. Who left at 3.15 p.m. today! Why? No idea", at_least=3, at_most=3)
        True
    """
    count, start = 0, 0
    for match in _END.finditer(text):
        before = text[start : match.end()].rstrip("\"'”’)]")
        if not _SHORT.search(before) and any(c.isalnum() for c in before):
            count, start = count + 1, match.end()
    rest = text[start:]
    return within(count + any(c.isalnum() for c in rest), at_least, at_most)


def paragraphs(text: str, at_least: int | None = None, at_most: int | None = None, separator: str = "") -> bool:
    """The number of paragraphs, which stand apart by blank lines, or by lines that hold ``separator`` only.

    Example:
        >>> paragraphs("one\\n\\ntwo\\nstill two", at_least=2, at_most=2), paragraphs("a\\n***\\nb", 2, 2, "***")
        (True, True)
    """
    return within(len(paragraphs_of(text, separator)), at_least, at_most)


def paragraphs_of(text: str, separator: str = "") -> list[str]:
    """The paragraphs of a text that are not blank.

    Example:
        >>> paragraphs_of("one\\n \\ntwo")
        ['one', 'two']
    """
    parts = re.split(rf"^\s*{re.escape(separator)}\s*$", text, flags=re.MULTILINE)
    return [part.strip() for part in parts if part.strip()]

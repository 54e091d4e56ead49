"""Checkers of case."""

from __future__ import annotations

import re

from mixlaw.evaluate.checkers.counts import within

__all__ = ["all_lowercase", "all_uppercase", "capital_words"]


def all_lowercase(text: str) -> bool:
    """Whether the text has letters, and no capital one.

    Example:
        >>> all_lowercase("only small, 3 words"), all_lowercase("One not"), all_lowercase("123")
        (True, False, False)
    """
    return text.islower()


def all_uppercase(text: str) -> bool:
    """Whether the text has letters, and only capital ones.

    Example:
        >>> all_uppercase("LOUD, 3 WORDS"), all_uppercase("Not")
        (True, False)
    """
    return text.isupper()


def capital_words(text: str, at_least: int | None = None, at_most: int | None = None) -> bool:
    """The number of words of capital letters only.

    Example:
        >>> capital_words("NASA and the EU went, I did not.", at_least=3, at_most=3)
        True
    """
    return within(sum(word.isupper() for word in re.findall(r"\w+(?:['’\-]\w+)*", text)), at_least, at_most)

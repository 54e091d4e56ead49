"""Checkers of words: present, absent, how often, and at the head of a paragraph."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mixlaw.errors import DataError
from mixlaw.evaluate.checkers.counts import within
from mixlaw.evaluate.checkers.length import paragraphs_of

__all__ = ["excludes_words", "includes_words", "keyword_count", "letter_count", "paragraph_starts_with"]


def includes_words(text: str, words: Sequence[str]) -> bool:
    """Whether every one of these words or phrases stands in the text, whole; case does not matter.

    Example:
        >>> includes_words("The Cat sat.", ["cat", "sat"]), includes_words("A catalogue", ["cat"])
        (True, False)
    """
    return all(_count(text, word) for word in _list(words))


def excludes_words(text: str, words: Sequence[str]) -> bool:
    """Whether none of these words or phrases stands in the text, whole; case does not matter.

    Example:
        >>> excludes_words("A catalogue", ["cat"]), excludes_words("The Cat", ["cat"])
        (True, False)
    """
    return not any(_count(text, word) for word in _list(words))


def keyword_count(text: str, word: str, at_least: int | None = None, at_most: int | None = None) -> bool:
    """How often a word or phrase stands in the text, whole; case does not matter.

    Example:
        >>> keyword_count("Tea, tea and teas.", "tea", at_least=2, at_most=2)
        True
    """
    return within(_count(text, word), at_least, at_most)


def letter_count(text: str, letter: str, at_least: int | None = None, at_most: int | None = None) -> bool:
    """How often a letter or other single character stands in the text; case does not matter.

    Example:
        >>> letter_count("Banana", "a", at_least=3), letter_count("Hash #tag", "#", at_most=0)
        (True, False)
    """
    if len(letter) != 1:
        raise DataError(f"needs a single character as letter, got {letter!r}.")
    return within(text.casefold().count(letter.casefold()), at_least, at_most)


def paragraph_starts_with(text: str, paragraph: int, word: str, paragraphs: int | None = None) -> bool:
    """Whether a paragraph, counted from 1, begins with a word, and whether there are as many of them as asked for.

    Example:
        >>> paragraph_starts_with("One.\\n\\nTwo it is.", paragraph=2, word="two", paragraphs=2)
        True
    """
    if paragraph < 1:
        raise DataError(f"counts paragraphs from 1, got {paragraph}.")
    found = paragraphs_of(text)
    if len(found) < paragraph or (paragraphs is not None and len(found) != paragraphs):
        return False
    begins = found[paragraph - 1].lstrip("\"'“‘*_([").casefold()
    return re.match(rf"{re.escape(word.casefold())}(?!\w)", begins) is not None


def _count(text: str, word: str) -> int:
    if not word:
        raise DataError("needs words that are not empty.")
    return len(re.findall(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", text.casefold()))


def _list(words: Sequence[str]) -> list[str]:
    if isinstance(words, str) or not words or not all(isinstance(word, str) for word in words):
        raise DataError(f"needs a list of words, got {words!r}.")
    return list(words)

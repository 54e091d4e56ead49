"""Checkers of how a text begins and ends."""

from __future__ import annotations

import re

__all__ = ["ends_with", "in_quotes", "postscript", "repeats_prompt", "starts_with"]


def starts_with(text: str, phrase: str) -> bool:
    """Whether the text begins with a phrase; case and blanks before it do not matter.

    Example:
        >>> starts_with("  My answer: 4", "my answer")
        True
    """
    return text.strip().casefold().startswith(phrase.strip().casefold())


def ends_with(text: str, phrase: str) -> bool:
    """Whether the text ends with a phrase, with nothing after it but blanks and quotation marks; case does not matter.

    Example:
        >>> ends_with("So be it. Any questions?\\n", "any questions?"), ends_with("Any questions? Yes.", "questions?")
        (True, False)
    """
    return text.strip().strip("\"'”’").casefold().endswith(phrase.strip().casefold())


def in_quotes(text: str) -> bool:
    """Whether the whole text stands in double quotation marks.

    Example:
        >>> in_quotes('"A text."'), in_quotes('A "text".')
        (True, False)
    """
    whole = text.strip()
    return len(whole) > 1 and whole[0] in '"“' and whole[-1] in '"”'


def postscript(text: str, marker: str = "P.S.") -> bool:
    """Whether a line begins with the marker of a postscript and goes on; dots and case of it do not matter.

    Example:
        >>> postscript("Dear all, hello.\\n\\nPS: and more"), postscript("Dear all, hello.\\nP.S.")
        (True, False)
    """
    letters = [re.escape(character) + r"\.?\s?" for character in marker if character.isalnum()]
    return re.search(rf"^\s*{''.join(letters)}(?!\w)[\s:.\-–]*\w", text, re.MULTILINE | re.IGNORECASE) is not None


def repeats_prompt(text: str, prompt: str) -> bool:
    """Whether the text begins with the prompt, word for word, and goes on after it; case and blanks do not matter.

    Example:
        >>> repeats_prompt("Name a  colour. Blue.", "Name a colour."), repeats_prompt("Name it.", "Name it.")
        (True, False)
    """
    asked, given = prompt.casefold().split(), text.casefold().split()
    return given[: len(asked)] == asked and len(given) > len(asked)

"""Constraints on a text that can be verified without a judge, one function each.

They are of the kinds of IFEval (Zhou et al. 2023, arXiv:2311.07911). A checker is a function of the text and of the
arguments that an instruction gives; :data:`CHECKERS` has them by name, and a further one joins by
``CHECKERS["rhymes"] = rhymes``.
"""

from __future__ import annotations

from collections.abc import Callable

from mixlaw.evaluate.checkers.case import all_lowercase, all_uppercase, capital_words
from mixlaw.evaluate.checkers.ends import ends_with, in_quotes, postscript, repeats_prompt, starts_with
from mixlaw.evaluate.checkers.form import (
    bullets,
    highlights,
    json_only,
    no_commas,
    one_of,
    placeholders,
    sections,
    title,
    two_responses,
)
from mixlaw.evaluate.checkers.keywords import (
    excludes_words,
    includes_words,
    keyword_count,
    letter_count,
    paragraph_starts_with,
)
from mixlaw.evaluate.checkers.language import written_in
from mixlaw.evaluate.checkers.length import paragraphs, sentences, words

__all__ = ["CHECKERS"]

CHECKERS: dict[str, Callable[..., bool]] = {
    checker.__name__: checker
    for checker in (
        all_lowercase,
        all_uppercase,
        bullets,
        capital_words,
        ends_with,
        excludes_words,
        highlights,
        in_quotes,
        includes_words,
        json_only,
        keyword_count,
        letter_count,
        no_commas,
        one_of,
        paragraph_starts_with,
        paragraphs,
        placeholders,
        postscript,
        repeats_prompt,
        sections,
        sentences,
        starts_with,
        title,
        two_responses,
        words,
        written_in,
    )
}
"""Every checker by its name: ``checker(text, **arguments) -> bool``."""

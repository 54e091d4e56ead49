"""From texts to the sequences that a model scores, and from its losses back to a number per text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError
from mixlaw.evaluate.contract import Question, Record
from mixlaw.models.contract import Item, Model, Tokenizer, Tokens

__all__ = ["after", "continuations", "encoded", "from_records", "needed", "pieces", "spaced", "text_losses", "whole"]

T = TypeVar("T")


def from_records(records: Sequence[Record], read: Callable[[Record], T]) -> list[T]:
    """``read`` of every record; what it refuses is told with the record's number.

    Raises:
        DataError: there are no records, or ``read`` refused one.

    Example:
        >>> from mixlaw.evaluate.tasks.fields import answer
        >>> from_records([{"answer": "4"}, {"anser": "5"}], answer)
        Traceback (most recent call last):
            ...
        mixlaw.errors.DataError: Record 2 needs an answer under 'answer' or 'target' ...
    """
    if not records:
        raise DataError("There are no records to evaluate. Leave the task out, or give it some.")
    out = []
    for number, record in enumerate(records, 1):
        try:
            out.append(read(record))
        except DataError as error:
            raise DataError(f"Record {number} {error}") from None
    return out


def needed(tokenizer: Tokenizer | None) -> Tokenizer:
    """The tokenizer, where there is one.

    Raises:
        DataError: there is none.
    """
    if tokenizer is None:
        raise DataError(
            "The model has no tokenizer, so texts cannot be scored with it. Give it the tokenizer.json that its tokens "
            "were made with (corpus.tokenizer of a study that was given tokens)."
        )
    return tokenizer


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Tokens]:
    """(length,) token ids of each text, without the token that closes a document."""
    out: list[Tokens] = []
    for ids, lengths in tokenizer.encode(texts):
        ends = np.cumsum(lengths)
        whole = np.asarray(ids, np.int64)
        out += [whole[end - length : end - 1] for end, length in zip(ends.tolist(), lengths.tolist())]
    return out


def pieces(name: str, tokens: Tokens, scored_from: int, context: int | None) -> tuple[Item, ...]:
    """One sequence as items that fit into the context.

    What stands before the scored tokens is cut on its left where the whole is too long, so that the scored tokens and
    what stands nearest to them remain. Where the scored tokens alone are too long, they are scored in consecutive
    pieces of ``context`` tokens, each seeing one token before it; none is left out, and none is scored twice.

    Args:
        name: of the items.
        tokens: (length,) the whole sequence.
        scored_from: position of the first scored token.
        context: tokens that the model sees at once; the last token of a sequence is predicted and not seen.

    Example:
        >>> [item.tokens.tolist() for item in pieces("a", np.arange(6), 4, context=3)]
        [[2, 3, 4, 5]]
        >>> [(item.tokens.tolist(), item.scored_from) for item in pieces("a", np.arange(6), 1, context=3)]
        [([0, 1, 2, 3], 1), ([3, 4, 5], 1)]
    """
    scored = len(tokens) - scored_from
    if context is None or len(tokens) <= context + 1:
        return (Item(name, tokens, scored_from),)
    if scored <= context:
        return (Item(name, tokens[-(context + 1) :], context + 1 - scored),)
    starts = range(scored_from, len(tokens), context)
    return tuple(Item(name, tokens[start - 1 : start + context], 1) for start in starts)


def whole(
    tokenizer: Tokenizer, names: Sequence[str], texts: Sequence[str], context: int | None
) -> list[tuple[Item, ...]]:
    """Each text with all of its tokens scored: the end of a document stands before it, as in training."""
    start = np.array([tokenizer.end], np.int64)
    out = []
    for name, ids in zip(names, encoded(tokenizer, texts)):
        if not len(ids):
            raise DataError(f"The text of {name!r} has no tokens. Leave it out.")
        out.append(pieces(name, np.concatenate([start, ids]), 1, context))
    return out


def continuations(
    tokenizer: Tokenizer,
    names: Sequence[str],
    prompts: Sequence[str],
    answers: Sequence[str],
    context: int | None,
) -> list[tuple[Item, ...]]:
    """Each answer after its prompt, with a blank between them where neither brings one; see :func:`after`."""
    return after(tokenizer, names, prompts, [spaced(p, a) for p, a in zip(prompts, answers)], context)


def after(
    tokenizer: Tokenizer,
    names: Sequence[str],
    prompts: Sequence[str],
    answers: Sequence[str],
    context: int | None,
) -> list[tuple[Item, ...]]:
    """Each answer after its prompt, the answer's tokens scored.

    Prompt and answer are encoded as one text, as they would stand in a document, with the end of a document before
    them. A token that spells the end of the prompt and the beginning of the answer is scored.
    """
    joined = [prompt + answer for prompt, answer in zip(prompts, answers)]
    given = list(dict.fromkeys(prompts))
    alone = dict(zip(given, encoded(tokenizer, given)))
    start = np.array([tokenizer.end], np.int64)
    out = []
    for name, prompt, ids in zip(names, prompts, encoded(tokenizer, joined)):
        before = alone[prompt]
        common = min(len(before), len(ids) - 1)
        differs = np.flatnonzero(before[:common] != ids[:common])
        shared = int(differs[0]) if len(differs) else common
        out.append(pieces(name, np.concatenate([start, ids]), 1 + shared, context))
    return out


def spaced(prompt: str, answer: str) -> str:
    """The answer as it stands after the prompt: with a blank before it where neither brings one.

    Example:
        >>> spaced("Answer:", "4"), spaced("def f():\\n", "    return 4")
        (' 4', '    return 4')
    """
    apart = not prompt or prompt[-1].isspace() or answer[:1].isspace()
    return answer if apart else f" {answer}"


def text_losses(model: Model, questions: Sequence[Question]) -> list[npt.NDArray[np.float64]]:
    """Per question, the loss of each of its scored texts: nats in total, over all of its tokens."""
    flat = [piece for question in questions for text in question.sequences for piece in text]
    starts = np.cumsum([0, *[len(text) for question in questions for text in question.sequences][:-1]])
    tokens = np.array([item.num_scored for item in flat], float)
    totals = np.add.reduceat(model.loss_per_item(flat) * tokens, starts)
    if not np.isfinite(totals).all():
        raise DataError("The model gives losses that are NaN or infinite, so nothing can be compared by them.")
    return np.split(totals, np.cumsum([len(question.sequences) for question in questions])[:-1])

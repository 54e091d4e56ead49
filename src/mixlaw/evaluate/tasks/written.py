"""What a model writes after the prompts of a task, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mixlaw.errors import ConfigError, DataError
from mixlaw.evaluate.contract import Question, Record
from mixlaw.evaluate.tasks import fields, sequences
from mixlaw.models.contract import Model, Tokenizer, Tokens

__all__ = ["Prompted", "checked_length", "checked_stops", "cut", "prompted", "written"]


@dataclass(frozen=True, eq=False)
class Prompted(Question):
    """A question whose answer is written by the model.

    Args:
        prompt: (length,) token ids that the model continues, the end of a document before them.

    Example:
        >>> Prompted("0", {}, prompt=np.array([0, 7])).prompt
        array([0, 7])
    """

    prompt: Tokens = field(default_factory=lambda: np.empty(0, np.int64))


def checked_length(max_tokens: int) -> int:
    """``max_tokens``, where it is a number of tokens.

    Raises:
        ConfigError: it is below 1.

    Example:
        >>> checked_length(16)
        16
    """
    if max_tokens < 1:
        raise ConfigError(f"max_tokens is how many tokens an answer may have, at least 1; got {max_tokens}.")
    return max_tokens


def checked_stops(stop: Sequence[str]) -> tuple[str, ...]:
    """The texts before which an answer ends.

    Raises:
        ConfigError: not a list of texts, or an empty text.

    Example:
        >>> checked_stops(["\\n\\n"])
        ('\\n\\n',)
    """
    if isinstance(stop, str) or not isinstance(stop, Sequence) or not all(isinstance(s, str) and s for s in stop):
        raise ConfigError(
            f"stop must be a list of texts before which an answer ends, none of them empty; got {stop!r}."
        )
    return tuple(stop)


def prompted(
    records: Sequence[Record],
    prompts: Sequence[str],
    tokenizer: Tokenizer | None,
    context: int | None,
    max_tokens: int,
    names: Sequence[str] | None = None,
) -> list[Prompted]:
    """A question for each prompt. A prompt that leaves no room for the answer is cut on its left.

    Args:
        records: of each question.
        prompts: of each question.
        tokenizer: the model's.
        context: tokens that the model sees at once; None: no limit.
        max_tokens: tokens of the longest answer.
        names: of each question; by default as the records say.

    Raises:
        DataError: there is no tokenizer, or no room for a prompt beside an answer.

    Example:
        >>> from mixlaw.tokens.tokenizer import Encoder, train_tokenizer
        >>> encoder = Encoder(train_tokenizer(["one two three"] * 20, 300))
        >>> (question,) = prompted([{"id": "a"}], ["one two three"], encoder, context=4, max_tokens=2)
        >>> question.id, encoder.decode(question.prompt)
        ('a', ' two three')
    """
    known = sequences.needed(tokenizer)
    if context is not None and max_tokens >= context:
        raise DataError(
            f"The model sees {context} tokens at once, and the answer may have {max_tokens}, which leaves none for the "
            f"prompt. Set max_tokens below {context}."
        )
    room = None if context is None else context - max_tokens
    start = np.array([known.end], np.int64)
    return [
        Prompted(
            name,
            record,
            group=fields.group(record),
            prompt=np.concatenate([start, ids]) if room is None else np.concatenate([start, ids])[-room:],
        )
        for name, record, ids in zip(names or fields.names(records), records, sequences.encoded(known, prompts))
    ]


def written(
    model: Model,
    questions: Sequence[Prompted],
    max_tokens: int,
    stop: Sequence[str] = (),
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """The text that the model writes after each prompt, up to the first text of ``stop``.

    A tokenizer that drops the blank before the first word of a text would drop it here too, so prompt and answer are
    turned into text together, and the prompt's text is taken off.

    Example:
        >>> from mixlaw.models.architecture import architecture, build
        >>> from mixlaw.models.torch_model import TorchModel
        >>> from mixlaw.tokens.tokenizer import Encoder, train_tokenizer
        >>> encoder = Encoder(train_tokenizer(["one two three"] * 20, 300))
        >>> config = architecture({"width": 16, "layers": 1, "heads": 2, "mlp_width": 32}, encoder.vocab_size)
        >>> model = TorchModel(config, build(config).state_dict(), encoder)
        >>> texts = written(model, prompted([{}], ["one two"], encoder, None, 3), max_tokens=3)
        >>> len(texts)
        1
    """
    tokenizer = sequences.needed(model.tokenizer)
    texts = []
    given = [question.prompt for question in questions]
    for prompt, answer in zip(given, model.generate(given, max_tokens, temperature, seed)):
        before, whole = tokenizer.decode(prompt), tokenizer.decode([*prompt, *answer])
        # Bytes of one character on both sides of the border: the answer is read alone.
        text = whole[len(before) :] if whole.startswith(before) else tokenizer.decode(answer)
        texts.append(cut(text, stop))
    return texts


def cut(text: str, stop: Sequence[str]) -> str:
    """What stands before the first text of ``stop``.

    Example:
        >>> cut("42\\nQuestion: and", ["\\n\\n", "\\nQuestion:"])
        '42'
    """
    found = [place for end in stop if (place := text.find(end)) >= 0]
    return text[: min(found)] if found else text

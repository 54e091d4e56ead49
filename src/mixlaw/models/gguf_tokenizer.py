"""The tokenizer.json of a GGUF file whose vocabulary is one of SentencePiece's, as Llama 1 and 2 and Gemma have.

SentencePiece's byte-pair encoding (Kudo and Richardson 2018, arXiv:1808.06226) merges the two neighbours that together
are the piece with the highest score, the leftmost of equals, until no two neighbours are a piece. Every score of such a
vocabulary is another, so the pieces in the order of their scores are a list of merges. Pieces that the user defined are
cut out of the text before anything is merged, the longest first, and characters without a piece are spelled in bytes.
Where one piece can be made of its parts in several ways that overlap (``aa a`` and ``a aa`` in ``a aa a``) a list of
merges prefers one of the ways, and SentencePiece the leftmost; a vocabulary's own tokenizer.json has the same limit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mixlaw.errors import ConfigError

__all__ = ["sentencepiece_tokenizer"]

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_BLANK = "▁"


def sentencepiece_tokenizer(
    tokens: Sequence[str],
    scores: Sequence[float],
    kinds: Sequence[int],
    where: str,
    *,
    start: int | None,
    unknown: int | None,
    space_prefix: bool,
) -> str:
    """Content of a tokenizer.json that cuts text as SentencePiece would with this vocabulary.

    Args:
        tokens: text of each token by id.
        scores: of each token; those of normal tokens (kind 1) give the order of merges.
        kinds: of each token as GGUF numbers them: 1 normal, 2 unknown, 3 control, 4 defined by the user, 5 unused,
            6 byte.
        where: the file, for messages.
        start: id of the token before every text; None: there is none.
        unknown: id of the token for what cannot be spelled.
        space_prefix: whether a blank is put before every text.

    Raises:
        ConfigError: a vocabulary that a list of merges cannot express.

    Example:
        >>> tokens = ["<unk>", "▁", "a", "b", "▁a", "ab"]
        >>> scores, kinds = [0.0, -3.0, -4.0, -5.0, -1.0, -2.0], [2, 1, 1, 1, 1, 1]
        >>> text = sentencepiece_tokenizer(tokens, scores, kinds, "x.gguf", start=None, unknown=0, space_prefix=False)
        >>> from tokenizers import Tokenizer
        >>> Tokenizer.from_str(text).encode(" ab ba").tokens
        ['▁a', 'b', '▁', 'b', 'a']
    """
    give = f"Give the model's own tokenizer.json instead (corpus.tokenizer), from where {where} was made."
    if not len(tokens) == len(scores) == len(kinds) or not tokens:
        raise ConfigError(
            f"{where} lists {len(tokens)} tokens, {len(scores)} scores and {len(kinds)} kinds of token, so how it cuts "
            f"text cannot be told. {give}"
        )
    spelled = [token.replace(" ", _BLANK) for token in tokens]  # converters write some blanks as blanks
    rank = {spelled[i]: -score for i, score in enumerate(scores) if kinds[i] == _NORMAL}
    if len(set(rank.values())) < len(rank):
        raise ConfigError(f"{where} gives several tokens one score, so the order of merges is not known. {give}")
    defined = [i for i, kind in enumerate(kinds) if kind == _USER_DEFINED]
    if space_prefix and defined:
        raise ConfigError(
            f"{where} puts a blank before every text and has tokens of its user's ({tokens[defined[0]]!r}), which a "
            f"tokenizer.json cannot express together. {give}"
        )
    lone = next((p for p in rank if len(p) > 1 and any(c not in rank for c in p)), None)
    if lone is not None:
        raise ConfigError(
            f"{where}: the token {lone!r} holds a character that is no token, so it is no merge of tokens. {give}"
        )
    merges: list[tuple[float, int, list[str]]] = []
    for piece, order in rank.items():
        for cut in range(1, len(piece)):
            if piece[:cut] in rank and piece[cut:] in rank:
                merges.append((order, cut, [piece[:cut], piece[cut:]]))
    merges.sort(key=lambda merge: merge[:2])

    added = [_added(i, spelled[i], special=kinds[i] != _USER_DEFINED) for i in _of_their_own(kinds)]
    blanks = {"type": "Replace", "pattern": {"String": " "}, "content": _BLANK}
    back = {"type": "Replace", "pattern": {"String": _BLANK}, "content": " "}
    decoders: list[dict[str, Any]] = [back, {"type": "ByteFallback"}, {"type": "Fuse"}]
    normalizer: dict[str, Any] = blanks
    if space_prefix:
        prefix = {"type": "Prepend", "prepend": _BLANK}
        normalizer = {"type": "Sequence", "normalizers": [prefix, blanks]}
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    vocabulary = {token: i for i, token in enumerate(spelled)}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": None,
        "post_processor": None if start is None else _starting_with(start, spelled[start]),
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None if unknown is None else spelled[unknown],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [pair for _, _, pair in merges],
        },
    }
    if len(vocabulary) < len(tokens):
        raise ConfigError(f"{where} has two tokens of the same text. {give}")
    return json.dumps(content, ensure_ascii=False, indent=1)


def _of_their_own(kinds: Sequence[int]) -> list[int]:
    """Ids of tokens that no merge makes."""
    return [i for i, kind in enumerate(kinds) if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED)]


def _added(number: int, text: str, special: bool) -> dict[str, Any]:
    # "normalized": the user's are looked for in text whose blanks are written as those of the vocabulary.
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": not special, "special": special}
    return {"id": number, "content": text, **flags}


def _starting_with(number: int, text: str) -> dict[str, Any]:
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    start = [{"SpecialToken": {"id": text, "type_id": kind}} for kind in (0, 1)]
    return {
        "type": "TemplateProcessing",
        "single": [start[0], first],
        "pair": [start[0], first, start[1], second],
        "special_tokens": {text: {"id": text, "ids": [number], "tokens": [text]}},
    }

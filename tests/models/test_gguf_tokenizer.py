"""The tokenizer.json of a SentencePiece vocabulary cuts text as SentencePiece does."""

import itertools
import random

import pytest
from tokenizers import Tokenizer

from mixlaw.errors import ConfigError
from mixlaw.models.gguf_tokenizer import sentencepiece_tokenizer
from mixlaw.tokens.tokenizer import Encoder

LETTERS = "abcdn\n"
PIECES = [
    "an",
    "na",
    "▁a",
    "▁b",
    "ban",
    "▁ban",
    "ana",
    "nd",
    "and",
    "▁and",
    "ca",
    "can",
    "▁can",
    "ad",
    "aa",
    "bb",
    "da",
]
GIVEN = ["\n\n", "  ", "   ", "<b>", "</s>"]  # blanks as converters write them
BYTES = [f"<0x{i:02X}>" for i in range(256)]
TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>", *GIVEN, *BYTES, "▁", *LETTERS, *PIECES]
KINDS = [3, 3, 3, 2, *[4] * len(GIVEN), *[6] * 256, *[1] * (1 + len(LETTERS) + len(PIECES))]
FIRST = len(TOKENS) - len(PIECES)


def scores(seed):
    """Another order of merges for each seed; letters last, as in trained vocabularies."""
    order = random.Random(seed).sample(range(len(PIECES)), len(PIECES))
    return (
        [0.0] * (FIRST - len(LETTERS) - 1) + [-100.0 - i for i in range(len(LETTERS) + 1)] + [-float(i) for i in order]
    )


def made(seed=0, **changes):
    given = {"tokens": TOKENS, "scores": scores(seed), "kinds": KINDS, "where": "m.gguf"}
    return sentencepiece_tokenizer(**{**given, "start": 2, "unknown": 3, "space_prefix": False, **changes})


def reference(text, values):
    """SentencePiece, one merge after the other: the best pair of neighbours, the leftmost of equals."""
    text, spelled = text.replace(" ", "▁"), [token.replace(" ", "▁") for token in TOKENS]
    normal = {spelled[i]: values[i] for i, kind in enumerate(KINDS) if kind == 1}
    given = sorted((token.replace(" ", "▁") for token in GIVEN), key=len, reverse=True)
    symbols = []
    while text:
        piece = next((p for p in given if text.startswith(p)), None)
        symbols.append((piece or text[0], piece is not None))
        text = text[len(piece or text[0]) :]
    while True:
        pairs = [
            (-normal[a + b], i)
            for i, ((a, fixed), (b, also)) in enumerate(itertools.pairwise(symbols))
            if not fixed and not also and a + b in normal
        ]
        if not pairs:
            break
        _, i = min(pairs)
        symbols[i : i + 2] = [(symbols[i][0] + symbols[i + 1][0], False)]
    ids = []
    for symbol, fixed in symbols:
        known = fixed or symbol in normal
        ids += [spelled.index(symbol)] if known else [spelled.index(f"<0x{byte:02X}>") for byte in symbol.encode()]
    return ids


@pytest.mark.parametrize("seed", range(4))
def test_it_cuts_text_as_sentencepiece_does(seed):
    tokenizer, values, rng = Tokenizer.from_str(made(seed)), scores(seed), random.Random(seed)
    parts = [
        "ban",
        "ana",
        "and",
        " ",
        "  ",
        "   ",
        "a",
        "b",
        "n",
        "d",
        "c",
        "\n",
        "\n\n",
        "<b>",
        "</s>",
        "é",
        "漢",
        "<eos>",
    ]
    for _ in range(300):
        text = "".join(rng.choice(parts) for _ in range(rng.randint(0, 30)))
        tokenizer.encode_special_tokens = True  # text that spells a control token is text
        assert tokenizer.encode(text, add_special_tokens=False).ids == reference(text, values), text
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text
    assert tokenizer.encode("ban").ids[0] == 2  # the start token


def test_the_end_of_a_document_is_a_special_token():
    encoder = Encoder(made())
    assert encoder.end == 1 and encoder.vocab_size == len(TOKENS)  # and not the tag </s>


def test_a_blank_before_every_text():
    only = [i for i, kind in enumerate(KINDS) if kind != 4]
    given = {"tokens": [TOKENS[i] for i in only], "kinds": [KINDS[i] for i in only]}
    text = made(scores=[scores(0)[i] for i in only], space_prefix=True, start=None, **given)
    tokenizer = Tokenizer.from_str(text)
    assert tokenizer.encode("and").tokens == tokenizer.encode(" and").tokens[1:] == ["▁and"]
    assert tokenizer.decode(tokenizer.encode("band").ids) == "band"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scores": [0.0]}, "1 scores and"),
        ({"scores": [0.0] * len(TOKENS)}, "several tokens one score"),
        ({"space_prefix": True}, "puts a blank before every text and has tokens of its user's"),
        ({"tokens": [*TOKENS[:-1], "xy"]}, "holds a character that is no token"),
        ({"tokens": [*TOKENS[:2], "<eos>", *TOKENS[3:]]}, "two tokens of the same text"),
    ],
)
def test_what_a_list_of_merges_cannot_say_is_refused(changes, says):
    with pytest.raises(ConfigError, match=rf"{says}.*tokenizer\.json"):
        made(**changes)

"""What models write, as text: cut on both sides, and read whole by any tokenizer."""

import numpy as np
import pytest

from mixlaw.errors import ConfigError, DataError
from mixlaw.evaluate.tasks.written import checked_stops, cut, prompted, written

from scripted_model import TOKENIZER, ScriptedModel


def test_prompts_are_cut_on_their_left():
    (question,) = prompted([{}], ["a text of a few words"], TOKENIZER, context=6, max_tokens=2)
    (whole,) = prompted([{}], ["a text of a few words"], TOKENIZER, context=None, max_tokens=2)
    assert question.prompt.tolist() == whole.prompt[-4:].tolist()
    assert whole.prompt[0] == TOKENIZER.end
    with pytest.raises(DataError, match="Set max_tokens below 2"):
        prompted([{}], ["a"], TOKENIZER, context=2, max_tokens=2)
    with pytest.raises(DataError, match="no tokenizer"):
        prompted([{}], ["a"], None, context=None, max_tokens=2)


def test_texts_end_at_the_first_stop():
    questions = prompted([{}, {}], ["one", "two"], TOKENIZER, None, 50)
    model = ScriptedModel({"one": "yes\n\nand", "two": "no STOP\n\n"})
    assert written(model, questions, 50, ["\n\n", "STOP"]) == ["yes", "no "]
    assert written(model, questions, 50) == ["yes\n\nand", "no STOP\n\n"]
    assert cut("a", ["b"]) == "a"


def test_the_blank_before_a_word_stays_with_tokenizers_that_drop_it():
    """As sentencepiece does: a text's first blank is not in what it spells."""

    class Dropping(ScriptedModel):
        class tokenizer:
            hash, vocab_size, end = "x", TOKENIZER.vocab_size, TOKENIZER.end
            encode = staticmethod(TOKENIZER.encode)

            @staticmethod
            def decode(tokens):
                return TOKENIZER.decode(tokens).removeprefix(" ")

    questions = prompted([{}], ["one"], TOKENIZER, None, 50)
    assert written(Dropping({"one": " four"}), questions, 50) == [" four"]


def test_a_character_across_the_border():
    class Cut(ScriptedModel):
        def generate(self, prompts, max_tokens, temperature=0.0, seed=0):
            return [np.asarray(next(iter(TOKENIZER.encode(["é"])))[0][1:], np.int64) for _ in prompts]

    questions = prompted([{}], ["one"], TOKENIZER, None, 50)
    first = np.asarray(next(iter(TOKENIZER.encode(["é"])))[0][:1], np.int64)
    object.__setattr__(questions[0], "prompt", np.concatenate([questions[0].prompt, first]))
    assert written(Cut({}), questions, 50) == ["�"]


def test_stops_are_a_list_of_texts():
    for wrong in ("\n", [""], [3], 4):
        with pytest.raises(ConfigError, match="stop must be a list of texts"):
            checked_stops(wrong)

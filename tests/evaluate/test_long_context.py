"""Retrieval by distance: what stands where, and a model that remembers only so far."""

import re

import numpy as np
import pytest

from mixlaw.errors import ConfigError, DataError
from mixlaw.evaluate import EVALUATORS
from mixlaw.evaluate.tasks.sequences import encoded

from scripted_model import TOKENIZER, ScriptedModel

RECORDS = [{"text": f"Sentence {i} of some filler that says nothing of codes."} for i in range(40)]


class Remembering(ScriptedModel):
    """Finds the fact in the last ``span`` tokens before the question, and otherwise likes all codes alike."""

    def __init__(self, span):
        super().__init__({})
        self.span = span

    def loss_per_item(self, items):
        out = []
        for item in items:
            seen = TOKENIZER.decode(item.tokens[max(0, item.scored_from - self.span) :])
            name, code = re.findall(r"The code of (\w+) is (\d+)", seen)[-1]
            known = f"The code of {name} is {code}." in seen
            out.append((1.0 if known else 2.0) / item.num_scored)  # the whole code, however many tokens spell it
        return np.array(out)


def prepared(context=600, **options):
    return EVALUATORS.make("long_context", options).prepare(RECORDS, TOKENIZER, context)


def test_every_question_is_what_it_says():
    questions = prepared(context=400, distances=[0, 50, 120], repeats=3, alternatives=3)
    assert [q.id for q in questions[:4]] == ["0_tokens/0", "0_tokens/1", "0_tokens/2", "50_tokens/0"]
    for question in questions:
        distance = int(question.group.split("_")[0])
        texts = [TOKENIZER.decode(items[0].tokens) for items in question.sequences]
        assert len(texts) == 3
        for (item,), text in zip(question.sequences, texts):
            assert item.tokens[0] == TOKENIZER.end
            facts = dict(re.findall(r"The code of (\w+) is (\d{4})\.\n", text))
            assert len(facts) == 3
            name, code = re.findall(r"The code of (\w+) is (\d{4})$", text)[0]
            assert code in facts.values()
            assert TOKENIZER.decode(item.tokens[item.scored_from :]).strip() == code
            asked = encoded(TOKENIZER, [f"\nThe code of {name} is"])[0]
            before = item.tokens[: item.scored_from - len(asked)]
            assert TOKENIZER.decode(before[: len(before) - distance]).endswith(".\n")
        right = texts[question.right]
        name, code = re.findall(r"The code of (\w+) is (\d{4})$", right)[0]
        assert f"The code of {name} is {code}.\n" in right
    lengths = {
        len(items[0].tokens) - items[0].num_scored for q in questions if q.id.endswith("/0") for items in q.sequences
    }
    assert len(lengths) == 1  # equally long at every distance


def test_the_same_again_and_another_seed():
    def tokens(**options):
        return [i[0].tokens.tolist() for q in prepared(distances=[16], repeats=2, **options) for i in q.sequences]

    assert tokens() == tokens()
    assert tokens() != tokens(seed=1)


def test_a_model_that_remembers_so_far():
    evaluator = EVALUATORS.make("long_context", {"distances": [20, 100, 300], "repeats": 40, "alternatives": 4})
    questions = evaluator.prepare(RECORDS, TOKENIZER, 700)
    result = evaluator(Remembering(span=250), {"filler": questions})
    found = {(row["target"], row["metric"]): row["value"] for row in result.values}
    assert found["filler/20_tokens", "retrieval_accuracy"] == 1
    assert found["filler/300_tokens", "retrieval_accuracy"] == pytest.approx(0.25)  # all four alike: a quarter each
    assert found["filler/300_tokens", "answer_loss"] > found["filler/20_tokens", "answer_loss"]
    assert evaluator.floor == 0.25
    assert result.values[0]["num_items"] == 120


def test_default_distances_go_as_far_as_the_context():
    groups = [q.group for q in prepared(context=512, repeats=1)]
    assert groups[0] == "16_tokens"
    assert groups[-1] in ("128_tokens", "256_tokens")
    assert max(len(i[0].tokens) for q in prepared(context=512, repeats=1) for i in q.sequences) <= 513
    assert prepared(context=None, repeats=1)[-1].group == "1024_tokens"


def test_what_does_not_fit_is_explained():
    with pytest.raises(DataError, match=r"has room for \d+ tokens of filler .* the distance 500 was asked"):
        prepared(context=400, distances=[16, 500])
    with pytest.raises(DataError, match="room for 0 tokens"):
        prepared(context=20)
    with pytest.raises(DataError, match="Record 1 needs a text under 'text'"):
        EVALUATORS.make("long_context").prepare([{"question": "?"}], TOKENIZER)
    for options in ({"distances": []}, {"distances": [1.5]}, {"distances": [4, 4]}, {"distances": "16"}):
        with pytest.raises(ConfigError, match="different whole numbers"):
            EVALUATORS.make("long_context", options)
    for options in ({"alternatives": 1}, {"alternatives": 13}, {"repeats": 0}):
        with pytest.raises(ConfigError, match="alternatives"):
            EVALUATORS.make("long_context", options)

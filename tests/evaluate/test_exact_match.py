"""Exact match on answers that are known, and what is extracted and made the same."""

import re

import pytest

from mixlaw.errors import ConfigError, DataError
from mixlaw.evaluate import EVALUATORS
from mixlaw.evaluate.exact_match import extracted, normalised
from mixlaw.text.records import read_records

from scripted_model import TOKENIZER, ScriptedModel
from shared import corpora

SUMS = [
    {"id": "a", "question": "two and two", "answer": "2 + 2 = <<2+2=4>>4 ducks\n#### 4"},
    {"id": "b", "question": "a thousand and a half", "answer": "It is\n#### 1,000.50"},
    {"id": "c", "question": "three and three", "answer": "#### 6"},
    {"id": "d", "question": "nothing", "answer": "#### 0"},
]


def measured(model, records, **options):
    evaluator = EVALUATORS.make("exact_match", options)
    return evaluator(model, {"sums": evaluator.prepare(records, TOKENIZER)})


def test_gsm8k_answers():
    model = ScriptedModel(
        {"two and two": " 2 + 2 = 5\n#### 4", "thousand": " so $1000.5.", "three": " 3 + 3 = 7", "nothing": " none"}
    )
    result = measured(model, SUMS)
    assert [row["value"] for row in result.items] == [1, 1, 0, 0]
    assert result.values[0]["value"] == 0.5
    assert result.values[0]["num_items"] == 4
    assert result.values[0]["std"] == pytest.approx(0.5 * (1 / (1 + 4)) ** 0.5 * 1.0)  # Wilson's at one half
    assert model.asked[0] == "Question: two and two\nAnswer:"


def test_the_answer_ends_before_the_next_question():
    model = ScriptedModel({"two and two": " 4\nQuestion: what is 5? 9"})
    assert measured(model, SUMS[:1]).values[0]["value"] == 1
    assert measured(model, SUMS[:1], stop=[]).values[0]["value"] == 0


def test_prompts_and_lines_and_patterns():
    records = [{"prompt": "Capital of France?", "answer": "Paris"}]
    model = ScriptedModel({"France": "\n The answer is (paris)!\nNot Rome."})
    assert measured(model, records, extract="line").values[0]["value"] == 0
    assert measured(model, records, pattern=r"answer is \((\w+)\)").values[0]["value"] == 1
    assert measured(ScriptedModel({}, " PARIS. \n\nmore"), records, extract="line").values[0]["value"] == 1
    assert measured(ScriptedModel({}, "Paris, France"), records, extract="whole").values[0]["value"] == 0


@pytest.mark.parametrize(
    "text, way, found",
    [
        ("so 3\n#### 12\nand 5", "marked", "12"),
        ("####", "marked", None),
        (r"thus \boxed{\frac{1}{2}} and 7", "marked", r"\frac{1}{2}"),
        (r"thus \boxed{12", "marked", "12"),
        ("from 10-3 we get -7.50", "number", "-7.50"),
        ("10-3", "number", "3"),
        ("-1,234,567 in 2019,", "number", "2019"),
        ("1,23", "number", "23"),
        (".5", "number", ".5"),
        ("", "line", None),
        ("\n \n b \nc", "line", " b "),
    ],
)
def test_extracted(text, way, found):
    assert extracted(text, way) == found


def test_the_last_match_of_a_pattern():
    assert extracted("A then B", "marked", re.compile("[AB]")) == "B"


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("$1,000", "1000.0", True),
        ("12 %", "12", True),
        ("+3", "3", True),
        ("-0", "0", True),
        ("1e3", "1000", False),
        ("１２", "12", True),
        ("“Yes”.", "yes", True),
        ("1.5", "15", False),
        ("-3", "3", False),
        ("A b", "a  B", True),
        ("", ".", True),
        (".", "0", False),
    ],
)
def test_normalised(one, other, same):
    assert (normalised(one) == normalised(other)) is same


def test_what_cannot_be_measured_is_explained():
    with pytest.raises(DataError, match=r"Record 2 needs an answer under 'answer'"):
        measured(ScriptedModel({}), [SUMS[0], {"question": "no answer"}])
    with pytest.raises(DataError, match=r"Record 1 needs a question"):
        measured(ScriptedModel({}), [{"answer": "4"}])
    with pytest.raises(DataError, match="no items"):
        EVALUATORS.make("exact_match")(ScriptedModel({}), {"sums": []})
    for options, message in (
        ({"extract": "lin"}, "Did you mean 'line'"),
        ({"pattern": "("}, "no regular expression"),
        ({"template": "no place"}, "a template with"),
        ({"shots": -1}, "shots >= 0"),
        ({"max_tokens": 0}, "at least 1"),
        ({"stop": "x"}, "list of texts"),
    ):
        with pytest.raises(ConfigError, match=message):
            EVALUATORS.make("exact_match", options)


def test_examples_stand_before_the_question_with_their_whole_answers():
    records = [{**SUMS[0], "split": "train"}, *SUMS[2:]]
    model = ScriptedModel({"Question: three": " 6", "Question: nothing": " 1"})
    result = measured(model, records, shots=1, shot_split="train")
    assert [(row["item"], row["value"]) for row in result.items] == [("c", 1), ("d", 0)]
    shown = "Question: two and two\nAnswer: 2 + 2 = <<2+2=4>>4 ducks\n#### 4\n\n"
    assert model.asked[0] == f"{shown}Question: three and three\nAnswer:"
    assert result.values[0]["shots"] == 1


def test_gsm8k_gold_answers_are_right():
    records = read_records(corpora("eval/gsm8k_test.jsonl.zst"))[:200]
    model = ScriptedModel({record["question"]: " " + record["answer"] for record in records})
    assert measured(model, records, max_tokens=3000).values[0]["value"] == 1

"""Verifiable instructions: every checker on texts that keep it and texts that do not, and the four scores."""

import inspect

import pytest

from mixlaw.errors import DataError
from mixlaw.evaluate import EVALUATORS
from mixlaw.evaluate.checkers import CHECKERS

from scripted_model import TOKENIZER, ScriptedModel

ENGLISH = "The weather is fine today, and we are going to walk in the woods until the evening."
GERMAN = "Das Wetter ist heute schön, und wir gehen bis zum Abend im Wald spazieren."
CASES = {
    "all_lowercase": ({}, ["only small ones, 3"], ["One", "3"]),
    "all_uppercase": ({}, ["LOUD, 3"], ["Loud", "3"]),
    "bullets": ({"at_least": 2, "at_most": 2}, ["* a\n* b", " - a\ntext\n • b"], ["* a", "* a\n* b\n* c", "*a*\n*b*"]),
    "capital_words": ({"at_least": 2}, ["NASA and the EU"], ["NASA", "Nasa Eu"]),
    "ends_with": ({"phrase": "The end."}, ["So. The end.\n", 'So. "the end."'], ["The end. No.", ""]),
    "excludes_words": ({"words": ["red", "blue sky"]}, ["redder", "blue, sky"], ["Red.", "a blue sky"]),
    "highlights": ({"at_least": 2}, ["*a* and **b c**"], ["*a*", "2 * 3 * 4 * 5", "* a\n* b", "**"]),
    "in_quotes": ({}, ['"a"', "“a b”\n"], ["a", '"', '"a" b']),
    "includes_words": ({"words": ["red", "blue sky"]}, ["Red, a Blue sky!"], ["red", "a red blue-sky"]),
    "json_only": ({}, ['{"a": [1]}', "```\n3\n```"], ["a", "{'a': 1}", '{"a": 1} b']),
    "keyword_count": ({"word": "tea", "at_least": 1, "at_most": 2}, ["Tea", "tea, tea"], ["teas", "tea tea tea"]),
    "letter_count": ({"letter": "a", "at_most": 2}, ["banal", "b"], ["Banana"]),
    "no_commas": ({}, ["a; b"], ["a, b", "一、二"]),
    "one_of": ({"choices": ["Yes", "No"]}, ["yes", " 'No.'"], ["yes and no", "maybe"]),
    "paragraph_starts_with": (
        {"paragraph": 2, "word": "so", "paragraphs": 2},
        ["a\n\nSo it is", "a\n\n\n*So*"],
        ["so", "a\n\nsome", "a\n\nso\n\nb"],
    ),
    "paragraphs": ({"at_least": 2, "at_most": 2}, ["a\nb\n\nc", "a\n  \n\nb\n"], ["a", "a\n\nb\n\nc"]),
    "placeholders": ({"at_least": 2}, ["[name] of [the street]"], ["[name] []", "(a) (b)"]),
    "postscript": (
        {"marker": "P.P.S."},
        ["a\nP.P.S. more", "a\n\n  pps: more"],
        ["a\nP.S. more", "a\nP.P.S.", "a P.P.S. b"],
    ),
    "repeats_prompt": (
        {"prompt": "Name a colour"},
        ["name a\ncolour  no", "Name a colour red"],
        ["Name a colour", "red"],
    ),
    "sections": (
        {"marker": "PART", "at_least": 2},
        ["Part 1\na\nPart II: b"],
        ["Part 1", "Part one\nParty 2", "in part 1\nin part 2"],
    ),
    "sentences": (
        {"at_least": 2, "at_most": 3},
        ["One. Two!", "At 3.5 or e.g. 4. So? Yes", "一。二。"],
        ["One", "A. b. Oh."],
    ),
    "starts_with": ({"phrase": "Dear"}, ["dear all", "\n Dear"], ["My dear"]),
    "title": ({}, ["<<A b>>\nc"], ["<A>", "<<>>", "<< >>", "<<a\nb>>"]),
    "two_responses": ({}, ["a\n******\nb"], ["a\n******\na", "a", "a******b******c", "******b"]),
    "words": (
        {"at_least": 3, "at_most": 4},
        ["one two three", "it's a well-known fact"],
        ["one two", "a b c d e", "- - -"],
    ),
    "written_in": ({"language": "de"}, [GERMAN], [ENGLISH, "", "123"]),
}


def measured(model, records, **options):
    evaluator = EVALUATORS.make("instruction_following", options)
    return evaluator(model, {"t": evaluator.prepare(records, TOKENIZER)})


def values(result):
    return {(row["target"], row["metric"]): row["value"] for row in result.values}


def test_every_checker_has_a_case():
    assert set(CASES) == set(CHECKERS)
    assert len(CHECKERS) >= 15


@pytest.mark.parametrize("name", CASES)
def test_checkers(name):
    if name == "written_in":
        pytest.importorskip("py3langid")
    arguments, keep, break_it = CASES[name]
    assert [text for text in keep if not CHECKERS[name](text, **arguments)] == []
    assert [text for text in break_it if CHECKERS[name](text, **arguments)] == []


@pytest.mark.parametrize(
    "text, language",
    [
        (ENGLISH, "en"),
        ("Le temps est beau aujourd'hui et nous allons marcher dans la forêt jusqu'au soir.", "fr"),
        ("Сегодня хорошая погода, и мы пойдём гулять в лес до самого вечера.", "ru"),
        ("今天天气很好。", "zh"),
        ("今日は天気がいいです。", "ja"),
        ("오늘은 날씨가 좋습니다.", "ko"),
        ("วันนี้อากาศดี", "th"),
        ("Ο καιρός είναι καλός.", "el"),
    ],
)
def test_languages(text, language):
    pytest.importorskip("py3langid")
    found = [
        code for code in ("en", "de", "fr", "ru", "zh", "ja", "ko", "th", "el") if CHECKERS["written_in"](text, code)
    ]
    assert found == [language]


def test_bounds_at_their_ends():
    for checker in (c for c in CHECKERS.values() if "at_most" in inspect.signature(c).parameters):
        needed = {"word": "tea", "letter": "a", "marker": "PART"}
        given = {k: v for k, v in needed.items() if k in inspect.signature(checker).parameters}
        assert checker("", **given, at_most=0)
        assert not checker("", **given, at_least=1)
        with pytest.raises(DataError, match="needs at_least, at_most or both"):
            checker("", **given)


RECORDS = [
    {"id": "a", "prompt": "p0", "instructions": [{"name": "no_commas"}, {"name": "words", "at_most": 3}]},
    {"id": "b", "prompt": "p1", "instructions": [{"name": "no_commas"}]},
    {"id": "c", "prompt": "p2", "instructions": [{"name": "all_lowercase"}]},
]


def test_scores_per_prompt_and_per_instruction():
    answers = {"p0": " one, two", "p1": " Sure, here:\nno commas", "p2": ""}
    result = measured(ScriptedModel(answers), RECORDS)
    found = values(result)
    assert found["t", "prompt_strict"] == 0
    assert found["t", "prompt_loose"] == pytest.approx(1 / 3)  # without its first line, the second follows
    assert found["t", "instruction_strict"] == pytest.approx(1 / 4)  # a: words; an empty text follows nothing
    assert found["t", "instruction_loose"] == pytest.approx(2 / 4)
    assert found["t/no_commas", "instruction_loose"] == pytest.approx(1 / 2)
    assert {row["item"] for row in result.items} == {"a", "b", "c", "a#0", "a#1", "b#0", "c#0"}


def test_the_prompt_to_repeat_is_the_record_s():
    record = {"prompt": "Name a colour. First repeat this.", "instructions": [{"name": "repeats_prompt"}]}
    model = ScriptedModel({}, "\nName a colour. First repeat this. Red.")
    assert values(measured(model, [record]))["t", "prompt_strict"] == 1
    assert values(measured(ScriptedModel({}, " Red."), [record]))["t", "prompt_strict"] == 0


@pytest.mark.parametrize(
    "instructions, message",
    [
        (None, "Record 1 needs 'instructions'"),
        ([], "Record 1 needs 'instructions'"),
        (["words"], "no checker has"),
        ([{"name": "word", "at_least": 3}], "Did you mean 'words'"),
        ([{"name": "words"}], "'words', which needs at_least"),
        ([{"name": "words", "at_least": 5, "at_most": 3}], "no less as the second"),
        ([{"name": "words", "least": 5}], "it takes at_least"),
        ([{"name": "words", "at_least": "5"}], "it takes at_least"),
        ([{"name": "letter_count", "letter": "ab", "at_least": 1}], "single character"),
        ([{"name": "includes_words", "words": "a"}], "a list of words"),
        ([{"name": "written_in", "language": "xx"}], "cannot tell the language 'xx'"),
        ([{"name": "paragraph_starts_with", "paragraph": 0, "word": "a"}], "from 1"),
    ],
)
def test_faulty_instructions_are_told(instructions, message):
    if "cannot tell" in message:
        pytest.importorskip("py3langid")
    with pytest.raises(DataError, match=message):
        measured(ScriptedModel({}), [{"prompt": "p", "instructions": instructions}])

"""JSON, and JSON of a schema, in texts that are known."""

import pytest

from mixlaw.errors import ConfigError, DataError
from mixlaw.evaluate import EVALUATORS

from scripted_model import TOKENIZER, ScriptedModel

pytest.importorskip("jsonschema")

AGE = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"]}


def values(answers, records, **options):
    evaluator = EVALUATORS.make("formatted_output", options)
    result = evaluator(ScriptedModel(answers), {"t": evaluator.prepare(records, TOKENIZER)})
    return {row["metric"]: (row["value"], row["num_items"]) for row in result.values}


def test_json_and_schema():
    answers = {
        "p0": ' {"age": 3}\n',
        "p1": ' {"age": -3}',
        "p2": " {'age': 3}",
        "p3": ' ```json\n{"age": 3}\n```',
        "p4": " null",
        "p5": ' {"age": NaN}',
        "p6": ' Here: {"age": 3}',
    }
    records = [{"prompt": key, "schema": AGE} for key in answers if key != "p4"] + [{"prompt": "p4"}]
    assert values(answers, records) == {"valid_json": (4 / 7, 7), "matches_schema": (2 / 6, 6)}
    assert values(answers, [{"prompt": "p4"}]) == {"valid_json": (1.0, 1)}


def test_what_follows_a_stop_is_not_read():
    assert values({"p": ' {"a": 1}\n\nand so on'}, [{"prompt": "p"}])["valid_json"][0] == 0
    assert values({"p": ' {"a": 1}\n\nand so on'}, [{"prompt": "p"}], stop=["\n\n"])["valid_json"][0] == 1


def test_nested_too_deeply_is_no_json():
    assert values({"p": "[" * 5000 + "]" * 5000}, [{"prompt": "p"}], max_tokens=20_000)["valid_json"][0] == 0


def test_faulty_schemas_are_told():
    for schema, message in (
        ({"type": "strin"}, "Record 1 has no sound JSON schema"),
        ("object", "is no object"),
        ({"$ref": "http://elsewhere.org/schema.json"}, "refers to 'http://elsewhere.org/schema.json'"),
    ):
        with pytest.raises(DataError, match=message):
            values({}, [{"prompt": "p", "schema": schema}])
    with pytest.raises(DataError, match="Record 1 needs a question"):
        values({}, [{"text": "p"}])
    with pytest.raises(ConfigError, match="no place for"):
        EVALUATORS.make("formatted_output", {"template": "x"})

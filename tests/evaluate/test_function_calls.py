"""Function calls judged against a reference, and on the Glaive set."""

import json

import pytest

from mixlaw.errors import DataError
from mixlaw.evaluate import EVALUATORS
from mixlaw.text.records import read_records

from scripted_model import TOKENIZER, ScriptedModel
from shared import corpora

pytest.importorskip("jsonschema")

TOOLS = [
    {
        "name": "weather",
        "description": "of a town",
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["town"],
        },
    },
    {"name": "clock", "parameters": {}},
]
RECORD = {"tools": TOOLS, "question": "Weather?", "call": {"name": "weather", "arguments": {"town": "Ulm", "days": 2}}}


def measured(model, records):
    evaluator = EVALUATORS.make("function_calls")
    return evaluator(model, {"calls": evaluator.prepare(records, TOKENIZER)})


@pytest.mark.parametrize(
    "written, equal, name, parses, schema",
    [
        (' {"name": "weather", "arguments": {"days": 2.0, "town": "Ulm"}} and more', 1, 1, 1, 1),
        (' {"name": "weather", "arguments": "{\\"town\\": \\"Ulm\\", \\"days\\": 2}"}', 1, 1, 1, 1),
        (' Sure: {"name": "weather", "arguments": {"town": "Bonn"}}', 0, 1, 1, 1),
        (' {"name": "weather", "arguments": {"town": 3}}', 0, 1, 1, 0),
        (' {"name": "weather", "arguments": {"town": "Ulm", "days": true}}', 0, 1, 1, 0),
        (' {"name": "clock", "arguments": {}}', 0, 0, 1, 1),
        (' {"name": "sun", "arguments": {}}', 0, 0, 1, 0),
        (' {"name": "weather", "arguments": [1]}', 0, 0, 0, 0),
        (' {"name": "weather", "arguments": {"town": "Ulm"', 0, 0, 0, 0),
        (' {"name": "weather"}', 0, 0, 0, 0),
        (" no", 0, 0, 0, 0),
    ],
)
def test_calls_are_judged(written, equal, name, parses, schema):
    rows = measured(ScriptedModel({}, written), [RECORD]).values
    assert [row["metric"] for row in rows] == [
        "equal_to_reference",
        "name_right",
        "arguments_parse",
        "arguments_match_schema",
    ]
    assert [row["value"] for row in rows] == [equal, name, parses, schema]


def test_what_follows_the_call_is_not_read():
    call = json.dumps(RECORD["call"])
    assert measured(ScriptedModel({}, f"\nUser: {call}"), [RECORD]).values[0]["value"] == 0


def test_the_reference_calls_of_the_glaive_set_are_right():
    records = read_records(corpora("sft/glaive_toolcall_demo.jsonl.zst"))
    calls = [
        (f"{turn['value']}", record)
        for record in records
        for turn in record["conversations"]
        if turn["from"] == "function_call"
    ]
    evaluator = EVALUATORS.make("function_calls", {"max_tokens": 3000})
    questions = evaluator.prepare(records, TOKENIZER)
    assert len(questions) == len(calls) > 300

    class Knowing(ScriptedModel):
        def generate(self, prompts, max_tokens, temperature=0.0, seed=0):
            self.answers = iter([call for call, _ in calls])
            return [next(iter(TOKENIZER.encode([f" {next(self.answers)}"])))[0][:-1] for _ in prompts]

    values = {row["metric"]: row["value"] for row in evaluator(Knowing({}), {"glaive": questions}).values}
    assert values["equal_to_reference"] == values["name_right"] == values["arguments_parse"] == 1
    assert values["arguments_match_schema"] > 0.97, values
    prompt = TOKENIZER.decode(questions[0].prompt)
    assert prompt.endswith("\nUser: I have chicken, bell peppers, and rice.\nFunction call:")
    assert "search_recipes" in prompt


@pytest.mark.parametrize(
    "record, message",
    [
        ({"question": "?", "call": {}}, r"Record 2 needs 'tools' \(or 'input'\)"),
        ({**RECORD, "tools": "[1]"}, "a JSON list of functions"),
        ({**RECORD, "tools": [{"name": "f", "parameters": {"type": "objec"}}]}, "Record 2 has no sound JSON schema"),
        ({**RECORD, "call": {"name": "f"}}, "has no function call as 'call'"),
        ({**RECORD, "conversations": [{"from": "me", "value": "x"}]}, "'from': one of human"),
        ({**RECORD, "conversations": [{"from": "function_call", "value": "x"}]}, "has no function call as turn 1"),
        ({"tools": TOOLS, "call": RECORD["call"]}, "needs a question"),
    ],
)
def test_faulty_records_are_told(record, message):
    with pytest.raises(DataError, match=message):
        measured(ScriptedModel({}), [RECORD, record])


def test_conversations_without_calls_leave_nothing():
    talk = {"input": "[]", "conversations": [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "hello"}]}
    with pytest.raises(DataError, match="No record has a function_call"):
        measured(ScriptedModel({}), [talk])
    assert measured(ScriptedModel({}, "x"), [talk, RECORD]).values[0]["num_items"] == 1

"""pass@k: the estimate, and on HumanEval right solutions pass and broken ones do not."""

import itertools
import json

import pytest

from mixlaw.errors import ConfigError, DataError
from mixlaw.evaluate import EVALUATORS
from mixlaw.evaluate.pass_at_k import pass_at_k
from mixlaw.text.records import read_records

from scripted_model import TOKENIZER, ScriptedModel
from shared import corpora

ADD = {
    "task_id": "add",
    "prompt": "def add(a, b):\n",
    "test": "def check(f):\n    assert f(2, 3) == 5",
    "entry_point": "add",
}
SUB = {**ADD, "task_id": "sub", "prompt": "def sub(a, b):\n", "entry_point": "sub"}


def measured(model, records, **options):
    evaluator = EVALUATORS.make("pass_at_k", {"run_code": True, **options})
    return evaluator(model, {"code": evaluator.prepare(records, TOKENIZER)})


def values(result):
    return {row["metric"]: row["value"] for row in result.values}


def test_the_estimate_is_the_share_of_draws_with_one_that_passed():
    for samples in range(1, 8):
        for passed in range(samples + 1):
            for k in range(1, samples + 1):
                draws = list(itertools.combinations([True] * passed + [False] * (samples - passed), k))
                assert pass_at_k(samples, passed, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)
    assert pass_at_k(10_000, 1, 100) == pytest.approx(0.01, abs=1e-12)
    assert pass_at_k(10_000, 5_000, 1_000) == 1


def test_k_above_the_samples_is_refused():
    with pytest.raises(ConfigError, match="k must be from 1 to 3"):
        pass_at_k(3, 1, 4)
    with pytest.raises(ConfigError, match="samples at least k"):
        EVALUATORS.make("pass_at_k", {"run_code": True, "k": 5, "samples": 3, "temperature": 0.8})


def test_nothing_runs_unless_it_was_allowed():
    for options in ({}, {"run_code": False, "k": 3}):
        with pytest.raises(ConfigError, match=r"would run \d Python program.*Set run_code: true"):
            EVALUATORS.make("pass_at_k", options)
    with pytest.raises(ConfigError, match="temperature above 0"):
        EVALUATORS.make("pass_at_k", {"run_code": True, "k": 2})
    with pytest.raises(ConfigError, match="Did you mean 'seconds'"):
        EVALUATORS.make("pass_at_k", {"run_code": True, "limits": {"second": 3}})
    with pytest.raises(ConfigError, match="positive"):
        EVALUATORS.make("pass_at_k", {"run_code": True, "limits": {"memory": 0}})


def test_every_sample_is_drawn_anew_and_counted():
    model = ScriptedModel(
        {
            "def add": ["    return a + b", "    return a - b", "    return b + a", "    return a * b"],
            "def sub": ["    return a - b", "    return c", "    import sys; sys.exit(0)", "    return 5"],
        }
    )
    result = measured(model, [ADD, SUB], k=2, samples=4, temperature=0.5)
    # of add 2 of 4 pass: 1 - C(2, 2) / C(4, 2) = 5 / 6; of sub 1 of 4: 1 - C(3, 2) / C(4, 2) = 1 / 2
    assert [row["value"] for row in result.items if row["metric"] == "pass@2"] == pytest.approx([5 / 6, 1 / 2])
    assert values(result) == pytest.approx({"pass@2": 2 / 3, "timed_out": 0.0, "raised": 1 / 8})
    assert result.values[0]["num_items"] == 2


def test_what_follows_the_function_is_cut_off():
    model = ScriptedModel({"def add": "    return a + b\n\ndef other(:"})
    assert values(measured(model, [ADD]))["pass@1"] == 1
    assert values(measured(model, [ADD], stop=[]))["pass@1"] == 0


def test_records_need_their_keys():
    with pytest.raises(DataError, match="Record 2 needs the name of the function to check under 'entry_point'"):
        measured(ScriptedModel({}), [ADD, {k: v for k, v in ADD.items() if k != "entry_point"}])


def solved(records, spoil):
    answers = {json.dumps(r["prompt"])[1:-1]: r for r in records}
    assert len(answers) == len(records)
    model = ScriptedModel({r["prompt"]: spoil(r) for r in records})
    options = {"max_tokens": 2000, "stop": []}
    return [row["value"] for row in measured(model, records, **options).items if row["metric"] == "pass@1"]


def test_humaneval_solutions_pass_and_broken_ones_fail():
    records = read_records(corpora("eval/humaneval.jsonl.zst"))[:12]
    assert solved(records, lambda record: record["canonical_solution"]) == [1] * 12
    assert solved(records, lambda record: "    return None\n") == [0] * 12


@pytest.mark.slow
def test_all_of_humaneval():
    records = read_records(corpora("eval/humaneval.jsonl.zst"))
    assert solved(records, lambda record: record["canonical_solution"]) == [1] * 164
    assert solved(records, lambda record: "    return None\n") == [0] * 164
    assert solved(records, lambda record: "    return undefined_name\n") == [0] * 164

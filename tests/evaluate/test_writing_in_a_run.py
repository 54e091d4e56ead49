"""Evaluators that write, along a run: a proxy learns one sentence by heart, and its answers become observations."""

import json

import numpy as np
import pytest

from mixlaw import tokens
from mixlaw.data.mixture import Schedule
from mixlaw.data.observations import Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, DataError
from mixlaw.text.records import read_records, records_hash

pytest.importorskip("torch")

from mixlaw.train import TorchTrainer

SENTENCE = 'Question: and?\nAnswer: {"a": 1}\n\n'


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    root = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(0)  # numbers tell documents apart, or they would be near duplicates
    lines = [json.dumps({"text": SENTENCE * 8 + " ".join(map(str, rng.integers(0, 99, 40)))}) for _ in range(60)]
    (root / "one.jsonl").write_text("\n".join(lines))
    corpus = tokens.build({"one": str(root / "one.jsonl")}, root / "study", vocab_size=300, validation_tokens=256)
    return corpus, root / "study" / "tokens"


def evaluator(folder, name, records, **options):
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    tasks = {name: {"path": str(path), "hash": records_hash(read_records(path))}}
    return {"name": name, "options": options, "at": [0.05, 1.0], "tasks": tasks}


def spec_of(corpus, evaluators):
    return RunSpec(
        Schedule.constant({"one": 1.0}),
        tokens=60 * 4 * 128,
        model={"width": 32, "layers": 2, "heads": 2, "mlp_width": 64},
        batch=4,
        context=128,
        learning_rate={"name": "constant", "peak": 1e-2},
        corpus_hash=corpus.hash,
        evaluation_hash=corpus.evaluation_hash,
        evaluators=evaluators,
    )


def test_what_a_run_writes_is_judged_at_its_checkpoints(text, tmp_path):
    asked = {"question": "and?", "answer": '{"a": 1}'}
    written = {"max_tokens": 16, "stop": ["\n\n"], "template": "Question: {question}\nAnswer:"}
    problem = {"prompt": "def f():\n", "test": "def check(f):\n    assert f()", "entry_point": "f"}
    spec = spec_of(
        text[0],
        [
            evaluator(tmp_path, "exact_match", [asked] * 2, extract="whole", **written),
            evaluator(tmp_path, "formatted_output", [{"question": "and?"}], **written),
            evaluator(
                tmp_path,
                "instruction_following",
                [{"question": "and?", "instructions": [{"name": "json_only"}]}],
                **written,
            ),
            evaluator(tmp_path, "long_context", [{"text": "x y z"}], distances=[4], repeats=4, alternatives=2),
            evaluator(tmp_path, "pass_at_k", [problem], run_code=True, max_tokens=8),
        ],
    )
    TorchTrainer(*text).run(spec, tmp_path / spec.id)
    observations = Observations.load(tmp_path / spec.id)
    found = {(row["step"], row["metric"]): row for row in observations.values.to_pylist()}
    for metric in ("exact_match", "valid_json", "prompt_strict", "instruction_loose"):
        assert found[3, metric]["value"] == 0, metric
        assert found[60, metric]["value"] == 1, metric
    assert found[60, "exact_match"]["unit"] == "fraction"
    assert found[60, "exact_match"]["num_items"] == 2
    assert found[60, "pass@1"]["value"] == 0
    assert 0 <= found[60, "retrieval_accuracy"]["value"] <= 1
    items = {row["target"] for row in observations.items.to_pylist()}
    assert items == {"exact_match", "formatted_output", "instruction_following", "long_context", "pass_at_k"}


def test_what_is_wrong_is_told_before_training(text, tmp_path):
    for name, records, options, error, message in (
        ("exact_match", [{"question": "a", "answer": "b"}], {"max_tokens": 128}, DataError, "Set max_tokens below 128"),
        ("pass_at_k", [{"prompt": "a"}], {}, ConfigError, "Set run_code: true"),
        ("function_calls", [{"prompt": "a"}], {}, DataError, "Record 1 needs 'tools'"),
    ):
        spec = spec_of(text[0], [evaluator(tmp_path, name, records, **options)])
        with pytest.raises(error, match=message):
            TorchTrainer(*text).run(spec, tmp_path / spec.id)
        assert not (tmp_path / spec.id / "checkpoints").exists()

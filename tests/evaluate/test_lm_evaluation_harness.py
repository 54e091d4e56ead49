"""Tasks of the lm-evaluation-harness on models whose answers are known, from local files only."""

import json
import math

import numpy as np
import pytest

from mixlaw.errors import ConfigError, DataError
from mixlaw.evaluate import EVALUATORS
from mixlaw.evaluate.tasks.harness_model import HarnessModel

from scripted_model import TOKENIZER, ScriptedModel

QUESTIONS = [
    {"question": "red or blue, said red", "choices": ["red", "blue"], "right": 0},
    {"question": "one or two, said two", "choices": ["one", "two"], "right": 1},
    {"question": "yes or no, said yes", "choices": ["no", "yes"], "right": 1},
]


class Request:
    def __init__(self, *args):
        self.args = args


class Liking(ScriptedModel):
    """Each token costs one nat, and the texts that it likes a tenth."""

    def __init__(self, liked=(), answers=(), default=""):
        super().__init__(dict(answers), default)
        self.liked = liked

    def loss_per_item(self, items):
        texts = [TOKENIZER.decode(item.tokens[item.scored_from :]) for item in items]
        return np.array([0.1 if text in self.liked else 1.0 for text in texts])


def number_of_tokens(text):
    return len(next(iter(TOKENIZER.encode([text])))[0]) - 1


def test_loglikelihoods_are_sums_over_the_continuation():
    model = HarnessModel(Liking(liked=[" blue"], default=" blue"))
    pairs = [("the sky is", " blue"), ("the sky is", " red"), ("", "blue"), ("the sky is", "less")]
    found = model.loglikelihood([Request(*pair) for pair in pairs])
    expected = [-0.1 * number_of_tokens(" blue"), -number_of_tokens(" red"), -number_of_tokens("blue")]
    assert [value for value, _ in found[:3]] == pytest.approx(expected)
    assert found[3][0] == pytest.approx(-number_of_tokens("less"), abs=1)  # no blank is put before it
    assert [greedy for _, greedy in found] == [True, False, False, False]
    assert model.loglikelihood([]) == []


def test_a_greedy_continuation_has_all_of_its_tokens():
    model = HarnessModel(Liking(default=" blue and green"))
    found = model.loglikelihood([Request("sky", text) for text in (" blue and green", " blue and", " blue and red")])
    assert [greedy for _, greedy in found] == [True, True, False]


def test_rolling_counts_every_token_once_in_any_context():
    text = "a text of a few words, and numbers 0 1 2 3" * 5
    for context in (None, 16, 7):
        model = HarnessModel(Liking(), context)
        assert model.loglikelihood_rolling([Request(text), Request("a")]) == pytest.approx(
            [-number_of_tokens(text), -number_of_tokens("a")]
        )


def test_writing_ends_at_until_and_draws_anew():
    scripted = Liking(answers={"p": [" one\n\nmore", " two. and"]})
    model = HarnessModel(scripted, context=200)
    options = {"until": ["\n\n", "."], "do_sample": True, "temperature": 0.7, "max_gen_toks": 20}
    asked = [Request("p", options), Request("p", options), Request("q", {"until": "x"})]
    assert model.generate_until(asked) == [" one", " two", ""]


@pytest.mark.slow
def test_it_has_what_the_library_asks_of_a_model():
    lm = pytest.importorskip("lm_eval.api.model").LM
    for name in lm.__abstractmethods__ | {"rank", "world_size"}:
        assert hasattr(HarnessModel, name), name


def test_faulty_records_and_options_are_told():
    with pytest.raises(ConfigError, match="at least 1"):
        EVALUATORS.make("lm_evaluation_harness", {"limit": 0})
    evaluator = EVALUATORS.make("lm_evaluation_harness")
    for record, message in (
        ({"name": "arc"}, "Record 1 needs the name of a task of lm_eval under 'task'"),
        ({"task": "arc_easy", "num_fewshot": -1}, "'num_fewshot'"),
        ({"config": {"dataset_path": "json"}}, "its name as 'task'"),
    ):
        with pytest.raises(DataError, match=message):
            evaluator.prepare([record], TOKENIZER)


def config(tmp_path, name, **fields):
    file = tmp_path / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return {
        "config": {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(file)}, "cache_dir": str(tmp_path / "cache")},
            "test_split": "test",
            "doc_to_text": "Question: {{question}}\nAnswer:",
            **fields,
        }
    }


@pytest.fixture
def offline(monkeypatch, tmp_path):
    pytest.importorskip("lm_eval")
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")


@pytest.mark.slow
def test_a_task_of_each_kind(tmp_path, offline):
    records = [
        config(
            tmp_path,
            "pick",
            output_type="multiple_choice",
            doc_to_choice="{{choices}}",
            doc_to_target="{{right}}",
            metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        ),
        config(
            tmp_path,
            "say",
            output_type="generate_until",
            doc_to_target="{{choices[right]}}",
            generation_kwargs={"until": ["\n"], "max_gen_toks": 10},
            metric_list=[
                {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True}
            ],
            filter_list=[{"name": "bare", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}],
        ),
        config(
            tmp_path,
            "read",
            output_type="loglikelihood_rolling",
            doc_to_text="",
            doc_to_target="{{question}}",
            metric_list=[{"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False}],
        ),
    ]
    model = Liking(
        liked=[" red", " two", " no"], answers={"said red": " Red\n", "said two": " three", "said yes": " yes"}
    )
    evaluator = EVALUATORS.make("lm_evaluation_harness")
    questions = evaluator.prepare(records, TOKENIZER, 400)
    result = evaluator(model, {"mine": questions})
    found = {(row["target"], row["metric"]): row for row in result.values}
    assert found["mine/pick", "acc"]["value"] == pytest.approx(2 / 3)
    assert found["mine/pick", "acc"]["num_items"] == 3
    assert found["mine/pick", "acc"]["unit"] == "fraction"
    assert found["mine/pick", "acc"]["std"] == pytest.approx(math.sqrt(2 / 9 / 2))
    assert found["mine/say", "exact_match,bare"]["value"] == pytest.approx(2 / 3)
    size = sum(len(row["question"].encode()) for row in QUESTIONS)
    nats = sum(number_of_tokens(row["question"]) for row in QUESTIONS)
    assert found["mine/read", "bits_per_byte"]["value"] == pytest.approx(nats / size / math.log(2))
    items = {row["item"]: row["value"] for row in result.items if row["metric"] == "acc"}
    assert items == {"pick/0": 1, "pick/1": 1, "pick/2": 0}
    # once more with the same prepared tasks, as at a later checkpoint, and with a limit
    again = evaluator(Liking(liked=[" blue"]), {"mine": questions[:1]})
    assert again.values[0]["target"] == "mine"
    assert again.values[0]["value"] < 2 / 3
    limited = EVALUATORS.make("lm_evaluation_harness", {"limit": 2})(model, {"mine": questions[:1]})
    assert limited.values[0]["num_items"] == 2
    assert limited.values[0]["value"] == 1


@pytest.mark.slow
def test_unknown_and_unsafe_tasks_are_refused(tmp_path, offline):
    evaluator = EVALUATORS.make("lm_evaluation_harness")
    with pytest.raises(DataError, match="Record 1 names the task 'no_such_task', which lm_eval cannot load"):
        evaluator.prepare([{"task": "no_such_task"}], TOKENIZER)
    unsafe = config(tmp_path, "runs", output_type="generate_until", doc_to_target="x", unsafe_code=True)
    with pytest.raises(DataError, match=r"runs.*pass_at_k"):
        evaluator.prepare([unsafe], TOKENIZER)


@pytest.mark.slow
def test_a_real_model_scores_as_multiple_choice_does(tmp_path, offline):
    """The library's accuracy against ours on the same prompts, with a proxy of random weights."""
    pytest.importorskip("torch")
    from mixlaw.models.architecture import architecture, build
    from mixlaw.models.torch_model import TorchModel

    made = architecture({"width": 32, "layers": 2, "heads": 2, "mlp_width": 64}, TOKENIZER.vocab_size)
    model = TorchModel(made, build(made).state_dict(), TOKENIZER)
    record = config(
        tmp_path,
        "pick",
        output_type="multiple_choice",
        doc_to_choice="{{choices}}",
        doc_to_target="{{right}}",
        metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    )
    evaluator = EVALUATORS.make("lm_evaluation_harness")
    theirs = evaluator(model, {"t": evaluator.prepare([record], TOKENIZER, 200)})
    ours = EVALUATORS.make("multiple_choice", {"template": "Question: {question}\nAnswer:"})
    rows = [{**row, "answer": row["right"]} for row in QUESTIONS]
    mine = ours(model, {"t": ours.prepare(rows, TOKENIZER, 200)})
    raw = [row["value"] for row in mine.items if row["metric"] == mine.values[0]["metric"]]
    assert [row["value"] for row in theirs.items if row["metric"] == "acc"] == raw

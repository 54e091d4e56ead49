"""Evaluators that compare likelihoods, against sums over the bytes of a bigram model worked out by hand."""

import math
import sys

import numpy as np
import pytest

from mixlaw.errors import ConfigError, DataError
from mixlaw.evaluate import EVALUATORS
from mixlaw.evaluate.tasks.scores import wilson
from mixlaw.text.records import read_records

from bigram_model import ENCODER, Bigrams
from shared import corpora

MODEL = Bigrams("the cat sat on the mat. the dog sat on the cat. " * 20)
BITS = 1 / math.log(2)


def measured(name, records, options=None, target="t", context=None):
    """{metric: row of the whole target}, and the evaluation."""
    evaluator = EVALUATORS.make(name, options)
    evaluation = evaluator(MODEL, {target: evaluator.prepare(records, ENCODER, context)})
    return {row["metric"]: row for row in evaluation.values if row["target"] == target}, evaluation


def test_minimal_pairs_count_pairs_whose_good_sentence_is_likelier():
    pairs = [("the cat sat", "the sat cxt", "a"), ("xqz", "the cat", "a"), ("the mat", "the mzt", "b"), ("s", "s", "b")]
    records = [{"sentence_good": good, "sentence_bad": bad, "UID": uid} for good, bad, uid in pairs]
    expected = [float(MODEL.nats("", good) < MODEL.nats("", bad)) for good, bad, _ in pairs]
    expected[3] = 0.5  # the same sentence twice
    rows, evaluation = measured("minimal_pairs", records)
    assert [item["value"] for item in evaluation.items] == expected == [1, 0, 1, 0.5]
    assert rows["accuracy"]["value"] == np.mean(expected)
    assert [(r["target"], r["value"], r["num_items"]) for r in evaluation.values[1:]] == [
        ("t/a", 0.5, 2), ("t/b", 0.75, 2)
    ]  # fmt: skip
    low, high = wilson(1, 2)
    assert evaluation.values[1]["std"] == (high - low) / 2


def test_the_four_scores_of_multiple_choice():
    choices = ["the cat sat on the mat", "q", "the"]
    record = {"question": "who sat", "choices": choices, "answer": "A"}
    template = "Q: {question}\nA:"
    after = np.array([-MODEL.nats("Q: who sat\nA:", f" {c}") for c in choices])
    alone = np.array([-MODEL.nats("A:", f" {c}") for c in choices])
    chars = np.array([len(c) for c in choices])
    expected = {
        "accuracy": after.argmax() == 0,
        "accuracy_per_char": (after / chars).argmax() == 0,
        "accuracy_per_byte": (after / chars).argmax() == 0,
        "accuracy_unconditional": (after - alone).argmax() == 0,
    }
    assert len({*expected.values()}) == 2  # the scores disagree here
    rows, _ = measured("multiple_choice", [record], {"template": template})
    assert {metric: bool(row["value"]) for metric, row in rows.items()} == expected
    umlauts = {"question": "who", "choices": ["äöü", "the cat"], "answer": 0}
    after = np.array([-MODEL.nats("Q: who\nA:", f" {c}") for c in umlauts["choices"]])
    rows, _ = measured("multiple_choice", [umlauts], {"template": template})
    assert rows["accuracy_per_char"]["value"] == float((after / [3, 7]).argmax() == 0)
    assert rows["accuracy_per_byte"]["value"] == float((after / [6, 7]).argmax() == 0)


def test_an_answer_in_any_of_its_forms_is_the_same_choice():
    forms = ["B", 1, "the mat"]
    records = [{"question": "where", "choices": ["a cat", "the mat"], "answer": form} for form in forms]
    records.append({"question": "where", "choices": {"text": ["a cat", "the mat"], "label": ["1", "2"]}, "answer": "2"})
    _, evaluation = measured("multiple_choice", records)
    assert {item["value"] for item in evaluation.items if item["metric"] == "accuracy"} == {1.0}


def test_the_gold_answer_in_bits_per_byte_and_nats_per_token():
    records = [
        {"question": "where is the cat?", "answer": "on the mat"},
        {"input": "and the dog?", "target": "the cät"},
    ]
    rows, evaluation = measured("gold_answer", records)
    prompts = ["Question: where is the cat?\nAnswer:", "Question: and the dog?\nAnswer:"]
    nats = [MODEL.nats(prompt, f" {answer}") for prompt, answer in zip(prompts, ("on the mat", "the cät"))]
    expected = np.array([nats[0] * BITS / 10, nats[1] * BITS / 8])
    assert rows["answer_bits_per_byte"]["value"] == pytest.approx(expected.mean())
    assert rows["answer_bits_per_byte"]["std"] == pytest.approx(expected.std(ddof=1) / math.sqrt(2))
    assert rows["answer_loss"]["value"] == pytest.approx((nats[0] / 11 + nats[1] / 9) / 2)
    assert len(evaluation.items) == 4


def test_a_prompt_is_taken_as_it_is():
    record = {"prompt": "the cat sat\n", "canonical_solution": "    on the mat"}
    rows, _ = measured("gold_answer", [record])
    expected = MODEL.nats("the cat sat\n", "    on the mat") * BITS / len("    on the mat")
    assert rows["answer_bits_per_byte"]["value"] == pytest.approx(expected)


def test_bits_per_byte_of_texts_weighs_them_by_their_bytes():
    texts = ["the cat sat on the mat", "xyz"]
    rows, _ = measured("bits_per_byte", [{"text": text} for text in texts])
    nats = [MODEL.nats("", text) for text in texts]
    assert rows["bits_per_byte"]["value"] == pytest.approx(sum(nats) * BITS / 25)
    shares, each = np.array([22, 3]) / 25, np.array(nats) * BITS / [22, 3]
    spread = math.sqrt(2 * np.sum((shares * (each - shares @ each)) ** 2))
    assert rows["bits_per_byte"]["std"] == pytest.approx(spread)


def test_the_in_context_gain_is_that_of_the_examples():
    """A bigram model forgets all but the last byte: after examples it predicts as without."""
    records = [{"question": f"where is {n}?", "answer": "on the mat"} for n in range(6)]
    rows, evaluation = measured("in_context_gain", records, {"shots": 2})
    assert rows["in_context_gain"]["value"] == pytest.approx(0.0, abs=1e-12)
    assert evaluation.values[0]["shots"] == 2


def test_examples_come_from_the_group_and_never_are_the_question_itself():
    evaluator = EVALUATORS.make("in_context_gain", {"shots": 2})
    records = [
        {"question": f"{group}{n}", "answer": f"<{group}{n}>", "task": group} for group in "ab" for n in range(4)
    ]
    prepared = evaluator.prepare(records, ENCODER)
    for question in prepared:
        ids = question.sequences[1][0].tokens
        text = ENCODER.tokenizer.decode(ids[1:].tolist())
        shown = text.split("\n\n")[:-1]
        assert len(shown) == 2 and len({*shown}) == 2
        assert all(f"<{question.group}" in example for example in shown)
        assert question.record["answer"] not in "".join(shown)
    again = EVALUATORS.make("in_context_gain", {"shots": 2}).prepare(records, ENCODER)
    assert all(np.array_equal(a.sequences[1][0].tokens, b.sequences[1][0].tokens) for a, b in zip(prepared, again))


def test_examples_of_a_split_are_shown_and_never_scored():
    split = [("dev", "d"), ("dev", "e"), ("test", "f"), ("test", "g")]
    records = [{"question": f"where is {name}?", "answer": name, "split": split} for split, name in split]
    for name, options in (("gold_answer", {"shots": 1}), ("in_context_gain", {"shots": 2})):
        evaluator = EVALUATORS.make(name, {**options, "shot_split": "dev"})
        assert [q.record["answer"] for q in evaluator.prepare(records, ENCODER)] == ["f", "g"]
    with pytest.raises(
        DataError, match=r"shot_split='train' leaves 4 .* the splits of the records are \['dev', 'test'"
    ):
        EVALUATORS.make("gold_answer", {"shot_split": "train"}).prepare(records, ENCODER)
    with pytest.raises(DataError, match="has 2 other records with answers, and shots=3"):
        EVALUATORS.make("gold_answer", {"shots": 3, "shot_split": "dev"}).prepare(records, ENCODER)


def test_the_chain_of_thought_gain_is_that_of_the_rationale():
    records = [
        {"question": "two and two?", "answer": "2 + 2 is <<2+2=4>>4\n#### 4"},
        {"question": "none", "answer": "5"},  # no rationale: left out
    ]
    options = {"template": "{question}", "reasoning_template": "{question} {rationale} so"}
    rows, evaluation = measured("chain_of_thought_gain", records, options)
    without = MODEL.nats("two and two?", " 4")
    after = MODEL.nats("two and two? 2 + 2 is <<2+2=4>>4 so", " 4")
    assert rows["chain_of_thought_gain"]["value"] == pytest.approx((without - after) * BITS)
    assert [item["item"] for item in evaluation.items] == ["0"]
    with pytest.raises(DataError, match="No record gives a rationale"):
        measured("chain_of_thought_gain", records[1:])


def test_what_does_not_fit_into_the_context_is_cut_or_scored_in_pieces():
    record = {"question": "x" * 50, "answer": "on the mat"}
    rows, _ = measured("gold_answer", [record], context=20)
    assert rows["answer_bits_per_byte"]["value"] == pytest.approx(MODEL.nats("Answer:", " on the mat") * BITS / 10)
    long = {"text": "the cat sat on the mat. " * 10}
    for context in (7, 64, None):  # a bigram model needs one byte before: pieces lose nothing
        rows, _ = measured("bits_per_byte", [long], context=context)
        assert rows["bits_per_byte"]["value"] == pytest.approx(MODEL.nats("", long["text"]) * BITS / 240)


def test_a_function_of_the_user(tmp_path, monkeypatch):
    (tmp_path / "my_scores.py").write_text(
        "def length(model, records, factor=1.0):\n"
        "    return [factor * len(r['answer']) + 0 * model.tokenizer.end for r in records]\n"
        "def short(model, records):\n    return [1.0]\n"
        "def broken(model, records):\n    return 1 / 0\n"
        "def text(model, records):\n    return 'abc'\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    records = [{"answer": "abc"}, {"answer": "a"}]
    options = {"function": "my_scores:length", "metric": "chars", "unit": "characters", "options": {"factor": 2.0}}
    rows, evaluation = measured("callable", records, options)
    assert (rows["chars"]["value"], rows["chars"]["unit"]) == (4.0, "characters")
    assert [item["value"] for item in evaluation.items] == [6.0, 2.0]
    for name, match in (
        ("short", r"one finite number for each of the 2 records of 't', and gave '\[1.0\]'"),
        ("broken", "failed on the task 't': ZeroDivisionError"),
        ("text", "and gave 'abc'"),
    ):
        with pytest.raises(DataError, match=match):
            measured("callable", records, {"function": f"my_scores:{name}"})
    for function, match in (
        ("my_scores:nobody", "cannot be imported: AttributeError"),
        ("no_such_package:f", "cannot be imported: ModuleNotFoundError"),
        ("my_scores:number", "is int and cannot be called"),
        ("my_scores.length", "'package.module:function'"),
    ):
        with pytest.raises(ConfigError, match=match):
            EVALUATORS.make("callable", {"function": function})
    sys.modules.pop("my_scores", None)


@pytest.mark.parametrize(
    ("name", "record", "match"),
    [
        ("minimal_pairs", {"sentence_god": "a"}, r"Record 1 needs the acceptable sentence under 'sentence_good'"),
        ("minimal_pairs", {"sentence_good": "a", "sentence_bad": 3.5j}, "holds '3.5j' under 'sentence_bad'"),
        ("minimal_pairs", {"sentence_good": None}, "Record 1 holds null under 'sentence_good', where"),
        ("multiple_choice", {"question": "a", "choices": ["b"], "answer": "A"}, r"two texts, and has \['b'\] there"),
        ("multiple_choice", {"question": "a", "answer": "A"}, "two texts, and has nothing there"),
        ("multiple_choice", {"question": "a", "choices": ["b", "c"], "answer": "E"}, "has the answer 'E'"),
        ("multiple_choice", {"choices": ["b", "c"], "answer": "A"}, "needs a question under 'question' or 'problem'"),
        ("gold_answer", {"question": "a"}, "needs an answer under 'answer' or 'target'"),
        ("gold_answer", {"question": "a", "answer": ""}, "must be a text that is not empty"),
        ("bits_per_byte", {"txt": "a"}, "Record 1 needs a text under 'text'.*Did you mean 'txt'"),
        ("loss", {}, "needs a text under 'text'"),
    ],
)
def test_a_record_of_another_form_is_named(name, record, match):
    with pytest.raises(DataError, match=match):
        EVALUATORS.make(name).prepare([record], ENCODER)


@pytest.mark.parametrize(
    "name",
    ["loss", "bits_per_byte", "minimal_pairs", "multiple_choice", "gold_answer", "in_context_gain"],
)
def test_no_records_no_items_and_no_tokenizer(name):
    evaluator = EVALUATORS.make(name, {"run_code": True} if name == "pass_at_k" else None)
    with pytest.raises(DataError, match="no records"):
        evaluator.prepare([], ENCODER)
    with pytest.raises(DataError, match="'empty' has no items"):
        evaluator(MODEL, {"empty": []})


def test_without_a_tokenizer_texts_cannot_be_scored():
    with pytest.raises(DataError, match=r"has no tokenizer.*corpus\.tokenizer"):
        EVALUATORS.make("gold_answer").prepare([{"question": "a", "answer": "b"}], None)


@pytest.mark.parametrize(
    ("options", "match"), [({"shots": -1}, "shots >= 0"), ({"template": "Q"}, "a template with {question}")]
)
def test_options_out_of_range(options, match):
    for name in ("multiple_choice", "gold_answer", "in_context_gain"):
        with pytest.raises(ConfigError, match=match.replace(">= 0", ">= [01]")):
            EVALUATORS.make(name, options)


def test_the_files_of_the_shared_folder_are_read_as_they_are():
    for file, name, options, count in (
        ("mmlu", "multiple_choice", {"shots": 2, "shot_split": "dev"}, 1000),
        ("gsm8k_test", "chain_of_thought_gain", {}, 200),
        ("humaneval", "gold_answer", {}, 164),
        ("bbh", "gold_answer", {}, 300),
        ("blimp", "minimal_pairs", {}, 500),
    ):
        records = read_records(corpora(f"eval/{file}.jsonl.zst"))[-count:]
        if file == "mmlu":
            records = [r for r in read_records(corpora("eval/mmlu.jsonl.zst")) if r["subject"] == "abstract_algebra"]
        rows, _ = measured(name, records, options, context=1024)
        first = next(iter(rows.values()))
        assert first["num_items"] == (100 if file == "mmlu" else count)
        assert np.isfinite(first["value"]) and first["std"] > 0

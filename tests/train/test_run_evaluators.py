"""Evaluators along a run: at the steps that the spec says, once each, in the run's observations."""

import json

import pytest

from mixlaw import tokens
from mixlaw.data.mixture import Schedule
from mixlaw.data.observations import Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, DataError, RunStopped
from mixlaw.text.records import read_records, records_hash

pytest.importorskip("torch")

from mixlaw.train import TorchTrainer
from mixlaw.train.command_trainer import CommandTrainer

MODEL = {"width": 16, "layers": 1, "heads": 2, "mlp_width": 32}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A corpus of two tiny domains with a tokenizer: (corpus, folder of tokens)."""
    root = tmp_path_factory.mktemp("text")
    for name, sentence in (("cats", "the cat sat on the mat and the cats sit on mats"), ("sums", "one and one is two")):
        lines = [json.dumps({"text": f"{sentence} {number}. " * 20}) for number in range(60)]
        (root / f"{name}.jsonl").write_text("\n".join(lines))
    corpus = tokens.build(
        {name: str(root / f"{name}.jsonl") for name in ("cats", "sums")},
        root / "study",
        vocab_size=300,
        validation_tokens=256,
    )
    return corpus, root / "study" / "tokens"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A file of eight minimal pairs in two groups."""
    path = tmp_path_factory.mktemp("tasks") / "pairs.jsonl"
    records = [
        {"sentence_good": "the cat sat", "sentence_bad": "the sat cat", "UID": f"order-{n % 2}", "pairID": n}
        for n in range(8)
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def evaluator(path, name="minimal_pairs", target="pairs", **changes):
    tasks = {target: {"path": str(path), "hash": records_hash(read_records(path))}}
    return {"name": name, "options": {}, "at": [0.5, 1.0], "tasks": tasks, **changes}


def spec_of(corpus, *evaluators, steps=10):
    return RunSpec(
        Schedule.constant({"cats": 0.5, "sums": 0.5}),
        tokens=steps * 4 * 32,
        model=MODEL,
        batch=4,
        context=32,
        learning_rate={"name": "constant", "peak": 1e-2},
        corpus_hash=corpus.hash,
        evaluation_hash=corpus.evaluation_hash,
        evaluators=evaluators,
    )


def rows_of(folder, target="pairs"):
    return [row for row in Observations.load(folder).values.to_pylist() if row["target"].split("/")[0] == target]


def test_they_are_measured_at_their_steps_with_their_items(text, pairs, tmp_path):
    spec = spec_of(text[0], evaluator(pairs))
    TorchTrainer(*text).run(spec, tmp_path / spec.id)
    rows = rows_of(tmp_path / spec.id)
    assert [(row["step"], row["target"], row["num_items"]) for row in rows] == [
        (5, "pairs", 8), (5, "pairs/order-0", 4), (5, "pairs/order-1", 4),
        (10, "pairs", 8), (10, "pairs/order-0", 4), (10, "pairs/order-1", 4),
    ]  # fmt: skip
    assert {(row["metric"], row["unit"]) for row in rows} == {("accuracy", "fraction")}
    assert rows[0]["tokens"] == 5 * 4 * 32 and rows[-1]["target_hash"] == spec.evaluators[0]["tasks"]["pairs"]["hash"]
    items = Observations.load(tmp_path / spec.id).items.to_pylist()
    assert len(items) == 16
    for row in rows[::3]:
        assert row["value"] == sum(i["value"] for i in items if i["step"] == row["step"]) / 8
    assert not (tmp_path / spec.id / "evaluations").exists()


def test_losses_of_the_run_are_those_without_evaluators(text, pairs, tmp_path):
    specs = [spec_of(text[0]), spec_of(text[0], evaluator(pairs))]
    for spec in specs:
        TorchTrainer(*text).run(spec, tmp_path / spec.id)
    plain, beside = (
        [
            (r["step"], r["target"], r["metric"], r["value"])
            for r in rows.values.to_pylist()
            if r["metric"] != "accuracy"
        ]
        for rows in (Observations.load(tmp_path / spec.id) for spec in specs)
    )
    assert plain == beside


def test_a_run_that_was_cut_off_has_the_rows_of_one_that_was_not(text, pairs, tmp_path):
    spec = spec_of(text[0], evaluator(pairs))
    TorchTrainer(*text).run(spec, tmp_path / "whole")
    stopped = []

    def after(step):
        return lambda: stopped.append(1) or len(stopped) == step

    trainer = TorchTrainer(*text)
    for step in (3, 4):  # before the first evaluation at step 5, and after it
        stopped.clear()
        with pytest.raises(RunStopped):
            trainer.run(spec, tmp_path / "cut", should_stop=after(step))
    trainer.run(spec, tmp_path / "cut")
    whole, cut = (Observations.load(tmp_path / name) for name in ("whole", "cut"))
    assert cut.items.equals(whole.items)
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")


def test_the_id_holds_the_content_of_the_file_and_not_its_place(text, pairs, tmp_path):
    spec = spec_of(text[0], evaluator(pairs))
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_text(pairs.read_text())
    assert spec_of(text[0], evaluator(moved)).id == spec.id
    moved.write_text(pairs.read_text().replace("mat", "hat").replace("the cat sat", "a cat sat"))
    assert spec_of(text[0], evaluator(moved)).id != spec.id
    assert RunSpec.from_dict(spec.to_dict()).id == spec.id


def test_what_cannot_be_measured_is_told_before_training(text, pairs, tmp_path):
    trainer = TorchTrainer(*text)

    def refused(match, *evaluators, error=ConfigError, trainer=trainer):
        with pytest.raises(error, match=match):
            trainer.check(spec_of(text[0], *evaluators))

    refused("minimal_pears.*Did you mean 'minimal_pairs'", evaluator(pairs, "minimal_pears"))
    refused("has no option 'shots'", evaluator(pairs, options={"shots": 3}))
    refused("nothing to measure", {"name": "minimal_pairs"})
    refused("'cats' .* name of a validation set", evaluator(pairs, target="cats"))
    refused("'pairs' twice", evaluator(pairs), evaluator(pairs))
    refused("Record 1 needs a text under 'text'", evaluator(pairs, "loss"), error=DataError)
    changed = tmp_path / "changed.jsonl"
    changed.write_text(pairs.read_text())
    given = evaluator(changed)
    changed.write_text(pairs.read_text() + '\n{"sentence_good": "a", "sentence_bad": "b"}')
    refused("holds other records than when the run was designed", given, error=DataError)
    changed.unlink()
    refused("does not exist", given, error=DataError)
    refused("no .*tokenizer.json", evaluator(pairs), error=DataError, trainer=TorchTrainer(text[0], tmp_path))
    with pytest.raises(ConfigError, match="cannot do what this run asks for: evaluators"):
        CommandTrainer(text[0], text[1], "train {spec} {metrics}").check(spec_of(text[0], evaluator(pairs)))


def test_a_run_that_diverges_keeps_what_was_measured_before(text, pairs, tmp_path):
    spec = spec_of(text[0], evaluator(pairs, at=[0.1, 1.0])).replace(
        learning_rate={"name": "constant", "peak": 1e3}, optimizer={"name": "adamw", "clip": 1e9}
    )
    TorchTrainer(*text).run(spec, tmp_path / spec.id)
    assert Observations.load(tmp_path / spec.id).runs["status"].to_pylist() == ["diverged"]
    assert {row["step"] for row in rows_of(tmp_path / spec.id)} == {1}

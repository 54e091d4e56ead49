"""A study whose runs are scored on tasks: from study.yaml to values, items, the report, and scores after the fact."""

import json

import pytest
from typer.testing import CliRunner

from mixlaw.cli.app import app
from mixlaw.data.observations import Observations
from mixlaw.data.seams import TRAINERS
from mixlaw.errors import ConfigError, DataError
from mixlaw.study.config import parse_config
from mixlaw.study.runs import table
from mixlaw.study.steps.train import trainer
from mixlaw.study.study import Study

pytest.importorskip("torch")

SENTENCES = {"cats": "the cat sat on the mat and the cats sit on mats", "sums": "one and one is two and two is more"}
PAIRS = [{"sentence_good": f"the {n} sat on", "sentence_bad": f"sat {n} the on", "UID": n} for n in ("cat", "dog")]
SUMS = [{"question": f"{n} and one", "choices": ["two", "mat"], "answer": "A"} for n in ("one", "two", "three")]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("scored")
    for name, sentence in SENTENCES.items():
        lines = [json.dumps({"text": f"{sentence} {number}. " * 20}) for number in range(60)]
        (root / f"{name}.jsonl").write_text("\n".join(lines))
    (root / "pairs.jsonl").write_text("\n".join(map(json.dumps, PAIRS)))
    (root / "sums.json").write_text(json.dumps(SUMS))
    study = Study.create(
        root / "study",
        {
            "corpus": {
                "domains": {name: f"{name}.jsonl" for name in SENTENCES},
                "vocab_size": 300,
                "validation_tokens": 256,
            },
            "objective": {"cats": 1.0, "sums": 1.0},
            "budget": {"tokens": "1M"},
            "training": {
                "model": {"width": 16, "layers": 1, "heads": 2, "mlp_width": 32},
                "tokens": 8 * 4 * 32,
                "batch": 4,
                "context": 32,
                "evaluations": 2,
                "simulated_epoching": False,
            },
            "design": {"num": 4, "replicates": 0},
            "law": {"name": "log_linear"},
            "evaluators": [
                {"name": "minimal_pairs", "tasks": {"pairs": "pairs.jsonl"}, "at": [0.5, 1.0]},
                {"name": "multiple_choice", "tasks": {"sums-quiz": "sums.json"}, "options": {"shots": 1}},
            ],
        },
    )
    study.tokenize()
    for spec in study.design():  # in this process: starting others would take longer than the runs
        trainer(study).run(spec, study.folder / "runs" / spec.id)
    return study


def said(*words):
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_scores_are_observations_that_no_law_of_losses_sees(study):
    observations = study.observations()
    rows = [r for r in observations.values.to_pylist() if r["num_items"] is not None]
    assert {(r["target"], r["metric"], r["step"]) for r in rows} == {
        *((target, "accuracy", step) for target in ("pairs", "pairs/cat", "pairs/dog") for step in (4, 8)),
        *(
            ("sums-quiz", m, 8)
            for m in ("accuracy", "accuracy_per_char", "accuracy_per_byte", "accuracy_unconditional")
        ),
    }
    assert observations.items.num_rows == 4 * (2 * 2 + 4 * 3)
    X, y = observations.table(["pairs"], metric="accuracy")
    assert X.num_rows == 4 and X.column_names == ["cats", "sums"] and y.column_names == ["pairs"]
    assert table(study)[1].column_names == ["cats", "sums"]  # what a law is fitted to
    page = study.report().read_text()
    assert 'id="skills"' in page and "sums-quiz" in page


def test_a_finished_run_is_scored_again_apart_from_what_it_measured(study):
    run = study.specs()[0].id
    before = study.observations()
    out = said("evaluate", study.folder, run[:10])
    again = Observations.load(study.folder / "evaluations" / run)
    known = {(r["target"], r["metric"]): r for r in before.values.to_pylist() if r["run"] == run and r["step"] == 8}
    rows = again.values.to_pylist()
    assert len(rows) == 7
    for row in rows:
        assert row["value"] == known[row["target"], row["metric"]]["value"]
        assert row["source"] == "measured after training" and row["step"] == 8 and row["tokens"] == 8 * 4 * 32
    assert "± " in out and "fraction (3 items)" in out and "pairs/cat" not in out and "with 2 parts of tasks" in out
    for name in ("cats", "sums"):
        assert f"{known[name, 'loss']['value']:.4f} nats per token" in out
    assert study.observations().values.equals(before.values) and study.observations().items.equals(before.items)
    study.export_model(run, study.folder / "exported")
    elsewhere = study.evaluate_tasks(study.folder / "exported")
    assert [r["value"] for r in elsewhere.values.to_pylist()] == [r["value"] for r in rows]
    (name,) = elsewhere.runs["run"].to_pylist()
    assert name.startswith("exported-") and (study.folder / "evaluations" / name).is_dir()
    with pytest.raises(ConfigError, match="no file or folder 'zzz', and 'zzz' is not the id of one run"):
        study.evaluate("zzz")


def test_another_content_of_a_task_is_another_run(study):
    path = study.folder.parent / "pairs.jsonl"
    content, ids = path.read_text(), [spec.id for spec in study.specs()]
    try:
        path.write_text(content.replace("cat", "rat"))
        assert "other settings (evaluators)" in study.stale()["design"]
        path.unlink()
        with pytest.raises(DataError, match=r"study\.yaml, evaluators\.0\.tasks\.pairs: .* does not exist"):
            study.template()
    finally:
        path.write_text(content)
    assert [spec.id for spec in study.specs()] == ids and "design" not in study.stale()


@pytest.mark.parametrize(
    ("training", "match"),
    [
        ({"trainer": "command", "command": "train {spec} {metrics}"}, "'command' cannot do .* evaluators="),
        ({"trainer": "silent"}, "'silent' does not say whether it runs them"),
    ],
)
def test_a_trainer_that_runs_no_evaluators_is_refused_where_runs_are_designed(study, tmp_path, training, match):
    class Silent:
        def __init__(self, corpus, tokens_root):
            pass

        def run(self, spec, folder):
            raise AssertionError("nothing is trained here")

    if "silent" not in TRAINERS:
        TRAINERS.register("silent", Silent)
    config = study.config.model_dump(mode="json")
    corpus = {"counts": {"cats": "1M", "sums": "1M"}}
    tasks = {"pairs": str(study.folder.parent / "pairs.jsonl")}
    evaluators = [{"name": "minimal_pairs", "tasks": tasks}]
    other = Study.create(
        tmp_path / "other", {**config, "corpus": corpus, "evaluators": evaluators, "training": {**training}}
    )
    other.tokenize()
    with pytest.raises(ConfigError, match=match):
        other.design()


@pytest.mark.parametrize(
    ("evaluators", "match"),
    [
        ([{"name": "minimal_pears", "tasks": {"a": "b.jsonl"}}], "Did you mean 'minimal_pairs'"),
        ([{"name": "minimal_pairs"}], "'evaluators.0.tasks' is missing"),
        ([{"name": "minimal_pairs", "tasks": {}}], r"evaluators\.0\.tasks: must be names with one file each"),
        ([{"name": "minimal_pairs", "tasks": {"a": "b"}, "at": [0.0]}], "must be fractions of the run"),
        ([{"name": "minimal_pairs", "tasks": {"a": "b"}, "when": 1}], "unknown key 'evaluators.0.when'"),
        ([{"name": "multiple_choice", "tasks": {"a": "b"}, "options": {"shot": 1}}], "Did you mean 'shots'"),
        ([{"name": "multiple_choice", "tasks": {"a": "b"}, "options": {"shots": "many"}}], "must be a whole number"),
    ],
)
def test_what_study_yaml_may_not_say(evaluators, match):
    given = {"corpus": {"counts": {"a": "1B"}}, "objective": {"a": 1}, "budget": {"tokens": "1B"}}
    with pytest.raises(ConfigError, match=match):
        parse_config({**given, "evaluators": evaluators}, "study.yaml")

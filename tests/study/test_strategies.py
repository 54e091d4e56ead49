"""Strategies side by side in a study: what is trained before, what is paid, and what is said."""

import json
import random

import pytest
from typer.testing import CliRunner

from mixlaw.cli.app import app
from mixlaw.data.comparison import Comparison, StrategyArm
from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError
from mixlaw.study.config import StudyConfig
from mixlaw.study.steps.strategies import comparison
from mixlaw.study.study import Study
from mixlaw.verify.compared import comparison_text, difference

STEP = 4 * 32


def corpus(folder, count=3):
    rng, paths = random.Random(1), {}
    for name, letters in list(zip(("web", "code", "law"), ("aeiou", "aeiptd", "szfvh")))[:count]:
        lines = [
            json.dumps({"text": " ".join("".join(rng.choices(letters, k=4)) for _ in range(30))}) for _ in range(120)
        ]
        paths[name] = str(folder / f"{letters}.jsonl")
        (folder / f"{letters}.jsonl").write_text("\n".join(lines))
    return paths


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("strategies")
    study = Study.create(
        folder / "s",
        {
            "corpus": {"domains": corpus(folder), "vocab_size": 300, "validation_tokens": 256},
            "objective": {"web": 1.0, "code": 1.0, "law": 2.0},
            "budget": {"tokens": 240 * STEP, "caps": {"law": 0.6}},
            "training": {
                "model": {"layers": 1, "width": 32, "heads": 2},
                "tokens": 240 * STEP,
                "batch": 4,
                "context": 32,
                "learning_rate": {"name": "wsd", "peak": 1e-2},
                "evaluations": 1,
            },
            "executor": {"name": "local", "workers": 1},
        },
    )
    study.tokenize()
    return study


@pytest.fixture(scope="module")
def compared(study):
    graph = {"web": {"web": 1, "code": 1}, "code": {"code": 1}, "law": {"law": 1}}
    taught = {"name": "skill_it", "label": "taught", "options": {"graph": graph}}
    return study.compare(["stratified", "replan", "doremi", taught, "skill_it"])


@pytest.mark.slow
def test_every_strategy_costs_the_same_and_no_more_than_the_budget(study, compared):
    assert list(compared.arms) == ["uniform", "replan", "doremi", "taught", "skill_it"]
    for label, arm in compared.arms.items():
        assert arm.tokens <= compared.tokens, label
        assert arm.lost or arm.tokens >= 0.97 * compared.tokens, label
    assert compared.arms["uniform"].search == compared.arms["taught"].search == 0
    quarter = 0.25 * compared.tokens
    assert quarter - 3 * STEP < compared.arms["doremi"].search <= quarter  # two runs of whole steps, and a reading
    assert compared.arms["skill_it"].search == pytest.approx(quarter, rel=0.02)


@pytest.mark.slow
def test_a_graph_that_is_learned_has_edges_or_the_strategy_is_told_to_be_lost(compared):
    arm = compared.arms["skill_it"]
    (reason,) = arm.lost.values() if arm.lost else ("",)
    assert arm.objective or "no edge" in reason


@pytest.mark.slow
def test_what_is_said_to_be_spent_is_what_the_runs_say(study, compared):
    for arm in compared.arms.values():
        if arm.lost:
            continue
        (ids,) = arm.runs.values()
        rows = [Observations.load(study.folder / "runs" / run).runs.to_pylist()[0] for run in ids]
        trained = sum(row["tokens"] for row in rows)
        settings = [{k: v["number"] for k, v in row["settings"]} for row in rows]
        scored = sum(one.get("probe_tokens") or 0 for one in settings) / 3
        read = rows[1]["tokens"] / 3 if arm.strategy == "doremi" else 0  # the reference, on the proxy's tokens
        assert arm.tokens == pytest.approx(trained + scored + read, rel=0.01), arm.strategy


@pytest.mark.slow
def test_the_final_run_of_doremi_has_the_average_weights_of_its_proxy(study, compared):
    arm = compared.arms["doremi"]
    ((reference, proxy, final),) = arm.runs.values()
    told = Observations.load(study.folder / "runs" / proxy).values.to_pylist()
    average = {row["target"]: row["value"] for row in told if row["metric"] == "average_mixture_weight"}
    (mixture,) = arm.weights.values()
    assert mixture.to_dict() == pytest.approx(average, abs=1e-6)
    drawn = Observations.load(study.folder / "runs" / final).runs.to_pylist()[0]["realised"]
    share = sum(phase["fraction"] * dict(phase["weights"])["law"] for phase in drawn)
    assert share == pytest.approx(average["law"], abs=0.01)
    assert Observations.load(study.folder / "runs" / reference).runs["status"].to_pylist() == ["done"]


@pytest.mark.slow
def test_the_budget_s_limits_hold_for_a_strategy_that_plans(compared):
    (mixture,) = compared.arms["replan"].weights.values()
    assert mixture["law"] <= 0.6 + 1e-6


@pytest.mark.slow
def test_a_strategy_that_scores_more_than_it_trains_keeps_to_the_budget(study):
    found = study.compare([{"name": "doge", "label": "aimed", "options": {"towards": "objective"}}])
    arm = found.arms["aimed"]
    assert 0.95 * found.tokens <= arm.tokens <= found.tokens * 1.01


@pytest.mark.slow
def test_a_second_call_trains_nothing_again_and_keeps_other_arms(study, compared):
    before = {path: path.stat().st_mtime_ns for path in (study.folder / "runs").glob("*/DONE")}
    again = study.compare(["stratified"])
    assert {path: path.stat().st_mtime_ns for path in (study.folder / "runs").glob("*/DONE")} == before
    assert again.arms["doremi"] == compared.arms["doremi"]
    assert comparison(study).to_dict() == again.to_dict()


@pytest.mark.slow
def test_arms_of_another_objective_are_not_put_into_one_table(study, compared):
    settings, result = study.folder / "study.yaml", study.folder / "strategies.json"
    before = settings.read_text(), result.read_text()
    try:
        settings.write_text(before[0].replace("law: 2.0", "law: 9.0"))
        assert settings.read_text() != before[0]
        other = Study(study.folder).compare(["stratified"])
    finally:
        settings.write_text(before[0])
        result.write_text(before[1])
    assert list(other.arms) == ["uniform"]
    assert other.arms["uniform"].losses == compared.arms["uniform"].losses
    assert other.arms["uniform"].mean != compared.arms["uniform"].mean


@pytest.mark.slow
def test_an_altered_result_is_not_believed(study, compared, tmp_path):
    path = study.folder / "strategies.json"
    text = path.read_text()
    try:
        path.write_text(text.replace('"search": 0', '"search": 1', 1))
        with pytest.raises(DataError, match=r"strategies\.json"):
            comparison(study)
    finally:
        path.write_text(text)


@pytest.mark.slow
def test_what_is_wrong_is_explained(study):
    for names, options, words in (
        (["doremmi"], {}, r"Unknown strategy 'doremmi'.*doremi"),
        ([], {}, "No strategy was named"),
        (["natural"], {"search": 1.5}, r"in \(0, 1\), got 1 and 1\.5"),
        ([{"name": "odm", "options": {"iterations": 2}}], {}, "iterations=2 of the strategy 'odm'"),
        ([{"name": "odm", "options": {"reward": "lost"}}], {}, "lost"),
        (["doremi"], {"search": 0.01}, "fewer than 10 steps"),
        ([{"name": "doremi", "options": {"iterations": 99}}], {}, "lower iterations=99"),
        ([{"name": "doremi", "options": {"reference": "abc"}}], {}, "reference='abc'.*trains the reference itself"),
        (["odm", {"name": "odm", "options": {"reward": "progress"}}], {}, "Two strategies are called 'odm'.*progress"),
    ):
        with pytest.raises(ConfigError, match=words):
            study.compare(names, **options)
    with pytest.raises(DataError, match="optimize"):
        study.compare(["recipe"])


@pytest.mark.slow
def test_the_command_line_says_what_it_was_worth(study, compared):
    output = CliRunner().invoke(app, ["train", str(study.folder), "--strategy", "stratified", "--strategy", "doremi"])
    assert output.exit_code == 0, output.output
    assert "minus uniform" in output.output
    assert "before the final run" in output.output
    assert (study.folder / "strategies" / "doremi.png").stat().st_size > 1000
    wrong = CliRunner().invoke(app, ["train", str(study.folder), "--seeds", "3"])
    assert "--seeds goes with --strategy" in str(wrong.exception)
    wrong = CliRunner().invoke(app, ["train", str(study.folder), "--strategy", "odm", "--option", "aioli.eta=1"])
    assert "which no --strategy names" in str(wrong.exception)


def test_a_trainer_without_gradients_is_told_before_anything_is_trained(tmp_path):
    config = {
        "corpus": {"domains": corpus(tmp_path, 2), "vocab_size": 300, "validation_tokens": 256},
        "objective": {"web": 1.0},
        "budget": {"tokens": 100_000},
        "training": {"trainer": "command", "command": "true", "tokens": 100_000},
    }
    assert StudyConfig(**config).training.trainer == "command"
    study = Study.create(tmp_path / "s", config)
    study.tokenize()
    with pytest.raises(ConfigError, match=r"trainer 'command' cannot do .*strategy=.*doge"):
        study.compare(["doge"])
    assert not (tmp_path / "s" / "runs").exists()


def test_differences_are_paired_and_an_arm_without_a_result_is_told():
    arms = {
        "uniform": StrategyArm("uniform", {}, {"web": {0: 3.0, 1: 4.0}}, {0: 3.0, 1: 4.0}, 1e6),
        "odm": StrategyArm("odm", {}, {"web": {0: 2.9, 1: 3.9}}, {0: 2.9, 1: 3.9}, 1.2e6),
        "ado": StrategyArm("ado", {}, {}, {}, 1e6, lost={0: "it diverged"}),
    }
    found = Comparison(arms, 1_000_000)
    gap = difference(found, "odm", "uniform")
    assert (gap.mean, gap.low, gap.high) == pytest.approx((-0.1, -0.1, -0.1))
    text = comparison_text(found)
    assert "ado: seed 0 is lost: it diverged" in text
    assert "Over the budget of 1.00M tokens: odm." in text
    assert Comparison.from_dict(found.to_dict()) == found


@pytest.mark.slow
def test_losses_that_are_not_finite_say_where_and_what_next(study, tmp_path):
    content = study.config.model_dump(mode="json")
    content["training"] |= {"tokens": 20 * STEP, "learning_rate": {"name": "constant", "peak": 1e9}}
    other = Study.create(tmp_path / "s", content)
    other.tokenize()
    with pytest.raises(DataError, match=r"odm: its run .* diverged.*log\.txt.*Lower the peak.*1000000000"):
        other.compare(["odm"])

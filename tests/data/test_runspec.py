import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixlaw.data.mixture import Mixture, Phase, Schedule
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError

M = Mixture({"web": 0.5, "code": 0.5})
BASE = RunSpec(Schedule.constant(M), tokens=10_000)

OTHER = {
    "schedule": Schedule((Phase(0.5, M), Phase(0.5, M))),
    "tokens": 10_001,
    "model": {"preset": "d64"},
    "optimizer": {"name": "adamw"},
    "learning_rate": {"name": "cosine"},
    "batch": 9,
    "context": 255,
    "seed": 1,
    "tokenizer": "t",
    "corpus_hash": "c",
    "evaluation_hash": "e",
    "unique_tokens": {"web": 5},
    "start": "r",
    "evaluate_at": (0.5, 1.0),
    "trainer": "command",
    "trainer_version": "2",
    "strategy": {"name": "odm", "options": {"step": 0.1}},
    "stage": "tune",
    "update": {"name": "lora", "options": {"rank": 8}},
    "loss_on": "answer",
    "examples": "0123456789abcdef",
    "evaluators": ({"name": "choice", "options": {}, "at": [0.5, 1.0]},),
}
EARLIER = Path(__file__).parents[1] / "fixtures" / "v0_1_0" / "study"


def test_everything_that_can_change_the_result_is_in_the_id():
    assert set(OTHER) == set(RunSpec.__dataclass_fields__) - {"replicate_group"}
    ids = {BASE.id} | {BASE.replace(**{k: v}).id for k, v in OTHER.items()}
    assert len(ids) == 1 + len(OTHER)
    assert BASE.replace(replicate_group="x").id == BASE.id


@given(st.lists(st.sampled_from(sorted(OTHER)), max_size=6))
def test_plain_data_round_trip_keeps_the_id(names):
    spec = BASE.replace(**{n: OTHER[n] for n in names}, replicate_group="g")
    again = RunSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.id == spec.id


def test_the_order_of_option_keys_does_not_matter():
    a = BASE.replace(optimizer={"name": "adamw", "clip": 1.0})
    assert a.id == BASE.replace(optimizer={"clip": 1.0, "name": "adamw"}).id


@given(st.integers(1, 10**9), st.integers(1, 512), st.integers(1, 4096))
def test_steps_are_whole_batches(tokens, batch, context):
    spec = RunSpec(Schedule.constant(M), tokens=tokens, batch=batch, context=context)
    assert 0 <= tokens - spec.num_steps * batch * context < batch * context


@pytest.mark.parametrize(
    "options",
    [
        {"tokens": 0},
        {"tokens": 1.5},
        {"batch": 0},
        {"context": True},
        {"evaluate_at": ()},
        {"evaluate_at": (0.5,)},
        {"strategy": "odm"},
        {"strategy": {"name": "odm", "option": {}}},
        {"stage": "pretraining"},
        {"stage": "continue"},
        {"update": "LoRA"},
        {"update": {"name": "full", "options": {"rank": 8}}},
        {"loss_on": "answers"},
        {"examples": ["a", "b"]},
        {"evaluators": "choice"},
        {"evaluators": [{"options": {}}]},
        {"evaluators": [{"name": "choice", "at": [0.0]}]},
        {"evaluators": [{"name": "choice", "at": "end"}]},
        {"evaluators": [{"name": "choice", "tasks": {"a": "b.jsonl"}}]},
        {"evaluators": [{"name": "choice", "tasks": {"a": {"path": "b.jsonl"}}}]},
        {"evaluators": [{"name": "choice", "tasks": ["a"]}]},
        {"start": {}},
        {"start": {"run": "a", "checkpoint": "s3://b/c", "hash": "h"}},
        {"start": {"checkpoint": "s3://b/c"}},
        {"start": {"run": "a", "moments": True}},
        {"start": {"runs": "a"}},
        {"start": 3},
        {"model": None},
        {"optimizer": "adamw"},
        {"learning_rate": None},
        {"unique_tokens": [1]},
        {"seed": "1,000"},
        {"trainer": None},
        {"evaluate_at": 1.0},
        {"evaluate_at": ["end"]},
    ],
)
def test_wrong_values(options):
    with pytest.raises(ConfigError):
        RunSpec(**{"schedule": BASE.schedule, "tokens": 10, **options})


def test_unknown_keys_are_errors():
    with pytest.raises(ConfigError, match="Did you mean 'context'"):
        RunSpec.from_dict({**BASE.to_dict(), "contxt": 1})


SPECS = [json.loads(p.read_text()) for p in sorted((EARLIER / "runs").glob("*/spec.json"))]


def test_ids_of_the_first_version_stay():
    folders = sorted(p.parent.name for p in (EARLIER / "runs").glob("*/spec.json"))
    assert len(folders) == 15
    assert [RunSpec.from_dict(data).id for data in SPECS] == folders
    again = [RunSpec.from_dict(RunSpec.from_dict(data).to_dict()).id for data in SPECS]
    assert again == folders, "what this version writes back must name the same run"


def test_ids_of_specs_that_use_later_fields_stay():
    known = {  # written when the fields were added: a change renames runs
        "strategy": "285fd850049dd9f9",
        "evaluators": "1a7253d7d7425b5e",
    }
    assert {name: BASE.replace(**{name: OTHER[name]}).id for name in known} == known


def test_one_start_has_one_form():
    assert BASE.replace(start={"run": "a"}).id == BASE.replace(start="a").id
    assert BASE.replace(start={"run": "a", "moments": "reset"}).id != BASE.replace(start="a").id
    assert BASE.replace(start={"run": "a", "moments": "reset"}).start_run == "a"
    elsewhere = BASE.replace(start={"checkpoint": "s3://b/c", "hash": "h"})
    assert elsewhere.start_run is None and elsewhere.start["hash"] == "h"


def test_short_forms_are_the_long_ones():
    assert BASE.replace(update="full") == BASE
    assert BASE.replace(update="lora").id == BASE.replace(update={"name": "lora", "options": {}}).id
    assert BASE.replace(evaluators=[{"name": "choice"}]).evaluators[0]["at"] == [1.0]
    assert BASE.replace(evaluators=[{"name": "choice", "at": 0.5}]).evaluators[0]["at"] == [0.5]


def test_an_evaluators_tasks_count_by_their_content():
    def spec(path, digest):
        return BASE.replace(evaluators=[{"name": "choice", "tasks": {"a": {"path": path, "hash": digest}}}])

    assert spec("b.jsonl", "1").id == spec("elsewhere/b.jsonl", "1").id != spec("b.jsonl", "2").id
    assert RunSpec.from_dict(spec("b.jsonl", "1").to_dict()) == spec("b.jsonl", "1")
    assert spec("b.jsonl", "1").id != BASE.replace(evaluators=[{"name": "choice"}]).id


@pytest.mark.parametrize("name", ["strategy", "stage", "update", "loss_on", "examples", "evaluators"])
def test_trainers_refuse_what_they_do_not_do(name):
    from mixlaw.train.contract import refuse

    spec = BASE.replace(**{name: OTHER[name]})
    with pytest.raises(ConfigError, match=f"cannot do what this run asks for: {name}="):
        refuse(spec, "torch")
    refuse(spec, "mine", can=(name,))


def test_a_checkpoint_elsewhere_is_refused_and_a_run_is_not():
    from mixlaw.train.contract import refuse

    refuse(BASE.replace(start="a"), "torch")
    refuse(BASE.replace(start="a", stage="continue"), "torch")
    with pytest.raises(ConfigError, match="checkpoint="):
        refuse(BASE.replace(start={"checkpoint": "s3://b/c", "hash": "h"}), "torch")

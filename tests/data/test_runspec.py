import json

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
}


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
    [{"tokens": 0}, {"tokens": 1.5}, {"batch": 0}, {"context": True}, {"evaluate_at": ()}, {"evaluate_at": (0.5,)}],
)
def test_wrong_values(options):
    with pytest.raises(ConfigError):
        RunSpec(**{"schedule": BASE.schedule, "tokens": 10, **options})


def test_unknown_keys_are_errors():
    with pytest.raises(ConfigError, match="Did you mean 'context'"):
        RunSpec.from_dict({**BASE.to_dict(), "contxt": 1})

"""The contract of curation's steps, through exact duplicates."""

import dataclasses
import json

import pytest

from mixlaw.curate import STEPS, Rejected, Step, step_hash
from mixlaw.errors import ConfigError
from mixlaw.text.document import Document


def documents(*texts):
    return [Document(f"d{i}", text, meta={"n": i}) for i, text in enumerate(texts)]


def test_every_step_keeps_the_contract(texts):
    assert "exact_duplicates" in STEPS.names()
    given = documents(*texts(30), *texts(10))  # ten texts twice
    for name in STEPS:
        step = STEPS.make(name)
        assert isinstance(step, Step), name
        assert step.needs in ("pass", "index", "model")
        out = list(step.apply(iter(given)))
        assert [result.id for result in out] == [d.id for d in given]
        assert all(r.step == name and r.reason for r in out if isinstance(r, Rejected))
        # In two halves, the second by another object from the saved state: the same.
        first, second = STEPS.make(name), STEPS.make(name)
        half = list(first.apply(given[:15]))
        second.load(json.loads(json.dumps(first.state())))
        assert half + list(second.apply(given[15:])) == out
        assert second.state() == step.state()


def test_the_first_of_a_text_is_kept_and_the_others_say_which():
    given = documents("clay", "silt", "clay", " clay\n", "Clay", "silt")
    out = list(STEPS.make("exact_duplicates").apply(given))
    assert [r.id for r in out if isinstance(r, Document)] == ["d0", "d1", "d4"]
    assert {r.id: r.reason for r in out if isinstance(r, Rejected)} == {
        "d2": "the same text as d0",
        "d3": "the same text as d0",
        "d5": "the same text as d1",
    }
    assert out[0] == given[0]
    exact = list(STEPS.make("exact_duplicates", {"strip": False}).apply(given))
    assert [r.id for r in exact if isinstance(r, Document)] == ["d0", "d1", "d3", "d4"]


def test_it_takes_documents_one_at_a_time():
    """A corpus need not fit in memory: what comes out is known before the next goes in."""
    given = iter(documents("clay", "clay", "silt"))
    out = STEPS.make("exact_duplicates").apply(given)
    assert next(out).id == "d0"
    assert next(given).id == "d1"  # not read yet


def test_ids_that_repeat_are_judged_by_their_text():
    twice = [Document("d0", "clay"), Document("d0", "clay"), Document("d0", "silt")]
    kept = [isinstance(r, Document) for r in STEPS.make("exact_duplicates").apply(twice)]
    assert kept == [True, False, True]


def test_the_hash_holds_name_version_and_options():
    step = STEPS.make("exact_duplicates")
    again = STEPS.make("exact_duplicates", {"strip": True})
    list(step.apply(documents("clay")))
    assert step_hash("exact_duplicates", step) == step_hash("exact_duplicates", again)  # its state is no option
    newer = dataclasses.make_dataclass("Newer", [("strip", bool, True)], namespace={"version": "2"})
    assert step_hash("exact_duplicates", newer()) != step_hash("exact_duplicates", again)
    assert step_hash("other", again) != step_hash("exact_duplicates", again)
    with pytest.raises(ConfigError, match="must be a dataclass"):
        step_hash("exact_duplicates", type(step))

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixlaw import Selection
from mixlaw.errors import DataError

IDS = st.text(min_size=1, max_size=5)


@given(st.lists(IDS, unique=True, max_size=8), st.dictionaries(IDS, st.floats(-10, 10), max_size=4))
def test_plain_data_round_trip_keeps_the_hash(ids, scores):
    selection = Selection(tuple(ids), "c", scores, {i: "kept" for i in ids}, {"name": "greedy", "options": {}}, "nats")
    again = Selection.from_dict(json.loads(json.dumps(selection.to_dict())))
    assert again == selection and again.hash == selection.hash


def test_the_hash_is_of_what_is_kept_of_which_corpus():
    one = Selection(("a", "b"), "c")
    assert one.hash == Selection(("a", "b"), "c", scores={"a": 1.0}).hash
    assert len({one.hash, Selection(("b", "a"), "c").hash, Selection(("a", "b"), "d").hash}) == 3


def test_saved_and_read(tmp_path):
    selection = Selection(("a",), "c", {"a": 0.5})
    selection.save(tmp_path / "selection.json")
    assert Selection.load(tmp_path / "selection.json") == selection


@pytest.mark.parametrize(
    "parts",
    [
        {"kept": ("a", "a")},
        {"kept": ("",)},
        {"kept": (3,)},
        {"kept": ("a",), "scores": {"a": float("nan")}},
        {"kept": ("a",), "corpus_hash": ""},
        {"kept": ("a",), "corpus_hash": 5},
        {"kept": "abc"},
        {"kept": 5},
        {"kept": ("a",), "scores": {"a": "high"}},
        {"kept": ("a",), "scores": 3},
        {"kept": ("a",), "reasons": {"a": 3}},
        {"kept": ("a",), "reasons": "short"},
        {"kept": ("a",), "selector": "random_choice"},
        {"kept": ("a",), "unit": 4},
    ],
)
def test_wrong_values(parts):
    with pytest.raises(DataError):
        Selection(**{"corpus_hash": "c", **parts})


def test_a_copy_of_the_text_cannot_enter():
    with pytest.raises(DataError, match="not a selection"):
        Selection.from_dict({"kept": ["a"], "corpus_hash": "c", "text": {"a": "once upon a time"}})

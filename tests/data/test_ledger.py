import json
import multiprocessing
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlaw.data.ledger import Ledger
from mixlaw.errors import DataError
from mixlaw.kit.store import Store

bodies = st.dictionaries(
    st.text(max_size=5), st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
)


@settings(deadline=None, max_examples=20)
@given(st.lists(bodies, max_size=5))
def test_entries_come_back_in_order_and_every_head_stays_in_the_chain(contents):
    ledger = Ledger(Store(f"memory://ledger-{uuid.uuid4()}"))
    heads = [ledger.head]
    for body in contents:
        ledger.append("prediction", body)
        heads.append(ledger.head)
    assert [e.body for e in ledger] == contents
    assert len(set(heads)) == len(heads)
    for head in heads:
        assert ledger.verify(head) == heads[-1]


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(Store(tmp_path))
    for loss in (2.5, 2.4, 2.3):
        ledger.append("prediction", {"loss": loss})
    ledger.append("measurement", {"loss": 2.45})
    return ledger


def test_editing_removing_and_reordering_are_noticed(ledger, tmp_path):
    files = sorted((tmp_path / "ledger").iterdir())
    whole = [f.read_bytes() for f in files]
    head = ledger.head
    edited = json.loads(whole[1])
    edited["body"]["loss"] = 9.9
    files[1].write_text(json.dumps(edited))
    with pytest.raises(DataError, match=r"000002\.json was changed after"):
        ledger.verify()
    del edited["format"]  # whoever takes the checksum off, too, still breaks the chain
    files[1].write_text(json.dumps(edited))
    with pytest.raises(DataError, match="chain is broken at ledger/000003"):
        ledger.verify()
    files[1].write_bytes(whole[1])
    files[1].unlink()
    with pytest.raises(DataError, match="chain is broken"):
        ledger.verify()
    files[1].write_bytes(whole[2])
    files[2].write_bytes(whole[1])
    with pytest.raises(DataError, match="chain is broken"):
        ledger.verify()
    files[1].write_bytes(whole[1])
    files[2].write_bytes(whole[2])
    assert ledger.verify(head) == head
    # The last entry has no successor to betray a change: the printed head does.
    last = json.loads(whole[3])
    del last["format"]
    last["body"]["loss"] = 1.0
    files[3].write_text(json.dumps(last))
    ledger.verify()
    with pytest.raises(DataError, match="not in this ledger"):
        ledger.verify(head)
    files[3].unlink()
    with pytest.raises(DataError, match="not in this ledger"):
        ledger.verify(head)


def test_only_plain_finite_data_of_the_two_kinds(ledger):
    with pytest.raises(DataError, match="'prediction' or a 'measurement'"):
        ledger.append("guess", {})
    with pytest.raises(DataError, match="plain finite"):
        ledger.append("prediction", {"loss": float("nan")})
    with pytest.raises(DataError, match="plain finite"):
        ledger.append("prediction", {"loss": object()})
    assert len(ledger) == 4


def _append(arguments):
    root, number = arguments
    for k in range(5):
        Ledger(Store(root)).append("prediction", {"who": number, "k": k})


@pytest.mark.slow
def test_processes_that_append_at_once_all_get_a_place(tmp_path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(_append, [(str(tmp_path), i) for i in range(3)])
    entries = list(Ledger(Store(tmp_path)))
    assert [e.number for e in entries] == list(range(1, 16))
    assert sorted((e.body["who"], e.body["k"]) for e in entries) == [(i, k) for i in range(3) for k in range(5)]

import datetime
import hashlib
import json
import multiprocessing
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlaw.data import formats
from mixlaw.data.ledger import Ledger
from mixlaw.errors import DataError, MixlawWarning
from mixlaw.kit.artefact import seal
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
    # The last entry has no successor to betray a change: the kept head does.
    last = json.loads(whole[3])
    del last["format"]
    last["body"]["loss"] = 1.0
    files[3].write_text(json.dumps(last))
    for read in (ledger.verify, lambda: ledger.head, lambda: list(ledger), lambda: ledger.append("prediction", {})):
        with pytest.raises(DataError, match=r"000004\.json is not the entry whose hash ledger-head\.json keeps"):
            read()
    files[3].unlink()
    with pytest.raises(DataError, match=r"has 3 entries, and ledger-head\.json says there were 4"):
        ledger.verify()
    # Whoever removes the kept head as well is told so, and cannot have a new one without a head printed earlier.
    (tmp_path / "ledger-head.json").unlink()
    with pytest.raises(DataError, match=r"ledger-head\.json is missing.*mixlaw ledger verify"):
        list(ledger)
    with pytest.raises(DataError, match="not in this ledger"):
        ledger.verify(head)
    files[3].write_bytes(whole[3])
    assert ledger.verify(head[:16]) == head, "a printed head brings the kept one back"
    assert ledger.verify() == head and len(ledger) == 4


def test_a_whole_new_ledger_misses_the_printed_head(ledger, tmp_path):
    head = ledger.head
    for file in (tmp_path / "ledger").iterdir():
        file.unlink()
    (tmp_path / "ledger-head.json").unlink()
    for loss in (2.5, 2.4, 2.3, 2.2):
        ledger.append("prediction", {"loss": loss})
    ledger.verify()
    with pytest.raises(DataError, match="not in this ledger"):
        ledger.verify(head[:12])
    for odd in ("", "abc", "0123456g", head + "0"):
        with pytest.raises(DataError, match="is no head of a ledger"):
            ledger.verify(odd)


def test_an_entry_that_a_killed_process_appended_without_keeping_its_head_counts(ledger, tmp_path):
    kept = (tmp_path / "ledger-head.json").read_bytes()
    ledger.append("prediction", {"loss": 2.2})
    (tmp_path / "ledger-head.json").write_bytes(kept)
    assert len(ledger) == 5
    ledger.append("prediction", {"loss": 2.1})
    assert json.loads((tmp_path / "ledger-head.json").read_text())["number"] == 6


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ("1999-01-01T00:00:00+00:00", "before the entry it follows"),
        ("9999-12-31T23:59:59+00:00", "in the future"),
        ("2026-11-28T06:31:44", "no time with its zone"),
        ("yesterday", "no time with its zone"),
        (None, "no time with its zone"),
        (17, "no time with its zone"),
    ],
)
def test_impossible_times_are_rejected(ledger, tmp_path, time, message):
    file = tmp_path / "ledger" / "000004.json"
    entry = json.loads(file.read_text())
    content = {k: v for k, v in entry.items() if k != "format"} | {"time": time}
    file.write_text(json.dumps(seal(content, "ledger entry", 2)))  # by someone who seals what he writes
    forged = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    formats.write(ledger.store, "ledger-head.json", "ledger head", {"number": 4, "head": forged})
    with pytest.raises(DataError, match=message):
        ledger.verify()


def test_nothing_is_appended_by_a_clock_that_is_behind(ledger, tmp_path, monkeypatch):
    class Behind(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) - datetime.timedelta(days=400)

    monkeypatch.setattr("mixlaw.data.ledger.datetime.datetime", Behind)
    with pytest.raises(DataError, match="Set this machine's clock"):
        ledger.append("prediction", {"loss": 2.0})


def test_files_that_are_no_entries_are_named_and_left_alone(ledger, tmp_path):
    folder = tmp_path / "ledger"
    for name in ("notes.txt", ".DS_Store", "000001.json~", "000004 (copy).json"):
        (folder / name).write_text("{")
    with pytest.warns(MixlawWarning, match=r"no entries of the ledger and are not read: .*000001\.json~"):
        assert len(ledger) == 4
    (folder / "000005.json").mkdir()
    with pytest.raises(DataError, match=r"000005\.json"), pytest.warns(MixlawWarning):
        len(ledger)


@pytest.mark.parametrize("content", ["[]", "{}", "null", '"x"', "{", "", '{"number": 4}', "[" * 100_000])
def test_a_damaged_entry_is_named(ledger, tmp_path, content):
    (tmp_path / "ledger" / "000004.json").write_text(content)
    with pytest.raises(DataError, match=r"ledger/000004\.json"):
        list(ledger)
    (tmp_path / "ledger-head.json").write_text(content)
    with pytest.raises(DataError, match="ledger"):
        assert ledger.head


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

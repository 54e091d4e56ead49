import multiprocessing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixlaw.errors import DataError
from mixlaw.kit.store import Store


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return Store(tmp_path / "s" if request.param == "local" else f"memory://store-{tmp_path.name}")


def test_what_is_written_is_read(store):
    store.write_bytes("a/b.bin", b"\x00\x01")
    store.write_json("a/c.json", {"x": [1, None, "é"]})
    assert store.read_bytes("a/b.bin") == b"\x00\x01"
    assert store.read_json("a/c.json") == {"x": [1, None, "é"]}
    assert store.list("a") == ["b.bin", "c.json"]
    assert store.exists("a", "b.bin")
    assert not store.exists("a/none")
    store.write_bytes("a/b.bin", b"new")
    assert store.read_bytes("a/b.bin") == b"new"


def test_create_never_overwrites(store):
    store.create_bytes("l/1", b"one")
    with pytest.raises(FileExistsError):
        store.create_bytes("l/1", b"two")
    assert store.read_bytes("l/1") == b"one"


def test_missing_and_broken_are_named(store):
    with pytest.raises(DataError, match="'none' is not in"):
        store.read_bytes("none")
    store.write_bytes("x.json", b'{"half": ')
    with pytest.raises(DataError, match="not valid JSON"):
        store.read_json("x.json")
    with pytest.raises(ValueError, match="JSON"):
        store.write_json("y.json", float("nan"))
    assert store.list("nowhere") == []


def test_leftovers_of_a_killed_process_are_not_seen(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "a.json.tmp-1234").write_text("{")
    store.write_json("a.json", 1)
    assert store.list() == ["a.json"]


def test_a_failed_write_leaves_the_old_content(tmp_path):
    store = Store(tmp_path)
    store.write_bytes("a", b"old")
    with pytest.raises(TypeError):
        store.write_bytes("a", "not bytes")
    assert store.read_bytes("a") == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_only_local_stores_have_paths():
    with pytest.raises(DataError, match="not a local folder"):
        Store("memory://x").local_path("a")


@given(st.binary(max_size=200))
def test_any_bytes(data):
    store = Store("memory://bytes")
    store.write_bytes("x", data)
    assert store.read_bytes("x") == data


def _create(arguments):
    root, number = arguments
    try:
        Store(root).create_bytes("one", str(number).encode())
    except FileExistsError:
        return 0
    return 1


@pytest.mark.slow
def test_of_many_processes_one_creates(tmp_path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert sum(pool.map(_create, [(str(tmp_path), i) for i in range(16)])) == 1

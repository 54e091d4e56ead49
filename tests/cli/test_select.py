"""``mixlaw select`` as a person types it."""

import json

import pytest
from typer.testing import CliRunner

from mixlaw.cli.app import app
from mixlaw.errors import ConfigError

RIVER = "the river carries silt and sand down to the sea. " * 20
PRICE = "prices rise and wages fall while banks lend money. " * 20


@pytest.fixture
def texts(tmp_path):
    for name, lines in {"pool": [RIVER + f"year {i}" for i in range(6)] + [PRICE] * 6, "like": [RIVER]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in lines))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["select", "dsir", *map(str, arguments)])


def test_select_writes_and_says_what_it_chose(texts):
    out = texts / "out"
    done = run(texts / "pool.jsonl", "--target", texts / "like.jsonl", "--num", 4, "--out", out, "--write-text")
    assert done.exit_code == 0, done.output
    ids = (out / "ids.txt").read_text().split()
    assert len(ids) == 4 and all(int(name.removeprefix("pool.jsonl#")) <= 6 for name in ids)
    for words in ("Kept 4 of 12", "Effective sample size", "KL reduction", "Largest log weights", "in the target"):
        assert words in done.output
    assert len((out / "documents.jsonl").read_text().splitlines()) == 4


def test_what_is_wrong_is_explained(texts):
    pool, like = texts / "pool.jsonl", texts / "like.jsonl"
    for arguments, words in {
        (pool, "--target", f"a={like}", "--target", f"a={like}", "--num", 1): "another target is called 'a'",
        (pool, "--target", "=x", "--num", 1): "must look like PATH or NAME=PATH",
        (pool, "--target", like, "--num", 13): "13 documents are asked for, and 12 can be chosen",
        (pool, pool, "--target", like, "--num", 1): "is read twice",
    }.items():
        done = run(*arguments, "--out", texts / "out")
        assert words in str(done.exception), words
    assert not (texts / "out").exists()
    assert isinstance(run(pool, "--target", "=x", "--num", 1, "--out", texts / "out").exception, ConfigError)

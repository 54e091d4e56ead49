"""A tokenizer.json of somebody else's."""

import json

import pytest

from mixlaw.errors import DataError
from mixlaw.tokens.tokenizer import Encoder, train_tokenizer


@pytest.fixture(scope="module")
def trained():
    return json.loads(train_tokenizer(["a hen and a cat and a hen"] * 20, 300))


@pytest.mark.parametrize("number", [1 << 24, 2**31, 2**32 - 1, 2**32, 2**40, -1])
def test_an_id_beyond_all_vocabularies_is_told(tmp_path, trained, number):
    """Arrays have an entry for each id: one of 2^32 - 1 would take 8 GB, and a model with it far more."""
    data = json.loads(json.dumps(trained))
    token = max(data["model"]["vocab"], key=data["model"]["vocab"].get)
    data["model"]["vocab"][token] = number
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        Encoder.load(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", "[" * 100_000, '{"model": {"type": "BPE"}}'])
def test_what_is_no_tokenizer_is_told(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(DataError, match=r"t\.json"):
        Encoder.load(tmp_path / "t.json")
    (tmp_path / "t.json").write_bytes(b"\xff\xfe" + content.encode())
    with pytest.raises(DataError, match=r"t\.json"):
        Encoder.load(tmp_path / "t.json")

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlaw import tokens
from mixlaw.errors import ConfigError, DataError
from mixlaw.tokens.pretokenized import open_megatron, open_numpy
from mixlaw.tokens.shards import open_shard
from mixlaw.tokens.tokenizer import Encoder, train_tokenizer


def write_megatron(prefix, documents, dtype="<u2", code=8, sentences=1):
    """As Megatron-LM lays an indexed dataset out: each document in ``sentences`` sequences."""
    pieces = [np.array_split(np.asarray(d, dtype), sentences) for d in documents]
    flat = [s for d in pieces for s in d]
    lengths = np.array([len(s) for s in flat], "<i4")
    offsets = (np.cumsum(lengths, dtype="<i8") - lengths) * np.dtype(dtype).itemsize
    bounds = np.cumsum([0] + [len(d) for d in pieces]).astype("<i8")
    prefix.with_suffix(".bin").write_bytes(b"".join(s.tobytes() for s in flat))
    head = b"MMIDIDX\x00\x00" + struct.pack("<Q", 1) + struct.pack("<B", code)
    head += struct.pack("<Q", len(lengths)) + struct.pack("<Q", len(bounds))
    prefix.with_suffix(".idx").write_bytes(head + lengths.tobytes() + offsets.tobytes() + bounds.tobytes())
    return prefix.with_suffix(".bin")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 60_000), min_size=3, max_size=9), min_size=1, max_size=8), st.integers(1, 3))
def test_megatron_documents_are_read_back(tmp_path_factory, documents, sentences):
    folder = tmp_path_factory.mktemp("megatron")
    for dtype, code in (("<u2", 8), ("<i4", 4)):
        path = write_megatron(folder / f"d{code}", documents, dtype, code, sentences)
        for name in (path, path.with_suffix(".idx")):
            assert [d.tolist() for d in open_megatron(name).documents()] == documents


def test_megatron_files_that_do_not_fit_are_errors(tmp_path):
    path = write_megatron(tmp_path / "d", [[1, 2, 3], [4]])
    index = path.with_suffix(".idx")
    good = index.read_bytes()
    index.write_bytes(b"X" + good[1:])
    with pytest.raises(DataError, match="not a Megatron index"):
        open_megatron(path)
    index.write_bytes(good[:-8])
    with pytest.raises(DataError, match="ends before"):
        open_megatron(path)
    index.write_bytes(good)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match="do not belong together"):
        open_megatron(path)
    path.unlink()
    with pytest.raises(DataError, match="is not there"):
        open_megatron(index)


def test_arrays_are_cut_at_ends_rows_or_blocks(tmp_path):
    np.save(tmp_path / "a.npy", np.array([1, 2, 0, 3, 0, 4, 5], np.int32))
    assert [d.tolist() for d in open_numpy(tmp_path / "a.npy", 0).documents()] == [[1, 2, 0], [3, 0], [4, 5]]
    np.save(tmp_path / "b.npy", np.arange(5000))
    assert [len(d) for d in open_numpy(tmp_path / "b.npy").documents()] == [2048, 2048, 904]
    np.save(tmp_path / "c.npy", np.arange(6).reshape(3, 2))
    assert [d.tolist() for d in open_numpy(tmp_path / "c.npy").documents()] == [[0, 1], [2, 3], [4, 5]]
    np.save(tmp_path / "d.npy", np.zeros(3))
    with pytest.raises(DataError, match="whole numbers"):
        open_numpy(tmp_path / "d.npy")


def test_a_corpus_of_tokens_keeps_them(tmp_path):
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 5000, rng.integers(20, 80)).tolist() for _ in range(200)]
    path = write_megatron(tmp_path / "m", documents + documents[:40])
    rows = rng.integers(0, 7000, (100, 50))
    np.save(tmp_path / "n.npy", rows)
    corpus = tokens.build({"m": path, "n": tmp_path / "n.npy"}, tmp_path, validation_tokens=500)
    assert corpus.vocab_size == 1 + max(rows.max(), max(map(max, documents)))
    assert corpus["m"].num_bytes is None
    assert corpus.extra["near_duplicates"]["m"] == 40
    train = open_shard(tmp_path / "tokens" / "m", "train").tolist()
    held = open_shard(tmp_path / "tokens" / "m", "val").tolist()
    assert len(train) == corpus["m"].unique_tokens
    outside = [d for d in documents if not _contains(train, d)]
    assert outside
    assert set(held) <= {t for d in outside for t in d}  # windows of the held-out documents and nothing else
    assert any(_contains(held, d) for d in outside)
    assert not any(_contains(held, d) for d in documents if d not in outside)
    assert tokens.build({"m": path, "n": tmp_path / "n.npy"}, tmp_path, validation_tokens=500) == corpus


def _contains(haystack, needle):
    first = needle[0]
    return any(
        haystack[i : i + len(needle)] == needle for i in range(len(haystack) - len(needle) + 1) if haystack[i] == first
    )


def test_tokens_beside_text_need_their_tokenizer(tmp_path, write, texts):
    text = write(tmp_path / "t.jsonl", texts(100))
    np.save(tmp_path / "n.npy", np.random.default_rng(0).integers(0, 400, (100, 50)))
    with pytest.raises(ConfigError, match=r"\['n'\] are tokens already"):
        tokens.build({"t": text, "n": tmp_path / "n.npy"}, tmp_path)
    with pytest.raises(ConfigError, match="mixes tokens and text"):
        tokens.build({"x": [text, tmp_path / "n.npy"]}, tmp_path)
    (tmp_path / "small.json").write_text(train_tokenizer(texts(100), 300))
    with pytest.raises(DataError, match="outside the tokenizer's 300 tokens"):
        tokens.build({"t": text, "n": tmp_path / "n.npy"}, tmp_path, tokenizer=tmp_path / "small.json")
    (tmp_path / "large.json").write_text(train_tokenizer(texts(100), 450))
    corpus = tokens.build(
        {"t": text, "n": tmp_path / "n.npy"}, tmp_path, tokenizer=tmp_path / "large.json", validation_tokens=300
    )
    end = Encoder.load(tmp_path / "large.json").end
    assert (np.asarray(open_shard(tmp_path / "tokens" / "n", "train")) == end).sum() >= corpus["n"].num_documents


@pytest.mark.parametrize(
    ("sequences", "bounds", "lengths", "documents"),
    [(1 << 60, 1, [1], [0]), (1, 1 << 60, [1], [0]), (1, 2, [-1], [0, 1]), (1, 2, [2], [0, 9]), (1, 2, [2], [1, 0])],
)
def test_an_index_that_cannot_be_is_told(tmp_path, sequences, bounds, lengths, documents):
    offsets = np.zeros(len(lengths), "<i8")
    arrays = (np.array(lengths, "<i4"), offsets, np.array(documents, "<i8"))
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, sequences, bounds)
    (tmp_path / "x.idx").write_bytes(head + b"".join(a.tobytes() for a in arrays))
    (tmp_path / "x.bin").write_bytes(bytes(4))
    with pytest.raises(DataError, match=r"x\.idx"):
        open_megatron(tmp_path / "x")

"""Token files are believed only as they were written: hashed on build, compared on use."""

import json
import shutil

import numpy as np
import pytest

from mixlaw import Corpus, Domain, tokens
from mixlaw.data.mixture import Schedule
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import DataError, MixlawWarning
from mixlaw.tokens import shards
from mixlaw.tokens.loader import Loader, validation
from mixlaw.tokens.pretokenized import open_numpy

from tiny_tokens import tiny_spec


@pytest.fixture
def copy(tiny, tmp_path):
    return tiny[0], shutil.copytree(tiny[1], tmp_path / "tokens")


def permuted(ids):
    return np.random.default_rng(0).permutation(ids)


def zeroed(ids):
    return np.zeros_like(ids)


def one_changed(ids):
    return np.concatenate([ids[:-1], ids[-1:] ^ 1])


@pytest.mark.parametrize("change", [permuted, zeroed, one_changed])
@pytest.mark.parametrize("blocks", [True, False], ids=["today", "first version"])
def test_tokens_of_the_right_size_that_are_others_are_told(copy, change, blocks):
    corpus, root = copy
    spec = tiny_spec(corpus)
    Loader(spec, corpus, root)
    for part, use in (("train", lambda: Loader(spec, corpus, root)), ("val", lambda: validation(corpus, root, 32))):
        file = root / "hills" / f"{part}.bin"
        change(np.fromfile(file, "<u2")).tofile(file)
        if not blocks:
            (root / "hills" / f"{part}.blocks.json").unlink()
        with pytest.raises(DataError, match=rf"{part}\.bin is not as it was written.*mixlaw tokenize"):
            use()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A file of twenty blocks, as their size is made small here."""
    root = tmp_path_factory.mktemp("large")
    patch = pytest.MonkeyPatch()
    patch.setattr(shards, "_BLOCK", 1 << 12)
    ids = np.arange(20 * (1 << 11), dtype="<u2")
    count, digest = shards.publish(root / "web" / "train.bin", np.array_split(ids, 7))
    shards.write_index(root / "web", {"dtype": "<u2", "train": {"tokens": count, "hash": digest}})
    yield Corpus((Domain("web", count, hash=digest),)), root, ids
    patch.undo()


def test_samples_find_what_is_large_and_verify_finds_all(large):
    _, root, ids = large
    folder = root / "web"
    shards.check_tokens(folder, "train")
    assert len(json.loads((folder / "train.blocks.json").read_text())["blocks"]) == 20
    ids[::-1].tofile(folder / "train.bin")
    with pytest.raises(DataError, match="bytes 0 to 4096"):
        shards.check_tokens(folder, "train")
    found = 0
    for place in range(20):  # one changed token: only a run whose sample holds its block finds it
        damaged = ids.copy()
        damaged[place * (1 << 11) + 5] += 1
        damaged.tofile(folder / "train.bin")
        with pytest.raises(DataError, match="is not as it was written"):
            shards.check_tokens(folder, "train", everything=True)
        seen = []
        for run in range(40):
            try:
                shards.check_tokens(folder, "train", seed=f"run {run}")
            except DataError:
                seen.append(run)
        assert seen, "of forty runs none compared this block"
        found += len(seen)
    assert 0.3 < found / 800 < 0.5, "eight of twenty blocks are compared"
    ids.tofile(folder / "train.bin")


def test_first_use_of_a_run_compares(large):
    corpus, root, ids = large
    spec = RunSpec(Schedule.constant({"web": 1.0}), tokens=4096, batch=4, context=32, corpus_hash=corpus.hash)
    Loader(spec, corpus, root)
    np.zeros_like(ids).tofile(root / "web" / "train.bin")
    with pytest.raises(DataError, match="is not as it was written"):
        Loader(spec, corpus, root)
    ids.tofile(root / "web" / "train.bin")


def test_an_id_beyond_the_vocabulary_is_told_before_it_is_trained_on(copy, monkeypatch):
    corpus, root = copy
    monkeypatch.setattr("mixlaw.tokens.loader.check_tokens", lambda *_, **__: None)  # in a block nobody compared
    np.full(20_000, 999, "<u2").tofile(root / "hills" / "train.bin")
    with pytest.raises(DataError, match="hold the id 999, and the corpus has 64 tokens"):
        Loader(tiny_spec(corpus), corpus, root).batch(0)


@pytest.mark.parametrize("name", ["index.json", "train.blocks.json"])
@pytest.mark.parametrize("content", ["[]", "{", "null", "{}", '{"dtype": "<u2", "train": []}', '{"dtype": "x"}'])
def test_damaged_notes_are_told(copy, name, content):
    corpus, root = copy
    (root / "hills" / name).write_text(content)
    with pytest.raises(DataError):
        Loader(tiny_spec(corpus), corpus, root)


UNCLOSED = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|u1'{ 'shape': (64,), }".ljust(117) + b"\n" + bytes(64)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"[]", b"PK\x03\x04", UNCLOSED])
def test_arrays_that_are_none_are_told(copy, content, tmp_path):
    corpus, root = copy
    (root / "token_bytes.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"token_bytes\.npy.*mixlaw tokenize"):
        validation(corpus, root, 32)
    (tmp_path / "ids.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"ids\.npy is not a \.npy array"):
        open_numpy(tmp_path / "ids.npy")


def build(root, folder, texts, write, **options):
    paths = {name: write(folder / f"{name}.jsonl", texts(150, seed)) for seed, name in enumerate(("a", "b"))}
    return tokens.build(paths, root, vocab_size=300, validation_tokens=256, **options)


def test_tokenize_builds_again_what_was_damaged(tmp_path, texts, write):
    corpus = build(tmp_path / "s", tmp_path / "text", texts, write)
    root = tmp_path / "s" / "tokens"
    whole = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}

    def damage(name, data):
        (root / name).write_bytes(data)
        paths = {n: tmp_path / "text" / f"{n}.jsonl" for n in ("a", "b")}
        with pytest.warns(MixlawWarning, match="again"):
            again = tokens.build(paths, tmp_path / "s", vocab_size=300, validation_tokens=256)
        assert again.hash == corpus.hash and again.evaluation_hash == corpus.evaluation_hash
        for path in (
            root / "a" / "train.bin",
            root / "a" / "val.bin",
            root / "b" / "train.bin",
            root / "tokenizer.json",
        ):
            assert path.read_bytes() == whole[path]

    train = whole[root / "a" / "train.bin"]
    damage("a/train.bin", bytes(len(train)))
    damage("a/val.bin", bytes(len(whole[root / "a" / "val.bin"])))
    damage("b/index.json", b"[]")
    damage("b/scan.json", b"{")
    damage("tokenizer.json", b"{}")
    for name, data in (("a/scan.npz", b"PK"), ("token_bytes.npy", b"\x93NUMPY")):  # made again without a word
        (root / name).write_bytes(data)
    paths = {n: tmp_path / "text" / f"{n}.jsonl" for n in ("a", "b")}
    tokens.build(paths, tmp_path / "s", vocab_size=300, validation_tokens=256, verify=True)
    assert (root / "token_bytes.npy").read_bytes() == whole[root / "token_bytes.npy"]
    sizes = np.load(root / "token_bytes.npy")
    np.save(root / "token_bytes.npy", sizes + 1)
    with pytest.raises(DataError, match=r"token_bytes\.npy was changed"):
        validation(corpus, root, 32)

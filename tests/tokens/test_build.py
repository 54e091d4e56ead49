import json
import multiprocessing
import os
import signal
import warnings

import fsspec
import numpy as np
import pytest

from mixlaw import tokens
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, DataError, MixlawWarning
from mixlaw.text import near_duplicates
from mixlaw.tokens import loader
from mixlaw.tokens.shards import open_shard
from mixlaw.tokens.tokenizer import Encoder, train_tokenizer


def decode(root, name, part):
    encoder = Encoder.load(root / "tokens" / "tokenizer.json")
    ids = open_shard(root / "tokens" / name, part)
    ends = np.flatnonzero(ids == encoder.end)
    return [encoder.tokenizer.decode(d.tolist(), skip_special_tokens=False) for d in np.split(ids, ends + 1)], ids


@pytest.fixture
def study(tmp_path, write, texts):
    web = texts(300, 1)
    write(tmp_path / "web.jsonl.zst", web + web[:60])
    write(tmp_path / "code.parquet", texts(200, 2))
    return tmp_path, {"web": tmp_path / "web.jsonl.zst", "code": [str(tmp_path / "code.parquet")]}


def test_every_document_is_in_exactly_one_side_and_counted(study, texts):
    root, domains = study
    corpus = tokens.build(domains, root, vocab_size=500, validation_tokens=1500)
    assert corpus == Corpus.from_dict(json.loads((root / "corpus.json").read_text()))
    for name, count in (("web", 360), ("code", 200)):
        train, ids = decode(root, name, "train")
        held, val = decode(root, name, "val")
        domain = corpus[name]
        assert domain.unique_tokens == len(ids)
        train = [t.removesuffix("<|endoftext|>") for t in train if t]
        assert len(train) == domain.num_documents
        assert domain.num_bytes == sum(len(t.encode()) for t in train)
        source = {"web": texts(300, 1), "code": texts(200, 2)}[name]
        assert set(train) <= set(source)
        away = set(source) - set(train)  # every document that does not train is held out, a window of it shown
        pieces = [t.removesuffix("<|endoftext|>") for t in held if t.removesuffix("<|endoftext|>")]
        joined = "<|endoftext|>".join(sorted(away)) + "<|endoftext|>"
        assert pieces
        assert sum(p in joined for p in pieces) >= len(pieces) / 2  # two windows meet where neither has an end
        assert not set(pieces) & set(train)
        assert min(1500, 0.09 * (len(ids) + len(val))) <= len(val) <= 1500
        assert len(train) <= count - len(away)
    assert corpus.extra["near_duplicates"] == {"web": 60, "code": 0}
    sets = {v.name: v for v in corpus.validation}
    assert sets["web"].domain == "web"
    sequences, num_bytes = tokens.validation(corpus, root / "tokens", 64)["code"]
    text = Encoder.load(root / "tokens" / "tokenizer.json").tokenizer.decode(sequences[:, 1:].ravel().tolist())
    assert num_bytes == len(text.encode())


def test_a_loader_runs_on_what_was_built(study):
    root, domains = study
    corpus = tokens.build(domains, root, vocab_size=500, validation_tokens=1500)
    spec = RunSpec(Schedule.constant(corpus.natural), tokens=20_000, batch=4, context=32, corpus_hash=corpus.hash)
    loader = tokens.Loader(spec, corpus, root / "tokens")
    assert loader.batch(loader.num_steps - 1).max() < corpus.vocab_size


def test_building_again_repeats_nothing_and_changes_nothing(study, write, texts, monkeypatch):
    root, domains = study
    corpus = tokens.build(domains, root, vocab_size=500, validation_tokens=1500)
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*.bin")}
    scanned = []
    real = near_duplicates.signatures
    monkeypatch.setattr(near_duplicates, "signatures", lambda t: scanned.append(len(t)) or real(t))
    assert tokens.build(domains, root, vocab_size=500, validation_tokens=1500) == corpus
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*.bin")} == before
    assert not scanned
    write(root / "code.parquet", texts(210, 2))
    changed = tokens.build(
        domains, root, tokenizer=root / "tokens" / "tokenizer.json", vocab_size=500, validation_tokens=1500
    )
    assert scanned == [210]
    assert changed["code"].num_documents > corpus["code"].num_documents
    assert changed["web"] == corpus["web"]


def test_the_same_text_in_another_order_and_format_holds_out_the_same_text(tmp_path, write, texts):
    documents = texts(300, 4)
    held = []
    for folder, name, order in (("x", "a.jsonl", 1), ("y", "b.jsonl.gz", -1)):
        root = tmp_path / folder
        write(root / name, documents[::order])
        tokens.build({"d": root / name}, root, vocab_size=400, validation_tokens=1000)
        held.append(decode(root, "d", "val")[0])
    assert held[0] == held[1]


def test_separate_validation_sets_and_contamination(study, write, texts):
    root, domains = study
    write(root / "target.jsonl", texts(40, 8) + texts(300, 1)[100:105])
    with pytest.warns(MixlawWarning, match=r"'target' has near duplicates in training text \(5 of 45 in 'web'"):
        corpus = tokens.build(
            domains, root, validation={"target": root / "target.jsonl"}, vocab_size=500, validation_tokens=100_000
        )
    target = {v.name: v for v in corpus.validation}["target"]
    assert target.domain is None
    assert corpus.extra["contamination"]["target"] == {"documents": 45, "in_training": {"web": 5}}
    assert target.num_bytes == sum(len(t) for t in texts(40, 8) + texts(300, 1)[100:105])
    assert tokens.validation(corpus, root / "tokens", 64)["target"][0].shape[1] == 65


def test_a_set_with_a_domains_name_replaces_its_held_out_part(study, write, texts):
    root, domains = study
    write(root / "own.jsonl", texts(20, 9))
    corpus = tokens.build(domains, root, {"code": root / "own.jsonl"}, vocab_size=500, validation_tokens=1500)
    assert [(v.name, v.domain) for v in corpus.validation] == [("web", "web"), ("code", None)]
    assert corpus["code"].num_documents == 200


def _build_until(share, domains, root):
    """Build, and be killed as soon as this share of the work is done."""

    def progress(what, done, total):
        if done >= share * total:
            os.kill(os.getpid(), signal.SIGKILL)

    tokens.build(domains, root, vocab_size=500, validation_tokens=1500, progress=progress)


@pytest.mark.slow
def test_killed_at_any_moment_it_continues_to_the_same_corpus(tmp_path, write, texts):
    domains = {n: write(tmp_path / f"{n}.jsonl.zst", texts(2000, i)) for i, n in enumerate("abc")}
    expected = tokens.build(domains, tmp_path / "whole", vocab_size=500, validation_tokens=1500)
    context = multiprocessing.get_context("spawn")
    # As the first and the second domain are read, as the tokenizer is trained, as two are encoded, and at the end.
    for share in (0.05, 0.25, 0.5, 0.6, 0.8, 1.0):
        worker = context.Process(target=_build_until, args=(share, domains, tmp_path / "killed"))
        worker.start()
        worker.join()
        assert worker.exitcode == -signal.SIGKILL
    assert tokens.build(domains, tmp_path / "killed", vocab_size=500, validation_tokens=1500) == expected
    for name in domains:
        whole, again = (open_shard(tmp_path / f / "tokens" / name, "train") for f in ("whole", "killed"))
        assert np.array_equal(whole, again)


def test_half_written_shards_are_not_believed(study):
    root, domains = study
    corpus = tokens.build(domains, root, vocab_size=500, validation_tokens=1500)
    path = root / "tokens" / "web" / "train.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="no complete train tokens"):
        open_shard(root / "tokens" / "web", "train")
    assert tokens.build(domains, root, vocab_size=500, validation_tokens=1500) == corpus
    assert path.read_bytes() == whole


def test_a_validation_set_that_was_being_replaced_is_not_believed(study, write, texts, monkeypatch):
    """Killed between the new val.bin and its index: sizes agree, content does not."""
    root, domains = study
    write(root / "exam.jsonl", texts(120, 7))
    build = {"validation": {"exam": root / "exam.jsonl"}, "vocab_size": 500, "validation_tokens": 700}
    corpus = tokens.build(domains, root, **build)
    write(root / "exam.jsonl", texts(130, 8))
    old = open_shard(root / "tokens" / "exam", "val").copy()
    with monkeypatch.context() as patch:

        def killed(texts):
            raise KeyboardInterrupt

        patch.setattr(near_duplicates, "signatures", killed)
        with pytest.raises(KeyboardInterrupt):
            tokens.build(domains, root, **build)
    raw = np.fromfile(root / "tokens" / "exam" / "val.bin", old.dtype)
    assert len(raw) == len(old) and not np.array_equal(raw, old)
    with pytest.raises(DataError, match="mixlaw tokenize"):
        tokens.validation(corpus, root / "tokens", 32)
    again = tokens.build(domains, root, **build)
    assert again.evaluation_hash != corpus.evaluation_hash
    tokens.validation(again, root / "tokens", 32)


def test_interrupted_in_the_middle_of_encoding(study, monkeypatch):
    root, domains = study

    class Stop(BaseException):
        pass

    def progress(what, done, total):
        if what == "Tokenising" and done > 0.6 * total:
            raise Stop

    with pytest.raises(Stop):
        tokens.build(domains, root, vocab_size=500, validation_tokens=1500, progress=progress)
    assert not (root / "corpus.json").exists()
    assert not list(root.rglob("*.tmp-*"))
    corpus = tokens.build(domains, root, vocab_size=500, validation_tokens=1500)
    fresh = tokens.build(domains, root / "fresh", vocab_size=500, validation_tokens=1500)
    assert corpus == fresh


def test_remote_text_and_source_folders(tmp_path, texts):
    with fsspec.open("memory://build/a.jsonl", "w") as handle:
        handle.writelines(json.dumps({"body": t}) + "\n" for t in texts(100))
    src = tmp_path / "src"
    src.mkdir()
    for i, text in enumerate(texts(60, 3)):
        (src / f"m{i}.py").write_text(text)
    (src / "logo.png").write_bytes(b"\x89PNG\x00\xff")
    with pytest.warns(MixlawWarning, match="'src': 1 files that are not UTF-8"):
        corpus = tokens.build(
            {"remote": "memory://build", "src": src}, tmp_path, vocab_size=400, text_field="body", validation_tokens=300
        )
    assert corpus["src"].num_documents + corpus.extra["contamination"]["src"]["documents"] == 60


def test_errors_name_the_domain(tmp_path, write, texts):
    one = write(tmp_path / "one.jsonl", texts(1) * 5)
    with pytest.raises(DataError, match="'d' cannot be split: its 5 documents are 1 cluster"):
        tokens.build({"d": one}, tmp_path, vocab_size=400)
    assert tokens.build({"d": one}, tmp_path, vocab_size=400, validation_tokens=0).validation == ()
    with pytest.raises(DataError, match="'e' holds no text"):
        tokens.build({"e": write(tmp_path / "e.jsonl", ["", " "])}, tmp_path)
    with pytest.raises(ConfigError, match="cannot name a domain"):
        tokens.build({"": one}, tmp_path)
    with pytest.raises(ConfigError, match="at least 257"):
        tokens.build({"d": one}, tmp_path, vocab_size=100)
    with pytest.raises(ConfigError, match="no paths"):
        tokens.build({"d": []}, tmp_path)
    with pytest.raises(DataError, match="no tokenizer at"):
        tokens.build({"d": one}, tmp_path, tokenizer=tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"model": 1}')
    with pytest.raises(DataError, match="not a tokenizer"):
        tokens.build({"d": one}, tmp_path, tokenizer=tmp_path / "bad.json")


def test_encoding_loses_nothing_and_agrees_with_the_library(texts):
    documents = [*texts(200), "世界 \U0001f600\x00 \t\r\n", "  lead", " ".join(texts(900, 5)), "a <|endoftext|> b"]
    encoder = Encoder(train_tokenizer(documents, 600))
    ids, lengths = (np.concatenate(x) for x in zip(*encoder.encode(documents)))
    assert len(lengths) == len(documents)
    assert (ids == encoder.end).sum() == len(documents)
    for text, part in zip(documents, np.split(ids, np.cumsum(lengths)[:-1])):
        assert encoder.tokenizer.decode(part[:-1].tolist()) == text
        assert part[:-1].tolist() == encoder.tokenizer.encode(text, add_special_tokens=False).ids
    sizes = encoder.token_bytes()
    assert sizes[ids].sum() == sum(len(d.encode()) for d in documents)
    assert ids.dtype == np.uint16


def test_a_tokenizer_without_an_end_gets_one_and_other_kinds_work(tmp_path, study):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    root, domains = study
    other = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    other.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"], show_progress=False)
    other.train_from_iterator(["some words of some kind"], trainer)
    other.save(str(tmp_path / "word.json"))
    encoder = Encoder.load(tmp_path / "word.json")
    assert encoder.end == encoder.vocab_size - 1
    assert encoder.token_bytes() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corpus = tokens.build(domains, root, tokenizer=tmp_path / "word.json", validation_tokens=1500)
    assert corpus.tokenizer == encoder.hash
    assert corpus.vocab_size == encoder.vocab_size
    v = corpus.validation[0]
    num_bytes = tokens.validation(corpus, root / "tokens", 32)["web"][1]
    assert 0.9 * v.num_bytes < num_bytes <= v.num_bytes


def test_names_with_a_slash_have_safe_folders(tmp_path, write, texts):
    names = ("HuggingFaceFW/fineweb", "../up")
    files = {name: write(tmp_path / f"{i}.jsonl", texts(60, i)) for i, name in enumerate(names)}
    root = tmp_path / "study"
    corpus = tokens.build(files, root, validation={"exam/a": files[names[0]]}, vocab_size=400, validation_tokens=500)
    assert tuple(corpus.names) == names
    assert sorted(p.name for p in (root / "tokens").iterdir() if p.is_dir()) == [
        "..%2Fup",
        "HuggingFaceFW%2Ffineweb",
        "exam%2Fa",
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.jsonl", "1.jsonl", "study"]
    schedule = Schedule.constant(Mixture({names[0]: 0.5, names[1]: 0.5}))
    spec = RunSpec(schedule=schedule, tokens=2048, model={"name": "d64"}, context=64, batch=8)
    assert loader.Loader(spec, corpus, root / "tokens").batch(0).shape[0] == 8
    assert set(loader.validation(corpus, root / "tokens", 64)) == {*names, "exam/a"}


def test_few_validation_tokens_are_said(tmp_path, write, texts):
    files = {"a": write(tmp_path / "a.jsonl", texts(60)), "b": write(tmp_path / "b.jsonl", texts(60, 1))}
    tiny = write(tmp_path / "tiny.jsonl", ["one two three"])
    with pytest.warns(MixlawWarning, match=r"'v' has \d+ tokens, .* known to about 0\.\d+ nats"):
        tokens.build(files, tmp_path / "t", {"v": tiny}, vocab_size=400, validation_tokens=500)

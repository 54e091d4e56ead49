"""DSIR: weights by hand, draws against theory, what a person is told, real text."""

import hashlib
import io
import json
import math
import tracemalloc

import numpy as np
import pytest
import zstandard

from mixlaw.data.selection import Selection
from mixlaw.errors import ConfigError, DataError
from mixlaw.select import SELECTORS, Candidates, NgramImportance, Scorer, importance, resample
from mixlaw.select import ngrams as hashing
from mixlaw.select.importance import effective_sample_size
from mixlaw.select.ngrams import HashedNgrams, ngrams, words
from mixlaw.text.document import Document
from mixlaw.text.named import DocumentFiles
from mixlaw.text.readers import find_files, read_documents

from shared import corpora

HASH = "0123456789abcdef"
RIVERS = words("the river carries silt and sand down to the sea where it slowly settles in the delta")
PRICES = words("prices rise and wages fall while banks lend money at high rates to firms in debt")


def documents(num=40, seed=0, shortest=40, longest=400):
    """Half of the pool speaks of rivers, half of prices."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(num):
        kind, vocabulary = ("river", RIVERS) if i % 2 else ("price", PRICES)
        text = " ".join(rng.choice(vocabulary, rng.integers(shortest, longest)))
        found.append(Document(f"{kind}/{i}", text, {"source": kind}))
    return found


def target(num=10, seed=1):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(RIVERS, 200)) for _ in range(num)]


class Given:
    """A scorer of log weights that are given."""

    unit = "nats"

    def __init__(self, weights):
        self.weights = weights

    def __call__(self, ids, target):
        return np.array([[self.weights[i]] * max(1, len(target)) for i in ids])


# ---- n-grams ---------------------------------------------------------------------------------------------


def test_words_and_buckets_are_the_published_ones():
    assert words("Don't  STOP(ed): naïve 3.14") == ["don", "'", "t", "stop", "(", "ed", "):", "naïve", "3", ".", "14"]
    assert ngrams("a b a b") == {"a": 2, "b": 2, "a b": 2, "b a": 1}
    hashed = HashedNgrams(10_000)
    for ngram in ("silt", "the river", "naïve ,"):
        published = int(hashlib.sha256(ngram.encode("utf-8")).hexdigest(), 16) % 10_000
        assert hashed.bucket(ngram) == published
    text = "the river, the sea; the river"
    counts = np.zeros(10_000, int)
    for ngram, times in ngrams(text).items():
        counts[hashed.bucket(ngram)] += times
    for _ in range(2):  # the second time from the cache
        assert np.array_equal(hashed.counts(text), counts)
    assert hashed.counts(" \n").sum() == 0


def test_log_weights_by_hand():
    # n-grams of the pool: x 3, y 1, "x y" 1, "x x" 1, of 6; of the target: x, y, "x y", a third each
    pool = [Document("a", "x y"), Document("b", "x x")]
    weights = NgramImportance(min_words=1).fit(pool, {"t": ["X y"]})
    a = math.log((1 / 3) / (3 / 6)) + 2 * math.log((1 / 3) / (1 / 6))
    b = 2 * math.log((1 / 3) / (3 / 6)) + math.log(1e-8 / (1 / 6))
    assert isinstance(weights, Scorer)
    assert weights(["b", "a"], ()).ravel() == pytest.approx([b, a], abs=1e-5)
    # KL(t || pool) = (ln 2/3 + 2 ln 2) / 3; of the selection {a}, whose n-grams are the target's: 0
    before, after = weights.kl_reduction(["a"])["t"]
    assert before == pytest.approx(a / 3, abs=1e-6) and after == pytest.approx(0, abs=1e-6)
    assert weights.kl_reduction(["a", "b"])["t"] == pytest.approx((before, before))
    assert weights.candidates().ids == ("a", "b") and weights.empty["t"] == pytest.approx(1 / 6)


def test_short_documents_count_in_the_pool_and_cannot_be_chosen():
    # with "y" the pool's n-grams are x 3, y 2, "x y" 1, "x x" 1, of 7
    pool = [Document("a", "x y"), Document("short", "y"), Document("b", "x x")]
    weights = NgramImportance(min_words=2).fit(pool, {"t": ["x y"]})
    a = math.log((1 / 3) / (3 / 7)) + math.log((1 / 3) / (2 / 7)) + math.log((1 / 3) / (1 / 7))
    assert weights(["a", "short"], ()).ravel() == pytest.approx([a, -math.inf], abs=1e-5)
    assert weights.ids == ("a", "b") and weights.excluded == {"short": "1 word, fewer than 2"}


def test_counts_are_read_back_in_parts_and_the_cache_is_bounded(monkeypatch):
    pool = documents()
    whole = NgramImportance(min_words=1).fit(pool, {"t": target()})
    monkeypatch.setattr(importance, "_AT_ONCE", 40)
    monkeypatch.setattr(hashing, "_REMEMBERED", 10)
    parts = NgramImportance(min_words=1).fit(pool, {"t": target()})
    assert np.array_equal(parts.log_weights, whole.log_weights)
    kept = [d.id for d in pool[3:9]]
    assert parts.kl_reduction(kept) == whole.kl_reduction(kept)
    tracemalloc.start()
    hashed = HashedNgrams()
    for i in range(200):
        hashed.counts(" ".join(f"word{i}x{k}" for k in range(100)))
    assert tracemalloc.get_traced_memory()[0] < 500_000  # 20,000 words and pairs would take 5 MB
    tracemalloc.stop()


def test_explanations_add_up_and_name_what_a_person_can_read():
    pool = documents()
    weights = NgramImportance(min_words=1).fit(pool, {"rivers": target()})
    for document in pool:
        found = weights.explain(document, num=10**6)
        of_all = sum(nats for _, _, nats in weights.explain(document, num=10**6).ngrams)
        score = float(weights([document.id], ()).item())
        assert found.log_weight == pytest.approx(score)
        assert found.at_median + found.length_part == pytest.approx(score)
        assert found.at_median / weights.median_ngrams == pytest.approx(score / found.num_ngrams)
        assert abs(of_all) >= abs(score)  # only n-grams with the sign of the whole are named
    highest = max(pool, key=lambda d: weights([d.id], ()).item())
    lowest = min(pool, key=lambda d: weights([d.id], ()).item())
    vocabularies = {"river": set(RIVERS) - set(PRICES), "price": set(PRICES) - set(RIVERS)}
    for document, kind in ((highest, "river"), (lowest, "price")):
        assert document.id.startswith(kind)
        for ngram, times, _ in weights.explain(document).ngrams:
            assert set(ngram.split()) & vocabularies[kind]
            assert times == ngrams(document.text)[ngram]


def test_weights_per_length_are_those_at_the_median():
    pool = documents()
    plain = NgramImportance(min_words=1).fit(pool, {"t": target()})
    even = NgramImportance(min_words=1, per_length=True).fit(pool, {"t": target()})
    ids = [d.id for d in pool]
    expected = plain(ids, ()).ravel() / plain.num_ngrams * plain.median_ngrams
    assert even(ids, ()).ravel() == pytest.approx(expected)


def test_several_targets_are_a_mixture():
    pool = documents()
    both = NgramImportance(min_words=1).fit(pool, {"r": target(), "p": [" ".join(PRICES)] * 3})
    ids = [d.id for d in pool]
    each = both(ids, ("r", "p"))
    assert each.shape == (len(pool), 2)
    alone = NgramImportance(min_words=1).fit(pool, {"p": [" ".join(PRICES)] * 3})
    assert each[:, 1] == pytest.approx(alone(ids, ()).ravel())
    assert both(ids, ()).ravel() == pytest.approx(np.logaddexp(*each.T) - math.log(2))
    with pytest.raises(DataError, match="'q' is no target"):
        both(ids, ("q",))
    with pytest.raises(DataError, match="'nowhere' is no document"):
        both(["nowhere"], ())


# ---- the draw --------------------------------------------------------------------------------------------


def test_inclusion_follows_the_theory_of_drawing_one_after_the_other():
    weights = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 6.0}
    exact = dict.fromkeys(weights, 0.0)  # chance to be among the first two
    total = sum(weights.values())
    for first, w in weights.items():
        exact[first] += w / total
        for second, v in weights.items():
            exact[second] += (w / total) * v / (total - w) if second != first else 0.0
    # far from 1 in the logarithm, where weights themselves would overflow
    scorer = Given({i: math.log(w) + 5000.0 for i, w in weights.items()})
    items, draws = Candidates(tuple(weights), HASH), 5000
    counts = dict.fromkeys(weights, 0)
    for seed in range(draws):
        for name in SELECTORS.make("dsir", {"seed": seed})(items, (), 2, scorer).kept:
            counts[name] += 1
    for name, p in exact.items():
        assert counts[name] / draws == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / draws)), name


def test_top_k_takes_the_largest_and_minus_infinity_never_comes():
    weights = {"a": 3.0, "b": -math.inf, "c": 5.0, "d": 3.0}
    items = Candidates(tuple(weights), HASH)
    choose = SELECTORS.make("dsir", {"top_k": True})
    assert choose(items, (), 2, Given(weights)).kept == ("c", "a")
    assert set(choose(items, ("t", "u"), 100, Given(weights)).kept) == {"a", "c", "d"}
    for target in ((), ("t", "u")):  # the mean of equal weights is the weight
        assert choose(items, target, 1, Given(weights)).scores == pytest.approx({"a": 3.0, "c": 5.0, "d": 3.0})
    assert choose(items, (), 1, Given(weights)).scores == {"a": 3.0, "c": 5.0, "d": 3.0}
    large = Candidates(tuple(weights), HASH, [10.0, 1.0, 1.0, 1.0])
    assert choose(large, (), 5, Given(weights)).kept == ("c",)  # the next one would exceed the budget


def test_effective_sample_size():
    assert effective_sample_size(np.log([1.0, 1.0, 2.0])) == pytest.approx(16 / 6)
    assert effective_sample_size(np.full(7, -9000.0)) == pytest.approx(7)
    assert effective_sample_size(np.array([9000.0, 0.0, -9000.0])) == pytest.approx(1)
    assert effective_sample_size(np.zeros(0)) == 0


# ---- from documents to a selection -----------------------------------------------------------------------


def test_the_order_of_the_pool_changes_nothing():
    pool = documents()
    order = np.random.default_rng(3).permutation(len(pool))
    one, first = resample(pool, {"t": target()}, 10)
    other, second = resample([pool[i] for i in order], {"t": target()[::-1]}, 10)
    assert one == other and one.hash == other.hash
    assert first.kl == second.kl and first.largest == second.largest and first.smallest == second.smallest
    changed = [Document(d.id, d.text + " sea", d.meta) for d in pool]
    assert resample(changed, {"t": target()}, 10)[0].corpus_hash != one.corpus_hash


def test_a_selection_says_what_it_is(tmp_path):
    pool = [*documents(), Document("short", "the river"), Document("none", " \n")]
    selection, report = resample(
        pool, {"t": target()}, 10, NgramImportance(min_words=50), folder=tmp_path / "out", write_text=True
    )
    assert selection.reasons["short"] == "2 words, fewer than 50"
    assert selection.reasons["none"] == "it holds no words"
    assert "short" not in selection.scores
    assert all(name.startswith("river") for name in selection.kept)
    assert report.by_source["river"][0] == 10 and report.by_source["price"][0] == 0
    assert report.kl_reduction == pytest.approx(report.kl["t"][0] - report.kl["t"][1]) and report.kl_reduction > 0.3
    assert len(report.largest) == len(report.smallest) == 5
    scores = sorted(selection.scores.values())
    assert [e.log_weight for e in report.largest] == pytest.approx(scores[::-1][:5])
    assert [e.log_weight for e in report.smallest] == pytest.approx(scores[:5])
    for explained in (*report.largest, *report.smallest):
        words_of_it = selection.reasons[explained.id]
        assert f"its length adds {explained.length_part:+.1f}" in words_of_it
        seen = report.seen["t"][explained.ngrams[0][0]]
        assert seen == sum(ngrams(t)[explained.ngrams[0][0]] for t in target())
        assert f"{seen} in the target" in words_of_it
    options = selection.selector
    assert options["name"] == "dsir" and options["scorer"]["options"]["min_words"] == 50

    folder = tmp_path / "out"
    assert Selection.load(folder / "selection.json") == selection
    assert (folder / "ids.txt").read_text().split() == list(selection.kept)
    assert (folder / "report.txt").read_text().strip() == report.text()
    assert json.loads((folder / "report.json").read_text())["effective"] == report.effective
    # the documents are a domain: any reader of text takes them
    rows = [json.loads(line) for line in (folder / "documents.jsonl").read_text().splitlines()]
    assert {r["id"]: r["log_weight"] for r in rows} == {i: selection.scores[i] for i in selection.kept}
    assert list(read_documents(find_files([folder / "documents.jsonl"]))) == [r["text"] for r in rows]
    assert sorted(p.name for p in folder.iterdir()) == [
        "documents.jsonl",
        "ids.txt",
        "report.json",
        "report.txt",
        "selection.json",
    ]
    with pytest.raises(ConfigError, match="holds a selection already"):
        resample(pool, {"t": target()}, 10, folder=folder)


def test_cautions():
    pool = documents(60)
    like = [d.text for d in documents(60)]
    same = resample(pool, {"all": like}, 20, NgramImportance(min_words=1))[1]
    assert same.kl["all"] == pytest.approx((0, same.kl["all"][1]), abs=1e-9)
    assert same.effective == pytest.approx(60)
    assert any("nearly the n-grams of the pool" in n for n in same.notes)
    assert any("60 of the pool's documents are in the target" in n for n in same.notes)

    rivers = [d for d in documents(200, longest=4000) if d.id.startswith("river")]
    pool = [*rivers, *(Document(f"p{i}", " ".join(PRICES * 125)) for i in range(100))]
    by_length = resample(pool, {"rivers": target(100)}, 30, NgramImportance(min_words=1))[1]
    assert by_length.longest >= 0.8 and abs(by_length.length_correlation) < 0.5  # long documents are at both ends
    assert any("essentially a choice of length" in n for n in by_length.notes)
    assert not any("follows length" in n for n in by_length.notes)
    assert by_length.effective < 5 and any("a ranking and no sample" in n for n in by_length.notes)
    assert all(f"Caution: {n}" in by_length.text() for n in by_length.notes)
    even = resample(pool, {"rivers": target(100)}, 30, NgramImportance(min_words=1, per_length=True))[1]
    assert even.longest < 0.6 and not any("choice of length" in n for n in even.notes)
    assert even.effective == pytest.approx(even.effective_at_median)

    brief = [*rivers, *(Document(f"p{i}", " ".join(PRICES * 20)) for i in range(100))]
    follows = resample(brief, {"rivers": target(100)}, 30, NgramImportance(min_words=1))[1]
    assert follows.length_correlation > 0.8 and any("follows length" in n for n in follows.notes)

    prices = [d for d in documents(200, longest=4000) if d.id.startswith("price")]
    unlike = resample(prices, {"rivers": target(100)}, 30, NgramImportance(min_words=1))[1]
    assert unlike.negative == 1 and unlike.shortest > 0.9
    assert any("100% of the kept documents have a negative log weight" in n for n in unlike.notes)
    assert follows.negative == 0 and not any("negative log weight" in n for n in follows.notes)

    narrow = resample(documents(), {"t": ["sand"]}, 5)[1]
    assert narrow.num_pool == 40 and any("never uses" in n for n in narrow.notes)


def test_bad_input_is_explained(tmp_path):
    pool, like = documents(), {"t": target()}
    for empty in ([], ["", " \n"]):
        with pytest.raises(DataError, match="target 't' holds no words"):
            resample(pool, {"t": empty}, 5)
    with pytest.raises(ConfigError, match="none is given"):
        resample(pool, {}, 5)
    with pytest.raises(ConfigError, match=r"41 documents are asked for, and 40 can be chosen"):
        resample(pool, like, 41, NgramImportance(min_words=1))
    with pytest.raises(
        ConfigError, match=r"of 41 in the pool 40 have fewer than 1000 words and 1 have none. Lower min"
    ):
        resample([*pool, Document("none", "")], like, 5, NgramImportance(min_words=1000))
    with pytest.raises(DataError, match="The pool holds no words"):
        resample([Document("a", ""), Document("b", " ")], like, 1)
    with pytest.raises(DataError, match=r"Two documents of the pool are called 'river/1'"):
        resample([*pool, pool[1]], like, 5)
    with pytest.raises(ConfigError, match="can be read twice"):
        resample(iter(pool), like, 5)
    with pytest.raises(ConfigError, match=r"the target 't' must be a list"):
        resample(pool, {"t": "the river"}, 5)
    (tmp_path / "taken").write_text("text")
    with pytest.raises(ConfigError, match="taken is a file, and a selection is a folder"):
        resample(pool, like, 5, folder=tmp_path / "taken")
    with pytest.raises(ConfigError, match="write_text needs a folder"):
        resample(pool, like, 5, write_text=True)
    for num in (0, -1, 2.5, True):
        with pytest.raises(ConfigError, match="whole number of documents"):
            resample(pool, like, num)
    for buckets in (1, 2.0, True):
        with pytest.raises(ConfigError, match="whole number of buckets"):
            NgramImportance(buckets)
    with pytest.raises(ConfigError, match="min_words"):
        NgramImportance(min_words=-1)
    items = Candidates(("a", "b"), HASH)
    with pytest.raises(ConfigError, match="needs a scorer"):
        SELECTORS.make("dsir")(items, (), 1)
    with pytest.raises(DataError, match="'b'"):
        SELECTORS.make("dsir")(items, (), 1, Given({"a": 0.0, "b": math.nan}))
    with pytest.raises(DataError, match=r"shape \(2, 1\)"):
        SELECTORS.make("dsir")(items, ("t", "u"), 1, lambda ids, target: np.zeros((2, 1)))


def test_a_pool_that_changes_between_the_readings_is_refused(tmp_path):
    class Changing(list):
        readings = 0

        def __iter__(self):
            self.readings += 1
            return iter(list.copy(self)[: 40 if self.readings < 3 else 3])

    out = tmp_path / "out"
    with pytest.raises(DataError, match="changed while they were read"):
        resample(Changing(documents()), {"t": target()}, 10, NgramImportance(min_words=1), folder=out, write_text=True)
    assert not list(out.iterdir())


def test_names_of_documents(tmp_path):
    for name in ("one/a.txt", "one/b.txt", "two/part.jsonl", "three/part.jsonl", "three/more/part.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"text": "hello"}\n{"text": ""}\n{"text": "again"}\n' if name.endswith("l") else "hello")
    seen = []
    files = DocumentFiles([tmp_path / "one", tmp_path / "two/part.jsonl"], tell=lambda done, size: seen.append(done))
    names = ["one/a.txt#1", "one/b.txt#1", "part.jsonl#1", "part.jsonl#2"]
    for _ in range(2):
        assert [d.id for d in files] == names
    assert seen[-1] == files.size > 0 and files.counts.empty == 1
    assert list(files.texts) == ["hello", "hello", "hello", "again"]
    alike = DocumentFiles([tmp_path / "two/part.jsonl", tmp_path / "three/part.jsonl"])
    assert len({d.id for d in alike}) == 4 and str(tmp_path / "two/part.jsonl#1") in {d.id for d in alike}
    assert [d.id for d in DocumentFiles([tmp_path / "one/*.txt"])] == ["a.txt#1", "b.txt#1"]
    with pytest.raises(DataError, match="is read twice"):
        DocumentFiles([tmp_path / "one", tmp_path / "one/a.txt"])


# ---- real text -------------------------------------------------------------------------------------------


def first_texts(name, num):
    with open(corpora(f"pretraining/{name}.jsonl.zst"), "rb") as handle:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(handle), encoding="utf-8")
        return [json.loads(line)["text"][:20_000] for _, line in zip(range(num), lines)]


def test_books_are_found_among_web_code_and_law():
    books = first_texts("books-en", 160)
    pool = [Document(f"books/{i}", t, {"source": "books"}) for i, t in enumerate(books[1::2])]
    for name in ("web", "code-rust", "law-us"):
        pool += [Document(f"{name}/{i}", t, {"source": name}) for i, t in enumerate(first_texts(name, 150))]
    selection, report = resample(pool, {"books": books[::2]}, 50)
    assert report.by_source["books"][0] >= 48
    assert report.kl_reduction > 0.1
    assert sum(name.startswith("books/") for name in selection.kept) == report.by_source["books"][0]
    assert all(not e.id.startswith("books/") for e in report.smallest)

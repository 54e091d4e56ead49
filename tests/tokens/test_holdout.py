import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlaw.text import near_duplicates
from mixlaw.text.readers import find_files, read_documents
from mixlaw.tokens import holdout

from shared import corpora


def shingles(text, size=5):
    words = "".join(c.lower() if c.isalnum() else " " for c in text).split()
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def edited(text, share, seed):
    """``text`` with a share of its words replaced."""
    rng = random.Random(seed)
    return " ".join(f"w{rng.randrange(10**6)}" if rng.random() < share else w for w in text.split())


def test_signatures_estimate_jaccard_similarity_like_the_reference(texts):
    from datasketch import MinHash

    rng = random.Random(1)
    for base in texts(12, seed=2, length=300):
        other = edited(base, rng.choice([0, 0.01, 0.03, 0.1, 0.4]), 3)
        one, two = near_duplicates.signatures([base.encode(), other.encode()])
        a, b = shingles(base), shingles(other)
        exact = len(a & b) / len(a | b)
        reference = []
        for s in (a, b):
            m = MinHash(num_perm=128)
            m.update_batch([" ".join(g).encode() for g in s])
            reference.append(m)
        # Both are means of 128 draws: five standard deviations of such a mean.
        slack = 5 * max(0.02, (exact * (1 - exact) / 128) ** 0.5)
        assert abs((one == two).mean() - exact) < slack
        assert abs((one == two).mean() - reference[0].jaccard(reference[1])) < 2 * slack


def test_signatures_do_not_depend_on_company_case_or_punctuation(texts):
    documents = [t.encode() for t in texts(30)] + [b"", b"!!!", b"one two", "世界你好世界你好".encode()]
    together = near_duplicates.signatures(documents)
    for i, text in enumerate(documents):
        assert np.array_equal(near_duplicates.signatures([text])[0], together[i])
    loud = near_duplicates.signatures([b"  " + documents[0].upper().replace(b" ", b",\n")])
    assert np.array_equal(loud[0], together[0])


def test_characters_of_unspaced_scripts_are_words():
    base = "".join(chr(0x4E00 + i * 7 % 3000) for i in range(400))
    one, near, other = near_duplicates.signatures(
        [t.encode() for t in (base, base[:395] + "甲乙丙丁戊", "".join(chr(0x5E00 + i) for i in range(400)))]
    )
    assert (one == near).mean() > 0.9
    assert (one == other).mean() < 0.1


def test_clusters_join_copies_and_near_copies_and_nothing_else(texts):
    base = texts(60, seed=5, length=200)
    documents = base + base[:10] + [edited(t, 0.01, i) for i, t in enumerate(base[10:20])]
    label = near_duplicates.clusters(near_duplicates.signatures([d.encode() for d in documents]))
    for i in range(20):
        assert label[60 + i] == label[i] == i
    assert len(np.unique(label)) == 60


def test_clusters_follow_chains(texts):
    # a ~ b ~ c, although a and c are less alike: they still may not be parted.
    words = texts(1, length=400)[0].split()
    fresh = texts(1, seed=9, length=400)[0].split()
    chain = [words, fresh[:40] + words[40:], fresh[:80] + words[80:], fresh[:120] + words[120:]]
    label = near_duplicates.clusters(near_duplicates.signatures([" ".join(w).encode() for w in chain]))
    assert len(set(label.tolist())) == 1


def test_validation_is_whole_clusters_in_key_order_and_independent_of_reading_order(texts):
    base = texts(50, length=100)
    documents = [d.encode() for d in base + base[:25]]

    def chosen(order):
        docs = [documents[i] for i in order]
        values = near_duplicates.signatures(docs)
        keys = np.array([near_duplicates.document_key(d) for d in docs], np.uint64)
        rows = holdout.choose_validation(values, near_duplicates.clusters(values), keys, np.full(len(docs), 100), 800)
        assert keys[rows].tolist() == sorted(keys[rows].tolist())
        inside = {docs[i] for i in rows}
        assert not inside & {d for i, d in enumerate(docs) if i not in set(rows.tolist())}
        assert 800 <= 100 * len(rows) < 800 + 200
        return inside

    first = chosen(range(75))
    assert chosen(np.random.default_rng(0).permutation(75)) == first


def test_what_cannot_be_split_is_not(texts):
    same = near_duplicates.signatures([b"same words in every one of these"] * 5)
    keys = np.zeros(5, np.uint64)
    assert not len(holdout.choose_validation(same, near_duplicates.clusters(same), keys, np.ones(5, int), 2))
    two = near_duplicates.signatures([t.encode() for t in texts(2)])
    rows = holdout.choose_validation(
        two, near_duplicates.clusters(two), np.array([5, 3], np.uint64), np.array([900, 800]), 10
    )
    assert rows.tolist() == [1]  # all larger than wanted: the smallest


def test_contamination_is_found(texts):
    train = near_duplicates.signatures([t.encode() for t in texts(200, seed=1)])
    mine = texts(10, seed=2)
    copied = [texts(200, seed=1)[i] for i in (3, 150)]
    found = near_duplicates.has_near_duplicate(near_duplicates.signatures([t.encode() for t in mine + copied]), train)
    assert found.tolist() == [False] * 10 + [True] * 2


def test_no_copy_crosses_the_split_of_real_web_text():
    files = find_files([corpora("pretraining/web.jsonl.zst")])
    documents = []
    for text in read_documents(files):
        documents.append(text.encode())
        if len(documents) == 1500:
            break
    values = near_duplicates.signatures(documents)
    label = near_duplicates.clusters(values)
    assert len(label) - len(np.unique(label)) > 100  # the file has 19% near duplicates
    keys = np.array([near_duplicates.document_key(d) for d in documents], np.uint64)
    rows = holdout.choose_validation(values, label, keys, np.array([len(d) for d in documents]), 300_000)
    rest = np.setdiff1d(np.arange(len(documents)), rows)
    # Against every pair, without the bands that found the clusters.
    closest = max(float((values[r] == values[rest]).mean(axis=1).max()) for r in rows)
    assert closest < near_duplicates.SIMILAR
    assert len({documents[r] for r in rows} & {documents[r] for r in rest}) == 0
    assert len(rows) > 20


@pytest.mark.parametrize("seed", [0, 7])
def test_keys_depend_on_content_and_seed_only(seed):
    assert near_duplicates.document_key(b"a", seed) == near_duplicates.document_key(b"a", seed)
    assert near_duplicates.document_key(b"a", 0) != near_duplicates.document_key(b"a", 7)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=60), st.integers(1, 20_000), st.integers(0, 2**63))
def test_windows_give_every_document_its_turn(lengths, wanted, key):
    tokens = np.array(lengths)
    keys = (np.arange(len(tokens)).astype(np.uint64) + np.uint64(key)) * np.uint64(11400714819323198485)
    start, length = holdout.windows(tokens, keys, wanted)
    assert (start >= 0).all()
    assert (start + length <= tokens).all()
    assert length.sum() >= min(wanted, tokens.sum())
    cap = length.max()
    assert (length == np.minimum(tokens, cap)).all()
    assert length.sum() < wanted + len(tokens)


def test_a_validation_set_samples_many_long_documents():
    n, rng = 400, np.random.default_rng(0)
    values = rng.integers(0, 2**32, (n, 128), dtype=np.uint64).astype(np.uint32)
    tokens = np.full(n, 6_000)  # a book each
    keys = rng.permutation(n).astype(np.uint64) * np.uint64(40503)
    chosen = holdout.choose_validation(values, np.arange(n), keys, tokens, 16_384, most=240_000)
    assert len(chosen) == 40  # a tenth of the text, not three books

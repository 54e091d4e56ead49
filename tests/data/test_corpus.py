import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixlaw.data.corpus import Corpus, Domain, ValidationSet
from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.hashing import content_hash

counts = st.dictionaries(
    st.text("abcdefgh-_ é", min_size=1, max_size=6), st.integers(1, 10**13), min_size=1, max_size=6
)


@given(counts)
def test_declared_counts_show_their_source_and_give_the_natural_mixture(table):
    corpus = Corpus.declared(table, source="data card")
    assert corpus.unique_tokens == table
    assert corpus.names == tuple(table)
    assert all(d.source == "declared: data card" for d in corpus.domains)
    total = sum(table.values())
    for name, count in table.items():
        assert corpus.natural[name] == pytest.approx(count / total)


@given(counts)
def test_json_round_trip_keeps_everything_and_notices_edits(table):
    corpus = Corpus(
        tuple(Domain(n, c, c * 3, 5, "h", ("p",)) for n, c in table.items()),
        (ValidationSet("v", 10, 30, "x"),),
        "tok",
        512,
        {"note": [1]},
    )
    data = json.loads(json.dumps(corpus.to_dict()))
    again = Corpus.from_dict(data)
    assert again == corpus
    assert again.extra == corpus.extra
    data["domains"][0]["unique_tokens"] += 1
    with pytest.raises(DataError, match="changed"):
        Corpus.from_dict(data)


def test_hashes_follow_what_they_stand_for():
    a = Corpus((Domain("web", 10, hash="x"),), (ValidationSet("v", 5, hash="y"),), "t")
    other_path = Corpus((Domain("web", 10, hash="x", paths=("elsewhere",)),), a.validation, "t")
    assert other_path.hash == a.hash
    assert Corpus((Domain("web", 10, hash="z"),), a.validation, "t").hash != a.hash
    assert Corpus(a.domains, a.validation, "u").hash != a.hash
    assert Corpus(a.domains, (ValidationSet("v", 5, hash="q"),), "t").evaluation_hash != a.evaluation_hash
    assert Corpus(a.domains, (ValidationSet("v", 5, hash="q"),), "t").hash == a.hash


def test_content_hash_ignores_the_order_of_keys_and_nothing_else():
    assert content_hash({"a": 1, "b": [1, 2]}) == content_hash({"b": [1, 2], "a": 1})
    assert content_hash({"a": [1, 2]}) != content_hash({"a": [2, 1]})
    with pytest.raises(ValueError, match="JSON"):
        content_hash({"a": float("nan")})


def test_names_are_unique_and_usable():
    with pytest.raises(ConfigError, match="repeated: \\['web'\\]"):
        Corpus((Domain("web", 1), Domain("web", 2)))
    with pytest.raises(ConfigError, match="validation set"):
        Corpus((Domain("web", 1),), (ValidationSet("v", 1), ValidationSet("v", 2)))
    for name in ("", "a\x00"):
        with pytest.raises(ConfigError, match="cannot name a domain"):
            Domain(name, 1)
        with pytest.raises(ConfigError, match="cannot name a validation set"):
            ValidationSet(name, 1)
    assert Corpus((Domain("org/data", 1), Domain("..", 1))).names == ("org/data", "..")
    with pytest.raises(ConfigError, match=r"'org/data' and 'org%2Fdata' would share the folder 'org%2Fdata'"):
        Corpus((Domain("org/data", 1), Domain("org%2Fdata", 1)))
    with pytest.raises(DataError, match="at least one"):
        Domain("web", 0)
    with pytest.raises(ConfigError, match="at least one domain"):
        Corpus(())
    with pytest.raises(ConfigError, match="Did you mean 'web'"):
        Corpus((Domain("web", 1),))["wep"]
    with pytest.raises(ConfigError, match="source"):
        Corpus.declared({"web": 1}, source="")

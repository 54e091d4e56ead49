from mixlaw.data.corpus import Corpus, Domain, ValidationSet
from mixlaw.tokens import corpus_diff


def make(domains, sets=(), tokenizer="t"):
    return Corpus(
        tuple(Domain(n, c, hash=h) for n, c, h in domains),
        tuple(ValidationSet(n, c, hash=h) for n, c, h in sets),
        tokenizer,
    )


def test_no_change_is_said():
    corpus = make([("web", 300, "x")], [("web", 10, "v")])
    change = corpus_diff(corpus, corpus)
    assert not change
    assert str(change).startswith("No change")


def test_every_kind_of_change_is_named():
    before = make([("web", 300, "x"), ("code", 100, "y"), ("law", 100, "z")], [("web", 10, "v"), ("old", 5, "o")], "t")
    after = make([("web", 150, "X"), ("law", 100, "Z"), ("wiki", 50, "w")], [("web", 10, "V"), ("new", 5, "n")], "u")
    change = corpus_diff(before, after)
    assert (change.added, change.removed) == (("wiki",), ("code",))
    assert [(c.name, c.tokens_before, c.tokens_after) for c in change.changed] == [("web", 300, 150), ("law", 100, 100)]
    assert (change.validation_added, change.validation_removed) == (("new",), ("old",))
    assert [c.name for c in change.validation_changed] == ["web"]
    assert change.tokenizer == ("t", "u")
    assert change.natural_shift == {"web": 0.5 - 0.6, "code": -0.2, "law": 100 / 300 - 0.2, "wiki": 50 / 300}
    text = str(change)
    for part in (
        "tokenizer: t -> u",
        "+ domain wiki",
        "- domain code",
        "~ domain web: 300 -> 150 tokens (-50.0%)",
        "~ domain law: other content",
        "+ validation set new",
        "- validation set old",
        "natural mixture: web -0.100, code -0.200",
        "runs on the one corpus are not runs on the other",
        "losses do not compare",
    ):
        assert part in text


def test_new_validation_leaves_runs_valid():
    before = make([("web", 300, "x")], [("web", 10, "v")])
    after = make([("web", 300, "x")], [("web", 10, "v"), ("more", 10, "m")])
    change = corpus_diff(before, after)
    assert change.same_training
    assert not change.comparable
    assert before.hash == after.hash
    assert before.evaluation_hash != after.evaluation_hash

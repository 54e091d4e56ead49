"""A target's own domain, read from names as they come from real logs."""

import pytest

from mixlaw.errors import ConfigError
from mixlaw.laws.core.own import own_domains, own_matrix


@pytest.mark.parametrize(
    ("domains", "target", "expected"),
    [
        (["weight_arxiv", "weight_github"], "loss_github", ["weight_github"]),
        (["train/the_pile_pile_cc", "train/the_pile_github"], "valid/the_pile_pile_cc", ["train/the_pile_pile_cc"]),
        (["train/the_pile_pile_cc", "train/the_pile_github"], "the_pile_github/val_loss", ["train/the_pile_github"]),
        (["Github", "Pile-CC"], "pile_cc", ["Pile-CC"]),
        (["github", "books"], "github_python", ["github"]),
        (["pubmed_central", "pubmed_abstracts"], "pubmed", []),  # two could be meant: neither is
        (["github", "books"], "hellaswag", []),
    ],
)
def test_names(domains, target, expected):
    assert own_domains(domains, [target]) == {target: expected}


def test_the_callers_word_goes_before_the_names():
    assert own_domains(["github", "books"], ["github"], {"github": None}) == {"github": []}
    assert own_matrix(["github", "books"], ["prose"], {"prose": ["books"]}).tolist() == [[0.0, 1.0]]


def test_unknown_names_are_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="Did you mean 'github'"):
        own_domains(["github"], ["x"], {"x": "githab"})
    with pytest.raises(ConfigError, match="not in y"):
        own_domains(["github"], ["x"], {"z": "github"})

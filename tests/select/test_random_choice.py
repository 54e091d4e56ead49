"""The contract of selectors, through random choice."""

import numpy as np
import pytest

from mixlaw.errors import ConfigError, DataError
from mixlaw.select import SELECTORS, Candidates, Scorer, Selector

HASH = "0123456789abcdef"


def candidates(num=200, seed=0):
    rng = np.random.default_rng(seed)
    return Candidates([f"d{i}" for i in range(num)], HASH, rng.integers(10, 500, num))


class Lengths:
    """A scorer from an array, as whoever has a model makes one."""

    unit = "tokens"

    def __init__(self, items):
        self.of = dict(zip(items.ids, items.sizes))

    def __call__(self, ids, target):
        return np.array([[self.of[i]] * max(len(target), 1) for i in ids])


def test_every_selector_keeps_the_contract():
    items = candidates()
    scorer = Lengths(items)
    assert isinstance(scorer, Scorer)
    size = dict(zip(items.ids, items.sizes))
    order = np.random.default_rng(1).permutation(len(items))
    shuffled = Candidates([items.ids[i] for i in order], HASH, items.sizes[order])
    assert "random_choice" in SELECTORS.names()
    for name in SELECTORS:
        selector = SELECTORS.make(name)
        assert isinstance(selector, Selector), name
        for budget in (1.0, 5000.0, 1e9):
            selection = selector(items, ("t1", "t2"), budget, scorer)
            assert sum(size[i] for i in selection.kept) <= budget
            assert selection.corpus_hash == HASH
            assert selection.selector["name"] == name
            assert set(selector(shuffled, ("t1", "t2"), budget, scorer).kept) == set(selection.kept)


def test_a_budget_above_all_takes_all_and_one_below_the_next_takes_none():
    items = candidates()
    choose = SELECTORS.make("random_choice")
    assert set(choose(items, (), float(items.sizes.sum())).kept) == set(items.ids)
    assert choose(items, (), 9.0).kept == ()


def test_a_smaller_budget_lies_inside_a_larger_one():
    items, choose = candidates(), SELECTORS.make("random_choice", {"seed": 5})
    small, large = choose(items, (), 3000.0), choose(items, (), 9000.0)
    assert large.kept[: len(small)] == small.kept
    assert len(small) < len(large)
    assert choose(items, (), 3000.0) == small
    assert SELECTORS.make("random_choice", {"seed": 6})(items, (), 3000.0) != small


def test_each_candidate_is_chosen_equally_often():
    items = Candidates([f"d{i}" for i in range(20)], HASH)
    counts = dict.fromkeys(items.ids, 0)
    for seed in range(1000):
        for name in SELECTORS.make("random_choice", {"seed": seed})(items, (), 5).kept:
            counts[name] += 1
    # chi-squared of 20 counts with mean 250: 19 degrees of freedom times the variance 1 - 5 / 20, 99.9% below 43.8
    statistic = sum((c - 250) ** 2 / 250 for c in counts.values()) / 0.75 * 19 / 20
    assert statistic < 43.8


def test_what_is_wrong_is_explained():
    with pytest.raises(DataError, match="'a' repeats"):
        Candidates(["a", "b", "a"], HASH)
    for sizes in ([1.0], [1.0, 0.0], [1.0, float("nan")]):
        with pytest.raises(DataError, match="one positive size each"):
            Candidates(["a", "b"], HASH, sizes)
    for budget in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match="positive budget"):
            SELECTORS.make("random_choice")(candidates(), (), budget)

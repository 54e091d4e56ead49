import itertools
import json
import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from mixlaw.data.budget import Budget, Group, Limit
from mixlaw.data.corpus import Corpus
from mixlaw.errors import ConfigError, InfeasibleBudgetError

NAMES = ("a", "b", "c")
share = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0])


@st.composite
def budgets(draw):
    floors, caps = {}, {}
    for name in NAMES:
        low, high = sorted((draw(share), draw(share)))
        if draw(st.booleans()):
            floors[name] = low
        if draw(st.booleans()):
            caps[name] = high
    groups = {}
    if draw(st.booleans()):
        low, high = sorted((draw(share), draw(share)))
        groups["ab"] = Group(("a", "b"), low, high)
    limits = {"fee": Limit({"c": 2.0}, draw(st.sampled_from([0.0, 200.0, 2000.0])))} if draw(st.booleans()) else {}
    epochs = draw(st.sampled_from([None, 1.0, 4.0, {"a": 2.0}]))
    return Budget(tokens=1000, max_epochs=epochs, floors=floors, caps=caps, groups=groups, limits=limits)


CORPUS = Corpus.declared({"a": 100, "b": 300, "c": 2000}, source="test")
LATTICE = [np.array(p) / 20 for p in itertools.product(range(21), repeat=3) if sum(p) == 20]


def allowed(budget, r):
    """The limits once more, straight from their definitions."""
    for name, w in zip(NAMES, r):
        epochs = budget.epochs_cap(name)
        if w < budget.floors.get(name, 0) - 1e-9 or w > budget.caps.get(name, 1) + 1e-9:
            return False
        if epochs is not None and w * budget.tokens > epochs * CORPUS[name].unique_tokens + 1e-6:
            return False
    weight = dict(zip(NAMES, r))
    for group in budget.groups.values():
        if not group.floor - 1e-9 <= sum(weight[d] for d in group.domains) <= group.cap + 1e-9:
            return False
    return all(
        sum(c * weight[d] * budget.tokens for d, c in limit.cost_per_token.items()) <= limit.total + 1e-6
        for limit in budget.limits.values()
    )


@settings(max_examples=40, deadline=None)
@given(budgets())
def test_arrays_say_what_the_words_say_and_check_agrees_with_brute_force(budget):
    c = budget.constraints(CORPUS)
    inside = [
        bool((r >= c.low - 1e-9).all() and (r <= c.high + 1e-9).all() and (c.matrix @ r <= c.upper + 1e-6).all())
        for r in LATTICE
    ]
    assert inside == [allowed(budget, r) for r in LATTICE]
    # Every limit above is a multiple of the lattice's step, so some lattice point is feasible if any mixture is.
    if any(inside):
        budget.check(CORPUS)
    else:
        with pytest.raises(InfeasibleBudgetError) as error:
            budget.check(CORPUS)
        assert error.value.conflict


@given(budgets())
def test_plain_data_round_trip(budget):
    assert Budget.from_dict(json.loads(json.dumps(budget.to_dict()))) == budget


def test_conflicts_are_said_in_words_with_numbers():
    corpus = Corpus.declared({"web": 500_000_000_000, "wikipedia": 3_100_000_000}, source="card")
    with pytest.raises(
        InfeasibleBudgetError, match=r"wikipedia: floor 20.00B.*12.40B tokens \(3.10B unique x 4 epochs"
    ):
        Budget(tokens="100B", max_epochs=4, floors={"wikipedia": 0.2}).check(corpus)
    with pytest.raises(InfeasibleBudgetError) as error:
        Budget(tokens=1000, caps={"a": 0.2, "b": 0.2, "c": 0.3}).check(CORPUS)
    assert len(error.value.conflict) == 4  # three caps and the sum
    with pytest.raises(InfeasibleBudgetError) as error:
        Budget(tokens=1000, floors={"a": 0.5, "b": 0.1, "c": 0.6}, caps={"b": 0.9}).check(CORPUS)
    assert not any("cap" in c for c in error.value.conflict)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 0}, "positive"),
        ({"tokens": "many"}, "not a non-negative number"),
        ({"tokens": 1, "max_epochs": 0}, "positive number"),
        ({"tokens": 1, "floors": {"a": 1.2}}, r"in \[0, 1\]"),
        ({"tokens": 1, "floors": {"a": 0.5}, "caps": {"a": 0.4}}, "floor 0.5 is above cap 0.4"),
        ({"tokens": 1, "groups": {"g": Group(("a",), 0.5, 0.2)}}, "Group 'g'"),
        ({"tokens": 1, "limits": {"l": Limit({"a": -1}, 1)}}, "Limit 'l'"),
        ({"tokens": 1, "max_epochs": "4x"}, "must be a positive number, got '4x'. Write 'max_epochs: 4'"),
        ({"tokens": 1, "caps": {"a": "high"}}, "cap of 'a' must be a share of tokens .* got 'high'"),
        ({"tokens": 1, "caps": ["a"]}, r"caps must be a table such as .* got \['a'\]"),
        ({"tokens": 1, "groups": {"g": ["a"]}}, r"Group 'g' must be a Group .* got \['a'\]"),
        ({"tokens": 1, "groups": {"g": Group(("a",), 0, "x")}}, "cap 'x'"),
        ({"tokens": 1, "limits": {"l": Limit({"a": "x"}, 1)}}, "Limit 'l' needs non-negative costs"),
    ],
)
def test_syntax_is_checked_when_made(options, message):
    with pytest.raises(ConfigError, match=message):
        Budget(**options)


def test_unknown_names_and_keys():
    with pytest.raises(ConfigError, match="caps names 'aa', which is not a domain"):
        Budget(tokens=10, caps={"aa": 0.1}).check(CORPUS)
    with pytest.raises(ConfigError, match="Did you mean 'max_epochs'"):
        Budget.from_dict({"tokens": 1, "max_epoch": 4})


def test_caps_that_do_not_fill_the_budget_are_added_up():
    corpus = Corpus.declared({"web": 600, "code": 400}, source="test")
    with pytest.raises(InfeasibleBudgetError, match=r"Together the caps allow 4\.00k tokens, 40\.0% of the budget"):
        Budget(tokens=10_000, max_epochs=4).check(corpus)


def fewest(c):
    """The size of a smallest set of limits that conflict, by trying all of them; the sum of the weights not counted."""
    k, m = len(c.domains), len(c.upper)
    lows, highs = [j for j in range(k) if c.low[j] > 0], [j for j in range(k) if c.high[j] < 1]
    limits = [("low", j) for j in lows] + [("high", j) for j in highs] + [("row", i) for i in range(m)]
    for size in range(1, len(limits) + 1):
        for some in combinations(limits, size):
            bounds = [
                (c.low[j] if ("low", j) in some else 0.0, c.high[j] if ("high", j) in some else 1.0) for j in range(k)
            ]
            rows = [i for kind, i in some if kind == "row"]
            if any(low > high for low, high in bounds):
                return size
            found = linprog(
                np.zeros(k),
                c.matrix[rows] if rows else None,
                c.upper[rows] if rows else None,
                [[1.0] * k],
                [1.0],
                bounds,
            )
            if found.status == 2:
                return size
    return 0


@settings(max_examples=60, deadline=None)
@given(budgets())
def test_a_conflict_is_the_smallest_there_is(budget):
    c = budget.constraints(CORPUS)
    least = fewest(c)
    if not least:
        budget.check(CORPUS)
        return
    with pytest.raises(InfeasibleBudgetError) as error:
        budget.check(CORPUS)
    assert len([label for label in error.value.conflict if label != "weights sum to 1"]) == least


def test_three_limits_are_named_where_three_of_many_conflict():
    """Deleting limits one after the other ended with the five group caps that do not fill the budget either."""
    names = [f"{n}{i}" for n in "abcde" for i in (1, 2)]
    corpus = Corpus.declared(dict.fromkeys(names, 10**6), source="test")
    groups = {n: Group((f"{n}1", f"{n}2"), cap=0.19) for n in "abcde"}
    floors = {"a1": 0.12, "a2": 0.12}
    with pytest.raises(InfeasibleBudgetError) as error:
        Budget(tokens=1000, floors=floors, groups=groups).check(corpus)
    # at least 0.24 of at most 0.19, whatever the weights sum to
    floor = "floor 120 tokens (0.12)"
    assert error.value.conflict == (f"a1: {floor}", f"a2: {floor}", "group a: cap 0.19")


def test_a_conflict_among_hundreds_of_domains_is_named_in_time():
    names = [f"d{j}" for j in range(300)]
    corpus = Corpus.declared(dict.fromkeys(names, 10**6), source="test")
    groups = {f"g{i}": Group(tuple(names[10 * i : 10 * i + 20]), cap=0.3) for i in range(20)}
    caps = dict.fromkeys(names, 0.003)
    start = time.perf_counter()
    with pytest.raises(InfeasibleBudgetError) as error:
        Budget(tokens=10**6, caps=caps, groups=groups).check(corpus)
    assert len(error.value.conflict) == 301  # every cap, and the sum
    with pytest.raises(InfeasibleBudgetError) as error:
        Budget(tokens=10**6, floors={"d3": 0.2, "d4": 0.15}, groups=groups).check(corpus)
    assert len(error.value.conflict) == 3
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize("given", [{}, {"max_epochs": 4}, None, [3]])
def test_a_budget_without_tokens_says_what_it_needs(given):
    with pytest.raises(ConfigError, match="budget needs 'tokens'"):
        Budget.from_dict(given)


@pytest.mark.parametrize("cost", [0.0, 1e-310, 1e-30])
def test_a_limit_that_costs_next_to_nothing_is_no_conflict(cost):
    budget = Budget(
        tokens=10**9,
        groups={"some": Group(("a", "b"), cap=0.6)},
        limits={"fees": Limit({"a": cost}, total=5000)},
    )
    with np.errstate(all="raise"), pytest.raises(InfeasibleBudgetError, match=r"cap 0\.6") as error:
        budget.check(Corpus.declared({"a": 10**9, "b": 10**9}, source="us"))
    assert "fees" not in str(error.value)

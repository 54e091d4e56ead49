"""The feasible set against closed forms, brute force and scipy."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlaw import Budget, Corpus
from mixlaw.data.budget import Group, Limit
from mixlaw.design import Polytope, cut
from mixlaw.errors import ConfigError, InfeasibleBudgetError

from random_budgets import budgets


def corpus_of(*tokens: int) -> Corpus:
    return Corpus.declared({f"d{j}": t for j, t in enumerate(tokens)}, source="test")


def capped(caps: list[float], **more) -> tuple[Corpus, Budget]:
    corpus = corpus_of(*[1000] * len(caps))
    return corpus, Budget(tokens=1000, caps={f"d{j}": c for j, c in enumerate(caps)}, **more)


@settings(max_examples=25, deadline=None)
@given(budgets(), st.integers(0, 5))
def test_random_points_projections_and_pulls_are_feasible(made, seed):
    corpus, budget = made
    p = Polytope.of(corpus, budget)
    rng = np.random.default_rng(seed)
    outside = rng.dirichlet(np.full(len(corpus.names), 0.3), size=5)
    for X in (p.centre[None], p.sample(5, rng), p.sample(3, rng, np.full(len(corpus.names), 0.1)), p.pull(outside)):
        assert p.contains(X).all(), p.excess(X)
    near = p.project(outside)
    assert p.contains(near).all()
    inside = p.contains(outside)
    assert np.abs(near[inside] - outside[inside]).max(initial=0) < 1e-7


def test_projection_agrees_with_a_quadratic_solver():
    from scipy.optimize import minimize

    corpus, budget = capped([0.5, 0.3, 0.6, 1.0], groups={"g": Group(("d0", "d3"), 0.2, 0.55)})
    p = Polytope.of(corpus, budget)
    for x in np.random.default_rng(0).dirichlet(np.full(4, 0.4), size=5):
        rows = [{"type": "eq", "fun": lambda r: r.sum() - 1}, {"type": "ineq", "fun": lambda r: p.upper - p.matrix @ r}]
        best = minimize(
            lambda r, x=x: ((r - x) ** 2).sum(), p.centre, bounds=list(zip(p.low, p.high)), constraints=rows, tol=1e-14
        )
        assert np.abs(p.project(x)[0] - best.x).max() < 1e-5


def test_gibbs_points_are_uniform():
    """Three domains with caps: means of an irregular hexagon's triangulation, against rejection from the simplex."""
    corpus, budget = capped([0.2, 0.5, 0.6])
    p = Polytope.of(corpus, budget)
    rng = np.random.default_rng(0)
    everywhere = rng.dirichlet(np.ones(3), size=200_000)
    exact = everywhere[p.contains(everywhere)]
    walked = p.walk(np.repeat(p.centre[None], 4000, axis=0), rng)
    assert np.abs(walked.mean(axis=0) - exact.mean(axis=0)).max() < 0.006
    assert np.abs(np.quantile(walked, [0.1, 0.9], axis=0) - np.quantile(exact, [0.1, 0.9], axis=0)).max() < 0.015


def test_gibbs_points_follow_a_truncated_dirichlet_under_groups():
    corpus = corpus_of(1000, 1000, 1000, 1000)
    budget = Budget(tokens=1000, caps={"d0": 0.3}, groups={"g": Group(("d1", "d2"), 0.2, 0.5)})
    p = Polytope.of(corpus, budget)
    alpha, rng = np.array([0.5, 2.0, 1.0, 0.7]), np.random.default_rng(1)
    everywhere = rng.dirichlet(alpha, size=200_000)
    exact = everywhere[p.contains(everywhere)]
    walked = p.walk(np.repeat(p.centre[None], 3000, axis=0), rng, alpha)
    assert np.abs(walked.mean(axis=0) - exact.mean(axis=0)).max() < 0.01


def test_a_fixed_group_sum_is_kept_and_the_rest_still_moves():
    corpus = corpus_of(1000, 1000, 1000, 1000)
    p = Polytope.of(corpus, Budget(tokens=1000, groups={"g": Group(("d0", "d1"), 0.4, 0.4)}))
    assert p.dimension == 2
    X = p.sample(200, np.random.default_rng(0))
    assert np.abs(X[:, :2].sum(axis=1) - 0.4).max() < 1e-9
    assert X[:, 0].std() > 0.08 and X[:, 2].std() > 0.1


def test_a_limit_that_cannot_bind_changes_nothing():
    corpus = corpus_of(10, 20)
    p = Polytope.of(corpus, Budget(tokens=30, limits={"fee": Limit({"d1": 1e-309}, 10.0)}))
    assert p.dimension == 1 and np.allclose(p.centre, 0.5) and p.high.tolist() == [1, 1]


def test_one_feasible_mixture():
    corpus, budget = capped([0.25, 0.75])
    p = Polytope.of(corpus, budget)
    assert p.dimension == 0 and np.allclose(p.centre, [0.25, 0.75])
    assert "exactly one" in str(cut(corpus, budget))


def volume_under_caps(caps: list[float]) -> float:
    """P(all r_j <= c_j) for a uniform mixture, by inclusion and exclusion."""
    k = len(caps)
    total = 0.0
    for size in range(k + 1):
        for chosen in combinations(caps, size):
            total += (-1) ** size * max(1 - sum(chosen), 0.0) ** (k - 1)
    return total


@pytest.mark.parametrize("caps", [[0.5, 0.5, 0.5], [0.1, 0.9, 0.3, 0.6], [0.22, 0.21, 0.25, 0.2, 0.23], [0.05, 1, 1]])
def test_cut_agrees_with_inclusion_and_exclusion(caps):
    corpus, budget = capped(caps)
    found, exact = cut(corpus, budget), volume_under_caps(caps)
    assert abs(float(found) / exact - 1) < max(5 * found.relative_error, 0.02), (float(found), exact)
    assert found.relative_error < 0.25


def test_cut_by_floors_is_exact_and_by_nothing_is_one():
    corpus = corpus_of(10, 20, 30)
    assert float(cut(corpus, Budget(tokens=60))) == 1.0
    assert "does not cut" in str(cut(corpus, Budget(tokens=60)))
    assert math.isclose(float(cut(corpus, Budget(tokens=60, floors={"d0": 0.2, "d1": 0.3}))), 0.25, rel_tol=1e-12)


def test_cut_names_the_tightest_domains_and_their_reach():
    corpus = corpus_of(9000, 1000, 500)
    found = cut(corpus, Budget(tokens=10_000, max_epochs=2))
    assert found.reach["d2"] == (0.0, pytest.approx(0.1))
    assert found.domains_cut == ("d1", "d2") and "d2 <= 0.1" in str(found)


def test_reach_under_groups_against_brute_force():
    corpus = corpus_of(1000, 1000, 1000)
    p = Polytope.of(corpus, Budget(tokens=1000, floors={"d2": 0.1}, groups={"g": Group(("d0", "d2"), 0.0, 0.4)}))
    low, high = p.reach()
    assert np.allclose(low, [0, 0.6, 0.1]) and np.allclose(high, [0.3, 0.9, 0.4])


def test_bad_budgets_are_explained():
    corpus = corpus_of(10, 20)
    with pytest.raises(InfeasibleBudgetError, match="cannot hold together"):
        cut(corpus, Budget(tokens=1000, max_epochs=2))
    with pytest.raises(ConfigError, match="d1"):
        cut(corpus, Budget(tokens=10, caps={"d11": 0.5}))

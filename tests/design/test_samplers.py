"""What every sampler must keep, and what each one is for."""

import copy
import inspect
import math
import pkgutil
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixlaw import Budget, Corpus, Observations, Schedule
from mixlaw.data.budget import Limit
from mixlaw.design import SAMPLERS, Polytope, propose
from mixlaw.design.grid import Grid
from mixlaw.design.optimal import criterion_value, exchange, parameter_gradient
from mixlaw.design.samplers.double_diminishing import levels, resample
from mixlaw.design.samplers.hierarchical import paths_of
from mixlaw.design.samplers.low_discrepancy import simplex_points
from mixlaw.design.samplers.maximin import farthest
from mixlaw.errors import ConfigError, DataError, InfeasibleBudgetError

from random_budgets import budgets

PILE = Corpus.declared(
    {"web": 500_000, "books": 120_000, "code": 90_000, "papers": 60_000, "wiki": 20_000, "maths": 8_000}, source="test"
)
PLAIN = Budget(tokens=1_000_000)
TIGHT = Budget(tokens=1_000_000, max_epochs=1.5, floors={"wiki": 0.01})


def matrix(schedules: list[Schedule], corpus: Corpus = PILE) -> np.ndarray:
    return np.array([s.mixture.array(corpus.names) for s in schedules])


def observed(X: np.ndarray, corpus: Corpus = PILE) -> Observations:
    runs = [{"run": f"r{i}", "schedule": dict(zip(corpus.names, row))} for i, row in enumerate(X)]
    values = [
        {"run": f"r{i}", "target": t, "value": float(3 - 0.2 * np.log(row[j] + 0.02) + 0.1 * row[0])}
        for i, row in enumerate(X)
        for j, t in enumerate(["web", "books"])
    ]
    return Observations.from_records(runs, values)


@pytest.mark.parametrize("name", SAMPLERS.names())
@pytest.mark.parametrize("budget", [PLAIN, TIGHT], ids=["plain", "tight"])
def test_feasible_distinct_deterministic(name, budget):
    first, again = (propose(PILE, budget, 10, sampler=name, seed=3) for _ in range(2))
    assert len(first) == 10 and len(set(first)) == 10 and first == again
    assert Polytope.of(PILE, budget).contains(matrix(first)).all()
    other = propose(PILE, budget, 10, sampler=name, seed=4)
    assert (first == other) == (name == "lattice")  # a lattice that can be listed whole has nothing to draw


@pytest.mark.parametrize("name", SAMPLERS.names())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=budgets(), seed=st.integers(0, 3))
def test_always_feasible_under_random_budgets(name, made, seed):
    corpus, budget = made
    polytope = Polytope.of(corpus, budget)
    try:
        found = propose(corpus, budget, 4, sampler=name, seed=seed)
    except ConfigError as error:  # only where the budget leaves too few mixtures
        low, high = polytope.reach()
        assert "different" in str(error) and (high - low).max() < 1e-3, str(error)
        return
    assert len(set(found)) == 4
    assert polytope.contains(matrix(found, corpus), 1e-8).all(), polytope.excess(matrix(found, corpus))


def test_limits_that_meet_within_rounding_error_have_a_centre():
    corpus = Corpus.declared({"d0": 100, "d1": 100, "d2": 100}, source="test")
    fee = Limit({"d0": 0.0, "d1": 2.0, "d2": 5.960464477539063e-08}, 888.8889021343655)  # found by hypothesis
    budget = Budget(1000, floors={"d1": 4 / 9}, caps={"d0": 1 / 3, "d1": 4 / 9}, limits={"fee": fee})
    polytope = Polytope.of(corpus, budget)
    assert polytope.contains(polytope.centre[None], 1e-9).all() and abs(polytope.centre.sum() - 1) < 1e-12


@pytest.mark.parametrize("name", [n for n in SAMPLERS.names() if n not in ("phases", "sequential")])
def test_observed_mixtures_are_not_proposed_again(name):
    first = propose(PILE, PLAIN, 5, sampler=name, seed=1)
    more = propose(PILE, PLAIN, 5, observations=observed(matrix(first)), sampler=name, seed=1)
    gap = np.abs(matrix(more)[:, None] - matrix(first)[None]).max(axis=2)
    assert gap.min() > 1e-7


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_bad_input(name):
    for num in (0, -3, 2.5, True):
        with pytest.raises(ConfigError, match="positive whole number"):
            propose(PILE, PLAIN, num, sampler=name)
    with pytest.raises(InfeasibleBudgetError):
        propose(PILE, Budget(tokens=10_000_000, max_epochs=2), 4, sampler=name)
    other = Corpus.declared({"web": 10, "kode": 10}, source="test")
    with pytest.raises(DataError, match="kode"):
        propose(PILE, PLAIN, 4, sampler=name, observations=observed(np.array([[0.5, 0.5]]), other))


def test_every_file_of_the_room_holds_a_sampler():
    from mixlaw.design import samplers

    files = [info.name for info in pkgutil.iter_modules(samplers.__path__)]
    assert files == SAMPLERS.names() and len(files) > 8
    for name in files:
        given = list(inspect.signature(SAMPLERS[name]).parameters.values())
        first = [(p.name, p.default) for p in given[:5]]
        assert [n for n, _ in first] == ["corpus", "budget", "num", "observations", "seed"], name
        assert first[3][1] is None and first[4][1] == 0, name
        assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in given[5:]), name


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_every_sampler_refuses_an_option_it_does_not_have(name):
    known = list(SAMPLERS.options(name))
    wrong = f"{known[0]}s" if known else "colour"
    with pytest.raises(
        ConfigError, match=f"has no option '{wrong}'" + (f".*Did you mean '{known[0]}'" if known else "")
    ):
        SAMPLERS.check(name, {wrong: 1})
    SAMPLERS.check(name, {option: p.default for option, p in SAMPLERS.options(name).items()})


def test_unknown_sampler_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'dirichlet'"):
        propose(PILE, PLAIN, 4, sampler="dirichlett")


def test_unknown_option_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'temperature'"):
        propose(PILE, PLAIN, 4, temprature=0.3)


def test_more_mixtures_than_exist():
    corpus = Corpus.declared({"a": 250, "b": 750}, source="test")
    with pytest.raises(ConfigError, match="only one"):
        propose(corpus, Budget(tokens=1000, max_epochs=1), 2)
    (only,) = propose(corpus, Budget(tokens=1000, max_epochs=1), 1)
    assert only.mixture.weights == pytest.approx((0.25, 0.75))


def test_a_thousand_domains():
    corpus = Corpus.declared({f"d{j}": 1000 + j for j in range(1000)}, source="test")
    found = propose(corpus, Budget(tokens=1_000_000, max_epochs=4), 4)
    assert Polytope.of(corpus, Budget(tokens=1_000_000, max_epochs=4)).contains(matrix(found, corpus)).all()


# ---- each sampler ------------------------------------------------------------------------------------
def test_dirichlet_centres_on_the_tempered_prior():
    X = matrix(propose(PILE, PLAIN, 600, seed=0))
    prior = np.sqrt(PILE.natural.array())
    assert np.abs(X.mean(axis=0) - prior / prior.sum()).max() < 0.035
    assert X[X > 0].min() >= 2e-4 * 0.99


def test_few_dirichlet_draws_hold_weak_and_strong_strengths():
    """Six runs of fifteen strengths must not be the six weakest, which are nearly all of one domain."""
    web = {"web": 878, "c4": 175, "code": 59, "books": 26, "papers": 28, "wiki": 24, "forum": 20}
    corpus = Corpus.declared({k: v * 10**9 for k, v in web.items()}, source="test")
    drawn = [matrix(propose(corpus, Budget(tokens="1B"), 6, seed=s), corpus).max(axis=1) for s in range(20)]
    pure = [int((m > 0.99).sum()) for m in drawn]
    assert max(pure) <= 3 and np.mean(pure) < 2
    assert np.mean([(m < 0.7).sum() for m in drawn]) > 2
    assert np.median([matrix(propose(corpus, Budget(tokens="1B"), 1, seed=s), corpus).max() for s in range(20)]) < 0.95


def test_dirichlet_bound_of_regmix():
    X = matrix(propose(PILE, PLAIN, 100, max_ratio=15.0))
    # nothing above 15 times its share except what had to be topped up inside the budget
    assert (np.minimum(1, 15 * PILE.natural.array()) + 1e-9 >= X).all(axis=1).mean() > 0.95


def test_lattice_is_the_whole_lattice_when_asked_for_all_of_it():
    corpus = Corpus.declared({"a": 5, "b": 5, "c": 5}, source="test")
    X = matrix(propose(corpus, Budget(tokens=15), 15, sampler="lattice", steps=4), corpus)
    assert {tuple(r) for r in np.round(X * 4).astype(int)} == {
        (i, j, 4 - i - j) for i in range(5) for j in range(5 - i)
    }
    with pytest.raises(ConfigError, match="fewer than"):
        propose(corpus, Budget(tokens=15), 16, sampler="lattice", steps=4)


def test_grid_counts_and_draws_evenly():
    grid = Grid([range(5)] * 4, 4)
    assert grid.count == math.comb(7, 3) == len(grid.all())
    drawn = grid.draw(7000, np.random.default_rng(0))
    counts = np.unique(drawn, axis=0, return_counts=True)[1]
    assert len(counts) == 35 and abs(counts / 200 - 1).max() < 0.35  # 200 expected each, sd 14


def test_double_diminishing_levels_of_the_paper():
    assert levels(1.0, 1 / 16) == [1, 0.5, 0.25, 0.125, 0.0625, 0]
    assert levels(0.5857, 1 / 16) == [0.5625, 0.28125, 0.140625, 0.0703125, 0]
    assert levels(0.05, 1 / 16) == [0]


def test_double_diminishing_on_redpajama_caps():
    """Caps of the paper for 100B tokens; every weight but the last domain's is one of its levels."""
    caps = [1, 1, 0.5857, 0.2588, 0.2254, 0.1779, 0.1727]
    names = [f"d{j}" for j in range(7)]
    tokens = [878, 175, 58, 26, 22, 18, 17]  # in the order of available share
    corpus = Corpus.declared(dict(zip(names, tokens)), source="test")
    X = matrix(
        propose(corpus, Budget(tokens=100, caps=dict(zip(names, caps))), 40, sampler="double_diminishing"), corpus
    )
    for j, cap in enumerate(caps[:-1]):
        allowed = np.array(levels(cap, 1 / 16))
        assert np.abs(X[:, j, None] - allowed[None]).min(axis=1).max() < 1e-9
    assert (X[:, -1] <= caps[-1] + 1e-9).all() and np.abs(X.sum(axis=1) - 1).max() < 1e-12
    mostly = matrix(propose(corpus, Budget(tokens=100), 40, sampler="double_diminishing", zero_weight=1.0), corpus)
    rarely = matrix(propose(corpus, Budget(tokens=100), 40, sampler="double_diminishing", zero_weight=0.05), corpus)
    assert (rarely == 0).mean() < (mostly == 0).mean() - 0.1


def test_resample_leaves_out_the_spoilt_runs():
    from sklearn.linear_model import LinearRegression

    rng = np.random.default_rng(0)
    X = rng.dirichlet(np.ones(4), 40)
    y = X @ np.array([1.0, 2.0, 3.0, 4.0])
    spoilt = rng.choice(40, 6, replace=False)
    y[spoilt] += 3.0
    found = resample(LinearRegression(), X, y, size=20, tries=200, seed=0)
    assert len(found.runs) == 20 and found.tried == 200
    assert len(set(found.runs) & set(spoilt)) <= 1  # by chance three would be among them
    with pytest.raises(ConfigError, match="size"):
        resample(LinearRegression(), X, y, size=40)


def test_maximin_keeps_more_distance_than_random():
    def closest(X):
        d = ((np.sqrt(X)[:, None] - np.sqrt(X)[None]) ** 2).sum(axis=2)
        return d[np.triu_indices(len(X), 1)].min()

    random = [closest(np.random.default_rng(s).dirichlet(np.ones(6), 20)) for s in range(5)]
    assert closest(matrix(propose(PILE, PLAIN, 20, sampler="maximin"))) > 3 * max(random)


def test_farthest_points_of_a_line():
    pool = np.linspace(0, 1, 101)[:, None]
    assert pool[farthest(pool, 3, near=[0.0])].ravel().tolist() == [0.0, 1.0, 0.5]


def test_simplex_map_keeps_uniformity():
    u = np.random.default_rng(0).random((40_000, 3))
    X = simplex_points(u)
    # uniform mixtures of K have E r = 1/K and Var r = (K-1) / (K^2 (K+1))
    assert np.abs(X.mean(axis=0) - 0.25).max() < 0.004
    assert np.abs(X.var(axis=0) - 3 / 80).max() < 0.001


def test_low_discrepancy_covers_more_evenly_than_random():
    def worst(X):  # share of points below each threshold against what is exact for uniform mixtures
        grid = np.linspace(0.05, 0.6, 12)
        return max(abs((X[:, j] < g).mean() - (1 - (1 - g) ** 5)) for j in range(6) for g in grid)

    random = np.median([worst(np.random.default_rng(s).dirichlet(np.ones(6), 64)) for s in range(9)])
    assert worst(matrix(propose(PILE, PLAIN, 64, sampler="low_discrepancy"))) < 0.6 * random


@pytest.mark.parametrize("name", ["d_optimal", "i_optimal", "maximin", "dirichlet", "double_diminishing", "lattice"])
def test_no_design_has_dust(name):
    """A weight of 1e-7 is no weight, and 1e-10 apart is no other mixture: both pass for a run and are not."""
    two = Corpus.declared({"a": 10**9, "b": 10**8}, source="test")
    many = Corpus.declared({f"d{i}": 10**9 // (i + 1) ** 3 for i in range(8)}, source="test")
    tight = Budget(tokens=10**9, max_epochs=4, floors={"d7": 1e-3})
    for corpus, budget in ((two, Budget(tokens=10**7)), (many, Budget(tokens=10**7)), (many, tight)):
        X, low = matrix(propose(corpus, budget, 12, sampler=name), corpus), budget.check(corpus).low
        assert not ((X - low > 0) & (X - low < 1e-5)).any()
        apart = np.abs(X[:, None] - X[None]).max(axis=2) + np.eye(len(X))
        assert apart.min() > 1e-4


def test_d_optimal_for_a_linear_law_is_the_vertices():
    """Scheffe's linear model: the D-optimal design of K runs is the K pure mixtures (Kiefer 1961)."""
    X = matrix(propose(PILE, PLAIN, 6, sampler="d_optimal", family="linear"))
    assert sorted(X.argmax(axis=1)) == list(range(6)) and X.max(axis=1).min() > 0.999


def test_d_optimal_for_a_quadratic_law_is_vertices_and_midpoints():
    """Kiefer 1961: weight on the pure mixtures and the halves of each pair, nothing else."""
    corpus = Corpus.declared({"a": 5, "b": 5, "c": 5}, source="test")
    pool = np.array([[i, j, 12 - i - j] for i in range(13) for j in range(13 - i)]) / 12
    G = np.hstack([pool, pool[:, [0]] * pool[:, [1]], pool[:, [0]] * pool[:, [2]], pool[:, [1]] * pool[:, [2]]])
    chosen = np.sort(np.round(pool[exchange(G, 6)], 6), axis=1)
    assert sorted(map(tuple, chosen)) == [(0, 0, 1)] * 3 + [(0, 0.5, 0.5)] * 3
    assert len(propose(corpus, Budget(tokens=15), 6, sampler="d_optimal", family="quadratic")) == 6


@pytest.mark.parametrize("criterion", ["D", "I"])
def test_exchange_against_all_subsets(criterion):
    from itertools import combinations

    rng = np.random.default_rng(0)
    G = rng.normal(size=(12, 3))
    sign = 1 if criterion == "D" else -1
    best = max(sign * criterion_value(G, list(c), criterion) for c in combinations(range(12), 5))
    found = sign * criterion_value(G, exchange(G, 5, criterion), criterion)
    assert found > best - 0.02 * abs(best)


def test_optimal_designs_beat_random_on_their_own_criterion():
    rng = np.random.default_rng(0)
    pool = rng.dirichlet(np.full(6, 0.5), 300)
    G = np.hstack([np.ones((300, 1)), np.log(pool + 0.01)])
    random = [rng.choice(300, 20, replace=False) for _ in range(20)]
    assert criterion_value(G, exchange(G, 20, "D"), "D") > max(criterion_value(G, c, "D") for c in random)
    assert criterion_value(G, exchange(G, 20, "I"), "I") < min(criterion_value(G, c, "I") for c in random)


DECLARED = ["m1", "m2", "m3", "m4", "implicit", "log_linear", "effective_tokens", "bi_mix", "auto_scale"]


@pytest.fixture(scope="module")
def fitted_laws():
    """Each parametric family, fitted to two sets of three domains."""
    from mixlaw.laws import LAWS

    rng = np.random.default_rng(0)
    X = rng.dirichlet(np.ones(3), 40)
    Y = np.column_stack([2 + 0.8 * np.exp(-2 * X[:, 0] - X[:, 1]), 3 - 0.2 * np.log(X[:, 2] + 0.05)])
    return {name: LAWS[name]().fit(X, Y + 0.01 * rng.normal(size=Y.shape)) for name in DECLARED}


@pytest.mark.parametrize("name", DECLARED)
def test_the_gradient_a_design_is_optimal_for_is_that_of_the_laws_own_parameters(name, fitted_laws):
    """As many directions as the law has parameters at most, and each the difference that a parameter makes."""
    law, X = fitted_laws[name], np.random.default_rng(1).dirichlet(np.ones(3), 200)
    G = parameter_gradient(law, X)
    assert G.shape[:2] == (2, 200)
    for g in G:
        singular = np.linalg.svd(g, compute_uv=False)
        assert (singular > 1e-9 * singular[0]).sum() <= law.num_free()
    width = law.theta_.shape[1]
    for p in range(G.shape[2]):
        moved = []
        for sign in (1, -1):
            other = copy.deepcopy(law)
            part, at = (other.theta_, p) if p < width else (other.linear_, p - width)
            part[:, at] += sign * 1e-6
            moved.append(other.predict(X))
        assert np.allclose((moved[0] - moved[1]).T / 2e-6, G[:, :, p], atol=1e-5)


def test_a_d_optimal_design_beats_others_on_the_laws_own_information(fitted_laws):
    """For M2, three parameters and one rate that they share: more information than the designs of random mixtures."""
    corpus = Corpus.declared({"x0": 9, "x1": 9, "x2": 9}, source="test")
    law = fitted_laws["m2"]
    pool = np.random.default_rng(2).dirichlet(np.ones(3), 400)

    def information(X):
        G = parameter_gradient(law, np.vstack([pool, X]))  # one scale for all designs
        return criterion_value(G, np.arange(len(pool), len(pool) + len(X)), "D")

    found = information(matrix(propose(corpus, Budget(tokens=9), 8, sampler="d_optimal", law=law), corpus))
    rng = np.random.default_rng(3)
    assert found > max(information(rng.dirichlet(np.ones(3), 8)) for _ in range(40))


def test_a_design_for_an_average_is_one_for_its_members():
    """Auto of parametric laws has the parameters of its members; a law without any is refused by name."""
    from mixlaw.laws import Auto

    X = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    law = Auto(families=["m4", "log_linear"]).fit(dict(zip("abc", X.T)), 2 + np.exp(-2 * X[:, 0] - X[:, 1]))
    corpus = Corpus.declared({"a": 9, "b": 9, "c": 9}, source="test")
    assert len(propose(corpus, Budget(tokens=9), 5, sampler="d_optimal", law=law)) == 5


@pytest.mark.parametrize("name", [n for n in SAMPLERS.names() if n != "sequential"])
@pytest.mark.parametrize("domains", [2, 6])
def test_no_two_runs_of_a_design_are_near_copies(name, domains):
    """Within a percent of the tokens in every weight: a run spent on what replicates are for."""
    corpus = PILE if domains == 6 else Corpus.declared({"a": 10**6, "b": 10**5}, source="test")
    for seed in range(10):
        schedules = propose(corpus, PLAIN if domains == 6 else Budget(tokens=10**5), 16, sampler=name, seed=seed)
        X = np.array([np.concatenate([p.mixture.array(corpus.names) for p in s.phases]) for s in schedules])
        apart = np.abs(X[:, None] - X[None]).max(axis=2)[np.triu_indices(16, 1)]
        assert apart.min() > 0.01 - 1e-4


def test_where_there_is_no_room_runs_lie_as_far_apart_as_they_can():
    """Twenty runs between 0.5 and 0.55 of one domain: 0.0025 apart, not a refusal."""
    corpus = Corpus.declared({"a": 10**6, "b": 10**6}, source="test")
    budget = Budget(tokens=10**6, floors={"a": 0.5}, caps={"a": 0.55})
    for name in ("dirichlet", "d_optimal", "maximin"):
        share = np.sort(matrix(propose(corpus, budget, 16, sampler=name), corpus)[:, 0])
        assert np.diff(share).min() > 1e-3


def test_design_for_a_fitted_law():
    from mixlaw.laws import M4

    rng = np.random.default_rng(0)
    X = rng.dirichlet(np.ones(6), 40)
    law = M4().fit(dict(zip(PILE.names, X.T)), 2 + np.exp(-2 * X[:, 0] - X[:, 1]))
    found = matrix(propose(PILE, TIGHT, 12, sampler="d_optimal", law=law))
    assert Polytope.of(PILE, TIGHT).contains(found).all()
    with pytest.raises(ConfigError, match="must agree"):
        other = Corpus.declared({"x": 5, "y": 6}, source="test")
        propose(other, Budget(tokens=11), 3, sampler="d_optimal", law=law)
    from mixlaw.laws import GaussianProcess

    with pytest.raises(ConfigError, match="no parameters"):
        propose(PILE, PLAIN, 3, sampler="d_optimal", law=GaussianProcess().fit(dict(zip(PILE.names, X.T)), X[:, 0]))


def test_hierarchical_moves_whole_sources():
    """With a flat Dirichlet of many cells a source's share hardly moves; down the tree it does."""
    tokens = {f"s{s}:t{t}:q{q}": 1000 for s in range(3) for t in range(5) for q in range(4)}
    corpus = Corpus.declared(tokens, source="test")
    budget = Budget(tokens=60_000)
    tree = matrix(propose(corpus, budget, 80, sampler="hierarchical"), corpus)
    flat = matrix(propose(corpus, budget, 80, sampler="low_discrepancy"), corpus)
    source = np.array([n.startswith("s0") for n in corpus.names])
    assert tree[:, source].sum(axis=1).std() > 2.5 * flat[:, source].sum(axis=1).std()
    assert abs(tree[:, source].sum(axis=1).mean() - 1 / 3) < 0.1


def test_hierarchical_paths():
    corpus = Corpus.declared({"a": 1, "b": 2}, source="test")
    assert paths_of(corpus, {"a": ("x", "y"), "b": ("x", "z")})["a"] == ("x", "y")
    with pytest.raises(ConfigError, match="lacks"):
        paths_of(corpus, {"a": ("x",)})
    with pytest.raises(ConfigError, match="differ"):
        paths_of(corpus, {"a": ("x",), "b": ("x",)})
    with pytest.raises(ConfigError, match="Did you mean"):
        paths_of(corpus, {"a": ("x",), "bb": ("y",)})


def test_phases_average_keeps_the_budget_while_phases_exceed_it():
    corpus = Corpus.declared({"web": 900_000, "wiki": 100_000}, source="test")
    budget = Budget(tokens=1_000_000, max_epochs=3)
    found = propose(corpus, budget, 20, sampler="phases", fractions=(0.8, 0.2))
    assert all(s.num_phases == 2 and s.phases[0].fraction == pytest.approx(0.8) for s in found)
    assert max(s.mixture["wiki"] for s in found) <= 0.3 + 1e-9
    assert max(s.phases[1].mixture["wiki"] for s in found) > 0.4  # a phase of its own may go beyond


def test_phases_reversed_pairs_share_their_average():
    found = propose(PILE, TIGHT, 6, sampler="phases")
    for a, b in zip(found[::2], found[1::2]):
        assert a.phases[0].mixture == b.phases[1].mixture and a != b
        assert np.allclose(a.mixture.array(), b.mixture.array())
    with pytest.raises(ConfigError, match="sum to 1"):
        propose(PILE, PLAIN, 4, sampler="phases", fractions=(0.5, 0.6))


def test_no_global_seeding_and_no_warnings():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        propose(PILE, TIGHT, 5)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002

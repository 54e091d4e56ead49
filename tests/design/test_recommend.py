"""Which mixture to use: not the luckiest run, and not a promise larger than its error."""

import numpy as np
import pytest

from mixlaw import Budget, Corpus, Mixture, Observations
from mixlaw.design import Recommendation, plan, recommend
from mixlaw.design.adaptive.recommendation import choose_among, credit, split_noise
from mixlaw.laws import GaussianProcess, LogLinear

NAMES = ("a", "b", "c")
CORPUS = Corpus.declared(dict.fromkeys(NAMES, 1_000_000), source="test")
BUDGET = Budget(tokens=1_000_000)
ONE = np.ones(1)


def smooth(X: np.ndarray) -> np.ndarray:
    return 3 + ((X - np.array([0.5, 0.3, 0.2])) ** 2).sum(axis=1)


def gp(X: np.ndarray, y: np.ndarray) -> GaussianProcess:
    return GaussianProcess(members=("bc/log",), iterations=15).fit(dict(zip(NAMES, X.T)), {"y": y})


def credited(law, X: np.ndarray, y: np.ndarray, pool: np.ndarray, noise: float | None = None):
    found, share = credit(law.predict(pool).T, X, y, pool, *split_noise(law, X, y[:, None], ONE, noise))
    return found[0], share


def observe(X: np.ndarray, y: np.ndarray) -> Observations:
    return Observations.from_records(
        [{"run": f"r{i}", "schedule": dict(zip(NAMES, row))} for i, row in enumerate(X)],
        [{"run": f"r{i}", "target": "y", "value": float(v)} for i, v in enumerate(y)],
    )


def rough_world(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.dirichlet(np.ones(3), 40)
    return X, smooth(X) + 0.05 * rng.normal(size=40)


def test_residuals_are_credited_only_where_they_are_not_luck():
    X, y = rough_world(0)
    law = gp(X, y)
    fitted = law.predict(X)[:, 0]
    total = split_noise(law, X, y[:, None], ONE)[0]
    none, share = credited(law, X, y, X)  # no replicates: all of it may be luck
    assert (share == 0).all() and none == pytest.approx(fitted)
    full, share = credited(law, X, y, X, noise=0.0)  # runs repeat exactly
    assert (share == 1).all() and full == pytest.approx(y)
    half, share = credited(law, X, y, X, noise=total / np.sqrt(2))
    assert half == pytest.approx((fitted + y) / 2, abs=1e-6)
    _, share = credited(law, X, y, X[:5] * 0.9 + 0.1 / 3, noise=0.0)
    assert np.isnan(share).all()


def test_replicates_tell_luck_from_roughness():
    """Replicates that agree show that what the law misses belongs to the mixture; replicates that differ do not."""
    X, y = rough_world(1)
    again = np.vstack([X, X[:8]])
    agree, differ = np.append(y, y[:8]), np.append(y, smooth(X[:8]) + 0.05 * np.random.default_rng(5).normal(size=8))
    calm, rough = split_noise(gp(again, agree), again, agree[:, None], ONE)
    noisy, flat = split_noise(gp(again, differ), again, differ[:, None], ONE)
    assert rough > calm and flat < noisy
    assert calm**2 + rough**2 == pytest.approx(gp(again, agree).seed_noise()[0] ** 2)


def test_an_untried_favourite_must_beat_the_best_tried_by_more_than_its_error():
    X, y = rough_world(2)
    law = gp(X, y)
    rng = np.random.default_rng(0)
    tried = credited(law, X, y, X, 0.02)[0].min()
    near = np.random.default_rng(1).dirichlet([50, 30, 20], 200)
    close = near[np.argmin(np.abs(law.predict(near)[:, 0] - tried))]  # as good, in the law's eyes, and nobody ran it
    picked = choose_among(law, X, y[:, None], ONE, np.vstack([X, close]), rng, 0.02)
    assert picked.tried and picked.error == 0 and picked.objective == pytest.approx(tried)
    far = X[smooth(X) > 3.15]  # only bad runs: now the middle is better by far more than its error
    law = gp(far, smooth(far))
    picked = choose_among(law, far, smooth(far)[:, None], ONE, np.vstack([far, [0.5, 0.3, 0.2]]), rng)
    assert not picked.tried and 0 < picked.error < 0.15
    alone = choose_among(law, far, smooth(far)[:, None], ONE, X[:3], rng)
    assert not alone.tried and alone.index == int(np.argmin(law.predict(X[:3])[:, 0]))  # better than two bad runs


def test_the_cautious_choice_loses_less_than_the_favourite_on_a_rough_world():
    """Mixtures with an effect of their own that repeats: a finite table, as in a replay of published runs."""
    cautious, bold = [], []
    for seed in range(12):
        rng = np.random.default_rng(100 + seed)
        table = rng.dirichlet(np.ones(3), 150)
        y = smooth(table) + 0.05 * rng.normal(size=150)
        bought = rng.choice(150, 40, replace=False)
        law = gp(table[bought], y[bought])
        picked = choose_among(law, table[bought], y[bought][:, None], ONE, table, rng, 0.0)
        cautious.append(y[picked.index] - y.min())
        bold.append(y[np.argmin(law.predict(table)[:, 0])] - y.min())
    assert np.mean(cautious) < 0.7 * np.mean(bold)


def test_recommend_and_plan_agree_and_say_why():
    rng = np.random.default_rng(3)
    X = rng.dirichlet(np.ones(3), 30)
    seen = observe(X, smooth(X) + 0.01 * rng.normal(size=30))
    law = GaussianProcess(members=("bc/log",), iterations=15)
    found = recommend(CORPUS, BUDGET, seen, law=law)
    assert found.mixture == plan(CORPUS, BUDGET, 4, seen, law=law, worlds=32, candidates=60).best
    assert smooth(found.mixture.array(NAMES)[None])[0] < 3.02
    assert found.promised <= found.objective + 1e-9
    said = Recommendation(Mixture({"a": 1.0}), 3.0, False, Mixture({"a": 1.0}), 3.0, 0.1)
    assert str(said) == "Use the law's favourite (3.0000 expected), which was not run."


def test_without_a_law_all_members_of_the_process_decide():
    rng = np.random.default_rng(3)
    X = rng.dirichlet(np.ones(3), 12)
    found = plan(CORPUS, BUDGET, 2, observe(X, smooth(X)), worlds=8, candidates=16)
    assert found.law.members == GaussianProcess().members and len(found.law.members) > 1


def test_recommend_keeps_to_a_run_that_repeats_and_says_what_was_promised():
    """One mixture is better than its neighbours by far more than the law can follow, and runs repeat exactly."""
    X, y = rough_world(5)
    lucky = int(np.argmin(y))
    y[lucky] -= 0.2
    law = GaussianProcess(members=("bc/log",), iterations=15)
    found = recommend(CORPUS, BUDGET, observe(X, y), law=law, noise=0.0)
    assert found.tried and found.mixture == Mixture.from_array(NAMES, X[lucky]) != found.favourite
    assert found.objective == pytest.approx(y[lucky]) and found.error > 0
    assert "Run it before you believe it" in str(found) and f"{found.promised:.4f}" in str(found)
    doubted = recommend(CORPUS, BUDGET, observe(X, y), law=law)  # may be luck: the residual is not credited
    assert doubted.objective > found.objective + 0.1


def test_noise_of_an_objective_is_that_of_its_own_residuals():
    """Roughness and noise shared by eight targets: the same split as for the objective as one column."""
    rng = np.random.default_rng(0)
    base = rng.dirichlet(np.ones(3), 60)
    X = np.vstack([base, np.repeat(base[:5], 3, axis=0)])
    shared = 0.05 * rng.normal(size=60)
    shared = np.append(shared, np.repeat(shared[:5], 3)) + 0.02 * rng.normal(size=75)
    Y = np.column_stack([3 + ((X - np.eye(3)[t % 3]) ** 2).sum(axis=1) * 0.3 for t in range(8)]) + shared[:, None]
    w = np.full(8, 1 / 8)
    law = GaussianProcess(members=("bc/log",), iterations=15)
    column = (Y @ w)[:, None]
    many = split_noise(law.fit(X, Y), X, Y, w, 0.02)
    one = split_noise(law.fit(X, column), X, column, ONE, 0.02)
    assert many == pytest.approx(one, rel=0.25)  # eight noises taken as independent leave a roughness near 0
    parametric = LogLinear(ridge=1e-3).fit(X, Y)
    residual = (parametric.predict(X) - Y) @ w
    assert parametric.residual_sd_of(w) == pytest.approx(np.sqrt((residual**2).mean()))


def test_recommend_works_with_a_parametric_law_under_a_budget_no_run_meets():
    X, y = rough_world(4)
    tight = Budget(tokens=1_000_000, caps={"a": 0.34, "b": 0.34, "c": 0.34})
    found = recommend(CORPUS, tight, observe(X, y), law=LogLinear(ridge=1e-3))
    assert not found.tried and np.isnan(found.error)
    assert max(found.mixture.array(NAMES)) <= 0.34 + 1e-9

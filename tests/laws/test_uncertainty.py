"""Intervals that cover, noise from replicates, profiles, and solutions that the data cannot tell apart."""

import numpy as np
import pytest
from scipy import stats

from mixlaw import laws
from mixlaw.errors import ConfigError, DataError
from mixlaw.laws.core.folds import fold_ids
from mixlaw.laws.core.replicates import chi2_quantile, replicate_noise
from mixlaw.laws.fit.engine import fit_batch
from mixlaw.laws.fit.likelihood import describe_optima, profile_likelihood
from mixlaw.laws.fit.objective import Prior

import truths


def test_intervals_cover_at_their_level():
    """New observations of 20 small swarms fall inside 90% intervals about that often, and inside 50% about that."""
    surface, hits = truths.exponential(k=3, targets=2, seed=1), {0.5: [], 0.9: []}
    for seed in range(20):
        X, Y = surface.sample(30, seed=seed, noise=0.03)
        law = laws.M4().fit(X, Y)
        there, seen = surface.sample(100, seed=500 + seed, noise=0.03)
        for level, inside in hits.items():
            low, high = law.predict_interval(there, level)
            inside.append(((seen >= low) & (seen <= high)).mean())
    assert 0.87 < np.mean(hits[0.9]) < 0.96
    assert 0.45 < np.mean(hits[0.5]) < 0.62


def test_intervals_widen_outside_the_tried_region():
    surface = truths.exponential(k=4, targets=1, seed=0)
    X, Y = surface.sample(40, noise=0.02, strength=20.0)  # close to uniform
    low, high = laws.M4().fit(X, Y).predict_interval(np.vstack([np.full(4, 0.25), np.eye(4)]))
    width = (high - low)[:, 0]
    assert (width[1:] > 2 * width[0]).all()


def test_noise_that_differs_between_mixtures_widens_the_intervals_there():
    rng = np.random.default_rng(0)
    base = truths.mixtures(12, 3, seed=0)
    X = np.repeat(base, 6, axis=0)
    sd = np.where(X[:, 0] > 0.4, 0.1, 0.005)
    Y = (1.0 + np.exp(-X[:, 1]) + sd * rng.normal(size=len(X)))[:, None]
    noise = replicate_noise(X, Y)
    assert noise.varies[0] and noise.dof == 60
    law = laws.M4().fit(X, Y[:, 0])
    low, high = law.predict_interval(base)
    loud = base[:, 0] > 0.4
    assert (high - low)[loud].min() > 2 * (high - low)[~loud].max()


def test_equal_noise_is_pooled():
    rng = np.random.default_rng(1)
    X = np.repeat(truths.mixtures(15, 3, seed=0), 3, axis=0)
    noise = replicate_noise(X, 0.2 * rng.normal(size=(45, 2)))
    np.testing.assert_allclose(noise.sd, 0.2, rtol=0.3)
    assert not noise.varies.any()
    assert np.isnan(replicate_noise(truths.mixtures(5, 3), np.ones(5)).sd).all()


@pytest.mark.parametrize("dof", [1, 2, 5, 20])
def test_chi_squared_quantiles(dof):
    assert chi2_quantile(0.95, dof) == pytest.approx(stats.chi2.ppf(0.95, dof), rel=0.02)


def test_profile_of_a_linear_model_is_the_t_interval():
    x = np.linspace(-1, 1, 40)
    y = 1.0 + 2.0 * x + 0.1 * np.random.default_rng(0).normal(size=40)
    A = np.column_stack([np.ones(40), x])

    def line(theta, problem):
        return theta @ A.T, np.broadcast_to(A, (len(theta), 40, 2))

    best = fit_batch(line, y, np.zeros(2)).best()
    profile = profile_likelihood(line, y, best.theta[0], 1, values=np.linspace(1.5, 2.5, 201))
    slope = stats.linregress(x, y)
    half = stats.norm.ppf(0.95) * slope.stderr
    assert profile.closed
    assert (profile.low, profile.high) == pytest.approx((slope.slope - half, slope.slope + half), abs=5e-3)
    short = profile_likelihood(line, y, best.theta[0], 1, values=np.linspace(1.99, 2.01, 5))
    assert not short.closed


def test_two_solutions_within_the_noise_are_both_shown():
    """y = (theta^2 - 1)^2-like symmetry: +theta and -theta fit equally well, and the text says so."""
    x = np.linspace(0, 1, 20)
    y = 4.0 * x + 0.05 * np.random.default_rng(0).normal(size=20)

    def square(theta, problem):
        return theta**2 * x, 2 * theta[:, :, None] * x[None, :, None]

    fit = fit_batch(square, y, [[1.0], [-1.0], [3.0]])
    found = describe_optima(fit, 20, ["theta"])
    values = sorted(o["parameters"]["theta"] for o in found["optima"])
    assert values == pytest.approx([-2.0, 2.0], abs=0.1) and not found["identified"]
    assert "2 solutions" in found["text"] and "theta -" in found["text"]
    alone = describe_optima(fit_batch(square, y, [[1.0], [3.0]]), 20, ["theta"])
    assert alone["identified"] and alone["text"] == ""


def test_flat_directions_are_named():
    x = np.linspace(0, 1, 20)

    def product(theta, problem):
        f = theta[:, :1] * theta[:, 1:2] * x
        J = np.stack([theta[:, 1:2] * x, theta[:, :1] * x, 0 * x + 0 * theta[:, :1]], axis=2)
        return f, J

    fit = fit_batch(product, 3 * x + 0.01 * np.sin(40 * x), [1.0, 1.0, 0.0])
    J = product(fit.best().theta, np.zeros(1))[1][0]
    found = describe_optima(fit, 20, ["a", "b", "unused"], curvature=J.T @ J)
    assert ["unused"] in found["flat"] and any(set(g) == {"a", "b"} for g in found["flat"])
    assert "Flat" in found["text"]


def test_latent_domains_are_said_not_to_be_unique():
    surface = truths.implicit(k=4, hidden=3, seed=0)
    X, Y = surface.sample(24, seed=1, noise=0.05)
    law = laws.Implicit(4, ridge=1e-4, num_starts=12).fit(X, Y)
    assert law.identifiability_["identified"] is False
    assert "fit equally well" in law.summary()
    assert laws.M4().fit(X, Y).identifiability_["identified"] is True


def test_parameter_intervals_hold_the_truth():
    surface = truths.exponential(k=3, targets=2, seed=4)
    inside = []
    for seed in range(6):
        X, Y = surface.sample(60, seed=seed, noise=0.01)
        law = laws.M4(ridge=0.0).fit(X, Y)
        low, high = (np.array(end) for end in law.intervals_["t"])
        truth = surface.parameters["t"] - surface.parameters["t"].mean(1, keepdims=True)
        inside.append(((truth >= low) & (truth <= high)).mean())
        assert np.shape(law.intervals_["c"][0]) == (2,)
    assert np.mean(inside) > 0.75


def test_bootstrap_needs_the_rows_and_says_so():
    X, Y = truths.exponential().sample(30)
    law = laws.M4().fit(X, Y)
    back = laws.Law.from_json(law.to_json())
    with pytest.raises(DataError, match="read from JSON"):
        back.bootstrap()
    law.intervals_  # made once ...
    again = laws.Law.from_json(law.to_json())
    assert again.intervals_["c"] == law.intervals_["c"]  # ... and saved from then on
    with pytest.raises(ConfigError, match="level"):
        law.predict_interval(X, 1.5)


def test_folds_do_not_depend_on_order_and_keep_replicates_together():
    X = np.vstack([truths.mixtures(20, 3, seed=0)] * 2)
    Y = np.random.default_rng(0).normal(size=(40, 1))
    Y[20:] = Y[:20]
    ids = fold_ids(X, Y, 5)
    np.testing.assert_array_equal(ids[:20], ids[20:])
    assert np.bincount(ids).tolist() == [8] * 5
    order = np.random.default_rng(1).permutation(40)
    np.testing.assert_array_equal(fold_ids(X[order], Y[order], 5), ids[order])
    np.testing.assert_array_equal(fold_ids(X[:, [2, 0, 1]], Y, 5), ids)


def test_profile_of_a_law_of_one_parameter_is_the_objective():
    x = np.linspace(0.1, 1, 30)
    y = 2 * x + 0.1 * np.random.default_rng(0).standard_normal(30)

    def slope(theta, problem):
        return theta * x, np.broadcast_to(x[:, None], (len(theta), 30, 1))

    best = x @ y / (x @ x)
    found = profile_likelihood(slope, y, [best], 0, values=np.linspace(1.5, 2.5, 201))
    sd = np.sqrt(((y - best * x) ** 2).sum() / 29 / (x @ x))
    assert found.best == pytest.approx(best)
    assert found.closed
    assert [found.low, found.high] == pytest.approx([best - 1.645 * sd, best + 1.645 * sd], abs=1e-3)
    ridge = profile_likelihood(slope, y, [best], 0, values=[1.0, 3.0], prior=Prior(0.0, 2.0))
    plain = profile_likelihood(slope, y, [best], 0, values=[1.0, 3.0])
    assert ridge.objective - plain.objective == pytest.approx(ridge.values**2)
    with pytest.raises(DataError, match="parameters 0 to 0"):
        profile_likelihood(slope, y, [best], 1, values=[1.0])

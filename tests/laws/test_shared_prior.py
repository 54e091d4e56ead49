"""Few runs and many targets: the ridge's centre is learned across targets where that predicts better."""

import numpy as np
import pytest

from mixlaw import laws
from mixlaw.errors import ConfigError
from mixlaw.laws.fit.shared_prior import SKIP, Comparable, learn_centres

import truths


def alike(T: int, K: int, spread: float):
    """Losses of T targets whose effects scatter by ``spread`` around common ones: t_tj = m_j + spread * noise."""
    rng = np.random.default_rng(3)
    t = rng.normal(0.0, 1.5, K) + spread * rng.normal(size=(T, K))
    return lambda X: 2.0 + np.exp(np.asarray(X) @ t.T)


@pytest.mark.parametrize("family", ["M4", "LogLinear", "M2"])
def test_targets_that_are_alike_help_each_other(family):
    loss = alike(10, 6, 0.2)
    X, there = truths.mixtures(16, 6, seed=0), truths.mixtures(200, 6, seed=1)
    Y = loss(X) + 0.2 * np.random.default_rng(0).normal(size=(16, 10))
    error = {}
    for prior in ("separate", "shared", "cv"):
        law = getattr(laws, family)(prior=prior).fit(X, Y)
        error[prior] = ((law.predict(there) - loss(there)) ** 2).mean()
        assert law.prior_shared_ is (prior != "separate")
        assert ("mean over all targets" in law.summary()) is law.prior_shared_
    assert error["cv"] == pytest.approx(error["shared"]) and error["shared"] < 0.9 * error["separate"]


def test_targets_that_have_nothing_in_common_are_left_alone():
    rng = np.random.default_rng(0)
    t = rng.normal(0.0, 2.0, (8, 5))
    X, there = truths.mixtures(30, 5, seed=0), truths.mixtures(100, 5, seed=1)
    Y = 2.0 + np.exp(X @ t.T)
    error = [
        np.abs(laws.M4(prior=prior).fit(X, Y).predict(there) - (2.0 + np.exp(there @ t.T))).mean()
        for prior in ("separate", "cv")
    ]
    assert error[1] < 1.1 * error[0] + 1e-4


def test_a_mean_within_its_error_is_no_mean():
    """Coefficients +1 and -1 in turn have no mean to speak of; equal ones keep theirs; own domains stay apart."""
    theta = np.array([[1.0, 5.0, 9.0], [-1.0, 5.1, 0.1], [1.0, 8.0, 0.0], [-1.0, 4.9, -0.1]])[None]
    own = np.array([[0, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=float)
    centre, linear = learn_centres(
        Comparable(np.arange(3), np.array([SKIP])),
        theta,
        np.ones((1, 4, 2)),
        np.zeros((4, 3)),
        own,
        np.ones(4),
        np.ones(4),
    )
    np.testing.assert_array_equal(centre[0, :, 0], 0.0)
    np.testing.assert_allclose(centre[0, [0, 1, 3], 1], 5.0, atol=0.01)
    assert centre[0, 0, 2] == centre[0, 2, 1] == pytest.approx(8.5, abs=0.1)
    np.testing.assert_array_equal(linear, 0.0)


def test_what_cannot_be_shared_says_so():
    X, Y = truths.exponential(k=3, targets=2, seed=0).sample(12)
    with pytest.raises(ConfigError, match="nothing to share"):
        laws.M3(prior="shared").fit(X, Y)
    with pytest.raises(ConfigError, match="prior='both'"):
        laws.M4(prior="both").fit(X, Y)
    assert not laws.M4(prior="shared").fit(X, Y[:, 0]).prior_shared_  # one target has nobody to share with


def test_intervals_and_resamples_keep_the_learned_centre():
    loss = alike(6, 6, 0.2)
    X = truths.mixtures(12, 6, seed=0)
    law = laws.M4(prior="shared").fit(X, loss(X) + 0.01 * np.random.default_rng(0).normal(size=(12, 6)))
    low, high = (np.array(end) for end in law.intervals_["t"])
    inside = (low - 0.3 <= law.parameters_["t"]) & (np.array(law.parameters_["t"]) <= high + 0.3)
    assert inside.mean() > 0.9
    again = law.reweighted(np.ones((1, 12)))[0]
    np.testing.assert_allclose(again.predict(X), law.predict(X), atol=1e-4)

"""What a law says of y: units, links and likelihoods, and a small law of a probability that is built on them."""

import numpy as np
import pytest

from mixlaw.errors import ConfigError, DataError
from mixlaw.laws import Law
from mixlaw.laws.core.response import NATS, SCORE, TIME, Response, probability

RESPONSES = {"nats": NATS, "score": SCORE, "time": TIME, "share": probability(), "choice of four": probability(0.25)}


class Accuracy(Law):
    """Share of items answered, a logistic curve of the loss above the score of guessing; by Newton's method."""

    kind = "capability"
    response = probability(floor=0.25)

    def _fit(self, X, Y, sample_weight):
        Z = np.column_stack([np.ones(len(X)), X - X.mean(axis=0)])
        self.centre_, theta = X.mean(axis=0), np.zeros(Z.shape[1])
        for _ in range(50):
            mean, slope = self.response.from_link(Z @ theta), self.response.slope(Z @ theta)
            variance = np.maximum(mean * (1 - mean), 1e-9)
            gradient = Z.T @ (sample_weight * slope * (Y[:, 0] - mean) / variance)
            step = np.linalg.solve(Z.T @ (Z * (sample_weight * slope**2 / variance)[:, None]), gradient)
            theta += step
            if np.abs(step).max() < 1e-10:
                break
        self.theta_ = theta[None]
        self.parameters_ = {"intercept": float(theta[0]), "slope": float(theta[1])}
        self.objective_ = float(self.response.deviance(Y, self._predict(X), sample_weight[:, None]).sum())

    def _predict(self, X):
        Z = np.column_stack([np.ones(len(X)), X - self.centre_])
        return self.response.from_link(Z @ self.theta_[0])[:, None]


def answered(seed=0, num=60, items=400):
    """(n, 1) losses, (n,) shares of ``items`` answered, and the true curve."""
    rng = np.random.default_rng(seed)
    loss = rng.uniform(1.5, 3.5, (num, 1))
    truth = Accuracy.response.from_link(1.0 - 2.0 * (loss[:, 0] - 2.5))
    return loss, rng.binomial(items, truth) / items, truth


def test_a_law_of_a_probability_finds_its_truth_and_keeps_to_its_range():
    loss, share, truth = answered()
    law = Accuracy().fit(loss, share, np.full(len(loss), 400.0))
    assert law.parameters_["slope"] == pytest.approx(-2.0, abs=0.15)
    assert np.abs(law.predict(loss) - truth).max() < 0.02
    easy = law.predict_interval([[0.1]], 0.99), law.predict_interval([[9.0]], 0.99)
    assert easy[0][1][0] <= 1.0 and easy[1][0][0] >= 0.0
    half = np.subtract(*law.predict_interval(loss, 0.9)[::-1]) / 2
    assert 0.8 <= np.mean(np.abs(share - law.predict(loss)) <= half) <= 1.0
    assert law.objective_ / (len(loss) - 2) == pytest.approx(1.0, abs=0.4)  # deviance per degree of freedom


def test_the_public_state_comes_with_any_law():
    loss, share, _ = answered(1, num=30)
    law = Accuracy().fit(loss, share)
    X, Y, weight = law.training
    np.testing.assert_array_equal(X, loss)
    assert Y.shape == (30, 1) and weight.tolist() == [1.0] * 30
    assert np.abs(law.heldout[:, 0] - share).mean() > np.abs(law.predict(loss) - share).mean()
    draws = law.sample(loss[:5], 60, np.random.default_rng(0))
    assert draws.shape == (60, 5, 1) and 0.001 < draws.std(axis=0).max() < 0.1
    assert np.isnan(law.seed_noise()).all() and law.notes == [] and law.league_ is None and law.certifiable_ is None


def test_a_percentage_is_refused():
    loss, share, _ = answered()
    with pytest.raises(DataError, match="Give shares, not percentages"):
        Accuracy().fit(loss, 100 * share)
    with pytest.raises(DataError, match="a time is positive"):
        TIME.check(np.array([[1.0], [0.0]]))
    NATS.check(np.array([[-1.0]]))


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
def test_link_inverse_and_slope_agree(response):
    z = np.linspace(-4, 4, 41)
    np.testing.assert_allclose(response.to_link(response.from_link(z)), z, atol=1e-9)
    steps = (response.from_link(z + 1e-6) - response.from_link(z - 1e-6)) / 2e-6
    np.testing.assert_allclose(response.slope(z), steps, rtol=1e-6, atol=1e-9)
    low, high = response.range
    assert low <= response.from_link(-50.0) <= response.from_link(50.0) <= high


def test_binomial_deviance_is_that_of_the_items():
    from scipy.stats import binom

    response, mean = probability(), np.array([[0.3], [0.6], [0.5]])
    hits, items = np.array([[0.0], [40.0], [17.0]]), 40
    best = binom.logpmf(hits, items, hits / items)
    expected = 2 * (best - binom.logpmf(hits, items, mean))
    np.testing.assert_allclose(response.deviance(hits / items, mean, items), expected, atol=1e-9)


@pytest.mark.parametrize(
    "wrong, word",
    [
        ({"unit": "nats", "link": "probit"}, "link='probit'"),
        ({"unit": "nats", "likelihood": "binomial"}, "does not suit"),
        ({"unit": "probability", "link": "logit", "likelihood": "binomial", "floor": 1.0}, "floor=1.0"),
        ({"unit": "time", "floor": 0.2}, "has none"),
        ({"unit": "score", "likelihood": "poisson"}, "likelihood='poisson'"),
    ],
)
def test_declarations_that_contradict_themselves_are_refused(wrong, word):
    with pytest.raises(ConfigError, match=word):
        Response(**wrong)

"""The seam for a law from loss to accuracy: a logistic curve above guessing, declared, fitted by maximum likelihood."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binom

from mixlaw.errors import ConfigError, DataError
from mixlaw.laws import LAWS, CapabilityLaw, Law, Positive, probability
from mixlaw.laws.core.response import SCORE
from mixlaw.report import plots


class LossToAccuracy(CapabilityLaw):
    """``accuracy = floor + (1 - floor) / (1 + exp(-slope (middle - loss)))``, four answers to choose from."""

    name = "loss_to_accuracy_of_the_test"
    columns = ("loss",)
    response = probability(floor=0.25)
    parameters = {
        "middle": Positive(2.6, "loss at which half of what guessing leaves is known, nats"),
        "slope": Positive(4.0, "logits per nat"),
    }

    def accuracy(self, p, loss):
        return self.response.from_link(p.slope * (p.middle - loss))

    def slopes(self, p, loss):
        steep = self.response.slope(p.slope * (p.middle - loss))
        return {"middle": p.slope * steep, "slope": (p.middle - loss) * steep}


@pytest.fixture(scope="module", autouse=True)
def registered():
    LAWS.register(LossToAccuracy.name, LossToAccuracy)


def answered(num=40, seed=0):
    """Losses, shares of items right, and how many items each model was asked."""
    rng = np.random.default_rng(seed)
    X = LossToAccuracy().example_rows(num, rng)
    items = rng.integers(50, 2000, num)
    return X, rng.binomial(items, LossToAccuracy().example_losses(X)) / items, items


def test_the_fit_is_the_most_likely_curve():
    X, share, items = answered()
    law = LossToAccuracy().fit(X, share, sample_weight=items)

    def unlikely(theta):
        mean = 0.25 + 0.75 / (1 + np.exp(-theta[1] * (theta[0] - X["loss"])))
        return -binom.logpmf(np.round(share * items), items, mean).sum()

    best = minimize(unlikely, [2.5, 3.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-10})
    np.testing.assert_allclose([law.parameters_["middle"], law.parameters_["slope"]], best.x, rtol=1e-5)
    saturated = -binom.logpmf(np.round(share * items), items, share).sum()
    assert law.objective_ == pytest.approx(best.fun - saturated, rel=1e-6)
    alike = LossToAccuracy().fit(X, share)  # items matter
    assert abs(alike.parameters_["slope"] - law.parameters_["slope"]) > 1e-3


def test_shares_of_nothing_and_of_everything_are_measurements():
    loss = np.linspace(0.5, 5.0, 30)
    law = LossToAccuracy().fit({"loss": loss}, np.where(loss < 2.6, 1.0, 0.0))
    assert law.converged_ and np.isfinite(law.predict({"loss": loss})).all()


def test_predictions_keep_to_the_floor_and_intervals_to_what_can_be_measured():
    X, share, items = answered()
    law = LossToAccuracy(bootstrap=60).fit(X, share, sample_weight=items)
    far = {"loss": np.array([0.01, 2.6, 50.0])}
    assert ((law.predict(far) >= 0.25) & (law.predict(far) <= 1.0)).all()
    low, high = law.predict_interval(far, 0.99)
    assert (low >= 0).all() and (high <= 1).all() and (low < high).all()
    assert high[1] - low[1] > high[0] - low[0]  # a share scatters most in the middle
    assert low[2] < 0.25  # who guesses is below the mean of guessing half of the time
    draws = law.sample(far, 50, np.random.default_rng(0))
    assert ((draws >= 0.25) & (draws <= 1.0)).all()


def test_intervals_profile_json_and_plots_are_inherited(tmp_path):
    X, share, _ = answered()
    Y = {"quiz": share, "exam": np.where(np.arange(40) % 5 == 0, np.nan, share)}
    law = LossToAccuracy(bootstrap=40).fit(X, Y)
    assert np.shape(law.intervals_["slope"]) == (2, 2)
    found = law.profile("middle", "exam")
    assert found.closed and found.low < 2.6 < found.high
    again = Law.from_json(law.to_json())
    np.testing.assert_array_equal(again.predict(X), law.predict(X))
    np.testing.assert_allclose(again.predict_interval(X), law.predict_interval(X), rtol=1e-12)
    names = {path.stem for path in plots.save_all(law, X, Y, tmp_path, unit="share of items right")}
    assert {"fit_vs_observed", "residuals", "parameter_intervals", "extrapolation_loss"} <= names


def test_what_it_cannot_use_is_refused():
    X, share, _ = answered()
    with pytest.raises(DataError, match="Give shares, not percentages"):
        LossToAccuracy().fit(X, 100 * share)
    with pytest.raises(DataError, match="loss must be positive"):
        LossToAccuracy().fit({"loss": -X["loss"]}, share)
    with pytest.raises(ConfigError, match="response must be a probability"):
        type("Wrong", (LossToAccuracy,), {"response": SCORE})().fit(X, share)

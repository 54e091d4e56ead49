"""Losses known only as bounds: diverged and stopped runs."""

import warnings

import numpy as np
import pyarrow as pa
import pytest

from mixlaw import laws
from mixlaw.errors import ConfigError, DataError, MixlawError, MixlawWarning, NotIdentifiableError, TooFewRunsError

import truths


def stopped_runs():
    """40 runs of which those above a loss were stopped there: (X, bounds and losses, side, loss)."""
    surface = truths.exponential(k=3, targets=2, seed=0)
    X, Y = surface.sample(40, seed=0, noise=0.005)
    limit = np.quantile(Y[:, 0], 0.6)
    side = np.zeros_like(Y)
    side[Y[:, 0] > limit, 0] = 1
    return X, np.where(side > 0, limit, Y), side, surface.loss


@pytest.mark.parametrize("family", ["M1", "M2", "M4", "LogLinear", "EffectiveTokens", "BiMix", "AutoScale", "Implicit"])
def test_a_bound_beats_a_wrong_number(family):
    X, Y, side, loss = stopped_runs()
    there = truths.mixtures(200, 3, seed=5)
    make = getattr(laws, family)
    with warnings.catch_warnings():  # a wrong number can leave a valley too flat to be certified
        warnings.simplefilter("ignore", MixlawWarning)
        wrong = make().fit(X, Y)
        known = make().fit(X, Y, censored=side)
    off_wrong, off_known = (np.abs(law.predict(there) - loss(there))[:, 0].mean() for law in (wrong, known))
    assert off_known < 0.5 * off_wrong
    stopped = side[:, 0] > 0
    assert (known.predict(X)[stopped, 0] > Y[stopped, 0] - 0.03).all()  # the law lies on the right side of the bounds
    assert "bounds" in known.summary()
    low, high = known.predict_interval(there)
    assert np.isfinite(low).all() and np.isfinite(high).all()


def test_all_that_says_which_values_are_bounds_means_the_same():
    X, Y, side, _ = stopped_runs()
    want = laws.M4().fit(X, Y, censored=side).predict(X)
    columns = {"y0": side[:, 0]}
    words = np.where(side > 0, "above", "")
    for given in (columns, pa.table(columns), words, side > 0, {"y0": words[:, 0]}):
        np.testing.assert_array_equal(laws.M4().fit(X, Y, censored=given).predict(X), want)
    whole_runs = laws.M4().fit(X, Y[:, 0], censored=side[:, 0].astype(int)).predict(X)
    assert np.isfinite(whole_runs).all()


def test_refits_keep_the_bounds():
    X, Y, side, _ = stopped_runs()
    law = laws.M4().fit(X, Y, censored=side)
    stopped = side[:, 0] > 0
    for other in law.reweighted(np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), 5)):
        assert (other.predict(X)[stopped, 0] > Y[stopped, 0] - 0.1).all()
    assert "c" in law.intervals_ and law.profile("c", target="y0").low < law.parameters_["c"][0]


def test_chinchilla_with_runs_that_were_stopped():
    N, D = (v.ravel() for v in np.meshgrid([1e8, 3e8, 1e9, 3e9], [2e9, 6e9, 2e10, 6e10]))
    loss = 1.8 + 480 / N**0.35 + 2100 / D**0.37
    side = np.zeros(16)
    side[:4] = 1
    y = loss - 0.1 * side
    law = laws.Chinchilla(bootstrap=50).fit(np.c_[N, D], y, censored=side)
    assert law.parameters_["E"] == pytest.approx(1.8, abs=0.02)
    assert abs(laws.Chinchilla().fit(np.c_[N, D], y).parameters_["E"] - 1.8) > 0.1
    assert law.intervals_["E"][0] <= law.parameters_["E"] <= law.intervals_["E"][1] + 1e-9


def test_a_bound_measures_nothing_at_its_size():
    """Three sizes, but the runs of one were all stopped (or weigh nothing, or have no loss): two are measured."""
    N, D = (v.ravel() for v in np.meshgrid([1e8, 3e8, 1e9], [2e9, 6e9, 2e10, 6e10]))
    loss = 1.8 + 480 / N**0.35 + 2100 / D**0.37
    last = N == 1e9
    for options, y in (
        ({"censored": last.astype(int)}, loss),
        ({"sample_weight": (~last).astype(float)}, loss),
        ({}, np.where(last, np.nan, loss)),
    ):
        with pytest.raises(NotIdentifiableError, match="3 different params"):
            laws.Chinchilla().fit(np.c_[N, D], y, **options)


@pytest.mark.parametrize(
    "given, error, words",
    [
        (np.zeros(39), DataError, "shape"),
        (np.full(40, 2), DataError, "row 0"),
        (np.full(40, "up"), DataError, "above"),
        ({"loss": np.zeros(40)}, ConfigError, "loss"),
        ({"y0": np.zeros(3)}, DataError, "40 runs"),
        (np.ones(40), TooFewRunsError, "different mixtures"),
    ],
)
def test_what_cannot_be_read_is_named(given, error, words):
    X, Y, _, _ = stopped_runs()
    with pytest.raises(error, match=words):
        laws.M4().fit(X, Y, censored=given)


def test_a_bound_needs_its_number_and_a_law_that_takes_it():
    X, Y, side, _ = stopped_runs()
    with pytest.raises(DataError, match="Put the bound into y"):
        laws.M4().fit(X, np.where(side > 0, np.nan, Y), censored=side)
    for law in (laws.GaussianProcess(), laws.Auto(), laws.published("besiroglu2024")):
        with pytest.raises(MixlawError, match=r"censored|not fitted"):
            law.fit(X, Y, censored=side)

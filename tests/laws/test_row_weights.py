"""Weights of rows reach intervals and profiles: 0 is as left out, their scale says nothing, equal ones do nothing."""

import numpy as np
import pytest

from mixlaw import laws
from mixlaw.errors import DataError
from mixlaw.laws.core.heldout import relative_weights

import truths


def mixtures(bad=6):
    surface = truths.exponential(k=4, targets=2, seed=1)
    X, Y = surface.sample(40, seed=0, noise=0.02)
    Y[:bad] += 1.0
    return X, Y


def sizes(bad=6):
    N, D = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e8, 3e10, 6), indexing="ij"))
    loss = (1.8 + 480 / N**0.35 + 2100 / D**0.37) * np.exp(0.005 * np.random.default_rng(0).normal(size=30))
    loss[:bad] += 1.0
    order = np.random.default_rng(1).permutation(30)
    back = np.argsort(order)[:bad]
    return np.c_[N, D][order], loss[order], back


FAMILIES = [laws.M4(), laws.LogLinear(), laws.EffectiveTokens(), laws.M4(loss="huber")]


@pytest.mark.parametrize("law", FAMILIES, ids=lambda law: type(law).__name__ + law.loss)
def test_a_row_of_weight_zero_is_as_one_left_out(law):
    X, Y = mixtures()
    there = X[10:15]
    alone = law.fit(X[6:], Y[6:]).predict_interval(there)
    weights = np.r_[np.zeros(6), np.full(34, 7.0)]
    law.fit(X, Y, sample_weight=weights)
    np.testing.assert_allclose(law.predict_interval(there), alone, rtol=1e-9)
    assert np.isnan(law.heldout_[:6]).all() and np.isfinite(law.heldout_[6:]).all()
    assert max(law.heldout_error_.values()) < 0.1


def test_sizes_of_weight_zero_are_as_left_out():
    X, loss, bad = sizes()
    weights = np.ones(30)
    weights[bad] = 0.0
    rest = weights > 0
    there = np.array([[1e8, 1e9], [1e9, 1e11]])
    law = laws.Chinchilla().fit(X, loss, sample_weight=weights)
    alone = laws.Chinchilla().fit(X[rest], loss[rest])
    np.testing.assert_allclose(law.predict_interval(there), alone.predict_interval(there), rtol=1e-5)


def test_hardly_any_weight_is_hardly_any_say():
    X, Y = mixtures()
    there = X[10:15]
    widths = []
    for weight in (0.0, 1e-6, 1.0):
        low, high = laws.M4().fit(X, Y, sample_weight=np.r_[np.full(6, weight), np.ones(34)]).predict_interval(there)
        widths.append((high - low).mean())
    assert widths[1] == pytest.approx(widths[0], rel=0.3)
    assert widths[2] > 10 * widths[0]


def test_the_scale_of_the_weights_says_nothing():
    X, Y = mixtures(bad=0)
    there, weights = X[:5], np.random.default_rng(0).uniform(0.1, 2.0, 40)
    first = laws.M4().fit(X, Y, sample_weight=weights).predict_interval(there)
    for scale in (1e-3, 100.0):
        law = laws.M4().fit(X, Y, sample_weight=scale * weights)
        np.testing.assert_allclose(law.predict_interval(there), first, rtol=1e-6)
    S, loss, _ = sizes(bad=0)
    weights = np.random.default_rng(0).uniform(0.1, 2.0, 30)
    found = []
    for scale in (0.01, 1.0, 100.0):
        law = laws.Chinchilla(loss="squared").fit(S, loss, sample_weight=scale * weights)
        profile = law.profile("alpha")
        found.append([profile.low, profile.high, *np.ravel(law.predict_interval(S[:2]))])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    np.testing.assert_allclose(found[2], found[1], rtol=1e-5)


@pytest.mark.parametrize("loss", ["squared", "huber"])
def test_profiles_do_not_narrow_as_equal_weights_grow(loss):
    X, y, _ = sizes(bad=0)
    ends = []
    for weight in (1.0, 100.0):
        profile = laws.Chinchilla(loss=loss).fit(X, y, sample_weight=np.full(30, weight)).profile("alpha")
        ends.append((profile.low, profile.high))
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-6)


def test_equal_weights_change_nothing():
    X, Y = mixtures()
    there = X[10:15]
    plain = laws.M4().fit(X, Y).predict_interval(there)
    np.testing.assert_array_equal(laws.M4().fit(X, Y, sample_weight=np.full(40, 0.3)).predict_interval(there), plain)


def test_errors_count_by_their_weight():
    """Two kinds of rows, loud and quiet: the interval is that of the kind which has the weight."""
    rng = np.random.default_rng(0)
    N = np.geomspace(1e6, 1e10, 400)[:, None]
    loud = np.arange(400) % 2 == 0
    y = (1e13 / N[:, 0]) ** 0.08 * np.exp(np.where(loud, 0.05, 0.005) * rng.normal(size=400))
    half = []
    for weights in (np.where(loud, 1.0, 0.01), np.where(loud, 0.01, 1.0)):
        low, high = laws.Kaplan("N").fit(N, y, sample_weight=weights).predict_interval([[1e8]])
        half.append(float(high[0] - low[0]) / 2 / 2.5)
    assert half[0] == pytest.approx(1.645 * 0.05, rel=0.25)
    assert half[1] == pytest.approx(1.645 * 0.005, rel=0.25)


def test_a_fold_that_cannot_be_fitted_has_no_say():
    """The one run of a third size: without it the law cannot be fitted, so it has no held-out prediction."""
    X, y, _ = sizes(bad=0)
    few = np.isin(X[:, 0], np.unique(X[:, 0])[:2])
    few[np.flatnonzero(X[:, 0] == X[:, 0].max())[0]] = True
    law = laws.Chinchilla().fit(X[few], y[few])
    held = law.predict_heldout(X[few], y[few])
    assert np.isnan(held[X[few, 0] == X[:, 0].max()]).all() and np.isfinite(held).sum() == few.sum() - 1
    low, high = law.predict_interval(X[few])
    assert (high > low).all()


def test_no_weight_at_all_is_refused():
    X, Y = mixtures()
    with pytest.raises(DataError, match="All sample weights are 0"):
        laws.M4().fit(X, Y, sample_weight=np.zeros(40))
    assert relative_weights(4, [2, 2, 2, 2]).tolist() == [1, 1, 1, 1]
    assert relative_weights(4, [0, 1, 1, 2]).sum() == pytest.approx(16 / 6)

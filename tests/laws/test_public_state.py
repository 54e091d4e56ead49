"""What every fitted law says of the rows it saw and of what it does not know: training, heldout, sample, seed_noise."""

import numpy as np
import pytest

from mixlaw import laws
from mixlaw.errors import DataError

MIXTURE = {"m4": laws.M4, "log_linear": laws.LogLinear, "gaussian_process": laws.GaussianProcess}


def swarm(n=30, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.dirichlet(np.ones(3), n)
    X = np.vstack([X, X[:4]])  # replicates
    clean = np.column_stack([2 + np.exp(-2 * X[:, 0]), 1.5 + 0.5 * np.exp(-3 * X[:, 1])])
    return X, clean + 0.01 * rng.normal(size=clean.shape)


@pytest.mark.parametrize("family", MIXTURE)
def test_a_law_names_its_rows_and_predicts_them_unseen(family):
    X, Y = swarm()
    law = MIXTURE[family]().fit(X, Y, np.r_[np.zeros(2), np.ones(len(X) - 2)])
    rows = law.training
    used = len(X) - len(rows.X)
    np.testing.assert_array_equal(rows.X, X[used:])
    assert rows.Y.shape == (len(rows.X), 2) and rows.weight.shape == (len(rows.X),)
    held, seen = law.heldout, np.asarray(law.predict(rows.X))
    known = np.isfinite(held).all(axis=1)
    assert held.shape == rows.Y.shape and known.sum() >= len(X) - 4
    assert np.abs(held - rows.Y)[known].mean() > np.abs(seen - rows.Y)[known].mean()
    np.testing.assert_array_equal(law.heldout_, held)
    back = laws.Law.from_json(law.to_json())
    assert back.training is None
    if family != "gaussian_process":  # which saves its rows
        assert back.heldout is None and back.known_runs is None
        with pytest.raises(DataError, match="rows the law was fitted on"):
            back.sample(X, 3, np.random.default_rng(0))
        with pytest.raises(DataError, match="rows the law was fitted on"):
            _ = back.heldout_


@pytest.mark.parametrize("family", MIXTURE)
def test_draws_spread_about_the_prediction_and_repeat(family):
    X, Y = swarm()
    law = MIXTURE[family]().fit(X, Y)
    draws = law.sample(X[:6], 80, np.random.default_rng(3))
    assert draws.shape == (80, 6, 2)
    middle, sd = draws.mean(axis=0), draws.std(axis=0)
    assert (np.abs(middle - law.predict(X[:6])) < 1.5 * sd + 0.004).all()
    assert (sd > 1e-4).all() and (sd < 0.05).all()
    np.testing.assert_array_equal(law.sample(X[:6], 80, np.random.default_rng(3)), draws)


def test_a_law_of_size_draws_from_its_refits():
    rng = np.random.default_rng(0)
    N, D = np.exp(rng.uniform(16, 20, 40)), np.exp(rng.uniform(20, 24, 40))
    loss = 1.7 + 400 / N**0.34 + 410 / D**0.28
    law = laws.Chinchilla().fit({"params": N, "tokens": D}, loss * np.exp(0.003 * rng.normal(size=40)))
    near, far = ({"params": [n], "tokens": [d]} for n, d in ((3e7, 5e9), (1e10, 1e12)))
    spread = [law.sample(there, 60, np.random.default_rng(1)).std() for there in (near, far)]
    assert 0 < spread[0] < spread[1] < 0.2


def test_seed_noise_is_that_of_the_replicates():
    rng = np.random.default_rng(0)
    X = np.repeat(rng.dirichlet(np.ones(3), 12), 4, axis=0)
    Y = 2 + np.exp(-2 * X[:, :1]) + 0.02 * rng.normal(size=(48, 1))
    law = laws.M4().fit(X, Y[:, 0])
    assert law.seed_noise()[0] == pytest.approx(0.02, rel=0.25)
    assert np.isnan(laws.M4().fit(*[v[::4] for v in (X, Y[:, 0])]).seed_noise()).all()

"""Refits under other weights of the Gaussian process and of Auto: quick, and what they chose is kept."""

import warnings

import numpy as np
import pytest

from mixlaw import MixlawWarning
from mixlaw.laws import LAWS, Auto, Law

DOMAINS = ("web", "code", "books")


@pytest.fixture(scope="module")
def runs():
    rng = np.random.default_rng(0)
    R = rng.dirichlet(np.ones(3), 20)
    loss = np.column_stack([2 + 0.5 * (R[:, 0] + 0.03) ** -0.3, 1.5 + np.exp(-2 * R[:, 1])])
    return dict(zip(DOMAINS, R.T)), dict(zip(("a", "b"), (loss + 0.005 * rng.normal(size=loss.shape)).T))


@pytest.fixture(scope="module", params=["gaussian_process", "auto"])
def law(request, runs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        options = {"families": ("gaussian_process", "log_linear", "m4")} if request.param == "auto" else {}
        return LAWS[request.param](**options).fit(*runs)


def there(num=6, seed=1):
    return dict(zip(DOMAINS, np.random.default_rng(seed).dirichlet(np.ones(3), num).T))


def test_equal_weights_change_nothing(law):
    (same,) = law.reweighted(np.ones((1, 20)))
    assert np.asarray(same.predict(there())) == pytest.approx(np.asarray(law.predict(there())), abs=2e-4)  # nats
    assert same is not law


def test_a_run_of_weight_0_says_nothing(law, runs):
    weights = np.ones((2, 20))
    weights[0, :8] = 0
    weights[1] = 1 + 5 * (np.arange(20) < 8)
    without, more = law.reweighted(weights)
    X, y = runs
    seen = {name: column[:8] for name, column in X.items()}
    measured = np.column_stack([column[:8] for column in y.values()])
    off = [np.abs(np.asarray(one.predict(seen)) - measured).mean() for one in (without, law, more)]
    assert off[0] > off[1] > off[2] > 0


def test_too_few_runs_are_no_refit(law):
    weights = np.zeros((1, 20))
    weights[0, :2] = 10
    assert law.reweighted(weights) == [None]


def test_a_law_that_was_saved_is_refitted_too(law, runs):
    back = Law.from_json(law.to_json())
    weights = np.random.default_rng(2).multinomial(20, np.full(20, 0.05), size=2).astype(float)
    before, after = law.reweighted(weights), back.reweighted(weights, *runs)
    for one, other in zip(before, after, strict=True):
        assert np.asarray(other.predict(there())) == pytest.approx(np.asarray(one.predict(there())), abs=2e-3)


def test_other_rows_are_fitted_anew(runs):
    law = LAWS["gaussian_process"]().fit(*runs)
    X, y = runs
    half = {k: v[:10] for k, v in X.items()}, {k: v[:10] for k, v in y.items()}
    (found,) = law.reweighted(np.ones((1, 10)), *half)
    alone = LAWS["gaussian_process"]().fit(*half)
    assert np.asarray(found.predict(there())) == pytest.approx(np.asarray(alone.predict(there())))


def test_an_average_of_a_joint_law_is_refitted_as_before():
    rng = np.random.default_rng(3)
    rows = [(m, n, d) for m in rng.dirichlet(np.ones(3), 6) for n in (1e7, 3e7, 1e8) for d in (1e9, 2e9, 4e9)]
    W, N, D = (np.array([row[i] for row in rows]) for i in range(3))
    X = dict(zip(DOMAINS, W.T)) | {"params": N, "tokens": D}
    y = {"a": 1.5 + W[:, 0] + 30 * N**-0.25 + 900 * D**-0.35}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        law = Auto().fit(X, y)
        (found,) = law.reweighted(np.ones((1, len(N))))
    assert np.asarray(found.predict(X)) == pytest.approx(np.asarray(law.predict(X)), rel=1e-6)

"""The ridge that held-out error chooses: exact data are met, and an end of the grid is said."""

import numpy as np
import pytest

from mixlaw.laws import M1, M2, M4, AutoScale, BiMix, LogLinear


def exact(scale, seed, n=40):
    """Rows of M2's own form, of five domains: shares (n, 5) and losses."""
    rng = np.random.default_rng(seed)
    R, other = rng.dirichlet(np.ones(5), n), rng.dirichlet(np.ones(5), 200)
    t = scale * (rng.random(5) - 0.8)
    return R, other, lambda rows: 1.5 + 0.4 * np.exp(rows * t).sum(axis=1)


@pytest.mark.parametrize(("scale", "seed"), [(3, 0), (8, 1), (8, 4), (20, 1), (20, 4)])
def test_exact_data_are_met(scale, seed):
    """40 rows for 7 parameters left up to a third of a standard deviation: the search began under a strong ridge, whose
    valley is another one, and the least strength was 1e-5."""
    R, other, loss = exact(scale, seed)
    law = M2().fit(R, loss(R))
    error = np.sqrt(np.mean((law.predict(other) - loss(other)) ** 2)) / loss(other).std()
    assert law.converged_ and error < 1e-5 and law.ridge_[0] < 1e-5


@pytest.mark.parametrize("family", [M1, M2, M4, LogLinear, BiMix, AutoScale])
def test_every_family_meets_its_own_examples(family):
    law, rng = family(), np.random.default_rng(0)
    X, other = law.example_rows(40, rng), law.example_rows(200, rng)
    y, truth = law.example_losses(X), law.example_losses(other)
    assert np.abs(family().fit(X, y).predict(other) - truth).max() < 1e-5 * truth.std()


def test_exact_data_are_met_where_rows_abound():
    R, other, loss = exact(8, 0, n=1200)
    assert np.abs(M2().fit(R, loss(R)).predict(other) - loss(other)).max() < 1e-4 * loss(other).std()


def test_noisy_data_are_not_fitted_without_a_ridge():
    """Under the family's least strength nothing is chosen unless it halves the held-out error."""
    R, _, loss = exact(8, 0)
    y = loss(R) + 0.05 * np.random.default_rng(1).standard_normal(40)
    law = M2().fit(R, y)
    assert law.ridge_[0] >= min(M2.ridge_grid)
    assert not any("ended at the largest" in note for note in law.notes)


def test_the_strong_end_of_the_grid_is_said():
    rng = np.random.default_rng(0)
    R = rng.dirichlet(np.ones(5), 16)
    law = M2().fit(R, 2.0 + 0.1 * rng.standard_normal(16))
    assert law.ridge_[0] == max(M2.ridge_grid)
    assert any("ended at the largest that is tried (1)" in note for note in law.notes) and "ended at" in law.summary()

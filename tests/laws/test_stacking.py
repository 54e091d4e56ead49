"""Weights of an average, against known answers."""

import numpy as np
import pytest

from mixlaw.laws.choose.stacking import cross_fitted, stack_weights
from mixlaw.laws.core.folds import fold_ids


def test_independent_errors_are_weighted_by_inverse_variance():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20_000, 1))
    heldout = np.stack([truth + sd * rng.normal(size=truth.shape) for sd in (1.0, 2.0)])
    # inverse variances 1 and 1/4 -> 0.8 and 0.2; the ridge adds one hundredth of the mean variance to both
    assert stack_weights(heldout, truth)[:, 0] == pytest.approx([0.8, 0.2], abs=0.02)


def test_a_useless_law_gets_nothing_and_weights_sum_to_one():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(200, 3))
    heldout = np.stack([truth + 0.01 * rng.normal(size=truth.shape), np.zeros(truth.shape)])
    weights = stack_weights(heldout, truth)
    assert weights[1].max() < 0.01
    np.testing.assert_allclose(weights.sum(axis=0), 1.0)
    assert (weights >= 0).all()


def test_a_disastrous_law_does_not_make_the_good_ones_look_alike():
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(60, 1))
    heldout = np.stack([truth + sd * rng.normal(size=truth.shape) for sd in (0.01, 0.04, 0.04, 20.0)])
    weights = stack_weights(heldout, truth)[:, 0]
    assert weights[0] > 0.75 and weights[3] == 0.0


def test_perfect_laws_share_and_gaps_are_skipped():
    truth = np.arange(8.0)[:, None]
    heldout = np.stack([truth, truth]).copy()
    heldout[0, 3] = np.nan
    np.testing.assert_allclose(stack_weights(heldout, truth)[:, 0], [0.5, 0.5])


def test_cross_fitting_never_uses_the_row_it_predicts():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(40, 1))
    heldout = np.stack([truth + rng.normal(size=truth.shape), truth + rng.normal(size=truth.shape)])
    ids = fold_ids(rng.dirichlet(np.ones(3), 40), truth, 5)
    out = cross_fitted(heldout, truth, ids)
    changed = truth.copy()
    changed[ids == 2] += 100.0  # their own losses must not matter to their own averages
    np.testing.assert_allclose(cross_fitted(heldout, changed, ids)[ids == 2], out[ids == 2])


def few_runs_of_two_laws(rng, n):
    """Held-out predictions of n rows by two laws whose errors have sd 1 and 1.5, and a truth of one target."""
    truth = rng.normal(size=(n, 1))
    return np.stack([truth + sd * rng.normal(size=truth.shape) for sd in (1.0, 1.5)]), truth


def test_a_prior_lowers_the_error_of_few_runs_and_fades_with_many():
    # independent errors of sd 1 and 1.5: the average with weights w errs by w^2 + 2.25 (1 - w)^2 on new rows
    best, believed = 2.25 / 3.25, np.array([2.25 / 3.25, 1 / 3.25])
    regret = {}
    for n in (4, 400):
        lost = []
        for seed in range(200):
            heldout, truth = few_runs_of_two_laws(np.random.default_rng(seed), n)
            for prior in (None, believed):
                w = stack_weights(heldout, truth, prior=prior)[0, 0]
                lost.append(w**2 + 2.25 * (1 - w) ** 2 - best**2 - 2.25 * (1 - best) ** 2)
        regret[n] = np.array(lost).reshape(-1, 2).mean(axis=0)
    assert regret[4][1] < 0.3 * regret[4][0]  # 4 mixtures and one free weight: half the distance, a quarter of the loss
    assert regret[400][1] > 0.9 * regret[400][0]


def test_a_prior_counts_as_four_mixtures_a_free_weight_and_replicates_as_one():
    truth = np.arange(8.0)[:, None]
    heldout = np.stack([truth + 5.0, truth, truth + 9.0])  # the second law is right
    prior = np.array([1.0, 0.0, 0.0])
    assert stack_weights(heldout, truth, prior=prior)[:, 0] == pytest.approx([0.5, 0.5, 0.0])  # 8 rows against 2 x 4
    twice = stack_weights(heldout, truth, prior=prior, groups=np.arange(8) // 2)[:, 0]
    assert twice == pytest.approx([2 / 3, 1 / 3, 0.0])  # 4 mixtures against 2 x 4


def test_only_allowed_laws_have_weight_and_all_where_none_is():
    truth = np.arange(8.0)[:, None] * np.ones((1, 2))
    heldout = np.stack([truth, truth + 5.0, truth + 9.0])  # the first law is right
    allowed = np.array([[False, False], [True, False], [True, False]])
    weights = stack_weights(heldout, truth, prior=np.array([0.0, 0.0, 1.0]), allowed=allowed)
    # of two laws the better one, and 4 mixtures' worth of the prior against 8
    assert weights[:, 0] == pytest.approx([0.0, 2 / 3, 1 / 3], abs=0.01)
    assert weights[0, 1] == pytest.approx(0.5, abs=0.01)  # no law is allowed: as if all were

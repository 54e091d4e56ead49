"""ADO against its published update, and the fit of its curves against scipy."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.signal import savgol_filter

from mixlaw.data.mixture import Schedule
from mixlaw.train.loss_curves import curve, fit_curves, smoothed
from mixlaw.train.strategies import STRATEGIES

THREE = Schedule.constant({"a": 0.5, "b": 0.3, "c": 0.2})


def make(num_steps=600, **options):
    return STRATEGIES.make("ado", {"schedule": THREE, "num_steps": num_steps, **options})


def losses(step):
    return {
        "a": 3 + 3 * (step + 1) ** -0.5,
        "b": 2 + 1 * (step + 1) ** -0.5,
        "c": 4 + 0.01 * (step + 1) ** -0.5,
    }


def test_one_update_by_hand():
    """Known curves, averages and history; 99 steps are done."""
    ado = make(num_steps=6000)
    curves = [[math.log(4), math.log(3), 0.5], [math.log(2), math.log(2), 0.25], [math.log(1), math.log(2.5), 0.01]]
    state = {**ado.state(), "curves": curves, "fitted": True, "average": [0.4, 0.4, 0.2], "history": [0.2, 0.3, 0.5]}
    ado.load({**state, "weights": [0.3, 0.3, 0.4]})
    after = ado.update(99, losses(98))
    history = 0.9 * np.array([0.2, 0.3, 0.5]) + 0.1 * np.array([0.3, 0.3, 0.4])
    exponents = np.array([0.5, 0.25, 0.05])  # at least 0.05
    reducible = np.array([4 * 99**-0.5, 2 * 99**-0.25, 1 * 99**-0.01])
    rho = exponents * reducible / 99 * np.array([0.5, 0.3, 0.2]) * history**0.5
    rho = np.maximum(rho / rho.sum(), 0.01)
    rho = rho / rho.sum()
    assert after.weights == pytest.approx(0.9 * np.array([0.4, 0.4, 0.2]) + 0.1 * rho)
    assert ado.average == pytest.approx(0.99 * np.array([0.4, 0.4, 0.2]) + 0.01 * rho)


def test_the_prior_until_the_first_fit_then_the_domain_that_falls():
    ado = make(sizes={"a": 1, "b": 1, "c": 2})
    weights = np.array([ado.update(step, losses(max(step - 1, 0))).weights for step in range(600)])
    assert (ado.skip, ado.refit) == (10, 20)
    assert weights[:20] == pytest.approx(np.tile([0.25, 0.25, 0.5], (20, 1)))
    assert not np.allclose(weights[20], weights[19])
    assert weights[-1][0] > 0.4 and weights[-1][2] < 0.1


@pytest.mark.parametrize(("noise", "low", "high"), [(0.0, 0.03, 0.05), (0.005, 0.44, 0.54), (0.05, 0.44, 0.54)])
def test_a_flat_domain_gets_little_without_noise_and_much_with_it(noise, low, high):
    """docs/strategies/ado.md warns of it: a flat noisy curve is fitted as well by a small exponent and a low floor."""
    ado, rng = make(sizes={"a": 1, "b": 1, "c": 2}), np.random.default_rng(0)
    for step in range(600):
        exact = losses(max(step - 1, 0))
        mixture = ado.update(step, {d: exact[d] + noise * rng.normal() for d in exact})
    assert low < mixture["c"] < high


def test_no_weight_is_much_below_the_floor():
    ado = make()
    for step in range(600):
        mixture = ado.update(step, {**losses(step), "c": 5.0})
    assert 0.009 < mixture["c"] < 0.03


def test_a_domain_that_was_not_in_the_batch_has_its_last_loss():
    ado = make()
    ado.update(1, {"a": 3.0, "b": 5.0})
    ado.update(2, {"a": 2.0, "b": 4.0, "c": 6.0})
    ado.update(3, {"b": 3.0})
    assert ado.points == [[3.0, 5.0, 4.0], [2.0, 4.0, 6.0], [2.0, 3.0, 6.0]]  # the first: the mean of the others


def test_a_fit_that_is_not_finite_leaves_the_one_before():
    ado = make()
    for step in range(41):
        ado.update(step, losses(step))
    before = ado.curves.copy()
    for step in range(41, 61):
        ado.update(step, {**losses(step), "b": 0.0})  # no logarithm
    assert ado.fitted and (ado.curves == before).all()
    assert np.isfinite(ado.update(61, losses(61)).weights).all()


def test_long_runs_keep_means_of_several_steps():
    """12,000 steps: points of 6 steps, so that a checkpoint holds 2,000 at most."""
    ado = make(num_steps=12_000)
    for step in range(13):
        ado.update(step, losses(step))
    assert ado.points == [[pytest.approx(np.mean([losses(s)[d] for s in span])) for d in "abc"] for span in
                          (range(1, 7), range(7, 13))]  # fmt: skip


@pytest.mark.parametrize(("window", "count"), [(101, 400), (101, 120), (7, 30), (100, 60)])
def test_smoothing_is_savitzky_and_golays(window, count):
    noisy = np.random.default_rng(0).normal(size=(count, 3))
    odd = min(window, count) - 1 + min(window, count) % 2
    assert smoothed(noisy, window) == pytest.approx(savgol_filter(noisy, odd, 3, axis=0), abs=1e-9)


def test_the_fit_is_as_good_as_that_of_lbfgs_from_many_starts():
    rng = np.random.default_rng(1)
    steps = np.arange(10.0, 500.0, 7.7)  # 64 points: all are used
    true = np.stack([rng.uniform(0, 3, 5), rng.uniform(0.6, 1.4, 5), rng.uniform(0.1, 0.8, 5)], axis=1)
    noisy = curve(true, steps).T + 0.02 * rng.normal(size=(len(steps), 5))
    found = fit_curves(steps, noisy)

    def misfit(parameters, k):
        size = np.abs(np.log(curve(parameters, steps)) - np.log(noisy[:, k]))
        return np.where(size > 1e-3, 1e-3 * (size - 5e-4), size**2 / 2).sum()

    for k in range(5):
        starts = [(b, e, a) for b in (0.0, 2.0) for e in (0.6, 1.2) for a in (0.1, 0.5)]
        bounds = [(-10, 6.5), (0.5, 4), (0.001, 0.8)]
        best = min(minimize(misfit, start, (k,), "L-BFGS-B", bounds=bounds).fun for start in starts)
        assert misfit(found[k], k) <= 1.02 * best


def test_a_domain_with_losses_below_the_published_bound_is_fitted_too():
    steps = np.arange(10.0, 400.0)
    true = np.array([[1.0, math.log(0.8), 0.6]])  # 0.8 nats are left; the published fit allows no less than 1.65
    found = fit_curves(steps, curve(true, steps).T)
    assert curve(found, steps) == pytest.approx(curve(true, steps), rel=5e-3)

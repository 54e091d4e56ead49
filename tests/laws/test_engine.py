"""The fit engine against closed forms and scipy's optimiser."""

import numpy as np
import pytest
from scipy.optimize import least_squares, minimize

from mixlaw.errors import ConfigError, DataError
from mixlaw.laws.fit.engine import fit_batch, resample_weights
from mixlaw.laws.fit.objective import Objective, Prior, huber
from mixlaw.laws.fit.projection import Projected, outer_products
from mixlaw.laws.fit.separable import Separable, linear_bounds, with_linear
from mixlaw.laws.fit.starts import log_excess_slopes, resize_starts
from mixlaw.laws.mixture.auto_scale import AutoScaleModel
from mixlaw.laws.mixture.bi_mix import OwnShareModel, PowerSumModel
from mixlaw.laws.mixture.effective_tokens import EffectiveTokensModel
from mixlaw.laws.mixture.implicit import ImplicitModel
from mixlaw.laws.mixture.log_linear import LogModel
from mixlaw.laws.mixture.m1 import ExponentialSumModel
from mixlaw.laws.mixture.m3 import ProductModel
from mixlaw.laws.mixture.m4 import ExponentialModel

import truths

X = np.linspace(0.0, 2.0, 25)


def decay(theta, problem):
    """a + b exp(-c x) as a plain model function."""
    e = np.exp(-theta[:, 2:3] * X)
    f = theta[:, :1] + theta[:, 1:2] * e
    return f, np.stack([np.ones_like(e), e, -theta[:, 1:2] * X * e], axis=2)


class Decay(Separable):
    num_params = 1
    num_linear = 1

    def basis(self, theta, problem):
        return np.exp(-theta * X)[:, :, None]

    def tangent(self, theta, problem, phi, coef):
        return (-coef[:, :1] * X * phi[:, :, 0])[:, :, None]


def noisy(seed=0, sd=0.05):
    return 1.0 + 2.0 * np.exp(-1.5 * X) + sd * np.random.default_rng(seed).normal(size=X.size)


def test_agrees_with_scipy_least_squares():
    y = noisy()
    best = fit_batch(decay, y, [[0.0, 1.0, 1.0], [1.0, 1.0, 3.0]]).best()
    reference = least_squares(lambda p: p[0] + p[1] * np.exp(-p[2] * X) - y, [0.0, 1.0, 1.0], xtol=1e-14, ftol=1e-14)
    np.testing.assert_allclose(best.theta[0], reference.x, rtol=1e-6)
    assert best.objective[0] == pytest.approx(reference.cost, rel=1e-12)
    assert best.converged[0] and best.agreement[0] == 2 and best.gradient_norm[0] < 1e-7


def test_variable_projection_is_the_same_optimum():
    y = noisy()
    plain = fit_batch(decay, y, [0.0, 1.0, 1.0]).best()
    projected = fit_batch(Decay(), y, [1.0]).best()
    np.testing.assert_allclose(
        [*projected.linear[0], *projected.theta[0]],
        [plain.theta[0][0], plain.theta[0][1], plain.theta[0][2]],
        rtol=1e-7,
    )
    assert projected.objective[0] == pytest.approx(plain.objective[0], rel=1e-12)


def test_huber_agrees_with_scipy_and_shrugs_off_an_outlier():
    y = noisy()
    y[3] += 5.0
    for model, start in ((decay, [0.0, 1.0, 1.0]), (Decay(), [1.0])):
        best = fit_batch(model, y, start, loss="huber", delta=0.05).best()
        reference = minimize(
            lambda p: huber(p[0] + p[1] * np.exp(-p[2] * X) - y, 0.05).sum(), [1.0, 2.0, 1.5], method="BFGS", tol=1e-12
        )
        assert best.objective[0] <= reference.fun * (1 + 1e-7)
        found = np.append(best.linear[0], best.theta[0])[-3:]
        np.testing.assert_allclose(found, [1.0, 2.0, 1.5], atol=0.2)


def test_log_residuals_and_weights_and_missing_values():
    y = noisy()
    weight = np.random.default_rng(1).uniform(0.2, 2.0, X.size)
    holed = y.copy()
    holed[[2, 11]] = np.nan
    best = fit_batch(decay, holed, [0.5, 1.0, 1.0], log=True, weights=weight).best()
    keep = np.isfinite(holed)
    reference = least_squares(
        lambda p: (np.sqrt(weight) * (np.log(p[0] + p[1] * np.exp(-p[2] * X)) - np.log(y)))[keep],
        [1.0, 2.0, 1.5],
        xtol=1e-14,
    )
    np.testing.assert_allclose(best.theta[0], reference.x, rtol=1e-5)


def test_a_batch_of_problems_equals_each_alone():
    Y = np.stack([noisy(s) for s in range(5)])
    W = resample_weights(X.size, 5, seed=3)
    together = fit_batch(decay, Y, [0.0, 1.0, 1.0], weights=W).best()
    for m in range(5):
        alone = fit_batch(decay, Y[m], [0.0, 1.0, 1.0], weights=W[m]).best()
        np.testing.assert_allclose(together.theta[m], alone.theta[0], rtol=1e-7)
    assert (W.sum(axis=1) == X.size).all()


def test_ridge_has_the_closed_form_of_a_linear_model():
    A = np.random.default_rng(0).normal(size=(25, 3))
    y = A @ [1.0, -2.0, 0.5] + 0.1 * np.random.default_rng(1).normal(size=25)

    def linear(theta, problem):
        return theta @ A.T, np.broadcast_to(A, (len(theta), 25, 3))

    strength, centre = np.array([0.0, 3.0, 10.0]), np.array([0.0, 1.0, -1.0])
    best = fit_batch(linear, y, np.zeros(3), prior=Prior(centre, strength)).best()
    exact = np.linalg.solve(A.T @ A + np.diag(strength), A.T @ y + strength * centre)
    np.testing.assert_allclose(best.theta[0], exact, rtol=1e-6)


def test_bounds_are_kept_and_certified():
    best = fit_batch(decay, noisy(), [1.5, 1.0, 1.0], bounds=([1.2, 0.0, 0.0], [np.inf, 5.0, 5.0])).best()
    assert best.theta[0, 0] == 1.2 and best.converged[0]
    y = noisy()
    reference = least_squares(
        lambda p: p[0] + p[1] * np.exp(-p[2] * X) - y, [1.5, 1.0, 1.0], bounds=([1.2, 0, 0], [9, 5, 5]), xtol=1e-14
    )
    assert best.objective[0] == pytest.approx(reference.cost, rel=1e-6)


def test_censored_values_count_only_on_the_wrong_side():
    """Right-censored: the truth lies above what was recorded; a fit below it is pushed up, one above it is not."""
    y = 1.0 + 2.0 * np.exp(-1.5 * X)
    cut = np.minimum(y, 2.0)
    side = np.where(y > 2.0, 1, 0)
    ignorant = fit_batch(decay, cut, [1.0, 1.0, 1.0]).best().theta[0]
    informed = fit_batch(decay, cut, [1.0, 1.0, 1.0], censored=side).best().theta[0]
    np.testing.assert_allclose(informed, [1.0, 2.0, 1.5], rtol=1e-5)
    assert abs(ignorant[1] - 2.0) > 0.1
    low = np.maximum(y, 1.5)
    left = fit_batch(decay, low, [1.0, 1.0, 1.0], censored=np.where(y < 1.5, -1, 0)).best().theta[0]
    np.testing.assert_allclose(left, [1.0, 2.0, 1.5], rtol=1e-4)


def test_a_start_that_cannot_be_evaluated_is_not_chosen():
    def fragile(theta, problem):
        f, J = decay(theta, problem)
        f[theta[:, 2] > 50] = np.nan
        return f, J

    fit = fit_batch(fragile, noisy(), [[0.0, 1.0, 100.0], [0.0, 1.0, 1.0]])
    assert not fit.converged[0, 0] and np.isinf(fit.objective[0, 0])
    assert np.isfinite(fit.best().theta).all() and fit.best().start[0] == 1


def test_an_exact_fit_is_certified():
    y = 1.0 + 2.0 * np.exp(-1.5 * X)
    best = fit_batch(Decay(), y, [0.3]).best()
    assert best.converged[0]
    np.testing.assert_allclose(best.theta[0], 1.5, rtol=1e-9)


@pytest.mark.parametrize(
    "build",
    [
        ExponentialModel,
        lambda X, m: EffectiveTokensModel(X, m, 1),
        lambda X, m: EffectiveTokensModel(X, m, 2),
        lambda X, m: ImplicitModel(X, m, 2),
        lambda X, m: ExponentialSumModel(X),
        lambda X, m: ProductModel(X),
        LogModel,
        PowerSumModel,
        lambda X, m: OwnShareModel(X[:, :1].T, None),
        lambda X, m: OwnShareModel(X[:, :1].T, 0.5 + X[:, 1]),
        lambda X, m: AutoScaleModel(X),
    ],
)
def test_reduced_gradient_is_the_derivative_of_the_reduced_objective(build):
    """Variable projection with weights and ridges, in whichever form a family gives its Jacobian."""
    R, rng = truths.mixtures(30, 4), np.random.default_rng(0)
    Y, W = rng.normal(size=(1, 30)) + 2, rng.uniform(0, 2, (1, 30))
    model = build(R, R.mean(axis=0))
    P, L = model.num_params, model.num_linear
    theta, problem = rng.normal(size=(3, P)), np.zeros(3, dtype=np.int64)
    if isinstance(model, PowerSumModel):
        theta = np.abs(theta) + 0.1
        theta[:, -1] = -6.9  # columns of very different size: exponents up to 2 at shares of a thousandth
    data = Objective(Y, W, None, "squared", 1.0, False, np.zeros((1, P)), np.full((1, P), 0.1))
    outer = outer_products(model, theta[:1], problem[:1])
    model.nonnegative = False
    reduced = Projected(model, data, np.zeros((1, L)), np.full((1, L), 0.5), W.sum(1), outer)
    _, gradient, H = reduced(theta, problem)
    for p in range(P):
        h = 1e-6 * np.eye(P)[p]
        slope = (reduced(theta + h, problem)[0] - reduced(theta - h, problem)[0]) / 2e-6
        np.testing.assert_allclose(gradient[:, p], slope, atol=2e-6, rtol=1e-5)
    assert np.linalg.eigvalsh(H).min() > 0


def test_words_for_what_cannot_be_fitted():
    with pytest.raises(ConfigError, match="squared"):
        fit_batch(decay, noisy(), [0.0, 1.0, 1.0], loss="absolute")
    with pytest.raises(DataError, match="positive"):
        fit_batch(decay, -noisy(), [0.0, 1.0, 1.0], log=True)
    with pytest.raises(ConfigError, match="exceed"):
        fit_batch(decay, noisy(), [0.0, 1.0, 1.0], bounds=([2, 2, 2], [1, 1, 1]))
    with pytest.raises(DataError, match="number of problems"):
        fit_batch(decay, np.stack([noisy()] * 3), np.zeros((2, 1, 3)))


@pytest.mark.parametrize("n, seed", [(40, 0), (80, 1)])
def test_a_race_of_many_starts_ends_at_the_same_optimum(n, seed):
    """Starts that fall behind are given up; what is left reaches what all starts reach."""
    surface = truths.effective_tokens(k=8, targets=3, seed=seed)
    X, Y = surface.sample(n, seed=seed, noise=0.02)
    starts = resize_starts(log_excess_slopes(X, Y, np.array([0.2, 1.0, -1.0]))[0], 120, 1.0, 0)
    prior, linear = Prior(0.0, 1e-6), Prior(0.0, 1e-8)
    model = ExponentialModel(X, X.mean(axis=0))
    raced, whole = (
        fit_batch(model, Y.T, starts, prior=prior, linear_prior=linear, race=race) for race in (True, False)
    )
    np.testing.assert_allclose(raced.best().objective, whole.best().objective, rtol=1e-6)
    assert raced.best().converged.all()
    assert raced.iterations.sum() < 0.6 * whole.iterations.sum()
    given_up = ~raced.converged
    assert given_up.any() and (raced.objective[given_up] >= raced.best().objective.min() - 1e-12).all()


@pytest.mark.parametrize("family", ["m4", "m1", "loglinear", "autoscale"])
def test_censored_values_are_projected_as_they_are_optimised(family):
    """Solving linear coefficients out among the censored rows that count reaches the optimum of all parameters."""
    surface = truths.exponential(k=3, targets=1, seed=0)
    X, Y = surface.sample(40, seed=0, noise=0.01)
    y = Y[:, 0]
    side = np.where(y > np.quantile(y, 0.7), 1, np.where(y < np.quantile(y, 0.1), -1, 0))
    y = np.clip(y, np.quantile(y, 0.1), np.quantile(y, 0.7))
    P = {"m4": 3, "m1": 3, "loglinear": 1, "autoscale": 7}[family]
    model = {
        "m4": lambda: ExponentialModel(X, X.mean(axis=0)),
        "m1": lambda: ExponentialSumModel(X),
        "loglinear": lambda: LogModel(X, X.mean(axis=0)),
        "autoscale": lambda: AutoScaleModel(X),
    }[family]()
    start = np.random.default_rng(0).normal(-1.5, 0.3, (4, P))
    prior = Prior(-1.0, 1e-4)
    found = fit_batch(model, y, start, censored=side, prior=prior, linear_prior=Prior(0.0, 1e-4)).best()
    assert found.converged[0]
    low, high = linear_bounds(model)
    free = np.full(P, np.inf)
    pad = np.zeros(len(low) - model.num_linear)
    ridge = 0.0 if model.unit else 1e-4
    whole = fit_batch(
        with_linear(model),
        y,
        np.concatenate([found.theta, found.linear], axis=1),
        censored=side,
        bounds=(np.concatenate([-free, low]), np.concatenate([free, high])),
        prior=Prior(
            np.concatenate([np.full(P, -1.0), pad, np.zeros(model.num_linear)]),
            np.concatenate([np.full(P, 1e-4), pad, np.full(model.num_linear, ridge)]),
        ),
    ).best()
    constant = 0.5e-4 if model.unit else 0.0  # the ridge on a coefficient that is 1 by definition
    assert whole.converged[0] and whole.objective[0] + constant >= found.objective[0] * (1 - 1e-7)
    np.testing.assert_allclose(whole.objective[0] + constant, found.objective[0], rtol=1e-6)

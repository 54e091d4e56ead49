"""A mixture law of one's own: a declaration, a loss and its slopes; everything else is inherited."""

import warnings

import numpy as np
import pytest

from mixlaw import laws
from mixlaw.errors import ConfigError, MixlawWarning
from mixlaw.laws import LAWS
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.parameters import Free, Layout, Positive
from mixlaw.laws.fit.mixture_law import MixtureLaw

import truths


class SumOfExponentials(MixtureLaw):
    """``L_t(r) = c_t + sum_j k_tj exp(t_tj r_j)``, the form M1 of Ye et al. 2024, arXiv:2403.16952."""

    parameters = {
        "c": Free(2.0, "constant, nats"),
        "k": Free((0.4, 0.8, 0.3), "amplitude of each domain, nats", per="domain"),
        "t": Free((-2.0, -4.0, -1.0), "rate of each domain", per="domain", low=-20.0, high=3.0),
    }
    intercept = "c"
    amplitudes = ("k",)
    source = "Ye et al. 2024, arXiv:2403.16952"

    def loss(self, p, R):
        return p.c + (p.k[:, None, :] * np.exp(p.t[:, None, :] * R)).sum(axis=2)

    def slopes(self, p, R):
        curves = np.exp(p.t[:, None, :] * R)
        return {"c": 1.0, "k": curves, "t": p.k[:, None, :] * R * curves}


class Exponential(MixtureLaw):
    """``L_t(r) = c_t + k_t exp(sum_j t_tj r_j)`` with a positive amplitude, the form M4 of the same paper."""

    parameters = {
        "c": Free(2.0, "loss where the exponential has died out, nats"),
        "k": Positive(1.0, "amplitude, nats"),
        "t": Free((-2.0, 0.5, -1.0), "rate of each domain", per="domain", low=-30.0, high=30.0),
    }
    intercept = "c"
    amplitudes = ("k",)

    def loss(self, p, R):
        return p.c + p.k * np.exp(p.t @ R.T)

    def slopes(self, p, R):
        curve = np.exp(p.t @ R.T)
        return {"c": 1.0, "k": curve, "t": (p.k * curve)[:, :, None] * R}


class PowerOfWorth(MixtureLaw):
    """``L_t(r) = c_t + (sum_j w_tj r_j + w0_t) ** -a_t``: no amplitude, and one parameter per target beside."""

    parameters = {
        "c": Free(1.0, "irreducible loss, nats"),
        "w": Positive((2.0, 0.2, 0.5), "worth of a token of each domain", per="domain", low=1e-4, high=1e3),
        "w0": Positive(0.1, "worth of no token", low=1e-4, high=1e2),
        "a": Positive(0.5, "exponent", low=0.02, high=5.0),
    }
    intercept = "c"

    def loss(self, p, R):
        return p.c + (p.w @ R.T + p.w0) ** -p.a

    def slopes(self, p, R):
        q = p.w @ R.T + p.w0
        down = -p.a * q ** (-p.a - 1)
        return {"c": 1.0, "w": down[:, :, None] * R, "w0": down, "a": -np.log(q) * q**-p.a}


class Product(MixtureLaw):
    """``L_t(r) = A_t prod_j (r_j + 0.05) ** -a_tj``: nothing is added, nothing declared to be linear."""

    parameters = {
        "A": Positive(1.5, "loss at equal shares of 0.95, nats"),
        "a": Positive((0.1, 0.3, 0.05), "exponent of each domain", per="domain", low=1e-4, high=4.0),
    }

    def loss(self, p, R):
        return p.A * np.exp(-p.a @ np.log(R + 0.05).T)

    def slopes(self, p, R):
        value = self.curve(p, R)
        return {"A": value / p.A, "a": -value[:, :, None] * np.log(R + 0.05)}


OWN = [SumOfExponentials, Exponential, PowerOfWorth, Product]


def simulated(cls, n, seed, noise=0.0, k=3):
    """Mixtures (n, K) and losses (n, 1) of the declared truth."""
    X = truths.mixtures(n, k, seed=seed)
    layout = Layout(cls.parameters, k)
    loss = cls().curve(layout.split(layout.join(layout.truth())), X)[0]
    return X, (loss + noise * np.random.default_rng(seed).normal(size=n))[:, None]


@pytest.mark.parametrize("cls", OWN)
def test_the_declared_truth_is_found(cls):
    X, Y = simulated(cls, 60, seed=1)
    there, truth = simulated(cls, 100, seed=2)
    law = cls(ridge=1e-8).fit(X, Y)
    assert law.converged_
    np.testing.assert_allclose(law.predict(there), truth, atol=2e-3)
    assert list(law.parameters_) == list(cls.parameters)
    for name, declared in cls.parameters.items():
        assert np.shape(law.parameters_[name]) == ((1, 3) if declared.per == "domain" else (1,))


@pytest.mark.parametrize("cls", OWN)
def test_slopes_are_derivatives(cls):
    layout = Layout(cls.parameters, 3)
    theta = layout.join(layout.truth()) + 0.1 * np.random.default_rng(0).normal(size=(4, layout.size))
    R, law = truths.mixtures(7, 3, seed=4), cls()
    p = layout.split(theta)
    J = layout.jacobian(p, law.slopes(p, R), len(R))
    for i in range(layout.size):
        step = 1e-6 * np.eye(layout.size)[i]
        up, down = (law.curve(layout.split(theta + s), R) for s in (step, -step))
        np.testing.assert_allclose(J[:, :, i], (up - down) / 2e-6, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("own, shipped", [(SumOfExponentials, "m1"), (Exponential, "m4")])
def test_as_good_as_the_shipped_form_of_the_same_law(own, shipped):
    """With noise and few runs: what follows from a declaration does what is written by hand."""
    surface = truths.effective_tokens(k=6, targets=4, seed=2)
    X, Y = surface.sample(40, seed=3, noise=0.02)
    there = truths.mixtures(200, 6, seed=5)
    error = [
        np.sqrt(((law.fit(X, Y).predict(there) - surface.loss(there)) ** 2).mean()) for law in (own(), LAWS[shipped]())
    ]
    assert error[0] < 1.15 * error[1]


@pytest.mark.parametrize("cls", OWN)
def test_everything_is_inherited(cls, monkeypatch):
    X, Y = simulated(cls, 30, seed=3, noise=0.01)
    columns = dict(zip(("web", "code", "books"), X.T))
    y = {"loss_web": Y[:, 0], "loss_code": np.where(np.arange(30) < 2, np.nan, Y[:, 0] + 0.1)}
    law = cls().fit(columns, y)
    low, high = law.predict_interval(columns)
    seen = np.isfinite(y["loss_code"])
    assert ((low[:, 1] <= y["loss_code"]) & (high[:, 1] >= y["loss_code"]))[seen].mean() > 0.8
    first = next(iter(cls.parameters))
    assert first in law.summary() and cls.__name__ in law.summary()
    assert set(law.intervals_) == set(cls.parameters) == set(law.bootstrap(5))
    per_domain = next(n for n, d in cls.parameters.items() if d.per == "domain")
    profile = law.profile(per_domain, target="loss_web", domain="code")
    assert profile.low < profile.best < profile.high
    refits = law.reweighted(np.ones((2, 30)))
    np.testing.assert_allclose(refits[0].predict(columns), law.predict(columns), atol=1e-3)
    monkeypatch.setitem(LAWS._given, cls.__name__, cls)
    again = Law.from_json(law.to_json())
    np.testing.assert_array_equal(again.predict(columns), law.predict(columns))


@pytest.mark.parametrize("cls", OWN)
def test_order_of_rows_and_domains_and_a_constant_target(cls):
    X, Y = simulated(cls, 24, seed=6, noise=0.01)
    Y = np.column_stack([Y, np.full(24, 1.25)])
    there = truths.mixtures(50, 3, seed=7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        law = cls().fit(X, Y)
        rows, domains = np.random.default_rng(0).permutation(24), np.array([2, 0, 1])
        np.testing.assert_allclose(cls().fit(X[rows], Y[rows]).predict(there), law.predict(there), atol=1e-6)
        other = cls().fit(X[:, domains], Y)
    np.testing.assert_allclose(other.predict(there[:, domains]), law.predict(there), atol=1e-6)
    np.testing.assert_allclose(law.predict(there)[:, 1], 1.25, atol=1e-3 if cls.intercept else 1e-2)


def test_a_law_linear_in_all_its_parameters():
    class Linear(MixtureLaw):
        parameters = {"c": Free(2.0, "nats"), "b": Free((-0.5, 0.2, 0.1), "nats per share", per="domain")}
        intercept = "c"
        amplitudes = ("b",)

        def loss(self, p, R):
            return p.c + p.b @ R.T

        def slopes(self, p, R):
            return {"c": 1.0, "b": np.broadcast_to(R, (len(p.b), *R.shape))}

    X, Y = simulated(Linear, 20, seed=0)
    law = Linear(ridge=1e-8).fit(X, Y)
    np.testing.assert_allclose(law.predict(X), Y, atol=1e-6)


def test_mistakes_are_said_in_words():
    class Forgotten(Exponential):
        def slopes(self, p, R):
            return {"c": 1.0, "k": np.exp(p.t @ R.T)}

    class NotLinear(PowerOfWorth):
        amplitudes = ("a",)
        parameters = PowerOfWorth.parameters | {"a": Free(0.5, "exponent")}

    class Unknown(Exponential):
        intercept = "C"

    X, Y = simulated(Exponential, 20, seed=0)
    with pytest.raises(ConfigError, match=r"one entry per parameter.*'t'"):
        Forgotten().fit(X, Y)
    with pytest.raises(ConfigError, match="cannot be solved for"):
        NotLinear().fit(X, Y)
    with pytest.raises(ConfigError, match="'C'"):
        Unknown().fit(X, Y)


MIXTURE_LAWS = [n for n in LAWS if n != "trees" and issubclass(LAWS[n], MixtureLaw)]
DECLARED = [n for n in MIXTURE_LAWS if LAWS[n].parameters]


def test_every_mixture_law_but_one_declares_its_parameters():
    assert set(MIXTURE_LAWS) - set(DECLARED) == {"implicit"}  # its parts have no order, so no one truth
    assert len(DECLARED) >= 8


@pytest.mark.parametrize("name", DECLARED)
def test_shipped_laws_are_the_formula_that_they_declare(name):
    """The form a family is fitted in and the one it declares and reports are the same law."""
    cls = LAWS[name]
    X, Y = truths.effective_tokens(k=4, targets=2, seed=3).sample(40, seed=1, noise=0.02)
    law = cls().fit(X, Y)
    layout = Layout(cls.parameters, 4)
    p = layout.split(layout.join({n: np.reshape(law.parameters_[n], (2, -1)) for n in cls.parameters}))
    there = truths.mixtures(50, 4, seed=9)
    np.testing.assert_allclose(law.curve(p, there).T, law.predict(there), atol=1e-7)
    assert laws.LAWS[name] is cls

"""Laws over phases and schedules: order found where there is one, not invented where there is none."""

import warnings

import numpy as np
import pytest

from mixlaw.budget import Budget
from mixlaw.corpus import Corpus
from mixlaw.errors import ConfigError, DataError, MixlawWarning
from mixlaw.laws.base import Law
from mixlaw.optimize import PhaseLaw, best_schedule
from mixlaw.optimize.phases import split_columns

import worlds

NAMES = ["web", "code", "wiki"]
WORLD = worlds.effective_tokens(3, 3, seed=5)


def two_phase(n, rho, seed=0, noise=0.01):
    """Runs whose losses see the second phase rho times as much as the first."""
    first, second = worlds.mixtures(n, 3, seed), worlds.mixtures(n, 3, seed + 100)
    alpha = np.array([1.0, rho]) / (1 + rho)
    loss = WORLD.loss(alpha[0] * first + alpha[1] * second)
    loss += noise * np.random.default_rng(seed + 5).normal(size=loss.shape)
    X = np.hstack([first, second])
    names = [f"{n}@{p}" for p in (1, 2) for n in NAMES]
    return dict(zip(names, X.T)), dict(zip(NAMES, loss.T))


@pytest.fixture(scope="module")
def fitted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        return {rho: PhaseLaw(seed=0).fit(*two_phase(24, rho)) for rho in (1.0, 3.0)}


def test_order_is_found_where_there_is_one(fitted):
    law = fitted[3.0]
    assert law.structure_ in ("recency", "targets")
    np.testing.assert_allclose(law.log_rho_, np.log(3.0), atol=0.45)
    X, Y = two_phase(60, 3.0, seed=50, noise=0.0)
    truth = np.stack(list(Y.values()), axis=1)
    constant = PhaseLaw(structure="constant").fit(*two_phase(24, 3.0))
    assert np.abs(law.predict(X) - truth).mean() < 0.6 * np.abs(constant.predict(X) - truth).mean()


def test_no_order_is_invented(fitted):
    assert fitted[1.0].structure_ == "constant"
    corpus = Corpus.declared({"web": 10**6, "code": 10**6, "wiki": 10**6}, source="test")
    recipe = best_schedule(fitted[1.0], NAMES, Budget(tokens=10**6), corpus)
    assert recipe.difference.mean == 0.0
    assert recipe.schedule.phases[0].mixture == recipe.schedule.phases[1].mixture
    assert any("no effect of order" in w for w in recipe.warnings)


def test_atoms_gradient_and_json(fitted):
    law = fitted[3.0]
    X, _ = two_phase(8, 3.0, seed=70)
    matrix = np.stack(list(X.values()), axis=1)
    np.testing.assert_allclose(law.atoms().value(matrix), law.predict(X), rtol=1e-9)
    again = Law.from_json(law.to_json())
    np.testing.assert_array_equal(again.predict(X), law.predict(X))


def test_scarce_valuable_data_goes_last(fitted):
    law = fitted[3.0]
    # wiki may fill only a quarter of the run: with recency it is worth most at the end
    corpus = Corpus.declared({"web": 10**8, "code": 10**8, "wiki": 250_000}, source="test")
    budget = Budget(tokens=10**6, max_epochs={"wiki": 1.0})
    recipe = best_schedule(law, {"wiki": 1.0}, budget, corpus, num_bootstrap=8)
    first, second = (p.mixture["wiki"] for p in recipe.schedule.phases)
    assert recipe.certificate.kind == "certified" and recipe.certificate.gap < 1e-7
    assert second > 0.45 and first < 0.05
    assert recipe.epochs["wiki"] <= 1.0 + 1e-6
    assert recipe.difference.mean < -0.01 and recipe.difference.high < 0
    assert recipe.reference["wiki"] == pytest.approx(0.25, abs=1e-5)
    # a lattice over both phases finds nothing better
    grid = np.array([[a, b, 1 - a - b] for a in np.linspace(0, 1, 11) for b in np.linspace(0, 1 - a, 6)])
    i, j = np.meshgrid(np.arange(len(grid)), np.arange(len(grid)))
    both = np.hstack([grid[i.ravel()], grid[j.ravel()]])
    ok = (both[:, 2] + both[:, 5]) / 2 <= 0.25 + 1e-12
    values = law.atoms().value(both[ok])[:, 2]
    assert recipe.predictions["wiki"].mean <= values.min() + 1e-6


def test_phase_caps_hold(fitted):
    corpus = Corpus.declared({"web": 10**8, "code": 10**8, "wiki": 10**8}, source="test")
    recipe = best_schedule(
        fitted[3.0], NAMES, Budget(tokens=10**6), corpus, phase_caps={"wiki": [0.1, 0.2]}, num_bootstrap=0
    )
    assert [p.mixture["wiki"] <= c + 1e-9 for p, c in zip(recipe.schedule.phases, (0.1, 0.2))] == [True, True]


def test_bad_input_is_explained(fitted):
    with pytest.raises(DataError, match="domain@phase"):
        split_columns(["web", "code"])
    with pytest.raises(DataError, match="same domains"):
        split_columns(["web@1", "code@2"])
    with pytest.raises(ConfigError, match="Did you mean 'recency'"):
        PhaseLaw(structure="recent").fit(*two_phase(12, 1.0))
    with pytest.raises(ConfigError, match="sum to 1"):
        PhaseLaw(fractions=(0.5, 0.6)).fit(*two_phase(12, 1.0))
    corpus = Corpus.declared({"web": 10**6, "code": 10**6, "wiki": 10**6}, source="test")
    with pytest.raises(ConfigError, match="Did you mean 'code'"):
        best_schedule(fitted[1.0], "cod", Budget(tokens=10**6), corpus)
    with pytest.raises(ConfigError, match="one number per phase"):
        best_schedule(fitted[1.0], "web", Budget(tokens=10**6), corpus, phase_caps={"wiki": [0.1]})

"""Laws over phases and schedules: order found where there is one, not invented where there is none."""

import warnings

import numpy as np
import pytest

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.errors import ConfigError, DataError, MixlawWarning
from mixlaw.laws.core.base import Law
from mixlaw.laws.mixture.phase_law import split_columns
from mixlaw.optimize import PhaseLaw, best_schedule
from mixlaw.optimize.schedules.order_effect import order_error

import truths

NAMES = ["web", "code", "wiki"]
TRUTH = truths.effective_tokens(3, 3, seed=5)


def two_phase(n, rho, seed=0, noise=0.01):
    """Runs whose losses see the second phase rho times as much as the first."""
    first, second = truths.mixtures(n, 3, seed), truths.mixtures(n, 3, seed + 100)
    alpha = np.array([1.0, rho]) / (1 + rho)
    loss = TRUTH.loss(alpha[0] * first + alpha[1] * second)
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
    assert any("No evidence was given" in w for w in recipe.warnings)
    told = best_schedule(
        fitted[1.0], NAMES, Budget(tokens=10**6, caps={"web": 0.3}), corpus, rank_transfer="not needed."
    )
    assert "Rank transfer: not needed." in told.warnings and not any("No evidence" in w for w in told.warnings)
    assert [told.baselines[n]["feasible"] for n in ("best constant", "natural")] == [True, False]
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


def reversed_pairs(n, noise, late=3.0, odd=0.0, seed=0):
    """Each run with its reverse; ``odd`` adds an effect of order that no structure knows of."""
    X, _ = two_phase(n, late, seed, noise=0.0)
    first, second = np.split(np.stack(list(X.values()), axis=1), 2, axis=1)
    rows = np.vstack([np.hstack([first, second]), np.hstack([second, first])])
    alpha = np.array([1.0, late]) / (1 + late)
    loss = TRUTH.loss(alpha[0] * rows[:, :3] + alpha[1] * rows[:, 3:])
    rng = np.random.default_rng(seed + 9)
    strange = odd * rng.normal(size=(n, 3))
    loss += np.vstack([strange, -strange]) + noise * rng.normal(size=loss.shape)
    return dict(zip(X, rows.T)), dict(zip(NAMES, loss.T))


def test_an_effect_of_order_that_does_not_come_true_widens_the_interval():
    W = np.array([0.0, 0.0, 1.0])
    corpus = Corpus.declared({"web": 10**8, "code": 10**8, "wiki": 250_000}, source="test")
    budget = Budget(tokens=10**6, max_epochs={"wiki": 1.0})
    found = {}
    for odd in (0.0, 0.3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixlawWarning)
            law = PhaseLaw(structure="recency", log_rho=np.log(3.0)).fit(*reversed_pairs(12, 0.005, odd=odd))
        found[odd] = order_error(law, W), best_schedule(law, {"wiki": 1.0}, budget, corpus, num_bootstrap=12)
    assert found[0.0][0] < 0.1 < 0.3 < found[0.3][0]
    width = {odd: r.difference.high - r.difference.low for odd, (_, r) in found.items()}
    assert width[0.3] > 2 * width[0.0]


def test_without_reversed_runs_the_interval_says_what_it_does_not_know(fitted):
    assert order_error(fitted[3.0], np.array([0.0, 0.0, 1.0])) is None
    corpus = Corpus.declared({"web": 10**8, "code": 10**8, "wiki": 250_000}, source="test")
    budget = Budget(tokens=10**6, max_epochs={"wiki": 1.0})
    recipe = best_schedule(fitted[3.0], {"wiki": 1.0}, budget, corpus, num_bootstrap=8)
    assert any("order of their phases" in w for w in recipe.warnings)


def test_refits_choose_the_recency_anew_and_weight_zero_is_as_left_out(fitted):
    law = fitted[3.0]
    counts = np.random.default_rng(0).multinomial(24, np.full(24, 1 / 24), size=20).astype(float)
    chosen = {tuple(law.refit_options(w)["log_rho"]) for w in counts}
    assert len(chosen) > 1
    assert law.refit_options(np.ones(24)) == law.refit_options()
    # runs that see no order at all, with weight zero, do not hide the order of the others
    (A, a), (B, b) = two_phase(20, 3.0), two_phase(20, 1.0, seed=30)
    X = {k: np.concatenate([A[k], B[k]]) for k in A}
    Y = {k: np.concatenate([a[k], b[k]]) for k in a}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        part = PhaseLaw().fit(X, Y, sample_weight=np.repeat([1.0, 0.0], 20))
        alone = PhaseLaw().fit(A, a)
    np.testing.assert_allclose(part.log_rho_, alone.log_rho_, atol=0.3)


def test_phase_caps_hold(fitted):
    corpus = Corpus.declared({"web": 10**8, "code": 10**8, "wiki": 10**8}, source="test")
    recipe = best_schedule(
        fitted[3.0], NAMES, Budget(tokens=10**6), corpus, phase_caps={"wiki": [0.1, 0.2]}, num_bootstrap=0
    )
    assert [p.mixture["wiki"] <= c + 1e-9 for p, c in zip(recipe.schedule.phases, (0.1, 0.2))] == [True, True]


def test_limits_per_phase_let_a_law_of_the_average_gain():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        law = PhaseLaw(structure="constant").fit(*two_phase(24, 1.0))
    corpus = Corpus.declared({"web": 10**8, "code": 10**8, "wiki": 10**8}, source="test")
    recipe = best_schedule(
        law, {"wiki": 1.0}, Budget(tokens=10**6), corpus, phase_caps={"wiki": [0.1, 0.9]}, num_bootstrap=8
    )
    first, second = (p.mixture["wiki"] for p in recipe.schedule.phases)
    assert first <= 0.1 + 1e-9 and second > 0.5
    assert recipe.difference.mean < -0.05
    assert not any("no effect of order" in w for w in recipe.warnings)


def test_a_law_from_json_learns_from_the_runs_it_is_given():
    runs = reversed_pairs(12, 0.005, odd=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        law = PhaseLaw(structure="recency", log_rho=np.log(3.0)).fit(*runs)
        again = Law.from_json(law.to_json())
    W = np.array([0.0, 0.0, 1.0])
    assert order_error(again, W) is None
    assert order_error(again, W, runs=runs) == pytest.approx(order_error(law, W), rel=1e-6)


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

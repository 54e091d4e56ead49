"""What every registered mixture law must keep, checked automatically for each (also one added tomorrow)."""

import functools
import json
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks

from mixlaw.errors import DataError, MixlawWarning, TooFewRunsError
from mixlaw.laws import LAWS
from mixlaw.laws.core.base import Law

import worlds

SCALE = {"kaplan", "chinchilla", "repeated_data", "learning_rate_annealing", "broken_power_law"}
SCALE |= {"nested", "joint", "phase_law"}
# How much of its own noise-free surface a law must recover at unseen mixtures (share of variance unexplained).
UNEXPLAINED = {"gaussian_process": 0.03, "trees": 0.5, "auto": 0.03, "implicit": 0.02}
NAMES = [name for name in LAWS.names() if name not in SCALE]


def law_class(name: str) -> type[Law]:
    if name == "trees":
        pytest.importorskip("lightgbm", reason="needs the [trees] extra")
    return LAWS[name]


def quiet_fit(law: Law, X, Y) -> Law:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        return law.fit(X, Y)


@functools.cache
def swarm():
    world = worlds.effective_tokens(k=4, targets=2, seed=3)
    X, Y = world.sample(40, seed=1, noise=0.02)
    return X, Y


@functools.cache
def fitted(name: str) -> Law:
    return quiet_fit(law_class(name)(), *swarm())


@pytest.fixture(params=NAMES)
def law(request) -> Law:
    return fitted(request.param)


def name_of(law: Law) -> str:
    return next(n for n in NAMES if LAWS[n] is type(law))


ELSEWHERE = worlds.mixtures(200, 4, seed=99)


def test_recovers_its_own_synthetic_data(law):
    """The fitted surface, sampled without noise, is found again at mixtures it was not sampled at."""
    X = worlds.mixtures(60, 4, seed=5)
    again = quiet_fit(clone(law), X, law.predict(X))
    truth, found = law.predict(ELSEWHERE), again.predict(ELSEWHERE)
    unexplained = ((found - truth) ** 2).sum(0) / np.maximum(((truth - truth.mean(0)) ** 2).sum(0), 1e-12)
    varies = np.ptp(truth, axis=0) > 1e-6
    assert (unexplained[varies] < UNEXPLAINED.get(name_of(law), 0.005)).all(), unexplained


def test_row_order_does_not_matter(law):
    X, Y = swarm()
    order = np.random.default_rng(4).permutation(len(X))
    other = quiet_fit(clone(law), X[order], Y[order])
    np.testing.assert_allclose(other.predict(ELSEWHERE), law.predict(ELSEWHERE), atol=1e-6)


def test_domain_order_does_not_matter_where_declared(law):
    if not law.permutation_invariant:
        pytest.skip(f"{type(law).__name__} does not declare it")
    X, Y = swarm()
    order = np.array([2, 0, 3, 1])
    names = np.array([f"x{j}" for j in range(4)])
    other = quiet_fit(clone(law), dict(zip(names[order], X[:, order].T)), Y)
    there = dict(zip(names, ELSEWHERE.T))
    np.testing.assert_allclose(other.predict(there), law.predict(ELSEWHERE), atol=1e-6)


def test_refit_is_idempotent(law):
    X, Y = swarm()
    before = law.predict(ELSEWHERE)
    again = quiet_fit(clone(law), X, Y)
    if name_of(law) != "auto":  # a fresh fit that equals the first is enough where a fit takes seconds
        quiet_fit(again, X, Y)
    np.testing.assert_array_equal(again.predict(ELSEWHERE), before)


def test_intervals_cover_new_observations(law):
    low, high = law.predict_interval(ELSEWHERE, 0.9)
    world = worlds.effective_tokens(k=4, targets=2, seed=3)
    seen = world.loss(ELSEWHERE) + 0.02 * np.random.default_rng(7).normal(size=low.shape)
    coverage = ((seen >= low) & (seen <= high)).mean()
    assert coverage > 0.78, coverage
    wider = law.predict_interval(ELSEWHERE, 0.99)
    assert (wider[0] <= low + 1e-12).all() and (wider[1] >= high - 1e-12).all()
    assert np.isfinite(low).all() and (high > low).all()


def test_gradients_are_finite_and_right(law):
    inside = 0.5 * ELSEWHERE[:20] + 0.5 / 4
    gradient = law.gradient(inside)
    assert gradient.shape == (20, 2, 4) and np.isfinite(gradient).all()
    if name_of(law) == "trees":
        return  # piecewise constant: the derivative says nothing
    for j in range(4):
        up, down = inside.copy(), inside.copy()
        up[:, j] += 1e-4
        down[:, j] -= 1e-4
        slope = (law.predict(up) - law.predict(down)) / 2e-4
        np.testing.assert_allclose(gradient[:, :, j], slope, atol=2e-3 * (1 + np.abs(slope).max()))


def test_atoms_are_the_law(law):
    atoms = law.atoms()
    if atoms is None:
        pytest.skip(f"{type(law).__name__} has no such form")
    np.testing.assert_allclose(atoms.value(ELSEWHERE), law.predict(ELSEWHERE), atol=1e-9)
    curvature = np.array([np.linalg.eigvalsh(atoms.hessian(x)).min(axis=1) for x in ELSEWHERE[:20]])
    assert (atoms.convex() <= (curvature > -1e-9).all(axis=0)).all()  # no target is said to be convex that is not


def test_laws_made_of_convex_atoms_say_so():
    """What the convex solver and its certificate rest on, and the claim that the test above checks."""
    for name in ("m2", "m4", "effective_tokens", "bi_mix", "auto_scale"):
        assert fitted(name).atoms().convex().all(), name


def test_json_round_trip(law):
    text = law.to_json()
    json.loads(text)
    back = Law.from_json(text)
    np.testing.assert_array_equal(back.predict(ELSEWHERE), law.predict(ELSEWHERE))
    for a, b in zip(back.predict_interval(ELSEWHERE, 0.8), law.predict_interval(ELSEWHERE, 0.8)):
        np.testing.assert_array_equal(a, b)
    assert back.get_params() == law.get_params()


def test_summary_says_what_was_fitted(law):
    text = law.summary()
    assert type(law).__name__ in text and "nan" not in text.lower()


@pytest.mark.parametrize("name", NAMES)
def test_one_target_gives_one_column(name):
    X, Y = swarm()
    law = quiet_fit(law_class(name)(), X, Y[:, 0])
    assert law.predict(ELSEWHERE).shape == (200,)
    low, high = law.predict_interval(ELSEWHERE)
    assert low.shape == high.shape == (200,) and np.isfinite(low).all() and np.isfinite(high).all()


@pytest.mark.parametrize("name", NAMES)
def test_awkward_designs_never_give_nan(name):
    """A constant target, a domain never used, two that move together, repeated rows: all at once."""
    base = worlds.mixtures(14, 3, seed=8)
    base = np.vstack([base, base[:4]])
    X = np.column_stack([0.5 * base[:, 0], 0.5 * base[:, 0], base[:, 1], base[:, 2], np.zeros(len(base))])
    Y = np.column_stack([2 + np.exp(-3 * X[:, 2]), np.full(len(X), 1.25)])
    Y[:, 0] += 0.01 * np.random.default_rng(0).normal(size=len(X))
    law = quiet_fit(law_class(name)(), X, Y)
    there = np.vstack([X, np.eye(5)])
    assert np.isfinite(law.predict(there)).all()
    np.testing.assert_allclose(law.predict(there)[:, 1], 1.25, atol=1e-3)
    assert all(np.isfinite(end).all() for end in law.predict_interval(there))


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused_in_words(name):
    X, Y = swarm()
    cls = law_class(name)
    with pytest.raises(DataError, match="0, 1"):
        cls().fit(100 * X, Y)
    with pytest.raises(DataError, match="NaN"):
        cls().fit(np.where(X.max() == X, np.nan, X), Y)
    diverged = np.where(Y.max() == Y, np.inf, Y)
    if name == "auto":  # leaves a diverged run out, and says so
        assert "infinite" in quiet_fit(cls(), X, diverged).summary()
    else:
        with pytest.raises(DataError, match="infinite"):
            cls().fit(X, diverged)
    with pytest.raises(DataError, match="runs"):
        cls().fit(X[:-1], Y)
    with pytest.raises(TooFewRunsError):
        cls().fit(X[:2], Y[:2])
    with pytest.raises(DataError, match="fitted"):
        cls().predict(X)
    with pytest.raises(DataError, match="columns"):
        fitted(name).predict(X[:, :3])


@pytest.mark.parametrize(
    "check",
    [
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_scikit_learn_contract(name, check):
    """Those of scikit-learn's checks that do not feed a law numbers no mixture could be."""
    cls = law_class(name)
    getattr(estimator_checks, check)(cls.__name__, cls())


def test_a_summary_tells_long_names_apart_that_share_an_end():
    X = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    domains = ["common_crawl:2024:high", "common_crawl:2024:low", "books_of_the_common_crawl:2024:high"]
    loss = 2 + 0.5 * np.exp(-3 * X[:, 0])
    law = quiet_fit(LAWS["m4"](), dict(zip(domains, X.T)), {"validation_of_common_crawl_web": loss})
    header = next(line for line in law.summary().splitlines() if "\u2026" in line)
    assert len(set(header.split())) == 3

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixlaw.data.mixture import Mixture, Phase, Schedule, quotas
from mixlaw.errors import ConfigError

positive = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=12)


def named(values):
    return {f"d{i}": v for i, v in enumerate(values)}


@given(positive)
def test_normalised_weights_sum_to_one_in_the_given_proportions(values):
    mixture = Mixture.normalized(named(values))
    assert math.fsum(mixture.weights) == pytest.approx(1, abs=1e-12)
    assert np.allclose(mixture.array(), np.array(values) / sum(values))
    assert Mixture(mixture.to_dict()) == mixture


@given(positive, st.floats(1.01, 3))
def test_a_sum_that_is_not_one_is_an_error_never_rescaled(values, factor):
    weights = {k: factor * w for k, w in Mixture.normalized(named(values)).to_dict().items()}
    with pytest.raises(ConfigError, match="not 1"):
        Mixture(weights)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1.5, "b": -0.5}, "non-negative"),
        ({"a": math.nan}, "finite"),
        ({"a": math.inf}, "finite"),
        ({}, "at least one"),
        ([("a", 0.5), ("a", 0.5)], "unique"),
        ({"a": "much"}, "numbers"),
        (np.array([0.5, 0.5]), "pairs"),
    ],
)
def test_what_is_not_a_mixture_is_named(weights, message):
    with pytest.raises(ConfigError, match=message):
        Mixture(weights)


def test_lookups():
    mixture = Mixture({"web": 0.75, "code": 0.25})
    assert mixture.get("law") == 0
    with pytest.raises(ConfigError, match="Did you mean 'code'"):
        mixture["cod"]
    assert mixture.array(["code", "law", "web"]).tolist() == [0.25, 0, 0.75]
    with pytest.raises(ConfigError, match=r"\['code'\]"):
        mixture.array(["web"])


@given(positive, st.integers(0, 10**7))
def test_quotas_are_whole_exact_in_sum_and_within_one(values, total):
    weights = np.array(values) / sum(values)
    counts = quotas(weights, total)
    assert counts.sum() == total
    assert (counts >= 0).all()
    assert (np.abs(counts - weights * total) < 1 + 1e-6).all()


@st.composite
def schedules(draw):
    count = draw(st.integers(1, 5))
    width = draw(st.integers(1, 5))
    fractions = np.array(draw(st.lists(st.floats(0.05, 1), min_size=count, max_size=count)))
    rows = draw(st.lists(st.lists(st.floats(0.01, 1), min_size=width, max_size=width), min_size=count, max_size=count))
    return Schedule(
        tuple(Phase(float(f), Mixture.normalized(named(r))) for f, r in zip(fractions / fractions.sum(), rows))
    )


@given(schedules(), st.floats(1, 1e12))
def test_a_schedule_spends_its_budget_and_returns_from_plain_data(schedule, budget):
    assert sum(schedule.tokens(budget).values()) == pytest.approx(budget, rel=1e-9)
    assert Schedule.from_dict(schedule.to_dict()) == schedule
    epochs = schedule.epochs(budget, dict.fromkeys(schedule.domains, 1000))
    assert sum(epochs.values()) == pytest.approx(budget / 1000, rel=1e-9)


@given(positive)
def test_a_constant_mixture_is_a_one_phase_schedule(values):
    mixture = Mixture.normalized(named(values))
    assert Schedule.constant(mixture).num_phases == 1
    assert Schedule.constant(mixture).mixture == mixture


def test_wrong_schedules():
    a, b = Mixture({"a": 1.0}), Mixture({"b": 1.0})
    with pytest.raises(ConfigError, match="same domains"):
        Schedule((Phase(0.5, a), Phase(0.5, b)))
    with pytest.raises(ConfigError, match=r"sum to 0\.9"):
        Schedule((Phase(0.5, a), Phase(0.4, a)))
    with pytest.raises(ConfigError, match="fractions in"):
        Schedule((Phase(0.0, a), Phase(1.0, a)))
    assert Schedule.constant({"a": 1.0}).epochs(10, {"a": 0})["a"] == math.inf


@pytest.mark.parametrize("given", [None, 3, {"web": 10**400}, [("web", "much")]])
def test_what_is_no_mixture_is_refused_in_words(given):
    with pytest.raises(ConfigError, match=r"A mixture is|Mixture weights must be numbers"):
        Mixture(given)


@pytest.mark.parametrize("given", [{"web": None}, {"web": ""}, {"web": 10**400}, [1.0]])
def test_what_cannot_be_rescaled_is_refused_in_words(given):
    with pytest.raises(ConfigError, match="Cannot rescale"):
        Mixture.normalized(given)


def test_weights_of_any_size_are_rescaled():
    assert Mixture.normalized({"web": 1.5e308, "code": 0.5e308}).weights == pytest.approx((0.75, 0.25))
    assert Mixture.normalized({"web": 1.5e-323, "code": 0.5e-323}).weights == pytest.approx((0.75, 0.25))


@pytest.mark.parametrize("given", [None, {}, {"phases": None}, {"phases": [{}]}, {"phases": [{"fraction": "half"}]}])
def test_what_is_no_schedule_is_refused_in_words(given):
    with pytest.raises(ConfigError, match="A schedule is"):
        Schedule.from_dict(given)


def test_rescaled_weights_are_exact_quotients_whatever_their_size():
    assert Mixture.normalized({"web": 9_000, "wiki": 1_000}).weights == (0.9, 0.1)  # ids of runs depend on every digit
    assert Mixture.normalized({"web": 1.5e308, "wiki": 1.5e308}).weights == (0.5, 0.5)

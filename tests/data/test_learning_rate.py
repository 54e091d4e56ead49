"""Learning-rate schedules against closed forms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixlaw.data.learning_rate import LearningRate, undecayed_fraction
from mixlaw.errors import ConfigError


def test_warmup_constant_decay():
    rate = LearningRate({"name": "wsd", "peak": 2.0, "warmup": 0.1, "decay": 0.2, "final": 0.1}, 100)
    assert [rate(s) for s in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert {rate(s) for s in range(10, 80)} == {2.0}
    for step in range(80, 100):
        assert rate(step) == pytest.approx(2.0 * (0.1 + 0.9 * (1 - (step - 80) / 20)))


def test_one_minus_square_root_decay():
    rate = LearningRate({"name": "wsd", "peak": 1.0, "decay": 0.5, "shape": "1-sqrt"}, 40)
    for step in range(20, 40):
        assert rate(step) == pytest.approx(1 - math.sqrt((step - 20) / 20))


def test_cosine_and_its_horizon():
    rate = LearningRate({"name": "cosine", "peak": 1.0, "warmup": 0.0, "final": 0.1}, 100)
    assert rate(0) == 1.0
    assert rate(50) == pytest.approx(0.55)
    assert rate(99) == pytest.approx(0.1, abs=1e-3)
    longer = LearningRate({"name": "cosine", "peak": 1.0, "warmup": 0.0, "final": 0.1, "horizon": 2.0}, 50)
    assert [longer(s) for s in range(50)] == pytest.approx([rate(s) for s in range(50)])


def test_constant():
    rate = LearningRate({"name": "constant", "peak": 0.5, "warmup": 0.0}, 10)
    assert {rate(s) for s in range(10)} == {0.5}


@given(
    st.sampled_from(["wsd", "cosine", "constant"]),
    st.integers(1, 500),
    st.floats(0, 0.5),
    st.floats(1e-5, 10),
)
def test_stays_between_zero_and_peak(name, steps, warmup, peak):
    rate = LearningRate({"name": name, "peak": peak, "warmup": warmup}, steps)
    rates = [rate(s) for s in range(steps)]
    assert all(0 < r <= peak * (1 + 1e-12) for r in rates)
    assert max(rates) == pytest.approx(peak, rel=0.5 if steps < 4 else 1e-2)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "cosin"}, "Did you mean 'cosine'"),
        ({"name": "wsd", "warmpu": 0.1}, "Did you mean 'warmup'"),
        ({"name": "wsd", "peak": -1}, "peak"),
        ({"name": "wsd", "peak": "high"}, "high"),
        ({"name": "wsd", "warmup": 0.7, "decay": 0.7}, "warmup"),
        ({"name": "wsd", "shape": "square"}, "shape"),
        ({"name": "constant", "decay": 0.2}, "decay"),
    ],
)
def test_wrong_schedules_are_explained(spec, words):
    with pytest.raises(ConfigError, match=words):
        LearningRate(spec, 100)


@pytest.mark.parametrize(
    ("spec", "rates"),
    [
        ({"peak": 0.003}, [0.003] * 9 + [0.0015]),
        (
            {"peak": 0.003, "warmup": 0.3, "decay": 0.5, "final": 0.1, "shape": "1-sqrt"},
            [
                *(0.001, 0.002, 0.0030000000000000005, 0.003, 0.003, 0.003),
                *(0.0017925232921501139, 0.001292370063509075, 0.0009085889930479949, 0.0005850465843002272),
            ],
        ),
        (
            {"name": "cosine", "peak": 0.003, "warmup": 0.2, "horizon": 3.33},
            [
                *(0.0015, 0.003, 0.003, 0.00299320561402452, 0.002972890846736279, 0.002939260181646325),
                *(0.0028926521368572273, 0.0028335358576221104, 0.002762506394042541, 0.0026802787114388023),
            ],
        ),
        ({"name": "constant", "peak": 0.003, "warmup": 0.25}, [0.0015] + [0.003] * 9),
    ],
)
def test_the_rates_are_those_of_the_first_version(spec, rates):
    """To the last bit: a run that was cut off under 0.1.0 goes on as it would have."""
    rate = LearningRate(spec, 10)
    assert [rate(step) for step in range(10)] == rates


def test_laws_see_the_schedule_that_is_trained():
    rate = LearningRate({"name": "wsd", "peak": 0.004, "warmup": 0.1, "decay": 0.3}, 50)
    trained = [rate(step) for step in range(50)]
    seen = rate.schedule.rate([*range(1, 6), *range(5, 50)], rate.peak)
    assert seen == pytest.approx(trained)
    assert rate.schedule.area(50) * rate.peak == pytest.approx(sum(trained), rel=0.03)


def test_a_share_before_the_decay():
    assert undecayed_fraction({}) == undecayed_fraction({"name": "wsd"}) == 0.8
    assert undecayed_fraction({"name": "wsd", "decay": 0.5}) == 0.5
    assert undecayed_fraction({"name": "cosine"}) == undecayed_fraction({"name": "their own", "decay": 0.5}) == 1.0

"""Learning-rate schedules: closed forms against sums step by step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlaw.data.learning_rate import Constant, Cosine, Linear, Tabulated, WarmupStableDecay, as_schedule
from mixlaw.errors import ConfigError

ALL = [
    Constant(warmup=100),
    Cosine(total=5_000, warmup=200, final=0.1),
    Linear(total=5_000, warmup=200, final=0.05),
    WarmupStableDecay(total=5_000, warmup=100, decay=1_000, final=0.0),
    WarmupStableDecay(total=5_000, warmup=100, decay=1_000, final=0.1, shape="sqrt"),
    Tabulated((0, 100, 4_000, 6_000), (0.0, 3e-4, 3e-4, 3e-5)),
]


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: s.name)
def test_area_is_the_sum_of_the_rate(schedule):
    steps = np.array([50, 99, 500, 3_000, 4_500, 5_000, 5_500])
    summed = np.cumsum(schedule.rate(np.arange(1, 5_501)))[steps - 1]
    # an integral and a sum over steps differ by half a step at either end
    np.testing.assert_allclose(schedule.area(steps), summed, atol=1.0)


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: s.name)
def test_gap_is_how_far_the_rate_came_down(schedule):
    steps = np.linspace(1, 6_000, 400)
    gap = schedule.gap(steps)
    assert (gap >= 0).all() and (gap <= 1).all()
    assert (gap[steps <= schedule.peak_step] == 0).all()
    after = steps > schedule.peak_step
    np.testing.assert_allclose(gap[after], 1 - schedule.rate(steps[after]))


@settings(max_examples=20, deadline=None)
@given(st.integers(10, 300), st.floats(0.0, 0.99), st.floats(0.0, 0.9))
def test_annealing_area_against_its_definition(total, decay, final):
    """S2 = sum over steps of the momentum of the rate's drops, written out."""
    schedule = Cosine(total=total, warmup=2, final=final)
    rates = schedule.rate(np.arange(0, total + 1))
    momentum = area = 0.0
    for i in range(3, total + 1):
        momentum = decay * momentum + rates[i - 1] - rates[i]
        area += momentum
    assert schedule.annealing_area(total, decay) == pytest.approx(area, abs=1e-9)


def test_the_schedule_of_data_mixing_laws():
    cosine = Cosine(total=100_000, warmup=2_000, final=0.1)
    assert cosine.rate(2_000) == pytest.approx(1.0)
    assert cosine.rate(100_000) == pytest.approx(0.1)
    assert cosine.rate(51_000) == pytest.approx(0.55)  # half way
    assert cosine.area(100_000) == pytest.approx(1_000 + 98_000 * 0.55)


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: s.name)
def test_plain_data_round_trip(schedule):
    assert as_schedule(schedule.to_dict()) == schedule


def test_none_stays_none():
    assert as_schedule(None) is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Cosine(total=100, warmup=200), "must exceed warmup"),
        (lambda: WarmupStableDecay(total=100, warmup=60, decay=60), "exceed total"),
        (lambda: WarmupStableDecay(total=100, decay=10, shape="squre"), "Did you mean"),
        (lambda: Tabulated((1, 1), (1.0, 1.0)), "rising steps"),
        (lambda: as_schedule({"name": "cosin", "total": 10}), "Did you mean 'cosine'"),
        (lambda: as_schedule({"name": "cosine", "totl": 10}), "Did you mean 'total'"),
        (lambda: as_schedule(3), "mapping with 'name'"),
        (lambda: Constant(warmup=-1), "finite number >= 0"),
        (lambda: Constant().annealing_area(10, decay=1.0), "decay"),
    ],
)
def test_mistakes_are_named(make, words):
    with pytest.raises(ConfigError, match=words):
        make()

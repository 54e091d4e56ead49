"""ODM against its published update."""

import math

import pytest

from mixlaw.data.mixture import Schedule
from mixlaw.train.strategies import STRATEGIES

TWO = Schedule.constant({"a": 0.8, "b": 0.2})


def make(**options):
    return STRATEGIES.make("odm", {"schedule": TWO, "num_steps": 100, **options})


def test_three_updates_by_hand():
    odm = make(smoothing=0.9)
    assert odm.update(0).weights == (0.8, 0.2)
    odm.update(1, {"a": 2.0, "b": 1.0})
    odm.update(2, {"a": 2.0})  # b keeps its estimate
    after = odm.update(3, {"a": 1.5, "b": 1.0})
    a = 0.9 * (0.9 * 0.1 * math.exp(2) + 0.1 * math.exp(2)) + 0.1 * math.exp(1.5)
    b = 0.9 * 0.1 * math.exp(1) + 0.1 * math.exp(1)
    before, now = math.sqrt(math.log(2) / 4), math.sqrt(math.log(2) / 6)
    share = math.exp(before * a) / (math.exp(before * a) + math.exp(before * b))
    assert after["a"] == pytest.approx((1 - 2 * now) * share + now)
    assert after["b"] == pytest.approx(1 - after["a"])


def test_it_is_uniform_while_the_floor_is():
    """sqrt(ln K / (K t)) is above 1/K up to t = K ln K, 1.4 steps for two domains."""
    assert make().update(1, {"a": 9.0, "b": 1.0}).weights == pytest.approx((0.5, 0.5))
    assert make().update(2, {"a": 9.0, "b": 1.0})["a"] > 0.5


def test_a_loss_of_any_size_gives_weights():
    mixture = make().update(50, {"a": 5000.0, "b": 3.0})
    assert mixture["a"] > 0.9 and mixture["b"] > 0


def test_noise_earns_by_its_loss_and_nothing_by_progress():
    """Domain a stays at a high loss; b starts lower and learns."""
    by = {}
    for reward in ("loss", "progress"):
        odm = make(reward=reward)
        for step in range(100):
            by[reward] = odm.update(step, {"a": 5.0, "b": 4.0 * 0.99**step}) if step else odm.update(0)
    assert by["loss"]["a"] > 0.8
    assert by["progress"]["b"] > 0.75

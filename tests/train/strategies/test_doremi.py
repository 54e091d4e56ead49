"""DoReMi against its published update."""

import math

import pytest

from mixlaw.data.mixture import Schedule
from mixlaw.train.strategies import STRATEGIES

THREE = Schedule.constant({"a": 0.2, "b": 0.2, "c": 0.6})


def make(**options):
    return STRATEGIES.make("doremi", {"schedule": THREE, "num_steps": 10, "reference": "r1", **options})


def test_one_update_from_uniform():
    """Excess (0.30, 0.10, 0.00), eta 1, smoothing 0.001, by hand."""
    doremi = make()
    assert doremi.update(0).weights == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    after = doremi.update(1, {"a": 0.30, "b": 0.10, "c": 0.00})
    assert after.weights == pytest.approx((0.39064, 0.31989, 0.28948), abs=5e-6)


def test_a_domain_that_was_not_in_the_batch_keeps_its_last_excess():
    doremi = make(smoothing=0.0)
    doremi.update(1, {"a": 0.3, "b": 0.1, "c": 0.0})
    after = doremi.update(2, {"b": 0.1, "c": 0.0})
    raised = [math.exp(0.6), math.exp(0.2), 1.0]
    assert after.weights == pytest.approx([r / sum(raised) for r in raised])


def test_an_excess_below_zero_counts_as_none():
    doremi = make(smoothing=0.0)
    assert doremi.update(1, {"a": -5.0, "b": 0.0, "c": -0.1}).weights == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_smoothing_keeps_every_weight_above_its_share():
    doremi = make(smoothing=0.03)
    for step in range(1, 50):
        mixture = doremi.update(step, {"a": 100.0, "b": 0.0, "c": 0.0})
    assert mixture.weights == pytest.approx((0.98, 0.01, 0.01), abs=1e-9)


def test_it_weighs_losses_over_uniform_batches_and_its_result_is_an_average():
    doremi = make()
    assert (doremi.weighs, doremi.averaged) == ("loss", True)
    assert doremi.sampling.weights == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert doremi.needs == {"reference"} and doremi.reference == "r1"

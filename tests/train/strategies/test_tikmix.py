"""TiKMiX-D on influences that are computed by hand."""

import numpy as np
import pytest

from mixlaw.data.mixture import Mixture, Phase, Schedule
from mixlaw.errors import ConfigError
from mixlaw.train.strategies import STRATEGIES

THREE = Schedule.constant({"a": 0.5, "b": 0.3, "c": 0.2})
GRADIENTS = {"a": np.array([1.0, 0.0]), "b": np.array([1.0, 1.0]), "c": np.array([-1.0, 2.0])}
TARGET = np.array([2.0, 1.0])


def make(schedule=THREE, **options):
    objective = {"exam": 1.0}
    return STRATEGIES.make("tikmix", {"schedule": schedule, "num_steps": 100, "objective": objective, **options})


def influences():
    """d = (3/3, 5/3), mean 4/3: H = (7/3, 3); H^-1 target = (6/7, 1/3)."""
    return np.array([6 / 7, 6 / 7 + 1 / 3, -6 / 7 + 2 / 3])


def weights_of(influence, planned, penalty=1.0):
    raised = np.asarray(planned) * np.exp(influence / np.abs(influence).mean() / penalty)
    return raised / raised.sum()


def run(tikmix, until, gradients=GRADIENTS):
    for step in range(until + 1):
        asked = tikmix.asks(step)
        mixture = tikmix.update(step, gradients=gradients if asked else None, target=TARGET if asked else None)
    return mixture


@pytest.mark.parametrize("penalty", [0.5, 1.0, 4.0])
def test_weights_by_hand(penalty):
    tikmix = make(stages=2, samples=1, penalty=penalty)
    assert run(tikmix, 49).weights == (0.5, 0.3, 0.2)
    assert run(tikmix, 50).weights == pytest.approx(weights_of(influences(), (0.5, 0.3, 0.2), penalty))


def test_the_weights_are_the_best_near_the_plan():
    """No other mixture has more influence minus penalty times its divergence from the plan."""
    planned = np.array([0.5, 0.3, 0.2])
    influence = influences() / np.abs(influences()).mean()
    found = np.array(run(make(stages=2, samples=1, penalty=0.7), 50).weights)

    def value(weights):
        return weights @ influence - 0.7 * (weights * np.log(weights / planned)).sum()

    others = np.random.default_rng(0).dirichlet(np.ones(3), 1000)
    assert (np.array([value(w) for w in others]) < value(found)).all()


def test_it_asks_in_the_last_steps_before_each_stage_and_averages_them():
    tikmix = make(stages=4, samples=3)
    assert [s for s in range(100) if tikmix.asks(s)] == [23, 24, 25, 48, 49, 50, 73, 74, 75]
    for step in range(26):
        factor = step - 23  # 0, 1, 2: gradients of the target that average to the one above
        mixture = tikmix.update(step, gradients=GRADIENTS, target=factor * TARGET)
    assert tikmix.influence == pytest.approx(influences())
    assert mixture.weights == pytest.approx(weights_of(influences(), (0.5, 0.3, 0.2)))


def test_a_domain_that_was_in_no_batch_has_the_mean_influence_and_later_its_last():
    tikmix = make(stages=3, samples=1)
    two = {d: GRADIENTS[d] for d in ("a", "b")}
    run(tikmix, 33, two)
    assert tikmix.known.tolist() == [True, True, False]
    known = tikmix.influence[:2]
    mixture = tikmix.update(34)
    wanted = weights_of(np.array([*known, known.mean()]), (0.5, 0.3, 0.2))
    assert mixture.weights == pytest.approx(wanted)
    other = make(stages=3, samples=1)
    run(other, 33)
    last = other.influence[2]
    for step in range(34, 67):
        other.update(step, gradients=two, target=TARGET)
    assert other.influence[2] == last


def test_the_plan_may_have_phases():
    phases = (Phase(0.7, THREE.mixture), Phase(0.3, Mixture({"a": 0.1, "b": 0.1, "c": 0.8})))
    tikmix = make(Schedule(phases), stages=2, samples=1)
    run(tikmix, 69)
    assert tikmix.update(70).weights == pytest.approx(weights_of(influences(), (0.1, 0.1, 0.8)))


def test_gradients_of_zero_leave_the_plan():
    zeros = {d: np.zeros(2) for d in "abc"}
    assert run(make(stages=2), 50, zeros).weights == pytest.approx((0.5, 0.3, 0.2))


def test_without_an_objective_it_says_what_to_give():
    with pytest.raises(ConfigError, match="needs the option objective"):
        make(objective=None)

"""DoGE against its published update."""

import math

import numpy as np
import pytest

from mixlaw.data.mixture import Schedule
from mixlaw.errors import ConfigError
from mixlaw.train.strategies import STRATEGIES

THREE = Schedule.constant({"a": 0.2, "b": 0.2, "c": 0.6})
GRADIENTS = {"a": np.array([0.6, 0.0]), "b": np.array([0.3, 0.4]), "c": np.array([0.0, -2.0])}


def make(**options):
    return STRATEGIES.make("doge", {"schedule": THREE, "num_steps": 100, "learning_rate": 0.01, "mu": 0.1, **options})


def softmax(logits):
    raised = np.exp(logits)
    return raised / raised.sum()


def test_the_own_gradient_does_not_count_towards_all_domains():
    """c is clipped to (0, -1). W = (.18 + 0, .18 - .4, 0 - .4); the mean norm is (.6 + .5 + 1) / 3 = .7. The code
    clips from below at 0, so only a's log-weight rises, by .01 * .18 / .7 / .1."""
    after = make().update(1, gradients=GRADIENTS)
    assert after.weights == pytest.approx(softmax([0.01 * 0.18 / 0.700001 / 0.1, 0.0, 0.0]))


def test_towards_an_objective():
    """W = g . (1, 0) = (.6, .3, 0) over .7."""
    doge = make(towards="objective", objective={"exam": 1.0})
    assert doge.needs == {"gradients", "target"}
    after = doge.update(1, gradients=GRADIENTS, target=np.array([3.0, 0.0]))
    assert after.weights == pytest.approx(softmax([0.1 * 0.6 / 0.700001, 0.1 * 0.3 / 0.700001, 0.0]))


def test_scores_are_at_most_five_learning_rates():
    wide = Schedule.constant({str(i): 1 / 8 for i in range(8)})
    doge = STRATEGIES.make("doge", {"schedule": wide, "num_steps": 100, "learning_rate": 0.01, "mu": 0.1})
    alike = {str(i): np.array([1.0]) for i in range(7)} | {"7": np.array([0.0])}
    after = doge.update(1, gradients=alike)  # W = 6, mean norm 7 / 8
    assert after["0"] / after["7"] == pytest.approx(math.exp(0.01 * 5 / 0.1))


def test_a_domain_that_was_not_in_the_batch_keeps_its_log_weight():
    doge = make()
    doge.update(1, gradients={d: GRADIENTS[d] for d in ("a", "b")})
    assert doge.log_weights[2] == -math.log(3)
    assert (doge.log_weights[:2] > -math.log(3)).all()


def test_the_rate_falls_by_a_cosine_and_moves_as_much_as_the_published_run():
    """5e-4 to 1e-4 over 10,000 steps: a mean of 3e-4, in all 3."""
    for steps in (100, 10_000):
        doge = STRATEGIES.make("doge", {"schedule": THREE, "num_steps": steps})
        moved = sum(
            doge.log_weights[0] - before
            for step in range(1, steps + 1)
            for before in [doge.log_weights[0]]
            if doge.update(step, gradients={"a": np.array([0.5]), "b": np.array([0.5])})
        )
        assert moved == pytest.approx(3 * 0.5 / 0.05, rel=0.01)


def test_towards_an_objective_that_is_not_given_is_refused():
    with pytest.raises(ConfigError, match="needs the option objective"):
        make(towards="objective")
    with pytest.raises(ConfigError, match="towards='test'"):
        make(towards="test")

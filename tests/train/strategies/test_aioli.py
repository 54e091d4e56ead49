"""Aioli against its published update, on losses whose effects are known."""

import numpy as np
import pytest

from mixlaw.data.mixture import Schedule
from mixlaw.errors import ConfigError
from mixlaw.train.strategies import STRATEGIES

TWO = Schedule.constant({"a": 0.5, "b": 0.5})
TRUE = np.array([[0.03, 0.01], [0.00, 0.04]])  # what a step on domain j takes off the loss of set i


def make(num_steps=64, schedule=TWO, **options):
    return STRATEGIES.make("aioli", {"schedule": schedule, "num_steps": num_steps, **options})


def train(aioli, steps, effects=TRUE):
    """Losses that fall by the effects of the mixtures trained on; the weights of each step."""
    loss, weights = np.array([9.0, 9.0]), []
    for step in range(steps):
        given = dict(zip(aioli.sets, loss.tolist())) if aioli.asks(step) else None
        mixture = aioli.update(step, given)
        weights.append(mixture.weights)
        loss = loss - effects @ mixture.array()
    return np.array(weights)


def test_the_effects_are_recovered_from_the_mixtures_and_move_the_weights():
    """A is the effects, four steps each, over their sum: (.03, .01; 0, .04) / .08. Columns sum to .375 and .625."""
    aioli = make(eta=0.8)
    weights = train(aioli, 40)
    assert aioli.effects == pytest.approx(TRUE / 0.08)
    a, b = np.exp(0.8 * 0.375), np.exp(0.8 * 0.625)
    assert weights[32:] == pytest.approx(np.tile([a / (a + b), b / (a + b)], (8, 1)))


def test_sweeps_hold_each_domain_once_and_last_lp_steps():
    weights = train(make(), 64)[:32].reshape(4, 2, 4, 2)  # sweep, mixture, step, domain
    assert (weights == weights[:, :, :1]).all()
    assert weights[:, :, 0].sum(axis=1) == pytest.approx(np.ones((4, 2)))
    assert set(weights.ravel()) == {0.625, 0.375}


def test_harm_is_shifted_to_zero():
    """Set b is harmed by a: (.03, .01; -.01, .04) + .01 = (.04, .02; 0, .05) over .11; columns .04 / .11, .07 / .11."""
    aioli = make()
    train(aioli, 40, np.array([[0.03, 0.01], [-0.01, 0.04]]))
    assert aioli.effects == pytest.approx(np.array([[0.04, 0.02], [0.0, 0.05]]) / 0.11)


def test_effects_are_averaged_over_rounds_or_weights_multiplied():
    averaged, multiplied = make(128, ema=0.1), make(128, ema=None)
    assert averaged.rounds == multiplied.rounds == 2
    for aioli in (averaged, multiplied):
        train(aioli, 64)
        for step in range(64, 100):  # from now on only domain a helps
            loss = 5.0 - 0.1 * (step - 64)
            aioli.update(step, {"a": loss, "b": loss} if aioli.asks(step) else None)
    second = multiplied.effects
    assert averaged.effects == pytest.approx(0.9 * second + 0.1 * TRUE / 0.08)
    first = np.exp(0.2 * TRUE.sum(axis=0) / 0.08)
    wanted = first / first.sum() * np.exp(0.2 * second.sum(axis=0))
    assert multiplied.weights == pytest.approx(wanted / wanted.sum())


def test_the_objective_weighs_the_rows():
    aioli = make(objective={"a": 1.0, "b": 0.0})
    assert aioli.sets == ["a"]
    loss = 9.0
    for step in range(33):
        mixture = aioli.update(step, {"a": loss} if aioli.asks(step) else None)
        loss -= float(TRUE[0] @ mixture.array())
    assert aioli.effects == pytest.approx(np.array([[0.75, 0.25]]))


@pytest.mark.parametrize(
    ("num_steps", "domains", "wanted"),
    [
        (5000, 7, (20, 4, 4)),  # published: rounds of 250
        (1000, 7, (4, 4, 4)),
        (488, 5, (3, 4, 4)),
        (122, 5, (1, 3, 4)),
        (20, 5, (1, 1, 2)),
        (10, 5, (1, 1, 1)),
    ],
)
def test_short_runs_learn_less_often_and_never_for_more_than_half_of_their_steps(num_steps, domains, wanted):
    schedule = Schedule.constant({str(i): 1 / domains for i in range(domains)})
    aioli = make(num_steps, schedule)
    assert (aioli.rounds, aioli.lp_rounds, aioli.lp_steps) == wanted
    assert wanted[0] * wanted[1] * wanted[2] * domains <= num_steps / 2


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="num_steps=63"):
        make(63, lp_rounds=4, lp_steps=4)
    with pytest.raises(ConfigError, match="3 such rounds"):
        make(64, rounds=3, lp_steps=6)
    with pytest.raises(ConfigError, match="num_steps=3"):
        make(3)
    with pytest.raises(ConfigError, match="at least two domains"):
        make(64, Schedule.constant({"a": 1.0}))

"""The contract of strategies, through the fixed mixture."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mixlaw.data.mixture import Mixture, Phase, Schedule
from mixlaw.errors import ConfigError, DataError
from mixlaw.tokens.loader import Loader
from mixlaw.train.strategies import STRATEGIES, Strategy

from tiny_tokens import tiny_spec

TWO = Schedule((Phase(0.6, Mixture({"hills": 0.9, "plains": 0.1})), Phase(0.4, Mixture({"hills": 0.2, "plains": 0.8}))))


def test_every_strategy_keeps_the_contract():
    assert "static" in STRATEGIES.names()
    for name in STRATEGIES:
        strategy = STRATEGIES.make(name, {"schedule": TWO, "num_steps": 10})
        assert isinstance(strategy, Strategy), name
        assert strategy.needs <= {"losses", "gradients", "reference", "probes"}
        assert json.loads(json.dumps(strategy.state())) == strategy.state()


def test_the_fixed_mixture_is_what_the_loader_draws(tiny):
    """Summed over a run, the weights of its steps are the sequences of each domain, to one sequence a phase."""
    spec = replace(tiny_spec(tiny[0], steps=50), schedule=TWO)
    strategy = STRATEGIES.make("static", {"schedule": TWO, "num_steps": spec.num_steps})
    wanted = np.array([strategy.update(step).array(["hills", "plains"]) for step in range(spec.num_steps)])
    loader = Loader(spec, *tiny)
    drawn = np.array([np.bincount(loader.domains_of(step), minlength=2) for step in range(spec.num_steps)])
    for phase in (slice(0, 30), slice(30, 50)):
        assert np.abs(spec.batch * wanted[phase].sum(0) - drawn[phase].sum(0)).max() <= 1
    assert len(np.unique(wanted, axis=0)) == 2


def test_a_continued_run_has_the_weights_of_an_uninterrupted_one():
    options = {"schedule": TWO, "num_steps": 10}
    whole, first = STRATEGIES.make("static", options), STRATEGIES.make("static", options)
    weights = [whole.update(step) for step in range(10)]
    assert [first.update(step) for step in range(5)] == weights[:5]
    second = STRATEGIES.make("static", options)
    second.load(json.loads(json.dumps(first.state())))
    assert [second.update(step) for step in range(5, 10)] == weights[5:]


def test_what_is_wrong_is_explained():
    with pytest.raises(ConfigError, match="num_steps"):
        STRATEGIES.make("static", {"schedule": TWO, "num_steps": 0})
    with pytest.raises(ConfigError, match="has no option 'rate'"):
        STRATEGIES.make("static", {"schedule": TWO, "num_steps": 10, "rate": 0.1})
    with pytest.raises(DataError, match="another strategy"):
        STRATEGIES.make("static", {"schedule": TWO, "num_steps": 10}).load({"scores": [1.0]})

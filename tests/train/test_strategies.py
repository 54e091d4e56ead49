"""The contract of strategies, kept by every one that is registered, with losses and gradients from a script."""

import inspect
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from mixlaw.data.mixture import Mixture, Phase, Schedule
from mixlaw.errors import ConfigError, DataError
from mixlaw.tokens.loader import Loader
from mixlaw.train.strategies import STRATEGIES, Strategy

from tiny_tokens import tiny_spec

TWO = Schedule((Phase(0.6, Mixture({"hills": 0.9, "plains": 0.1})), Phase(0.4, Mixture({"hills": 0.2, "plains": 0.8}))))
THREE = Schedule.constant({"hills": 0.5, "plains": 0.3, "coast": 0.2})
SETS = ("hills_val", "plains_val", "coast_val", "exam")
STEPS = 120

FILLED_IN = {
    "sizes": {"hills": 5000, "plains": 3000, "coast": 2000},
    "tokens": 8000,
    "objective": {"hills_val": 0.5, "plains_val": 0.25, "coast_val": 0.25},
    "own_sets": {"hills": "hills_val", "plains": "plains_val", "coast": "coast_val"},
    "limits": {"high": {"coast": 0.5}},
    "batch_tokens": 128,
    "explore": 0.35,
    "weights": {"hills": 0.2, "plains": 0.2, "coast": 0.6},
    "reference": "0123456789ab",
    "graph": {"hills": {"hills": 1, "plains": 1}, "plains": {"plains": 1}, "coast": {"coast": 1, "hills": 1}},
}
"""What a study fills in, and what a user must state."""


def make(name: str, **options: object):
    entry = STRATEGIES[name]
    filled = {k: v for k, v in FILLED_IN.items() if k in inspect.signature(entry).parameters}
    return STRATEGIES.make(name, {"schedule": THREE, "num_steps": STEPS, **filled, **options})


def script(step: int, asked: frozenset) -> dict:
    """What a trainer hands over before ``step``: losses that fall and differ; now and then a domain is absent."""
    rng = np.random.default_rng(step)
    here = [d for d in THREE.domains if not (d == "coast" and step % 7 == 0)]
    level = {"hills": 3.0, "plains": 2.5, "coast": 4.0}
    given: dict = {}
    if "losses" in asked:
        given["losses"] = {d: level[d] + 3 * (step + 1) ** -0.4 + 0.02 * rng.normal() for d in here}
    if "reference" in asked:
        given["losses"] = {d: 0.1 * level[d] * rng.random() for d in here}
    if "probes" in asked:
        given["losses"] = {s: 2 + i / 3 + 3 * (step + 1) ** -0.3 for i, s in enumerate(SETS)}
    if asked & {"gradients", "target"}:
        given["gradients"] = {d: rng.normal(size=40) + (d == "coast") for d in here}
    if "target" in asked:
        given["target"] = rng.normal(size=40) + 0.5
    return given


def advance(strategy, steps) -> np.ndarray:
    rows = [strategy.update(step, **script(step, strategy.asks(step))).weights for step in steps]
    return np.array(rows).reshape(-1, len(THREE.domains))


def first_ask(strategy) -> int:
    """The first step at which the strategy asks for something."""
    return next(step for step in range(STEPS) if strategy.asks(step))


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_every_strategy_keeps_the_contract(name):
    strategy = make(name)
    assert isinstance(strategy, Strategy)
    assert strategy.needs <= {"losses", "gradients", "target", "reference", "probes"}
    assert len(strategy.needs & {"losses", "reference", "probes"}) <= 1, "they share an argument"
    assert strategy.asks(0) <= {"probes"}, "nothing can be had of training before step 1"
    assert {need for step in range(STEPS) for need in strategy.asks(step)} == set(strategy.needs)
    if "target" in strategy.needs:
        assert sum(strategy.objective.values()) == pytest.approx(1)
    if getattr(strategy, "weighs", "sampling") == "loss":
        assert strategy.sampling.domains == THREE.domains
    for step in range(STEPS):
        mixture = strategy.update(step, **script(step, strategy.asks(step)))
        assert mixture.domains == THREE.domains
        assert min(mixture.weights) >= 0 and math.fsum(mixture.weights) == pytest.approx(1, abs=1e-9)
        state = strategy.state()
        assert json.loads(json.dumps(state, allow_nan=False)) == state


@pytest.mark.parametrize("stop", [0, 1, 31, 77])
@pytest.mark.parametrize("name", STRATEGIES.names())
def test_a_continued_run_has_the_weights_of_an_uninterrupted_one(name, stop):
    whole, first, second = make(name), make(name), make(name)
    weights = advance(whole, range(STEPS))
    assert (advance(first, range(stop)) == weights[:stop]).all()
    second.load(json.loads(json.dumps(first.state())))
    assert (advance(second, range(stop, STEPS)) == weights[stop:]).all()


ONLINE = [name for name in STRATEGIES.names() if make(name).needs]


@pytest.mark.parametrize("name", ONLINE)
def test_what_is_measured_moves_the_weights(name):
    weights = advance(make(name), range(STEPS))
    assert len(np.unique(weights.round(6), axis=0)) > 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ONLINE)
def test_what_is_not_finite_is_refused_with_its_domain_and_step(name, bad):
    strategy = make(name)
    step = first_ask(strategy)
    advance(strategy, range(step))
    given = script(step, strategy.asks(step))
    key = "losses" if "losses" in given else "gradients"
    which = next(iter(given[key]))
    given[key][which] = bad if key == "losses" else np.full(40, bad)
    with pytest.raises(DataError, match=rf"before step {step}\b") as caught:
        strategy.update(step, **given)
    assert which in str(caught.value)


@pytest.mark.parametrize("name", ONLINE)
def test_an_unknown_domain_or_set_is_refused(name):
    strategy = make(name)
    step = first_ask(strategy)
    advance(strategy, range(step))
    given = script(step, strategy.asks(step))
    key = "losses" if "losses" in given else "gradients"
    if "probes" in strategy.asks(step):  # any set may be probed, but those that count must be there
        given[key]["hils_val"] = given[key].pop("hills_val")
    else:
        given[key]["hils"] = next(iter(given[key].values()))
    with pytest.raises(DataError, match="'hils"):
        strategy.update(step, **given)


@pytest.mark.parametrize("name", ONLINE)
def test_what_was_asked_for_and_is_missing_is_refused(name):
    strategy = make(name)
    step = first_ask(strategy)
    advance(strategy, range(step))
    asked = strategy.asks(step)
    for need in asked:
        given = script(step, asked)
        del given[need if need in ("gradients", "target") else "losses"]
        with pytest.raises(ConfigError, match=f"step {step}"):
            strategy.update(step, **given)


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_the_state_of_another_strategy_or_corpus_is_refused(name):
    with pytest.raises(DataError, match="another strategy"):
        make(name).load({"scores": [1.0]})
    if not make(name).needs:
        return
    state = make(name).state()
    with pytest.raises(DataError, match="valley"):
        make(name).load({**state, "domains": ["hills", "plains", "valley"]})


def test_the_state_of_a_run_with_other_options_is_refused():
    state = make("aioli", objective={"hills_val": 1.0}).state()
    with pytest.raises(DataError, match="last has the shape"):
        make("aioli").load(state)


@pytest.mark.parametrize("name", [name for name in ONLINE if "gradients" in make(name).needs])
def test_gradients_of_different_lengths_are_refused(name):
    strategy = make(name)
    step = first_ask(strategy)
    advance(strategy, range(step))
    given = script(step, strategy.asks(step))
    given["gradients"]["plains"] = np.zeros(41)
    with pytest.raises(DataError, match=r"'plains' of shape \(41,\)"):
        strategy.update(step, **given)


def test_any_temperature_gives_weights():
    assert make("temperature", temperature=1e-6).update(0).weights == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_a_run_without_steps_and_an_unknown_option_are_refused(name):
    with pytest.raises(ConfigError, match="num_steps"):
        make(name, num_steps=0)
    with pytest.raises(ConfigError, match="has no option 'rat'"):
        make(name, rat=0.1)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("temperature", "temperature", 0.0),
        ("temperature", "temperature", math.nan),
        ("uni_max", "epochs", -1.0),
        ("uni_max", "tokens", 0),
        ("natural", "sizes", {"hills": 1.0, "plains": 1.0, "coast": -1.0}),
        ("natural", "sizes", {"hills": 1.0, "plains": 1.0}),
        ("recipe", "weights", {"hills": 0.5, "plans": 0.5}),
        ("doremi", "eta", -1.0),
        ("doremi", "smoothing", 1.0),
        ("odm", "reward", "loss_"),
        ("odm", "smoothing", 1.5),
        ("doge", "mu", 0.0),
        ("doge", "learning_rate", math.inf),
        ("aioli", "eta", 0.0),
        ("aioli", "ema", 1.0),
        ("aioli", "lp_rounds", 0),
        ("aioli", "one_hot_factor", 0.2),
        ("aioli", "objective", {"exam": 0.0}),
        ("skill_it", "eta", -0.5),
        ("skill_it", "updates", 0),
        ("skill_it", "window", 0),
        ("ado", "skip", 1.0),
        ("ado", "refit", 0.0),
        ("tikmix", "stages", 1),
        ("tikmix", "samples", 0),
        ("tikmix", "penalty", 0.0),
        ("tikmix", "objective", {}),
        ("tikmix", "objective", {"exam": math.nan}),
        ("aioli", "objective", ["exam"]),
        ("skill_it", "objective", {"exam": -1.0, "hills_val": 2.0}),
        ("skill_it", "graph", "hills"),
        ("skill_it", "graph", {"hills": 1}),
        ("recipe", "weights", "hills"),
        ("natural", "sizes", 3),
    ],
)
def test_an_option_out_of_range_is_refused_with_its_value(name, option, value):
    with pytest.raises(ConfigError) as caught:
        make(name, **{option: value})
    shown = str(caught.value)
    assert option in shown and name in shown.lower()
    assert repr(value) in shown


@pytest.mark.parametrize(("name", "option"), [("natural", "sizes"), ("uni_max", "tokens"), ("recipe", "weights")])
def test_what_a_study_fills_in_is_asked_for_where_there_is_none(name, option):
    with pytest.raises(ConfigError, match=f"{name} needs the option {option}.*study"):
        make(name, **{option: None})


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


def test_other_spellings_name_the_same_strategies():
    assert STRATEGIES["stratified"] is STRATEGIES["uniform"]
    assert STRATEGIES["unimax"] is STRATEGIES["uni_max"]
    assert STRATEGIES["do_re_mi"] is STRATEGIES["doremi"]

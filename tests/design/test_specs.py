"""Specs with anchors and replicates, ladders, simulated epoching."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlaw import Budget, Corpus, Mixture, Observations, RunSpec, Schedule
from mixlaw.design import Rung, anchor_mixtures, ladder_specs, noise, propose, simulated_epoching, specs
from mixlaw.design.epoching import with_simulated_epoching
from mixlaw.design.ladder import nested
from mixlaw.errors import ConfigError, DataError, MixlawWarning

CORPUS = Corpus.declared({"web": 900_000, "wiki": 100_000}, source="test")
BUDGET = Budget(tokens=2_000_000, max_epochs=4)
TEMPLATE = RunSpec(Schedule.constant(CORPUS.natural), tokens=100_000)


def test_specs_have_groups_seeds_and_anchors():
    design = propose(CORPUS, BUDGET, 3)
    made = specs(design, TEMPLATE, CORPUS, replicates=2, anchors=("natural", "uniform"), seed=10)
    assert len({s.id for s in made}) == len(made) == 3 * 2 + 2 * 3
    groups = {g: [s.seed for s in made if s.replicate_group == g] for g in {s.replicate_group for s in made}}
    assert groups["mixture-0"] == [10, 11] and groups["natural"] == [10, 11, 12]
    assert next(s for s in made if s.replicate_group == "natural").schedule.mixture == CORPUS.natural


def test_an_anchor_that_is_also_proposed_is_trained_once():
    made = specs([Schedule.constant(CORPUS.natural)], TEMPLATE, CORPUS, anchor_replicates=2)
    assert len(made) == 2 and len({s.id for s in made}) == 2


def test_an_infeasible_anchor_moves_to_the_nearest_mixture():
    with pytest.warns(MixlawWarning, match="natural mixture breaks the budget"):
        found = anchor_mixtures(CORPUS, ("natural",), Budget(tokens=1_000_000, caps={"web": 0.6}))
    assert found["natural"].to_dict() == pytest.approx({"web": 0.6, "wiki": 0.4})


def test_bad_specs():
    design = propose(CORPUS, BUDGET, 2)
    with pytest.raises(ConfigError, match="at least 1"):
        specs(design, TEMPLATE, CORPUS, replicates=0)
    with pytest.raises(ConfigError, match="Did you mean 'natural'"):
        specs(design, TEMPLATE, CORPUS, anchors=("naturel",))
    with pytest.raises(ConfigError, match="corpus"):
        specs(design, TEMPLATE)
    with pytest.raises(ConfigError, match="over"):
        specs([Schedule.constant(Mixture({"x": 1.0}))], TEMPLATE, CORPUS)


def test_noise_is_the_pooled_standard_deviation():
    rng = np.random.default_rng(0)
    runs, values, residuals = [], [], []
    for m in range(30):
        draws = 3 + 0.1 * m + 0.05 * rng.normal(size=3)
        residuals.append(draws - draws.mean())
        for k, v in enumerate(draws):
            name = f"{m}-{k}"
            runs.append({"run": name, "schedule": {"web": 1 - m / 40, "wiki": m / 40}, "seed": k})
            values.append({"run": name, "target": "web", "value": float(v)})
    found = noise(Observations.from_records(runs, values))["web"]
    assert found.dof == 60
    assert found.sd == pytest.approx(np.sqrt((np.array(residuals) ** 2).sum() / 60), rel=1e-9)
    assert abs(found.sd / 0.05 - 1) < 0.25
    with pytest.raises(DataError, match="replicates"):
        noise(Observations.from_records(runs[::3], values[::3]))


def test_ladder_is_nested_and_dearer_rungs_are_spread():
    design = propose(CORPUS, BUDGET, 8)
    rungs = [Rung(8, 1000, {"preset": "d64"}, params=10**5), Rung(3, 4000, {"preset": "d128"})]
    runs = ladder_specs(design, rungs, TEMPLATE)
    small, large = ([s for s in runs if s.tokens == t] for t in (1000, 4000))
    assert len(small) == 8 and len(large) == 3
    assert {s.schedule for s in large} <= {s.schedule for s in small}
    assert {s.replicate_group for s in large} <= {s.replicate_group for s in small}
    assert rungs[0].flops == 6 * 1e5 * 1000 * 8 and rungs[1].flops is None
    web = sorted(s.schedule.mixture["web"] for s in large)
    everything = sorted(s.mixture["web"] for s in design)
    assert (web[0], web[-1]) == (everything[0], everything[-1])  # three of eight reach as far as all
    with pytest.raises(ConfigError, match="not grow"):
        nested(design, [3, 5])
    with pytest.raises(ConfigError, match="asks for 9"):
        nested(design, [9])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(10_000, 10**9), min_size=2, max_size=5),
    st.integers(10**6, 10**10),
    st.floats(0.01, 1.0),
    st.lists(st.floats(0.05, 1), min_size=5, max_size=5),
)
def test_proxy_epochs_equal_target_epochs_for_every_mixture(unique, target, share, weights):
    corpus = Corpus.declared({f"d{j}": u for j, u in enumerate(unique)}, source="test")
    budget, proxy = Budget(tokens=target), max(int(target * share), 1)
    mixture = Mixture.normalized({f"d{j}": weights[j] for j in range(len(unique))})
    allowed = simulated_epoching(corpus, budget, proxy)
    wanted = Schedule.constant(mixture).epochs(target, corpus.unique_tokens)
    got = Schedule.constant(mixture).epochs(proxy, allowed)
    for name in corpus.names:
        if allowed[name] > 1:  # whole tokens
            assert got[name] == pytest.approx(wanted[name], rel=0.6 / (allowed[name] - 0.5) + 1e-4)


def test_simulated_epoching_edges():
    with pytest.raises(ConfigError, match="longer than the target"):
        simulated_epoching(CORPUS, BUDGET, 3_000_000)
    with pytest.raises(ConfigError, match="positive"):
        simulated_epoching(CORPUS, BUDGET, 0)
    with pytest.warns(MixlawWarning, match="wiki"):
        assert simulated_epoching(CORPUS, BUDGET, 2_000, context=256) == {"web": 900, "wiki": 256}
    spec = with_simulated_epoching(TEMPLATE.replace(context=16), CORPUS, BUDGET)
    assert spec.unique_tokens == {"web": 45_000, "wiki": 5_000} and spec.id != TEMPLATE.id

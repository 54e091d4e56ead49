import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixlaw import Budget, Corpus, Objective, optimize
from mixlaw.data.objective import OBJECTIVES
from mixlaw.errors import ConfigError
from mixlaw.laws import LogLinear

CORPUS = Corpus.declared({"web": 9_000, "code": 9_000}, source="example")


@given(
    st.sampled_from(sorted(OBJECTIVES)),
    st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0.01, 10), min_size=1, max_size=4),
)
def test_plain_data_comes_back(kind, targets):
    objective = Objective(targets, kind, threshold=2.0 if kind in ("speed", "guard") else None)
    again = Objective.of(json.loads(json.dumps(objective.to_dict())))
    assert again.kind == kind and again.targets == pytest.approx(objective.targets)
    assert sum(objective.targets.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("value", ["web", ["web"], ("web",), {"web": 2.0}, Objective({"web": 1.0})])
def test_plain_wishes_are_mean_losses(value):
    assert Objective.of(value) == Objective({"web": 1.0}, "loss", "down", None, "nats_per_token")


def test_a_set_may_be_called_kind():
    assert Objective.of({"kind": 1.0, "web": 3.0}).targets == {"kind": 0.25, "web": 0.75}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "los", "targets": {"web": 1}}, "Did you mean 'loss'"),
        ({"kind": "loss"}, "needs targets"),
        ({"kind": "loss", "targets": {"web": 1}, "treshold": 1}, "Did you mean 'threshold'"),
        ({"kind": "speed", "targets": {"web": 1}}, "needs a threshold"),
        ({"kind": "loss", "targets": {"web": 1}, "threshold": 2.0}, "has no threshold, got 2.0"),
        ({"kind": "loss", "targets": {"web": 1}, "direction": "dwn"}, "Did you mean 'down'"),
        ({"web": -1.0}, "weights >= 0"),
        ({"web": 0.0}, "positive sum"),
        ({}, "positive sum"),
        (3, "An objective is a set"),
        ([3], r"An objective is a set, .*got \[3\]"),
        (b"web", "An objective is a set, .*got b'web'"),
        ({"kind": "speed", "targets": {"web": 1}, "threshold": "low"}, "must be a finite number, got 'low'"),
        ({"kind": "speed", "targets": {"web": 1}, "threshold": True}, "must be a finite number, got True"),
        ({"kind": "loss", "targets": {"web": 1}, "unit": 3}, "unit of an objective must be a text, got 3"),
    ],
)
def test_wrong_wishes_are_explained(value, message):
    with pytest.raises(ConfigError, match=message):
        Objective.of(value)


def test_other_data_is_no_objective():
    with pytest.raises(ConfigError, match=r"written as \{kind, targets, \.\.\.\}, got None"):
        Objective.from_dict(None)
    with pytest.raises(ConfigError, match=r"Unknown kind of objective \['loss'\]"):
        Objective({"web": 1.0}, kind=["loss"])


@pytest.fixture(scope="module")
def law():
    web = np.linspace(0.1, 0.9, 12)
    y = {"a": 4 - np.log(web + 0.1), "b": 4 - np.log(1.1 - web)}
    return LogLinear().fit({"web": web, "code": 1 - web}, y)


def test_optimize_takes_losses_and_the_worst_case(law):
    def best(objective, **options):
        return optimize(law, objective, Budget(tokens=1_000), CORPUS, num_bootstrap=0, **options).mixture["web"]

    weights = {"a": 0.8, "b": 0.2}
    assert best(Objective(weights)) == best({"kind": "loss", "targets": weights}) == best(weights)
    assert best(Objective(weights, "worst")) == best(weights, kind="worst")


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        (Objective({"a": 1}, "speed", threshold=3.0), {}, "Instead, minimise the loss"),
        (Objective({"a": 1}, "score"), {}, "Instead, fit a TaskLaw"),
        (Objective({"a": 1}, "guard", threshold=0.1), {}, "kind='guard', guard="),
        (Objective({"a": 1}, direction="up"), {}, "minimises losses in nats_per_token"),
        (Objective({"a": 1}, "worst"), {"kind": "least_change", "gain": 0.1}, "contradicts kind='least_change'"),
    ],
)
def test_what_optimize_does_not_take_is_refused_with_what_to_do(law, objective, options, message):
    with pytest.raises(ConfigError, match=message):
        optimize(law, objective, Budget(tokens=1_000), CORPUS, **options)

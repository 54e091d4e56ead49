"""Skill-it against its published update, and graphs learned from short runs."""

import numpy as np
import pytest

from mixlaw.data.mixture import Schedule
from mixlaw.errors import ConfigError, DataError
from mixlaw.train.skill_graph import learn_graph
from mixlaw.train.strategies import STRATEGIES

FIVE = Schedule.constant({str(i): 0.2 for i in range(1, 6)})
LEGO = [[1, 0, 0, 0, 0], [1, 1, 1, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
TWO = Schedule.constant({"a": 0.5, "b": 0.5})
EDGE = {"a": {"a": 1, "b": 0.25}, "b": {"b": 1}}


def make(schedule=TWO, num_steps=60, **options):
    return STRATEGIES.make("skill_it", {"schedule": schedule, "num_steps": num_steps, "graph": EDGE, **options})


def normalised(logits):
    raised = np.exp(np.asarray(logits))
    return raised / raised.sum()


def test_the_published_graph_starts_with_its_row_sums():
    """LEGO: ones off the diagonal become 0.5, so the rows sum to 1, 2.5, 1, 1, 1; eta 0.5."""
    skill_it = make(FIVE, 6000, graph=LEGO)
    assert skill_it.update(0).weights == pytest.approx(normalised([0.5, 1.25, 0.5, 0.5, 0.5]))
    assert [s for s in range(6000) if skill_it.asks(s)] == [1000, 2000, 3000, 4000, 5000]


def test_losses_of_the_last_three_updates_are_added_up():
    skill_it = make(eta=0.1)
    levels = [(3.0, 4.0), (2.0, 3.5), (1.0, 3.0), (0.5, 2.5)]
    for step, (a, b) in zip((10, 20, 30, 40), levels):
        mixture = skill_it.update(step, {"a": a, "b": b})
    a, b = 2.0 + 1.0 + 0.5, 3.5 + 3.0 + 2.5
    assert mixture.weights == pytest.approx(normalised([0.1 * (a + 0.25 * b), 0.1 * b]))
    assert skill_it.update(41).weights == mixture.weights


def test_only_the_columns_of_targets_count_and_their_losses_are_averaged():
    skill_it = make(eta=0.1, objective={"b": 1.0, "a": 0.0})
    assert skill_it.update(0).weights == pytest.approx(normalised([0.1 * 0.25, 0.1 * 1]))
    skill_it.update(10, {"b": 4.0})
    mixture = skill_it.update(20, {"b": 3.0})
    assert mixture.weights == pytest.approx(normalised([0.1 * 0.25 * 3.5, 0.1 * 3.5]))


def test_columns_are_validation_sets_or_domains_that_stand_for_theirs():
    own = {"a": "a_val", "b": "b_val"}
    graph = {"a": {"a": 1, "b_val": 0.25, "exam": 2.0}, "b": {"b": 1}}
    skill_it = make(graph=graph, own_sets=own)
    assert skill_it.sets == ["a_val", "b_val", "exam"]
    assert skill_it.strengths == pytest.approx(np.array([[1, 0.25, 2.0], [0, 1, 0]]))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"a": {"a": 1}, "b": {"b": 1}}, "no edge"),
        ([[1, 0], [0, 1]], "no edge"),
        ({}, "no edge"),
        (None, "needs the option graph"),
        ([[1, 0, 1], [0, 1, 1]], "2 rows and columns"),
        ({"a": {"b": -1.0}}, "strength -1.0 from 'a' to 'b'"),
        ({"c": {"b": 1.0}}, "row 'c'"),
    ],
)
def test_a_graph_that_says_nothing_is_refused_with_what_to_do(graph, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make(graph=graph)
    assert "learn_graph" in str(caught.value) or message not in ("no edge", "needs the option graph")


def test_an_objective_that_the_graph_does_not_know_is_refused():
    with pytest.raises(ConfigError, match="exam"):
        make(objective={"a": 0.5, "exam": 0.5})


START = {"x": 5.0, "y": 5.0, "z": 4.0}
OWN = {"a": "x", "b": "y", "c": "z"}
ALONE = {
    "a": {"x": 3.0, "y": 4.0, "z": 4.1},
    "b": {"x": 4.9, "y": 3.0, "z": 3.8},
    "c": {"x": 5.1, "y": 4.8, "z": 2.0},
}


def test_a_pair_that_is_better_than_the_domain_alone_is_an_edge():
    """b alone takes y from 5 to 3; with a it reaches 2.5: (2.5 - 2) / 2. With c, 3.4: no edge."""
    pairs = {("b", "a"): {"x": 3.4, "y": 2.5, "z": 4.0}, ("b", "c"): {"x": 5.0, "y": 3.4, "z": 1.9}}
    graph = learn_graph(START, ALONE, pairs, OWN)
    assert graph == {"a": {"a": 1.0, "b": 0.25}, "b": {"b": 1.0, "c": 0.05}, "c": {"c": 1.0}}
    skill_it = make(Schedule.constant({"a": 0.4, "b": 0.3, "c": 0.3}), graph=graph, own_sets=OWN)
    assert skill_it.update(0).weights == pytest.approx(normalised([0.625, 0.525, 0.5]))


def test_single_runs_alone_give_a_denser_graph():
    graph = learn_graph(START, ALONE, own_sets=OWN)
    assert graph == {"a": {"a": 1.0, "b": 0.5}, "b": {"a": 0.05, "b": 1.0, "c": 0.1}, "c": {"b": 0.1, "c": 1.0}}


def test_runs_from_which_no_graph_can_be_learned_are_refused():
    with pytest.raises(DataError, match="'c' alone does not lower"):
        learn_graph(START, {**ALONE, "c": {"x": 5.0, "y": 5.0, "z": 4.0}}, own_sets=OWN)
    with pytest.raises(DataError, match="'y' after training on 'a' alone is nan"):
        learn_graph(START, {**ALONE, "a": {"x": 3.0, "y": float("nan"), "z": 4.1}}, own_sets=OWN)
    with pytest.raises(DataError, match="no run alone"):
        learn_graph(START, ALONE, {("a", "d"): {"x": 3.0, "y": 3.0, "z": 3.0}}, OWN)
    with pytest.raises(DataError, match="no validation set of its own"):
        learn_graph(START, ALONE, own_sets={"a": "x", "b": "y"})

"""Item response and signal to noise: items whose truth is known, and a published model's checkpoints."""

import numpy as np
import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import DataError
from mixlaw.evaluate.ability import Items, Responses, signal_to_noise
from mixlaw.text.records import read_records

from shared import corpora


def simulated(num_models, num_items, seed=0):
    """Truth (a, b, theta) and responses drawn from it."""
    rng = np.random.default_rng(seed)
    a, b = np.exp(rng.normal(0, 0.4, num_items)), rng.normal(0, 1.2, num_items)
    theta = rng.normal(0, 1, num_models)
    p = 1 / (1 + np.exp(-a * (theta[:, None] - b)))
    solved = (rng.random(p.shape) < p).astype(float)
    models = tuple((f"m{i}", 1) for i in range(num_models))
    return a, b, theta, Responses(models, tuple(f"i{j}" for j in range(num_items)), solved)


def test_the_ability_is_the_root_of_the_slope_and_its_error_the_information():
    a, b = np.array([1.0, 2.0, 0.5]), np.array([-0.5, 0.3, 1.0])
    items = Items(("x", "y", "z"), a, b)
    found = items.ability({"x": 1.0, "y": 0.0, "z": 1.0, "unknown": 1.0})
    grid = np.linspace(-4, 4, 800_001)
    p = 1 / (1 + np.exp(-a * (grid[:, None] - b)))
    log = np.log(p[:, 0]) + np.log(1 - p[:, 1]) + np.log(p[:, 2]) - grid**2 / 2
    assert found.value == pytest.approx(grid[log.argmax()], abs=2e-5)
    at = p[log.argmax()]
    assert found.std == pytest.approx((a**2 @ (at * (1 - at)) + 1) ** -0.5, abs=1e-5)
    assert found.num_items == 3


def test_one_who_solves_all_is_able_and_stays_within_bounds():
    items = Items(tuple(map(str, range(2000))), np.full(2000, 5.0), np.full(2000, 3.5))
    for solved, sign in ((1.0, 1), (0.0, -1)):
        found = items.ability(dict.fromkeys(items.names, solved))
        assert -4 <= found.value <= 4 and found.value * sign > 0 and np.isfinite(found.std)


def test_fitted_items_are_the_true_ones():
    a, b, theta, responses = simulated(400, 60)
    items = Items.fit(responses)
    assert np.corrcoef(np.log(items.discrimination), np.log(a))[0, 1] > 0.85
    assert np.corrcoef(items.difficulty, b)[0, 1] > 0.98
    middle = np.abs(b) < 1.5
    assert np.abs(items.difficulty - b)[middle].mean() < 0.25
    found = list(items.abilities(responses).values())
    error = (np.array([one.value for one in found]) - theta) / np.array([one.std for one in found])
    assert 0.8 < np.mean(error**2) < 1.25  # standard errors say how far off abilities are
    inside = [low <= t <= high for t, (low, high) in zip(theta, (one.interval(0.9) for one in found))]
    assert 0.85 < np.mean(inside) < 0.95


def test_few_models_give_difficulties_only():
    _, b, _, responses = simulated(12, 80, seed=1)
    items = Items.fit(responses)
    assert (items.discrimination == 1).all()
    assert np.corrcoef(items.difficulty, b)[0, 1] > 0.7
    with pytest.raises(DataError, match="from 2 models: at least three"):
        Items.fit(Responses(responses.models[:2], responses.items, responses.solved[:2]))


def test_the_next_item_is_the_most_informative_and_chosen_ones_tell_more_than_drawn_ones():
    a, b, theta, responses = simulated(200, 200, seed=2)
    items = Items(responses.items, a, b)
    information = a**2 * (p := 1 / (1 + np.exp(-a * (0.7 - b)))) * (1 - p)
    order = np.argsort(-information)
    assert items.next_item(0.7) == f"i{order[0]}"
    assert items.next_item(0.7, asked=[f"i{order[0]}", f"i{order[1]}"]) == f"i{order[2]}"
    rng = np.random.default_rng(0)
    errors = {"chosen": [], "drawn": []}
    for row, true in zip(responses.solved[:60], theta):
        answers = dict(zip(responses.items, row))
        asked: dict[str, float] = {}
        for _ in range(15):
            name = items.next_item(items.ability(asked).value if asked else 0.0, asked)
            asked[name] = answers[name]
        drawn = rng.choice(responses.items, 15, replace=False)
        errors["chosen"].append(items.ability(asked).value - true)
        errors["drawn"].append(items.ability({name: answers[name] for name in drawn}).value - true)
    assert np.std(errors["chosen"]) < 0.8 * np.std(errors["drawn"])
    with pytest.raises(DataError, match="All of the 200 items"):
        items.next_item(0.0, asked=responses.items)


def test_items_of_observations_give_abilities_that_name_their_rows():
    items = [
        {"run": run, "step": step, "target": "t", "item": f"i{j}", "metric": "accuracy", "value": value}
        for run in "ab"
        for step in (1, 2)
        for j, value in enumerate([1.0, 0.0, 0.5] if (run, step) == ("a", 1) else [1.0, 1.0, 0.0])
    ]
    values = [
        {
            "run": run,
            "step": step,
            "target": "t",
            "metric": "accuracy",
            "unit": "fraction",
            "value": 0.5,
            "num_items": 3,
        }
        for run in "ab"
        for step in (1, 2)
    ]
    runs = [{"run": "a"}, {"run": "b"}]
    responses = Responses.of(Observations.from_records(runs, values, items=items), "t")
    assert responses.models == (("a", 1), ("a", 2), ("b", 1), ("b", 2)) and np.isnan(responses.solved[0, 2])
    bank = Items.fit(responses)
    rows = bank.rows(responses, "t")
    both = Observations.from_records(runs, [*values, *rows], items=items)
    derived = [r for r in both.values.to_pylist() if r["metric"] == "ability"]
    assert [r["num_items"] for r in derived] == [2, 3, 3, 3]
    assert derived[0]["value"] < derived[1]["value"] == derived[2]["value"]
    assert derived[0]["derived_from"] == [{"run": "a", "step": 1, "target": "t", "metric": "accuracy"}]
    with pytest.raises(DataError, match=r"No items of 'u'"):
        Responses.of(both, "u")
    with pytest.raises(DataError, match=r"solved \(1\) or not \(0\), got 2.5"):
        Responses((("a", 1),), ("x",), np.array([[2.5]]))


def test_signal_is_the_largest_gap_and_noise_the_spread_of_the_last_checkpoints():
    curves = {"a": [0.1, 0.50, 0.52], "b": [0.2, 0.60, 0.56], "c": [0.3, 0.55, 0.55]}
    values = [
        {"run": run, "step": step, "target": target, "metric": "accuracy", "value": scale * value, "num_items": 50}
        for run, curve in curves.items()
        for step, value in enumerate(curve)
        for target, scale in (("t", 1.0), ("u", 2.0))
    ]
    values += [{**row, "target": "flat", "value": 0.5} for row in values[::2]]
    values += [{"run": run, "step": 2, "target": "web", "value": 3.0} for run in curves]
    observations = Observations.from_records([{"run": run} for run in curves], values)
    found = signal_to_noise(observations, last=2)
    means = np.array([0.51, 0.58, 0.55])
    noise = np.sqrt((2 * 0.01**2 + 2 * 0.02**2) / 3)
    assert [one.target for one in found] == ["t", "u", "flat"]
    assert found[2].ratio == found[2].signal == 0.0
    for one in found[:2]:  # a scale of its own changes nothing
        assert one.signal == pytest.approx(0.07 / means.mean())
        assert one.noise == pytest.approx(noise / means.mean())
        assert one.ratio == pytest.approx(0.07 / noise) and one.low < one.ratio < one.high
        assert (one.num_runs, one.num_checkpoints) == (3, 6)
    with pytest.raises(DataError, match="at two checkpoints of two runs"):
        signal_to_noise(observations, targets=["web"])


def test_abilities_of_a_published_models_checkpoints_order_them_as_their_accuracies_do():
    """Of items of equal discrimination the number solved is all that matters, so ability must rank as accuracy does."""
    records = read_records(corpora("eval/mmlu_item_predictions_by_checkpoint.jsonl.zst"))
    steps = sorted(map(int, records[0]["correct"]))
    rows = [
        {"run": "m", "step": step, "target": "mmlu", "item": f"{r['subject']}/{r['idx']}", "metric": "accuracy",
         "value": float(r["correct"][str(step)])}
        for step in steps
        for r in records
    ]  # fmt: skip
    responses = Responses.of(Observations.from_records([{"run": "m"}], [], items=rows), "mmlu")
    assert responses.solved.shape == (5, 12_343)
    accuracy = responses.solved.mean(1)
    found = list(Items.fit(responses).abilities(responses).values())
    values = np.array([one.value for one in found])
    assert np.array_equal(np.argsort(values), np.argsort(accuracy))
    # sqrt(p (1 - p) n) answers are one standard deviation of accuracy, and about one of ability
    spread = np.sqrt(accuracy * (1 - accuracy) / 12_343)
    slope = np.polyfit(accuracy, values, 1)[0]
    assert np.allclose([one.std for one in found], slope * spread, rtol=0.35)

"""Gains as loss and as steps, on curves whose answer is known in closed form."""

import math

import numpy as np
import pytest
from scipy.stats import t as student_t

from mixlaw.data.ledger import Ledger
from mixlaw.data.prediction import Prediction
from mixlaw.data.verification import interval_of_mean, verdict
from mixlaw.errors import DataError
from mixlaw.kit.store import Store
from mixlaw.verify.paired import (
    adjusted_level,
    false_gains,
    looks_before,
    objective_curves,
    paired_difference,
    rate_text,
    steps_saved,
)

STEPS = np.arange(10, 1001, 10, dtype=float)


def curve(floor, scale, power=0.5):
    return [(float(s), float(floor + scale * s**-power)) for s in STEPS]


def test_paired_difference_is_students_t():
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(0)
    a, b = rng.normal(2.0, 0.05, 6), rng.normal(2.1, 0.05, 6)
    got = paired_difference(a, b, level=0.95)
    low, high = ttest_rel(a, b).confidence_interval(0.95)
    assert (got.low, got.high) == pytest.approx((low, high))
    assert got.mean == pytest.approx((a - b).mean())
    with pytest.raises(DataError, match="two or more"):
        paired_difference([1.0], [2.0])


@pytest.mark.parametrize(
    ("low", "high", "word"), [(-0.3, -0.1, "gain"), (0.1, 0.3, "loss"), (-0.1, 0.1, "null"), (-0.1, 0.0, "null")]
)
def test_an_interval_that_holds_zero_is_a_null(low, high, word):
    assert verdict(Prediction((low + high) / 2, low, high)) == word


def test_steps_saved_both_ways_in_closed_form():
    # recipe: 2 + 5/sqrt(s); reference: 2 + 8/sqrt(s): the recipe is there after (5/8)^2 of the steps,
    # and the reference needs (8/5)^2 as many
    reference = {0: curve(2, 8), 1: curve(2, 8)}
    recipe = {0: curve(2, 5), 1: curve(2, 5)}
    saved = steps_saved(recipe, reference)
    assert saved["recipe_reaches_reference_at"]["mean"] == pytest.approx(25 / 64, abs=0.01)
    assert saved["reference_needs"]["mean"] == pytest.approx(64 / 25, rel=0.05)
    assert saved["horizon_steps"] == 1000


def test_a_worse_recipe_needs_more_steps():
    saved = steps_saved({0: curve(2, 8), 1: curve(2, 8)}, {0: curve(2, 6), 1: curve(2, 6)})
    assert saved["recipe_reaches_reference_at"]["mean"] == pytest.approx((8 / 6) ** 2, rel=0.05)
    assert saved["reference_needs"]["mean"] == pytest.approx((6 / 8) ** 2, rel=0.02)


def test_a_loss_never_reached_is_not_invented():
    saved = steps_saved({0: curve(1, 4), 1: curve(1, 4)}, {0: curve(2, 4), 1: curve(2, 4)})
    assert saved["reference_needs"] is None
    assert saved["recipe_reaches_reference_at"]["mean"] < 0.05


def test_only_the_undecayed_part_counts():
    def decayed(c):
        return [(s, v - (0.5 if s > 800 else 0)) for s, v in c]

    saved = steps_saved(
        {0: decayed(curve(2, 4)), 1: decayed(curve(2, 4))}, {0: curve(2, 8), 1: curve(2, 8)}, horizon=800
    )
    assert saved["horizon_steps"] == 800
    assert saved["recipe_reaches_reference_at"]["mean"] == pytest.approx(0.25, abs=0.01)


def test_objective_curves_weigh_sets_and_skip_incomplete_steps():
    def row(step, target, value):
        return {"run": "r", "step": step, "target": target, "value": value, "metric": "loss", "censored": "none"}

    rows = [row(1, "a", 3.0), row(1, "b", 5.0), row(2, "a", 2.0)]
    assert objective_curves(rows, {"a": 0.75, "b": 0.25}) == {"r": [(1.0, 3.5)]}


def test_intervals_of_steps_cover_with_few_seeds(monkeypatch):
    """Three seeds with 5% of noise each: the 90% interval holds the truth in about 90% of cases (deterministic)."""
    import mixlaw.verify.paired

    monkeypatch.setattr(mixlaw.verify.paired, "_extrapolate", lambda curve, loss: float("inf"))  # slow, not judged here
    steps = np.arange(20, 1001, 20, dtype=float)
    held, simulations = 0, 100
    for seed in range(simulations):
        noise = np.exp(np.random.default_rng(seed).normal(0, 0.05, (2, 3)))
        arms = [
            {k: [(s, scale * f * s**-0.5) for s in steps] for k, f in enumerate(row)}
            for scale, row in zip((5, 8), noise)
        ]
        reaches = steps_saved(*arms)["recipe_reaches_reference_at"]
        held += reaches["low"] <= (5 / 8) ** 2 <= reaches["high"]
    assert 0.82 * simulations <= held <= 0.97 * simulations


def test_the_mean_of_seeds_is_held_to_an_interval_of_the_mean():
    rng = np.random.default_rng(0)
    truth, law, noise, m = 2.5, 0.01, 0.03, 5
    held, held_as_one = [], []
    for _ in range(2000):
        half = 1.645 * math.hypot(law, noise)
        mean = truth + law * rng.normal()
        seeds = truth + noise * rng.normal(size=m)
        predicted = Prediction(mean, mean - half, mean + half, 0.9)
        held.append(interval_of_mean(predicted, seeds.tolist()).covers(float(seeds.mean())))
        held_as_one.append(predicted.covers(float(seeds.mean())))
    assert 0.86 < np.mean(held) < 0.96
    assert np.mean(held_as_one) > 0.99  # the interval of one run says hardly anything of a mean


def test_a_prediction_that_is_off_is_outside_though_single_seeds_reach_it():
    predicted = Prediction(2.50, 2.40, 2.60, 0.9)
    seeds = [2.64, 2.54, 2.60, 2.56, 2.66]
    assert predicted.covers(float(np.mean(seeds)))  # 2.60
    assert not interval_of_mean(predicted, seeds).covers(float(np.mean(seeds)))


def test_looking_again_and_at_several_references_does_not_find_more_false_gains():
    rng = np.random.default_rng(1)
    repeats, most = 4000, 10
    draws = rng.normal(size=(repeats, 3, most))  # differences of three references that gain nothing
    draws = (draws + rng.normal(size=(repeats, 1, most))) / np.sqrt(2)  # they share the recipe's runs
    naive, adjusted = np.zeros(repeats, dtype=bool), np.zeros(repeats, dtype=bool)
    for look, seeds in enumerate(range(3, most + 1), start=1):
        seen = draws[:, :, :seeds]
        score = seen.mean(axis=2) / (seen.std(axis=2, ddof=1) / np.sqrt(seeds))
        naive |= (score < student_t.ppf(0.05, seeds - 1)).any(axis=1)
        adjusted |= (score < student_t.ppf((1 - adjusted_level(0.9, 3, look)) / 2, seeds - 1)).any(axis=1)
    assert naive.mean() > 0.2
    assert 0.01 < adjusted.mean() <= false_gains(0.9) + 0.01


def test_looks_are_counted_from_the_ledger_and_not_from_a_repeat(tmp_path):
    ledger = Ledger(Store(str(tmp_path)))
    written = ledger.append("prediction", {"schedule": {}})
    for seeds in (3, 3, 5):
        ledger.append("measurement", {"prediction_entry": written.number, "num_seeds": seeds})
    assert looks_before(ledger, written, 3) == 0
    assert looks_before(ledger, written, 8) == 2


def test_a_new_prediction_for_the_same_runs_is_no_first_look(tmp_path):
    """Fitting and optimising again wrote a new prediction, and the count of looks began anew."""
    ledger = Ledger(Store(str(tmp_path)))
    first = ledger.append("prediction", {"schedule": {}})
    runs = ["a", "b", "c", "d", "e"]
    ledger.append("measurement", {"prediction_entry": first.number, "num_seeds": 3, "runs": {"recipe": runs[:3]}})
    anew = ledger.append("prediction", {"schedule": {}})
    assert looks_before(ledger, anew, 5, runs) == 1
    assert looks_before(ledger, anew, 3, runs[:3]) == 0  # the same seeds again are no further look
    assert looks_before(ledger, anew, 5, ["other", "runs"]) == 0


def test_a_level_of_an_interval_that_is_not_the_asked_one_is_explained():
    """A 92% interval stood beside a 90% one without a word."""
    said = rate_text(2, 2, 0.05)
    each = adjusted_level(0.9, 2, 2)
    assert f"the intervals of differences are {each:.1%} ones instead of 90% ones" in said
    assert "2 references, look number 2, looks that may follow" in said

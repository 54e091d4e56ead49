import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Phase, Schedule
from mixlaw.data.prediction import Prediction
from mixlaw.data.recipe import Certificate, Recipe
from mixlaw.data.recipe_text import asked_text
from mixlaw.errors import DataError

CORPUS = Corpus.declared({"web": 8000, "code": 1000}, source="test")


def make(weight=0.5, **options):
    schedule = Schedule.constant({"web": 1 - weight, "code": weight})
    return Recipe(schedule, 4000, CORPUS, **options)


@given(st.floats(0, 1), st.floats(0.1, 0.9))
def test_tokens_and_epochs_follow_the_schedule(weight, fraction):
    two = Schedule(
        (
            Phase(fraction, Mixture({"web": 1.0, "code": 0.0})),
            Phase(1 - fraction, Mixture({"web": 1 - weight, "code": weight})),
        )
    )
    recipe = Recipe(two, 4000, CORPUS)
    assert recipe.domain_tokens["code"] == pytest.approx((1 - fraction) * weight * 4000, abs=1e-6)
    assert recipe.epochs["code"] == pytest.approx((1 - fraction) * weight * 4, abs=1e-9)
    assert sum(recipe.domain_tokens.values()) == pytest.approx(4000)


FULL = dict(
    objective={"web": 1.0},
    predictions={"web": Prediction(2.5, 2.4, 2.6), "objective": Prediction(2.5, 2.4, 2.6)},
    reference=CORPUS.natural,
    difference=Prediction(-0.05, -0.08, -0.02),
    probability_better=0.99,
    shadow_prices=({"limit": "code: cap", "loss_per_extra_epoch": -0.01},),
    certificate=Certificate("certified", gap=1e-9, solver="clarabel"),
    unconstrained=Mixture({"web": 0.4, "code": 0.6}),
    near_optimal={"code": (0.4, 0.5)},
    law={"name": "M4"},
    law_hash="abc",
    budget={"tokens": 4000},
    warnings=("outside the hull",),
    versions={"mixlaw": "0.1"},
)


def test_everything_survives_the_file(tmp_path):
    recipe = make(**FULL)
    recipe.save(tmp_path / "recipe.json")
    assert Recipe.load(tmp_path / "recipe.json") == recipe
    plain = make()
    assert Recipe.from_dict(json.loads(json.dumps(plain.to_dict()))) == plain


def test_the_first_line_says_how_it_was_obtained_and_null_stays_null():
    lines = str(make(**FULL)).splitlines()
    assert lines[0] == "certified optimum (gap 1.0e-09) under the fitted M4 law"
    assert "better with probability 99%" in lines[1]
    assert str(make(certificate=Certificate("best_of", starts=64))).startswith("best of 64 starts, no certificate")
    assert "warning: outside the hull" in lines
    assert "price of code: cap: objective -0.01 per epoch more" in lines


BASELINES = {
    "natural": {
        "weights": {"web": 0.9, "code": 0.1},
        "prediction": Prediction(2.6, 2.5, 2.7).to_dict(),
        "feasible": True,
    },
    "uniform": {
        "weights": {"web": 0.5, "code": 0.5},
        "prediction": Prediction(2.7, 2.6, 2.8).to_dict(),
        "feasible": False,
    },
    "reference": {"weights": {"web": 0.9, "code": 0.1}, "prediction": Prediction(2.6, 2.5, 2.7).to_dict()},
}


def test_what_was_asked_and_what_it_stands_beside_are_printed():
    asked = {
        "kind": "worst",
        "weights": {"web": 0.7, "code": 0.3},
        "guards": ["code: at most +0 nats of the reference's 2.5000"],
        "robust": "cvar",
        "repetition_half_life_epochs": 15.39,
        "kl_weight": 0.1,
    }
    text = str(make(**{**FULL, "objective": asked, "baselines": BASELINES}))
    for words in (
        "the lowest worst case, the largest excess of a set over the best it could reach here (web 0.7, code 0.3).",
        "Held to: code: at most +0 nats of the reference's 2.5000.",
        "Robust: the mean over the worse half of refitted laws",
        "R* = 15.39 epochs",
        "KL divergence to the prior mixture: 0.1 times",
        "objective (largest excess over the best reachable, not a loss): 2.5000",
        "reference  without limits",
        "Without limits code would be repeated most, 2.4 epochs.",
        "natural = reference  2.6000 [2.5000, 2.7000] (90%), +0.1000 against the recipe\n",
        "+0.2000 against the recipe, breaks the budget",
    ):
        assert words in text
    assert "Asked for" not in str(make())  # a recipe made by hand says nothing of it
    assert "(equally a, b)." in asked_text({"kind": "mean", "weights": {"a": 0.5, "b": 0.5}})[0]
    gain = asked_text({"kind": "least_change", "weights": {"web": 1.0}, "gain": 0.02, "kl_limit": 0.5})
    assert "for a gain of 0.02 nats" in gain[0] and "at most 0.5 nats" in gain[1]


def test_phases_are_printed_with_their_epochs():
    phases = (
        Phase(0.25, Mixture({"web": 1.0, "code": 0.0})),
        Phase(0.75, Mixture({"web": 0.5, "code": 0.5})),
    )
    constant = {"best constant": BASELINES["natural"]}
    text = str(Recipe(Schedule(phases), 4000, CORPUS, difference=Prediction(-0.1, -0.2, 0.0), baselines=constant))
    assert "objective minus best constant mixture: -0.1000" in text
    header = next(line for line in text.splitlines() if "phase 1 (25%)" in line)
    assert "phase 2 (75%)" in header and header.count("epochs") == 2
    assert [line.split()[1:] for line in text.splitlines() if line.startswith("code")][1] == [
        "0.0000",
        "0.00",
        "0.5000",
        "1.50",
    ]
    assert "not computed for schedules" in text


def test_other_json_is_not_a_recipe(tmp_path):
    (tmp_path / "x.json").write_text('{"tokens": 5}')
    with pytest.raises(DataError, match="not a recipe"):
        Recipe.load(tmp_path / "x.json")


@pytest.mark.parametrize(
    "part", ["objective", "predictions", "shadow_prices", "baselines", "law", "budget", "versions"]
)
@pytest.mark.parametrize("value", [None, 1, [1], "odd"])
def test_parts_of_another_kind_are_refused(part, value):
    data = Recipe(Schedule.constant({"web": 1.0}), 1000, Corpus.declared({"web": 9000}, source="us")).to_dict()
    with pytest.raises(DataError, match="not a recipe written by mixlaw"):
        Recipe.from_dict({**data, part: value})


def test_predictions_enclose_their_mean():
    for mean, low, high, level in ((1, 2, 3, 0.9), (1, 0, 0.5, 0.9), (1, 0, 2, 1.5), (float("nan"), 0, 1, 0.9)):
        with pytest.raises(DataError):
            Prediction(mean, low, high, level)
    assert Prediction(1, 0.5, 1.5).covers(1.5)
    assert not Prediction(1, 0.5, 1.5).covers(1.6)


def test_the_repr_of_a_recipe_is_one_line():
    """A notebook's error page and list of recipes held every field, the manifest of the corpus included."""
    corpus = Corpus.declared({"web": 10_000, "wiki": 1_000}, source="example")
    text = repr(Recipe(Schedule.constant({"web": 0.75, "wiki": 0.25}), tokens=8_000, corpus=corpus))
    assert len(text) < 120 and "web 0.75" in text and "8.00k tokens" in text

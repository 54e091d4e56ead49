"""What notebooks show of a recipe and of observations."""

import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from mixlaw import Corpus, Mixture, Observations, Phase, Prediction, Recipe, Schedule

EARLIER = Path(__file__).parents[1] / "fixtures" / "v0_1_0"
EVIL = "<script>alert('x')</script> & co"


def cells(page):
    """Every row of every table, as texts; fails where a tag is not closed or a text not escaped."""
    root = ET.fromstring(f"<div>{page}</div>")
    assert not list(root.iter("script"))
    return [[cell.text or "" for cell in row] for row in root.iter("tr")], [
        "".join(p.itertext()) for p in root.iter("p")
    ]


def test_a_recipe_shows_its_mixture_predictions_and_warnings():
    rows, texts = cells(Recipe.load(EARLIER / "study" / "recipe.json")._repr_html_())
    assert ["domain", "weight", "tokens", "epochs", "reference"] in rows
    assert ["code", "0.2456", "36.72k", "0.02", "0.3701"] in rows
    assert ["objective", "5.5629 [5.2268, 5.8991] (90%)"] in rows
    assert texts[0].startswith("certified optimum") and any("outside the observed mixtures" in t for t in texts)


def test_a_recipe_with_phases_and_names_that_look_like_html():
    corpus = Corpus.declared({EVIL.replace("/", ""): 9000, "b": 9000}, source="us")
    name = corpus.names[0]
    phases = (Phase(0.5, Mixture({name: 1.0, "b": 0.0})), Phase(0.5, Mixture({name: 0.0, "b": 1.0})))
    recipe = Recipe(Schedule(phases), 1000, corpus, warnings=(EVIL,), predictions={EVIL: Prediction(2, 1, 3)})
    rows, texts = cells(recipe._repr_html_())
    assert ["domain", "phase 1 (50%)", "phase 2 (50%)"] in rows and [name, "1.0000", "0.0000"] in rows
    assert f"Warning: {EVIL}" in texts
    assert cells(dataclasses.replace(recipe, predictions={}, warnings=())._repr_html_())


def test_observations_show_the_last_values():
    rows, texts = cells(Observations.load(EARLIER / "observations")._repr_html_())
    assert rows[0] == ["run", "params", "tokens", "web", "code"] and len(rows) == 11
    assert texts == ["24 runs, 48 values", "Domains: web, code, books", "14 more runs"]


@pytest.mark.parametrize("count", [0, 1, 11])
def test_any_number_of_runs(count):
    obs = Observations.from_records(
        [{"run": f"{EVIL} {i}", "status": "diverged" if i == 0 else "done"} for i in range(count)],
        [
            {"run": f"{EVIL} {i}", "step": s, "target": EVIL, "value": 4.0 - s, "censored": "none" if s else "right"}
            for i in range(count)
            for s in (1, 0)
        ],
    )
    rows, texts = cells(obs._repr_html_())
    assert texts[1] == "No mixtures recorded" and len(rows) == (1 + min(count, 10) if count else 0)
    assert ("1 diverged" in texts[0]) == (count > 0)
    if count:
        assert rows[1][3] == "3.000", "the last step, not the last row"

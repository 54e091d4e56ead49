"""What the first version wrote still opens and says the same."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mixlaw import Observations, Recipe, Study
from mixlaw.laws import Law

EARLIER = Path(__file__).parents[1] / "fixtures" / "v0_1_0"
EXPECTED = json.loads((EARLIER / "laws.expected.json").read_text())
SAVED = sorted(p.name.removesuffix(".json.gz") for p in (EARLIER / "laws").glob("*.json.gz"))


def test_there_is_a_fixture_of_every_kind():
    assert len(SAVED) >= 19 and set(SAVED) <= set(EXPECTED)


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_law_still_predicts_the_same(name):
    law = Law.from_json(gzip.decompress((EARLIER / "laws" / f"{name}.json.gz").read_bytes()).decode())
    expected = EXPECTED[name]
    X = {k: np.array(v) for k, v in expected["X"].items()}
    np.testing.assert_allclose(law.predict(X), expected["predict"], rtol=1e-10)
    if len(expected["low"]):
        low, high = law.predict_interval(X)
        np.testing.assert_allclose(low, expected["low"], rtol=1e-8)
        np.testing.assert_allclose(high, expected["high"], rtol=1e-8)


def test_observations_still_open():
    assert len(Observations.read(EARLIER / "observations").runs) == 24


def test_a_recipe_still_opens_with_its_hash():
    assert Recipe.load(EARLIER / "recipe.json").mixture["web"] == pytest.approx(0.4341, abs=1e-4)


def test_a_study_folder_still_opens(tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(EARLIER / "study", folder)
    study = Study(folder)
    done = {step: (yes, text) for step, yes, text in study.status()}
    assert done["verify"] == (True, "gain, 3 seeds") and done["train"] == (True, "9 of 9 runs done")
    assert len(study.observations().runs) == 9
    assert study.recipe().mixture["code"] > 0
    assert "predicted" in study.report().read_text()

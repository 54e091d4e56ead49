"""What a law says of its own fit."""

import re

import numpy as np
import pytest

from mixlaw import laws
from mixlaw.laws.core.summary import _ended


def test_an_optimum_that_few_starts_reach_is_the_lowest_of_them_all():
    said = _ended(True, {"gradient_norm": np.array([2e-9]), "agreeing_starts": np.array([1, 9]), "starts": 10})
    assert said == "converged (1 to 9 of 10 starts agree, by target; gradient 2.0e-09)"
    assert _ended(True, {"agreeing_starts": 4, "starts": 10}) == "converged (4 of 10 starts agree)"


@pytest.mark.parametrize("law", [laws.M4(), laws.EffectiveTokens(), laws.Chinchilla(bootstrap=0)])
def test_a_local_fit_is_never_called_certified(law):
    rng = np.random.default_rng(0)
    X = law.example_rows(30, rng)
    text = law.fit(X, law.example_losses(X)).summary()
    assert "certified" not in text
    assert re.search(r"converged \(\d+( to \d+)? of \d+ starts agree", text)


@pytest.mark.parametrize(("law", "name"), [(laws.M4, "c"), (laws.EffectiveTokens, "c"), (laws.AutoScale, "l")])
def test_a_negative_irreducible_loss_is_remarked_on(law, name):
    """Losses that fall almost in a straight line, as a curve falling to far below zero does."""
    web = np.linspace(0.05, 0.95, 24)
    falling = 4 * np.exp(-0.5 * web) - 1
    fitted = law(ridge=0.001).fit({"web": web, "code": 1 - web}, {"exam": falling, "other": 3 + web**-0.3})
    lowest = dict(zip(fitted.target_names_, fitted.parameters_[name]))
    said = [note for note in fitted.notes if "irreducible loss is below zero" in note]
    assert lowest["exam"] < 0
    assert len(said) == 1
    assert "exam (" in said[0]
    assert ("other (" in said[0]) == (lowest["other"] < 0)
    assert said[0] in fitted.summary()

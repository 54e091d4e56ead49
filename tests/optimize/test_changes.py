"""What a recipe changes set by set, and what a guard would cost."""

import numpy as np
import pytest

from mixlaw import Budget, Corpus
from mixlaw.data.recipe import Recipe
from mixlaw.laws import GaussianProcess, LogLinear
from mixlaw.optimize import optimize

CORPUS = Corpus.declared({"web": 5_000, "code": 3_000, "wiki": 2_000}, source="test")
BUDGET = Budget(tokens=1_000)
OBJECTIVE = {"exam": 0.6, "bugs": 0.4}


@pytest.fixture(scope="module")
def runs():
    R = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    L = np.log(R + 0.1)
    losses = {
        "exam": 3 + L @ [-0.3, -0.1, -0.1],
        "bugs": 3 + L @ [-0.1, -0.4, -0.05],
        "arxiv": 3 + L @ [-0.05, -0.05, -0.5],
    }
    return dict(zip(("web", "code", "wiki"), R.T)), losses


def test_every_set_is_shown_at_the_recipe_and_at_the_reference(runs):
    law = LogLinear().fit(*runs)
    recipe = optimize(law, OBJECTIVE, BUDGET, CORPUS, num_bootstrap=0)
    before = dict(zip(law.target_names_, law.predict([CORPUS.natural.array()])[0]))
    text = str(recipe)
    for name in law.target_names_:
        assert recipe.changes[name]["reference"] == pytest.approx(before[name])
        change = recipe.predictions[name].mean - before[name]
        assert f"reference {before[name]:.4f} ({change:+.4f})" in text
    worse = [n for n in before if recipe.predictions[n].mean > before[n] + 5e-5]
    assert "arxiv" in worse
    assert f"Predicted worse than at the reference, {len(worse)} of 3 sets (best guesses): arxiv +" in text


def test_the_cost_of_a_guard_is_what_asking_for_it_costs(runs):
    law = LogLinear().fit(*runs)
    recipe = optimize(law, OBJECTIVE, BUDGET, CORPUS, num_bootstrap=0)
    said = recipe.changes["arxiv"]["guard_costs"]
    guarded = optimize(law, OBJECTIVE, BUDGET, CORPUS, kind="guard", guard={"arxiv": 0.0}, num_bootstrap=0)
    assert said == pytest.approx(guarded.predictions["objective"].mean - recipe.predictions["objective"].mean, abs=1e-7)
    assert said > 0
    assert f"Cheapest guard: guarding arxiv costs {said:.2g} of the objective (guard arxiv=0)" in str(recipe)
    assert "arxiv" not in [n for n, c in guarded.changes.items() if "guard_costs" in c]
    assert not any(line.startswith("Worse than") and "arxiv" in line for line in str(guarded).splitlines())


def test_the_cost_of_a_guard_where_a_domain_hurts_is_certified_too(runs):
    """Branch and bound, with a concave term in the objective and none in the guard."""
    mixtures, losses = runs
    hurt = {**losses, "bugs": 3 + np.log(np.column_stack(list(mixtures.values())) + 0.1) @ [0.05, -0.4, -0.05]}
    law = LogLinear().fit(mixtures, hurt)
    recipe = optimize(law, OBJECTIVE, BUDGET, CORPUS, num_bootstrap=0)
    guarded = optimize(law, OBJECTIVE, BUDGET, CORPUS, kind="guard", guard={"arxiv": 0.0}, num_bootstrap=0)
    assert recipe.certificate.solver == "mixlaw branch and bound"
    assert "at_most" not in recipe.changes["arxiv"]
    cost = guarded.predictions["objective"].mean - recipe.predictions["objective"].mean
    assert recipe.changes["arxiv"]["guard_costs"] == pytest.approx(cost, abs=2e-6)


def test_a_guard_that_no_mixture_keeps_is_told(runs):
    law = LogLinear().fit(*runs)
    reference = {"web": 0.0, "code": 0.0, "wiki": 1.0}
    tight = Budget(tokens=1_000, caps={"wiki": 0.1})
    recipe = optimize(law, OBJECTIVE, tight, CORPUS, reference, num_bootstrap=0)
    assert recipe.changes["arxiv"]["guard_costs"] is None
    assert "No mixture under this budget keeps arxiv where the reference has it." in str(recipe)


def test_without_convexity_the_cost_is_bounded_by_the_way_back(runs):
    law = GaussianProcess().fit(*runs)
    recipe = optimize(law, OBJECTIVE, BUDGET, CORPUS, num_bootstrap=0, starts=4)
    assert recipe.certificate.kind == "best_of"
    row = recipe.changes["arxiv"]
    assert row["at_most"]
    gain = -recipe.difference.mean
    assert 0 <= row["guard_costs"] <= gain + 1e-9
    assert "guarding arxiv costs at most" in str(recipe)


def test_changes_are_kept_and_recipes_without_them_keep_their_hash(runs):
    recipe = optimize(LogLinear().fit(*runs), OBJECTIVE, BUDGET, CORPUS, num_bootstrap=0)
    again = Recipe.from_dict(recipe.to_dict())
    assert again.changes == recipe.changes
    assert again.hash == recipe.hash
    data = recipe.to_dict()
    del data["changes"]
    assert "changes" not in Recipe.from_dict(data).to_dict()

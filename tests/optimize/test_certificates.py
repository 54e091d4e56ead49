"""What may be called certified: a global optimum, of a law that is named, down to the numbers it is counted from."""

import warnings

import numpy as np
import pytest

from mixlaw import Budget, Corpus
from mixlaw.data.seams import LAWS
from mixlaw.laws import LogLinear
from mixlaw.optimize import optimize
from mixlaw.optimize.pose.problem import pose
from mixlaw.optimize.pose.request import Request

CORPUS = Corpus.declared({"web": 9_000, "code": 9_000, "wiki": 9_000}, source="test")
BUDGET = Budget(tokens=1_000)


def law_of(**losses):
    R = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    return LogLinear().fit(dict(zip(("web", "code", "wiki"), R.T)), {k: np.log(R + 0.1) @ v for k, v in losses.items()})


def test_a_certified_optimum_names_its_law():
    recipe = optimize(law_of(exam=[-0.3, -0.2, -0.1]), "exam", BUDGET, CORPUS, num_bootstrap=0)
    assert str(recipe).splitlines()[0].endswith("under the fitted LogLinear law")
    assert recipe.how_found.startswith("certified optimum (gap")


def test_the_worst_case_is_as_certain_as_the_losses_it_is_counted_from():
    """The gaps of the lowest reachable losses belong to the gap of the excess over them."""
    law = law_of(exam=[-0.3, -0.2, -0.1], bugs=[-0.1, -0.1, -0.4])
    q = Request.of(law, ["exam", "bugs"], BUDGET, CORPUS, kind="worst", num_bootstrap=0)
    posed = pose(q, q.view.atoms(), [], warnings=[])
    recipe = optimize(law, ["exam", "bugs"], BUDGET, CORPUS, kind="worst", num_bootstrap=0)
    assert posed.convex
    assert 0 < posed.loose < 1e-8
    assert posed.loose < recipe.certificate.gap < 1e-8


def test_the_worst_case_counted_from_local_searches_is_not_certified_and_says_why():
    law = law_of(exam=[-0.3, -0.2, 0.4], bugs=[-0.1, -0.1, -0.4])  # wiki hurts exam: no convex atom
    recipe = optimize(law, ["exam", "bugs"], BUDGET, CORPUS, kind="worst", num_bootstrap=0)
    assert recipe.certificate.kind == "best_of"
    assert any("could reach at best are from local searches" in text for text in recipe.warnings)
    q = Request.of(law, ["exam", "bugs"], BUDGET, CORPUS, kind="worst", num_bootstrap=0)
    posed = pose(q, q.view.atoms(), [], warnings=[])
    assert posed.loose == pytest.approx(np.inf)
    assert not posed.convex


@pytest.mark.parametrize(
    ("name", "wish"),
    [
        ("gaussian_process", {}),
        ("bi_mix", {"guard": {"bugs": 0.05}}),
        ("bi_mix", {"kl_weight": 0.01}),
        ("m3", {}),
        ("implicit", {"guard": {"bugs": 0.05}}),
    ],
)
def test_no_law_certifies_a_worst_case_counted_from_local_searches(name, wish):
    """A certificate of the excess needs one of every loss that it is counted from."""
    rng = np.random.default_rng(3)
    R = rng.dirichlet(np.ones(3), 30)
    y = {"exam": 3 - 0.3 * np.log(R[:, 0] + 0.1) + 0.3 * R[:, 2], "bugs": 3 - 0.3 * np.log(R[:, 1] + 0.1)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        law = LAWS[name]().fit(dict(zip(CORPUS.names, R.T)), y)
        options = {"kind": "worst", "num_bootstrap": 0, "starts": 4, **wish}
        q = Request.of(law, ["exam", "bugs"], BUDGET, CORPUS, **options)
        posed = pose(q, q.view.atoms(), [], warnings=[])
        recipe = optimize(law, ["exam", "bugs"], BUDGET, CORPUS, **options)
    certified = recipe.certificate.kind == "certified"
    assert certified <= bool(np.isfinite(posed.loose))
    assert not certified or recipe.certificate.gap >= posed.loose
    if q.view.atoms() is None:
        assert not certified and "certified optimum" not in recipe.how_found


@pytest.mark.parametrize("name", ["implicit", "m4", "effective_tokens"])
def test_a_kl_term_beside_the_worst_case_is_solved_to_the_end(name):
    """A domain that the KL term drives to a share of 1e-10 must not hold back the others."""
    rng = np.random.default_rng(3)
    R = rng.dirichlet(np.ones(3), 30)
    y = {"exam": 3 - 0.3 * np.log(R[:, 0] + 0.1) + 0.3 * R[:, 2], "bugs": 3 - 0.3 * np.log(R[:, 1] + 0.1)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        law = LAWS[name]().fit(dict(zip(CORPUS.names, R.T)), y)
        recipe = optimize(law, ["exam", "bugs"], BUDGET, CORPUS, kind="worst", kl_weight=0.01, num_bootstrap=0)
    assert recipe.certificate.kind == "certified"
    assert recipe.certificate.gap < 1e-8
    assert not any("range" in text for text in recipe.warnings)  # the near-optimal set is solved too

"""Laws made of one expert per domain: MixMin, its minimiser, and MDE."""

import json

import numpy as np
import pytest

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.expert_scores import ExpertScores
from mixlaw.errors import ConfigError, DataError, MixlawError
from mixlaw.laws import MDE, GaussianProcess, Law, LogLinear, MixMin
from mixlaw.laws.choose.equal_tokens import EqualTokens, at_equal_tokens
from mixlaw.laws.process.token_mixture import minimise, scaled
from mixlaw.optimize import optimize

DOMAINS = ("web", "code", "books")
EYE = dict(zip(DOMAINS, np.eye(3)))


def probabilities(num=400, seed=0):
    """Three experts on two sets of tokens: each domain is best on a part of them."""
    rng = np.random.default_rng(seed)
    return {name: np.exp(-rng.gamma(2.0, 1.0, (num, 3))) for name in ("exam", "blog")}


def experts(p):
    return {name: {d: np.log(values[:, i]) for i, d in enumerate(DOMAINS)} for name, values in p.items()}


def rows(num, seed=1):
    return np.random.default_rng(seed).dirichlet(np.ones(3), num)


def truth(p, R, slope=1.0):
    return {name: slope * -np.log(values @ R.T).mean(axis=0) for name, values in p.items()}


def table(R):
    return dict(zip(DOMAINS, R.T))


# ---- the minimiser ------------------------------------------------------------------------------------
@pytest.mark.parametrize("share", [0.75, 0.9, 0.5])
def test_experts_of_disjoint_supports_get_the_targets_share_of_each(share):
    """-mean log sum_k r_k p_k = const - share log r_1 - (1 - share) log r_2, least at r_1 = share."""
    num, one = 200, round(200 * share)
    p = np.zeros((num, 2))
    p[:one, 0], p[one:, 1] = 0.3, 0.7  # how sure each is of its own tokens does not matter
    with np.errstate(divide="ignore"):
        found = minimise([scaled(np.log(p))], np.ones(1))
        packed = ExpertScores(("a", "b"), {"t": np.log(p)}).packed()
    assert found.weights == pytest.approx([share, 1 - share], abs=1e-5) and found.gap < 1e-6
    law = MixMin(packed).fit({"a": [1.0, 0.0], "b": [0.0, 1.0]}, {"t": [9.0, 9.0]})
    least = law.minimum()
    assert least.weights == pytest.approx([share, 1 - share], abs=1e-4)
    by_hand = -share * np.log(share * 0.3) - (1 - share) * np.log((1 - share) * 0.7)
    assert least.loss == pytest.approx(by_hand, abs=1e-3)


def test_the_gap_bounds_how_far_the_loss_can_fall():
    p = probabilities()
    sets = [scaled(np.log(values)) for values in p.values()]
    best = minimise(sets, np.array([0.3, 0.7]))
    early = minimise(sets, np.array([0.3, 0.7]), most=1)
    assert best.gap < 1e-6 < early.gap
    assert best.loss <= early.loss <= best.loss + early.gap
    R = rows(2000)
    value = 0.3 * truth(p, R)["exam"] + 0.7 * truth(p, R)["blog"]
    assert best.loss <= value.min() + 1e-9


# ---- MixMin ------------------------------------------------------------------------------------------------
def test_the_value_is_that_of_mixed_probabilities_and_the_shift_that_of_trained_mixtures():
    p, R = probabilities(), rows(6)
    y = {name: values + 0.25 for name, values in truth(p, R).items()}
    law = MixMin(experts(p)).fit(table(R), y)
    assert law.parameters_["shift"] == pytest.approx([0.25, 0.25], abs=1e-9) and law.calibrated
    there = rows(20, seed=5)
    np.testing.assert_allclose(law.predict(table(there))[:, 1], truth(p, there)["blog"] + 0.25, atol=1e-9)
    assert law.parameters_["expert"][0] == pytest.approx((-np.log(p["exam"]).mean(axis=0)).tolist())


def test_runs_of_one_domain_do_not_calibrate_it():
    p = probabilities()
    law = MixMin(experts(p)).fit(EYE, {"exam": [3.0, 3.0, 3.0], "blog": [3.0, 3.0, 3.0]})
    assert law.parameters_["shift"] == [0.0, 0.0] and not law.calibrated
    assert "cannot see transfer" in law.notes[0] and "No trained mixture" in law.notes[0]
    low, high = law.predict_interval(table(rows(2)), 0.9)
    own = -np.log(p["exam"]).mean(axis=0)
    np.testing.assert_allclose((high - low)[:, 0] / 2, np.ptp(own))


def test_its_interval_covers_what_trained_mixtures_show():
    """The truth bends away from a mixture of experts; the held-out error of trained mixtures knows."""
    p, R, there = probabilities(), rows(24), rows(200, seed=3)

    def bent(X):
        return {name: v + 0.4 * X[:, 0] * X[:, 1] for name, v in truth(p, X).items()}

    law = MixMin(experts(p)).fit(table(R), bent(R))
    low, high = law.predict_interval(table(there), 0.9)
    seen = np.column_stack(list(bent(there).values()))
    assert 0.8 < ((seen >= low) & (seen <= high)).mean() <= 1.0


def test_it_is_saved_with_its_experts_as_plain_json():
    p, R = probabilities(), rows(8)
    law = MixMin(ExpertScores.unpacked(experts(p)).packed()).fit(table(R), truth(p, R, 0.9))
    back = Law.from_json(law.to_json())
    np.testing.assert_array_equal(back.predict(table(R)), law.predict(table(R)))
    np.testing.assert_array_equal(back.predict_interval(table(R))[0], law.predict_interval(table(R))[0])
    assert len(json.dumps(law.to_dict())) < 30_000  # 2,400 numbers in two bytes each, not in twenty


def test_packing_costs_less_than_a_thousandth_of_a_nat():
    scores = ExpertScores.unpacked(experts(probabilities()))
    back = ExpertScores.unpacked(scores.packed())
    for name, values in scores.logprobs.items():
        assert np.abs(back.logprobs[name] - values).max() <= 0.5 / 1024 + 1e-12
    assert len(ExpertScores.unpacked(scores.packed(max_tokens=50)).logprobs["exam"]) == 50


def test_optimize_finds_its_minimiser_and_certifies_it():
    p = probabilities()
    law = MixMin(experts(p)).fit(table(rows(8)), truth(p, rows(8)))
    corpus = Corpus.declared(dict.fromkeys(DOMAINS, 10_000), source="test")
    objective = {"exam": 0.3, "blog": 0.7}
    recipe = optimize(law, objective, Budget(tokens=10_000), corpus, num_bootstrap=0)
    best = law.minimum(objective)
    assert recipe.certificate.kind == "certified" and recipe.certificate.gap < 1e-3
    got = float(law.predict(table(recipe.mixture.array()[None]))[0] @ [0.3, 0.7])
    assert best.loss - 1e-9 <= got <= best.loss + recipe.certificate.gap + 1e-9
    first = max(DOMAINS, key=lambda d: best.weights[DOMAINS.index(d)])
    capped = optimize(law, objective, Budget(tokens=10_000, caps={first: 0.2}), corpus, num_bootstrap=0)
    assert capped.mixture[first] == pytest.approx(0.2, abs=1e-6) and capped.certificate.kind == "certified"


def test_a_recipe_of_experts_alone_says_that_no_error_is_known():
    p = probabilities()
    law = MixMin(experts(p)).fit(EYE, {n: -np.log(v).mean(axis=0) for n, v in p.items()})
    corpus = Corpus.declared(dict.fromkeys(DOMAINS, 10_000), source="test")
    recipe = optimize(law, "exam", Budget(tokens=10_000), corpus)
    assert any("cannot see transfer" in w for w in recipe.warnings)
    assert recipe.difference.high > 0 > recipe.difference.low


# ---- MDE -----------------------------------------------------------------------------------------------------
def test_mde_needs_fewer_mixtures_than_the_process_alone():
    p, R, there = probabilities(), rows(6), rows(100, seed=9)
    y, seen = truth(p, R, 0.7), np.column_stack(list(truth(p, there, 0.7).values()))
    X = table(there)
    error = np.abs(MDE(experts(p), draws=False).fit(table(R), y).predict(X) - seen).mean()
    alone = np.abs(GaussianProcess(draws=False).fit(table(R), y).predict(X) - seen).mean()
    assert error < 0.5 * alone
    assert error < 0.5 * np.abs(LogLinear().fit(table(R), y).predict(X) - seen).mean()


def test_its_slope_goes_from_one_to_what_the_mixtures_say():
    p, R = probabilities(), rows(16)
    law = MDE(experts(p), draws=False).fit(table(R), truth(p, R, 0.5))
    assert law.parameters_["expert_slope"] == pytest.approx([0.5, 0.5], abs=0.06)


def test_reweighted_copies_of_mde_follow_its_process():
    p, R = probabilities(), rows(8)
    law = MDE(experts(p), draws=False).fit(table(R), truth(p, R))
    same, other = law.reweighted(np.array([np.ones(8), [5, 1, 1, 1, 1, 1, 1, 0.0]]))
    np.testing.assert_allclose(same.predict(table(R)), law.predict(table(R)), rtol=1e-6)
    assert np.isfinite(other.predict(table(R))).all()


# ---- at equal tokens -----------------------------------------------------------------------------------------
def test_at_equal_tokens_counts_experts_and_mixtures():
    p, R = probabilities(), rows(15)
    found = at_equal_tokens(table(R), truth(p, R), experts(p), run_tokens=10.0, expert_tokens=40.0)
    by = {(row.law, row.mixtures): row for row in found.rows}
    assert by["mixmin", 0].tokens == 40 and by["mde", 4].tokens == 80 and by["log_linear", 4].tokens == 40
    assert by["log_linear", 8].tokens == 80 == by["mde", 4].tokens  # equal tokens stand side by side
    assert by["mixmin", 0].mae < 1e-9 and by["mixmin", 0].spearman == pytest.approx(1)  # the truth is its own form
    assert EqualTokens.from_dict(found.to_dict()) == found and "with experts" in str(found)
    with pytest.raises(DataError, match="too few"):
        at_equal_tokens(table(R[:7]), truth(p, R[:7]), experts(p), run_tokens=1.0, expert_tokens=4.0)


# ---- bad input -------------------------------------------------------------------------------------------------
def test_what_cannot_be_used_is_refused_in_words():
    p, R = probabilities(), rows(6)
    y = truth(p, R)
    given = experts(p)
    for law in (MixMin, MDE):
        with pytest.raises(ConfigError, match="design --sampler experts"):
            law().fit(table(R), y)
        with pytest.raises(DataError, match="no expert of the domain 'maths'"):
            law(given).fit({"web": R[:, 0], "code": R[:, 1], "maths": R[:, 2]}, y)
        with pytest.raises(DataError, match="not scored on 'quiz'"):
            law(given).fit(table(R), {"quiz": y["exam"]})
    with pytest.raises(DataError, match="at least two"):
        ExpertScores(("web",), {"exam": np.zeros((3, 1))})
    with pytest.raises(DataError, match=r"'code'.*NaN"):
        ExpertScores(("web", "code"), {"exam": np.array([[-1.0, np.nan]])})
    with pytest.raises(DataError, match="every expert holds to be impossible"):
        ExpertScores(("web", "code"), {"exam": np.full((2, 2), -np.inf)})
    with pytest.raises(DataError, match="must weigh some of"):
        MixMin(given).fit(table(R), y).minimum({"quiz": 1.0})
    damaged = ExpertScores.unpacked(given).packed()
    damaged["packed"]["exam"][1] = damaged["packed"]["exam"][1][:40]
    with pytest.raises(MixlawError, match="damaged"):
        MixMin(damaged).fit(table(R), y)

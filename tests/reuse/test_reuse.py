"""Reuse of old runs after domains were added, removed, split or re-filtered."""

import warnings

import numpy as np
import pytest

from mixlaw.data.budget import Budget, Group, Limit
from mixlaw.data.corpus import Corpus, Domain, ValidationSet
from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError, InfeasibleBudgetError, MixlawWarning
from mixlaw.laws.mixture.m4 import M4
from mixlaw.optimize import optimize
from mixlaw.reuse.old_runs import reuse

import truths

NAMES = ("web", "code", "books", "wiki")
TRUTH = truths.exponential(4, 2, seed=4)


def corpus(tokens, hashes=None):
    return Corpus(tuple(Domain(n, t, hash=(hashes or {}).get(n, f"h-{n}")) for n, t in tokens.items()))


OLD = corpus({"web": 4000, "code": 2000, "books": 1000, "wiki": 1000})


@pytest.fixture(scope="module")
def observations():
    X, Y = TRUTH.sample(30, noise=0.005)
    X[:4, 3] = 0.0  # some runs without wiki
    X = X / X.sum(axis=1, keepdims=True)
    Y[:4] = TRUTH.loss(X[:4])
    return Observations.from_records(
        [{"run": f"r{i}", "schedule": dict(zip(NAMES, map(float, x)))} for i, x in enumerate(X)],
        [{"run": f"r{i}", "step": 1, "target": t, "value": float(v)} for i, y in enumerate(Y) for t, v in zip("ab", y)],
    )


def law_of(obs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        return M4().fit(*obs.table())


def test_nothing_changed(observations):
    found = reuse(observations, OLD, OLD)
    assert len(found.unchanged) == 30 and not found.changes and not found.former
    assert found.observations.table()[0].equals(observations.table()[0])
    plan = found.new_runs(Mixture(dict.fromkeys(NAMES, 0.25)))
    assert not plan.mixtures and plan.restored and "No new run is needed: no domain changed" in str(plan)
    with pytest.raises(ConfigError, match="'web', which is the same in both corpora"):
        reuse(observations, OLD, OLD, kept={"web": 0.9})


def test_proposed_runs_are_apart_and_without_dust(observations):
    found = reuse(observations, OLD, corpus({"web": 4000, "code": 2000, "books": 1000}))
    today = Mixture({"web": 0.98, "code": 0.0199, "books": 0.0001})
    plan = found.new_runs(today, tolerance=0.0, max_runs=12)
    X = np.array([m.array(("web", "code", "books")) for m in plan.mixtures])
    apart = 0.5 * np.abs(X[:, None] - X[None]).sum(axis=2)[np.triu_indices(len(X), 1)]
    assert len(X) > 2 and apart.min() > 0.01
    assert not ((X > 0) & (X < 1e-4)).any()
    none = found.new_runs(today, tolerance=0.0, max_runs=0)
    assert "no run is proposed: max_runs is 0" in str(none)


def test_added_domain_needs_new_runs_only_for_itself(observations):
    new = corpus({"web": 4000, "code": 2000, "books": 1000, "wiki": 1000, "math": 500})
    found = reuse(observations, OLD, new)
    assert found.unidentified == ("math",) and len(found.unchanged) == 30
    X, _ = found.observations.table()
    assert X.column("math").to_pylist() == [0.0] * 30
    plan = found.new_runs(Mixture({"web": 0.5, "code": 0.2, "books": 0.2, "wiki": 0.1}))
    assert plan.restored and 1 <= len(plan.mixtures) <= 8
    assert all(a >= b - 1e-9 for a, b in zip(plan.widths, plan.widths[1:]))
    for m in plan.mixtures:  # untouched domains keep their ratios
        assert m["code"] / m["web"] == pytest.approx(0.4) and m["math"] > 0


def test_removed_domain_is_optimised_at_zero(observations):
    new = corpus({"web": 4000, "code": 2000, "books": 1000})
    found = reuse(observations, OLD, new)
    assert found.former == ("wiki",)
    assert "wiki: removed; 26 of 30 runs drew from it and stay valid" in str(found)
    law = law_of(found.observations)
    restricted = found.restrict(law)
    x = np.array([[0.5, 0.3, 0.2]])
    np.testing.assert_allclose(restricted.predict(x), law.predict(np.array([[0.5, 0.3, 0.2, 0.0]])))
    np.testing.assert_allclose(restricted.atoms().value(x), restricted.predict(x), rtol=1e-9)
    recipe = optimize(restricted, ["a", "b"], Budget(tokens=1000), new, num_bootstrap=8)
    assert recipe.certificate.kind == "certified" and set(recipe.mixture) == {"web", "code", "books"}
    assert recipe.difference.low < recipe.difference.mean < recipe.difference.high  # from refits of the law inside
    truth = TRUTH.loss(np.hstack([x, [[0.0]]]))
    np.testing.assert_allclose(restricted.predict(x), truth, atol=0.03)


def test_split_is_exact_in_natural_proportion(observations):
    new = corpus({"web": 4000, "py": 1500, "c": 500, "books": 1000, "wiki": 1000})
    found = reuse(observations, OLD, new, split={"code": ("py", "c")})
    before, after = observations.table()[0], found.observations.table()[0]
    code = np.array(before.column("code").to_pylist())
    np.testing.assert_allclose(after.column("py").to_numpy(), 0.75 * code)
    np.testing.assert_allclose(after.column("c").to_numpy(), 0.25 * code)
    assert set(found.unidentified) == {"py", "c"} and len(found.reexpressed) > 25
    assert "split into py 75.0%" in str(found)


def test_refiltered_domain_becomes_a_former_one_or_is_carried_over(observations):
    new = corpus({"web": 4000, "code": 2000, "books": 1000, "wiki": 700}, {"wiki": "h-clean"})
    found = reuse(observations, OLD, new)
    assert found.former == ("wiki (before)",) and found.unidentified == ("wiki",)
    assert set(found.unchanged) == {"r0", "r1", "r2", "r3"}
    carried = reuse(observations, OLD, new, kept={"wiki": 0.97})
    assert not carried.former and len(carried.approximate) == 26
    assert "approximate" in str(carried)


def test_new_runs_keep_to_the_budget_and_differ(observations):
    new = corpus({"web": 4000, "code": 2000, "books": 1000, "wiki": 1000, "math": 500, "law": 300})
    found = reuse(observations, OLD, new)
    budget = Budget(
        tokens=6000,
        max_epochs={"math": 2, "law": 1},
        caps={"web": 0.45},
        floors={"code": 0.1},
        groups={"fresh": Group(("math", "law"), 0.0, 0.15)},
        limits={"fees": Limit({"law": 2.0, "math": 1.0}, 900)},
    )
    limits = budget.check(new)
    plan = found.new_runs(new.natural, budget)
    again = found.new_runs(new.natural, budget)
    assert plan.mixtures and plan.mixtures == again.mixtures
    for m in plan.mixtures:
        r = m.array(new.names)
        assert (r >= limits.low - 1e-9).all() and (r <= limits.high + 1e-9).all()
        assert (limits.matrix @ r <= limits.upper * (1 + 1e-9)).all()
    rows = np.array([m.array(new.names) for m in plan.mixtures])
    apart = np.abs(rows[:, None] - rows[None]).sum(axis=2)[np.triu_indices(len(rows), 1)]
    assert (apart > 1e-3).all()


def test_a_floor_on_an_untouched_domain_leaves_room_for_new_ones(observations):
    new = corpus({"web": 4000, "code": 2000, "books": 1000, "wiki": 1000, "math": 500})
    found = reuse(observations, OLD, new)
    plan = found.new_runs(OLD.natural, Budget(tokens=4000, floors={"wiki": 0.2}))  # natural has half of it
    assert plan.mixtures and plan.restored
    assert max(m["math"] for m in plan.mixtures) > 0.2 and min(m["wiki"] for m in plan.mixtures) >= 0.2 - 1e-9


def test_an_optimum_at_its_caps_leaves_the_parts_of_a_split_to_be_told_apart(observations):
    """The last optimum sat at its caps: in frozen ratios the budget would leave a single mixture."""
    new = corpus({"web": 4000, "py": 500, "c": 1500, "books": 1000, "wiki": 1000})
    found = reuse(observations, OLD, new, split={"code": ("py", "c")})
    budget = Budget(tokens=8000, max_epochs={"py": 1.6, "c": 1.6, "web": 1.12}, caps={"books": 0.04})
    today = found.carried(Mixture({"web": 0.56, "code": 0.4, "books": 0.04, "wiki": 0.0}))
    plan = found.new_runs(today, budget)
    assert plan.widths[0] > 1.02 and plan.mixtures and plan.restored
    limits = budget.check(new)
    shares = []
    for m in plan.mixtures:
        r = m.array(new.names)
        assert (r >= limits.low - 1e-9).all() and (r <= limits.high + 1e-9).all()
        assert m["books"] == pytest.approx(0.04) and m["web"] == pytest.approx(0.56)  # what binds stays, wiki gives way
        shares.append(m["py"] / max(m["py"] + m["c"], 1e-12))
    assert max(abs(s - 0.25) for s in shares) > 0.1  # off the line on which the old runs drew them
    assert all(f"(then {w:.2f})" in str(plan) for w in plan.widths[1:])


def test_a_refiltered_domain_that_shrank_is_probed_though_the_others_sit_at_their_caps(observations):
    new = corpus({"web": 2500, "code": 2000, "books": 1000, "wiki": 1000}, {"web": "h-clean"})
    found = reuse(observations, OLD, new)
    budget = Budget(tokens=5000, max_epochs=1, caps={"code": 0.2})
    plan = found.new_runs(found.carried(Mixture({"web": 0.8, "code": 0.2, "books": 0.0, "wiki": 0.0})), budget)
    assert plan.mixtures and "no further mixture" not in plan.reason
    assert all(m["web"] <= 0.5 + 1e-9 and m["code"] <= 0.2 + 1e-9 for m in plan.mixtures)
    assert plan.restored and plan.mixtures[0]["web"] > 0.4


def test_a_part_without_room_is_said_to_matter_little(observations):
    new = corpus({"web": 4000, "code": 2000, "books": 1000, "wiki": 1000, "math": 5})
    plan = reuse(observations, OLD, new).new_runs(OLD.natural, Budget(tokens=8000, max_epochs={"math": 1}))
    assert not plan.mixtures and plan.restored
    assert "what no run shows (math) can move predictions by little" in str(plan) and "at most 0.1%" in str(plan)


def test_further_limits_across_changed_and_untouched_domains(observations):
    new = corpus({"web": 4000, "code": 2000, "books": 1000, "wiki": 1000, "math": 500})
    budget = Budget(
        tokens=4000,
        groups={"hard": Group(("math", "code"), 0.1, 0.3), "easy": Group(("web", "books"), 0.2, 0.6)},
        limits={"fees": Limit({"math": 3.0, "wiki": 2.0}, 2000)},
    )
    limits = budget.check(new)
    plan = reuse(observations, OLD, new).new_runs(OLD.natural, budget)
    assert plan.mixtures
    for m in plan.mixtures:
        r = m.array(new.names)
        assert (limits.matrix @ r <= limits.upper * (1 + 1e-9) + 1e-9).all()


def test_an_optimum_says_what_no_run_tells_apart(observations):
    split = corpus({"web": 4000, "py": 500, "c": 1500, "books": 1000, "wiki": 1000})
    found = reuse(observations, OLD, split, split={"code": ("py", "c")})
    law = law_of(found.observations)
    recipe = optimize(law, ["a"], Budget(tokens=2000, caps={"c": 0.1}, floors={"py": 0.1}), split, num_bootstrap=0)
    said = [w for w in recipe.warnings if "not identified" in w]
    assert len(said) == 1 and "No run tells py and c apart: all drew them as 25% : 75%" in said[0]
    assert "leave it" in said[0] and "nearly as good under the law: py 0." in said[0]
    kept = optimize(
        law, ["a"], Budget(tokens=2000, floors={"py": 0.05, "c": 0.15}, caps={"py": 0.05, "c": 0.15}), split
    )
    assert any("The weights above keep that ratio" in w for w in kept.warnings)

    added = corpus({"web": 4000, "code": 2000, "books": 1000, "wiki": 1000, "math": 500})
    law = law_of(reuse(observations, OLD, added).observations)
    drawn = optimize(law, ["a"], Budget(tokens=2000, floors={"math": 0.1}), added, num_bootstrap=0).warnings
    assert any("No run drew from math, so what it does is not identified: its weight of 1" in w for w in drawn)
    none = optimize(law, ["a"], Budget(tokens=2000, caps={"math": 0.0}), added, num_bootstrap=0).warnings
    assert any("its weight of zero is no finding" in w for w in none)
    plain = optimize(law_of(observations), ["a"], Budget(tokens=2000), OLD, num_bootstrap=0)
    assert not any("not identified" in w for w in plain.warnings)


def test_new_runs_stop_where_the_budget_leaves_no_other_mixture(observations):
    new = corpus({"web": 4000, "code": 2000, "books": 1000, "wiki": 1000, "math": 500})
    found = reuse(observations, OLD, new)
    only = {"web": 0.4, "code": 0.2, "books": 0.2, "wiki": 0.1, "math": 0.1}
    plan = found.new_runs(Mixture(only), Budget(tokens=1000, floors=only))
    assert not plan.restored and len(plan.mixtures) == 1 and "no further mixture" in plan.reason
    assert plan.mixtures[0]["math"] == pytest.approx(0.1)
    none = found.new_runs(Mixture(only), max_runs=0)
    assert not none.mixtures and not none.restored and "max_runs is 0" in str(none)
    with pytest.raises(InfeasibleBudgetError):
        found.new_runs(Mixture(only), Budget(tokens=10_000, max_epochs=0.5))


def test_a_removed_domain_that_every_run_used_asks_for_runs_without_it(observations):
    X, _ = TRUTH.sample(30, noise=0.0)
    X = 0.6 * X + 0.4 * np.array([0.0, 0.0, 0.0, 1.0])  # wiki never below 40%
    runs = [{"run": f"r{i}", "schedule": dict(zip(NAMES, map(float, x)))} for i, x in enumerate(X)]
    values = [{"run": f"r{i}", "target": "a", "value": float(v)} for i, v in enumerate(TRUTH.loss(X)[:, 0])]
    new = corpus({"web": 4000, "code": 2000, "books": 1000})
    found = reuse(Observations.from_records(runs, values), OLD, new)
    assert "at least 4" in found.changes["wiki"] and "extrapolation" in found.changes["wiki"]
    plan = found.new_runs(found.carried(OLD.natural))
    assert plan.widths[0] > 1.02 and plan.mixtures and plan.restored
    assert len(set(plan.mixtures)) == len(plan.mixtures)


def test_new_runs_restore_what_the_law_predicts():
    """The error of a law near the next optimum, under a truth that is known, before and after the proposed runs."""
    truth = truths.exponential(5, 2, seed=9)
    rng = np.random.default_rng(1)
    X = np.hstack([rng.dirichlet(np.ones(4), 40), np.zeros((40, 1))])
    names = [*NAMES, "math"]

    def seen(X):
        Y = truth.loss(X) + rng.normal(size=(len(X), 2)) * 0.003
        return dict(zip(names, X.T)), dict(zip("ab", Y.T))

    runs = [{"run": f"r{i}", "schedule": dict(zip(NAMES, map(float, x)))} for i, x in enumerate(X)]
    _, y = seen(X)
    values = [{"run": f"r{i}", "target": t, "value": float(y[t][i])} for i in range(40) for t in "ab"]
    new = corpus({"web": 4000, "code": 2000, "books": 1000, "wiki": 1000, "math": 500})
    plan = reuse(Observations.from_records(runs, values), OLD, new).new_runs(OLD.natural)
    fresh = np.array([m.array(new.names) for m in plan.mixtures])
    near = (1 - 0.3) * fresh[:1] * [1, 1, 1, 1, 0] / fresh[0, :4].sum() + 0.3 * np.eye(5)[4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        blind = M4().fit(*seen(X))
        told = M4().fit(*seen(np.vstack([X, fresh])))
    before, after = (float(np.abs(law.predict(near) - truth.loss(near)).max()) for law in (blind, told))
    assert after < 0.02 < before


def test_losses_on_changed_sets_and_of_other_tokenizers_are_not_carried_over(observations):
    rows = [{**v, "target_hash": "v1" if v["target"] == "a" else "w1"} for v in observations.values.to_pylist()]
    runs = [{"run": r, "schedule": s} for r, s in observations.schedules().items()]
    known = Observations.from_records(runs, rows)
    old = Corpus(OLD.domains, (ValidationSet("a", 10, hash="v1"), ValidationSet("b", 10, hash="w1")), tokenizer="t1")
    new = Corpus(OLD.domains, (ValidationSet("a", 10, hash="v2"), ValidationSet("b", 10, hash="w1")), tokenizer="t1")
    found = reuse(known, old, new)
    assert found.left_out == ("a",) and found.observations.targets == ["b"]
    assert "old losses left out: a" in str(found)
    with pytest.raises(DataError, match="different tokenizers"):
        reuse(known, old, Corpus(OLD.domains, new.validation, tokenizer="t2"))


def test_bad_input_is_explained(observations):
    with pytest.raises(ConfigError, match="Did you mean 'code'"):
        reuse(observations, OLD, OLD, split={"cod": ("a",)})
    with pytest.raises(ConfigError, match="still a domain"):
        reuse(observations, OLD, OLD, split={"code": ("web",)})
    with pytest.raises(ConfigError, match="share in"):
        reuse(observations, OLD, OLD, kept={"web": 3.0})
    with pytest.raises(DataError, match="old corpus lacks"):
        reuse(observations, corpus({"web": 1, "code": 1, "books": 1}), OLD)

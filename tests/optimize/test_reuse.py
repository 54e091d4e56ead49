"""Reuse of old runs after domains were added, removed, split or re-filtered."""

import warnings

import numpy as np
import pytest

from mixlaw.budget import Budget
from mixlaw.corpus import Corpus, Domain
from mixlaw.errors import ConfigError, DataError, MixlawWarning
from mixlaw.laws.m4 import M4
from mixlaw.mixture import Mixture
from mixlaw.observations import Observations
from mixlaw.optimize import optimize
from mixlaw.optimize.reuse import reuse

import worlds

NAMES = ("web", "code", "books", "wiki")
WORLD = worlds.exponential(4, 2, seed=4)


def corpus(tokens, hashes=None):
    return Corpus(tuple(Domain(n, t, hash=(hashes or {}).get(n, f"h-{n}")) for n, t in tokens.items()))


OLD = corpus({"web": 4000, "code": 2000, "books": 1000, "wiki": 1000})


@pytest.fixture(scope="module")
def observations():
    X, Y = WORLD.sample(30, noise=0.005)
    X[:4, 3] = 0.0  # some runs without wiki
    X = X / X.sum(axis=1, keepdims=True)
    Y[:4] = WORLD.loss(X[:4])
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
    assert found.former == ("wiki",) and found.changes == {"wiki": "removed"}
    law = law_of(found.observations)
    restricted = found.restrict(law)
    x = np.array([[0.5, 0.3, 0.2]])
    np.testing.assert_allclose(restricted.predict(x), law.predict(np.array([[0.5, 0.3, 0.2, 0.0]])))
    np.testing.assert_allclose(restricted.atoms().value(x), restricted.predict(x), rtol=1e-9)
    recipe = optimize(restricted, ["a", "b"], Budget(tokens=1000), new, num_bootstrap=0)
    assert recipe.certificate.kind == "certified" and set(recipe.mixture) == {"web", "code", "books"}
    truth = WORLD.loss(np.hstack([x, [[0.0]]]))
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


def test_bad_input_is_explained(observations):
    with pytest.raises(ConfigError, match="Did you mean 'code'"):
        reuse(observations, OLD, OLD, split={"cod": ("a",)})
    with pytest.raises(ConfigError, match="still a domain"):
        reuse(observations, OLD, OLD, split={"code": ("web",)})
    with pytest.raises(ConfigError, match="share in"):
        reuse(observations, OLD, OLD, kept={"web": 3.0})
    with pytest.raises(DataError, match="old corpus lacks"):
        reuse(observations, corpus({"web": 1, "code": 1, "books": 1}), OLD)

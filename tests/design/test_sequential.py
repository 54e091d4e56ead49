"""Sequential designs and power analysis on truths whose optimum is known."""

import numpy as np
import pytest

from mixlaw import Budget, Corpus, MixlawWarning, Mixture, Observations
from mixlaw.design import Polytope, Size, noise, plan, power_analysis, propose
from mixlaw.design.adaptive.power import Point, Power, shared_variance
from mixlaw.design.adaptive.recommendation import choose_among
from mixlaw.design.adaptive.sequential import Worth, _batch, _price
from mixlaw.design.adaptive.studies import simulate
from mixlaw.design.adaptive.surrogate import minimise, mutate, objective_weights, replicate_sd
from mixlaw.design.adaptive.truth import Truth
from mixlaw.errors import ConfigError, DataError
from mixlaw.laws import GaussianProcess, LogLinear
from mixlaw.laws.core.base import Law

from truths import power

TRUTH = power(4, seed=1)
SHARES = np.array([0.1, 0.2, 0.3, 0.4])
NAMES = tuple(f"domain{j}" for j in range(4))
CORPUS = Corpus.declared(dict.fromkeys(NAMES, 1_000_000), source="test")
BUDGET = Budget(tokens=1_000_000)
OBJECTIVE = {f"t{j}": float(s) for j, s in enumerate(SHARES)}


def observe(X: np.ndarray, sd: float = 0.0, seed: int = 0, start: int = 0) -> Observations:
    Y = TRUTH.loss(np.maximum(X, 1e-3)) + sd * np.random.default_rng(seed).normal(size=(len(X), 4))
    return Observations.from_records(
        [{"run": f"r{start + i}", "schedule": dict(zip(NAMES, row))} for i, row in enumerate(X)],
        [
            {"run": f"r{start + i}", "target": f"t{j}", "value": float(v)}
            for i, r in enumerate(Y)
            for j, v in enumerate(r)
        ],
    )


def matrix(schedules) -> np.ndarray:
    return np.array([s.mixture.array(NAMES) for s in schedules])


def fast() -> GaussianProcess:
    return GaussianProcess(members=("bc/log",), iterations=10)


def regret(x: np.ndarray) -> float:
    def value(r):
        return float((TRUTH.loss(np.maximum(r, 1e-3)[None]) @ SHARES)[0])

    return value(np.asarray(x)) - value(TRUTH.optimum(SHARES))


def test_sequential_runs_close_in_on_the_known_optimum():
    first = matrix(propose(CORPUS, BUDGET, 12, seed=0))
    seen = observe(first, 0.005)
    before = plan(CORPUS, BUDGET, 6, seen, objective=OBJECTIVE, law=fast(), worlds=64, candidates=150)
    batch = matrix(before.schedules)
    assert len(batch) == 6 and Polytope.of(CORPUS, BUDGET).contains(batch).all()
    near = min(regret(x) for x in batch)
    assert near < 0.5 * min(regret(x) for x in first)  # it goes where the optimum is
    seen = Observations.concat([seen, observe(batch, 0.005, 1, 12)])
    after = plan(CORPUS, BUDGET, 6, seen, objective=OBJECTIVE, law=fast(), worlds=64, candidates=150)
    assert regret(after.best.array(NAMES)) < 0.02
    assert after.worth.regret < before.worth.regret
    again = plan(CORPUS, BUDGET, 6, seen, objective=OBJECTIVE, law=fast(), worlds=64, candidates=150)
    assert again.schedules == after.schedules and again.worth == after.worth


def test_sequential_respects_a_tight_budget_and_parametric_laws():
    tight = Budget(tokens=4_000_000, max_epochs=1.2)
    seen = observe(matrix(propose(CORPUS, tight, 14, seed=0)), 0.01)
    found = plan(CORPUS, tight, 4, seen, objective=OBJECTIVE, law=LogLinear(ridge=1e-3), worlds=16, candidates=60)
    assert Polytope.of(CORPUS, tight).contains(matrix(found.schedules)).all()


def test_worth_in_the_users_words():
    worth = Worth(runs=8, gain=0.009, gain_sd=0.006, regret=0.015, objective=3.0)
    assert str(worth).startswith("8 more runs are worth 0.30% \u00b1 0.20% of loss")
    assert not worth.stop(0.001) and worth.stop(0.005)


def test_price_of_a_batch_against_the_closed_form():
    """Today's mixture known exactly, another N(0, 1) better or worse: one exact run of that is worth E max(z, 0)."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal(20_000)
    z = (z - z.mean()) / z.std()
    F = np.column_stack([np.zeros_like(z), 1e-9 - z])
    exact = 1 / np.sqrt(2 * np.pi)
    assert _price(F, [1], 0, 0.0, rng).gain == pytest.approx(exact, rel=0.02)
    noisy = _price(F, [1], 0, 1.0, rng).gain  # noise as large as the spread leaves 1/sqrt(2) of it
    assert noisy == pytest.approx(exact / np.sqrt(2), rel=0.03)
    assert _price(F, [0], 0, 0.1, rng).gain == pytest.approx(0.0, abs=0.03)


def test_a_batch_asks_where_winners_may_be_and_not_twice():
    """Mixtures 1 and 2 move together and may win, 3 may win on its own, 4 is uncertain but never wins."""
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((3, 4000))
    F = np.column_stack([np.zeros(4000), 0.3 + a, 0.3 + a + 0.01 * b, 0.5 + b, 30 + 5 * c])
    chosen = _batch(F, 0, np.ones(5, dtype=bool), 0.05, 2, np.eye(5))
    assert 4 not in chosen and 3 in chosen and len({1, 2} & set(chosen)) == 1


def test_a_batch_holds_no_near_copies():
    """The second best lies next to the best: it waits for the next round."""
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((3, 4000))
    F = np.column_stack([np.zeros(4000), 0.3 + a, 0.3 + b, 0.4 + c])
    pool = np.array([[0.5, 0.5], [0.2, 0.8], [0.205, 0.795], [0.9, 0.1]])
    assert set(_batch(F, 0, np.array([False, True, True, True]), 0.05, 2, pool)) in ({1, 3}, {2, 3})


def test_flat_worlds_say_stop():
    first = matrix(propose(CORPUS, BUDGET, 12, seed=0))
    flat = Observations.from_records(
        [{"run": f"r{i}", "schedule": dict(zip(NAMES, row))} for i, row in enumerate(first)],
        [{"run": f"r{i}", "target": "t0", "value": 3.0 + 1e-7 * i} for i in range(12)],
    )
    with pytest.warns(MixlawWarning, match="flat"):
        found = plan(CORPUS, BUDGET, 2, flat, law=fast(), worlds=16, candidates=40)
    assert found.worth.stop(0.001)


def test_bad_objectives():
    seen = observe(matrix(propose(CORPUS, BUDGET, 10)))
    with pytest.raises(ConfigError, match="Did you mean 't0'"):
        plan(CORPUS, BUDGET, 2, seen, objective={"t00": 1.0})
    with pytest.raises(ConfigError, match="non-negative"):
        plan(CORPUS, BUDGET, 2, seen, objective={"t0": -1.0})
    with pytest.raises(ConfigError, match="no target"):
        objective_weights({"t0": 0.0}, ["t0"])
    with pytest.raises(ConfigError, match="worlds"):
        plan(CORPUS, BUDGET, 2, seen, worlds=2)


def test_posterior_draws_have_the_posteriors_mean_and_spread():
    X = matrix(propose(CORPUS, BUDGET, 20, seed=2))
    Y = TRUTH.loss(np.maximum(X, 1e-3))[:, :2]
    law = GaussianProcess(members=("bc/log",), iterations=15).fit(X, Y)
    new = np.random.default_rng(0).dirichlet(np.full(4, 2.0), 15)
    draws = law.sample(new, 3000, np.random.default_rng(1))
    sd = law.scale(new)
    assert np.abs(np.median(draws, axis=0) - law.predict(new)).max() < 0.3 * sd.max() + 1e-3
    assert (draws.std(axis=0) < 1.3 * sd + 1e-6).all()  # sd of a new run holds noise on top
    at_runs = law.sample(X[:5], 500, np.random.default_rng(1))
    assert (at_runs.std(axis=0) / Y[:5]).mean() < (draws.std(axis=0) / law.predict(new)).mean()


def test_an_objectives_worlds_and_noise_are_as_wide_as_its_held_out_error():
    """Targets of one run share their noise: drawn one by one they average out in an objective, and in truth do not."""
    rng = np.random.default_rng(0)
    X = rng.dirichlet(np.ones(4), 360)
    noise = rng.standard_normal((360, 8)) @ np.linalg.cholesky(0.4 * np.eye(8) + 0.6).T
    slopes = np.random.default_rng(1).uniform(0, 0.4, (4, 8))
    Y = 3 - np.log(X + 0.05) @ slopes + 0.05 * noise
    law = GaussianProcess(members=("bc/log",), iterations=10).fit(X[:60], Y[:60])
    draws = law.sample(X[60:], 64, np.random.default_rng(1))
    for w in (np.full(8, 1 / 8), np.eye(8)[0], np.eye(8)[:3].mean(axis=0)):
        expected = np.sqrt((draws @ w).var(axis=0).mean() + law.residual_sd_of(w) ** 2)
        found = np.sqrt((((law.predict(X[60:]) - Y[60:]) @ w) ** 2).mean())
        assert found / expected == pytest.approx(1, abs=0.25), w  # 1.9 for the first where targets err on their own
    shared = np.corrcoef(((draws - draws.mean(axis=0))[:, 0]).T)
    assert 0.3 < (shared.sum() - 8) / 56 < 0.85  # in the worlds as well


def test_bootstrap_worlds_of_a_parametric_law():
    rng = np.random.default_rng(0)
    X = rng.dirichlet(np.ones(4), 60)
    y = 2 - 0.3 * np.log(X[:, 0] + 0.02) + 0.02 * rng.normal(size=60)
    law = LogLinear(ridge=1e-4).fit(X, y)
    draws = law.sample(X[:8], 40, rng)
    assert draws.shape == (40, 8, 1)
    assert np.abs(draws.mean(axis=0)[:, 0] - law.predict(X[:8])).max() < 0.03
    assert 0.0005 < draws.std(axis=0).mean() < 0.02
    with pytest.raises(DataError, match="rows the law was fitted on"):
        Law.from_json(law.to_json()).sample(X, 4, rng)


def test_minimise_finds_the_known_optimum_of_a_law():
    class Exact(LogLinear):
        def predict(self, X):
            return TRUTH.loss(np.maximum(X, 1e-6))

        def gradient(self, X):
            slope = np.zeros((len(X), 4, 4))
            b, g = TRUTH.parameters["b"], TRUTH.parameters["g"]
            for j in range(4):
                slope[:, j, j] = -g[j] * b[j] * np.maximum(X[:, j], 1e-6) ** (-g[j] - 1)
            return slope

    x, value = minimise(Exact(), Polytope.of(CORPUS, BUDGET), SHARES, np.random.default_rng(0), np.full((1, 4), 0.25))
    assert np.abs(x - TRUTH.optimum(SHARES)).max() < 0.01
    assert value == pytest.approx(float(TRUTH.loss(TRUTH.optimum(SHARES)[None])[0] @ SHARES), abs=1e-5)


def test_mutations_stay_feasible():
    tight = Polytope.of(CORPUS, Budget(tokens=4_000_000, max_epochs=1.1, floors={"domain0": 0.24}))
    X = tight.sample(20, np.random.default_rng(0))
    for step in (0.5, 0.05):
        assert tight.contains(mutate(X, tight, np.random.default_rng(1), 5, step)).all()


def test_replicates_measure_noise():
    X = np.repeat(np.eye(3), 2, axis=0)
    value = np.array([1.0, 1.2, 5.0, 5.2, 2.0, 2.0])
    assert replicate_sd(X, value) == pytest.approx(np.sqrt((0.02 + 0.02) / 3))
    assert replicate_sd(np.eye(3), value[:3]) is None


# ---- power -------------------------------------------------------------------------------------------
TOGETHER = 0.2 * np.eye(4) + 0.8  # targets of one run err together


def straight(X: np.ndarray) -> np.ndarray:
    """Four targets (n, 4) linear in the logarithms: a truth for which the law's form is right."""
    slopes = np.array([[0.5, 0.1, 0.0, 0.2], [0.1, 0.5, 0.1, 0.1], [0.2, 0.0, 0.5, 0.1], [0.1, 0.1, 0.1, 0.5]])
    return 3 - np.log(X + 0.02) @ slopes.T / 3


class Straight(Law):
    """Least squares on the logarithms: fitted at once, so that many studies can be simulated and realised."""

    def _fit(self, X, Y, sample_weight):
        root = np.sqrt(sample_weight)[:, None]
        self.coefficients_ = np.linalg.lstsq(root * self._columns(X), root * Y, rcond=None)[0]

    def _predict(self, X):
        return self._columns(X) @ self.coefficients_

    def predict(self, X):
        return self._predict(np.asarray(X, dtype=float))

    def gradient(self, X):
        return np.einsum("kt,nk->ntk", self.coefficients_[1:], 1 / (X + 0.02))

    @staticmethod
    def _columns(X):
        return np.column_stack([np.ones(len(X)), np.log(X + 0.02)])


def test_power_from_a_pilot_predicts_the_regret_realised():
    """Predicted from a pilot what 12 and 32 runs bring, realised by doing it; targets of a run share its noise."""
    law, sd, num = Straight(), 0.1, (12, 32)
    rng = np.random.default_rng(0)

    def observed(X: np.ndarray) -> np.ndarray:
        return straight(X) + sd * rng.standard_normal((len(X), 4)) @ np.linalg.cholesky(TOGETHER).T

    X = matrix(propose(CORPUS, BUDGET, 300, seed=51))
    pilot = Observations.from_records(
        [{"run": f"r{i}", "schedule": dict(zip(NAMES, row))} for i, row in enumerate(X)],
        [{"run": f"r{i}", "target": f"t{j}", "value": v} for i, r in enumerate(observed(X)) for j, v in enumerate(r)],
    )
    pool = np.random.default_rng(9).dirichlet(np.full(4, 3.0), 200)
    found = power_analysis(
        CORPUS, BUDGET, num, pilot=pilot, objective=OBJECTIVE, law=law, fit=law, noise=dict.fromkeys(OBJECTIVE, sd),
        decisions=[Mixture.from_array(NAMES, x) for x in pool], worlds=48,
    )  # fmt: skip
    realised = np.empty((80, 2))
    known = sd * float(np.sqrt(SHARES @ TOGETHER @ SHARES))
    for study in range(80):
        X = rng.permutation(matrix(propose(CORPUS, BUDGET, 32, seed=100 + study)))
        Y = observed(X)
        for c, n in enumerate(num):
            options = np.vstack([pool, X[:n]])
            fitted = Straight().fit(X[:n], Y[:n])
            picked = choose_among(fitted, X[:n], Y[:n], SHARES, options, rng, known, 16).index
            value = straight(options) @ SHARES
            realised[study, c] = max(value[picked] - value[:200].min(), 0)
    real, guess = realised.mean(axis=0), np.array([p.regret for p in found.curve()])
    assert guess[1] < 0.6 * guess[0]
    assert (guess / real > 0.6).all() and (guess / real < 1.6).all(), (guess, real)  # noise drawn per target: below .4
    natural = float(straight(np.full((1, 4), 0.25))[0] @ SHARES - (straight(pool) @ SHARES).min())
    assert found.spread == pytest.approx(natural, rel=0.3) and "natural" in str(found)
    assert all(p.low <= p.regret <= p.high for p in found.points)


def test_a_prior_law_over_domains_in_another_order_is_refused():
    """Also where the names look like those of columns without names."""
    X = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    corpus = Corpus.declared(dict.fromkeys(("x1", "x0", "x2"), 1_000_000), source="test")
    options = {"noise": 0.05, "fit": LogLinear(ridge=1e-3), "worlds": 2, "counts": (8,)}
    for names in (("x0", "x1", "x2"), ("xml", "x", "xhtml")):
        prior = LogLinear(ridge=1e-3).fit(dict(zip(names, X.T)), {"t0": X[:, 0]})
        with pytest.raises(ConfigError, match="in order"):
            power_analysis(corpus, BUDGET, law=prior, **options)
    plain = Corpus.declared(dict.fromkeys(("a", "b", "c"), 1_000_000), source="test")
    assert power_analysis(plain, BUDGET, law=LogLinear(ridge=1e-3).fit(X, X[:, 0]), **options).points


def test_power_of_a_prior_law_and_of_sizes():
    rng = np.random.default_rng(0)
    X = rng.dirichlet(np.ones(4), 60)
    prior = LogLinear(ridge=1e-4).fit(
        dict(zip(NAMES, X.T)), {"t0": 3 - 0.3 * np.log(X[:, 0] + 0.02) - 0.1 * np.log(X[:, 1] + 0.02)}
    )
    sizes = (Size("small", cost=1, noise=1.0, mismatch=0.3), Size("large", cost=10))
    fit = LogLinear(ridge=1e-3)
    found = power_analysis(CORPUS, BUDGET, (8, 24), law=prior, noise=0.05, sizes=sizes, fit=fit, worlds=3)
    small, large = found.curve("small"), found.curve("large")
    assert large[-1].regret < small[-1].regret  # the small size ranks mixtures differently, however many one runs
    assert large[0].cost == 80 and len(found.points) == 4
    with pytest.raises(ConfigError, match="noise"):
        power_analysis(CORPUS, BUDGET, law=prior)
    with pytest.raises(ConfigError, match="pilot"):
        power_analysis(CORPUS, BUDGET)
    with pytest.raises(ConfigError, match="cost"):
        Size(cost=0)


def test_the_interval_holds_what_differs_between_worlds_and_not_between_designs():
    rng = np.random.default_rng(0)
    same = rng.gamma(1.0, 1.0, (4000, 2, 3))  # every world alike: all the spread is between designs
    apart = np.repeat(rng.gamma(1.0, 1.0, (4000, 1, 3)), 2, axis=1)  # every design alike
    half = np.sqrt(0.5) * (rng.standard_normal((4000, 1, 3)) + rng.standard_normal((4000, 2, 3)))
    assert shared_variance(same) < 0.05 and shared_variance(apart) > 0.95
    assert shared_variance(half) == pytest.approx(0.5, abs=0.03)
    few = [shared_variance(r.reshape(4, 2, 1)) for r in rng.gamma(1.0, 1.0, (50, 8))]
    assert min(few) > 0.1 and max(few) < 0.9  # four worlds cannot tell, and do not say that they could
    alone, between = (Point.of("x", 8, 8, r[:, :, 0], shared_variance(r)) for r in (same, apart))
    assert alone.high - alone.low < 0.6
    assert (between.low, between.high) == pytest.approx(tuple(np.quantile(apart[:, 0, 0], [0.1, 0.9])), rel=0.1)
    none = Point.of("x", 8, 8, np.zeros((4, 2)), shared_variance(np.zeros((4, 2, 3))))
    assert (none.low, none.high, none.regret) == (0, 0, 0)


def test_intervals_hold_the_regret_of_worlds_like_the_simulated_ones():
    """Also where worlds are few and studies differ more within a world than between them."""
    rng = np.random.default_rng(1)
    held = []
    for _ in range(400):
        level = rng.gamma(4.0, 0.25, 13)  # mean regret in twelve worlds and in the one we live in
        regrets = level[:12, None, None] * rng.gamma(0.5, 2.0, (12, 2, 3))
        points = [Point.of("x", 8, 8, regrets[:, :, c], shared_variance(regrets)) for c in range(3)]
        held += [p.low <= level[12] <= p.high for p in points]
    assert 0.75 < np.mean(held) < 0.93


def test_what_a_pilot_leaves_unexplained_beyond_the_noise_belongs_to_the_mixtures(monkeypatch):
    """Runs that repeat exactly: where replicates say so, studies are told of a rougher world, and can lose more."""
    rng = np.random.default_rng(2)
    X = rng.dirichlet(np.ones(4), 40)
    rough = straight(X)[:, :1] + 0.1 * rng.standard_normal((40, 1))
    law = GaussianProcess(members=("bc/logc",), iterations=10).fit(dict(zip(NAMES, X.T)), {"t0": rough[:, 0]})
    new = rng.dirichlet(np.ones(4), 60)

    def spread(share: float) -> float:
        return float(law.sample(new, 64, np.random.default_rng(0), np.array([share])).var(axis=0).mean() ** 0.5)

    smooth, whole = spread(0.0), spread(1.0)
    assert np.hypot(smooth, law.seed_noise()[0]) == pytest.approx(whole, rel=0.3) and whole > 1.3 * smooth
    polytope = Polytope.of(CORPUS, BUDGET)
    common = (CORPUS, BUDGET, (12,), Size(), "dirichlet", Straight(), 8, 0, new)
    told = [
        simulate(Truth(law, (0,), np.ones(1), np.array([sd]), np.eye(1), True), polytope, *common)[1]
        for sd in (0.0, float(law.seed_noise()[0]))
    ]
    assert told[0] > told[1]  # a best of rough mixtures lies further below the natural one


def test_runs_for_a_regret_are_read_off_the_curve():
    points = [Point("a", n, n, 1.0 / n, 0, 0, 0, 0) for n in (10, 40, 160)]
    points += [Point("b", n, 5 * n, 0.5 / n, 0, 0, 0, 0) for n in (10, 40, 160)]
    found = Power(tuple(points), 1.0, 5)
    assert found.runs_for(1 / 20) == 20 and found.runs_for(1.0) == 10 and found.runs_for(1e-4) is None
    assert found.cheapest(1 / 20) == ("a", 20, 20.0)
    wide = Power(tuple(Point("a", n, n, 1 / n, 0, 0.5 / n, 2 / n, 0) for n in (10, 40, 160)), 1.0, 5)
    assert wide.runs_interval(1 / 40) == (20, 80) and wide.runs_interval(1 / 100) == (50, None)


def test_noise_and_plan_meet_on_replicates():
    X = np.repeat(matrix(propose(CORPUS, BUDGET, 4)), 3, axis=0)
    sd = noise(observe(X, 0.05))["t0"]
    assert sd.dof == 8 and 0.02 < sd.sd < 0.1

"""Joint and Nested: known truths, brute-force likelihood, the public records; rank transfer between sizes."""

import csv
import functools
import warnings
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.optimize import minimize

from mixlaw.data.learning_rate import Constant, Cosine, WarmupStableDecay
from mixlaw.errors import ConfigError, DataError, MixlawWarning, NotIdentifiableError
from mixlaw.laws import Auto, Joint, LogLinear, Nested, rank_transfer
from mixlaw.laws.core.base import Law
from mixlaw.laws.fit.late_fall import late_fall
from mixlaw.laws.fit.power_curves import power_curves
from mixlaw.laws.fit.random_effects import MixedModel
from mixlaw.laws.fit.run_noise import run_noise

from shared import experiments

COSINE = Cosine(total=20_000, warmup=400, final=0.1)
BATCH = 1e6
SIZES = np.array([1e7, 3e7, 1e8, 3e8])
STEPS = np.array([3_000.0, 4_000, 5_000, 6_000, 8_000, 10_000])


def world_loss(r, params, step, schedule=COSINE):
    """Mixture moves the level and the data term; annealing gains .05 nats at full decay."""
    level = 2.0 + 0.5 * np.exp(-2 * r)
    data = (0.9 + 0.3 * r) * (schedule.area(step) / 5e3) ** -0.4
    return level + 0.6 * (params / 5e7) ** -0.15 + data - 0.05 * schedule.gap(step)


def simulated(noise=0.0, mixtures=10, sizes=SIZES, steps=STEPS, seed=0):
    r, n, s = np.meshgrid(np.linspace(0.05, 0.95, mixtures), sizes, steps, indexing="ij")
    r, n, s = r.ravel(), n.ravel(), s.ravel()
    X = {"web": r, "code": 1 - r, "params": n, "tokens": s * BATCH}
    return X, world_loss(r, n, s) + noise * np.random.default_rng(seed).normal(size=len(r))


def joint(**options) -> Joint:
    options = {"schedule": COSINE, "tokens_per_step": BATCH, "mixture_law": LogLinear()} | options
    return Joint(**options)


TARGET = {"web": [0.05, 0.55], "code": [0.95, 0.45], "params": [1e9, 1e9], "tokens": [2e10, 2e10]}
TRUTH = world_loss(np.array([0.05, 0.55]), np.array([1e9, 1e9]), np.array([2e4, 2e4]))


@functools.cache
def fitted() -> Joint:
    X, y = simulated(noise=0.002)
    return joint().fit(X, y)


# ---- the mixed model -------------------------------------------------------------------------------------
def test_block_elimination_against_the_dense_likelihood():
    """-2 log likelihood (noise profiled out) and coefficients, by building the full covariance matrix."""
    rng = np.random.default_rng(0)
    M, C, p, R, q = 6, 9, 3, 2, 4
    phi = np.column_stack([np.ones(C), rng.normal(size=(C, p - 1))])
    Z, weight = rng.normal(size=(C, q)), (rng.random((M, C)) < 0.8).astype(float)
    Y = rng.normal(size=(M, C)) + phi @ [1.0, 2.0, -1.0]
    Sigma, ratio = np.array([[2.0, 0.3], [0.3, 0.5]]), 0.7
    model = MixedModel(Y, weight, Z, R)
    objective, coef, effects, *_ = model._solve(model._grams(phi[None]), Sigma, ratio, True)

    rows, cells = np.nonzero(weight)
    F, Zr, y = phi[cells], Z[cells], Y[rows, cells]
    same = rows[:, None] == rows
    V = np.eye(len(y)) + same * (F[:, :R] @ Sigma @ F[:, :R].T) + ratio * Zr @ Zr.T
    inverse = np.linalg.inv(V)
    beta = np.linalg.solve(F.T @ inverse @ F, F.T @ inverse @ y)
    residual = y - F @ beta
    quad = residual @ inverse @ residual
    dense = len(y) * np.log(quad / len(y)) + np.linalg.slogdet(V)[1]
    assert objective[0] == pytest.approx(dense, abs=1e-8)
    np.testing.assert_allclose(coef[0, :p], beta, atol=1e-8)
    first = rows == 0
    blup = Sigma @ F[first][:, :R].T @ (inverse @ residual)[first]
    np.testing.assert_allclose(effects[0, 0], blup, atol=1e-8)


def test_em_finds_the_likelihood_maximum():
    rng = np.random.default_rng(1)
    M, C = 40, 8
    phi = np.column_stack([np.ones(C), np.linspace(-1, 1, C)])
    u = rng.normal(size=(M, 2)) @ np.diag([0.5, 0.2])
    Y = (1 + u[:, :1]) + (2 + u[:, 1:]) * phi[:, 1] + 0.1 * rng.normal(size=(M, C))
    model = MixedModel(Y, np.ones((M, C)), np.zeros((C, 0)), 2)
    fit = model.fit(
        lambda theta: np.broadcast_to(phi, (len(theta), C, 2)), np.zeros((1, 1)), [0.0], [0.0], em_rounds=400
    )

    def objective(z):
        L = np.array([[np.exp(z[0]), 0], [z[1], np.exp(z[2])]])
        return model._solve(model._grams(phi[None]), L @ L.T, 1.0)[0][0]

    best = minimize(objective, [1.5, 0.0, 0.7], method="Nelder-Mead", options={"maxiter": 2000, "fatol": 1e-9})
    assert fit.objective == pytest.approx(best.fun, abs=0.02)
    np.testing.assert_allclose(fit.beta, Y.mean(0) @ np.linalg.pinv(phi).T, atol=1e-6)


def test_power_curves_against_their_truth():
    x, rng = np.array([1e7, 3e7, 1e8, 3e8]), np.random.default_rng(0)
    E, A = rng.uniform(2, 3, 7), rng.uniform(50, 90, 7)
    exponent, coefficients, noise = power_curves(x, E[:, None] + A[:, None] * x**-0.27, np.ones((7, 4)))
    assert exponent == pytest.approx(0.27, abs=1e-4)
    np.testing.assert_allclose(coefficients[:, 0], E, atol=1e-3)
    assert noise < 1e-9


# ---- known truths ------------------------------------------------------------------------------------------
def test_joint_extrapolates_a_known_world():
    law = fitted()
    np.testing.assert_allclose(law.predict(TARGET), TRUTH, atol=0.03)
    low, high = law.predict_interval(TARGET)
    assert (low < TRUTH).all() and (high > TRUTH).all()
    assert (high - low < 0.3).all()


def test_nested_extrapolates_a_known_world():
    X, y = simulated(noise=0.001)
    law = Nested(schedule=COSINE, tokens_per_step=BATCH, mixture_law=LogLinear()).fit(X, y)
    # Nested has no annealing term: the decay between the observed steps and the target is outside its form
    np.testing.assert_allclose(law.predict(TARGET), TRUTH, atol=0.08)
    low, high = law.predict_interval(TARGET)
    assert (high > low).all() and np.isfinite(low).all()


def test_the_schedule_matters():
    X, y = simulated(noise=0.001)
    aware = joint(backtest=False).fit(X, y).predict(TARGET)
    blind = Joint(tokens_per_step=BATCH, first_step=2_000, backtest=False, mixture_law=LogLinear()).fit(X, y)
    assert np.abs(aware - TRUTH).max() < np.abs(blind.predict(TARGET) - TRUTH).max()


def test_targets_have_their_own_exponents_and_are_aggregated():
    X, y = simulated(noise=0.001, mixtures=6)
    Y = {"pile": y, "code": y + 0.3 * X["web"]}
    law = joint(target_weights={"pile": 0.7, "code": 0.3}, backtest=False).fit(X, Y)
    predicted = law.predict(TARGET)
    assert predicted.shape == (2, 2)
    together = joint(backtest=False).fit(X, 0.7 * Y["pile"] + 0.3 * Y["code"]).predict(TARGET)
    np.testing.assert_allclose(predicted @ [0.7, 0.3], together, atol=5e-3)
    with pytest.raises(ConfigError, match="Did you mean 'code'"):
        joint(target_weights={"cod": 1.0}).fit(X, Y)


def test_noise_of_a_run_is_told_from_noise_of_an_evaluation():
    """Residuals of 40 mixtures at 3 sizes and 6 steps, with what a run's evaluations share drawn at .003."""
    rng = np.random.default_rng(0)
    params = np.repeat([1e7, 3e7, 1e8], 6)
    residual = 0.001 * rng.standard_normal((40, 18)) + np.repeat(0.003 * rng.standard_normal((40, 3)), 6, axis=1)
    seen = rng.random((40, 18)) < 0.7
    fit = SimpleNamespace(beta=np.zeros(3), theta=np.zeros(3), noise=1e-5)
    found = run_noise(residual * seen, seen, params, fit)
    assert found["run"] ** 0.5 == pytest.approx(0.003, rel=0.2)
    assert found["within"] ** 0.5 == pytest.approx(0.001, rel=0.1)
    assert found["looks"] == pytest.approx(4.2, abs=0.3)
    once = np.arange(18) % 6 == 0  # one evaluation of each run: nothing can be told apart
    assert run_noise(residual * once, seen & once, params, fit) == {"run": 0.0, "within": 1e-5, "looks": 1.0}


def test_what_runs_share_widens_the_interval():
    X, y = simulated(noise=0.001, mixtures=6)
    calm = joint(backtest=False).fit(X, y)
    key = np.column_stack([X["web"], np.log(X["params"])])
    _, run = np.unique(key, axis=0, return_inverse=True)
    shaken = joint(backtest=False).fit(
        X, y + 0.004 * np.random.default_rng(1).standard_normal(run.max() + 1)[run.ravel()]
    )
    found = [np.sqrt(np.mean([m["run"] for m in law.members_[0] if not m["log"]])) for law in (calm, shaken)]
    assert found[0] < 0.5 * found[1]
    near = {k: v[-20:] for k, v in X.items()}
    wide = np.subtract(*shaken.predict_interval(near)[::-1])
    for m in shaken.members_[0]:
        m["run"] = 0.0
    assert (np.subtract(*shaken.predict_interval(near)[::-1]) < wide).all()


def test_new_mixtures_go_through_the_mixture_law():
    law = fitted()
    there = law.at(1e9, tokens=2e10)
    assert isinstance(there, LogLinear)
    new = {"web": [0.33], "code": [0.67], "params": [1e9], "tokens": [2e10]}
    expected = there.predict({"web": [0.33], "code": [0.67]})
    np.testing.assert_allclose(law.predict(new), expected)
    assert law.predict(new)[0] == pytest.approx(world_loss(np.array([0.33]), 1e9, 2e4)[0], abs=0.04)
    wide = np.subtract(*law.predict_interval(new)[::-1])
    known = np.subtract(*law.predict_interval({k: v[:1] for k, v in TARGET.items()})[::-1])
    assert wide[0] > known[0] * 0.5
    slope = law.gradient(new)
    assert slope.shape == (1, 1, 4) and np.isfinite(slope).all()
    assert slope[0, 0, 2] < 0 and slope[0, 0, 3] < 0  # more parameters or tokens: less loss


def test_row_and_column_order_do_not_matter():
    X, y = simulated(noise=0.002, mixtures=5)
    order = np.random.default_rng(0).permutation(len(y))
    first = joint(backtest=False).fit(X, y).predict(TARGET)
    shuffled = {k: X[k][order] for k in ("tokens", "code", "params", "web")}
    np.testing.assert_allclose(joint(backtest=False).fit(shuffled, y[order]).predict(TARGET), first, atol=1e-6)


@pytest.mark.parametrize("kind", [Joint, Nested])
def test_json_round_trip(kind):
    X, y = simulated(noise=0.002, mixtures=5)
    law = kind(schedule=COSINE, tokens_per_step=BATCH, mixture_law=LogLinear()).fit(X, y)
    back = Law.from_json(law.to_json())
    np.testing.assert_allclose(back.predict(TARGET), law.predict(TARGET), atol=1e-12)
    assert law.schedule is COSINE  # writing does not change the law
    again = back.fit(X, y)
    np.testing.assert_allclose(again.predict(TARGET), law.predict(TARGET), atol=1e-9)
    assert kind.__name__ in law.summary()


def test_a_step_column_is_used_and_can_be_left_out_later():
    X, y = simulated(noise=0.002, mixtures=5)
    law = joint(backtest=False).fit(X | {"step": X["tokens"] / BATCH}, y)
    plain = joint(backtest=False).fit(X, y)
    np.testing.assert_allclose(law.predict(TARGET), plain.predict(TARGET), atol=1e-6)
    with pytest.raises(DataError, match="lacks"):
        Joint(COSINE, backtest=False).fit(X | {"step": X["tokens"] / BATCH}, y).predict(TARGET)


def test_the_first_fast_drop_is_left_out_where_no_schedule_is_known():
    steps = np.array([200.0, 400, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 8_000, 10_000])
    X, y = simulated(noise=0.001, mixtures=5, steps=steps)
    y = y + 2.0 * np.exp(-X["tokens"] / (300 * BATCH))  # before the power law sets in
    law = Joint(mixture_law=LogLinear(), backtest=False).fit(X, y)
    assert law.start_ > 0 and law.starts_tried_[law.start_] == min(law.starts_tried_.values())
    # here the annealing gain lies outside what tokens alone can say
    np.testing.assert_allclose(law.predict(TARGET), TRUTH, atol=0.1)
    assert np.isfinite(Law.from_json(law.to_json()).predict(TARGET)).all()


def test_predictions_say_how_far_they_reach():
    np.testing.assert_allclose(fitted().reach(TARGET), 1e9 * 2e4 / (3e8 * 1e4))


def test_backtests_are_reported():
    kinds = [b["hidden"] for b in fitted().backtest_]
    assert any(k.startswith("size") for k in kinds) and any(k.startswith("steps") for k in kinds)
    assert all(abs(b["bias"]) < 0.02 for b in fitted().backtest_)


def test_missing_values_are_left_out():
    X, y = simulated(noise=0.002, mixtures=6)
    y[::7] = np.nan
    assert np.isfinite(joint(backtest=False).fit(X, y).predict(TARGET)).all()


# ---- refusals --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [Joint, Nested])
def test_fewer_than_three_sizes_are_refused(kind):
    X, y = simulated(sizes=SIZES[:2])
    with pytest.raises(NotIdentifiableError, match="3 different model sizes"):
        kind(schedule=COSINE, tokens_per_step=BATCH).fit(X, y)


def test_bad_input_is_refused_in_words():
    X, y = simulated()
    with pytest.raises(DataError, match="millions or billions"):
        joint().fit(X | {"params": X["params"] / 1e6}, y)
    with pytest.raises(DataError, match="0, 1"):
        joint().fit(X | {"web": X["web"] * 100}, y)
    with pytest.raises(DataError, match="'params' and 'tokens'"):
        joint().fit({"web": X["web"], "code": X["code"], "N": X["params"], "tokens": X["tokens"]}, y)
    with pytest.raises(NotIdentifiableError, match="token counts"):
        joint().fit(X | {"tokens": np.full(len(y), 5e9)}, y)
    with pytest.raises(ConfigError, match="tokens_per_step"):
        Joint(schedule=COSINE).fit(X, y)
    with pytest.raises(ConfigError, match="Did you mean 'power'"):
        joint(forms=("powr",)).fit(X, y)
    with pytest.raises(DataError, match="before first_step"):
        joint(first_step=1e6).fit(X, y)
    with pytest.raises(ConfigError, match="tokens= or step="):
        fitted().at(1e9)


def test_a_mixture_that_does_not_sum_to_one_is_reported():
    X, y = simulated(mixtures=5)
    X["web"] = np.where(X["web"] == X["web"][0], X["web"] + 0.02, X["web"])
    with pytest.warns(MixlawWarning, match="do not sum to 1"):
        joint(backtest=False).fit(X, y)


# ---- the records of Data Mixing Laws -------------------------------------------------------------------
@functools.cache
def redpajama():
    with experiments("dml_validation_weights.csv").open() as file:
        weight = {r["validation_domain"]: float(r["weight"]) for r in csv.DictReader(file)}
    table = pq.read_table(experiments("dml_redpajama.parquet")).to_pydict()
    domains = [c for c in table if c.startswith("weight_")]
    rows: dict = {}
    for i, run in enumerate(table["run"]):
        key = (run, table["non_embedding_params"][i], table["step"][i])
        rows.setdefault(key, [i, 0.0, 0])
        rows[key][1] += weight[table["validation_domain"][i]] * table["loss"][i]
        rows[key][2] += 1
    full = sorted((k, v) for k, v in rows.items() if v[2] == len(weight))
    X = {d: np.array([table[d][v[0]] for _, v in full]) for d in domains}
    X |= {
        "params": np.array([float(k[1]) for k, _ in full]),
        "tokens": np.array([float(k[2]) * 1_048_576 for k, _ in full]),
    }
    return X, np.array([v[1] for _, v in full])


def test_the_best_small_mixture_is_fourth_at_410m():
    """The optimum published with these records (arXiv:2403.16952), of 20 mixtures at 70M to 410M, 30k steps."""
    X, y = redpajama()
    short = X["tokens"] <= 30_000 * 1_048_576
    found = rank_transfer({k: v[short] for k, v in X.items()}, y[short])
    assert found.ranks_of_best() == [1, 2, 2, 4]
    best = found.mixtures[int(np.argmin(found.losses[:, 0]))]
    np.testing.assert_allclose(best, [0.125, 0.25, 0.140625, 0.25, 0.09375, 0.125, 0.015625], atol=1e-6)
    np.testing.assert_allclose(found.losses.min(0), [3.5538, 3.2187, 3.0550, 2.9781], atol=1e-4)
    assert found.table[2]["rank_of_best"] == 4 and found.table[2]["regret"] == pytest.approx(0.0108, abs=2e-4)
    assert "1, 2, 2, 4 of 20" in str(found)


def test_410m_from_smaller_models():
    X, y = redpajama()
    big = X["params"] > 3e8
    law = Joint(Cosine(total=100_000, warmup=2_000, final=0.1), 1_048_576, backtest=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        law.fit({k: v[~big] for k, v in X.items()}, y[~big])
    there = {k: v[big] for k, v in X.items()}
    error = law.predict(there) - y[big]
    assert abs(error.mean()) < 5e-3
    assert np.abs(error).mean() < 12e-3
    low, high = law.predict_interval(there)
    assert 0.8 < ((low <= y[big]) & (y[big] <= high)).mean() <= 1


def test_rank_transfer_says_what_it_cannot_know():
    X, y = simulated(mixtures=5)
    one = X["params"] == SIZES[0]
    with pytest.raises(NotIdentifiableError, match="not known"):
        rank_transfer({k: v[one] for k, v in X.items()}, y[one])
    with pytest.raises(NotIdentifiableError, match="ranks need three"):
        few = X["web"] < 0.3
        rank_transfer({k: v[few] for k, v in X.items()}, y[few])
    with pytest.raises(DataError, match="rows"):
        rank_transfer(X, y[:-1])


# ---- no schedule given ---------------------------------------------------------------------------------
def blind_world(schedule, noise=0.002):
    """Ten evaluations along each of 5 x 4 runs of 20,000 steps, and their truth."""
    steps = np.arange(2_000, 20_001, 2_000.0)
    r, n, s = (v.ravel() for v in np.meshgrid(np.linspace(0.1, 0.9, 5), SIZES, steps, indexing="ij"))
    X = {"web": r, "code": 1 - r, "params": n, "tokens": s * BATCH}
    return X, world_loss(r, n, s, schedule) + noise * np.random.default_rng(0).normal(size=len(r))


@pytest.mark.parametrize(
    "schedule, side",
    [(WarmupStableDecay(total=20_000, warmup=400, decay=4_000), "below"), (COSINE, "above")],
)
def test_auto_says_that_a_rate_likely_decayed_and_widens(schedule, side):
    X, y = blind_world(schedule)
    with pytest.warns(MixlawWarning, match=f"No learning-rate schedule is known.*{side}.*rate likely changed.*Give it"):
        law = Auto().fit(X, y)
    assert any("Joint(schedule=" in note for note in law.notes)
    member = law.members_["joint"]
    later = {"web": [0.5, 0.5], "code": [0.5, 0.5], "params": [1e8, 1e8], "tokens": [4_000 * BATCH, 20_000 * BATCH]}
    wide = np.diff(law.predict_interval(later), axis=0)[0]
    bias, member.late_fall_ = member.late_fall_["bias"][0], None
    narrow = np.diff(law.predict_interval(later), axis=0)[0]
    assert wide[0] == pytest.approx(narrow[0]) and wide[1] > 2 * 1.6 * abs(bias)


def test_a_constant_rate_is_no_decay_and_a_known_schedule_is_not_asked_for():
    X, y = blind_world(Constant(warmup=100))
    with pytest.warns(MixlawWarning, match="no change of the rate is seen"):
        law = Joint(backtest=False, mixture_law=LogLinear()).fit(X, y)
    assert law.late_fall_ is not None and not law.late_fall_["likely"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", MixlawWarning)
        assert joint(backtest=False, schedule=Constant(warmup=100)).fit(X, y).late_fall_ is None


def test_few_rows_of_a_run_say_nothing_of_its_rate():
    X, y = blind_world(COSINE)
    few = np.isin(X["tokens"], np.array([4_000, 10_000, 20_000]) * BATCH)
    for law in (Joint(backtest=False, mixture_law=LogLinear()), Nested(backtest=False, mixture_law=LogLinear())):
        with pytest.warns(MixlawWarning, match="at most 3 rows of a run no decay can be looked for"):
            law.fit({k: v[few] for k, v in X.items()}, y[few])
        assert law.late_fall_ is None and any("of shorter runs" in note for note in law.notes)


@pytest.mark.parametrize("name, likely", [("constant_24000", False), ("wsdld_20000_24000", True)])
def test_decays_of_published_curves(name, likely):
    """Curves of 25M and 100M parameters under a constant rate and under one decayed in its last sixth."""
    table = pq.read_table(experiments("lr_schedule_curves.parquet")).to_pydict()
    rows = [i for i, s in enumerate(table["schedule"]) if s == name][::6]
    cells = np.array([(table["params"][i], table["step"][i]) for i in rows])
    found = late_fall(np.array([[table["loss"][i] for i in rows]]), np.ones((1, len(rows))), cells)
    assert found.likely == likely


def test_the_summary_counts_runs_and_names_an_exponent_at_its_bound():
    X, y = simulated(mixtures=3)
    law = joint(backtest=False).fit(X, y)
    assert law.summary().startswith("Joint: 72 evaluations of 12 runs (a mixture at a size)")
    # losses straight in ln(tokens): the exponents would go to 0
    straight = 3 + X["web"] - 0.1 * np.log(X["tokens"] / 1e9) - 0.1 * np.log(X["params"] / 1e7)
    flat = Joint(backtest=False, forms=("power",), mixture_law=LogLinear()).fit(X, straight)
    assert "exponent at its bound: " in flat.summary() and "converged" not in flat.summary()


# ---- what the rows leave open --------------------------------------------------------------------------------
def test_a_set_that_falls_faster_is_not_held_to_the_exponent_of_the_others():
    """A quarter of the sets falls with its own exponent: at ten times the steps its loss is predicted by that."""
    schedule = Constant()
    r, n, s = (v.ravel() for v in np.meshgrid([0.1, 0.3, 0.6, 0.9], SIZES[:3], STEPS, indexing="ij"))

    def losses(r, n, s):
        slow = 2 + 0.3 * r + 0.5 * (n / 3e7) ** -0.2 + 0.6 * (s / 5e3) ** -0.2
        fast = 1 + 0.3 * r + 0.5 * (n / 3e7) ** -0.2 + 0.6 * (s / 5e3) ** -0.9
        return {"slow 1": slow, "slow 2": slow + 0.1 * r, "slow 3": slow - 0.1, "fast": fast}

    X = {"web": r, "code": 1 - r, "params": n, "step": s}
    law = joint(schedule=schedule, tokens_per_step=None, backtest=False, first_step=0).fit(X, losses(r, n, s))
    at = np.array([0.1, 0.9]), np.full(2, 1e8), np.full(2, 1e5)
    predicted = law.predict({"web": at[0], "code": 1 - at[0], "params": at[1], "step": at[2]})
    np.testing.assert_allclose(predicted[:, 3], losses(*at)["fast"], atol=0.03)


@pytest.mark.slow
def test_rows_without_a_decay_leave_the_gain_of_one_open():
    """Rows of the first half of a cosine say little of its end: the interval must hold it whatever the gain."""
    early = STEPS[:4]  # at most 6,000 of 20,000 steps: the rate has fallen by a fifth
    r, n, s = (v.ravel() for v in np.meshgrid([0.1, 0.3, 0.6, 0.9], SIZES[:3], early, indexing="ij"))
    end = np.array([0.1, 0.9]), np.full(2, 1e8), np.full(2, 2e4)
    T = {"web": end[0], "code": 1 - end[0], "params": end[1], "tokens": end[2] * BATCH}
    inside = []
    for gain in (0.0, 0.05, 0.12):
        noise = 0.002 * np.random.default_rng(1).standard_normal(len(r))
        y = world_loss(r, n, s) + (0.05 - gain) * COSINE.gap(s) + noise
        law = joint(backtest=False).fit({"web": r, "code": 1 - r, "params": n, "tokens": s * BATCH}, y)
        low, high = law.predict_interval(T)
        truth = world_loss(*end) + (0.05 - gain) * COSINE.gap(end[2])
        inside += [*(low < truth) & (truth < high)]
    assert all(inside)
    assert {m["annealed"] for m in law.members_[0]} == {False, True}


def test_bits_and_nats_are_predicted_alike():
    X, y = simulated(noise=0.002, mixtures=4, sizes=SIZES[:3])
    nats = joint().fit(X, y)
    bits = joint().fit(X, y / np.log(2))
    np.testing.assert_allclose(bits.predict(TARGET) * np.log(2), nats.predict(TARGET), rtol=1e-5)
    for a, b in zip(bits.predict_interval(TARGET), nats.predict_interval(TARGET)):
        np.testing.assert_allclose(a * np.log(2), b, rtol=1e-3)


@pytest.mark.parametrize("kind", [Joint, Nested])
def test_a_longer_run_may_decay_where_no_schedule_is_known(kind):
    """Rows along runs at a constant rate; the run asked for is twice as long and decays at its end."""
    X, y = blind_world(Constant())
    with pytest.warns(MixlawWarning, match="longer than any here the intervals hold that"):
        law = kind(backtest=False, mixture_law=LogLinear()).fit(X, y)
    own = WarmupStableDecay(total=40_000, warmup=400, decay=8_000)
    r = np.array([0.1, 0.5, 0.9])
    n, s = np.full(3, 3e8), np.full(3, 4e4)
    low, high = law.predict_interval({"web": r, "code": 1 - r, "params": n, "tokens": s * BATCH})
    truth = world_loss(r, n, s, own)
    assert ((low < truth) & (truth < high)).all()


def test_sizes_and_lengths_that_move_together_leave_the_rest_open():
    r, n = (v.ravel() for v in np.meshgrid([0.1, 0.5, 0.9], [2e7, 1e8, 5e8, 2e9], indexing="ij"))

    def truth(r, n, d):
        return 1.8 + 0.3 * r + 480 * n**-0.35 + 2100 * d**-0.37

    y = truth(r, n, 20 * n) * (1 + 0.002 * np.random.default_rng(0).standard_normal(len(r)))
    X = {"web": r, "code": 1 - r, "params": n, "tokens": 20 * n}
    with pytest.warns(MixlawWarning, match="params and tokens move together"):
        law = Joint(mixture_law=LogLinear(), backtest=False).fit(X, y)
    for size, tokens in ((2e9, 4e9), (2e7, 4e11)):
        at = np.array([0.1, 0.5, 0.9]), np.full(3, size), np.full(3, tokens)
        low, high = law.predict_interval({"web": at[0], "code": 1 - at[0], "params": at[1], "tokens": at[2]})
        assert ((low < truth(*at)) & (truth(*at) < high)).all()


@pytest.mark.parametrize("kind", [Joint, Nested])
def test_the_difference_of_two_mixtures_is_known_as_well_as_their_runs(kind):
    """Runs whose losses have an error of 0.02 each: gaps between mixtures at a larger size are off by more than the
    law of the mixture, fitted to smooth predictions, can know."""
    X, y = simulated(mixtures=8, sizes=SIZES[:3], steps=STEPS[::2])
    run = np.unique(np.column_stack([X["web"], X["params"]]), axis=0, return_inverse=True)[1].ravel()
    y = y + 0.02 * np.random.default_rng(3).standard_normal(run.max() + 1)[run]
    law = kind(schedule=COSINE, tokens_per_step=BATCH, mixture_law=LogLinear(), backtest=False).fit(X, y)
    ends = np.array([[0.1, 0.9, 0, 0], [0.9, 0.1, 0, 0]])
    size = {"params": 1e9, "tokens": 1e10}
    far = law.difference_variance(ends, np.ones(1), **size)
    near = law.difference_variance(np.array([ends[0], ends[0]]), np.ones(1), **size)
    assert 2 * 0.01**2 < near < far
    assert law.difference_variance(ends, np.array([2.0]), **size) == pytest.approx(4 * far)
    assert law.difference_variance(ends[::-1], np.ones(1), **size) == pytest.approx(far)

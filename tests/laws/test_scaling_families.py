"""Laws of size and data: published numbers, independent solvers, and the contract every family keeps."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.optimize import minimize

from mixlaw.data.learning_rate import Constant, Cosine, WarmupStableDecay
from mixlaw.errors import ConfigError, DataError, FitError, MixlawWarning, NotIdentifiableError, TooFewRunsError
from mixlaw.laws import BrokenPowerLaw, Chinchilla, Kaplan, LearningRateAnnealing, RepeatedData, published
from mixlaw.laws.core.base import Law
from mixlaw.laws.fit.engine import huber
from mixlaw.laws.published_laws import PUBLISHED
from mixlaw.laws.scale.repeated_data import effective_epochs

import truths
from shared import experiments

COSINE = Cosine(total=20_000, warmup=500)
BASE = {"E": 1.87, "A": 520.0, "B": 1490.0, "alpha": 0.35, "beta": 0.35}


def sizes(n: int = 48, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack([10 ** rng.uniform(7.5, 10, n), 10 ** rng.uniform(9, 11.5, n)])


def repeats(n: int = 80, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    U = 10 ** rng.uniform(8.5, 10.5, n)
    return np.column_stack([10 ** rng.uniform(7.5, 10, n), U * 10 ** rng.uniform(0, 2, n), U])


def curve_rows() -> dict[str, np.ndarray]:
    s = np.tile(np.arange(1_500.0, 20_001.0, 500.0), 3)
    return {"step": s, "params": np.repeat([1e7, 3e7, 1e8], len(s) // 3)}


def chinchilla_loss(X):
    return 1.8 + 480 / X[:, 0] ** 0.35 + 2100 / X[:, 1] ** 0.37


def repeated_loss(X):
    """The formula of arXiv:2305.16264, written once more."""
    N, D, U = X.T
    E, A, B, alpha, beta, R_D, R_N = *BASE.values(), 15.0, 5.0
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    M = np.minimum(N, G * (U * G) ** (beta / alpha))
    useful = M + M * R_N * (1 - np.exp(-(N / M - 1) / R_N))
    return E + A / useful**alpha + B / (U + U * R_D * (1 - np.exp(-(D / U - 1) / R_D))) ** beta


def annealed_loss(X):
    return (
        1.5
        + 20 * COSINE.area(X["step"]) ** -0.5
        - 4e-4 * COSINE.annealing_area(X["step"], 0.999)
        + 30 * X["params"] ** -0.25
    )


def broken_loss(x):
    return 0.5 + 2 * x[:, 0] ** -0.1 * (1 + (x[:, 0] / 1e3) ** 2) ** -0.2


def test_several_targets_and_missing_values():
    X = sizes()
    Y = np.column_stack([chinchilla_loss(X), 0.5 + chinchilla_loss(X)])
    Y[:5, 1] = np.nan
    law = Chinchilla().fit({"tokens": X[:, 1], "params": X[:, 0]}, {"pile": Y[:, 0], "code": Y[:, 1]})
    np.testing.assert_allclose(law.parameters_["E"], [1.8, 2.3], atol=1e-3)
    assert law.predict({"params": X[:, 0], "tokens": X[:, 1]}).shape == (len(X), 2)
    assert "Chinchilla" in law.summary()


# ---- Chinchilla ---------------------------------------------------------------------------------------
def replication_points():
    """The 240 of 245 points used by arXiv:2404.10102 (the five largest losses are dropped)."""
    table = pq.read_table(experiments("chinchilla_points.parquet")).to_pydict()
    N, D, loss = (np.array(table[k]) for k in ("params", "tokens", "loss"))
    keep = np.argsort(loss, kind="stable")[:240]
    return np.column_stack([N, D])[keep], loss[keep]


def test_refit_of_the_replication():
    X, y = replication_points()
    law = Chinchilla(seed=0).fit(X, y)
    assert law.objective_ == pytest.approx(0.0010182740, rel=1e-7)
    p = law.parameters_
    assert p["E"] == pytest.approx(1.8172, abs=5e-3)
    assert p["alpha"] == pytest.approx(0.3473, abs=5e-3)
    assert p["beta"] == pytest.approx(0.3672, abs=5e-3)
    assert p["A"] == pytest.approx(477.8, rel=0.05)
    assert p["B"] == pytest.approx(2143.4, rel=0.05)
    for flops, params, ratio in ((1e21, 2.79e9, 21.4), (5.76e23, 7.32e10, 17.9), (1e25, 3.17e11, 16.6)):
        best = law.optimal_allocation(flops)
        assert best["params"] == pytest.approx(params, rel=5e-3)
        assert best["tokens_per_param"] == pytest.approx(ratio, abs=0.06)


def test_refit_agrees_with_scipy():
    X, y = replication_points()
    lnN, lnD = np.log(X).T

    def objective(z):
        f = np.exp(z[0]) + np.exp(z[1] - z[3] * lnN) + np.exp(z[2] - z[4] * lnD)
        return 1e3 * huber(np.log(f) - np.log(y), 1e-3).sum()

    starts = ([0.6, 6.0, 7.0, 0.35, 0.35], [0.5, 5.0, 8.0, 0.3, 0.4])
    found = min(minimize(objective, s, method="Nelder-Mead", options={"maxiter": 6000}).fun for s in starts) / 1e3
    ours = Chinchilla().fit(X, y).objective_
    assert ours <= found + 1e-9
    assert found == pytest.approx(ours, rel=2e-2)


@pytest.mark.parametrize(("which", "score"), [("hoffmann2022_rounded", 4.121e-3), ("hoffmann2022", 1.231e-3)])
def test_what_the_original_constants_score(which, score):
    X, y = replication_points()
    value = huber(np.log(published(which).predict(X)) - np.log(y), 1e-3).sum()
    assert value == pytest.approx(score, rel=1e-3)


def test_bootstrap_intervals_hold_the_published_ones():
    X, y = replication_points()
    law = Chinchilla(seed=0, bootstrap=400).fit(X, y)
    low, high = law.intervals_["beta"]
    assert low < law.parameters_["beta"] < high
    # the replication's standard error of the exponents is .02; a 90% interval is some 3.3 of them wide
    assert 0.03 < high - low < 0.1
    again = Chinchilla(seed=0, bootstrap=400).fit(X, y)
    assert again.intervals_ == law.intervals_


def test_intervals_widen_where_the_law_extrapolates():
    X, y = replication_points()
    plain, boot = Chinchilla().fit(X, y), Chinchilla(bootstrap=200).fit(X, y)
    near, far = [[1e9, 2e10]], [[1e12, 2e13]]
    width = {k: [float(np.subtract(*law.predict_interval(r)[::-1])[0]) for r in (near, far)]
             for k, law in (("plain", plain), ("boot", boot))}  # fmt: skip
    assert width["boot"][0] == pytest.approx(width["plain"][0], rel=0.2)
    assert width["boot"][1] > 1.2 * width["boot"][0]
    back = Law.from_json(boot.to_json())
    np.testing.assert_array_equal(back.predict_interval(far), boot.predict_interval(far))


def test_allocation_is_the_minimum():
    law = Chinchilla().fit(sizes(), chinchilla_loss(sizes()))
    best = law.optimal_allocation(1e22)
    N = best["params"] * np.geomspace(0.5, 2, 201)
    losses = chinchilla_loss(np.column_stack([N, 1e22 / 6 / N]))
    assert best["loss"] <= losses.min() + 1e-9
    assert 6 * best["params"] * best["tokens"] == pytest.approx(1e22)
    with pytest.raises(DataError, match="positive FLOPs"):
        law.optimal_allocation(-1)


@pytest.mark.parametrize("flops", [1e19, 5.76e23, 1e26])
def test_allocation_agrees_with_an_independent_world(flops):
    surface = truths.chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)  # Hoffmann et al. 2022, as printed
    params, tokens = surface.optimum(flops)
    best = published("hoffmann2022_rounded").optimal_allocation(flops)
    assert best["params"] == pytest.approx(params, rel=1e-6)
    assert best["tokens"] == pytest.approx(tokens, rel=1e-6)
    assert best["loss"] == pytest.approx(surface.loss(params, tokens), rel=1e-9)


def test_allocation_of_the_published_laws():
    best = published("hoffmann2022_rounded").optimal_allocation(5.76e23)
    assert best["params"] == pytest.approx(32.2e9, rel=5e-3)
    assert best["tokens_per_param"] == pytest.approx(92.6, rel=5e-3)
    assert published("hoffmann2022").optimal_allocation(5.76e23)["params"] == pytest.approx(40.4e9, rel=5e-3)


# ---- published laws ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("which", "row", "value", "tolerance"),
    [
        ("kaplan2020_params", [1e9], 2.3756, 1e-4),
        ("kaplan2020_tokens", [1e10], 2.2624, 1e-4),
        ("kaplan2020", [1.5e9, 2.2e10], 2.3125, 1e-4),
        ("hoffmann2022_rounded", [70e9, 1.4e12], 1.9366, 1e-4),
        ("hoffmann2022", [70e9, 1.4e12], 1.9208, 1e-4),
        ("muennighoff2023", [6.34e9, 242e9, 25e9], 2.2256440889984477, 1e-12),
        ("muennighoff2023", [8.67e9, 178e9, 25e9], 2.2269634075087867, 1e-12),
        ("clark2022_sbase", [5e6, 128], 2.892, 1e-3),
        ("clark2022_sbase", [5.5e7, 1], 2.878, 1e-3),
    ],
)
def test_published_numbers(which, row, value, tolerance):
    assert published(which).predict([row])[0] == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("which", list(PUBLISHED))
def test_every_published_law_predicts_and_says_its_source(which):
    law = published(which)
    row = {"params": [1e9], "tokens": [2e10], "unique_tokens": [1e10], "experts": [8.0]}
    value = law.predict({c: row[c] for c in law.feature_names_in_})[0]
    assert 1.5 < value < 5
    assert "arXiv:" in law.source_ and law.source_ in law.summary()
    np.testing.assert_array_equal(Law.from_json(law.to_json()).predict(row), law.predict(row))


def test_refits_are_not_said_to_be_the_authors_own():
    for name in PUBLISHED:
        law = published(name)
        assert law.fitted_by_ in law.summary()
        assert ("this project" in law.fitted_by_) == name.startswith("gadre2024")
    assert "digitised" in published("besiroglu2024").fitted_by_ and published("kaplan2020").fitted_by_ == "its authors"
    with pytest.raises(FitError, match="fitted by this project"):
        published("gadre2024_c4").fit([[1e9, 1e10]], [2.0])
    assert "counting only non-embedding parameters" in " ".join((Kaplan.__doc__ or "").split())


def test_unknown_published_name_and_fitting_one():
    with pytest.raises(ConfigError, match="Did you mean 'hoffmann2022'"):
        published("hofmann2022")
    with pytest.raises(FitError, match="not fitted"):
        published("hoffmann2022").fit(sizes(), chinchilla_loss(sizes()))
    with pytest.raises(DataError, match="millions"):
        published("hoffmann2022").predict([[70.0, 1.4e12]])


# ---- repeated data -------------------------------------------------------------------------------------
def test_effective_epochs_of_the_paper():
    np.testing.assert_allclose(
        effective_epochs([1, 2, 4, 8, 16, 40, 100]), [1, 1.968, 3.726, 6.624, 10.58, 15.17, 16.36], atol=6e-3
    )


def test_all_seven_parameters_from_clean_data():
    X = repeats(200)
    law = RepeatedData().fit(X, repeated_loss(X))
    assert law.parameters_["R_D"] == pytest.approx(15, rel=0.02)
    assert law.parameters_["R_N"] == pytest.approx(5, rel=0.02)
    assert law.parameters_["E"] == pytest.approx(1.87, abs=0.01)
    assert len(law.identifiability_) == 1 and law.flat_ == []


def test_warns_that_the_authors_records_do_not_identify_the_law():
    table = pq.read_table(experiments("data_constrained.parquet")).to_pydict()
    X = np.column_stack([np.array(table[k], dtype=float) for k in ("params", "tokens", "unique_tokens")])
    loss, seed = np.array(table["loss"]), np.array(table["seed"])
    kept = (seed == 0) & (loss < 5)  # one seed, without the runs that diverged
    base = {k: v for k, v in published("muennighoff2023").parameters_.items() if k not in ("R_D", "R_N")}
    law = RepeatedData(base=base)
    with pytest.warns(MixlawWarning, match="optima the data cannot tell apart"):
        law.fit(X[kept], loss[kept])
    assert len(law.identifiability_) >= 2
    spread = [o["R_D"] for o in law.identifiability_]
    assert max(spread) > 5 * min(spread)
    objectives = [o["objective"] for o in law.identifiability_]
    assert objectives == sorted(objectives) and objectives[-1] < 1.05 * objectives[0]


# ---- broken power law ----------------------------------------------------------------------------------
def test_four_digit_addition():
    """Test losses of 4-digit addition against training examples, measured by Caballero et al. (arXiv:2210.14891,
    Figure 4 left): fit the first 14 points, extrapolate the last 3."""
    x = np.array([160, 192, 256, 320, 384, 448, 480, 512, 544, 576, 608, 640, 672, 736, 800, 864, 928.0])
    y = np.array([
        2.13809046, 2.11813418, 2.08955508, 2.06988398, 2.05404987, 2.03837089, 2.02814281, 2.00496872, 1.95576149,
        1.86313841, 1.70891537, 1.50637664, 1.29754721, 0.96559684, 0.75856477, 0.64768338, 0.55695445,
    ])  # fmt: skip
    law = BrokenPowerLaw(breaks=1).fit(x[:14, None], y[:14])
    p = law.parameters_
    assert p["c0"] == pytest.approx(0.055, abs=2e-3)
    assert p["d1"] == pytest.approx(612.6, rel=2e-3)
    assert p["f1"] == pytest.approx(0.059, abs=2e-3)
    assert p["c1"] == pytest.approx(5.66, rel=0.02)
    error = np.log(law.predict(x[14:, None])) - np.log(y[14:])
    assert np.sqrt((error**2).mean()) < 0.012


def test_two_breaks():
    x = np.geomspace(1, 1e8, 80)
    y = 0.2 + 3 * x**-0.05 * (1 + (x / 1e2) ** 2) ** -0.15 * (1 + (x / 1e5) ** 4) ** 0.05
    law = BrokenPowerLaw(breaks=2).fit(x[:, None], y)
    np.testing.assert_allclose(law.predict(x[:, None]), y, rtol=2e-3)
    assert law.parameters_["d1"] < law.parameters_["d2"]


# ---- annealing -------------------------------------------------------------------------------------------
def test_a_cosine_curve_predicts_another_schedule():
    X = curve_rows()
    noisy = annealed_loss(X) + 0.002 * np.random.default_rng(0).normal(size=len(X["step"]))
    law = LearningRateAnnealing(COSINE, size=True).fit(X, noisy)
    other = WarmupStableDecay(total=20_000, warmup=500, decay=4_000)
    s = np.array([10_000.0, 20_000.0])
    truth = 1.5 + 20 * other.area(s) ** -0.5 - 4e-4 * other.annealing_area(s, 0.999) + 30 * 1e8**-0.25
    found = law.under(other).predict({"step": s, "params": np.array([1e8, 1e8])})
    np.testing.assert_allclose(found, truth, atol=5e-3)


def noisy_curve(seed):
    s = np.arange(1000.0, 20_001.0, 500.0)
    truth = 2.5 + 20 * COSINE.area(s) ** -0.5 - 4e-4 * COSINE.annealing_area(s, 0.999)
    return {"step": s}, truth * np.exp(0.002 * np.random.default_rng(seed).normal(size=len(s)))


def test_intervals_know_that_the_memory_was_fitted():
    """With the memory held at its estimate, the 90% intervals of C held the truth never."""
    inside, profiled = 0, 0
    for seed in range(10):
        law = LearningRateAnnealing(COSINE, bootstrap=40, loss="squared").fit(*noisy_curve(seed))
        low, high = law.intervals_["C"]
        inside += low <= 4e-4 <= high
        if seed < 5:
            found = law.profile("C")
            profiled += found.low <= 4e-4 <= found.high
            assert found.objective.min() == pytest.approx(law.objective_, rel=1e-4)
    assert inside >= 6 and profiled >= 3
    known = LearningRateAnnealing(COSINE, decay=law.decay_, bootstrap=40, loss="squared").fit(*noisy_curve(9))
    assert known.objective_ == pytest.approx(law.objective_, rel=1e-9)
    assert high - low > 2 * np.ptp(known.intervals_["C"])


def test_folds_fit_the_memory_again():
    X, y = noisy_curve(0)
    law = LearningRateAnnealing(COSINE).fit(X, y)
    other = LearningRateAnnealing(COSINE, decay=law.decay_).fit(X, y)
    a, b = (one.predict_heldout(X["step"][:, None], y, folds=5) for one in (law, other))
    assert np.abs(a - b).max() > 1e-6


def test_targets_share_one_memory():
    X, y = noisy_curve(0)
    both = np.c_[y, 0.5 * noisy_curve(1)[1]]
    law = LearningRateAnnealing(COSINE, bootstrap=20).fit(X, both)
    each = [float(LearningRateAnnealing(COSINE).fit(X, column).decay_) for column in both.T]
    assert min(each) - 1e-4 <= law.decay_ <= max(each) + 1e-4
    assert law.bootstrap_theta_.shape == (2, 20, 5)
    np.testing.assert_array_equal(law.bootstrap_theta_[0, :, -1], law.bootstrap_theta_[1, :, -1])
    low, high = law.predict_interval({"step": [15_000.0]})
    assert low.shape == (1, 2) and (high > low).all()
    assert law.profile("C", target="y1").low < law.parameters_["C"][1]
    again = Law.from_json(law.to_json())
    there = {"step": np.array([20_000.0])}
    np.testing.assert_allclose(again.predict_interval(there), law.predict_interval(there), rtol=1e-9)


def test_several_schedules_in_one_fit():
    flat = Constant(warmup=500)
    s = np.arange(1_000.0, 20_001.0, 1_000.0)
    X = {"step": np.tile(s, 2), "schedule": np.repeat([0.0, 1.0], len(s))}
    y = np.concatenate([2 + 20 * g.area(s) ** -0.5 - 3e-4 * g.annealing_area(s, 0.99) for g in (COSINE, flat)])
    law = LearningRateAnnealing([COSINE, flat], decay=0.99).fit(X, y)
    assert law.parameters_["C"] == pytest.approx(3e-4, rel=0.01)
    np.testing.assert_allclose(Law.from_json(law.to_json()).predict(X), law.predict(X))


def test_annealing_refuses_what_it_cannot_know():
    s = np.arange(1_000.0, 20_001.0, 500.0)
    with pytest.raises(NotIdentifiableError, match="learning rate has come down"):
        LearningRateAnnealing(Constant(500)).fit({"step": s}, 2 + s**-0.3)
    with pytest.raises(DataError, match="warm-up"):
        LearningRateAnnealing(COSINE).fit({"step": s - 800}, 2 + s**-0.3)
    with pytest.raises(ConfigError, match="needs the schedule"):
        LearningRateAnnealing().fit({"step": s}, 2 + s**-0.3)


# ---- bad input ---------------------------------------------------------------------------------------------
def spoiled(column: int, value: float) -> np.ndarray:
    X = sizes()
    X[3, column] = value
    return X


@pytest.mark.parametrize(
    ("X", "y", "error", "words"),
    [
        (np.column_stack([np.full(48, 1e9), sizes()[:, 1]]), chinchilla_loss(sizes()), NotIdentifiableError, "params"),
        (sizes()[:4], chinchilla_loss(sizes()[:4]), TooFewRunsError, "5 parameters"),
        (sizes() * [1e-6, 1], chinchilla_loss(sizes()), DataError, "millions or billions"),
        (spoiled(0, 70.0), chinchilla_loss(sizes()), DataError, "two units at once"),
        (spoiled(1, -5.0), chinchilla_loss(sizes()), DataError, "tokens must be positive"),
        (sizes(), np.full(48, 2.5), DataError, "constant"),
        (sizes(), chinchilla_loss(sizes()) - 5, DataError, "positive"),
        (sizes()[:, :1], chinchilla_loss(sizes()), DataError, "columns"),
        ({"params": sizes()[:, 0], "flops": sizes()[:, 1]}, chinchilla_loss(sizes()), DataError, "lacks"),
    ],
)
def test_bad_input_is_refused_in_words(X, y, error, words):
    with pytest.raises(error, match=words):
        Chinchilla().fit(X, y)


def test_bad_arguments():
    X, y = sizes(), chinchilla_loss(sizes())
    with pytest.raises(ConfigError, match="huber"):
        Chinchilla(loss="hubr").fit(X, y)
    with pytest.raises(ConfigError, match="Did you mean"):
        Kaplan("DN").fit(X, y)
    with pytest.raises(ConfigError, match="resamples"):
        Chinchilla(bootstrap=5).fit(X, y)
    with pytest.raises(DataError, match="exceed tokens"):
        RepeatedData(base=BASE).fit(np.column_stack([X, X[:, 1] * 2]), y)
    with pytest.raises(DataError, match="No run repeats"):
        RepeatedData(base=BASE).fit(np.column_stack([X, X[:, 1]]), y)
    with pytest.raises(ConfigError, match="base needs exactly"):
        RepeatedData(base={"E": 1.0}).fit(repeats(), repeated_loss(repeats()))

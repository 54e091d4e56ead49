"""Each mixture family finds the law of an independent truth, and the published records it is known by."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from mixlaw import laws
from mixlaw.errors import ConfigError, MixlawWarning, TooFewRunsError
from mixlaw.laws.mixture.auto_scale import scale_amounts

import truths
from shared import experiments


def check(law, surface, n=80, tolerance=2e-3):
    X, Y = surface.sample(n, seed=1)
    law.fit(X, Y)
    there = truths.mixtures(100, surface.k, seed=2)
    error = np.abs(np.reshape(law.predict(there), (100, -1)) - surface.loss(there))
    assert error.max() < tolerance, error.max()
    return law


def test_m4_finds_the_exponential_world():
    surface = truths.exponential(k=5, targets=3, seed=2)
    law = check(laws.M4(ridge=0.0), surface, tolerance=1e-7)
    t, truth = np.array(law.parameters_["t"]), surface.parameters["t"]
    np.testing.assert_allclose(t - t.mean(1, keepdims=True), truth - truth.mean(1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(law.parameters_["c"], surface.parameters["c"], atol=1e-6)


def test_m1_finds_separable_exponentials():
    surface = truths.separable_exponential(k=3, seed=1)
    check(laws.M1(ridge=1e-7), surface, tolerance=1e-3)


def test_m2_finds_a_shared_amplitude():
    t = np.array([-2.0, 0.5, -1.0])
    surface = truths.Truth(3, 1, lambda X: (1.0 + 0.4 * np.exp(np.asarray(X) * t).sum(1))[:, None])
    law = check(laws.M2(ridge=1e-9), surface, tolerance=1e-4)
    assert law.parameters_["k"][0] > 0


def test_m3_knows_only_the_product():
    surface = truths.Truth(3, 1, lambda X: (1.0 + 0.4 * np.exp(-1.5 * np.prod(3 * np.asarray(X), axis=1)))[:, None])
    law = check(laws.M3(ridge=0.0), surface, tolerance=1e-5)
    assert law.parameters_["tau"][0] == pytest.approx(-1.5, rel=1e-3)


def test_loglinear_is_exact_on_a_unigram_learner(tmp_path):
    corpus = truths.unigram_corpus(tmp_path, domains=3)
    X = truths.mixtures(40, 3, seed=1, strength=3.0)
    law = laws.LogLinear(ridge=1e-9).fit(X, corpus.loss(X))
    np.testing.assert_allclose(law.parameters_["b"], -np.eye(3), atol=0.02)
    np.testing.assert_allclose(law.predict(X), corpus.loss(X), atol=2e-3)


def test_effective_tokens_finds_worths():
    surface = truths.effective_tokens(k=4, targets=3, seed=0)
    law = check(laws.EffectiveTokens(ridge=1e-8), surface, tolerance=2e-4)
    np.testing.assert_allclose(law.parameters_["w"], surface.parameters["w"], atol=0.03)


def test_own_domain_by_name_and_by_word():
    surface = truths.effective_tokens(k=4, targets=3, seed=0)
    X, Y = surface.sample(12, seed=4, noise=0.01)
    columns = {f"weight_{n}": X[:, j] for j, n in enumerate(["web", "code", "books", "news"])}
    named = laws.EffectiveTokens().fit(columns, {f"loss_{n}": Y[:, t] for t, n in enumerate(["web", "code", "books"])})
    told = laws.EffectiveTokens(own={"a": "weight_web", "b": "weight_code", "c": "weight_books"})
    told.fit(columns, dict(zip("abc", Y.T)))
    np.testing.assert_allclose(named.predict(columns), told.predict(columns), atol=1e-8)
    with pytest.raises(ConfigError, match="weight_webb"):
        laws.EffectiveTokens(own={"a": "weight_webb"}).fit(columns, {"a": Y[:, 0]})


def test_implicit_domains_beat_one_exponential_on_a_blend():
    surface = truths.implicit(k=4, hidden=3, seed=0)
    X, Y = surface.sample(80, seed=1)
    there = truths.mixtures(100, 4, seed=2)
    one = np.abs(laws.M4().fit(X, Y).predict(there) - surface.loss(there)).mean()
    three = np.abs(laws.Implicit(3).fit(X, Y).predict(there) - surface.loss(there)).mean()
    assert three < 0.3 * one


def test_bimix_own_share_and_volume():
    """The paper's form, with tokens: A r^-a (B s^-beta + C)."""
    rng = np.random.default_rng(0)
    X = truths.mixtures(60, 3, seed=0, strength=3.0)
    tokens = np.exp(rng.uniform(np.log(1e9), np.log(1e11), 60))
    a, beta = np.array([0.1, 0.2, 0.15]), np.array([0.3, 0.25, 0.35])
    Y = 2.0 * X**-a * (0.4 * (tokens[:, None] / 1e10) ** -beta + 0.8)
    table = {f"weight_d{j}": X[:, j] for j in range(3)} | {"tokens": tokens}
    law = laws.BiMix(ridge=1e-9).fit(table, {f"loss_d{j}": Y[:, j] for j in range(3)})
    np.testing.assert_allclose(law.predict(table), Y, rtol=2e-3)
    np.testing.assert_allclose(law.parameters_["a"], a, atol=0.01)
    np.testing.assert_allclose(law.parameters_["beta"], beta, atol=0.02)
    with pytest.raises(ConfigError, match="own domain"):
        laws.BiMix("own").fit(X, Y)


def test_bimix_sum_finds_power_laws():
    surface = truths.power(k=4, seed=0)
    X = truths.mixtures(80, 4, seed=1, strength=3.0)
    law = laws.BiMix(ridge=1e-8).fit(X, surface.loss(X))
    there = truths.mixtures(50, 4, seed=2, strength=3.0)
    np.testing.assert_allclose(law.predict(there), surface.loss(there), atol=0.02)


def test_autoscale_finds_its_own_world_and_its_geometric_rule():
    def loss(X):
        return 1.5 + ((0.1 + 2.0 * np.asarray(X)) ** -np.array([0.3, 0.1, 0.2])).sum(1, keepdims=True)

    check(laws.AutoScale(ridge=1e-7), truths.Truth(3, 1, loss), tolerance=3e-3)
    # minimise sum_i b_i N_i^-g_i at fixed total: the optimal amounts are exactly geometric in the multiplier
    b, g = np.array([1.0, 2.0]), np.array([0.2, 0.6])
    first, second, third = ((g * b / mu) ** (1 / (1 + g)) for mu in (1.0, 0.1, 0.01))
    np.testing.assert_allclose(scale_amounts(first, second), third, rtol=1e-12)
    assert (third / third.sum())[0] > (first / first.sum())[0]


def test_missing_targets_are_left_out():
    surface = truths.exponential(k=3, targets=2, seed=0)
    X, Y = surface.sample(40, seed=0)
    Y = Y.copy()
    Y[5:15, 1] = np.nan
    law = laws.M4().fit(X, Y)
    there = truths.mixtures(50, 3, seed=5)
    np.testing.assert_allclose(law.predict(there), surface.loss(there), atol=1e-3)
    assert any("missing" in note for note in law.notes_)


def test_too_few_runs_without_a_ridge():
    X, Y = truths.exponential(k=6, targets=1).sample(5)
    with pytest.raises(TooFewRunsError, match="7 parameters"):
        laws.M4(ridge=0.0).fit(X, Y)
    law = laws.M4().fit(X, Y)
    assert any("ridge decides" in note for note in law.notes_) and "ridge decides" in law.summary()


def test_a_fit_that_did_not_converge_says_so():
    X, Y = truths.effective_tokens(k=4, targets=1, seed=3).sample(30, noise=0.02)
    law = laws.EffectiveTokens(ridge=1e-6)
    fit_problems = law._fit_problems
    # two iterations: stop far from the optimum
    law._fit_problems = lambda *a, **k: fit_problems(*a[:3], 2, *a[4:], **k)
    with pytest.warns(MixlawWarning, match="did not converge"):
        law.fit(X, Y)
    assert law.converged_ is False and "NOT" in law.summary()


def regmix():
    train, test = (pq.read_table(experiments(f"regmix_1m_{s}.parquet")) for s in ("train", "test"))
    weights = [c for c in train.column_names if c.startswith("weight_")]
    losses = [c for c in train.column_names if c.startswith("loss_")]
    return train.select(weights), train.select(losses), test.select(weights), test.select(losses)


@pytest.mark.parametrize(
    ("law", "mse", "rank"),
    [(laws.M4, 0.0470, 0.974), (laws.EffectiveTokens, 0.0165, 0.981), (laws.LogLinear, 0.0430, 0.965)],
)
def test_regmix_held_out_scores(law, mse, rank):
    """512 mixtures of 17 domains predict 256 others as well as the best prototypes measured."""
    from mixlaw.laws.choose.league import spearman

    X, y, X_test, y_test = regmix()
    fitted = law().fit(X, y)
    truth = np.column_stack([y_test.column(i).to_numpy() for i in range(y_test.num_columns)])
    predicted = fitted.predict(X_test)
    assert ((predicted - truth) ** 2).mean() < mse
    assert np.mean([spearman(predicted[:, t], truth[:, t]) for t in range(13)]) > rank
    low, high = fitted.predict_interval(X_test)
    assert 0.86 < ((truth >= low) & (truth <= high)).mean() < 0.97


def test_two_domain_records_follow_the_exponential():
    """GitHub's loss at five shares (70M, 30k steps), one exponential through all of them."""
    table = pq.read_table(experiments("dml_two_domains.parquet")).to_pandas()
    rows = table[(table.model_size == "70M") & (table.step == table.step.max())]
    weights = [c for c in rows.columns if c.startswith("weight_")]
    github = rows[rows.validation_domain.str.lower().str.contains("github")]
    assert len(github) >= 5
    law = laws.M4().fit(github[weights], github["loss"].to_numpy())
    assert np.abs(law.predict(github[weights]) - github["loss"].to_numpy()).max() < 0.01


def test_huber_shrugs_off_a_broken_run():
    surface = truths.exponential(k=3, targets=1, seed=0)
    X, Y = surface.sample(40, seed=0, noise=0.005)
    Y = Y.copy()
    Y[7] += 3.0
    there = truths.mixtures(50, 3, seed=1)
    squared, robust = (
        np.abs(laws.M4(ridge=1e-4, loss=loss, delta=0.02).fit(X, Y).predict(there) - surface.loss(there)).max()
        for loss in ("squared", "huber")
    )
    assert robust < 0.02 < squared


def test_many_runs_take_the_short_way_to_the_same_law(monkeypatch):
    """Starts that race on a sample, and a ridge chosen on one, end where the long way ends."""
    from mixlaw.laws.fit import ridge as tuning

    surface = truths.effective_tokens(k=3, targets=2, seed=1)
    X, Y = surface.sample(700, seed=0, noise=0.01)
    there = truths.mixtures(50, 3, seed=1)
    long = laws.EffectiveTokens().fit(X, Y)
    monkeypatch.setattr(tuning, "_WORK", 0.0)
    short = laws.EffectiveTokens().fit(X, Y)
    assert np.isfinite(short.heldout_).any() and not np.isfinite(short.heldout_).all()
    np.testing.assert_allclose(short.predict(there), long.predict(there), atol=4e-3)
    low, high = short.predict_interval(there)
    seen = surface.loss(there) + 0.01 * np.random.default_rng(3).normal(size=low.shape)
    assert ((seen >= low) & (seen <= high)).mean() > 0.8

"""Intervals wherever the mixture lies: how wrong the form may be, and leaving out what no run left out."""

import warnings

import numpy as np
import pytest

from mixlaw.errors import DataError, MixlawWarning
from mixlaw.laws import LAWS, Law, interval_with_form
from mixlaw.laws.choose import rivals
from mixlaw.laws.choose.rivals import Rivals
from mixlaw.laws.choose.zero_shares import ZeroShares

DOMAINS, SETS = ("web", "code", "books", "wiki", "papers"), ("a", "b", "c")
NOISE = 0.005  # nats


def exponential(rng):
    c, a, t = rng.uniform(1.5, 2.5, 3), rng.uniform(0.4, 1.2, 3), rng.uniform(-0.8, 0.6, (3, 5))
    t[np.arange(3), np.arange(3)] -= 1.5
    return lambda R: c + a * np.exp(R @ t.T)


def power_sums(rng):
    """Losses that rise steeply at a share of 0."""
    c, a = rng.uniform(1.5, 2.5, 3), rng.uniform(0.0, 0.08, (3, 5))
    a[np.arange(3), np.arange(3)] += 0.25
    g = rng.uniform(0.1, 0.5, (3, 5))
    return lambda R: c + np.einsum("tk,ntk->nt", a, (R[:, None] + 0.01) ** -g)


def named(R, losses=None):
    X = dict(zip(DOMAINS, np.asarray(R).T))
    return X if losses is None else (X, dict(zip(SETS, losses.T)))


def fitted(name, runs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        return LAWS[name]().fit(*runs)


def dirichlet(seed, n=20):
    rng = np.random.default_rng(seed)
    loss = exponential(rng)
    R = rng.dirichlet(np.ones(5), n)
    return loss, named(R, loss(R) + NOISE * rng.normal(size=(n, 3)))


def test_runs_at_pure_mixtures_say_little_of_the_untried_middle():
    names, alone, held = ("m4", "m2", "log_linear", "bi_mix"), [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        loss = power_sums(rng)
        sides = [0.5 * (np.eye(5) + np.roll(np.eye(5), k, axis=1)) for k in (1, 2)]
        R = np.vstack([np.eye(5), np.eye(5), *sides])  # as lattice proposes: corners first, then halves
        runs = named(R, loss(R) + NOISE * rng.normal(size=(20, 3)))
        middle = np.vstack([np.full(5, 0.2), rng.dirichlet(np.full(5, 20.0), 4)])
        for name in names:
            law = fitted(name, runs)
            for found, (low, high) in (
                (alone, law.predict_interval(named(middle))),
                (held, interval_with_form(law, named(middle))),
            ):
                found.append(np.mean((low <= loss(middle)) & (loss(middle) <= high)))
    assert np.mean(alone) < 0.5  # 0 to 0.7 by family
    assert np.mean(held) >= 0.9


def test_at_mixtures_like_the_runs_the_interval_stays_about_as_it_was():
    loss, runs = dirichlet(0, n=40)
    law = fitted("m4", runs)
    inside = np.random.default_rng(1).dirichlet(np.full(5, 5.0), 20)
    (low, high), (least, most) = law.predict_interval(named(inside)), interval_with_form(law, named(inside))
    assert (least <= low).all() and (most >= high).all()
    assert np.median((most - least) / (high - low)) < 1.3
    assert np.mean((least <= loss(inside)) & (loss(inside) <= most)) >= 0.85


def test_a_law_read_from_a_file_needs_its_runs_again():
    _, runs = dirichlet(1)
    law = fitted("log_linear", runs)
    there = named([[0.0, 0.0, 0.5, 0.5, 0.0]])
    before = interval_with_form(law, there)
    back = Law.from_json(law.to_json())
    with pytest.raises(DataError, match="Give runs="):
        interval_with_form(back, there)
    np.testing.assert_allclose(interval_with_form(back, there, runs=runs), before, atol=1e-3)  # refits: 0.0005 nats


def test_a_law_without_mixtures_keeps_its_own_interval():
    law = LAWS["chinchilla"]()
    X = law.example_rows(20, np.random.default_rng(0))
    law.fit(X, law.example_losses(X))
    np.testing.assert_array_equal(interval_with_form(law, X), law.predict_interval(X))


def test_a_law_of_sizes_is_asked_at_each_size():
    rng = np.random.default_rng(0)
    rows = [(m, n, d) for m in rng.dirichlet(np.ones(3), 10) for n in (1e7, 3e7, 1e8) for d in (1e9, 2e9, 4e9)]
    W, N, D = (np.array([row[i] for row in rows]) for i in range(3))
    loss = 1.5 + 0.6 * (W[:, 0] + 0.05) ** -0.3 + 30 * N**-0.25 + 900 * D**-0.35
    X = dict(zip(("web", "code", "books"), W.T)) | {"params": N, "tokens": D}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        law = LAWS["joint"](mixture_law=LAWS["m4"](), backtest=False).fit(X, {"all": loss})
    there = {"web": [0.0, 0.4], "code": [1.0, 0.3], "books": [0.0, 0.3], "params": [2e8, 1e8], "tokens": [8e9, 4e9]}
    (low, high), (least, most) = law.predict_interval(there), interval_with_form(law, there)
    wider = ((most - least) / (high - low)).ravel()
    assert wider[0] > 1.1 and 1.0 <= wider[1] < wider[0]  # without web, where no run was; and between the runs


def test_families_are_fitted_once_for_all_questions_about_the_same_runs():
    _, runs = dirichlet(2)
    there = named([[0.2] * 5])
    interval_with_form(fitted("log_linear", runs), there)
    fits = rivals._fit.cache_info().misses
    interval_with_form(fitted("log_linear", runs), there, level=0.5)
    interval_with_form(fitted("auto_scale", runs), there)  # asks for one family more: log_linear
    assert rivals._fit.cache_info().misses == fits + 1
    moved = runs[0], {name: loss + 0.01 for name, loss in runs[1].items()}
    interval_with_form(fitted("log_linear", moved), there)
    assert rivals._fit.cache_info().misses > fits + 3


def test_leaving_out_what_no_run_left_out_is_a_step_beyond_them():
    shares = np.array([[0.04, 0.96], [0.25, 0.75], [0.36, 0.64], [0.5, 0.5]])
    tried = ZeroShares.of(shares)
    # half of the smallest share that was run is near enough
    assert tried.reach(np.array([[0.5, 0.5], [0.03, 0.97]])).tolist() == [0.0, 0.0]
    assert tried.reach(np.array([[0.0, 1.0]]))[0] == pytest.approx((0.2 / (np.sqrt(0.305) - 0.2)) ** 2)
    assert not ZeroShares.of(np.vstack([shares, [0.0, 1.0]])).untried(np.array([[0.0, 1.0]])).any()
    # shares between 85% and 99%: the step to 0 is 13 times as long as any tried, and the loss is not 13 times unknown
    narrow = np.linspace(0.85, 0.99, 8)
    assert ZeroShares.of(np.column_stack([narrow, 1 - narrow])).reach(np.array([[0.0, 1.0]]))[0] == 1.0


def test_where_a_domain_is_left_out_untried_the_families_are_trusted_less():
    _, (X, y) = dirichlet(3)
    law = fitted("m4", (X, y))
    found = Rivals.of(law, X, y, law.heldout)
    W, own, others = np.full(3, 1 / 3), np.zeros((1, 3)), np.full((len(found.laws), 1, 3), 0.2)
    known, beyond = (found.variance(own, others, W, b)[0] for b in (None, np.array([1.0])))
    assert beyond - known == pytest.approx(0.2**2)
    known, beyond = (found.variance_of_difference(own[0], others[:, 0], 0.1, W, b) for b in (0.0, 1.0))
    assert beyond - known == pytest.approx(0.2**2)


def test_differences_of_mixtures_close_together_are_known_better():
    _, (X, y) = dirichlet(4, n=40)
    law = fitted("m4", (X, y))
    found = Rivals.of(law, X, y, law.heldout)
    W = np.full(3, 1 / 3)
    own, others = np.zeros(3), np.zeros((len(found.laws), 3))
    near, far = (found.variance_of_difference(own, others, reach, W) for reach in (1e-4, 1.0))
    assert near == pytest.approx(1e-4 * far) and far > 0
    others[0] += 0.1  # families that disagree are part of what is not known
    assert found.variance_of_difference(own, others, 0.0, W) > 0
    others[:] = 0.1  # and so is a law that stands alone against all
    assert found.variance_of_difference(own, others, 0.0, W) == pytest.approx(0.1**2)

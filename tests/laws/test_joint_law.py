"""The seam for a newcomer's law of mixture and sizes: a small real law (Shukor et al. 2025) that is only declared."""

import numpy as np
import pytest

import mixlaw
from mixlaw.errors import ConfigError, DataError, NotIdentifiableError, TooFewRunsError
from mixlaw.laws import LAWS, Free, JointLaw, Law, Positive, check_law
from mixlaw.laws.core.contract import CHECKS, STATISTICAL
from mixlaw.report import plots


class Additive(JointLaw):
    """``L(r, N, D) = E + 1 / sum_j C_j r_j^gamma_j + A / N^alpha + B / D^beta``: domains act alike at every size.

    Source: Shukor et al. 2025, arXiv:2507.09404.
    """

    name = "additive_of_the_test"
    columns = ("weights", "params", "tokens")
    parameters = {
        "E": Positive(1.5, "irreducible loss, nats"),
        "A": Positive(400.0, "size term, nats at one parameter"),
        "alpha": Free(0.34, "size exponent", low=0.0),
        "B": Positive(900.0, "data term, nats at one token"),
        "beta": Free(0.32, "data exponent", low=0.0),
        "C": Positive((1.0, 2.5, 1.6), "what a domain takes off the mixture's term, 1 / nats", per="domain"),
        "gamma": Positive(0.6, "how fast a domain saturates", per="domain"),
    }
    source = "Shukor et al. 2025, arXiv:2507.09404"

    def loss(self, p, R, params, tokens):  # R (n, K), p.C (B, K)
        powers = np.maximum(R, 1e-9) ** p.gamma[:, None, :]
        return p.E + 1 / (p.C[:, None, :] * powers).sum(2) + p.A * params**-p.alpha + p.B * tokens**-p.beta

    def slopes(self, p, R, params, tokens):
        R = np.maximum(R, 1e-9)
        powers = R ** p.gamma[:, None, :]
        by_sum = -((p.C[:, None, :] * powers).sum(2, keepdims=True) ** -2.0)
        size, data = params**-p.alpha, tokens**-p.beta
        return {
            "E": 1.0,
            "A": size,
            "alpha": -np.log(params) * p.A * size,
            "B": data,
            "beta": -np.log(tokens) * p.B * data,
            "C": by_sum * powers,
            "gamma": by_sum * p.C[:, None, :] * powers * np.log(R),
        }


@pytest.fixture(scope="module", autouse=True)
def registered():
    LAWS.register(Additive.name, Additive)


def runs(num=60, seed=0, noise=0.002):
    rng = np.random.default_rng(seed)
    X = Additive().example_rows(num, rng)
    return X, Additive().example_losses(X) * np.exp(noise * rng.normal(size=num))


@pytest.mark.parametrize("check", [c for c in CHECKS if c not in STATISTICAL])  # those: tests/docs, of the same law
def test_it_keeps_the_contract(check):
    check_law(Additive, only=[check])


def test_columns_may_have_any_name_and_order_and_others_are_left_alone():
    X, y = runs()
    law = Additive().fit(X, y)
    renamed = {"tokens": X["tokens"], "step": X["tokens"] / 1e6, "common crawl": X["web"], "github": X["code"],
               "params": X["params"], "libgen": X["books"], "arxiv": X["papers"]}  # fmt: skip
    other = Additive().fit(renamed, y)
    assert other.domain_names == ["common crawl", "github", "libgen", "arxiv"]
    np.testing.assert_allclose(other.predict(renamed), law.predict(X), rtol=1e-6)
    assert (other.gradient(renamed)[:, :, 1] == 0).all()  # of step, which the law does not read
    plain = Additive().fit(np.column_stack(list(X.values())), y)
    np.testing.assert_allclose(plain.predict(np.column_stack(list(X.values()))), law.predict(X), rtol=1e-12)


def test_a_value_per_domain_has_intervals_profile_summary_and_a_plot():
    X, y = runs()
    law = Additive(bootstrap=60, loss="squared").fit(X, {"pile": y, "code": y + 0.2 * X["web"]})
    low, high = map(np.array, law.intervals_["C"])
    assert low.shape == high.shape == np.shape(law.parameters_["C"]) == (2, 4) and (low < high).all()
    found = law.profile("C", "pile", domain="code")
    assert found.low < 2.5 < found.high
    with pytest.raises(ConfigError, match="per domain"):
        law.profile("C", "pile")
    assert "C (target x domain)" in law.summary() and "books" in law.summary()
    assert len(plots.parameter_intervals(law).figure.axes) >= len(Additive.parameters)
    one = Additive().fit(X, y)
    assert np.shape(one.parameters_["C"]) == (4,) and "C per domain: web " in one.summary()
    again = Law.from_json(law.to_json())
    np.testing.assert_array_equal(again.predict(X), law.predict(X))
    assert again.intervals_ == law.intervals_


def test_the_law_of_the_mixture_at_a_size_is_the_law_itself():
    X, y = runs()
    law = Additive().fit(X, {"loss": y})
    mixtures = {name: X[name][:7] for name in law.domain_names}
    whole = {**mixtures, "params": np.full(7, 1e9), "tokens": np.full(7, 2e10)}
    held = Law.from_json(law.at(params=1e9, tokens=2e10).to_json())
    assert held.kind == "mixture" and list(held.feature_names_in_) == ["web", "code", "books", "papers"]
    np.testing.assert_array_equal(held.predict(mixtures), law.predict(whole))
    np.testing.assert_array_equal(held.predict_interval(mixtures, 0.8), law.predict_interval(whole, 0.8))
    np.testing.assert_array_equal(held.gradient(mixtures), law.gradient(whole)[:, :, :4])
    draws = law.at(params=1e9, tokens=2e10).sample(mixtures, 3, np.random.default_rng(0))
    np.testing.assert_allclose(draws, law.sample(whole, 3, np.random.default_rng(0)))
    with pytest.raises(ConfigError, match="tokens="):
        law.at(params=1e9)
    with pytest.raises(ConfigError, match="Did you mean 'params'"):
        law.at(param=1e9, tokens=1e9)


def test_the_optimiser_takes_it_either_way():
    X, y = runs()
    law = Additive().fit(X, {"loss": y})
    corpus = mixlaw.Corpus.declared(dict.fromkeys(law.domain_names, 10**11), source="test")
    budget = mixlaw.Budget(tokens=20 * 10**9, params=10**9)
    options = {"num_bootstrap": 0, "starts": 8}
    at_size = mixlaw.optimize(law.at(params=1e9, tokens=2e10), "loss", budget, corpus, **options)
    joint = mixlaw.optimize(law, "loss", budget, corpus, **options)
    best = [joint.mixture[d] for d in law.domain_names]
    np.testing.assert_allclose([at_size.mixture[d] for d in law.domain_names], best, atol=1e-4)
    there = {**{d: [w] for d, w in zip(law.domain_names, best)}, "params": [1e9], "tokens": [2e10]}
    others = {**Additive().example_rows(200, np.random.default_rng(5)), "params": [1e9] * 200, "tokens": [2e10] * 200}
    assert law.predict(there)[0, 0] <= law.predict(others).min() + 1e-6


def test_what_it_cannot_use_is_refused():
    X, y = runs()
    with pytest.raises(DataError, match="Mixture weights must lie in"):
        Additive().fit({**X, "web": 100 * X["web"]}, y)
    with pytest.raises(DataError, match="lacks \\['params'\\]"):
        Additive().fit({k: v for k, v in X.items() if k != "params"}, y)
    with pytest.raises(DataError, match="one column of mixture weights per domain"):
        Additive().fit({"params": X["params"], "tokens": X["tokens"]}, y)
    three = {k: np.tile(v[:3], 20) if k in ("web", "code", "books", "papers") else v for k, v in X.items()}
    with pytest.raises(NotIdentifiableError, match="4 different mixtures"):
        Additive().fit(three, y)
    with pytest.raises(TooFewRunsError, match="13 parameters"):
        Additive().fit({k: v[:12] for k, v in X.items()}, y[:12])

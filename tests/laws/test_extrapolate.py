"""Losses of larger runs: which way of fitting is chosen, and what its intervals hold."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from mixlaw.data.seams import LAWS
from mixlaw.errors import DataError, TooFewRunsError
from mixlaw.laws import Positive, ScaleLaw, extrapolate

from shared import experiments

SIZES = np.array([1e7, 3e7, 1e8, 3e8, 1e9])
NON_EMBEDDING, RATIO = (v.ravel() for v in np.meshgrid(SIZES, [5.0, 20.0, 80.0], indexing="ij"))
PARAMS = NON_EMBEDDING + 2.5e4 * NON_EMBEDDING**0.4
TOKENS = RATIO * PARAMS


def loss_of(size, tokens):
    return 1.8 + 480 / size**0.35 + 2100 / tokens**0.37


def runs(seed, noise=0.002):
    factor = np.exp(noise * np.random.default_rng(seed).normal(size=len(PARAMS)))
    X = {"params": PARAMS, "non_embedding_params": NON_EMBEDDING, "tokens": TOKENS}
    return X, loss_of(NON_EMBEDDING, TOKENS) * factor


AT = {"non_embedding_params": 1e10, "params": 1e10 + 2.5e4 * 1e10**0.4, "tokens": 2e11}


def test_the_count_that_the_losses_follow_is_chosen_and_the_others_are_named():
    X, y = runs(0)
    found = extrapolate(X, y, AT)
    assert found.chosen.count == "non_embedding_params"
    assert {way.count for way in found.judged} == {"params", "non_embedding_params"}
    truth = loss_of(1e10, 2e11)
    assert found.low[0] < truth < found.high[0] and abs(found.predicted[0] / truth - 1) < 0.01
    text = str(found)
    assert found.chosen.label in text and "90% interval" in text and "ways that did as well differ by" in text
    assert sum(way.weight[0] for way in found.judged) == pytest.approx(1)
    plain = found.to_dict()
    assert plain["predicted"] == found.predicted.tolist() and len(plain["ways"]) == len(found.ways)


def test_ways_that_did_as_well_and_disagree_widen_the_interval():
    X, y = runs(1, noise=0.01)
    found = extrapolate(X, y, AT)
    alone = 2 * 2.132 * found.chosen.sd[0] * found.chosen.predicted[0]  # Student's t with 4 degrees of freedom
    assert found.dof == 4 and found.apart[0] > 0
    assert found.high[0] - found.low[0] > 0.8 * alone
    good = [way for way in found.judged if way.weight[0] >= 0.25]
    assert all(found.low[0] < way.predicted[0] < found.high[0] for way in good)


@pytest.mark.parametrize("power", [1.0, 0.9])
def test_intervals_hold_the_loss_of_a_run_ten_times_as_large(power):
    """Truths of Chinchilla's form, and with data worth less to larger models, which no law that is tried can say."""
    held = 0
    for seed in range(4):
        factor = np.exp(0.003 * np.random.default_rng(seed).normal(size=len(PARAMS)))
        truth = [
            1.8 + 480 / n**0.35 + 2100 / d**0.37 * (n / 1e8) ** (power - 1) for n, d in ((PARAMS, TOKENS), (1e10, 2e11))
        ]
        found = extrapolate({"params": PARAMS, "tokens": TOKENS}, truth[0] * factor, {"params": 1e10, "tokens": 2e11})
        held += found.low[0] < truth[1] < found.high[0]
    assert held >= 3


def test_the_unit_of_the_losses_does_not_matter():
    X, y = runs(2)
    nats, bits = extrapolate(X, y, AT), extrapolate(X, 1.4427 * y, AT)
    assert bits.chosen.label == nats.chosen.label
    for one, other in ((nats.predicted, bits.predicted), (nats.low, bits.low), (nats.high, bits.high)):
        np.testing.assert_allclose(other, 1.4427 * one, rtol=1e-6)


def test_a_law_of_ones_own_is_tried_and_one_without_a_floor_is_not(monkeypatch):
    class Additive(ScaleLaw):
        """Size and tokens as one number."""

        columns = ("params", "tokens")
        irreducible = "E"
        parameters = {"E": Positive(1.8, "nats"), "A": Positive(900.0, "nats"), "alpha": Positive(0.2, "exponent")}
        source = "test"

        def loss(self, p, params, tokens):
            return p.E + p.A * (params * tokens) ** -p.alpha

        def slopes(self, p, params, tokens):
            term = (params * tokens) ** -p.alpha
            return {"E": 1.0, "A": term, "alpha": -np.log(params * tokens) * p.A * term}

    monkeypatch.setitem(LAWS._given, "additive", Additive)
    X, y = runs(3)
    found = extrapolate({"params": X["params"], "tokens": X["tokens"]}, y, {"params": 1e10, "tokens": 2e11})
    names = {way.law for way in found.ways}
    assert {"additive", "chinchilla", "chinchilla, tied"} <= names and not any("kaplan" in name for name in names)


def test_what_cannot_be_answered_is_refused_in_words():
    X, y = runs(0)
    with pytest.raises(DataError, match="share no count of parameters"):
        extrapolate(X, y, {"tokens": 1e11})
    with pytest.raises(DataError, match="at has no column tokens"):
        extrapolate(X, y, {"params": 1e11})
    with pytest.raises(DataError, match="one target, got 2"):
        extrapolate(X, np.column_stack([y, y]), AT)
    with pytest.raises(DataError, match="millions or billions"):
        extrapolate(X, y, {**AT, "tokens": 200.0})
    with pytest.raises(DataError, match="could not convert string to float: '7B'"):
        extrapolate(X, y, {**AT, "tokens": "7B"})
    with pytest.raises(DataError, match="columns of at differ in length"):
        extrapolate(X, y, {**AT, "tokens": [1e11, 2e11]})
    with pytest.raises(DataError, match=r"at holds \[nan\] as tokens"):
        extrapolate(X, y, {**AT, "tokens": np.nan})
    with pytest.raises(TooFewRunsError, match="one compute budget"):
        extrapolate({"params": PARAMS, "tokens": 1e18 / PARAMS}, y, {"params": 1e8, "tokens": 1e10})
    with pytest.raises(DataError, match=r"y rises with compute .* an accuracy, or another column"):
        extrapolate(X, 1 / y, AT)
    few = NON_EMBEDDING < 5e7
    with pytest.raises(TooFewRunsError, match="no scale can be hidden"):
        extrapolate({k: v[few] for k, v in X.items()}, y[few], AT)
    y = y.copy()
    y[3] = np.nan
    assert np.isfinite(extrapolate(X, y, AT).predicted).all()


@pytest.mark.parametrize("ratio", [1.0, 1000.0])
@pytest.mark.parametrize("power", [1.0, 0.7])
def test_where_size_and_tokens_move_together_the_interval_off_their_line_holds_other_forms(power, ratio):
    """Kaplan's form as the truth, whose losses off the line none of the laws that are tried has."""
    n = np.geomspace(1e7, 1e10, 12)

    def truth(n, d):
        return ((6.4e13 / n) ** (0.076 / 0.103) + 1.8e13 / d) ** 0.103

    def tokens(n):
        return 20 * 1e8 * (n / 1e8) ** power

    y = truth(n, tokens(n)) * np.exp(0.002 * np.random.default_rng(0).normal(size=12))
    at = {"params": np.array([1e9, 3e9]), "tokens": np.array([1e9, 3e9]) * ratio}
    found = extrapolate({"params": n, "tokens": tokens(n)}, y, at)
    value = truth(at["params"], at["tokens"])
    assert ((found.low < value) & (value < found.high)).all(), (found.low, value, found.high)
    assert "no backtest leaves their line" in str(found)
    on = extrapolate({"params": n, "tokens": tokens(n)}, y, {"params": 5e9, "tokens": tokens(5e9)})
    assert "leaves their line" not in str(on) and on.high[0] / on.low[0] < 1.1


@pytest.mark.parametrize("corpus", ["c4_original", "rw_original"])
def test_over_trained_models_of_412m_from_those_of_154m(corpus):
    table = pq.read_table(experiments("overtraining.parquet")).to_pandas()
    table = table[table.train_set == corpus]
    X = {name: table[name].to_numpy(float) for name in ("params", "non_embedding_params", "tokens")}
    y, largest = table.loss_c4_val.to_numpy(float), X["params"] > 2e8
    usual = largest & (table.token_multiplier.to_numpy() > 15)
    found = extrapolate(
        {k: v[~largest] for k, v in X.items()}, y[~largest], {k: v[usual] for k, v in X.items()}
    )  # fmt: skip
    error = np.log(found.predicted / y[usual])
    assert np.abs(error).mean() < 0.03
    assert np.mean((found.low < y[usual]) & (y[usual] < found.high)) >= 0.8

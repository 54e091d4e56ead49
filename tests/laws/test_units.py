"""Input that no law can use as it is: two units in one column, no rows, words, losses that rise with size."""

import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest

from mixlaw import laws
from mixlaw.errors import DataError, MixlawWarning, NotIdentifiableError, TooFewRunsError
from mixlaw.laws.core.notes import mixed_counts, mixed_units

import truths
from shared import experiments


def test_thousandfold_losses_name_their_rows():
    X, Y = truths.exponential(k=3, targets=2, seed=0).sample(64, noise=0.01)
    bad = [3, 17, 18, 20, 31, 33, 40, 50, 51, 60]
    Y[bad, 1] *= 1000
    with pytest.warns(
        MixlawWarning, match=r"'y1' seems to hold two units.*\[3, 17, 18, 20, 31, 33, 40, 50\] and 2 more"
    ):
        laws.M4().fit(X, Y)


def test_perplexities_among_losses():
    rng = np.random.default_rng(0)
    losses = rng.uniform(2.8, 3.4, 40)
    losses[[5, 9, 30]] = np.exp(losses[[5, 9, 30]])
    assert "rows [5, 9, 30]" in mixed_units(losses, "loss") and "logarithms" in mixed_units(losses, "loss")


def test_tokens_in_two_units():
    N, D = (v.ravel() for v in np.meshgrid([1e8, 3e8, 1e9, 3e9], [2e9, 6e9, 2e10, 6e10]))
    loss = 1.8 + 480 / N**0.35 + 2100 / D**0.37
    D[[1, 2, 9]] /= 1e3
    with pytest.warns(MixlawWarning, match=r"'tokens' seems to hold two units at once: rows \[1, 2, 9\]"):
        laws.Chinchilla().fit(np.c_[N, D], loss)
    assert mixed_counts(np.array([1e6, 1e6, 1e9, 1e9, 1e9]), "params") is None  # two sizes, not two units


RECORDS = """regmix_1m_train dml_five_domains dml_three_domains dml_two_domains dml_redpajama data_constrained
overtraining chinchilla_points"""


@pytest.mark.parametrize("name", RECORDS.split())
def test_genuine_records_are_left_in_peace(name):
    table = pq.read_table(experiments(f"{name}.parquet"))
    columns = {
        c: np.asarray(table.column(c).to_numpy(), dtype=float) for c in table.column_names if c.startswith("loss")
    }
    rng = np.random.default_rng(0)
    groups = [np.arange(table.num_rows)]
    if "validation_domain" in table.column_names:
        domain = np.array(table.column("validation_domain").to_pylist())
        groups += [np.flatnonzero(domain == d) for d in np.unique(domain)]
    for c, values in columns.items():
        for rows in groups:
            for part in [rows] + [rng.permutation(rows)[:n] for n in (16, 32, 64)]:
                assert mixed_units(values[part], c) is None
    for c in {"params", "tokens", "unique_tokens"} & set(table.column_names):
        assert mixed_counts(np.asarray(table.column(c).to_numpy(), dtype=float), c) is None


def test_a_clean_fit_warns_of_nothing():
    X, Y = truths.exponential(k=3, targets=2, seed=0).sample(30, noise=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        laws.M4().fit(X, Y)


def test_a_warning_names_the_rows_of_the_table_and_is_said_once():
    """Refits to folds have rows of their own numbers: they keep silent."""
    N, D = (v.ravel() for v in np.meshgrid([1e8, 3e8, 1e9, 3e9], [2e9, 6e9, 2e10, 6e10]))
    loss = 1.8 + 480 / N**0.35 + 2100 / D**0.37
    loss[[1, 2]] *= 1000
    with pytest.warns(MixlawWarning) as said:
        laws.Chinchilla().fit(np.c_[N, D], loss).predict_interval(np.c_[N, D])
    assert sum("two units" in str(w.message) for w in said) == 1


@pytest.mark.parametrize("form, columns", [("N", 1), ("ND", 2)])
def test_a_loss_that_rises_with_size_has_finite_constants_and_is_said(form, columns):
    N, D = (v.ravel() for v in np.meshgrid([1e8, 3e8, 1e9, 3e9], [2e9, 6e9, 2e10, 6e10]))
    with pytest.warns(MixlawWarning, match="does not fall"):
        law = laws.Kaplan(form).fit(np.c_[N, D][:, :columns], 2.0 + 0.1 * np.log10(N))
    assert all(np.isfinite(v) for v in law.parameters_.values()) and any("does not fall" in n for n in law.notes_)
    assert np.isfinite(law.predict(np.c_[N, D][:, :columns])).all()


@pytest.mark.parametrize(
    "family", ["M1", "M2", "M3", "M4", "Implicit", "LogLinear", "EffectiveTokens", "BiMix", "AutoScale"]
)
def test_no_rows_and_words_are_refused_in_words(family):
    X, Y = truths.exponential(k=3, targets=2, seed=0).sample(12)
    law = getattr(laws, family)()
    with pytest.raises(DataError, match="no runs"):
        law.fit(X[:0], Y[:0])
    with pytest.raises(DataError, match="y must be numbers"):
        law.fit(X, [["low", "high"]] * 12)
    with pytest.raises(DataError, match="X must be numeric"):
        law.fit({"web": ["a"] * 12, "code": X[:, 1]}, Y)
    with pytest.raises(TooFewRunsError, match="different mixtures"):
        law.fit(np.repeat(X[:1], 12, axis=0), Y)  # one mixture, run twelve times


def test_one_size_says_which_law_to_use():
    D = np.geomspace(1e9, 1e11, 12)
    with pytest.raises(NotIdentifiableError, match="different params"):
        laws.Chinchilla().fit(np.c_[np.full(12, 1e8), D], 2.0 + 1e3 / D**0.4)
    with pytest.raises(TooFewRunsError, match="4 parameters"):
        laws.Chinchilla(tied=True).fit(np.c_[D[:3], D[:3]], [3.0, 2.9, 2.8])


def test_losses_at_the_logarithm_of_the_vocabulary_are_not_perplexities():
    losses = np.array([2.30, 2.45, 2.6, 2.9, 3.1, 3.34, 9.73, 10.2, 10.8, 11.1, 11.5, 11.81])
    assert mixed_units(losses, "loss") is None
    assert "perplexities" in str(mixed_units(np.append(losses[:6], np.exp([2.31, 2.7, 2.9, 3.2])), "loss"))

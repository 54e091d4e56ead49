"""Optima that runs cannot tell apart: told, held by intervals, and none where the data are exact."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from mixlaw.laws import M4
from mixlaw.laws.core.base import Law
from mixlaw.laws.fit.equal_fits import EqualFits

from shared import experiments


@pytest.fixture(scope="module")
def swarm():
    table = pq.read_table(experiments("regmix_1m_train.parquet")).to_pandas()
    table = table.iloc[np.random.default_rng(0).permutation(len(table))[:64]]
    return table[[c for c in table if c.startswith("weight_")]], table[[c for c in table if c.startswith("loss_")]]


@pytest.fixture(scope="module")
def law(swarm):
    return M4(seed=0).fit(*swarm)


def pure(swarm):
    names = list(swarm[0].columns)
    return dict(zip(names, np.eye(len(names)), strict=True))


def test_what_another_dealing_to_folds_predicts_lies_inside_the_interval(swarm, law):
    """Predictions at pure mixtures moved by thousands of nats with the seed, out of one interval in twelve."""
    low, high = law.predict_interval(pure(swarm))
    others = np.array([M4(seed=seed).fit(*swarm).predict(pure(swarm)) for seed in (1, 2, 3)])
    assert np.ptp(others, axis=0).max() > 1.0  # nats: the seed does decide
    inside = ((low <= others) & (others <= high)).mean()
    alone = M4.from_dict(law.to_dict())
    alone.equal_fits_ = None
    low, high = alone.predict_interval(pure(swarm))
    assert inside > 0.95 > ((low <= others) & (others <= high)).mean()


def test_the_note_counts_the_optima_and_says_how_far_apart(law):
    (note,) = [n for n in law.notes_ if "different optima" in n]
    t = int(np.argmax([f"fit {name!r}" in note for name in law.target_names_]))
    assert note.startswith(f"{law.equal_fits_['count'][t]} different optima fit {law.target_names_[t]!r} equally well")
    assert "losses differ by up to" in note


def test_intervals_are_the_same_after_saving(swarm, law):
    again = Law.from_json(law.to_json())
    for ours, theirs in zip(law.predict_interval(pure(swarm)), again.predict_interval(pure(swarm)), strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_the_fits_that_are_kept_fit_as_well(swarm, law):
    """Each other optimum of a target has a sum of squares near that of the one that was kept."""
    X, Y = (table.to_numpy() for table in swarm)
    fits, model, every = EqualFits.from_dict(law.equal_fits_), law.model(X), np.arange(Y.shape[1])
    kept = ((law.predict(X) - Y) ** 2).mean(axis=0)
    for theta, linear in zip(fits.theta, fits.linear, strict=True):
        other = ((law._values(model, theta, linear, every).T - Y) ** 2).mean(axis=0)
        assert (other < 2.5 * kept).all()


def test_exact_data_have_one_optimum():
    r = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    law = M4().fit(r, 1.5 + 0.8 * np.exp(r @ [-1.5, 1.0, -0.4]))
    assert not [n for n in law.notes_ if "different optima" in n]

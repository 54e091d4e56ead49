"""Boosted trees: deterministic, complete in JSON, and worth having only with many runs."""

import numpy as np
import pytest

from mixlaw.errors import TooFewRunsError
from mixlaw.laws.core.base import Law
from mixlaw.laws.mixture.trees import Trees

pytest.importorskip("lightgbm", reason="needs the [trees] extra")


def simulated(n, seed=0):
    r = np.random.default_rng(seed).dirichlet(np.ones(3), n)
    return r, np.column_stack([2 + (0.02 + r[:, 0]) ** -0.3, 3 - r[:, 1]])


def test_ranks_unseen_mixtures_and_repeats_itself():
    X, Y = simulated(200)
    law = Trees(num_rounds=200).fit(X, Y)
    fresh, truth = simulated(100, seed=1)
    predicted = law.predict(fresh)
    for t in range(2):
        assert np.corrcoef(predicted[:, t].argsort().argsort(), truth[:, t].argsort().argsort())[0, 1] > 0.97
    np.testing.assert_array_equal(Trees(num_rounds=200).fit(X, Y).predict(fresh), predicted)
    np.testing.assert_array_equal(Law.from_json(law.to_json()).predict(fresh), predicted)
    assert np.argmax(law.parameters_["importance"], axis=1).tolist() == [0, 1]


def test_missing_targets_are_left_out_and_few_runs_refused():
    X, Y = simulated(60)
    Y[:20, 0] = np.nan
    assert np.isfinite(Trees(num_rounds=20).fit(X, Y).predict(X)).all()
    with pytest.raises(TooFewRunsError, match="at least 8 runs"):
        Trees().fit(X[:7], Y[:7])


def test_missing_extra_says_what_to_install(monkeypatch):
    import sys

    from mixlaw.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingExtraError, match=r"mixlaw\[trees\]"):
        Trees().fit(*simulated(20))

"""A held-out prediction has not seen the run, nor another run of the same mixture."""

import numpy as np
import pytest

from mixlaw import laws
from mixlaw.data.seams import LAWS
from mixlaw.laws.core.folds import replicate_groups
from mixlaw.report import plots
from mixlaw.report.document import _held_out


def world(mixtures, seeds, noise, seed=0):
    """Losses with noise, ``seeds`` runs of each mixture: a run's own replicates foretell its noise-free loss best."""
    rng = np.random.default_rng(seed)
    X = np.repeat(rng.dirichlet(np.ones(3), mixtures), seeds, axis=0)
    bumps = np.repeat(rng.normal(0, 0.3, mixtures), seeds)  # of the mixture, which no law of the others can know
    y = 3 + np.exp(-2 * X[:, 0]) + bumps + rng.normal(0, noise, len(X))
    order = rng.permutation(len(X))
    return X[order], y[order]


def frames(X, y):
    import pyarrow as pa

    return pa.table(dict(zip("abc", X.T))), pa.table({"loss": y})


@pytest.mark.parametrize("saved", [False, True])
def test_the_report_holds_replicates_out_together(saved):
    X, y = frames(*world(12, 3, 0.01))
    law = LAWS["log_linear"]().fit(X, y)
    law = laws.Law.from_json(law.to_json()) if saved else law
    groups = replicate_groups(np.column_stack([X.column(c).to_numpy() for c in "abc"]))
    held = _held_out(law, X, y)[:, 0]
    for g in np.unique(groups):
        np.testing.assert_allclose(held[groups == g], held[groups == g][0], rtol=1e-9)
    error = np.abs(held - y.column("loss").to_numpy()).mean()
    assert error > 0.15, "the bumps of the mixtures cannot be known"
    chart = plots.fit_vs_observed(law, X, y, heldout=held[:, None])
    assert f"MAE {error:.4f}" in "".join(t.get_text() for a in chart.axes for t in a.texts)
    folds = plots.fit_vs_observed(law, X, y, folds=5)
    told = next(t.get_text() for a in folds.axes for t in a.texts if "MAE" in t.get_text())
    assert float(told.split("MAE ")[1].split("\n")[0]) > 0.15


def test_the_gaussian_process_does_not_predict_a_run_from_its_replicates():
    """From 150 runs on it leaves rows out analytically: those of one mixture together."""
    X, y = world(40, 4, 0.02)
    law = LAWS["gaussian_process"](members=("log/log",)).fit(*frames(X, y))
    groups, held = replicate_groups(X), law.heldout[:, 0]
    for g in np.unique(groups):
        np.testing.assert_allclose(held[groups == g], held[groups == g][0], rtol=1e-6)
    alone, together = (np.abs(law.leave_one_out(flag)[0][:, 0] - y).mean() for flag in (False, True))
    assert together > 3 * alone and together > 0.1

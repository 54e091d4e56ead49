"""Critical proportion: the published four mixtures, a truth with a known answer, coverage, bad input."""

import numpy as np
import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError, MixlawWarning, TooFewRunsError
from mixlaw.optimize.critical_share import critical, critical_from_observations

from shared import experiments

SHARES = np.array([0.125, 0.25, 0.375, 0.5])


def curve(r):
    return 2.80 + 0.18 * np.exp(-4.0 * np.asarray(r))


def test_exact_curve_gives_the_exact_root():
    before = float(curve(0.3))
    found = critical(SHARES, curve(SHARES), before, noise=1e-4)
    assert found.proportion == pytest.approx(0.3, abs=2e-3)
    assert found.low <= found.proportion <= found.high
    assert float(found.predict(0.3)) == pytest.approx(before, abs=1e-3)


def test_interval_covers_a_known_truth():
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(40):
        sets = np.stack([curve(SHARES) + d + 0.002 * rng.normal(size=4) for d in np.linspace(-0.2, 0.2, 8)], axis=1)
        before = float(curve(0.28)) + np.linspace(-0.2, 0.2, 8)
        found = critical(SHARES, sets, before, num_bootstrap=200, seed=trial)
        inside += found.low <= 0.28 <= found.high
    assert inside >= 32  # 90% less two standard errors


def test_published_mixtures():
    import csv

    import pyarrow.parquet as pq

    with open(experiments("dml_validation_weights.csv"), newline="") as file:
        weights = {row["validation_domain"]: float(row["weight"]) for row in csv.DictReader(file)}
    rows = pq.read_table(experiments("dml_continual.parquet")).to_pylist()
    runs = {
        r["run"]: {"Pile": r["weight_Pile"], "Python": r["weight_Python"]} for r in rows if r["weight_Pile"] is not None
    }
    observations = Observations.from_records(
        [
            {"run": "base"},
            *({"run": k, "schedule": v} for k, v in runs.items() if not np.isnan(v["Pile"]) and k != "base"),
        ],
        [{"run": r["run"], "step": r["step"], "target": r["validation_domain"], "value": r["loss"]} for r in rows],
    )
    found = critical_from_observations(observations, "Pile", weights, "base")
    assert found.before == pytest.approx(2.873368, abs=1e-6)
    assert found.low <= 0.285 <= found.high
    assert found.high - found.low < 0.06
    assert "critical proportion 0.28" in str(found)


def test_bad_input_is_explained():
    with pytest.raises(TooFewRunsError, match="four or more"):
        critical([0.1, 0.2, 0.3], [3, 2, 1], 2.5)
    with pytest.raises(DataError, match="does not fall"):
        critical(SHARES, [1, 2, 3, 4], 2.5)
    with pytest.raises(DataError, match="do not match"):
        critical(SHARES, [3, 2, 1], 2.5)
    with pytest.raises(DataError, match="finite"):
        critical(SHARES, [3, 2, 1, np.nan], 2.5)
    with pytest.raises(DataError, match="must lie in"):
        critical([0, 0.2, 0.3, 0.4], [4, 3, 2, 1], 2.5)
    with pytest.warns(MixlawWarning, match="extrapolation"):
        critical(SHARES, curve(SHARES), float(curve(0.8)), noise=1e-3)
    for weights in ([0.0, 0.0], [1.0, -1.0], [2.0, -1.0]):
        with pytest.raises(ConfigError, match="positive sum"):
            critical(SHARES, np.stack([curve(SHARES)] * 2, axis=1), 2.5, weights=weights)
    with pytest.raises(ConfigError, match=r"\{'Pile-CC': 0.0\}"):
        critical_from_observations(Observations.from_records([], []), "Pile", {"Pile-CC": 0.0}, "base")


def test_no_critical_proportion_is_said_in_words(recwarn):
    assert "ends above 2.5000" in str(critical(SHARES, curve(SHARES), 2.5, noise=1e-3))
    assert "ends below 3.5000" in str(critical(SHARES, curve(SHARES), 3.5, noise=1e-3))
    assert not recwarn.list


def test_a_tolerance_moves_the_loss_that_is_kept():
    before = float(curve(0.3))
    found = critical(SHARES, curve(SHARES), before, tolerance=float(curve(0.2)) - before, noise=1e-4)
    assert found.proportion == pytest.approx(0.2, abs=2e-3) and found.new == pytest.approx(0.8, abs=2e-3)
    assert found.before == pytest.approx(float(curve(0.2)))
    for tolerance in (-0.01, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="nats per token of at least 0"):
            critical(SHARES, curve(SHARES), before, tolerance=tolerance)


def test_runs_that_continue_a_published_model_measured_the_loss_before():
    def seen(starts):
        runs = [{"run": f"r{i}", "schedule": {"old": s, "new": 1 - s}} for i, s in enumerate(SHARES)]
        values = [{"run": f"r{i}", "step": 9, "target": "old", "value": float(v)} for i, v in enumerate(curve(SHARES))]
        values += [
            {"run": f"r{i}", "step": 0, "target": "old", "metric": "start_loss", "value": v}
            for i, v in enumerate(starts)
        ]
        return Observations.from_records(runs, values)

    before = float(curve(0.3))
    found = critical_from_observations(seen([before] * 4), "old", {"old": 1.0}, "start", tolerance=0.001)
    assert found.proportion == pytest.approx(critical(SHARES, curve(SHARES), before, tolerance=0.001).proportion)
    with pytest.raises(DataError, match="did not measure a loss before their first step on 'old'"):
        critical_from_observations(seen([]), "old", {"old": 1.0}, "start")
    with pytest.raises(DataError, match=r"first step on 'odl'\. Did you mean 'old'"):
        critical_from_observations(seen([before] * 4), "old", {"odl": 1.0}, "start")
    with pytest.raises(DataError, match=r"does not fall as its share grows \(from .* at 0\.125 to .*train longer runs"):
        critical(SHARES, 6.0 - curve(SHARES), before)
    with pytest.raises(DataError, match="start from models with different losses on 'old'"):
        critical_from_observations(seen([2.9, 2.8]), "old", {"old": 1.0}, "start")

"""Which law ``mixlaw fit`` chooses for somebody's table."""

import numpy as np
import pytest

from mixlaw.data import formats
from mixlaw.errors import ConfigError, DataError
from mixlaw.io.importers import read
from mixlaw.kit.store import Store
from mixlaw.laws import suitable
from mixlaw.study.fit_files import _explained, _per_training_set, _rows_to_fit, _table, fit_files
from mixlaw.study.runs import left_out_text, of_one_size

from shared import experiments


def table(tmp_path, header, rows):
    path = tmp_path / "runs.csv"
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]))
    return path


def scaling_rows(sets):
    """Chinchilla laws that differ in E alone: E + 400 / N^.34 + 1500 / D^.37."""
    sizes = [(n, d) for n in (1e7, 3e7, 1e8, 3e8, 1e9) for d in (2e8, 1e9, 5e9, 3e10)]
    return [(s, n, d, e + 400 / n**0.34 + 1500 / d**0.37) for s, e in sets.items() for n, d in sizes]


@pytest.mark.parametrize(
    ("name", "rows", "law"),
    [
        ("regmix_1m_test", ("mixture", "final"), "Auto"),
        ("dml_two_domains", ("mixture", "final"), "Auto"),
        ("dml_redpajama", ("joint", "all"), "Joint"),
        ("chinchilla_points", ("scale", "final"), "Chinchilla"),
        ("data_constrained", ("repeated", "final"), "RepeatedData"),
        ("overtraining", ("scale", "final"), "Chinchilla"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*rescaled as asked")
def test_published_tables(name, rows, law):
    runs = read(experiments(f"{name}.parquet"), repair=True)
    assert _rows_to_fit(runs) == rows
    features, at = rows
    X, _ = _table(_explained(runs, features, str), features, at, None, str)
    assert type(suitable(X)).__name__ == law


def test_two_sizes_are_not_replicates(tmp_path):
    rows = [(w, 1 - w, n, 1e9, 3 + w) for n, weights in ((1e7, (0.2, 0.5)), (3e7, (0.1, 0.4, 0.8))) for w in weights]
    obs = read(table(tmp_path, "weight_a,weight_b,params,tokens,loss_a", rows))
    kept = of_one_size(obs)
    assert kept.runs.column("params").to_pylist() == [3e7] * 3
    assert left_out_text(obs, kept) == ("Fitted to 3 of 5 runs, those of 30.00M parameters. Left out: 2 of 10.00M.")


def test_three_sizes_without_tokens_are_fitted_at_one_size(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{w},{1 - w},{n},{3 - w + 10 / n**0.1}" for n in (10**7, 10**8, 10**9) for w in rng.random(8).round(3)]
    (tmp_path / "runs.csv").write_text("\n".join(["weight_a,weight_b,params,loss_a", *rows]) + "\n")
    said = []
    assert fit_files([tmp_path / "runs.csv"], tmp_path / "fit", dry_run=True, say=said.append) is None
    assert any("Fitted to 8 of 24 runs" in text and "with the tokens of each run" in text for text in said)


def test_targets_per_training_set(tmp_path):
    obs = read(table(tmp_path, "train_set,params,tokens,loss_c4", scaling_rows({"web": 1.5, "code": 2.5})))
    y = _per_training_set(obs, obs.table(features="scale", missing="keep"))
    assert y.column_names == ["c4, trained on web", "c4, trained on code"]
    measured = np.isfinite(np.column_stack([y.column(c).to_numpy() for c in y.column_names]))
    assert measured.sum(axis=0).tolist() == [20, 20]
    assert (measured.sum(axis=1) == 1).all()


def test_runs_that_say_nothing_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"neither mixtures nor sizes.*--weight DOMAIN=COLUMN"):
        fit_files([table(tmp_path, "run,loss_a", [("x", 3), ("y", 2)])], tmp_path / "fit")


def test_an_accuracy_beside_losses_is_told_how_it_is_fitted(tmp_path):
    path = table(tmp_path, "weight_a,weight_b,loss_a,acc_b", [(0.2, 0.8, 3, 0.5), (0.6, 0.4, 2, 0.4)])
    said = []
    fit_files([path], tmp_path / "fit", say=said.append, dry_run=True)
    assert any("Not fitted: values in accuracy" in text and "--ignore" in text for text in said)
    fit_files([path], tmp_path / "fit", say=said.append, dry_run=True, ignore=["loss_a"])
    assert "fitted as 1 - accuracy" in said[-1]


@pytest.mark.slow
def test_a_table_of_sizes_and_training_sets_end_to_end(tmp_path):
    path = table(tmp_path, "train_set,params,tokens,loss_c4", scaling_rows({"web": 1.5, "code": 2.5}))
    law = fit_files([path], tmp_path / "fit", say=lambda text: None)
    for k, e in enumerate((1.5, 2.5)):
        assert np.atleast_1d(law.parameters_["E"])[k] == pytest.approx(e, abs=0.02)
    assert (tmp_path / "fit" / "law.json").exists()
    assert list((tmp_path / "fit" / "plots").glob("*.png"))


def test_a_larger_run_is_predicted_with_every_count_of_parameters(tmp_path):
    rows = [(n + 2e7, n, d, 1.5 + 400 / n**0.34 + 1500 / d**0.37) for _, n, d, _ in scaling_rows({"web": 1.5})]
    runs, said = table(tmp_path, "total_params,params,tokens,loss_c4", rows), []
    folder = tmp_path / "fit"
    fit_files([runs], folder, at=["params=10B,params_total=10.02B,tokens=200B"], say=said.append)
    [answer] = [text for text in said if text.startswith("c4 at params 1e+10")]
    assert "Chosen in backtests" in answer and "params_total" in answer and "ways that did as well differ" in answer
    stored = formats.read(Store(folder), "extrapolation.json", "extrapolation")["targets"][0]
    truth = 1.5 + 400 / 1e10**0.34 + 1500 / 2e11**0.37
    assert stored["low"][0] < truth < stored["high"][0]
    assert {way["count"] for way in stored["ways"]} == {"params", "params_total"}


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("params=7B", "needs params and tokens"),
        ("params:7B,tokens=1B", "must look like params=7B,tokens=140B"),
        ("params=7B,tokens=1B,active_params=1B", "names active_params, which the runs do not have"),
    ],
)
def test_a_larger_run_that_is_asked_for_wrongly(tmp_path, at, words):
    rows = [row[1:] for row in scaling_rows({"web": 1.5})]
    with pytest.raises(ConfigError, match=words):
        fit_files([table(tmp_path, "params,tokens,loss_c4", rows)], tmp_path / "fit", at=[at], say=str)
    assert not (tmp_path / "fit").exists()


def test_a_larger_run_of_several_mixtures_is_the_optimisers(tmp_path):
    rows = [(w, 1 - w, 1e8, 1e9, 3 + w) for w in (0.1, 0.3, 0.5, 0.7, 0.9)]
    runs = table(tmp_path, "weight_a,weight_b,params,tokens,loss_a", rows)
    with pytest.raises(ConfigError, match="mixlaw optimize"):
        fit_files([runs], tmp_path / "fit", at=["params=7B,tokens=140B"], say=str)

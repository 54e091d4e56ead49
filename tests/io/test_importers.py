"""Tables of runs in the shapes people have them."""

import numpy as np
import pytest

from mixlaw.errors import DataError, MixlawWarning
from mixlaw.io.importers import read
from mixlaw.observations import Observations

from shared import experiments


def write(path, text):
    path.write_text(text)
    return path


def test_wide_table(tmp_path):
    path = write(tmp_path / "runs.csv", "run,weight_web,weight_code,loss_web,bpb_code\na,.5,.5,3.1,.9\nb,1,0,2.9,1.4\n")
    obs = read(path)
    X, y = obs.table()
    assert X.column_names == ["web", "code"]
    assert y.column("web").to_pylist() == [3.1, 2.9]
    assert obs.table(["code"], metric="bits_per_byte")[1].column("code").to_pylist() == [0.9, 1.4]


def test_long_table_with_steps(tmp_path):
    rows = ["weight_a,weight_b,step,tokens,validation_domain,loss"]
    for w in (0.25, 0.75):
        for step in (10, 20):
            rows += [f"{w},{1 - w},{step},{step * 100},a,{4 - w - step / 100}", f"{w},{1 - w},{step},{step * 100},b,3"]
    obs = read(write(tmp_path / "long.csv", "\n".join(rows)))
    assert len(obs) == 2
    assert obs.table()[1].num_rows == 2
    X, _y = obs.table(at="all", features="joint", targets=["a", "b"]) if _has_params(obs) else obs.table(at="all")
    assert X.num_rows == 4


def _has_params(obs):
    return obs.runs.column("params").null_count == 0


def test_regmix_pair_in_either_order(tmp_path):
    weights = write(
        tmp_path / "mix.csv", "index,train_the_pile_arxiv,train_the_pile_pile_cc\n1,.3,.7\n2,.6,.4\n3,1,0\n"
    )
    losses = write(
        tmp_path / "loss.csv",
        "index,valid_the_pile_arxiv/loss,valid_the_pile_pile_cc/loss\n3,2.0,4.1\n1,2.5,3.1\n2,2.2,3.3\n",
    )
    for pair in ([weights, losses], [losses, weights]):
        X, y = read(pair).table()
        assert X.column_names == ["arxiv", "pile_cc"]
        by_weight = dict(zip(X.column("arxiv").to_pylist(), y.column("arxiv").to_pylist()))
        assert by_weight == {0.3: 2.5, 0.6: 2.2, 1.0: 2.0}


def test_rounded_weights_are_reported_and_repaired_only_on_request(tmp_path):
    path = write(tmp_path / "runs.csv", "weight_a,weight_b,loss_a\n.3,.703,3\n.5,.5,2.9\n")
    with pytest.raises(DataError, match=r"1 of 2 runs do not sum to 1.*run1.*rounding"):
        read(path)
    with pytest.warns(MixlawWarning, match="rescaled as asked"):
        X, _ = read(path, repair=True).table()
    assert X.column("a").to_pylist()[0] == pytest.approx(0.3 / 1.003)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight_a,weight_b,loss_a\n50,50,3\n", "Divide percentages by 100"),
        ("weight_a,weight_b\n.5,.5\n", "no column of measured values"),
        ("weight_a,weight_b,loss_a\n", "holds no rows"),
        ("run,weight_a,weight_b,loss_a\nx,.5,.5,3\nx,.4,.6,3\n", "has two mixtures"),
    ],
)
def test_bad_tables_say_what_is_wrong(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "bad.csv", text))


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="not a study"):
        read(tmp_path)


def test_saved_observations_round_trip(tmp_path):
    obs = Observations.from_records(
        [{"run": "a", "schedule": {"x": 0.4, "y": 0.6}, "seed": 3}], [{"run": "a", "target": "x", "value": 2.0}]
    )
    obs.save(tmp_path / "saved")
    again = Observations.read(tmp_path / "saved")
    assert again.runs.equals(obs.runs)
    assert again.values.equals(obs.values)


def test_published_records_are_read_whole():
    obs = read(experiments("dml_redpajama.parquet"), repair=True)
    X, y = obs.table(features="joint")
    assert y.num_columns == 22
    assert set(np.round(X.column("params").to_numpy() / 1e6)) >= {19.0, 85.0, 302.0}
    with pytest.raises(DataError, match="do not sum to 1"):
        read(experiments("regmix_1m_train.parquet"))

"""The table that says what each column was taken as: for every importer, for what users say, and kept."""

import math

import pyarrow.parquet as pq
import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import DataError
from mixlaw.io.importers import read
from mixlaw.io.runlogs import RunLog, to_observations


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def roles(obs):
    return {c["column"]: (c["taken_as"], c["name"]) for c in obs.columns.to_pylist()}


TABLE = (
    "mixture_id,run,N,D,lr,seed,weight_web,weight_code,weight_decay,loss_web,code_loss,train_loss,note,empty,flag\n"
    "0,a,1e7,1e9,0.001,1,0.4,0.6,0.1,3.0,2.5,2.9,first,,x\n1,b,1e7,1e9,0.01,2,0.5,0.5,0.1,2.9,2.6,2.8,second,,y\n"
)


def test_every_column_of_a_table_is_taken_as_something(tmp_path):
    obs = read(write(tmp_path / "runs.csv", TABLE))
    assert roles(obs) == {
        "mixture_id": ("id", ""),
        "run": ("id", ""),
        "N": ("size", "params"),
        "D": ("size", "tokens"),
        "lr": ("setting", "lr"),
        "seed": ("setting", "seed"),
        "weight_web": ("weight", "web"),
        "weight_code": ("weight", "code"),
        "weight_decay": ("setting", "weight_decay"),
        "loss_web": ("value", "web"),
        "code_loss": ("value", "code"),
        "train_loss": ("unused", ""),
        "note": ("setting", "note"),
        "empty": ("unused", ""),
        "flag": ("setting", "flag"),
    }
    assert obs.settings()["a"] == {"lr": 0.001, "weight_decay": 0.1, "note": "first", "flag": "x"}
    text = obs.columns_text()
    assert "lr            setting (2 values)" in text and "train_loss    unused (a training loss" in text
    assert "weight_decay  setting (always 0.1)" in text


def test_what_users_say_of_columns_holds(tmp_path):
    path = write(tmp_path / "runs.csv", "run,W,C,f1,junk,loss_y\na,40,60,0.3,1,9\nb,50,50,0.4,2,8\n")
    with pytest.warns(match="rescaled as asked"):
        obs = read(path, weights={"web": "W", "code": "C"}, values=["f1=higher"], ignore=["junk"], repair=True)
    assert obs.schedules()["a"].mixture.to_dict() == {"web": 0.4, "code": 0.6}
    assert {(v["target"], v["metric"], v["unit"]) for v in obs.values.to_pylist()} == {
        ("f1", "score", "higher_is_better")
    }
    assert roles(obs)["junk"] == ("unused", "") and roles(obs)["loss_y"] == ("unused", "")
    with pytest.raises(DataError, match="no column 'V'"):
        read(path, weights={"web": "V"})


def test_the_table_is_stored_with_the_observations(tmp_path):
    obs = read(write(tmp_path / "runs.csv", TABLE))
    obs.save(tmp_path / "saved")
    again = Observations.load(tmp_path / "saved")
    assert again.columns.equals(obs.columns)
    assert again.select(["a"]).columns.equals(obs.columns)
    assert Observations.concat([again, Observations.empty()]).columns.equals(obs.columns)
    schema = pq.read_schema(tmp_path / "saved" / "columns.parquet")
    assert (
        schema.metadata[b"mixlaw.format"]
        == pq.read_schema(tmp_path / "saved" / "runs.parquet").metadata[b"mixlaw.format"]
    )
    bare = Observations.from_records([{"run": "a"}], [])
    bare.save(tmp_path / "bare")
    assert not (tmp_path / "bare" / "columns.parquet").exists()
    assert Observations.load(tmp_path / "bare").columns.num_rows == 0


def test_text_in_a_weight_is_refused_with_run_domain_and_text(tmp_path):
    path = write(tmp_path / "runs.csv", "run,weight_a,weight_b,loss_a\nx,0.4,0.6,3\ny,1.0,-,2\n")
    for repair in (False, True):
        with pytest.raises(DataError, match=r"run 'y' has weight '-' of 'b' \(column 'weight_b', row 3\)"):
            read(path, repair=repair)
    obs = read(write(path, "weight_a,weight_kind,loss_a\n1,tied,3\n"))
    assert roles(obs)["weight_kind"] == ("setting", "weight_kind")
    logs = [RunLog("x", config={"weight_a": "0.4", "weight_b": "-"}, metrics=[("loss/a", 1, 2.0)])]
    logs.append(RunLog("y", config={"weight_a": 0.4, "weight_b": 0.6}, metrics=[("loss/a", 1, 2.0)]))
    with pytest.raises(DataError, match=r"run 'x' has weight '-' of 'b'"):
        to_observations(logs, where="logs")


def test_a_weight_that_is_missing_is_told_apart_from_one_that_is_wrong(tmp_path):
    with pytest.raises(DataError, match=r"run 'run1' has no weight of 'b'.*Write 0"):
        read(write(tmp_path / "runs.csv", "weight_a,weight_b,loss_a\n1,,3\n0.5,0.5,2\n"))


def test_model_names_the_runs_only_where_it_does(tmp_path):
    rows = [f"{w},{1 - w},{model},{3 - w}" for w in (0.25, 0.5) for model in ("small", "large")]
    obs = read(write(tmp_path / "runs.csv", "weight_a,weight_b,model,loss_a\n" + "\n".join(rows)))
    assert len(obs) == 4 and roles(obs)["model"] == ("setting", "model")
    obs = read(write(tmp_path / "one.csv", "weight_a,weight_b,model,loss_a\n0.4,0.6,m1,3\n0.5,0.5,m2,2\n"))
    assert obs.runs["run"].to_pylist() == ["m1", "m2"]


def test_sizes_by_their_usual_names_and_in_words(tmp_path):
    obs = read(write(tmp_path / "runs.csv", "model_size,training_tokens,loss\n14M,1B,3.1\n70M,2B,2.9\n"))
    assert obs.runs["params"].to_pylist() == [14e6, 70e6] and obs.runs["tokens"].to_pylist() == [1e9, 2e9]
    with pytest.raises(DataError, match=r"column 'model_size', row 2: 'big' is not a count"):
        read(write(tmp_path / "bad.csv", "model_size,D,loss\nbig,1e9,3\n"))


def test_two_columns_of_one_meaning_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"both 'loss_a' and 'a_loss' are the loss on 'a'.*--ignore a_loss"):
        read(write(tmp_path / "runs.csv", "weight_a,weight_b,loss_a,a_loss\n0.4,0.6,3,2\n"))
    assert len(read(tmp_path / "runs.csv", ignore=["a_loss"])) == 1


def test_files_of_one_curve_each_are_runs_of_their_names(tmp_path):
    folder = tmp_path / "ladder"
    for name, loss in (("small-1x", 4.0), ("large-1x", 3.5)):
        write(folder / f"{name}.csv", f"_step,eval/a/CrossEntropyLoss\n100,{loss}\n200,{loss - 0.5}\n")
    for source in (folder, sorted(folder.iterdir())):
        obs = read(source)
        assert obs.runs["run"].to_pylist() == ["large-1x", "small-1x"]
        assert obs.values.num_rows == 4
    for i in (1, 2):  # tables of several runs are stacked as before
        write(tmp_path / f"part{i}.csv", f"weight_a,weight_b,loss_a\n0.{i},0.{10 - i},3.{i}\n0.5,0.5,2.{i}\n")
    assert len(read([tmp_path / "part1.csv", tmp_path / "part2.csv"])) == 4


def test_olmix_ids_and_settings_are_neither_targets_nor_domains(tmp_path):
    ratios = write(tmp_path / "ratios.csv", "mixture_id,run,web,code\n0,a,0.7,0.3\n1,b,0.4,0.6\n")
    text = "mixture_id,run,_step,params,_runtime,created_at,seed,arc:rc,web_bpb\n"
    text += "0,a,1000,3e7,36.5,2026-01-01,1,1.1,0.9\n1,b,1000,3e7,37.5,2026-01-02,2,1.0,0.8\n"
    obs = read([ratios, write(tmp_path / "metrics.csv", text)])
    assert obs.domains == ["web", "code"] and obs.targets == ["arc:rc", "web"]
    assert obs.runs["params"].to_pylist() == [3e7, 3e7] and obs.runs["seed"].to_pylist() == [1, 2]
    assert obs.values["step"].to_pylist() == [1000] * 4
    assert obs.settings()["a"] == {"_runtime": 36.5, "created_at": "2026-01-01"}
    assert len(obs.columns) == 13
    ignored = read([ratios, tmp_path / "metrics.csv"], ignore=["arc:rc"])
    assert ignored.targets == ["web"]


def test_regmix_says_its_columns_and_keeps_infinite_losses(tmp_path):
    pair = [
        write(tmp_path / "mix.csv", "index,train_a,train_b\n1,0.3,0.7\n2,0.6,0.4\n"),
        write(tmp_path / "loss.csv", "index,valid_a_loss,valid_b_loss\n1,2.5,inf\n2,2.2,3.3\n"),
    ]
    with pytest.warns(match=r"1 runs diverged .*\['1 \(b\)'\]"):
        obs = read(pair)
    assert obs.runs["status"].to_pylist() == ["diverged", "done"]
    assert [(v["value"], v["censored"]) for v in obs.values.to_pylist() if v["target"] == "b"] == [
        (math.inf, "right"),
        (3.3, "none"),
    ]
    assert roles(obs) == {
        "index": ("id", ""),
        "train_a": ("weight", "a"),
        "train_b": ("weight", "b"),
        "valid_a_loss": ("value", "a"),
        "valid_b_loss": ("value", "b"),
    }


def test_logs_say_settings_sizes_and_metrics():
    config = {
        "weight_a": 0.4,
        "weight_b": 0.6,
        "lr": 0.001,
        "n_params": 1e6,
        "layers": [1, 2],
        "seed": 3,
        "sweep_id": "q",
    }
    metrics = [("loss/a", 10, 3.0), ("train/loss", 10, 2.0), ("tokens", 10, 1000.0), ("grad_norm", 10, 1.0)]
    obs = to_observations([RunLog("x", config=config, metrics=metrics)], where="logs")
    assert roles(obs) == {
        "weight_a": ("weight", "a"),
        "weight_b": ("weight", "b"),
        "lr": ("setting", "lr"),
        "n_params": ("size", "params"),
        "layers": ("unused", ""),
        "seed": ("setting", "seed"),
        "sweep_id": ("id", ""),
        "loss/a": ("value", "a"),
        "train/loss": ("unused", ""),
        "tokens": ("size", "tokens"),
        "grad_norm": ("unused", ""),
    }
    assert obs.settings()["x"] == {"lr": 0.001, "sweep_id": "q"}
    log = RunLog("x", config={"p": 0.4, "q": 0.6}, metrics=metrics)
    asked = to_observations([log], where="logs", weights=["a=p", "b=q"], values={"grad_norm": "lower"})
    assert asked.schedules()["x"].mixture.to_dict() == {"a": 0.4, "b": 0.6}
    assert asked.targets == ["grad_norm"]


def test_wandb_is_recognised_by_state_and_id_and_charts_over_tokens_are_curves(tmp_path):
    table = write(
        tmp_path / "runs.csv",
        "Name,State,ID,weight_a,weight_b,loss/a\nx,finished,i1,0.4,0.6,3.0\nx,crashed,i2,0.5,0.5,5.0\n",
    )
    with pytest.warns(match=r"\['i2'\] \(1\) did not finish"):
        obs = read(table)
    assert obs.runs["status"].to_pylist() == ["done", "partial"] and roles(obs)["ID"] == ("id", "")
    chart = write(
        tmp_path / "chart.csv",
        "throughput/total_tokens,x - loss/a,x - loss/a__MIN,x - loss/a__MAX\n1000,4.0,4.0,4.0\n2000,3.5,3.5,3.5\n",
    )
    with pytest.warns(match="no run has a recorded mixture"):
        curve = read(chart)
    assert [(v["step"], v["tokens"], v["value"]) for v in curve.values.to_pylist()] == [
        (None, 1000, 4.0),
        (None, 2000, 3.5),
    ]
    assert curve.runs["tokens"].to_pylist() == [2000.0]
    with pytest.raises(DataError, match="chart over 'Relative Time'"):
        read(write(tmp_path / "time.csv", chart.read_text().replace("throughput/total_tokens", "Relative Time")))

"""Runs out of experiment trackers and olmix.

TensorBoard's fixtures come from its real writer; W&B's and MLflow's are written by hand in their documented layouts
(the packages are not needed to read them, and are not installed for tests).
"""

import json
import sys

import pytest

from mixlaw.errors import ConfigError, DataError, MissingExtraError, MixlawWarning
from mixlaw.io.importers import read


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def mixtures_of(obs):
    return {run: schedule.mixture.to_dict() for run, schedule in obs.schedules().items()}


def losses(obs, target, metric="loss"):
    table = obs.table([target], metric=metric, features="scale" if not obs.domains else "mixture")
    return dict(zip(table.runs, table.y.column(target).to_pylist()))


# ---- olmix --------------------------------------------------------------------------------------------
RATIOS = "run_id,name,web,code\nr1,first,.7,.3\nr2,second,.4,.6\nr3,third,1,0\n"
METRICS = "run_id,name,arc_easy:rc::olmes,eval/downstream/boolq_acc\nr2,second,1.2,.5\nr1,first,1.1,.6\nr3,third,1.0,\n"


def test_olmix_pair_and_folder(tmp_path):
    ratios = write(tmp_path / "dclm_ratios.csv", RATIOS)
    metrics = write(tmp_path / "dclm_metrics.csv", METRICS)
    for source in ([ratios, metrics], [metrics, ratios], tmp_path):
        obs = read(source)
        assert mixtures_of(obs)["r2"] == {"web": 0.4, "code": 0.6}
        assert losses(obs, "arc_easy:rc::olmes", "bits_per_byte") == {"r1": 1.1, "r2": 1.2, "r3": 1.0}
        assert losses(obs, "boolq", "accuracy") == {"r1": 0.6, "r2": 0.5}  # r3 has no value of this metric


def test_olmix_canonical_columns(tmp_path):
    ratios = write(tmp_path / "ratios.csv", "run,name,index,web,code\na,x,0,.7,.3\nb,y,1,.4,.6\n")
    metrics = write(tmp_path / "metrics.csv", "run,name,index,mbpp\na,x,0,3\nb,y,1,inf\n")
    obs = read([ratios, metrics], metric="loss")
    assert obs.domains == ["web", "code"]
    assert obs.values.column("censored").to_pylist() == ["none", "right"]
    assert losses(obs, "mbpp") == {"a": 3.0}


@pytest.mark.parametrize(
    ("ratios", "metrics", "message"),
    [
        (RATIOS.replace("r2", "r1"), METRICS, "repeats the runs.*r1"),
        (RATIOS.replace(".4,.6", "-.4,1.4"), METRICS, r"'r2' has weight .*-0\.4"),
        (RATIOS.replace(".4,.6", ".4,.7"), METRICS, "1 of 3 runs do not sum to 1"),
        (RATIOS.replace("run_id", "what").replace("name", "which"), METRICS, "no column that names its runs"),
        (RATIOS, METRICS.replace("r", "s").replace("second", "other"), "share no run|no column that names"),
        (RATIOS, METRICS.replace("1.2", "good"), "'good' is not a number"),
    ],
)
def test_bad_olmix_files(tmp_path, ratios, metrics, message):
    pair = [write(tmp_path / "ratios.csv", ratios), write(tmp_path / "metrics.csv", metrics)]
    with pytest.raises(DataError, match=message):
        read(pair)


def test_olmix_runs_in_one_file_only_are_named(tmp_path):
    pair = [
        write(tmp_path / "ratios.csv", RATIOS),
        write(tmp_path / "metrics.csv", "run_id,m\nr1,1\nr2,2\nr9,3\n"),
    ]
    with pytest.warns(MixlawWarning, match=r"2 runs.*'r3', 'r9'"):
        assert len(read(pair)) == 2
    with pytest.raises(ConfigError, match="bits_per_byte"):
        read(pair, metric="bpb")


# ---- Weights & Biases -----------------------------------------------------------------------------------
PAGE = """Name,State,User,Tags,Created,Runtime,Sweep,weight_web,weight_code,weight_decay,n_params,_step,loss/web,val_tok
a,finished,me,,2026-01-01,10,,.7,.3,.1,1000000,50,3.1,7
b,finished,me,,2026-01-01,10,,.4,.6,.1,1000000,50,3.3,7
"""


def test_wandb_runs_table(tmp_path):
    obs = read(write(tmp_path / "export.csv", PAGE))
    assert mixtures_of(obs) == {"a": {"web": 0.7, "code": 0.3}, "b": {"web": 0.4, "code": 0.6}}
    assert obs.targets == ["web"]
    assert losses(obs, "web") == {"a": 3.1, "b": 3.3}
    assert obs.runs.column("params").to_pylist() == [1e6, 1e6]
    assert obs.values.column("step").to_pylist() == [50, 50]


def test_wandb_api_table_with_json_and_python_text(tmp_path):
    config = json.dumps({"mixture": {"value": {"web": 0.7, "code": 0.3}}, "model": {"value": {"n_params": 5e6}}})
    summary = str({"eval/web/CrossEntropyLoss": 2.5, "_step": 9})
    quoted = [f'"{t.replace(chr(34), chr(34) * 2)}"' for t in (summary, config)]
    obs = read(write(tmp_path / "project.csv", f"name,summary,config\nx,{quoted[0]},{quoted[1]}\n"))
    assert mixtures_of(obs) == {"x": {"web": 0.7, "code": 0.3}}
    assert losses(obs, "web") == {"x": 2.5}
    assert obs.runs.column("params").to_pylist() == [5e6]


def test_wandb_charts_join_the_runs_table(tmp_path):
    table = write(tmp_path / "runs.csv", PAGE)
    chart = write(
        tmp_path / "chart.csv",
        '"Step","a - loss/web","a - loss/web__MIN","a - loss/web__MAX","b - loss/web","b - loss/web__MIN",'
        '"b - loss/web__MAX","a - _step","a - _step__MIN","a - _step__MAX"\n'
        '"10","4.0","4.0","4.0","","","","10","10","10"\n"50","3.0","3.0","3.0","3.2","3.2","3.2","50","50","50"\n',
    )
    obs = read([table, chart])
    assert losses(obs, "web") == {"a": 3.0, "b": 3.2}
    assert obs.table(at="all")[1].num_rows == 3
    with pytest.warns(MixlawWarning, match="no run has a recorded mixture"):
        alone = read(chart)
    assert not alone.domains
    weights = write(tmp_path / "w.csv", "run,web,code\na,.7,.3\nb,.4,.6\n")
    assert mixtures_of(read(chart, mixtures=weights)) == mixtures_of(obs)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\nb,", "\na,", "several runs named 'a'.*ID"),
        (".4,.6", "40,60", "Divide percentages by 100"),
        (".4,.6", ".4,.5", "do not sum to 1"),
        ("loss/web,val_tok", "lr_now,val_batch_size", "no metric is a measured value"),
        ("val_tok", "val_loss/web", "both 'loss/web' and 'val_loss/web'"),
    ],
)
def test_bad_wandb_tables(tmp_path, old, new, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "export.csv", PAGE.replace(old, new)))


def test_wandb_states_missing_and_infinite_values_are_said(tmp_path):
    text = PAGE.replace("b,finished", "b,crashed") + "c,finished,me,,2026-01-01,10,,.5,.5,.1,1000000,50,Infinity,7\n"
    text += "d,finished,me,,2026-01-01,10,,.2,.8,.1,1000000,50,NaN,7\n"
    with pytest.warns(MixlawWarning) as caught:
        obs = read(write(tmp_path / "export.csv", text))
    said = " ".join(str(w.message) for w in caught)
    assert "['d'] (1) have no measured value" in said
    assert "['b'] (1) did not finish" in said
    assert "diverged" in said
    assert obs.runs.column("status").to_pylist() == ["done", "partial", "diverged", "done"]
    with pytest.warns(MixlawWarning, match=r"1 runs did not come to their end, for example \['b'\]"):
        assert losses(obs, "web") == {"a": 3.1}
    assert sorted(obs.table(["web"], at="all", features="mixture")[1].column("web").to_pylist()) == [3.1, 3.3]


def test_two_units_of_one_target_are_said(tmp_path):
    text = PAGE.replace("val_tok", "bpb/web").replace("50,3.3,7", "50,,1.1").replace("3.1,7", "3.1,")
    with pytest.warns(MixlawWarning, match=r"'web' is measured in nats per token in 1 runs and in bits per byte in 1"):
        obs = read(write(tmp_path / "export.csv", text))
    assert losses(obs, "web") == {"a": 3.1}


# ---- MLflow ---------------------------------------------------------------------------------------------
def mlflow_run(root, run_id, name, params, metrics, status=3, stage="active"):
    folder = root / "0" / run_id
    write(
        folder / "meta.yaml",
        f"run_id: {run_id}\nrun_name: {name}\nstatus: {status}\nlifecycle_stage: {stage}\nend_time: 1\n",
    )
    for key, value in params.items():
        write(folder / "params" / key, str(value))
    for key, lines in metrics.items():
        write(folder / "metrics" / key, "".join(f"170000000000{i} {v} {s}\n" for i, (v, s) in enumerate(lines)))
    return folder


@pytest.fixture
def store(tmp_path):
    root = tmp_path / "mlruns"
    write(root / "0" / "meta.yaml", "experiment_id: '0'\nname: Default\n")
    weights = {"weight_web": 0.7, "weight_code": 0.3, "weight_decay": 0.1, "num_params": 2000000}
    mlflow_run(root, "aaa", "first", weights, {"loss/web": [(4.0, 10), (3.0, 20)], "train_loss": [(1, 1)]})
    weights = weights | {"weight_web": 0.4, "weight_code": 0.6}
    mlflow_run(root, "bbb", "second", weights, {"loss/web": [(4.2, 10), (3.3, 20)]})
    mlflow_run(root, "ccc", "gone", weights, {"loss/web": [(9, 1)]}, stage="deleted")
    return root


def test_mlflow_store_experiment_and_run(store):
    for source in (store, store / "0"):
        obs = read(source)
        assert mixtures_of(obs) == {"first": {"web": 0.7, "code": 0.3}, "second": {"web": 0.4, "code": 0.6}}
        assert losses(obs, "web") == {"first": 3.0, "second": 3.3}
        assert obs.table(at="all")[1].num_rows == 4
        assert obs.targets == ["web"]
    assert len(read(store / "0" / "aaa")) == 1


def test_mlflow_search_csv(tmp_path):
    path = write(
        tmp_path / "runs.csv",
        "run_id,experiment_id,status,metrics.loss/web,metrics.bpb/code,params.weight_web,params.weight_code,"
        "tags.mlflow.runName\nr1,0,FINISHED,3.0,1.1,.7,.3,x\nr2,0,FAILED,3.3,,.4,.6,y\n",
    )
    with pytest.warns(MixlawWarning, match=r"\['y'\] \(1\) did not finish"):
        obs = read(path)
    with pytest.warns(MixlawWarning, match="did not come to their end"):
        assert losses(obs, "web") == {"x": 3.0}
    assert losses(obs, "code", "bits_per_byte") == {"x": 1.1}


def test_mlflow_divergence_is_censored(store):
    mlflow_run(
        store, "ddd", "third", {"weight_web": 0.5, "weight_code": 0.5}, {"loss/web": [(4, 10), ("nan", 20)]}, status=4
    )
    with pytest.warns(MixlawWarning, match=r"1 runs diverged.*third \(web\)"):
        obs = read(store)
    assert obs.runs.column("status").to_pylist()[-1] == "diverged"
    assert obs.values.column("censored").to_pylist().count("right") == 1
    assert set(losses(obs, "web")) == {"first", "second"}


@pytest.mark.parametrize("file", ["meta.yaml", "params/weight_web", "metrics/loss", "tags/mlflow.runName"])
def test_a_file_of_mlflow_that_is_no_text_is_named(tmp_path, file):
    for name, text in (
        ("meta.yaml", "run_id: a"),
        ("params/weight_web", "1"),
        ("metrics/loss", "1700000000000 2.5 10"),
    ):
        write(tmp_path / "1" / "a" / name, text)
    path = write(tmp_path / "1" / "a" / file, "")
    path.write_bytes(b"\x80\xff")
    with pytest.raises(DataError, match=f"{file} is no text"):
        read(tmp_path, format="mlflow")


def test_bad_mlflow_stores(store, tmp_path):
    write(store / "0" / "aaa" / "metrics" / "bpb" / "web", "17 high 3\n")
    with pytest.raises(DataError, match=r"line 1: '17 high 3' is not 'timestamp value step'"):
        read(store)
    (store / "0" / "aaa" / "metrics" / "bpb" / "web").unlink()
    write(store / "0" / "bbb" / "params" / "weight_web", "1.7")
    with pytest.raises(DataError, match=r"'second' has weight .*1\.7"):
        read(store)
    with pytest.raises(DataError, match="names none of the runs"):
        read(store, mixtures=write(tmp_path / "w.csv", "run,web\nother,1\n"))
    with pytest.raises(DataError, match=r"more than once"):
        read(store, mixtures=write(tmp_path / "w.csv", "run,web,code\nfirst,.5,.5\nfirst,.4,.6\n"))
    with pytest.raises(DataError, match=r"there is no metric 'loss/wep'.*loss/web"):
        read(store, values=["loss/wep"])


def test_values_can_be_named(store):
    with pytest.warns(MixlawWarning, match=r"\['second'\] \(1\) have no measured value"):
        obs = read(store, values=["train_loss"])
    assert losses(obs, "train_loss") == {"first": 1.0}


# ---- TensorBoard ----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def board(tmp_path_factory):
    pytest.importorskip("tensorboard")
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    root = tmp_path_factory.mktemp("board")
    for name, web, final in (("a", 0.75, 3.0), ("b", 0.25, float("nan"))):
        with tensorboard.SummaryWriter(str(root / "logs" / name)) as writer:
            for step, value in ((10, 4.0), (20, final)):
                writer.add_scalar("loss/web", value, step)
                writer.add_scalar("train/loss", 1.0, step)
                writer.add_scalar("tokens", step * 100, step)
            hyper = {"weight_web": web, "weight_code": 1 - web, "weight_decay": 0.1, "optimizer": "adam"}
            writer.add_hparams(hyper, {"hparam/none": 0.0})
    with tensorboard.SummaryWriter(str(root / "bare" / "c")) as writer:
        writer.add_scalar("bpb/web", 1.5, 5)
    return root


def test_tensorboard_logs(board):
    with pytest.warns(MixlawWarning, match=r"diverged.*b \(web\)"):
        obs = read(board / "logs")
    assert mixtures_of(obs) == {"a": {"web": 0.75, "code": 0.25}, "b": {"web": 0.25, "code": 0.75}}
    assert losses(obs, "web") == {"a": 3.0}
    assert obs.targets == ["web"]
    assert obs.runs.column("status").to_pylist() == ["done", "diverged"]
    assert obs.runs.column("tokens").to_pylist() == [2000.0, 2000.0]


def test_tensorboard_without_mixture_says_so_and_takes_a_table(board, tmp_path):
    file = next((board / "bare" / "c").iterdir())
    for source in (board / "bare", file):
        with pytest.warns(MixlawWarning, match=r"no run has a recorded mixture.*mixtures="):
            obs = read(source)
        assert obs.values.column("metric").to_pylist() == ["bits_per_byte"]
    weights = write(tmp_path / "w.csv", "run,weight_web,weight_code\nc,.5,.5\n")
    assert mixtures_of(read(board / "bare", mixtures=weights)) == {"c": {"web": 0.5, "code": 0.5}}
    with pytest.raises(DataError, match="no such file"):
        read(board / "bare", mixtures=tmp_path / "nowhere.csv")


def test_tensorboard_is_asked_for_when_it_is_not_there(board, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_accumulator", None)
    with pytest.raises(MissingExtraError, match=r"mixlaw\[track\]"):
        read(board / "logs")


def test_options_an_importer_does_not_take_are_named(store, tmp_path):
    with pytest.raises(ConfigError, match=r"'mlflow' has no option 'mixture'.*Did you mean 'mixtures'"):
        read(store, mixture="w.csv")
    runs = write(tmp_path / "runs.csv", "weight_a,weight_b,loss_a\n.5,.5,3\n")
    with pytest.raises(ConfigError, match=r"'table' has no option 'mixtures'.*format="):
        read(runs, mixtures="w.csv")
    with pytest.raises(ConfigError, match="Did you mean 'wandb'"):
        read(runs, format="wandbi")


def test_columns_of_exports_that_hold_no_number_are_named(tmp_path):
    page = "ID,State,weight_web,loss/web,loss_code,lr\na,finished,1,2.5,oops,\n"
    search = "run_id,params.weight_web,params.lr,metrics.loss/web,metrics.loss/code\na,1,,2.5,oops\n"
    for format, text, empty in (("wandb", page, "loss_code"), ("mlflow", search, "metrics.loss/code")):
        columns = read(write(tmp_path / f"{format}.csv", text), format=format).columns.to_pylist()
        notes = {c["column"]: (c["taken_as"], c["note"]) for c in columns}
        assert notes[empty] == ("unused", "holds no number")
        assert notes["params.lr" if format == "mlflow" else "lr"][0] == "unused"


def test_cells_too_deep_to_be_read_are_refused(tmp_path):
    cell = "[" * 100_000
    path = write(tmp_path / "runs.csv", f"name,config,summary\na,{cell},{{}}\n")
    with pytest.raises(DataError, match="neither JSON nor a Python dict"):
        read(path, format="wandb")

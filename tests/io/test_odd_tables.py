"""Odd tables that random search (``tests/fuzz``) found: refused in words or read whole, and no column unsaid."""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixlaw.errors import DataError
from mixlaw.io.frames import read_columns, whole
from mixlaw.io.importers import read
from mixlaw.io.runlogs import RunLog, to_observations


def write(path, text):
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("step", ["inf", "99999999999999999999", "1e300"])
def test_a_step_that_no_run_reaches_is_named(tmp_path, step):
    path = write(tmp_path / "runs.csv", f"run,Step,weight_web,loss_web\na,{step},1,3\n")
    with pytest.raises(DataError, match=r"runs\.csv: .* in 'Step' is not a whole number"):
        read(path)


@pytest.mark.parametrize("shots", ["50%", "inf"])
def test_shots_that_are_no_count_are_named(tmp_path, shots):
    path = write(tmp_path / "runs.csv", f"run,shots,weight_web,target,value\na,{shots},1,web,3\n")
    with pytest.raises(DataError, match=r"runs\.csv: .* in 'shots' is not a whole number"):
        read(path)


def test_steps_and_seeds_of_logs_that_no_table_holds_are_refused_in_words(tmp_path):
    with pytest.raises(DataError, match="The values hold what their table cannot"):
        to_observations([RunLog("a", config={"weight_web": 1.0}, metrics=[("loss/web", 2**63, 3.0)])], where="logs")
    with pytest.raises(DataError, match=r"logs: 1e\+20 in 'seed' is not a whole number"):
        to_observations(
            [RunLog("a", config={"weight_web": 1.0, "seed": 1e20}, metrics=[("loss/web", 1, 3.0)])], where="logs"
        )


def test_whole_numbers():
    assert whole("1e3", "step", "here") == 1000
    assert whole(123456789012345678, "seed", "here") == 123456789012345678
    assert [whole(v, "step", "here") for v in (None, "", float("nan"))] == [None, None, None]
    with pytest.raises(DataError, match=r"here: 'ten' in 'step'"):
        whole("ten", "step", "here")


def test_names_with_line_ends_in_them_and_old_line_ends(tmp_path):
    quoted = write(tmp_path / "quoted.csv", '"batch\rsize","of\ntwo",weight_web,loss_web\n8,1,1,3\n')
    assert read_columns(quoted) == ["batch\rsize", "of\ntwo", "weight_web", "loss_web"]
    assert read(quoted).columns["column"].to_pylist() == read_columns(quoted)
    old = write(tmp_path / "old.csv", "run;weight_web;loss_web\ra;1;3,5\rb;1;3,25\r")
    assert read(old).table()[1].column("web").to_pylist() == [3.5, 3.25]


def test_damaged_packed_tables_are_named(tmp_path):
    data = bytearray(gzip.compress(b"run,weight_web,loss_web\na,1,3\n" * 50, mtime=0))
    data[15:19] = b"\xff\xff\xff\xff"
    (tmp_path / "runs.csv.gz").write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"runs\.csv\.gz cannot be read"):
        read(tmp_path / "runs.csv.gz")


def test_files_whose_columns_do_not_fit_together_are_named(tmp_path):
    pq.write_table(pa.table({"run": [["a"]], "weight_web": [1.0], "loss_web": [3.0]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"run": ["b"], "weight_web": [1.0], "loss_web": [3.0]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="the files' columns do not fit together"):
        read([tmp_path / "a.parquet", tmp_path / "b.parquet"])


def test_columns_of_an_mlflow_table_that_are_neither_params_nor_metrics_are_said(tmp_path):
    header = "run_id,status,weight_code,experiment_id,params.weight_web,metrics.loss_web"
    taken = read(write(tmp_path / "runs.csv", f"{header}\na,FINISHED,0.5,7,1.0,3\n")).columns.to_pylist()
    assert {row["column"]: row["taken_as"] for row in taken} == {
        "run_id": "id",
        "status": "setting",
        "weight_code": "unused",
        "experiment_id": "unused",
        "weight_web": "weight",
        "loss_web": "value",
    }


def test_parquet_with_text_that_is_none_is_refused(tmp_path):
    column = pa.Array.from_buffers(pa.binary(), 1, pa.array([b"\x80"]).buffers()).view(pa.string())
    pq.write_table(pa.table({"run": column, "weight_a": [1.0], "loss_a": [2.0]}), tmp_path / "runs.parquet")
    with pytest.raises(DataError, match=r"runs\.parquet cannot be read as Parquet.*UTF8"):
        read(tmp_path / "runs.parquet")

"""Tables as spreadsheets write them."""

import gzip
import re
import warnings

import pytest

from mixlaw.errors import DataError, MixlawWarning
from mixlaw.io.frames import read_columns, read_frame
from mixlaw.io.importers import read

ROWS = [("run", "weight_a", "weight_b", "loss_a"), ("x", "0.25", "0.75", "3.5"), ("y", "0.5", "0.5", "3.25")]


def table(separator=",", decimal=".", end="\n", blank=""):
    return end.join(separator.join(blank + c.replace(".", decimal) for c in row) for row in ROWS) + end


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (table().encode(), None),
        (table(end="\r\n").encode("utf-8-sig"), None),
        (table(";").encode(), "separator ';'"),
        (table(";", ",").encode("utf-8-sig"), "separator ';', decimal commas"),
        (table("\t").encode(), r"separator '\\t'"),
        (table("|").encode(), r"separator '\|'"),
        (("sep=;\r\n" + table(";", ",", "\r\n")).encode(), "that its first line states, decimal commas"),
        (table("\t", end="\r\n").encode("utf-16"), r"encoding UTF-16, the separator '\\t'"),
        (table(",", blank=" ").encode(), None),
        ((table() + ",,,\n\n,,,\n").encode(), None),
    ],
)
def test_every_form_gives_the_same_runs(tmp_path, data, said):
    path = tmp_path / "runs.csv"
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        obs = read(path)
    assert {r: s.mixture.to_dict() for r, s in obs.schedules().items()} == {
        "x": {"a": 0.25, "b": 0.75},
        "y": {"a": 0.5, "b": 0.5},
    }
    assert obs.table()[1].column("a").to_pylist() == [3.5, 3.25]
    assert read_columns(path) == read_frame(path).column_names == list(ROWS[0])
    texts = [str(w.message) for w in caught]
    assert not texts if said is None else any(re.search(said, text) for text in texts)


def test_gzip_and_windows_letters(tmp_path):
    (tmp_path / "runs.csv.gz").write_bytes(gzip.compress(table(";").encode()))
    with pytest.warns(MixlawWarning, match="separator ';'"):
        assert len(read(tmp_path / "runs.csv.gz")) == 2
    (tmp_path / "old.csv").write_bytes("run,weight_größe,loss_a\nx,1,3\n".encode("cp1252"))
    with pytest.warns(MixlawWarning, match="Windows-1252"):
        assert read(tmp_path / "old.csv").domains == ["größe"]


def test_columns_of_one_name(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("weight_a,weight_b,loss_a,loss_a\n0.4,0.6,3,3\n0.5,0.5,2,2\n")
    with pytest.warns(MixlawWarning, match=r"columns \['loss_a'\] twice, with equal cells"):
        assert read(path).values.num_rows == 2
    path.write_text("weight_a,weight_b,loss_a,loss_a\n0.4,0.6,3,3\n0.5,0.5,2,9\n")
    with pytest.raises(DataError, match=r"two columns 'loss_a' \(columns 3 and 4\) that differ"):
        read(path)


def test_commas_of_thousands_are_not_decimals(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text('weight_a;weight_b;loss_a\n"1,000,000";0;3\n')
    with pytest.warns(MixlawWarning), pytest.raises(DataError, match=r"run 'run1' has weight '1,000,000' of 'a'"):
        read(path)

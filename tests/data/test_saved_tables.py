"""Saved tables are believed only as they were saved."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixlaw import Observations
from mixlaw.errors import DataError, MixlawWarning

EARLIER = Path(__file__).parents[1] / "fixtures" / "v0_1_0"


@pytest.fixture
def folder(tmp_path):
    runs = [{"run": "a", "schedule": {"web": 1.0}}, {"run": "b", "schedule": {"web": 1.0}}]
    values = [{"run": r, "step": 1, "target": "web", "value": v} for r, v in (("a", 3.0), ("b", 2.5))]
    Observations.from_records(runs, values).save(tmp_path / "o")
    return tmp_path / "o"


@pytest.mark.parametrize("name", ["runs.parquet", "values.parquet"])
def test_any_flipped_bit_is_told(folder, name):
    whole = (folder / name).read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (folder / name).write_bytes(bytes(damaged))
        with pytest.raises(DataError, match=rf"{name} was changed or damaged.*delete its folder"):
            Observations.load(folder)
    (folder / name).write_bytes(whole)
    assert len(Observations.load(folder)) == 2


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1", b"not a table", None])
@pytest.mark.parametrize("checksums", [True, False])
def test_torn_and_foreign_files_are_told(folder, content, checksums):
    file = folder / "values.parquet"
    file.write_bytes(file.read_bytes()[:-20] if content is None else content)
    if not checksums:
        (folder / "checksums.json").unlink()
    with pytest.raises(DataError, match=r"values\.parquet"):
        Observations.load(folder)


def test_half_the_values_are_not_believed(folder):
    table = pq.read_table(folder / "values.parquet")
    pq.write_table(table.slice(0, 1), folder / "values.parquet")
    with pytest.raises(DataError, match="was changed or damaged"):
        Observations.load(folder)


@pytest.mark.parametrize("number", ["", "x", "-1", "1.0", "٣", "9" * 40, "99"])
def test_bad_metadata_is_told(folder, number):
    table = pq.read_table(folder / "values.parquet")
    pq.write_table(table.replace_schema_metadata({"mixlaw.format": number}), folder / "values.parquet")
    (folder / "checksums.json").unlink()
    with pytest.raises(DataError, match=r"values\.parquet.*format"):
        Observations.load(folder)


@pytest.mark.parametrize(
    "column", [pa.array([1, 2]), pa.array([[1.0], [2.0]]), pa.array(["x", "y"]), pa.array([None, None])]
)
def test_columns_of_another_kind_are_told(folder, column):
    table = pq.read_table(folder / "values.parquet")
    for name in ("value", "run", "derived_from"):
        changed = table.set_column(table.column_names.index(name), name, column)
        pq.write_table(changed, folder / "values.parquet")
        (folder / "checksums.json").unlink(missing_ok=True)
        try:
            Observations.load(folder)
        except DataError as error:
            assert "no observations" in str(error)


@pytest.mark.parametrize("content", ["[]", "{", "null", '{"sha256": 3}', '{"sha256": {}}', '{"sha256": {"x": "y"}}'])
def test_damaged_checksums_are_told(folder, content):
    (folder / "checksums.json").write_text(content)
    with pytest.raises(DataError, match=r"checksums\.json|were saved there"):
        Observations.load(folder)


def test_a_table_that_was_put_there_or_taken_away_is_told(folder):
    (folder / "items.parquet").write_bytes((folder / "values.parquet").read_bytes())
    with pytest.raises(DataError, match="were saved there"):
        Observations.load(folder)


def test_tables_without_checksums_open_and_say_so(folder):
    (folder / "checksums.json").unlink()
    with pytest.warns(MixlawWarning, match="carries no checksums"):
        assert len(Observations.load(folder)) == 2
    with pytest.warns(MixlawWarning, match="the first version of mixlaw wrote this"):
        Observations.load(EARLIER / "observations")


def test_a_run_in_the_folder_of_another_is_told(tmp_path):
    for run, loss in (("a", 3.0), ("b", 2.5)):
        value = {"run": run, "step": 1, "target": "web", "value": loss}
        Observations.from_records([{"run": run}], [value]).save(tmp_path / run)
    assert len(Observations.load_runs(tmp_path, ["a", "b"])) == 2
    for name in ("runs.parquet", "values.parquet", "checksums.json"):  # sealed, but of the other run
        (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    with pytest.raises(DataError, match=r"holds what was measured in \['b'\]"):
        Observations.load_runs(tmp_path, ["a", "b"])


def test_saving_again_seals_again(folder):
    Observations.load(folder).select(["a"]).save(folder)
    assert len(Observations.load(folder)) == 1
    assert set(json.loads((folder / "checksums.json").read_text())["sha256"]) == {"runs.parquet", "values.parquet"}

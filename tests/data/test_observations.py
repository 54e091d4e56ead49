import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlaw.data.mixture import Mixture, Phase, Schedule
from mixlaw.data.observations import Observations
from mixlaw.errors import DataError, MixlawWarning


def two_runs(**extra):
    return Observations.from_records(
        [
            {"run": "a", "schedule": {"web": 0.75, "code": 0.25}, "params": 1e6, "tokens": 1e7, "seed": 1},
            {"run": "b", "schedule": {"web": 0.5, "code": 0.5}, "params": 2e6, "tokens": 1e7, "epochs": {"web": 2.0}},
        ],
        [
            {"run": r, "step": s, "tokens": s * 100.0, "target": t, "value": v + s / 1000, **extra}
            for r, v in (("b", 2.0), ("a", 3.0))
            for s in (100, 50)
            for t in ("web", "code")
        ],
    )


def test_final_values_in_the_order_of_the_runs():
    table = two_runs().table()
    X, y = table
    assert X.column_names == ["web", "code"]
    assert X.column("code").to_pylist() == [0.25, 0.5]
    assert y.column("web").to_pylist() == [3.1, 2.1]
    assert table.runs == ("a", "b") and table[0] is X and table[1] is y and len(table) == 2


def test_every_feature_set():
    obs = two_runs()
    assert obs.table(features="scale")[0].to_pydict() == {"params": [1e6, 2e6], "tokens": [1e4, 1e4]}
    X, y = obs.table(["code"], features="joint", at="all")
    assert X.column_names == ["web", "code", "params", "tokens", "step"]
    assert X.column("step").to_pylist() == [50, 100, 50, 100]
    assert y.column("code").to_pylist() == [3.05, 3.1, 2.05, 2.1]
    phases = Schedule((Phase(0.5, Mixture({"web": 1.0, "code": 0.0})), Phase(0.5, Mixture({"web": 0.0, "code": 1.0}))))
    obs = Observations.from_records([{"run": "p", "schedule": phases}], [{"run": "p", "target": "web", "value": 1.0}])
    assert obs.table(features="phases")[0].to_pydict() == {"web@1": [1], "code@1": [0], "web@2": [0], "code@2": [1]}
    assert obs.table()[0].to_pydict() == {"web": [0.5], "code": [0.5]}


losses = st.floats(0.01, 20)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), losses, losses), min_size=1, max_size=6))
def test_saving_loading_selecting_and_joining_keep_every_number(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("observations")
    obs = Observations.from_records(
        [{"run": str(i), "schedule": {"a": w, "b": 1 - w}, "epochs": {"a": w}} for i, (w, _, _) in enumerate(rows)],
        [
            {"run": str(i), "step": 1, "target": t, "value": v}
            for i, (_, one, two) in enumerate(rows)
            for t, v in (("x", one), ("y", two))
        ],
    )
    obs.save(folder)
    again = Observations.load(folder)
    assert again.runs.equals(obs.runs)
    assert again.values.equals(obs.values)
    parts = [obs.select([str(i)]) for i in range(len(rows))]
    joined = Observations.concat(parts)
    assert joined.runs.equals(obs.runs)
    X, y = joined.table()
    assert list(zip(X["a"].to_pylist(), y["x"].to_pylist(), y["y"].to_pylist())) == rows
    for i, (w, _, _) in enumerate(rows):
        assert obs.schedules()[str(i)].mixture["a"] == w


def test_a_prediction_cannot_enter():
    with pytest.raises(DataError, match="Predicted numbers cannot enter"):
        two_runs(source="predicted by M4")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_only_finite_values_unless_censored(value):
    run = [{"run": "a", "schedule": {"w": 1.0}, "status": "diverged"}]
    with pytest.raises(DataError, match="NaN or infinite"):
        Observations.from_records(run, [{"run": "a", "target": "w", "value": value}])


def test_diverged_runs_are_kept_and_never_fitted():
    obs = Observations.from_records(
        [{"run": "a", "schedule": {"w": 1.0}}, {"run": "d", "schedule": {"w": 1.0}, "status": "diverged"}],
        [
            {"run": "a", "target": "w", "value": 2.0},
            {"run": "d", "target": "w", "value": math.inf, "censored": "right"},
        ],
    )
    assert len(obs) == 2
    assert obs.table()[0].num_rows == 1


def test_missing_and_censored_targets_are_dropped_kept_or_named():
    obs = Observations.from_records(
        [{"run": r, "schedule": {"w": 1.0}} for r in "abc"],
        [
            {"run": "a", "target": "x", "value": 1.0},
            {"run": "a", "target": "y", "value": 2.0},
            {"run": "b", "target": "x", "value": 3.0},
            {"run": "c", "target": "x", "value": 5.0},
            {"run": "c", "target": "y", "value": 9.0, "censored": "right"},
        ],
    )
    assert obs.table()[1].to_pydict() == {"x": [1.0], "y": [2.0]}
    kept = obs.table(missing="keep")[1].to_pydict()
    assert kept["x"] == [1.0, 3.0, 5.0]
    assert kept["y"][0] == 2.0
    assert all(math.isnan(v) for v in kept["y"][1:])
    assert obs.table(["x"])[1].num_rows == 3
    with pytest.raises(DataError, match="2 rows lack some target; run 'b'"):
        obs.table(missing="error")


def test_structural_mistakes_are_named():
    run = [{"run": "a", "schedule": {"w": 1.0}}]
    for runs, values, message in [
        (run * 2, [], "unique"),
        (run, [{"run": "b", "target": "w", "value": 1.0}], "runs table lacks"),
        ([{**run[0], "status": "fine"}], [], "status must be one of"),
        (run, [{"run": "a", "target": "w", "value": 1.0, "censored": "up"}], "'censored' must be"),
        ([{**run[0], "sede": 1}], [], "Did you mean 'seed'"),
        (run, [{"run": "a", "targt": "w", "value": 1.0}], "Did you mean 'target'"),
    ]:
        with pytest.raises(DataError, match=message):
            Observations.from_records(runs, values)


def test_what_cannot_be_tabulated_is_named(tmp_path):
    obs = two_runs()
    with pytest.raises(DataError, match="Did you mean 'web'"):
        obs.table(["wep"])
    with pytest.raises(DataError, match="No 'accuracy'"):
        obs.table(["web"], metric="accuracy")
    mixed = Observations.from_records(
        [{"run": "a", "schedule": {"w": 1.0}}, {"run": "b", "schedule": {"w": 1.0}}],
        [{"run": "a", "target": "w", "value": 1.0}, {"run": "b", "target": "w", "value": 1.0, "unit": "bits_per_byte"}],
    )
    with pytest.raises(DataError, match="several units"):
        mixed.table()
    scaling = Observations.from_records(
        [{"run": "a", "params": 1e6, "tokens": 1e7}], [{"run": "a", "target": "w", "value": 1.0}]
    )
    with pytest.raises(DataError, match="features='scale'"):
        scaling.table()
    with pytest.raises(DataError, match="does not hold"):
        Observations.load(tmp_path)
    assert len(Observations.empty()) == 0


def test_the_last_step_of_an_unfinished_run_is_not_its_end():
    obs = Observations.from_records(
        [
            {"run": "whole", "schedule": {"web": 1.0}},
            {"run": "going", "schedule": {"web": 1.0}, "status": "partial"},
        ],
        [{"run": r, "step": s, "target": "web", "value": 4.0 - s / 10} for r in ("whole", "going") for s in (1, 2)],
    )
    with pytest.warns(MixlawWarning, match=r"1 runs did not come to their end, for example \['going'\]"):
        table = obs.table()
    assert table.runs == ("whole",) and table.y.column("web").to_pylist() == [3.8]
    assert obs.table(at="all")[0].num_rows == 4
    with pytest.warns(MixlawWarning), pytest.raises(DataError, match="No run that came to its end"):
        obs.select(["going"]).table()


EARLIER = Path(__file__).parents[1] / "fixtures" / "v0_1_0"


def test_what_the_first_version_saved_opens_with_the_later_columns_empty():
    obs = Observations.load(EARLIER / "observations")
    assert len(obs) == 24 and obs.items.num_rows == 0
    for table, names in ((obs.runs, ("settings", "realised")), (obs.values, ("value_high", "num_items"))):
        assert all(table[name].null_count == table.num_rows > 0 for name in names)
    (folder,) = [p.parent for p in (EARLIER / "study" / "runs").glob("8f3a*/DONE")]
    assert Observations.load(folder).schedules(realised=True) == {}


def test_old_and_new_runs_join(tmp_path):
    both = Observations.concat([Observations.load(EARLIER / "observations"), full()])
    both.save(tmp_path)
    again = Observations.load(tmp_path)
    assert again == both and len(again) == 25
    assert pq.read_schema(tmp_path / "runs.parquet").metadata[b"mixlaw.format"] == b"1"


def full():
    return Observations.from_records(
        [
            {
                "run": "f",
                "schedule": {"web": 0.5, "code": 0.5},
                "realised": {"web": 0.49, "code": 0.51},
                "settings": {"width": 64, "tied": True, "family": "llama"},
            }
        ],
        [
            {"run": "f", "step": 1, "target": "exam", "metric": "accuracy", "value": 0.25, "num_items": 4},
            {
                "run": "f",
                "target": "exam",
                "metric": "onset",
                "value": 100.0,
                "value_high": 200.0,
                "censored": "interval",
                "source": "derived:onset",
                "derived_from": [{"run": "f", "step": 1, "target": "exam", "metric": "accuracy"}],
            },
        ],
        items=[
            {"run": "f", "step": 1, "target": "exam", "item": f"q{i}", "metric": "correct", "value": float(i == 0)}
            for i in range(4)
        ],
    )


def test_every_column_survives_saving_selecting_and_joining(tmp_path):
    obs = full()
    obs.save(tmp_path)
    again = Observations.load(tmp_path)
    assert again == obs and again.items.num_rows == 4
    assert again.settings() == {"f": {"width": 64.0, "tied": 1.0, "family": "llama"}}
    assert again.schedules(realised=True)["f"].mixture["web"] == 0.49 != again.schedules()["f"].mixture["web"]
    assert again.values.to_pylist()[1]["derived_from"][0]["metric"] == "accuracy"
    other = Observations.from_records([{"run": "g"}], [])
    joined = Observations.concat([obs, other])
    assert joined.select(["f"]) == obs and joined.select(["g"]).items.num_rows == 0
    other.save(tmp_path)  # the items of what was there before are gone
    assert Observations.load(tmp_path) == other


def test_an_interval_is_no_number_for_a_law():
    with pytest.raises(DataError, match="No run that came to its end has all"):
        full().table(metric="onset")
    assert full().table(metric="accuracy").y.to_pylist() == [{"exam": 0.25}]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"censored": "interval"}, "without value < value_high"),
        ({"censored": "interval", "value_high": 0.5}, "without value < value_high"),
        ({"value_high": 2.0}, "or a value_high without"),
        ({"num_items": 0}, "num_items must be at least 1"),
        ({"source": "derived:onset"}, "names them in derived_from"),
        ({"derived_from": [{"run": "a", "target": "t", "metric": "loss"}]}, "names them in derived_from"),
    ],
)
def test_values_that_say_half_are_refused(value, message):
    with pytest.raises(DataError, match=message):
        Observations.from_records([{"run": "a"}], [{"run": "a", "target": "t", "value": 1.0, **value}])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"value": float("nan")}, "Values of items must be finite"),
        ({"value": None}, "Values of items must be finite"),
        ({"run": "b"}, "Items name runs that the runs table lacks"),
        ({"score": 1.0}, "Unknown item field 'score'"),
    ],
)
def test_wrong_items_are_refused(item, message):
    row = {"run": "a", "target": "t", "item": "q", "metric": "correct", "value": 1.0, **item}
    with pytest.raises(DataError, match=message):
        Observations.from_records([{"run": "a"}], [], items=[row])


def test_settings_are_numbers_or_texts():
    with pytest.raises(DataError, match="numbers or texts, got 'layers'"):
        Observations.from_records([{"run": "a", "settings": {"layers": [1, 2]}}], [])


def test_a_newer_format_and_a_broken_file_are_refused_in_words(tmp_path):
    full().save(tmp_path)
    table = pq.read_table(tmp_path / "values.parquet")
    (tmp_path / "checksums.json").unlink()
    pq.write_table(table.replace_schema_metadata({"mixlaw.format": "2"}), tmp_path / "values.parquet")
    with pytest.raises(DataError, match=r"values\.parquet is of format 2, .* reads up to format 1. Install a newer"):
        Observations.load(tmp_path)
    pq.write_table(table.drop_columns(["num_items"]), tmp_path / "values.parquet")
    with pytest.raises(DataError, match=r"lacks columns \['num_items'\]"):  # format 1 has it: not to be made up
        Observations.load(tmp_path)
    (tmp_path / "values.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        Observations.load(tmp_path)


def test_run_ids_may_hold_any_text():
    ids = ["a\nb", "c, d"]
    obs = Observations.from_records(
        [{"run": r, "schedule": {"web": 1.0}} for r in ids], [{"run": r, "target": "web", "value": 1.0} for r in ids]
    )
    assert list(obs.table().runs) == ids

"""Tables of runs in the shapes people have them."""

import gzip

import numpy as np
import pytest

from mixlaw.data.importing import recognise
from mixlaw.data.observations import Observations
from mixlaw.errors import DataError, MixlawWarning
from mixlaw.io.importers import read

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


def test_packed_exports_are_recognised_as_unpacked_ones_are(tmp_path):
    regmix = "index,train_x_web,train_x_code\n1,.3,.7\n2,1,0\n", "index,valid_x_web/loss\n1,2.5\n2,2.2\n"
    olmix = "run_id,web,code\na,.3,.7\nb,1,0\n", "run_id,arc_bpb\na,1.5\nb,1.2\n"
    mlflow = ("run_id,status,params.weight_web,params.weight_code,metrics.loss/web\na,FAILED,.3,.7,2.5\n",)
    wandb = ("Name,State,weight_web,weight_code,loss/web\na,crashed,.3,.7,2.5\n",)
    for format, names, texts in (
        ("regmix", ("mix", "loss"), regmix),
        ("olmix", ("x_ratios", "x_metrics"), olmix),
        ("mlflow", ("runs",), mlflow),
        ("wandb", ("runs",), wandb),
    ):
        plain = [write(tmp_path / f"{name}.csv", text) for name, text in zip(names, texts)]
        packed = []
        for path in plain:
            packed.append(path.with_name(f"{path.name}.gz"))
            packed[-1].write_bytes(gzip.compress(path.read_bytes()))
        assert recognise(packed) == recognise(plain) == format
        assert read(packed).runs.equals(read(plain).runs)


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


def test_a_forgotten_column_of_weights_is_suspected_before_rescaling(tmp_path):
    text = "weight_a,weight_b,books,loss_a\n.3,.2,.5,3\n.5,.4,.1,2.9\n.6,.4,0,2.8\n"
    with pytest.raises(DataError, match=r"2 of 3 runs.*Is a domain's column missing.*--weight"):
        read(write(tmp_path / "short.csv", text))
    with pytest.raises(DataError, match=r"sum to 1") as caught:
        read(write(tmp_path / "over.csv", text.replace(".3,.2,.5", ".8,.7,.5")))
    assert "missing" not in str(caught.value)
    columns = {"a": "weight_a", "b": "weight_b", "books": "books"}
    assert list(read(tmp_path / "short.csv", weights=columns).domains) == ["a", "b", "books"]


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


def test_settings_are_no_losses_and_no_weights(tmp_path):
    text = "weight_decay,weight_a,weight_b,train_tokens,val_batch_size,val_tok_mult,loss_a,accuracy_b,loss_scale\n"
    obs = read(
        write(tmp_path / "runs.csv", text + ".1,.4,.6,1000,32,20,3.0,.5,1024\n.1,.5,.5,1000,32,20,2.9,.6,1024\n")
    )
    assert obs.domains == ["a", "b"]
    assert {(t, m) for t, m in zip(*(obs.values.column(c).to_pylist() for c in ("target", "metric")))} == {
        ("a", "loss"),
        ("b", "accuracy"),
    }
    assert obs.runs.column("tokens").to_pylist() == [1000.0, 1000.0]


def test_places_alone_are_losses_where_nothing_else_is(tmp_path):
    obs = read(
        write(tmp_path / "runs.csv", "train_a,train_b,val_a,val_b,val_steps\n.4,.6,3.0,2.5,7\n.5,.5,2.9,2.6,7\n")
    )
    assert obs.domains == obs.targets == ["a", "b"]


def test_infinite_losses_are_censored_and_missing_ones_left_out(tmp_path):
    obs = read(write(tmp_path / "runs.csv", "weight_a,weight_b,loss_a,loss_b\n.4,.6,inf,2\n.5,.5,3,nan\n.6,.4,2.8,\n"))
    assert obs.values.column("censored").to_pylist() == ["right", "none", "none", "none"]
    assert obs.table(["a"])[1].column("a").to_pylist() == [3.0, 2.8]


def test_mixed_units_are_refused(tmp_path):
    text = "run,weight_a,weight_b,target,value,unit\nx,.4,.6,a,3,nats_per_token\ny,.5,.5,a,1.1,bits_per_byte\n"
    with pytest.raises(DataError, match="several units"):
        read(write(tmp_path / "runs.csv", text)).table()


def test_one_value_measured_twice(tmp_path):
    text = "run,weight_a,weight_b,target,loss\nx,.4,.6,a,3\nx,.4,.6,a,{}\n"
    with pytest.raises(DataError, match=r"run 'x' has two values of loss on 'a': 3 and 3.2"):
        read(write(tmp_path / "runs.csv", text.format(3.2)))
    with pytest.warns(MixlawWarning, match="1 values are there twice"):
        assert read(write(tmp_path / "runs.csv", text.format(3))).values.num_rows == 1


def test_runs_without_mixture_are_said(tmp_path):
    text = "run,step,weight_a,weight_b,loss_a\nbase,0,,,4\nx,10,.4,.6,3\n"
    with pytest.warns(MixlawWarning, match=r"\['base'\] \(1\) have no mixture"):
        obs = read(write(tmp_path / "runs.csv", text))
    assert list(obs.schedules()) == ["x"]


def test_training_sets_and_repeated_data(tmp_path):
    text = "name,train_set,params,tokens,unique_tokens,loss_c4\na,web,1e6,4e8,1e8,3.0\nb,code,1e6,4e8,4e8,2.9\n"
    obs = read(write(tmp_path / "runs.csv", text))
    assert {r: s.mixture["web"] for r, s in obs.schedules().items()} == {"a": 1.0, "b": 0.0}
    X, _ = obs.table(features="repeated")
    assert X.column_names == ["params", "tokens", "unique_tokens"]
    assert X.column("unique_tokens").to_pylist() == [1e8, 4e8]


def test_published_overtraining_columns():
    obs = read(experiments("overtraining.parquet"))
    of_metric = dict(zip(obs.values.column("target").to_pylist(), obs.values.column("metric").to_pylist()))
    assert [t for t, m in of_metric.items() if m == "loss"] == ["val_tok_mult", "c4_val"]
    assert obs.domains == ["c4_original", "rpj", "rw_original"]


def test_rows_equal_throughout_are_one_run(tmp_path):
    rows = ["weight_a,weight_b,loss_a", ".4,.6,3.1", ".5,.5,2.9", ".5,.5,2.9", ".5,.5,2.95"]
    with pytest.warns(MixlawWarning, match=r"1 of 4 rows repeat another in every column \(row 4 that of run2\)"):
        obs = read(write(tmp_path / "runs.csv", "\n".join(rows)))
    assert obs.table()[1].column("a").to_pylist() == [3.1, 2.9, 2.95]
    rows = ["run," + rows[0], *(f"{name},{row}" for name, row in zip("abcd", rows[1:]))]
    assert len(read(write(tmp_path / "named.csv", "\n".join(rows)))) == 4


@pytest.mark.parametrize(
    ("cells", "message"),
    [("x", r"'loss_a' is named as a measured value but holds text \(row 2: 'x'\)"), ("", "but is empty")],
)
def test_loss_columns_without_a_number_are_named(tmp_path, cells, message):
    path = write(
        tmp_path / "runs.csv", f"weight_a,weight_b,loss_a,loss_b,loss_fn\n.4,.6,{cells},2,ce\n.5,.5,{cells},3,ce\n"
    )
    with pytest.warns(MixlawWarning, match=message) as said:
        obs = read(path)
    assert len(said) == 1
    assert obs.targets == ["b"]
    with pytest.raises(DataError, match=r"'loss_a' was asked for and holds no number"):
        read(path, values=["loss_a"])


def test_one_text_among_losses_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"column 'loss_a', row 3: 'x' is not a number"):
        read(write(tmp_path / "runs.csv", "weight_a,weight_b,loss_a\n.4,.6,3\n.5,.5,x\n"))


def test_negative_losses_are_refused_and_other_units_are_not(tmp_path):
    with pytest.raises(DataError, match=r"run 'run2' has loss -1 on 'a' \(1 value is below 0\); nats per"):
        read(write(tmp_path / "runs.csv", "weight_a,weight_b,loss_a\n.4,.6,3\n.5,.5,-1\n"))
    long = "run,weight_a,weight_b,target,value,unit\nx,.4,.6,a,-1,z_score\n"
    assert read(write(tmp_path / "long.csv", long)).values.column("value").to_pylist() == [-1.0]


def test_messages_are_plain_words(tmp_path):
    with pytest.raises(DataError, match=r"has weight -0\.1 of 'a'"):
        read(write(tmp_path / "runs.csv", "weight_a,weight_b,loss_a\n-.1,1.1,3\n"))
    with pytest.raises(DataError, match=r"^\S*nofile\.csv cannot be read"):
        read(tmp_path / "nofile.csv")


def test_runs_keep_their_names_unless_one_name_is_several_sizes(tmp_path):
    text = "run,params,weight_a,weight_b,target,value\nbase,1e7,.4,.6,a,3\nx,1e7,.5,.5,a,2.9\nx,5e7,.5,.5,a,2.5\n"
    obs = read(write(tmp_path / "runs.csv", text))
    assert obs.runs.column("run").to_pylist() == ["base", "x@1e+07", "x@5e+07"]


@pytest.mark.parametrize(("column", "cells"), [("params", ("1M", "7M")), ("seed", (1, 2)), ("params_total", (10, 20))])
def test_a_run_with_two_sizes_or_seeds_is_refused(tmp_path, column, cells):
    def text(first, second):
        return f"run,weight_a,{column},tokens,loss_a\nr,1,{first},1e8,3\nr,1,{second},2e8,2\n"

    with pytest.raises(DataError, match=rf"run 'r' has two values of '{column}'.*rows 2 and 3"):
        read(write(tmp_path / "runs.csv", text(*cells)))
    assert len(read(write(tmp_path / "runs.csv", text(cells[0], cells[0])))) == 1


def test_a_domain_with_the_name_of_a_size_is_refused(tmp_path):
    path = write(tmp_path / "runs.csv", "weight_params,weight_web,loss_web\n0.25,0.75,3\n0.5,0.5,2\n")
    with pytest.raises(DataError, match="called 'params', which is the name of a size"):
        read(path).table()
    assert read(path, weights={"p": "weight_params", "web": "weight_web"}).table()[0].column_names == ["p", "web"]


@pytest.mark.parametrize("size", ["1e299", "-1e299", "-1e+06"])
@pytest.mark.parametrize("column", ["params", "tokens"])
def test_a_size_that_no_run_has_is_refused(tmp_path, column, size):
    rows = {"params": f"{size},1e9", "tokens": f"1e6,{size}"}[column]
    path = write(tmp_path / "runs.csv", f"params,tokens,loss_a\n{rows},3\n1e6,1e9,2\n")
    with pytest.raises(DataError, match=f"{float(size):g} {column}, which no run can have".replace("+", r"\+")):
        Observations.read(path)

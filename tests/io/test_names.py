"""What columns mean by their names: one rule for prefixes and suffixes, and nothing that vanishes."""

import math

import pytest

from mixlaw.errors import ConfigError, DataError
from mixlaw.io.asked import Asked
from mixlaw.io.importers import read
from mixlaw.io.names import Measure, field_of, is_id, measured, measured_values, weight_columns, weight_domain


@pytest.mark.parametrize(
    ("name", "target", "kind"),
    [
        ("loss_web", "web", "loss"),
        ("web_loss", "web", "loss"),
        ("val/web/loss", "web", "loss"),
        ("c4_val_loss", "c4", "loss"),
        ("eval_loss_web", "web", "loss"),
        ("eval/c4/CrossEntropyLoss", "c4", "loss"),
        ("loss_validation", "validation", "loss"),
        ("web_bpb", "web", "bits_per_byte"),
        ("eval/web/ce_loss", "web", "loss"),
        ("val_web_cross_entropy_loss", "web", "loss"),
        ("eval/web/bits_per_byte", "web", "bits_per_byte"),
        ("bits_per_token_web", "web", "bits_per_token"),
        ("ppl_web", "web", "perplexity"),
        ("val_web_ppl", "web", "perplexity"),
        ("eval/web/perplexity", "web", "perplexity"),
        ("val/web_perplexity_score", "web", "perplexity"),
        ("lambada_byte_perplexity", "lambada", "byte_perplexity"),
        ("boolq_acc", "boolq", "accuracy"),
        ("eval/downstream/boolq_acc_norm", "boolq", "accuracy"),
    ],
)
def test_prefixes_and_suffixes_mean_the_same(name, target, kind):
    assert measured(name) == Measure(target, kind)


@pytest.mark.parametrize(
    "name",
    ["train_loss", "train/loss_web", "train/web/loss", "aux_loss", "router_z_loss_coef", "best_loss", "loss_fn",
     "loss_scale", "lm_word_perplexity", "val_web", "lr"],
)  # fmt: skip
def test_what_says_no_measure_of_a_set_is_none(name):
    assert measured(name) is None


def test_places_alone_are_losses_unless_they_look_like_settings_or_other_measures():
    names = ["val_web", "val_stdlib", "val_subset", "val_nighttime", "val_batch_size", "val_steps", "val_f1", "val_lr"]
    assert [m.target for m in measured_values(names).values()] == ["web", "stdlib", "subset", "nighttime"]


def test_a_perplexity_beside_the_loss_of_its_set_is_not_used_twice():
    assert list(measured_values(["loss_web", "ppl_web", "ppl_code"])) == ["loss_web", "ppl_code"]


def test_weights_are_found_before_behind_and_below():
    assert weight_columns(["web_weight", "code_weight", "lr"]) == {"web_weight": "web", "code_weight": "code"}
    assert weight_domain("data.mixture.web") == weight_domain("cfg/weights/web") == "web"
    assert weight_domain("weight/org/data") == "org/data"
    assert weight_columns(["share_a", "share_b"]) == {"share_a": "a", "share_b": "b"}
    assert weight_columns(["weight_normandy", "weight_decay", "weight_norm"]) == {"weight_normandy": "normandy"}
    assert not weight_columns(["train_loss", "aspect_ratio"])


def test_ids_and_sizes():
    assert all(map(is_id, ["mixture_id", "Unnamed: 0", "", "run.uuid", "row_index"]))
    assert not any(map(is_id, ["hybrid", "covid", "reindexed"]))
    assert [field_of(n) for n in ("model_size", "_step", "consumed_tokens", "N")] == [
        "params",
        "step",
        "tokens",
        "params",
    ]


@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        ("loss", 2.0, 2.0),
        ("bits_per_token", 1.0, math.log(2)),
        ("perplexity", math.e**3, 3.0),
        ("byte_perplexity", 2.0, 1.0),
        ("percent", 56.0, 0.56),
    ],
)
def test_units_are_converted_by_name(kind, given, kept):
    assert Measure("web", kind).value(given) == pytest.approx(kept)
    assert math.isinf(Measure("web", kind).value(math.inf)) and math.isnan(Measure("web", kind).value(math.nan))


def test_asked_columns_are_checked():
    columns = ["w", "c", "a=b", "f1", "loss_x"]
    asked = Asked.of(columns, "t", ["web=w", "code=c"], ["a=b", "loss_x"], ["f1"])
    assert asked.weights == {"w": "web", "c": "code"}
    assert asked.values == {"a=b": Measure("a=b", "loss"), "loss_x": Measure("x", "loss")}
    assert Asked.of(columns, "t", values={"f1": "up"}).values["f1"].unit == "higher_is_better"
    for options, error, message in (
        ({"weights": ["web=z"]}, DataError, "no column 'z'"),
        ({"weights": ["web=w", "web=c"]}, ConfigError, "twice"),
        ({"values": ["f1"]}, ConfigError, "whether more or less of it is better.*f1=higher"),
        ({"values": ["f1=hihger"]}, ConfigError, "Did you mean 'higher'"),
        ({"values": ["w"], "ignore": ["w"]}, ConfigError, "used and to be ignored"),
    ):
        with pytest.raises(error, match=message):
            Asked.of(columns, "t", **options)


def test_perplexities_become_losses_in_nats(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("weight_a,weight_b,ppl_a,val_b_ppl\n0.4,0.6,20.0855369,7.3890561\n0.5,0.5,54.59815,2.7182818\n")
    obs = read(path)
    assert obs.table(["a"])[1].column("a").to_pylist() == pytest.approx([3.0, 4.0])
    assert obs.table(["b"])[1].column("b").to_pylist() == pytest.approx([2.0, 1.0])
    assert set(obs.values["unit"].to_pylist()) == {"nats_per_token"}
    path.write_text("weight_a,weight_b,ppl_a\n0.4,0.6,0.5\n")
    with pytest.raises(DataError, match="never negative"):
        read(path)


def test_long_tables_state_their_units(tmp_path):
    path = tmp_path / "long.csv"
    rows = "run,weight_a,weight_b,target,value,metric,unit\n"
    path.write_text(rows + "x,1,0,a,2,loss,bits\nx,1,0,b,20.0855369,loss,perplexity\nx,1,0,q,56,accuracy,%\n")
    values = {v["target"]: (v["metric"], v["unit"], v["value"]) for v in read(path).values.to_pylist()}
    assert values["a"][:2] == values["b"][:2] == ("loss", "nats_per_token")
    assert values["a"][2] == pytest.approx(2 * math.log(2)) and values["b"][2] == pytest.approx(3.0)
    assert values["q"] == ("accuracy", "fraction", pytest.approx(0.56))


def test_percentages_are_no_fractions(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("weight_a,weight_b,acc_q\n0.4,0.6,56\n0.5,0.5,57\n")
    with pytest.raises(DataError, match=r"accuracy 56 on 'q' \(2 values above 1\).*--value COLUMN=percent"):
        read(path)
    assert read(path, values={"acc_q": "percent"}).values["value"].to_pylist() == pytest.approx([0.56, 0.57])

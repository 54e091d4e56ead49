"""The situations of shared/data/cases: files as people have them, and what a user may expect of each.

The kinds are tested with files of their own elsewhere; here the very files are read. Each test's name is its folder.
"""

import warnings

import numpy as np
import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import DataError, MixlawWarning

from shared import cases


def roles(obs):
    return {c["column"]: c["taken_as"] for c in obs.columns.to_pylist()}


def read(*names, **options):
    """Observations of files below the folder of cases, and what was said, as one text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        obs = Observations.read([cases(n) for n in names], **options)
    return obs, " ".join(str(w.message) for w in caught if issubclass(w.category, MixlawWarning))


@pytest.mark.slow
def test_auto_crash():
    from mixlaw import laws

    for name in ("runs_300x4", "runs_8x130"):
        X, y = read(f"auto_crash/{name}.csv")[0].table()
        law = laws.Auto().fit(X, y)
        assert np.isfinite(law.predict(X)).all()


def test_json_as_text():
    from mixlaw.text.readers import find_files, read_documents

    lines, control = (
        list(read_documents(find_files([cases(f"json_as_text/{n}")]))) for n in ("lines.json", "control.jsonl")
    )
    assert lines == control and len(lines) > 100


def test_olmix_extra_columns():
    for start in ("mixture_id", "steps", "steps_num"):
        obs, _ = read(f"olmix_extra_columns/{start}_ratios.csv", f"olmix_extra_columns/{start}_metrics.csv")
        assert obs.domains == ["web", "code", "books"] and obs.targets == ["web", "code"]
        assert set(roles(obs).values()) <= {"id", "weight", "value", "size", "setting"}


def test_rewound_logs():
    pytest.importorskip("tensorboard")
    obs, said = read("rewound_logs/tensorboard/logs")
    last = {v["run"]: (v["step"], round(v["value"], 5)) for v in obs.values.to_pylist() if v["target"] == "web"}
    assert last["r05"] == (400, 2.31279) and last["r03"] == (400, 2.25013)
    assert set(obs.runs["status"].to_pylist()) == {"done"} and "2 runs were restarted" in said


def test_text_in_weight():
    for repair in (False, True):
        with pytest.raises(DataError, match=r"run 'r\d+' has weight '-' of 'books'"):
            read("text_in_weight/dash_for_zero.csv", repair=repair)


def test_short_runs():
    for name in ("step", "tokens"):
        obs, said = read(f"short_runs/short_runs_{name}.csv")
        assert obs.runs["status"].to_pylist().count("partial") == 2 and "at 300 of 1000" in said


def test_unused_columns():
    from mixlaw.study.equal_inputs import unexplained

    obs, _ = read("unused_columns/model_size.csv")
    assert set(obs.runs["params"].to_pylist()) == {1e7, 3e7, 1e8}
    obs, _ = read("unused_columns/chinchilla_lr.csv")
    largest, _, varying = unexplained(obs, obs.table(features="scale"))
    assert largest == pytest.approx(3.0, abs=0.01) and list(varying) == ["lr"]


@pytest.mark.parametrize(
    "name", ["suffix_loss", "mixed_forms", "setting_like_val", "ppl", "val_ppl", "pandas_index", "zero_domain"]
)
def test_name_rules(name):
    obs, _ = read(f"name_rules/{name}.csv")
    assert len(obs.targets) == 3 and set(obs.values["unit"].to_pylist()) == {"nats_per_token"}
    assert obs.values["value"].to_numpy().max() < 5


def test_name_rules_of_perplexity_and_repeated_columns():
    obs, _ = read("name_rules/eval_perplexity_only.csv")
    loss = [v["value"] for v in obs.values.to_pylist() if v["metric"] == "loss"]
    assert max(loss) < 3.5
    with pytest.raises(DataError, match="two columns 'loss_web'"):
        read("name_rules/dup_column.csv")
    obs, _ = read("name_rules/model_text.csv")
    assert len(obs) == 72 and roles(obs)["model"] == "setting"
    obs, said = read(
        "name_rules/token_counts.csv", weights=[f"{d}=tokens_{d}" for d in ("web", "code", "books")], repair=True
    )
    assert obs.domains == ["web", "code", "books"] and "rescaled as asked" in said


def test_compressed():
    from mixlaw.text.readers import find_files, read_documents

    assert len(list(read_documents(find_files([cases("compressed/longwin.jsonl.zst")])))) > 100


def test_excel():
    plain = read("excel/plain.csv")[0]
    for name in ("bom", "semicolon_comma", "semicolon_dot", "spaces", "tab_named_csv", "trailing_empty_rows", "utf16"):
        obs, _ = read(f"excel/{name}.csv")
        assert obs.schedules() == plain.schedules(), name
        assert obs.values["value"].to_pylist() == plain.values["value"].to_pylist(), name
    with pytest.raises(DataError, match="Divide percentages by 100"):
        read("excel/percent.csv")


def test_wandb():
    for name in ("clean", "nan_text", "null_text", "ws_names"):
        assert len(read(f"wandb/{name}.csv")[0]) == 14
    for name in ("killed", "failed_zero"):
        assert read(f"wandb/{name}.csv")[0].runs["status"].to_pylist().count("partial") == 1
    for name in ("dup_crashed_then_finished", "dup_names_seeds"):
        with pytest.raises(DataError, match=r"several runs named 'r03'.*ID"):
            read(f"wandb/{name}.csv")


def test_wandb_chart():
    obs, _ = read("wandb_chart/runs.csv", "wandb_chart/chart_tokens.csv")
    assert {v["tokens"] for v in obs.values.to_pylist()} == {1e9, 2e9, 3e9, 4e9} and len(obs.domains) == 3
    obs, said = read("wandb_chart/runs.csv", "wandb_chart/chart_short.csv")
    assert "r03 at 200 of 400" in said
    assert read("wandb_chart/runs_nested.csv")[0].domains == ["web", "code", "books"]


def test_slash(tmp_path):
    import shutil

    from mixlaw.study.study import Study

    shutil.copytree(cases("slash/study"), tmp_path / "study")
    (tmp_path / "study").chmod(0o755)
    shutil.copy(cases("slash/runs.csv"), tmp_path / "runs.csv")
    assert "HuggingFaceFW/fineweb" in Study(tmp_path / "study").tokenize().names


def test_olmo_ladder():
    for source in (("olmo_ladder/small-1x.csv", "olmo_ladder/large-1x.csv"), ("olmo_ladder",)):
        assert sorted(read(*source)[0].runs["run"].to_pylist()) == ["large-1x", "small-1x"]


def test_regmix_inf():
    obs, said = read("regmix_inf/inf_mix.csv", "regmix_inf/inf_loss.csv")
    assert obs.runs["status"].to_pylist().count("diverged") == 1 and "1 runs diverged" in said
    assert {v["run"] for v in obs.values.to_pylist() if v["censored"] == "right"} == {"4"}


def study_of(tmp_path, name):
    from mixlaw.study.study import Study

    (tmp_path / name).mkdir()
    for file in ("runs.csv", "study.yaml"):
        (tmp_path / name / file).write_bytes(cases(f"{name}/{file}").read_bytes())
    study = Study(tmp_path / name)
    study.tokenize()
    study.fit()
    return study.optimize()


@pytest.mark.slow
def test_absurd_interval(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        recipe = study_of(tmp_path, "absurd_interval")
    assert -5 < recipe.difference.low < recipe.difference.high < 5
    assert 0.01 < recipe.probability_better < 0.99  # and no claim either way


@pytest.mark.slow
def test_corner_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        recipe = study_of(tmp_path, "corner_warning")
    text = " ".join(recipe.warnings)
    assert "because limits hold what would help more: math at its cap" in text and "code at its cap" in text
    assert "takes everything" not in text


def test_export_names(tmp_path):
    from mixlaw.data.corpus import Corpus
    from mixlaw.data.mixture import Mixture, Schedule
    from mixlaw.data.recipe import Recipe
    from mixlaw.errors import ExportError
    from mixlaw.io.exporters import export

    for name in ("runs", "runs2"):
        domains = read(f"export_names/{name}.csv")[0].domains
        corpus = Corpus.declared(dict.fromkeys(domains, 10**9), source="card")
        recipe = Recipe(Schedule.constant(Mixture.uniform(domains)), 10**9, corpus)
        for framework, options, mark in (("megatron", {}, " "), ("llama_factory", {"packed": True}, ",")):
            if any(mark in d for d in domains):
                with pytest.raises(ExportError, match="Rename"):
                    export(recipe, framework, tmp_path / "out", **options)
            else:
                assert export(recipe, framework, tmp_path / "out", **options).exists()


def test_tiny_validation(tmp_path):
    from mixlaw import tokens

    text = {"a": cases("json_as_text/control.jsonl"), "b": cases("tiny_validation/big.jsonl")}
    with pytest.warns(MixlawWarning, match=r"'v' has \d+ tokens"):
        tokens.build(text, tmp_path, {"v": cases("tiny_validation/tiny.jsonl")}, vocab_size=400, validation_tokens=2000)

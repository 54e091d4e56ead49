"""Designs of a study: samplers and their options, further sizes, dry runs, and what several sizes say about ranks."""

import csv
import json
import random

import pytest
import yaml
from typer.testing import CliRunner

from mixlaw.cli.app import app
from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError
from mixlaw.study.config import DesignConfig, design_changes
from mixlaw.study.study import Study
from mixlaw.verify.transfer import rank_evidence

from shared import experiments

DOMAINS = ("web:news", "web:blogs", "code")


def said(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def corpus(folder):
    rng, paths = random.Random(1), {}
    for name, letters in zip(DOMAINS, ("aeiou", "pbtdkg", "szfvh")):
        lines = []
        for _ in range(120):
            words = ["".join(rng.choice(letters) for _ in range(rng.randrange(2, 6))) for _ in range(30)]
            lines.append(json.dumps({"text": " ".join(words)}))
        paths[name] = str(folder / f"{letters}.jsonl")
        (folder / f"{letters}.jsonl").write_text("\n".join(lines))
    return paths


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory):
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("ladder")
    study = Study.create(
        folder / "s",
        {
            "corpus": {"domains": corpus(folder), "vocab_size": 300, "validation_tokens": 256},
            "objective": {"web:news": 1.0, "code": 1.0},
            "budget": {"tokens": 4096, "params": "1B"},
            "training": {
                "model": {"layers": 1, "width": 32, "heads": 2},
                "tokens": 1024,
                "batch": 4,
                "context": 32,
                "learning_rate": {"name": "wsd", "peak": 1e-2},
                "evaluations": 2,
            },
            "design": {
                "num": 6,
                "replicates": 0,
                "sizes": [{"num": 3, "tokens": 2048, "model": {"layers": 1, "width": 48, "heads": 2}}],
            },
            "law": {"name": "loglinear"},
            "executor": {"workers": 1},
        },
    )
    study.tokenize()
    return study


def test_a_dry_run_writes_nothing_and_counts_both_sizes(tokenized):
    out = said("design", tokenized.folder, "--dry-run")
    assert "9 runs to train: 12.29k tokens" in out and "Nothing was written" in out
    assert "Simulated epoching: every run repeats" in out
    assert not tokenized.store.exists("design.json")


def test_the_command_line_replaces_settings(tokenized):
    study = Study(tokenized.folder)
    settings = design_changes(study.config.design, "hierarchical", 4, 1, ["separator=:"], ["d64=2:2048"])
    specs = study.swarm.propose(settings)
    assert [s.tokens for s in specs] == [1024] * 5 + [2048] * 2
    assert len({s.seed for s in specs}) == 7
    nested = {s.schedule.mixture for s in specs[5:]}
    assert nested <= {s.schedule.mixture for s in specs[:4]}
    # each run repeats text as often as the target run would
    assert [s.unique_tokens["code"] / s.tokens for s in specs] == pytest.approx(
        [study.corpus.unique_tokens["code"] / 4096] * 7, rel=2e-3
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sampler", "hierarchial"), "Did you mean 'hierarchical'"),
        (("--sampler", "phases", "--option", "fraction=[.5, .5]"), "Did you mean 'fractions'"),
        (("--option", "fractions"), "must look like NAME=VALUE"),
        (("--size", "d64:2:3M"), "must look like PRESET=NUM:TOKENS"),
        (("--size", "d64=7:3M"), "must not grow"),
        (("--size", "d65=2:3M"), "d65"),
        (("--more", "2", "--num", "3"), "leave out --sampler"),
        (("--sampler", "hierarchical", "--option", "levels={cod: [a]}"), "Did you mean 'code'"),
    ],
)
def test_wrong_settings_are_named(tokenized, arguments, message):
    result = CliRunner().invoke(app, ["design", str(tokenized.folder), *arguments])
    assert result.exit_code == 1 and message in str(result.exception)
    assert not tokenized.store.exists("design.json")


def test_two_sizes_tell_whether_ranks_transfer(tokenized):
    said("design", tokenized.folder)
    study = Study(tokenized.folder)
    assert study.stale() == {}
    with pytest.raises(ConfigError, match="num 6 and not 5"):
        study.design(design_changes(study.config.design, num=5))
    assert study.train() == {}
    assert len(study.runs_of_one_size()) == 6 and len(study.observations()) == 9
    out = said("fit", tokenized.folder)
    assert "Rank transfer, at the end of each run:" in out and "3 mixtures at 2 sizes" in out
    recipe = study.optimize(num_bootstrap=0)
    (line,) = [w for w in recipe.warnings if w.startswith("Rank transfer")]
    assert "the best of 3 mixtures" in line and "The target has 1.00B" in line


def test_the_absence_of_evidence_is_said():
    runs = [{"run": f"r{i}", "schedule": {"a": w, "b": 1 - w}} for i, w in enumerate((0.2, 0.5, 0.8))]
    values = [{"run": r["run"], "target": "a", "value": 3.0, "tokens": 1e9} for r in runs]
    assert "do not say how large" in str(rank_evidence(Observations.from_records(runs, values)))
    sized = [{**r, "params": 1e7, "tokens": 1e9} for r in runs]
    sentence = rank_evidence(Observations.from_records(sized, values)).sentence()
    assert sentence == "not known (all 3 runs have 10.00M parameters): this is the optimum at the size of the runs."
    two = [{**r, "params": 1e7 * (i + 1), "tokens": 1e9} for i, r in enumerate(runs)]
    assert "not known (Only 0 mixtures" in rank_evidence(Observations.from_records(two, values)).sentence()


def test_the_best_of_twenty_is_fourth_on_the_published_record(tmp_path):
    """Data Mixing Laws on RedPajama, through the command line, weighted as published."""
    import pyarrow.parquet as pq

    rows = pq.read_table(experiments("dml_redpajama.parquet")).to_pylist()
    weights = [k for k in rows[0] if k.startswith("weight_")]
    rows = [r for r in rows if r["step"] == 30000 and abs(sum(r[w] for w in weights) - 1) < 1e-6]
    with (tmp_path / "runs.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["run", "params", "step", "tokens", "target", "value", *weights])
        writer.writeheader()
        for r in rows:
            run = {"run": f"{r['model_size']} {r['run']}", "params": r["non_embedding_params"], "step": r["step"]}
            told = {"tokens": r["tokens"], "target": r["validation_domain"], "value": r["loss"]}
            writer.writerow({**run, **told, **{w: r[w] for w in weights}})
    with open(experiments("dml_validation_weights.csv")) as handle:
        objective = {r["validation_domain"]: float(r["weight"]) for r in csv.DictReader(handle)}
    study = {
        "corpus": {"counts": {w.removeprefix("weight_"): 10**9 for w in weights}, "counts_source": "example"},
        "runs": ["runs.csv"],
        "objective": objective,
        "budget": {"tokens": "30B", "params": "1B"},
        "law": {"name": "loglinear"},
    }
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "study.yaml").write_text(yaml.safe_dump(study))
    said("tokenize", tmp_path / "s")
    assert "The best at 18.9M ranks 1, 2, 2, 4 of 20." in said("fit", tmp_path / "s")
    out = said("optimize", tmp_path / "s")
    assert "the best of 20 mixtures at 18.92M parameters is number 2 at 85.06M" in out
    assert "number 4 at 302M" in out


def test_settings_of_the_command_line_join_those_of_the_study():
    base = DesignConfig(sampler="phases", options={"fractions": [0.5, 0.5]})
    assert design_changes(base) is None
    assert design_changes(base, options=["strength=3"]).options == {"fractions": [0.5, 0.5], "strength": 3}
    assert design_changes(base, sampler="lattice").options == {}


def test_a_law_over_sizes_predicts_the_target_and_is_not_scored_by_proxies(tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    rows = ["run,params,tokens,weight_web,weight_code,target,value,step"]
    for n in (1e7, 3e7, 1e8):
        for i, w in enumerate((0.1, 0.3, 0.5, 0.7, 0.9)):
            for step in (1, 2, 3):
                loss = 1.5 + 0.5 * np.exp(-w) + 0.8 * w**2 + 30 * n**-0.25 + 900 * (step * 1e9) ** -0.35
                loss += 0.002 * rng.normal()
                rows.append(f"r{i}-{n:.0e},{n},{step * 10**9},{w},{round(1 - w, 6)},web,{loss},{step}")
    (tmp_path / "runs.csv").write_text("\n".join(rows))
    config = {
        "corpus": {"counts": {"web": 4 * 10**9, "code": 2 * 10**9}},
        "runs": ["runs.csv"],
        "objective": {"web": 1},
        "budget": {"tokens": "8B", "params": "300M"},
        "law": {"name": "joint", "options": {"backtest": False, "forms": ["power"], "random": [2]}},
    }
    study = Study.create(tmp_path / "s", config)
    study.tokenize()
    law = study.fit()
    assert list(law.feature_names_in_) == ["web", "code", "params", "tokens"] and law.num_runs_ == 45
    predicted = study.predict({"web": 0.3, "code": 0.7})["web"]
    truth = 1.5 + 0.5 * np.exp(-0.3) + 0.8 * 0.09 + 30 * 3e8**-0.25 + 900 * 8e9**-0.35
    assert predicted.mean == pytest.approx(truth, abs=0.02)
    assert study.optimize(num_bootstrap=0, starts=2).law["kind"] == "joint"
    with pytest.raises(DataError, match="which cannot score it"):
        study.verify()

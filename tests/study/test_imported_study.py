"""Studies of runs from elsewhere on a declared corpus: no text, nothing trained here."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from mixlaw.cli.app import app
from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError, MixlawWarning
from mixlaw.study.study import Study
from mixlaw.verify.transfer import rank_evidence


def rows(sizes=(1e8,), total=1.0, num=16):
    rng, lines = np.random.default_rng(0), ["run,weight_a,weight_b,weight_c,params,tokens,loss_a,loss_b"]
    for i, w in enumerate(rng.dirichlet(np.ones(3), num)):
        for size in sizes[: 1 if i >= num // 2 else None]:
            losses = [3 - 0.5 * np.sqrt(w[k]) + 1e-3 * rng.standard_normal() + 2e7 / size for k in (0, 1)]
            cells = [*(w * total), size, 1e9, *losses]
            lines.append(f"r{i}-{size:g}," + ",".join(f"{c:.10g}" for c in cells))
    return lines


def study(tmp_path, lines, **changes):
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "runs.csv").write_text("\n".join(lines))
    config = {
        "corpus": {"counts": {"a": "5B", "b": "5B", "c": "5B"}},
        "runs": [str(tmp_path / "runs.csv")],
        "objective": {"a": 1, "b": 1},
        "budget": {"tokens": "1B"},
        "law": {"name": "loglinear"},
    }
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "study.yaml").write_text(yaml.safe_dump({**config, **changes}))
    made = Study(tmp_path / "s")
    made.tokenize()
    return made


def said(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_a_study_of_imported_runs_has_no_dead_end(tmp_path):
    made = study(tmp_path, rows())
    assert "Next: mixlaw fit" in said("status", made.folder)
    said("fit", made.folder)
    said("optimize", made.folder)
    status = said("status", made.folder)
    assert "not needed: runs are imported" in status
    assert "not possible here: the corpus is declared" in status
    assert "Next: mixlaw report" in status
    with pytest.raises(ConfigError, match=r"the corpus is declared .* no text that the trainer 'torch'"):
        made.verify()
    assert not (made.folder / "runs").exists()


def test_more_runs_are_proposed_from_imported_ones_alone(tmp_path):
    made = study(tmp_path, rows())
    specs, worth = made.swarm.further(2)
    assert len(specs) == 2
    assert "more runs" in worth
    assert len(made.extend(2)[0]) == 2
    with pytest.raises(ConfigError, match="corpus is declared"):
        made.train()
    assert made.following() == "fit"


def test_a_design_on_a_declared_corpus_says_where_the_vocabulary_goes(tmp_path):
    made = study(tmp_path, rows())
    with pytest.raises(ConfigError, match=r"training in study\.yaml: Model .* has no vocab_size.* declared by counts"):
        made.design()


def test_a_declared_corpus_with_an_own_trainer_is_designed_before_any_run(tmp_path):
    made = study(tmp_path, rows(), runs=[], training={"trainer": "command", "command": "python train.py {spec}"})
    assert "Next: mixlaw train" in said("design", made.folder, "--num", 4, "--replicates", 0)
    assert len(made.specs()) == 4
    with pytest.raises(DataError, match="mixlaw train"):
        made.observations()


def phased_runs(folder, num=14):
    """Runs of two phases, each with its reverse, in which the second phase counts twice."""
    rng, runs, values = np.random.default_rng(3), [], []
    for i, pair in enumerate(rng.dirichlet(np.ones(3), (num, 2))):
        for k, order in enumerate((pair, pair[::-1])):
            seen = (order[0] + 2 * order[1]) / 3
            phases = [{"fraction": 0.5, "weights": dict(zip("abc", map(float, w)))} for w in order]
            runs.append({"run": f"r{i}-{k}", "schedule": {"phases": phases}})
            values += [
                {"run": f"r{i}-{k}", "target": t, "value": 3 - 0.5 * np.sqrt(seen[j]) + 1e-3 * rng.standard_normal()}
                for j, t in enumerate("ab")
            ]
    Observations.from_records(runs, values).save(folder / "phased")
    return folder / "phased"


def test_a_schedule_is_seen_exported_and_reported(tmp_path):
    made = study(tmp_path, rows(), runs=[str(phased_runs(tmp_path))], budget={"tokens": "1B", "caps": {"a": 0.2}})
    with pytest.raises(DataError, match="mixlaw schedule"):
        made.export("megatron", tmp_path / "x.json", schedule=True)
    out = said("schedule", made.folder)
    assert "phase 2 (50%)" in out and "objective minus best constant mixture" in out and "Rank transfer:" in out
    assert "--schedule" in out and "not computed for schedules" in out
    exported = said("export", made.folder, "megatron", tmp_path / "m.json")  # the only recipe there is
    assert "The recipe with phases" in exported and "of these in phase 2" in exported
    assert "megatron has no phases within a run: train one after another" in exported
    assert len(json.loads((tmp_path / "m.json").read_text())["phases"]) == 2
    said("report", made.folder)
    assert "Recommended schedule" in (made.folder / "report.html").read_text()
    assert "schedule" not in made.stale()
    said("fit", made.folder)
    said("optimize", made.folder)
    assert "of these in phase" not in said("export", made.folder, "nanotron", tmp_path / "n.yaml")
    phased = said("export", made.folder, "nanotron", tmp_path / "n.yaml", "--schedule")
    assert "of these in phase 2" in phased and "train one after another" not in phased
    text = (made.folder / "study.yaml").read_text().replace("0.2", "0.3")
    (made.folder / "study.yaml").write_text(text)
    changed = Study(made.folder)
    assert "budget" in changed.stale()["schedule"]
    with pytest.warns(MixlawWarning, match="What is exported is the old recipe"):
        changed.export("megatron", tmp_path / "m.json", schedule=True)


def test_designed_phases_are_printed_apart(tmp_path):
    made = study(tmp_path, rows(), runs=[], training={"trainer": "command", "command": "python train.py {spec}"})
    lines = said("design", made.folder, "--sampler", "phases", "--num", 4, "--replicates", 0).splitlines()[:4]
    assert all("; then 50%: a" in line for line in lines)
    assert len({line.split("seed")[1].split("  ", 1)[1] for line in lines}) == 4  # a run and its reverse differ


def test_what_comes_next_is_possible_here(tmp_path):
    made = study(tmp_path, rows())
    assert "Next: mixlaw fit" in said("tokenize", made.folder)
    made.report()
    assert "Next: mixlaw fit" in (made.folder / "report.html").read_text()
    said("fit", made.folder)
    out = said("optimize", made.folder, "--kind", "worst")
    assert "Next: mixlaw report" in out and "Next: mixlaw verify" not in out
    assert "the lowest worst case" in out and "largest excess over the best reachable, not a loss" in out
    assert "natural = " in out and "uniform" in out and "without limits" in out


def test_a_warning_is_shown_once_per_command(tmp_path):
    made = study(tmp_path, rows(total=1.002), repair=True)
    said("fit", made.folder)
    command = [sys.executable, "-c", "from mixlaw.cli.app import main; main()", "optimize", str(made.folder)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0 and result.stderr.count("rescaled as asked") == 1, result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kind", "guard"), "--kind guard needs --guard SET=NATS"),
        (("--kind", "least_change"), "--kind least_change needs --gain NATS"),
        (("--gain", "0.1"), "--gain 0.1 is for --kind least_change, not mean"),
    ],
)
def test_kinds_are_explained_in_the_words_of_the_command_line(tmp_path, arguments, message):
    made = study(tmp_path, rows())
    result = CliRunner().invoke(app, ["optimize", str(made.folder), *arguments])
    assert isinstance(result.exception, ConfigError) and message in str(result.exception)
    assert "None" not in str(result.exception) and "gain=" not in str(result.exception)


def test_rounded_weights_are_rescaled_where_study_yaml_says_so(tmp_path):
    lines = rows(total=1.002)
    with pytest.raises(DataError, match=r"in a study\.yaml `repair: true`"):
        study(tmp_path / "a", lines).observations()
    made = study(tmp_path / "b", lines, repair=True)
    with pytest.warns(MixlawWarning, match="rescaled as asked"):
        observations = made.observations()
    observations.save(tmp_path / "saved")
    saved = study(tmp_path / "c", lines, runs=[str(tmp_path / "saved")], repair=True)
    assert len(saved.observations()) == 16


def test_files_that_belong_together_are_one_import(tmp_path):
    names = [line.split(",") for line in rows()]
    mix = ["index,train_the_pile_a,train_the_pile_b,train_the_pile_c", *(",".join(r[:4]) for r in names[1:])]
    loss = ["index,valid_the_pile_a/loss,valid_the_pile_b/loss", *(",".join([r[0], *r[6:]]) for r in names[1:])]
    for name, lines in (("mix.csv", mix), ("loss.csv", loss)):
        (tmp_path / name).write_text("\n".join(lines))
    made = study(tmp_path, rows(), runs=[[str(tmp_path / "mix.csv"), str(tmp_path / "loss.csv")]])
    made.fit()
    assert made.observations().domains == ["a", "b", "c"]
    assert made.stale() == {}


def test_fit_says_which_runs_it_used(tmp_path):
    made = study(tmp_path, rows(sizes=(1e8, 5e8)))
    out = said("fit", made.folder)
    assert "Fitted to 16 of 24 runs, those of 100M parameters. Left out: 8 of 500M." in out


def test_an_objective_no_run_measures_is_named_by_fit(tmp_path):
    made = study(tmp_path, rows(sizes=(1e8, 5e8)), objective={"a": 1, "bb": 1})
    with pytest.raises(ConfigError, match=r"objective names 'bb'.*Did you mean 'b'"):
        made.fit()


def test_evidence_names_what_was_not_measured():
    runs = [
        {"run": f"{w}-{n}", "schedule": {"a": w, "b": 1 - w}, "params": n, "tokens": 1e9}
        for n in (1e7, 1e8)
        for w in (0.2, 0.5, 0.8)
    ]
    observations = Observations.from_records(runs, [{"run": r["run"], "target": "a", "value": 3.0} for r in runs])
    assert "not known: no run measured 'z'." in str(rank_evidence(observations, {"z": 1.0}))


def test_effects_are_printed_with_their_unit_and_drawn(tmp_path):
    made = study(tmp_path, rows())
    made.fit()
    out = said("effects", made.folder, "--out", tmp_path / "plots" / "effects.png")
    assert "Change in nats per token" in out
    assert "helps  a" in out
    assert (tmp_path / "plots" / "effects.png").read_bytes().startswith(b"\x89PNG")
    refused = CliRunner().invoke(app, ["effects", str(made.folder), "--out", str(tmp_path / "plots")])
    assert "must end in .png" in str(refused.exception)

"""What a law is not told: settings that vary among runs of equal inputs."""

import subprocess
import sys

import numpy as np
import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, MixlawWarning
from mixlaw.study.equal_inputs import unexplained
from mixlaw.study.fit_files import fit_files
from mixlaw.study.study import Study


def swarm(path, settings, seed=0):
    rng = np.random.default_rng(seed)
    rows = ["weight_a,weight_b,setting,seed,loss_a"]
    for a in rng.dirichlet([1, 1], 8)[:, 0].round(4):
        for i, setting in enumerate(settings):
            rows.append(f"{a},{round(1 - a, 4)},{setting},{i},{2 + np.exp(-a) + 0.3 * i}")
    path.write_text("\n".join(rows))
    return path


def test_settings_that_vary_among_equal_inputs_are_named(tmp_path):
    obs = Observations.read(swarm(tmp_path / "runs.csv", ("cosine", "wsd", "none")))
    largest, target, varying = unexplained(obs, obs.table())
    assert largest == pytest.approx(0.6) and target == "a" and varying == {"setting": ["cosine", "wsd", "none"]}


def test_seeds_alone_are_replicates(tmp_path):
    obs = Observations.read(swarm(tmp_path / "runs.csv", ("same", "same")))
    assert unexplained(obs, obs.table()) == (0.0, "", {})


def test_fit_says_it_and_a_dry_run_writes_nothing(tmp_path):
    path, said = swarm(tmp_path / "runs.csv", ("cosine", "wsd")), []
    with pytest.warns(
        MixlawWarning, match=r"equal a, b differ by up to 0\.3 on 'a', and 'setting' \(cosine, wsd\) varies"
    ):
        assert fit_files([path], tmp_path / "out", dry_run=True, say=said.append) is None
    assert not (tmp_path / "out").exists()
    assert "  setting   setting (2 values)" in said[0] and "16 runs, columns a, b; 1 target in loss." in said


def test_the_command_prints_the_table_and_takes_what_users_say_of_columns(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("W,C,score,junk\n40,60,0.3,1\n50,50,0.4,2\n60,40,0.5,3\n70,30,0.6,4\n")
    code = "from mixlaw.cli.app import main; main()"
    said = ["--weight", "web=W", "--weight", "code=C", "--value", "score=higher", "--ignore", "junk", "--repair"]
    arguments = [sys.executable, "-c", code, "fit", str(path), "--dry-run", "--out", str(tmp_path / "out"), *said]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for line in (
        "W      weight of web",
        "score  score on score, higher is better",
        "junk   unused (left out as asked)",
    ):
        assert line in result.stdout
    assert "fitted as minus the score so that less is better" in result.stdout
    assert result.stdout.rstrip().endswith("Nothing was fitted or written.") and not (tmp_path / "out").exists()


def test_a_study_takes_the_same_words(tmp_path):
    (tmp_path / "runs.csv").write_text("W,C,score_x\n0.4,0.6,3.1\n0.5,0.5,3.0\n")
    config = {
        "corpus": {"counts": {"web": 1000, "code": 1000}},
        "runs": ["runs.csv"],
        "run_options": {"weights": {"web": "W", "code": "C"}, "values": {"score_x": "loss"}},
        "objective": {"score_x": 1.0},
        "budget": {"tokens": 100},
    }
    observations = Study.create(tmp_path / "study", config).observations()
    assert observations.domains == ["web", "code"] and observations.targets == ["score_x"]
    with pytest.raises(ConfigError, match=r"no option 'weigths'.*Did you mean 'weights'"):
        Study.create(tmp_path / "other", config | {"run_options": {"weigths": {}}})


def test_an_accuracy_is_never_minimised(tmp_path):
    rng = np.random.default_rng(0)
    rows, path = ["weight_a,weight_b,acc_q,f1"], tmp_path / "runs.csv"
    for a in rng.dirichlet([1, 1], 12)[:, 0].round(4):
        rows.append(f"{a},{round(1 - a, 4)},{0.9 - 0.5 * np.exp(-2 * a):.6f},{5 + a}")
    path.write_text("\n".join(rows))
    said = []
    law = fit_files([path], tmp_path / "acc", ignore=["f1"], say=said.append)
    assert list(law.target_names_) == ["q (1 - accuracy)"]
    assert "fitted as 1 - accuracy so that less is better" in said[1]
    worse, better = (float(np.ravel(law.predict({"a": [a], "b": [1 - a]}))[0]) for a in (0.1, 0.9))
    assert better < worse
    law = fit_files([path], tmp_path / "f1", values={"f1": "higher"}, say=said.append)
    assert list(law.target_names_) == ["minus f1"]
    worse, better = (float(np.ravel(law.predict({"a": [a], "b": [1 - a]}))[0]) for a in (0.1, 0.9))
    assert better < worse

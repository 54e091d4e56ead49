"""What a law is not told: settings that vary among runs of equal inputs."""

import numpy as np
import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import MixlawWarning
from mixlaw.study.equal_inputs import unexplained
from mixlaw.study.fit_files import fit_files


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


def test_an_accuracy_is_never_minimised(tmp_path):
    rng = np.random.default_rng(0)
    rows, path = ["weight_a,weight_b,acc_q,f1"], tmp_path / "runs.csv"
    for a in rng.dirichlet([1, 1], 12)[:, 0].round(4):
        rows.append(f"{a},{round(1 - a, 4)},{0.9 - 0.5 * np.exp(-2 * a):.6f},{5 + a}")
    path.write_text("\n".join(rows))
    said = []
    law = fit_files([path], tmp_path / "acc", ignore=["f1"], say=said.append)
    assert law.target_names_ == ("q (1 - accuracy)",) or list(law.target_names_) == ["q (1 - accuracy)"]
    assert "fitted as 1 - accuracy so that less is better" in said[1]
    worse, better = (float(np.ravel(law.predict({"a": [a], "b": [1 - a]}))[0]) for a in (0.1, 0.9))
    assert better < worse
    law = fit_files([path], tmp_path / "f1", values={"f1": "higher"}, say=said.append)
    assert list(law.target_names_) == ["minus f1"]
    worse, better = (float(np.ravel(law.predict({"a": [a], "b": [1 - a]}))[0]) for a in (0.1, 0.9))
    assert better < worse

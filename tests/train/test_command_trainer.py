"""The user's own command as trainer: real processes, real files."""

import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, RunError
from mixlaw.train import TRAINERS, CommandTrainer, RunStopped, Trainer
from mixlaw.train.command_trainer import read_metrics

from processes import alive, wait_until
from tiny_tokens import tiny_spec

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_trainer" / "train.py"


def python(code, *arguments):
    return [sys.executable, "-c", code, *arguments]


def run(tiny, folder, command, spec=None, timeout=None, **hooks):
    spec = spec or tiny_spec(tiny[0], steps=4)
    CommandTrainer(*tiny, command, timeout).run(spec, folder / spec.id, **hooks)
    return Observations.load(folder / spec.id)


def rows_code(*rows):
    text = "\n".join(json.dumps(r) for r in rows)
    return f"import sys; open(sys.argv[1], 'w').write({text!r})"


GOOD = (
    {"step": 2, "target": "train", "metric": "train_loss", "value": 3.0},
    {"step": 4, "target": "hills", "value": 2.5, "std": 0.1},
    {"step": 4, "target": "plains", "value": 2.75},
)


def test_what_is_not_passed_on_is_refused(tiny, tmp_path):
    spec = tiny_spec(tiny[0], steps=4, update="lora")
    with pytest.raises(ConfigError, match=r"'command' cannot do .*update="):
        run(tiny, tmp_path, python(rows_code(*GOOD), "{metrics}"), spec)


def test_is_the_registered_trainer():
    assert TRAINERS["command"] is CommandTrainer
    assert issubclass(CommandTrainer, Trainer)


def test_jsonl_metrics_become_observations(tiny, tmp_path):
    observed = run(tiny, tmp_path, python(rows_code(*GOOD), "{metrics}"))
    X, y = observed.table()
    assert y.to_pylist() == [{"hills": 2.5, "plains": 2.75}]
    assert X.to_pylist() == [{"hills": 0.5, "plains": 0.5}]
    (row,) = observed.runs.to_pylist()
    assert row["status"] == "done"
    assert row["tokens"] == 4 * 128
    assert row["params"] == 4 * 32**2 + 3 * 32 * 64 + 3 * 32  # the spec's model is one mixlaw knows
    values = observed.values.to_pylist()
    assert [v["tokens"] for v in values] == [256, 512, 512]
    assert values[1]["std"] == 0.1
    assert values[1]["target_hash"] == tiny[0].validation[0].hash
    assert dict(row["epochs"]) == pytest.approx({"hills": 256 / 20_000, "plains": 256 / 20_000})


def test_csv_metrics_and_environment_variables(tiny, tmp_path):
    code = (
        "import os; open(os.environ['MIXLAW_METRICS'], 'w').write("
        "'step,target,metric,value,unit,shots\\n4,hills,loss,2.5,nats_per_token,\\n4,plains,loss,2.75,,\\n"
        "4,hills,accuracy,0.5,fraction,5\\n4,,params,1234,,\\n'.replace('4,,params', '4,model,params'))"
    )
    observed = run(tiny, tmp_path, python(code))
    values = observed.values.to_pylist()
    assert [(v["target"], v["metric"], v["value"], v["unit"], v["shots"]) for v in values] == [
        ("hills", "loss", 2.5, "nats_per_token", None),
        ("plains", "loss", 2.75, "nats_per_token", None),
        ("hills", "accuracy", 0.5, "fraction", 5),
    ]
    assert observed.runs["params"].to_pylist() == [1234.0]


def test_the_spec_file_says_everything(tiny, tmp_path):
    """A command can draw the run's tokens from the spec file alone, in the mixture's exact proportions."""
    spec = tiny_spec(tiny[0], 0.25, steps=8, unique_tokens={"hills": 5_000}, seed=3)
    code = (
        "import json, sys, shutil; run = json.load(open(sys.argv[1])); "
        "open(run['metrics'], 'w').write(''.join(json.dumps({'step': run['num_steps'], 'target': t, 'value': 1.0}) "
        "+ chr(10) for t in run['validation']))"
    )
    run(tiny, tmp_path, python(code, "{spec}"), spec)
    told = json.loads((tmp_path / spec.id / "command.json").read_text())
    assert type(spec).from_dict(told["spec"]).id == spec.id == told["id"]
    assert told["evaluate_steps"] == [4, 8]
    assert told["domains"]["hills"]["unique_tokens"] == 5_000
    assert told["domains"]["plains"] == {
        "path": str(tiny[1].resolve() / "plains" / "train.bin"),
        "unique_tokens": 20_000,
        "phase_weights": [0.75],
    }
    for name in ("hills", "plains"):
        assert len(np.fromfile(told["domains"][name]["path"], told["dtype"])) == 20_000
        assert len(np.fromfile(told["validation"][name]["path"], told["dtype"])) == told["validation"][name]["tokens"]
    order = np.load(told["order"])
    assert order.shape == (8, 4)
    assert np.bincount(order.ravel()).tolist() == [8, 24]


def test_a_string_is_split_like_a_shell_would(tiny, tmp_path):
    script = tmp_path / "my trainer.py"
    script.write_text(rows_code(*GOOD))
    observed = run(tiny, tmp_path, f"'{sys.executable}' '{script}' {{metrics}}")
    assert len(observed) == 1


def test_a_failing_command_shows_the_end_of_its_log(tiny, tmp_path):
    code = "import sys; print('loading the data'); sys.exit('no such file: tokens')"
    with pytest.raises(RunError, match="exit code 1") as caught:
        run(tiny, tmp_path, python(code))
    assert "no such file: tokens" in caught.value.log_tail
    assert "no such file: tokens" in str(caught.value)
    assert caught.value.spec.id == tiny_spec(tiny[0], steps=4).id
    with pytest.raises(RunError, match="SIGABRT"):
        run(tiny, tmp_path, python("import os; os.abort()"))
    with pytest.raises(RunError, match="cannot be started"):
        run(tiny, tmp_path, ["no-such-command-anywhere"])


def test_a_slow_command_and_its_children_are_ended(tiny, tmp_path):
    child = tmp_path / "child"
    code = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(10**6)']); "
        f"open({str(child)!r}, 'w').write(str(p.pid)); print('training', flush=True); time.sleep(10**6)"
    )
    for seconds in (1.5, 12.0, 100.0):  # the first is enough unless the machine is too busy to start a process in it
        with pytest.raises(RunError, match=rf"timeout of {seconds:g} s") as caught:
            run(tiny, tmp_path / f"{seconds}", python(code), timeout=seconds)
        if "training" in caught.value.log_tail:
            break
    assert "training" in caught.value.log_tail
    pid = int(child.read_text())
    wait_until(lambda: not alive(pid), "the command's child has ended")


def test_a_stopped_command_is_ended_and_runs_again(tiny, tmp_path):
    marker = tmp_path / "pid"
    code = (
        f"import os, sys, time; first = not os.path.exists({str(marker)!r}); open({str(marker)!r}, 'w').write('x'); "
        "time.sleep(10**6 if first else 0); " + rows_code(*GOOD)
    )
    with pytest.raises(RunStopped):
        run(tiny, tmp_path, python(code, "{metrics}"), should_stop=marker.exists)
    assert len(run(tiny, tmp_path, python(code, "{metrics}"))) == 1


def test_a_done_run_is_not_run_again(tiny, tmp_path):
    command = python(
        "import sys; open(sys.argv[2], 'a').write('x'); " + rows_code(*GOOD), "{metrics}", str(tmp_path / "n")
    )
    run(tiny, tmp_path, command)
    run(tiny, tmp_path, command)
    assert (tmp_path / "n").read_text() == "x"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((), "wrote no rows"),
        (GOOD[:2], r"lack the final loss \(step 4\) on \['plains'\]"),
        (({"step": 4, "target": "hills"},), r"line 1.*lacks \['value'\]"),
        (({"step": 4, "target": "hills", "value": "high"},), "line 1.*not a number"),
        (({"step": 4, "target": "hills", "vlaue": 1.0},), "Did you mean 'value'"),
    ],
)
def test_missing_or_wrong_metrics_are_explained(tiny, tmp_path, rows, words):
    with pytest.raises(RunError, match=words):
        run(tiny, tmp_path, python(rows_code(*rows), "{metrics}"))


def test_no_metrics_file_and_broken_json(tiny, tmp_path):
    with pytest.raises(RunError, match="wrote no metrics"):
        run(tiny, tmp_path, python("print('done')"))
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "target": "a", "value": 1}\n{"step": 2, "tar')
    with pytest.raises(RunError, match="line 2 is not JSON"):
        read_metrics(path, tiny_spec(tiny[0]))


def test_metrics_of_an_earlier_attempt_are_not_believed(tiny, tmp_path):
    spec = tiny_spec(tiny[0], steps=4)
    with pytest.raises(RunError, match="exit code 3"):
        run(tiny, tmp_path, python(rows_code(*GOOD) + "; sys.exit(3)", "{metrics}"), spec)
    with pytest.raises(RunError, match="earlier attempt"):
        run(tiny, tmp_path, python("print('nothing to do')"), spec)


def test_a_loss_that_is_not_finite_means_diverged(tiny, tmp_path):
    rows = (GOOD[0], {"step": 3, "target": "hills", "value": math.nan})
    observed = run(tiny, tmp_path, python(rows_code(*rows), "{metrics}"))
    assert observed.runs["status"].to_pylist() == ["diverged"]
    assert [(v["value"], v["censored"]) for v in observed.values.to_pylist()] == [
        (3.0, "none"),
        (math.log(64), "right"),
    ]


@pytest.mark.parametrize(
    ("command", "words"),
    [("", "empty"), ("train {metric}", "Did you mean 'metrics'"), (["train", "{x}"], "placeholder")],
)
def test_wrong_commands_are_explained(tiny, command, words):
    with pytest.raises(ConfigError, match=words):
        CommandTrainer(*tiny, command)


def test_braces_that_are_no_placeholder_are_left_alone(tiny, tmp_path):
    options = json.dumps({"lr": 0.1})
    code = f"import sys; assert sys.argv[2] == {options!r}; " + rows_code(*GOOD)
    assert len(run(tiny, tmp_path, python(code, "{metrics}", options))) == 1


def test_the_example_learns_what_it_is_fed_and_does_not_import_mixlaw(tiny, tmp_path):
    assert "import mixlaw" not in EXAMPLE.read_text()
    losses = {}
    for hills in (0.1, 0.9):
        spec = tiny_spec(tiny[0], hills, steps=40)
        _, y = run(tiny, tmp_path, [sys.executable, str(EXAMPLE), "{spec}", "{metrics}"], spec).table()
        losses[hills] = y.to_pylist()[0]
    assert losses[0.9]["hills"] < losses[0.1]["hills"] - 0.2
    assert losses[0.1]["plains"] < losses[0.9]["plains"] - 0.2
    assert os.path.exists(tmp_path / spec.id / "DONE")

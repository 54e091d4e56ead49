"""The local executor: real worker processes, and everything that can happen to them."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, RunError
from mixlaw.execute import EXECUTORS, LocalExecutor
from mixlaw.kit.store import Store
from mixlaw.train import CommandTrainer, TorchTrainer

from processes import HANG_SECONDS, alive, child_environment, wait_until
from scripted_trainers import MIDDLE, EnvironmentTrainer, PlainTrainer, ScriptedTrainer, scripted, train
from tiny_tokens import tiny_spec

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_trainer" / "train.py"


def no_children():
    return not multiprocessing.active_children()


def test_is_the_registered_executor():
    assert EXECUTORS["local"] is LocalExecutor


def test_every_spec_is_trained_by_persistent_workers(tmp_path):
    specs = [scripted("learn", seed) for seed in range(6)]
    results = dict((s.id, r) for s, r in train(LocalExecutor(2), ScriptedTrainer(), specs, tmp_path))
    assert {s.id for s in specs} == set(results)
    for spec in specs:
        assert results[spec.id].values["value"].to_pylist() == [float(spec.seed)]
    processes = {r.runs["trainer"][0].as_py() for r in results.values()}
    assert 1 <= len(processes) <= 2
    assert str(os.getpid()) not in processes
    assert no_children()


def test_failures_come_back_and_the_others_go_on(tmp_path):
    words = ["learn", "fail", "kill", "misconfigured", "learn", "bug", "exit", "forget", "learn"]
    specs = [scripted(word, seed) for seed, word in enumerate(words)]
    results = {s.seed: r for s, r in train(LocalExecutor(2), ScriptedTrainer(), specs, tmp_path)}
    assert len(results) == len(words)
    for seed, word in enumerate(words):
        expected = Observations if word == "learn" else RunError
        assert isinstance(results[seed], expected), (word, results[seed])
        if word != "learn":
            assert results[seed].spec.id == specs[seed].id
    assert results[1].log_tail == "the log's last words"
    assert "SIGKILL" in str(results[2])
    assert "no such model" in str(results[3])
    assert "ZeroDivisionError: a bug in the trainer" in results[5].log_tail
    assert "exit code 7" in str(results[6])
    assert "without finishing" in str(results[7])
    assert no_children()


def test_done_runs_are_read_not_trained(tmp_path):
    specs = [scripted("learn", seed) for seed in range(3)]
    list(train(LocalExecutor(1), ScriptedTrainer(), specs[:2], tmp_path))
    before = (tmp_path / specs[0].id / "values.parquet").stat().st_mtime_ns
    seen = [
        s.seed for s, r in train(LocalExecutor(1), ScriptedTrainer(), specs, tmp_path) if isinstance(r, Observations)
    ]
    assert seen == [0, 1, 2]
    assert (tmp_path / specs[0].id / "values.parquet").stat().st_mtime_ns == before
    # Nothing to train: no process is started at all.
    iterator = train(LocalExecutor(1), ScriptedTrainer(), specs, tmp_path)
    next(iterator)
    assert no_children()
    iterator.close()


def test_a_spec_given_twice_is_trained_once(tmp_path):
    twin = scripted("learn", 4, replicate_group="other label")
    results = list(train(LocalExecutor(2), ScriptedTrainer(), [scripted("learn", 4), twin], tmp_path))
    assert [s.replicate_group for s, _ in results] == ["", "other label"]
    assert results[0][1].runs.equals(results[1][1].runs)


def test_a_run_waits_for_the_one_it_starts_from(tmp_path):
    first = scripted("learn", 1)
    second = scripted("learn", 2, start=first.id)
    lost = scripted("fail", 3)
    orphan = scripted("learn", 4, start=lost.id)
    specs = [orphan, second, lost, first]
    results = {s.seed: r for s, r in train(LocalExecutor(2), ScriptedTrainer(), specs, tmp_path)}
    finished = [(tmp_path / s.id / "DONE").stat().st_mtime_ns for s in (first, second)]
    assert finished == sorted(finished)
    assert isinstance(results[4], RunError)
    assert "which failed" in str(results[4])


def test_progress_is_reported_while_runs_train(tmp_path):
    specs = [scripted("report", seed) for seed in range(2)]
    seen = []

    def progress(spec, step, num_steps):
        seen.append((spec.seed, step, num_steps))
        (tmp_path / spec.id / str(step)).touch()  # the run waits for this at every 25th step

    list(train(LocalExecutor(2, poll_seconds=0.05), ScriptedTrainer(), specs, tmp_path, progress=progress))
    assert {n for _, _, n in seen} == {100}
    for seed in (0, 1):
        steps = [i for s, i, _ in seen if s == seed]
        assert steps == sorted(steps)
        assert {25, 50, 75, 100} <= set(steps)


@pytest.mark.slow
def test_leaving_early_keeps_what_was_done(tmp_path):
    held, *others = specs = [scripted("hold", 0), scripted("learn", 1), scripted("learn", 2)]
    iterator = train(LocalExecutor(2, grace_seconds=HANG_SECONDS), ScriptedTrainer(), specs, tmp_path)
    assert next(iterator)[0] in others
    wait_until((tmp_path / held.id / "holding").exists, "the held run is in its middle")
    iterator.close()
    assert no_children()
    assert Store(tmp_path / held.id).exists("step")
    results = {s.id: r for s, r in train(LocalExecutor(2), ScriptedTrainer(), specs, tmp_path)}
    assert all(isinstance(r, Observations) for r in results.values())
    assert results[held.id].runs["start"].to_pylist() == [str(MIDDLE)]  # continued, not started over


@pytest.mark.slow
def test_a_worker_killed_from_outside_fails_one_run_only(tmp_path):
    held, *_ = specs = [scripted("hold", 0), scripted("learn", 1), scripted("learn", 2)]
    folder = tmp_path / held.id

    def kill():
        wait_until((folder / "holding").exists, "the run that gets killed is in its middle")
        os.kill(int((folder / "log.txt").read_text().split()[1]), signal.SIGKILL)
        (folder / "go").touch()  # the next attempt need not wait

    killer = threading.Thread(target=kill)
    killer.start()
    results = {s.id: r for s, r in train(LocalExecutor(1), ScriptedTrainer(), specs, tmp_path)}
    killer.join()
    assert {key for key, r in results.items() if isinstance(r, RunError)} == {held.id}
    assert "SIGKILL" in str(results[held.id])
    assert all(isinstance(r, Observations) for _, r in train(LocalExecutor(1), ScriptedTrainer(), specs, tmp_path))


INTERRUPTED = """
    import signal, sys
    from pathlib import Path
    from processes import HANG_SECONDS
    from scripted_trainers import ScriptedTrainer, scripted, train
    from mixlaw.execute import LocalExecutor

    def main():
        # A shell starts background jobs with SIGINT ignored, and a Python inherits that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        root = Path(sys.argv[1])
        specs = [scripted("hold", seed) for seed in range(2)]
        try:
            for _ in train(LocalExecutor(2, grace_seconds=HANG_SECONDS), ScriptedTrainer(), specs, root):
                pass
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            sys.exit(130)

    if __name__ == "__main__":
        main()
"""


@pytest.fixture
def script(tmp_path):
    """``(process, root, specs, workers)`` of a script whose two runs are in their middle, and its workers' ids."""
    path, root = tmp_path / "study.py", tmp_path / "runs"
    path.write_text(textwrap.dedent(INTERRUPTED))
    process = subprocess.Popen(
        [sys.executable, str(path), str(root)],
        env=child_environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    specs = [scripted("hold", seed) for seed in range(2)]
    try:
        wait_until(
            lambda: process.poll() is not None or all((root / s.id / "holding").exists() for s in specs),
            "both runs are in their middle",
        )
        assert process.poll() is None
        yield process, root, specs, [int((root / s.id / "log.txt").read_text().split()[1]) for s in specs]
    finally:
        process.kill()
        process.wait()


def continued_from(specs, root):
    """The steps at which the runs were continued; each ends."""
    results = dict((s.id, r) for s, r in train(LocalExecutor(2), ScriptedTrainer(), specs, root))
    return [results[s.id].runs["start"][0].as_py() for s in specs]


def test_ctrl_c_publishes_checkpoints_and_leaves_no_process(script):
    process, root, specs, workers = script
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the parent and its workers
    shown, _ = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 130
    assert "interrupted" in shown
    assert not any(alive(p) for p in workers)
    assert continued_from(specs, root) == [str(MIDDLE)] * 2


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(script):
    process, root, specs, workers = script
    process.kill()
    wait_until(lambda: not any(alive(p) for p in workers), "the workers have ended")
    assert continued_from(specs, root) == [str(MIDDLE)] * 2


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            from scripted_trainers import ScriptedTrainer, scripted, train
            from mixlaw.execute import LocalExecutor

            list(train(LocalExecutor(1), ScriptedTrainer(), [scripted("learn")], sys.argv[1]))
            """
        )
    )
    shown = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "runs")],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert shown.returncode != 0
    assert "if __name__ == '__main__'" in shown.stderr


def test_a_trainer_without_hooks_and_threads_of_workers(tmp_path):
    pytest.importorskip("torch")
    (result,) = [r for _, r in train(LocalExecutor(1), PlainTrainer(), [scripted("learn")], tmp_path / "a")]
    assert isinstance(result, Observations)
    before = dict(os.environ)
    (result,) = [r for _, r in train(LocalExecutor(1), EnvironmentTrainer(), [scripted("threads")], tmp_path / "b")]
    assert result.values["value"].to_pylist() == [1.0]
    assert dict(os.environ) == before


def test_several_specs_through_the_example_trainer(tiny, tmp_path):
    """The user's own command, several specs at once, up to a table a law can be fitted to."""
    trainer = CommandTrainer(*tiny, [sys.executable, str(EXAMPLE), "{spec}", "{metrics}"])
    specs = [tiny_spec(tiny[0], w, steps=40) for w in (0.1, 0.3, 0.5, 0.7, 0.9)]
    parts = [r for _, r in train(LocalExecutor(2), trainer, specs, tmp_path)]
    assert all(isinstance(p, Observations) for p in parts), parts
    X, y = Observations.concat(parts).table()
    order = sorted(range(5), key=lambda i: X["hills"][i].as_py())
    losses = [y["hills"][i].as_py() for i in order]
    assert losses == sorted(losses, reverse=True)  # more of a domain, less loss on it


@pytest.mark.slow
def test_torch_runs_do_not_depend_on_the_number_of_workers(tiny, tmp_path):
    pytest.importorskip("torch")
    specs = [tiny_spec(tiny[0], w, steps=10) for w in (0.2, 0.5, 0.8)]
    tables = []
    for workers in (1, 2):
        results = train(LocalExecutor(workers), TorchTrainer(*tiny), specs, tmp_path / str(workers))
        tables.append({s.id: json.dumps(r.values.to_pylist()) for s, r in results})
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    "options",
    [{"workers": 0}, {"workers": "two"}, {"grace_seconds": -1}, {"grace_seconds": "long"}, {"poll_seconds": 0}],
)
def test_wrong_options_are_explained(options):
    with pytest.raises(ConfigError, match="LocalExecutor"):
        LocalExecutor(**options)


def test_a_circle_of_starts_is_explained(tmp_path, monkeypatch):
    """Content hashes make a circle impossible by accident; a wrong ``start`` in a hand-written list still ends."""
    first, second = scripted("learn", 1), scripted("learn", 2)
    object.__setattr__(first, "start", "b")
    object.__setattr__(second, "start", "a")
    monkeypatch.setattr(type(first), "id", property(lambda self: {1: "a", 2: "b"}[self.seed]))
    with pytest.raises(ConfigError, match="circle"):
        list(train(LocalExecutor(1), ScriptedTrainer(), [first, second], tmp_path))
    assert no_children()

"""The local executor: real worker processes, and everything that can happen to them."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, RunError
from mixlaw.execute import EXECUTORS, LocalExecutor
from mixlaw.kit.store import Store
from mixlaw.train import CommandTrainer, TorchTrainer

from scripted_trainers import EnvironmentTrainer, PlainTrainer, ScriptedTrainer, scripted
from tiny_tokens import tiny_spec

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_trainer" / "train.py"


def no_children():
    return not multiprocessing.active_children()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_is_the_registered_executor():
    assert EXECUTORS["local"] is LocalExecutor


def test_every_spec_is_trained_by_persistent_workers(tmp_path):
    specs = [scripted("learn", seed) for seed in range(6)]
    results = dict((s.id, r) for s, r in LocalExecutor(2).map(ScriptedTrainer(), specs, tmp_path))
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
    results = {s.seed: r for s, r in LocalExecutor(2).map(ScriptedTrainer(), specs, tmp_path)}
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
    list(LocalExecutor(1).map(ScriptedTrainer(), specs[:2], tmp_path))
    before = (tmp_path / specs[0].id / "values.parquet").stat().st_mtime_ns
    seen = [s.seed for s, r in LocalExecutor(1).map(ScriptedTrainer(), specs, tmp_path) if isinstance(r, Observations)]
    assert seen == [0, 1, 2]
    assert (tmp_path / specs[0].id / "values.parquet").stat().st_mtime_ns == before
    # Nothing to train: no process is started at all.
    iterator = LocalExecutor(1).map(ScriptedTrainer(), specs, tmp_path)
    next(iterator)
    assert no_children()
    iterator.close()


def test_a_spec_given_twice_is_trained_once(tmp_path):
    twin = scripted("learn", 4, replicate_group="other label")
    results = list(LocalExecutor(2).map(ScriptedTrainer(), [scripted("learn", 4), twin], tmp_path))
    assert [s.replicate_group for s, _ in results] == ["", "other label"]
    assert results[0][1].runs.equals(results[1][1].runs)


def test_a_run_waits_for_the_one_it_starts_from(tmp_path):
    first = scripted("learn", 1)
    second = scripted("learn", 2, start=first.id)
    lost = scripted("fail", 3)
    orphan = scripted("learn", 4, start=lost.id)
    specs = [orphan, second, lost, first]
    results = {s.seed: r for s, r in LocalExecutor(2).map(ScriptedTrainer(), specs, tmp_path)}
    finished = [(tmp_path / s.id / "DONE").stat().st_mtime_ns for s in (first, second)]
    assert finished == sorted(finished)
    assert isinstance(results[4], RunError)
    assert "which failed" in str(results[4])


def test_progress_is_reported_while_runs_train(tmp_path):
    specs = [scripted("learn", seed) for seed in range(2)]
    seen = []
    executor = LocalExecutor(2, poll_seconds=0.05)
    list(executor.map(ScriptedTrainer(0.01), specs, tmp_path, progress=lambda s, i, n: seen.append((s.seed, i, n))))
    assert {s for s, _, _ in seen} == {0, 1}
    assert all(0 < i <= n == 100 for _, i, n in seen)
    for seed in (0, 1):
        steps = [i for s, i, _ in seen if s == seed]
        assert steps == sorted(steps)
        assert len(set(steps)) > 3


@pytest.mark.slow
def test_leaving_early_keeps_what_was_done(tmp_path):
    specs = [scripted("learn", seed) for seed in range(4)]
    iterator = LocalExecutor(2).map(ScriptedTrainer(0.02), specs, tmp_path)
    next(iterator)
    time.sleep(0.3)
    iterator.close()
    assert no_children()
    stopped = [s for s in specs if Store(tmp_path / s.id).exists("step")]
    results = {s.id: r for s, r in LocalExecutor(2).map(ScriptedTrainer(), specs, tmp_path)}
    assert all(isinstance(r, Observations) for r in results.values())
    for spec in stopped:  # continued, not started over
        assert int(results[spec.id].runs["start"][0].as_py()) > 0


@pytest.mark.slow
def test_a_worker_killed_from_outside_fails_one_run_only(tmp_path):
    specs = [scripted("learn", seed) for seed in range(3)]
    iterator = LocalExecutor(1, poll_seconds=0.05).map(ScriptedTrainer(0.01), specs, tmp_path)

    def kill():
        while not (logs := list(tmp_path.glob("*/log.txt"))) or "pid" not in logs[0].read_text():
            time.sleep(0.01)
        os.kill(int(logs[0].read_text().split()[1]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    results = [r for _, r in iterator]
    killer.join()
    assert [isinstance(r, RunError) for r in results].count(True) == 1
    assert "SIGKILL" in str(next(r for r in results if isinstance(r, RunError)))
    assert all(isinstance(r, Observations) for _, r in LocalExecutor(1).map(ScriptedTrainer(), specs, tmp_path))


INTERRUPTED = """
    import os, sys, signal, threading, time
    from pathlib import Path
    from scripted_trainers import ScriptedTrainer, scripted
    from mixlaw.execute import LocalExecutor

    def main():
        root = Path(sys.argv[1])
        specs = [scripted("learn", seed) for seed in range(2)]
        try:
            for _ in LocalExecutor(2).map(ScriptedTrainer(0.05), specs, root):
                pass
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            sys.exit(130)

    if __name__ == "__main__":
        main()
"""


def start_script(tmp_path):
    script = tmp_path / "study.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    root = tmp_path / "runs"
    process = subprocess.Popen(
        [sys.executable, str(script), str(root)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(logs := [p for p in root.glob("*/log.txt") if "pid" in p.read_text()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)
    return process, root, [int(p.read_text().split()[1]) for p in logs]


def gone(pids, seconds):
    deadline = time.monotonic() + seconds
    while any(alive(p) for p in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(alive(p) for p in pids)


def test_ctrl_c_publishes_checkpoints_and_leaves_no_process(tmp_path):
    process, root, workers = start_script(tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the parent and its workers
    shown, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in shown
    assert gone(workers, 1)
    specs = [scripted("learn", seed) for seed in range(2)]
    assert all(Store(root / s.id).exists("step") for s in specs)
    results = [r for _, r in LocalExecutor(2).map(ScriptedTrainer(), specs, root)]
    assert all(int(r.runs["start"][0].as_py()) > 0 for r in results)


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path):
    process, root, workers = start_script(tmp_path)
    process.kill()
    process.communicate(timeout=30)
    assert gone(workers, 20)
    assert all(Store(root / scripted("learn", seed).id).exists("step") for seed in range(2))


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            from scripted_trainers import ScriptedTrainer, scripted
            from mixlaw.execute import LocalExecutor

            list(LocalExecutor(1).map(ScriptedTrainer(), [scripted("learn")], sys.argv[1]))
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "runs")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert shown.returncode != 0
    assert "if __name__ == '__main__'" in shown.stderr


def test_a_trainer_without_hooks_and_threads_of_workers(tmp_path):
    pytest.importorskip("torch")
    (result,) = [r for _, r in LocalExecutor(1).map(PlainTrainer(), [scripted("learn")], tmp_path / "a")]
    assert isinstance(result, Observations)
    before = dict(os.environ)
    (result,) = [r for _, r in LocalExecutor(1).map(EnvironmentTrainer(), [scripted("threads")], tmp_path / "b")]
    assert result.values["value"].to_pylist() == [1.0]
    assert dict(os.environ) == before


def test_several_specs_through_the_example_trainer(tiny, tmp_path):
    """The user's own command, several specs at once, up to a table a law can be fitted to."""
    trainer = CommandTrainer(*tiny, [sys.executable, str(EXAMPLE), "{spec}", "{metrics}"], timeout=60)
    specs = [tiny_spec(tiny[0], w, steps=40) for w in (0.1, 0.3, 0.5, 0.7, 0.9)]
    parts = [r for _, r in LocalExecutor(2).map(trainer, specs, tmp_path)]
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
        results = LocalExecutor(workers).map(TorchTrainer(*tiny), specs, tmp_path / str(workers))
        tables.append({s.id: json.dumps(r.values.to_pylist()) for s, r in results})
    assert tables[0] == tables[1]


@pytest.mark.parametrize("options", [{"workers": 0}, {"workers": "two"}, {"grace_seconds": -1}, {"poll_seconds": 0}])
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
        list(LocalExecutor(1).map(ScriptedTrainer(), [first, second], tmp_path))
    assert no_children()

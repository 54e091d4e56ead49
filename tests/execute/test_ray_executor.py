"""The Ray executor on a real local cluster of two CPUs; what every executor does is in test_any_task.py."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, MissingExtraError, RunError
from mixlaw.execute import EXECUTORS, LocalExecutor
from mixlaw.study.study import Study
from mixlaw.train import TorchTrainer

from processes import HANG_SECONDS, alive, child_environment, wait_until
from scripted_trainers import MIDDLE, ScriptedTrainer, scripted, train
from tiny_tokens import tiny_spec

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_trainer" / "train.py"


def ray_executor(**options):
    return EXECUTORS.make("ray", {"workers": 2, "grace_seconds": HANG_SECONDS, **options})


def test_without_ray_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    with pytest.raises(MissingExtraError, match=r"pip install 'mixlaw\[ray\]'"):
        ray_executor()


@pytest.mark.parametrize(
    "options", [{"workers": 0}, {"workers": "two"}, {"grace_seconds": -1}, {"poll_seconds": 0}, {"adress": "auto"}]
)
def test_wrong_options_are_explained(options):
    with pytest.raises(ConfigError, match=r"RayExecutor|has no option 'adress'"):
        ray_executor(**options)


def test_a_misspelt_resource_is_explained():
    with pytest.raises(ConfigError, match="Did you mean 'num_gpus'"):
        ray_executor(resources={"gpus": 1})


@pytest.mark.slow
def test_failures_come_back_and_the_others_go_on(tmp_path):
    words = ["learn", "fail", "kill", "misconfigured", "learn", "bug", "exit", "forget", "learn"]
    specs = [scripted(word, seed) for seed, word in enumerate(words)]
    results = {s.seed: r for s, r in train(ray_executor(), ScriptedTrainer(), specs, tmp_path)}
    assert len(results) == len(words)
    for seed, word in enumerate(words):
        expected = Observations if word == "learn" else RunError
        assert isinstance(results[seed], expected), (word, results[seed])
        if word != "learn":
            assert results[seed].spec.id == specs[seed].id
    assert results[1].log_tail == "the log's last words"
    assert "The worker of run" in str(results[2])
    assert "no such model" in str(results[3])
    assert "ZeroDivisionError: a bug in the trainer" in results[5].log_tail
    assert "exit code 7" in str(results[6])
    assert "without finishing" in str(results[7])


@pytest.mark.slow
def test_what_no_node_has_is_explained(tmp_path):
    with pytest.raises(ConfigError, match="One worker needs GPU 64"):
        list(train(ray_executor(resources={"num_gpus": 64}), ScriptedTrainer(), [scripted("learn")], tmp_path))
    with pytest.raises(ConfigError, match="could not connect to a cluster at address='no port'"):
        list(train(ray_executor(address="no port"), ScriptedTrainer(), [scripted("learn")], tmp_path))


def descendants(pid):
    """Processes that ``pid`` started, and theirs."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has just ended
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def listening_addresses(processes):
    """Local addresses (hexadecimal) that sockets of these processes listen on."""
    sockets = set()
    for pid in processes:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(os.readlink(link))
            except OSError:  # closed since
                continue
    rows = [line.split() for f in ("tcp", "tcp6") for line in Path(f"/proc/net/{f}").read_text().splitlines()[1:]]
    return [row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_cluster_started_here_listens_to_this_machine_only(tmp_path):
    spec = scripted("hold", 0)
    found = []

    def look():
        wait_until((tmp_path / spec.id / "holding").exists, "the run is in its middle")
        found.extend(listening_addresses(descendants(os.getpid())))
        (tmp_path / spec.id / "go").touch()

    looking = threading.Thread(target=look)
    looking.start()
    ((_, result),) = train(ray_executor(workers=1), ScriptedTrainer(), [spec], tmp_path)
    looking.join()
    assert isinstance(result, Observations)
    assert found  # the cluster's own processes were seen
    assert {address[-8:] for address in found} == {"0100007F"}  # 127.0.0.1, also where mapped to IPv6
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ


INTERRUPTED = """
    import signal, sys
    from pathlib import Path
    from processes import HANG_SECONDS
    from scripted_trainers import ScriptedTrainer, scripted, train
    from mixlaw.execute import RayExecutor

    signal.signal(signal.SIGINT, signal.default_int_handler)
    specs = [scripted("hold", seed) for seed in range(2)]
    try:
        for _ in train(RayExecutor(2, grace_seconds=HANG_SECONDS), ScriptedTrainer(), specs, Path(sys.argv[1])):
            pass
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
"""


@pytest.mark.slow
def test_ctrl_c_publishes_checkpoints_and_leaves_no_process(tmp_path):
    path, root = tmp_path / "study.py", tmp_path / "runs"
    path.write_text(textwrap.dedent(INTERRUPTED))
    specs = [scripted("hold", seed) for seed in range(2)]
    process = subprocess.Popen(
        [sys.executable, str(path), str(root)],
        env=child_environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(
            lambda: process.poll() is not None or all((root / s.id / "holding").exists() for s in specs),
            "both runs are in their middle",
        )
        assert process.poll() is None
        workers = [int((root / s.id / "log.txt").read_text().split()[1]) for s in specs]
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the parent and its workers
        shown, _ = process.communicate(timeout=HANG_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "interrupted" in shown
    wait_until(lambda: not any(alive(p) for p in workers), "the workers have ended")
    results = dict((s.id, r) for s, r in train(ray_executor(), ScriptedTrainer(), specs, root))
    assert [results[s.id].runs["start"][0].as_py() for s in specs] == [str(MIDDLE)] * 2


LETTERS = {"vowels": "aeiou", "stops": "pbtdkg"}


@pytest.fixture
def text(tmp_path):
    """Two domains of invented words: name to path."""
    rng, paths = random.Random(1), {}
    for name, letters in LETTERS.items():
        lines = [" ".join("".join(rng.choices(letters, k=4)) for _ in range(30)) for _ in range(120)]
        paths[name] = str(tmp_path / f"{name}.jsonl")
        Path(paths[name]).write_text("\n".join(json.dumps({"text": line}) for line in lines))
    return paths


def study(folder, text, executor):
    """A study of six runs by the example's command, trained."""
    command = [sys.executable, str(EXAMPLE), "{spec}", "{metrics}"]
    made = Study.create(
        folder,
        {
            "corpus": {"domains": text, "vocab_size": 300, "validation_tokens": 512},
            "objective": dict.fromkeys(text, 1.0),
            "budget": {"tokens": 8192},
            "training": {"trainer": "command", "command": command, "tokens": 2048, "batch": 4, "context": 32},
            "design": {"sampler": "low_discrepancy", "num": 5, "replicates": 1},
            "executor": executor,
        },
    )
    made.tokenize()
    made.design()
    return made


@pytest.mark.slow
def test_a_study_on_ray_measures_what_it_measures_locally(tmp_path, text):
    options = {"resources": {"num_cpus": 1}, "poll_seconds": 0.1}
    on_ray = study(tmp_path / "ray", text, {"name": "ray", "workers": 2, "options": options})
    local = study(tmp_path / "local", text, {"name": "local", "workers": 2})
    assert on_ray.train() == {} == local.train()
    assert [s.id for s in on_ray.specs()] == [s.id for s in local.specs()]
    assert on_ray.observations().runs.equals(local.observations().runs)
    assert on_ray.observations().values.equals(local.observations().values)


@pytest.mark.slow
def test_torch_runs_on_ray_give_the_same_numbers(tiny, tmp_path):
    specs = [tiny_spec(tiny[0], w, steps=10) for w in (0.2, 0.8)]
    tables = []
    for executor in (ray_executor(), LocalExecutor(2)):
        results = train(executor, TorchTrainer(*tiny), specs, tmp_path / type(executor).__name__)
        tables.append({s.id: r.values.to_pylist() for s, r in results})
    assert tables[0] == tables[1]


def test_a_study_refuses_options_that_its_executor_does_not_have(tmp_path, text):
    with pytest.raises(ConfigError, match=r"has no option 'grace'.*grace_seconds"):
        study(tmp_path / "s", text, {"name": "local", "options": {"grace": 1}})
    with pytest.raises(ConfigError, match="workers stands beside options"):
        study(tmp_path / "t", text, {"name": "local", "options": {"workers": 1}})

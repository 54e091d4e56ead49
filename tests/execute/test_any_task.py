"""Every executor runs every task: a task that is not training, through each of them."""

import os
import pickle
import signal
import threading
from collections import Counter

import pytest

from mixlaw.errors import ConfigError, RunError
from mixlaw.execute import EXECUTORS, Executor, LocalExecutor, Task
from mixlaw.kit.store import Store
from mixlaw.train import CommandTrainer, TrainingTask

from counting_task import CannotArrive, CountWords, file_key
from processes import HANG_SECONDS, wait_until
from scripted_trainers import ScriptedTrainer, scripted

ALL = [pytest.param(name, marks=[] if name == "local" else pytest.mark.slow) for name in EXECUTORS]


@pytest.fixture(params=ALL)
def executor(request):
    return EXECUTORS.make(request.param, {"workers": 2, "grace_seconds": HANG_SECONDS})


def write(folder, name, lines, end=True, raw=b""):
    path = folder / f"{name}.txt"
    path.write_bytes(raw + b"".join(f"{line}\n".encode() for line in lines) + (b"END\n" if end else b""))
    return str(path)


def counted(text):
    return dict(Counter(word for line in text for word in line.split()))


def pid(folder):
    return int((folder / "log.txt").read_text().split()[1])


def half_counted(root, name):
    store = Store(root / name)
    return lambda: store.exists("state.json") and store.read_json("state.json")["lines"] == 25


HALF = [f"line {i % 3} of many" for i in range(25)]
REST = [f"more {i % 2}" for i in range(13)]


def test_executors_and_tasks_satisfy_their_contracts(executor):
    assert isinstance(executor, Executor)
    for task in (CountWords(), TrainingTask(ScriptedTrainer()), TrainingTask(CommandTrainer(None, "t", ["x"]))):
        assert isinstance(task, Task)
        assert pickle.loads(pickle.dumps(task)) == task  # noqa: S301 - it crosses to workers so


def test_each_item_gives_its_own_result_or_error(executor, tmp_path):
    texts = {name: [f"{name} x{i % n} y" for i in range(20 + n)] for n, name in enumerate(["a", "b", "c", "d"], 1)}
    items = [write(tmp_path, name, lines) for name, lines in texts.items()]
    items.append(write(tmp_path, "latin", ["caf"], raw=b"caf\xe9\n"))
    task = CountWords(after={"a": ("d",), "b": ("latin",)})
    seen = []
    results = {}
    for item, result in executor.map(task, items, file_key, tmp_path / "out"):
        seen.append(file_key(item))
        results[file_key(item)] = result
    assert sorted(seen) == ["a", "b", "c", "d", "latin"]
    assert seen.index("d") < seen.index("a")
    for name in ("a", "c", "d"):
        assert results[name]["words"] == counted(texts[name])
        assert results[name]["worker"] != os.getpid()
    assert isinstance(results["latin"], RunError)
    assert "line 1 is not UTF-8" in str(results["latin"])
    assert results["latin"].spec == items[-1]
    assert "waits for the file latin, which failed" in str(results["b"])
    assert not (tmp_path / "out" / "b").exists()  # never started
    # Again: what is done is read by this process, what failed is tried again.
    (tmp_path / "latin.txt").write_text("now utf-8\nEND\n")
    again = {file_key(i): r for i, r in executor.map(task, items, file_key, tmp_path / "out")}
    assert {k: again[k] for k in "acd"} == {k: results[k] for k in "acd"}
    assert again["latin"]["words"] == {"now": 1, "utf-8": 1}
    assert again["b"]["words"] == counted(texts["b"])


def test_a_killed_worker_fails_one_item_and_the_next_goes_on_from_what_was_saved(executor, tmp_path):
    held, other = write(tmp_path, "held", HALF, end=False), write(tmp_path, "other", REST)
    root = tmp_path / "out"

    def kill():
        wait_until(half_counted(root, "held"), "half of the file is counted")
        os.kill(pid(root / "held"), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    results = {file_key(i): r for i, r in executor.map(CountWords(), [held, other], file_key, root)}
    killer.join()
    assert results["other"]["words"] == counted(REST)
    assert isinstance(results["held"], RunError)
    assert "The worker of file held" in str(results["held"])
    write(tmp_path, "held", HALF + REST)
    ((_, result),) = executor.map(CountWords(), [held], file_key, root)
    assert result["words"] == counted(HALF + REST)
    assert (result["began"], result["lines"]) == (25, 38)  # continued


def test_leaving_early_stops_the_workers_after_they_have_saved(executor, tmp_path):
    held, other = write(tmp_path, "held", HALF, end=False), write(tmp_path, "other", REST)
    root = tmp_path / "out"
    iterator = executor.map(CountWords(), [held, other], file_key, root)
    assert next(iterator)[0] == other
    wait_until(half_counted(root, "held"), "half of the file is counted")
    process = pid(root / "held")
    iterator.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    write(tmp_path, "held", HALF + REST)
    results = {file_key(i): r for i, r in executor.map(CountWords(), [held, other], file_key, root)}
    assert results["held"]["words"] == counted(HALF + REST)
    assert results["held"]["began"] == 25


def test_progress_names_the_item(executor, tmp_path):
    path = write(tmp_path, "held", HALF, end=False)
    seen = []

    def progress(item, step, num_steps):
        if not seen:  # heard of its middle: let it end
            with open(path, "a") as text:
                text.write("".join(f"{line}\n" for line in REST) + "END\n")
        seen.append((item, step))

    ((_, result),) = executor.map(CountWords(), [path], file_key, tmp_path / "out", progress=progress)
    assert result["lines"] == 38
    assert {item for item, _ in seen} == {path}
    assert {step for _, step in seen} <= {10, 20, 30}


def test_what_is_no_task_is_explained(executor, tmp_path):
    with pytest.raises(ConfigError, match="TrainingTask"):
        list(executor.map(ScriptedTrainer(), [scripted("learn")], lambda spec: spec.id, tmp_path))


@pytest.mark.parametrize("key", ["", "..", "a/b", 7, None])
def test_a_key_that_cannot_name_a_folder_is_explained(tmp_path, key):
    with pytest.raises(ConfigError, match="cannot name a folder"):
        list(LocalExecutor(1).map(CountWords(), ["a.txt"], lambda item: key, tmp_path))


def test_workers_that_die_as_they_start_are_explained(executor, tmp_path):
    with pytest.raises(RunError, match="die as they start"):
        list(executor.map(CannotArrive(), [write(tmp_path, "a", ["x"])], file_key, tmp_path / "out"))


def test_a_task_that_cannot_be_sent_is_explained(tmp_path):
    task = CountWords(after={"a": (lambda: "b",)})
    with pytest.raises(ConfigError, match="cannot be sent to worker processes"):
        list(LocalExecutor(1).map(task, [write(tmp_path, "b", ["x"])], file_key, tmp_path / "out"))


def test_items_that_wait_for_one_another_are_explained(executor, tmp_path):
    items = [write(tmp_path, name, ["x"]) for name in "ab"]
    with pytest.raises(ConfigError, match="circle"):
        list(executor.map(CountWords(after={"a": ("b",), "b": ("a",)}), items, file_key, tmp_path / "out"))


def test_what_waits_for_what_waits_for_a_failure_is_lost_too(executor, tmp_path):
    items = [write(tmp_path, "c", ["x"]), write(tmp_path, "b", ["x"]), write(tmp_path, "a", [], raw=b"\xff\n")]
    task = CountWords(after={"c": ("b", "a"), "b": ("a",)})
    results = [(file_key(i), r) for i, r in executor.map(task, items, file_key, tmp_path / "out")]
    assert sorted(name for name, _ in results) == ["a", "b", "c"]
    assert all(isinstance(r, RunError) for _, r in results)


def test_items_that_are_none_are_refused_in_words(executor, tmp_path):
    with pytest.raises(ConfigError, match="maps a list of items, or anything else to iterate over; got None"):
        list(executor.map(CountWords(), None, file_key, tmp_path))

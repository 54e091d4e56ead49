"""One process at a time on a study, and no lock that outlives its process."""

import json
import os
import subprocess
import sys
import threading

import pytest

from mixlaw.errors import DataError
from mixlaw.kit.lock import LOCK, briefly, hold

from processes import alive, child_environment

HOLDER = """
import sys
from mixlaw.kit.lock import hold
with hold(sys.argv[1], "train"):
    print("held", flush=True)
    sys.stdin.read()
"""


def start(code, folder):
    """A process that holds the folder's lock until it is killed or its standard input is closed."""
    command = [sys.executable, "-c", code, str(folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=child_environment()
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def holder(tmp_path):
    process = start(HOLDER, tmp_path)
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_told_who_holds_the_study(tmp_path, holder):
    with (
        pytest.raises(DataError, match=rf"process {holder.pid} on .*\(mixlaw train, since .*{LOCK}"),
        hold(tmp_path, "fit"),
    ):
        pass
    with pytest.raises(DataError, match="being worked on"), hold(tmp_path / "." / "", "fit"):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == holder.pid  # it had no time to clear its name
    with hold(tmp_path, "train"):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert (tmp_path / LOCK).read_text() == ""


def test_children_of_a_killed_holder_do_not_keep_it(tmp_path):
    cat = "import subprocess; print(subprocess.Popen(['cat'], stdout=subprocess.DEVNULL).pid, flush=True)"
    process = start(HOLDER.replace("    sys.stdin", f"    {cat}\n    sys.stdin"), tmp_path)
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    with hold(tmp_path, "train"):
        assert alive(child)
    process.stdin.close()  # which ends the child


def test_verbs_of_one_process_nest(tmp_path):
    with hold(tmp_path, "verify"):
        with hold(tmp_path, "train"):
            pass
        assert json.loads((tmp_path / LOCK).read_text())["verb"] == "verify"
        seen = []
        thread = threading.Thread(target=lambda: seen.append(_entered(tmp_path)))
        thread.start()
        thread.join()
        assert seen == [True]
    assert (tmp_path / LOCK).read_text() == ""


def _entered(folder):
    with hold(folder, "fit"):
        return True


def test_a_file_system_without_locks_falls_back_on_the_process_named_in_the_file(tmp_path, monkeypatch, holder):
    import errno
    import fcntl

    def unsupported(*_):
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(DataError, match=f"process {holder.pid}"), hold(tmp_path, "fit"):
        pass
    holder.kill()
    holder.wait()
    with hold(tmp_path, "fit"):
        pass


def test_a_study_refuses_a_second_writer_and_lets_readers_in(tmp_path):
    from mixlaw.study.study import Study

    study = Study.create(
        tmp_path / "s",
        {"corpus": {"counts": {"a": 1000, "b": 1000}}, "objective": {"a": 1}, "budget": {"tokens": 1000}},
    )
    process = start(HOLDER, study.folder)
    try:
        with pytest.raises(DataError, match=f"process {process.pid}"):
            study.tokenize()
        assert study.status()[0][1] is False
    finally:
        process.kill()
        process.wait()
    assert study.tokenize().names == ("a", "b")


def test_a_removed_lock_file_lets_nobody_in(tmp_path, holder):
    for _ in range(2):
        (tmp_path / LOCK).unlink(missing_ok=True)
        with pytest.raises(DataError, match="being worked on by another process"), hold(tmp_path, "fit"):
            pass
    (tmp_path / LOCK).write_text("[")  # somebody's own
    with pytest.raises(DataError, match="being worked on"), hold(tmp_path, "fit"):
        pass
    holder.kill()
    holder.wait()
    with hold(tmp_path, "fit"):
        pass


def test_what_killed_processes_left_is_removed_and_what_live_ones_write_stays(tmp_path):
    code = (
        "import os, sys\nfrom mixlaw.kit.store import temporary_beside\n"
        "path = temporary_beside(sys.argv[1] + '/runs/a.json')\n"
        "open(path, 'w').write('half'); print(path, flush=True)\n"
        "sys.stdin.read()"
    )
    (tmp_path / "runs").mkdir()
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": child_environment()}
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], **pipe)
    half = tmp_path / "runs" / os.path.basename(writer.stdout.readline().strip())
    old, young = tmp_path / "b.bin.tmp-0123abcd", tmp_path / "documents.tmp-encode"
    elsewhere = tmp_path / f"c.json.tmp-{'0' * 8}-1-01234567"
    for file in (old, young, elsewhere, tmp_path / "my.tmp", tmp_path / "notes.tmp-of mine"):
        file.write_text("x")
    os.utime(old, (1, 1))
    try:
        with hold(tmp_path, "train"):
            assert half.exists() and young.exists() and elsewhere.exists() and not old.exists()
    finally:
        writer.kill()
        writer.wait()
    os.utime(elsewhere, (1, 1))
    with hold(tmp_path, "train"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        LOCK,
        "documents.tmp-encode",
        "my.tmp",
        "notes.tmp-of mine",
        "runs",
    ]
    assert not half.exists()


def test_a_folder_held_by_a_stopped_process_is_waited_for_and_told(tmp_path, holder):
    with pytest.raises(DataError, match="perhaps it was stopped while it wrote there"), briefly(tmp_path, 0.05):
        pass

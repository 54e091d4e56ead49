"""Programs that try what they must not do, each held by the layer that is there for it."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mixlaw.errors import ConfigError
from mixlaw.evaluate.programs import runner
from mixlaw.evaluate.programs.runner import Limits, run_program, run_programs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are run on Linux only")
QUICK = Limits(seconds=1.5, cpu_seconds=1, memory=256 << 20)
PATIENT = Limits(seconds=60, cpu_seconds=30, memory=256 << 20)
"""For programs that end by themselves, on the busiest machine too."""


def living(marker):
    """Processes whose command or environment carries a marker."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and marker.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile, or another user's
    return found


def gone(marker):
    """Whether all of them end; they were killed, and a killed process takes a moment to go."""
    until = time.monotonic() + 20
    while living(marker) and time.monotonic() < until:
        time.sleep(0.02)
    return not living(marker)


@pytest.mark.parametrize(
    "program, kind, message",
    [
        ("x = 1", "passed", ""),
        ("assert 1 == 2, 'sum'", "failed", "AssertionError: sum"),
        ("import sys; sys.exit(0)", "failed", "left before"),
        ("import os; os._exit(0)", "failed", "left before"),
        ("raise SystemExit", "failed", "left before"),
        ("x = y", "error", "NameError"),
        ("def f(:", "error", "SyntaxError"),
        ("def f(): return f()\nf()", "error", "RecursionError"),
        ("class E(Exception):\n    def __str__(self): raise E\nraise E", "error", "E: "),
        ("import ctypes; ctypes.string_at(0)", "error", "SIGSEGV"),
        ("import os\nif os.fork(): os.wait()", "passed", ""),
        ("import threading as t\na = t.Thread(target=print); a.start(); a.join()", "passed", ""),
        ("assert __name__ == '__main__'", "passed", ""),
        ("print('x' * 10**6)\nassert input", "passed", ""),
        ("input()", "error", "EOFError"),
        (
            'import os\nfor fd in range(3, 20):\n    try: os.write(fd, b\'{"outcome": "passed"}\\n\')\n'
            "    except OSError: pass\nassert False",
            "failed",
            "AssertionError",
        ),
    ],
)
def test_outcomes(program, kind, message):
    outcome = run_program(program, PATIENT)
    assert outcome.kind == kind, outcome
    assert message in outcome.message


def test_infinite_loops_end_by_either_clock():
    start = time.monotonic()
    busy, asleep = run_programs(["while True: pass", "import time\ntime.sleep(60)"], QUICK)
    assert time.monotonic() - start < 50  # neither ends by itself before a minute
    assert (busy.kind, asleep.kind) == ("timed out", "timed out")
    assert asleep.message == "the limit of wall time"


def test_memory_is_bounded():
    hog, steady = run_programs(["x = bytearray(1 << 30)", "x = []\nwhile True: x.append(bytearray(1 << 20))"], PATIENT)
    assert hog.message.startswith("MemoryError")
    assert steady.message.startswith("MemoryError")


@pytest.mark.parametrize(
    "program",
    [
        "import socket; socket.socket()",
        "import socket; socket.create_connection(('127.0.0.1', PORT), timeout=1)",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:PORT')",
        "import ctypes\nif ctypes.CDLL(None).syscall(425, 4, 0) < 0: raise OSError('io_uring is not permitted')",
    ],
)
def test_there_is_no_network(program):
    with socket.create_server(("127.0.0.1", 0)) as server:
        outcome = run_program(program.replace("PORT", str(server.getsockname()[1])), PATIENT)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert outcome.kind == "error"
    assert "not permitted" in outcome.message


def test_files_are_bounded_and_go_with_the_program(tmp_path):
    before = set(Path("/tmp").iterdir())
    big, outside, inside = run_programs(
        [
            "f = open('big', 'wb')\nf.write(b'x' * (2 << 20)); f.flush()",
            f"open({str(tmp_path / 'evil')!r}, 'w').write('x')",
            "open('a', 'w').write('x'); assert open('a').read() == 'x'",
        ],
        PATIENT,
    )
    assert "File too large" in big.message
    if outside.isolation == "namespaces" or os.getuid() == 0:
        assert outside.kind == "error"
        assert not (tmp_path / "evil").exists()
    assert inside.kind == "passed"
    assert not [path for path in set(Path("/tmp").iterdir()) - before if path.name.startswith("mixlaw-program-")]


def test_many_files_are_bounded_where_namespaces_can_be_made():
    outcome = run_program("for i in range(40): open(str(i), 'wb').write(b'x' * (1 << 20))", PATIENT)
    if outcome.isolation == "namespaces":
        assert "No space left" in outcome.message
    else:
        assert outcome.kind == "passed"


def test_no_way_out_of_the_group_and_no_signals():
    for program in ("import os; os.setsid()", "import os; os.setpgid(0, 0)", "import os; os.kill(os.getppid(), 9)"):
        outcome = run_program(f"import os\nif os.fork() == 0:\n    {program}\nelse:\n    {program}", PATIENT)
        assert "not permitted" in outcome.message, program


def test_children_are_killed_with_it(monkeypatch):
    marker = f"mixlaw-test-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setitem(runner.WORKER_ENVIRONMENT, "MARKER", marker)
    outcome = run_program("import os, time\nif os.fork() == 0:\n    time.sleep(60)\ntime.sleep(0.2)", PATIENT)
    assert outcome.kind == "passed"
    assert gone(marker)


def test_it_has_no_rights():
    program = (
        "import os\nassert os.getuid() != 0\nassert 'CapEff:\\t0000000000000000' in open('/proc/self/status').read()"
    )
    if os.getuid():
        program = program.replace("assert os.getuid() != 0", "")
    assert run_program(program, PATIENT).kind == "passed"


def test_a_fork_bomb_is_bounded(monkeypatch):
    """Processes are counted while it goes off, and none is left after it."""
    marker = f"mixlaw-test-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setitem(runner.WORKER_ENVIRONMENT, "MARKER", marker)
    over, counts = threading.Event(), []

    def watch():
        while not over.is_set():
            counts.append(len(living(marker)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    outcome = run_program("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", QUICK)
    over.set()
    watcher.join()
    assert outcome.kind == "timed out"
    assert 1 < max(counts) <= QUICK.processes
    assert gone(marker)


@pytest.mark.slow
def test_bombs_beside_good_programs():
    """The good ones pass all the same, one after the other and at once."""
    bombs = ["import os\nwhile True: os.fork()", "x = []\nwhile True: x.append(bytearray(1 << 20))", "while True: pass"]
    outcomes = run_programs([*bombs, *["assert sum(range(10)) == 45"] * 10] * 3, Limits(seconds=20, cpu_seconds=2))
    kinds = [outcome.kind for outcome in outcomes]
    assert kinds.count("passed") == 30
    assert set(kinds) == {"passed", "error", "timed out"}


def test_where_namespaces_cannot_be_made_the_other_layers_hold():
    """As in a container without the right to make them; run by root without that right."""
    if os.getuid():
        pytest.skip("needs root to give up the right to make namespaces")
    script = """
import ctypes, sys
from mixlaw.evaluate.programs import inside
from mixlaw.evaluate.programs.runner import Limits, run_programs
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x20000) == 0 and libc.mount(b"none", b"/", None, 0x44000, None) == 0
inside.open_paths(libc, [sys.base_prefix, sys.prefix, *sys.path[1:-1]])  # where Python lies in root's own folder
assert libc.prctl(24, 21, 0, 0, 0) == 0  # no process started from here has CAP_SYS_ADMIN
for outcome in run_programs(["x = 1", "import socket; socket.socket()", "import os; os.setsid()",
        "import os\\nassert os.getuid()", "import os\\nwhile True: os.fork()"], Limits(seconds=20)):
    print(outcome.isolation, outcome.kind, outcome.message)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ)
    assert not done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["limits"] * 5
    assert lines[0] == "limits passed "
    assert "not permitted" in lines[1] and "not permitted" in lines[2]
    assert lines[3] == "limits passed "
    assert "Resource temporarily unavailable" in lines[4]


def test_other_systems_are_refused(monkeypatch):
    monkeypatch.setattr(runner.sys, "platform", "darwin")
    with pytest.raises(ConfigError, match="Linux"):
        run_program("x = 1")

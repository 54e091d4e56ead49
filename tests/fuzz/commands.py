"""Command lines as people type them: answered, or refused in words with nothing changed on disk."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fuzz import saved
from fuzz.odd import odd_texts
from mixlaw import Observations
from mixlaw.cli.app import main
from mixlaw.errors import ConfigError

_COMMANDS = (
    "fit runs.csv --dry-run --weight web=weight_web --weight code=weight_code --value loss_exam=loss --ignore lr "
    "--target exam --out new --format table --seed 1 --repair",
    "fit sizes.csv --dry-run --value loss_exam=bits --ignore notes",
    "fit runs.csv sizes.csv --dry-run",
    "optimize runs-fit --tokens 1B --counts web=3T --counts code=4B --max-epochs 4 --objective exam=2 --near 1e-3 "
    "--reference web=0.5,code=0.5 --kl-limit 0.5 --kl-to uniform --kind mean --params 1B",
    "optimize runs-fit --tokens 1B --counts web=3T,code=4B --kind least_change --gain 0.01",
    "optimize runs-fit --tokens 1B --counts web=3T,code=4B --kind guard --guard exam=0.01",
    "export runs-fit megatron out.yaml",
    "predict runs-fit --weight web=0.5 --weight code=0.5",
    "status study",
    "ledger verify study",
    "corpus diff study study",
    "predict study --weight code=0.5 --weight prose=0.5 --weight headers=0 --weight sums=0",
    "export study nanotron out.yaml --option sequence_length=2048",
    "export study huggingface out.json",
    "critical runs.csv --domain web --target exam=1 --before run1",
    "reuse study study --kept prose=0.9 --max-runs 2",
    "init new --domain web=text/web.jsonl --domain code=text/code.jsonl --target-tokens 1B --objective web=1",
    "init other --runs runs.csv --counts web=3T --counts code=1T --target-tokens 1B",
)


@functools.cache
def _place() -> Path:
    """A folder with a table of runs, its fit, and a study; copied, never written to."""
    from mixlaw.laws import LogLinear

    place = Path(tempfile.mkdtemp())
    shutil.copytree(saved.study(), place / "study")
    shutil.rmtree(place / "study" / "tokens", ignore_errors=True)
    rng = np.random.default_rng(0)
    web = rng.random(12)
    losses = 3 - 0.3 * web + 0.1 * rng.random(12)
    rows = [f"{w!r},{1 - w!r},3e-4,{loss!r}" for w, loss in zip(web.tolist(), losses.tolist())]
    (place / "runs.csv").write_text("\n".join(["weight_web,weight_code,lr,loss_exam", *rows]) + "\n")
    sizes = [f"{n},{20 * n},{1.8 + 400 / n**0.34 + 900 / (20 * n) ** 0.3:.6f},ok" for n in (10**6, 10**7, 10**8, 10**9)]
    (place / "sizes.csv").write_text("\n".join(["params,tokens,loss_exam,notes", *sizes]) + "\n")
    (place / "text").mkdir()
    for name in ("web", "code"):
        (place / "text" / f"{name}.jsonl").write_text('{"text": "a few words"}\n' * 20)
    observations = Observations.read(place / "runs.csv")
    X, y = observations.table()
    (place / "runs-fit").mkdir()
    (place / "runs-fit" / "law.json").write_text(LogLinear().fit(X, y).to_json())
    observations.save(place / "runs-fit" / "observations")
    main_of("optimize", str(place / "runs-fit"), "--tokens", "1B", "--counts", "web=3T,code=4B")
    return place


@st.composite
def command_lines(draw: Any) -> list[str]:
    """A command line with some of its options, sometimes with an odd value or a word too many or too few."""
    words = draw(st.sampled_from(_COMMANDS)).split()
    parts: list[list[str]] = []  # each option with its value, each other word alone
    for word in words:
        if parts and parts[-1][0].startswith("--") and len(parts[-1]) == 1 and not word.startswith("--"):
            parts[-1].append(word)
        else:
            parts.append([word])
    needed = (
        "--tokens",
        "--counts",
        "--dry-run",
        "--weight",
        "--domain",
        "--target",
        "--before",
        "--kind",
        "--gain",
        "--guard",
        "--target-tokens",
        "--runs",
    )
    parts = [p for p in parts if not p[0].startswith("--") or p[0] in needed or draw(st.booleans())]
    for _ in range(draw(st.sampled_from((0, 1, 1, 2)))):
        at = draw(st.integers(1, len(parts) - 1))
        what = draw(st.sampled_from(("value", "value", "value", "value", "drop", "twice", "word", "half")))
        if what == "value" and len(parts[at]) > 1:
            before, mark, _ = parts[at][1].partition("=")
            odd = draw(odd_texts)
            parts[at][1] = draw(st.sampled_from((odd, before + mark + odd, odd + mark + parts[at][1])))
        elif what == "drop" and parts[at][0] != "--dry-run":
            del parts[at]
        elif what == "twice":
            parts.append(list(parts[at]))
        elif what == "word":
            parts.insert(at, [draw(odd_texts)])
        elif what == "half":
            parts[at] = parts[at][:1] if parts[at][0] != "--dry-run" else parts[at]
        if len(parts) < 2:
            break
    return [word.replace("\0", "") for part in parts for word in part]


def commanded(words: list[str]) -> None:
    """The command ends with 0 and says something; or with words, and the folder is as it was."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary) / "place"
        shutil.copytree(_place(), place)
        before = _files(place)
        here = os.getcwd()
        try:
            os.chdir(place)
            status, said, told = main_of(*words)
        finally:
            os.chdir(here)
        assert status in (0, 1, 2), f"ended with {status}"
        now = _files(place)
        changed = sorted(str(p) for p in {*now, *before} if now.get(p) != before.get(p))
        assert not any(".tmp" in name for name in changed), f"left behind: {changed}"
        if status:
            assert (said + told).strip() and "Traceback" not in told, "refused without words"
            assert not changed, f"refused, and yet changed {changed}"
            raise ConfigError(told + said)
        assert said.strip(), "answered without a word"
        if "--dry-run" in words:
            assert not changed, f"a dry run changed {changed}"


def main_of(*words: str) -> tuple[Any, str, str]:
    """``(exit status, standard output, standard error)`` of a command line, run in this process."""
    out, err, arguments = io.StringIO(), io.StringIO(), sys.argv
    try:
        sys.argv = ["mixlaw", *words]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        return end.code, out.getvalue(), err.getvalue()
    finally:
        sys.argv = arguments
    raise AssertionError("main came back without an exit status")


def _files(place: Path) -> dict[Path, bytes]:
    return {p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()}

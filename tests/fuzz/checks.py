"""What must hold for any input: a right answer, or a ``MixlawError`` that says what is wrong. Nothing else."""

from __future__ import annotations

import json
import math
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fuzz import commands, imported, saved, shares, sound_runs, trackers
from fuzz import odd as given
from fuzz.imported import sound
from mixlaw import Budget, Corpus, Mixture, Schedule
from mixlaw.cli import options as cli
from mixlaw.errors import MixlawError
from mixlaw.io.runlogs import RunLog, to_observations
from mixlaw.kit import units
from mixlaw.kit.yaml_text import dump_yaml, load_yaml
from mixlaw.study.config import DesignConfig, design_changes, load_config
from mixlaw.text.readers import ReadCounts, find_files, read_documents

LONGEST = 20.0
"""Seconds of processor time after which a check counts as hanging; of the clock on the wall, four times as many."""


@dataclass(frozen=True)
class Check:
    """A strategy of inputs and what must hold for each of them; ``holds`` may raise a ``MixlawError``."""

    name: str
    inputs: st.SearchStrategy[Any]
    holds: Callable[[Any], None]

    def __call__(self, given: Any) -> str:
        """The words of the refusal, or nothing where the input was accepted; raises whatever is a failure."""
        with in_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", RuntimeWarning)
            try:
                self.holds(given)
            except MixlawError as error:
                assert str(error).strip(), "an error without a message"
                return str(error)
        return ""


class TooLong(Exception):
    """A check hangs. No TimeoutError: that is an OSError, and a command answers those in words."""


@contextmanager
def in_time() -> Iterator[None]:
    """Raises :class:`TooLong` in what runs longer than :data:`LONGEST` seconds."""

    def stop(number: int, frame: Any) -> None:
        raise TooLong(f"longer than {LONGEST} s")

    clocks = ((signal.SIGALRM, signal.ITIMER_REAL, 4 * LONGEST), (signal.SIGPROF, signal.ITIMER_PROF, LONGEST))
    before = [signal.signal(number, stop) for number, _, _ in clocks]
    for _, timer, seconds in clocks:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(clocks, before):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def _logged(logs: list[dict[str, Any]]) -> None:
    sound(to_observations([RunLog(**log) for log in logs], where="logs"))


def _configured(text: str) -> None:
    """What is read is written so that it is read as the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        config = load_config(path)
        path.write_text(config.dump(), encoding="utf-8")
        assert load_config(path) == config
    assert abs(sum(config.objective_weights().values()) - 1) < 1e-9
    config.make_budget()


def _yaml(text: str) -> None:
    data = load_yaml(text, "given")
    assert load_yaml(dump_yaml(data), "written") == data


def _read(given: tuple[str, bytes]) -> None:
    """Documents hold text, are counted, and none of a file of sound lines is lost."""
    name, data = given
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        counts = ReadCounts()
        found = list(read_documents(find_files([path]), counts=counts))
    assert counts.documents == len(found)
    assert all(text.strip() for text in found)
    "".join(found).encode()  # no half of a surrogate pair
    if name == "file.jsonl":
        records = [json.loads(line.decode("utf-8-sig", "replace")) for line in data.split(b"\n") if line.strip()]
        texts = [record["text"] or "" for record in records]
        assert len(found) + counts.empty == len(texts)


def _mixed(data: Any) -> None:
    try:
        normalized = Mixture.normalized(data) if isinstance(data, dict) else None
    except MixlawError:
        normalized = None
    for mixture in (normalized, Mixture(data)):
        if mixture is not None:
            assert abs(math.fsum(mixture.weights) - 1) <= 1.1e-6
            assert all(w >= 0 for w in mixture.weights)
            assert Mixture(mixture.to_dict()) == mixture
            Mixture.from_array(mixture.domains, mixture.array())


def _scheduled(data: Any) -> None:
    schedule = Schedule.from_dict(data)
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule
    assert abs(math.fsum(schedule.mixture.weights) - 1) <= 1.1e-6


def _budgeted(given: tuple[Any, dict[str, int]]) -> None:
    """A budget is infeasible, or some mixture keeps every limit."""
    from scipy.optimize import linprog

    data, counts = given
    budget = Budget.from_dict(data)
    assert Budget.from_dict(json.loads(json.dumps(budget.to_dict()))) == budget
    c = budget.check(Corpus.declared(counts, source="given"))
    ones = np.ones((1, len(c.domains)))
    slack = c.upper + 1e-6 * np.maximum(1, np.abs(c.upper))
    bounds = list(zip(c.low - 1e-9, c.high + 1e-9))
    # the rows as shares of what they allow: costs and tokens together may be of any size
    scale = np.maximum(np.abs(slack), np.abs(c.matrix).max(1, initial=0)) if len(c.matrix) else np.ones(0)
    rows = {"A_ub": c.matrix / scale[:, None], "b_ub": slack / scale} if len(c.matrix) else {}
    found = linprog(np.zeros(len(c.domains)), A_eq=ones, b_eq=[1.0], bounds=bounds, **rows)
    assert found.status == 0, found.message


def _counted(given: tuple[Any, float, int]) -> None:
    text, number, count = given
    for spell in (units.format_count, units.format_seconds, units.format_bytes):
        assert isinstance(spell(number), str)
    assert abs(units.parse_count(units.format_count(count)) - count) <= 0.0051 * count
    assert units.parse_number(repr(number)) == number if math.isfinite(number) else True
    parsed: list[float] = []
    for parse in (units.parse_count, lambda t: units.parse_number(str(t))):
        try:
            parsed.append(parse(text))
        except MixlawError:
            continue
    assert all(math.isfinite(p) for p in parsed)


def _typed(texts: list[str]) -> None:
    texts = [text.replace("\0", "") for text in texts]  # no command line can hold it
    one = "".join(texts[:1])
    budget = Budget(tokens=100)
    calls: list[Callable[[], Any]] = [
        lambda: cli.mixture_or_name(one, "--kl-to"),
        lambda: cli.mixture(one, "--reference"),
        lambda: cli.further_limits(budget, texts),
        lambda: cli.values(texts),
        lambda: cli.task_files(texts),
        lambda: cli.pairs(texts, "guard"),
        lambda: cli.pairs(texts, "domain", number=False),
        lambda: cli.places(texts, "domain"),
        lambda: design_changes(DesignConfig(), options=texts),
        lambda: design_changes(DesignConfig(), sizes=texts),
        lambda: design_changes(DesignConfig(), sampler=one, num=len(texts), replicates=len(one)),
    ]
    for call in calls:
        try:
            call()
        except MixlawError as error:
            assert str(error).strip()


def _checks() -> tuple[Check, ...]:
    known = sound_runs.faulty_runs().flatmap(
        lambda runs: st.tuples(st.just(runs), given.written(runs.columns, runs.rows, plain=True), st.integers(0, 10**6))
    )
    one = st.lists(given.table_files(), min_size=1, max_size=1)
    exports = sound_runs.exports().flatmap(
        lambda export: st.tuples(
            given.written(export[1], export[2], plain=True).map(lambda file: [file]),
            st.just(export[0]),
            st.just(export[3]),
        )
    )
    pairs = sound_runs.pairs().flatmap(
        lambda pair: st.tuples(
            st.tuples(*(given.written(*table, plain=True) for table in pair[1:3])).map(list),
            st.sampled_from((pair[0], None)),
            st.just(pair[3]),
        )
    )
    likely = st.just({}) | st.just({"repair": True})
    return (
        Check("known tables", known, imported.runs_read),
        Check("tables", st.tuples(one, st.none(), likely), imported.files_read),
        Check("tables with options", given.tables_and_options(), imported.files_read),
        Check("pairs of tables", pairs, imported.files_read),
        Check("exports", exports, imported.files_read),
        Check("logs of trackers", given.run_logs(), _logged),
        Check("study.yaml", given.study_texts(), _configured),
        Check("YAML", given.study_texts(), _yaml),
        Check("files of text", given.text_files(), _read),
        Check("mixtures", shares.mixtures, _mixed),
        Check("schedules", shares.schedules, _scheduled),
        Check("budgets", shares.budgets(), _budgeted),
        Check("units", st.tuples(given.scalars, given.floats, st.integers(0, 10**16)), _counted),
        Check("laws, edited", saved.edited_laws, saved.law_kept),
        Check("artefacts, edited", saved.edited_artefacts, saved.artefact_kept),
        Check("artefacts, damaged", saved.changed_bytes, saved.bytes_kept),
        Check("studies, damaged", saved.broken_studies, saved.study_kept),
        Check("tokens, damaged", saved.broken_tokens, saved.tokens_kept),
        Check("folders of trackers", trackers.folders(), trackers.folder_read),
        Check("command lines", commands.command_lines(), commands.commanded),
        Check("options of the command line", st.lists(given.option_texts, max_size=3), _typed),
    )


CHECKS = _checks()

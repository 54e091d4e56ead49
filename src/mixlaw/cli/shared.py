"""What all commands share: printing and progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mixlaw.kit.units import format_count

__all__ = ["StudyFolder", "draws_text", "echo", "next_step", "progress_bar", "schedule_text"]

StudyFolder = Annotated[Path, typer.Argument(help="Study folder (holds study.yaml).")]


def echo(text: str = "", err: bool = False) -> None:
    typer.echo(text, err=err)


@contextmanager
def progress_bar() -> Iterator[Any]:
    """A progress bar with an ETA on a terminal; a line every ten seconds elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("{task.description:>9}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        tasks: dict[str, Any] = {}
        with bar:

            def draw(what: str, done: float, total: float) -> None:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=total)
                bar.update(tasks[what], completed=done, total=total)

            yield draw
    else:
        last: dict[str, float] = {}
        started: dict[str, float] = {}

        def line(what: str, done: float, total: float) -> None:
            now = time.monotonic()
            started.setdefault(what, now)
            if now - last.get(what, now - 100) >= 10 and total > 0:
                last[what] = now
                spent = now - started[what]
                eta = f", {spent * (total - done) / done:.0f} s to go" if done > 0 and spent > 2 else ""
                echo(f"{what}: {100 * done / total:.0f}%{eta}", err=True)

        yield line


def next_step(study: Any, verb: str) -> str:
    """``mixlaw fit FOLDER``: what comes after ``verb`` in this study."""
    from mixlaw.study.progress import after

    return f"mixlaw {after(study, verb)} {study.folder}"


def schedule_text(schedule: Any) -> str:
    """The mixture of a run, or of each of its phases.

    Example:
        >>> from mixlaw.data.mixture import Mixture, Phase, Schedule
        >>> phases = Phase(0.8, Mixture({"a": 1.0, "b": 0.0})), Phase(0.2, Mixture({"a": 0.5, "b": 0.5}))
        >>> schedule_text(Schedule(phases))
        '80%: a 1, b 0; then 20%: a 0.5, b 0.5'
    """
    if schedule.num_phases == 1:
        return str(schedule.mixture)
    return "; then ".join(f"{p.fraction:.0%}: {p.mixture}" for p in schedule.phases)


def draws_text(drawn: Any) -> list[str]:
    """What a framework draws (:class:`~mixlaw.io.exporters.base.Simulation`), a line per domain, and per phase."""
    lines = [f"  {d:<24} {share:7.4f} of tokens  {drawn.epochs[d]:7.2f} epochs" for d, share in drawn.shares.items()]
    if len(drawn.phase_tokens) == 1:
        return lines
    for k, tokens in enumerate(drawn.phase_tokens):
        total = sum(tokens.values())
        lines.append(f"of these in phase {k + 1} ({format_count(total)} tokens):")
        lines += [
            f"  {d:<24} {n / total:7.4f} of tokens  {format_count(round(n)):>7} tokens" for d, n in tokens.items()
        ]
    return lines

"""Your own trainer: a command that gets a run's spec as a file and writes its metrics as JSONL or CSV."""

from __future__ import annotations

import csv
import ctypes
import io
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mixlaw.data.corpus import Corpus
from mixlaw.data.observations import VALUES_SCHEMA, Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, DataError, RunError, RunStopped, did_you_mean
from mixlaw.kit.hashing import content_hash
from mixlaw.kit.logs import log_tail
from mixlaw.kit.store import Store, folder_name
from mixlaw.models.architecture import architecture
from mixlaw.tokens.shards import check_tokens, read_index
from mixlaw.train.claim import Claim
from mixlaw.train.contract import Progress, ShouldStop, finish, is_done, refuse

__all__ = ["CommandTrainer", "read_metrics"]

_PLACEHOLDERS = ("spec", "folder", "metrics")
_COLUMNS = tuple(n for n in VALUES_SCHEMA.names if n not in ("run", "source", "censored", "value_high", "derived_from"))


@dataclass(frozen=True)
class CommandTrainer:
    """Runs the user's command for every spec.

    In the command, ``{spec}`` becomes the path of the spec file, ``{folder}`` the run's folder and ``{metrics}`` the
    path to write metrics to; they are also in the environment as ``MIXLAW_SPEC``, ``MIXLAW_FOLDER`` and
    ``MIXLAW_METRICS``. No shell is involved. The files are described in ``docs/training.md``.

    Args:
        corpus: the domains and validation sets; its token files are named in the spec file.
        tokens_root: folder of token shards.
        command: a list of arguments, or one string split as a shell would.
        timeout: seconds after which a run has failed; None for no limit.

    Raises:
        ConfigError: the command is empty or has an unknown placeholder.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000}, source="example")
        >>> CommandTrainer(corpus, "tokens", "python my_train.py {spec} {metrics}").version
        '1'
        >>> CommandTrainer(corpus, "tokens", "python my_train.py {spek}")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mixlaw.errors.ConfigError: Unknown placeholder {spek} in the training command ...
    """

    corpus: Corpus
    tokens_root: str | Path
    command: Sequence[str] | str
    timeout: float | None = None

    name: ClassVar[str] = "command"
    version: ClassVar[str] = "1"

    @classmethod
    def version_with(cls, options: Mapping[str, Any]) -> str:
        """Another command is another trainer, another timeout is not; what the command's files say, only you know."""
        command = options.get("command")
        if not command:
            return cls.version
        return f"{cls.version} {content_hash(shlex.split(command) if isinstance(command, str) else command)}"

    def __post_init__(self) -> None:
        arguments = self._arguments()
        if not arguments:
            raise ConfigError("The training command is empty. Give for example 'python train.py {spec} {metrics}'.")
        for argument in arguments:
            for name in re.findall(r"\{([A-Za-z_]+)\}", argument):
                if name not in _PLACEHOLDERS:
                    raise ConfigError(
                        f"Unknown placeholder {{{name}}} in the training command {self.command!r}."
                        f"{did_you_mean(name, _PLACEHOLDERS)}"
                    )
        if self.timeout is not None and not self.timeout > 0:
            raise ConfigError(f"The training command's timeout must be positive seconds or None, got {self.timeout!r}.")

    def _arguments(self) -> list[str]:
        return shlex.split(self.command) if isinstance(self.command, str) else [str(a) for a in self.command]

    def check(self, spec: RunSpec) -> None:
        """What can be wrong with a spec before the command is called for it.

        Raises:
            ConfigError: the run has no whole step, or asks for what is not passed on to a command (a strategy,
                tuning, evaluators, ...).
        """
        refuse(spec, self.name)
        if spec.num_steps < 1:
            raise ConfigError(
                f"{spec.tokens} tokens are less than one step of {spec.batch} x {spec.context} tokens. "
                f"Raise tokens, or lower batch or context."
            )

    def run(
        self,
        spec: RunSpec,
        folder: Path,
        progress: Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> None:
        """Run the command for ``spec``; a done run returns at once.

        Raises:
            ConfigError: see :meth:`check`.
            RunError: the command cannot be started, exits with another code than 0, takes longer than ``timeout``, or
                leaves no metrics, or metrics that lack the final loss on some validation set.
            RunStopped: ``should_stop`` said so; the command was ended, and runs again next time.
        """
        folder = Path(folder).resolve()
        if is_done(folder):
            return
        self.check(spec)
        store, claim = Store(folder), Claim(folder)
        spec.save(folder / "spec.json")
        description = self.describe(spec, folder)
        if description["order"]:
            self._write_order(spec, store)
            for validation in self.corpus.validation:
                check_tokens(Path(self.tokens_root) / folder_name(validation.name), "val")
        store.write_json("command.json", description)
        metrics = folder / "metrics.jsonl"
        paths = {"spec": str(folder / "command.json"), "folder": str(folder), "metrics": str(metrics)}
        arguments = self._arguments()
        for name, path in paths.items():
            arguments = [argument.replace(f"{{{name}}}", path) for argument in arguments]
        before = metrics.stat().st_mtime_ns if metrics.exists() else None
        self._execute(spec, folder, arguments, paths, should_stop)
        if before is not None and metrics.exists() and metrics.stat().st_mtime_ns == before:
            raise RunError(
                f"The training command of run {spec.id} ended well but left {metrics} as an earlier attempt wrote it.",
                spec,
                log_tail(folder / "log.txt"),
            )
        rows = read_metrics(metrics, spec)
        finish(folder, self._observations(spec, folder, rows), claim)
        if progress is not None:
            progress(spec.num_steps, spec.num_steps)

    def describe(self, spec: RunSpec, folder: Path) -> dict[str, Any]:
        """Content of the spec file: the spec, and where everything it names is."""
        from mixlaw.train.torch_trainer import evaluation_steps

        root = Path(self.tokens_root).resolve()
        domains, sets = {}, {}
        for domain in self.corpus.domains:
            allowed = spec.unique_tokens.get(domain.name, domain.unique_tokens)
            domains[domain.name] = {
                "path": str(root / folder_name(domain.name) / "train.bin"),
                "unique_tokens": min(allowed, domain.unique_tokens),
                "phase_weights": [phase.mixture.get(domain.name) for phase in spec.schedule.phases],
            }
        for validation in self.corpus.validation:
            sets[validation.name] = {
                "path": str(root / folder_name(validation.name) / "val.bin"),
                "tokens": validation.tokens,
                "num_bytes": validation.num_bytes,
            }
        tokenised = all((root / folder_name(name) / "index.json").exists() for name in domains)
        index = root / folder_name(next(iter(domains))) / "index.json"
        return {
            "id": spec.id,
            "spec": spec.to_dict(),
            "num_steps": spec.num_steps,
            "evaluate_steps": evaluation_steps(spec),
            "vocab_size": self.corpus.vocab_size,
            "dtype": _token_dtype(index, self.corpus.vocab_size),
            "tokens_root": str(root),
            "order": str(folder / "order.npy") if tokenised else None,
            "domains": domains,
            "validation": sets,
            "start_folder": str(folder.parent / spec.start_run) if spec.start_run else None,
            "folder": str(folder),
            "metrics": str(folder / "metrics.jsonl"),
        }

    def _write_order(self, spec: RunSpec, store: Store) -> None:
        """Domain of every sequence of the run, as the built-in trainer would draw it: quotas exact to one sequence."""
        import numpy as np

        from mixlaw.tokens.loader import Loader

        loader = Loader(spec, self.corpus, self.tokens_root)
        buffer = io.BytesIO()
        np.save(buffer, np.stack([loader.domains_of(step) for step in range(loader.num_steps)]))
        store.write_bytes("order.npy", buffer.getvalue())

    def _execute(
        self,
        spec: RunSpec,
        folder: Path,
        arguments: list[str],
        paths: Mapping[str, str],
        should_stop: ShouldStop | None,
    ) -> None:
        environment = {**os.environ, **{f"MIXLAW_{name.upper()}": path for name, path in paths.items()}}
        shown, log_path = shlex.join(arguments), folder / "log.txt"
        with open(log_path, "ab") as log:
            log.write(f"$ {shown}\n".encode())
            log.flush()
            try:
                process = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=_die_with_parent if sys.platform == "linux" else None,
                )
            except OSError as error:
                raise RunError(
                    f"The training command of run {spec.id} cannot be started: {error}. Command: {shown}", spec
                ) from None
        began = time.monotonic()
        try:
            while process.poll() is None:
                if self.timeout is not None and time.monotonic() - began > self.timeout:
                    _end(process)
                    raise RunError(
                        f"The training command of run {spec.id} took longer than its timeout of {self.timeout:g} s and "
                        f"was ended. Command: {shown}",
                        spec,
                        log_tail(log_path),
                    )
                if should_stop is not None and should_stop():
                    _end(process)
                    raise RunStopped(f"Run {spec.id} was stopped; its command was ended.", spec, log_tail(log_path))
                try:
                    process.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                _end(process)
        if process.returncode != 0:
            code = process.returncode
            how = f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"
            raise RunError(
                f"The training command of run {spec.id} ended with {how}. Command: {shown}", spec, log_tail(log_path)
            )

    def _observations(self, spec: RunSpec, folder: Path, rows: list[dict[str, Any]]) -> Observations:
        tail = log_tail(folder / "log.txt")
        facts = {r["metric"]: r["value"] for r in rows if r["metric"] in ("params", "params_total")}
        rows = [r for r in rows if r["metric"] not in ("params", "params_total")]
        if not facts:
            try:
                config = architecture(spec.model, self.corpus.vocab_size)
                facts = {"params": float(config.params), "params_total": float(config.params_total)}
            except (ConfigError, DataError):  # a model of the user's own, in words of their own
                facts = {}
        diverged = any(not math.isfinite(r["value"]) for r in rows)
        last = max((r["step"] for r in rows), default=0)
        final = {r["target"] for r in rows if r["metric"] == "loss" and r["step"] == last}
        lacking = [v.name for v in self.corpus.validation if v.name not in final]
        if not rows or (lacking and not diverged):
            raise RunError(
                f"The training command of run {spec.id} ended well but its metrics lack the final loss (step {last}) "
                f"on {lacking or 'every set'}. Write one row per validation set to {folder / 'metrics.jsonl'}.",
                spec,
                tail,
            )
        hashes = {v.name: v.hash for v in self.corpus.validation}
        bound = math.log(self.corpus.vocab_size) if self.corpus.vocab_size else math.inf
        values = []
        for row in rows:
            full = {**row, "run": spec.id, "target_hash": row.get("target_hash") or hashes.get(row["target"], "")}
            if not math.isfinite(row["value"]):
                full.update(value=bound if row["metric"] == "loss" else math.inf, censored="right")
            values.append(full)
        epochs = spec.schedule.epochs(
            spec.num_steps * spec.batch * spec.context, {**self.corpus.unique_tokens, **spec.unique_tokens}
        )
        run = {
            "run": spec.id,
            "schedule": spec.schedule,
            "params": facts.get("params"),
            "params_total": facts.get("params_total"),
            "tokens": float(spec.num_steps * spec.batch * spec.context),
            "learning_rate": json.dumps(dict(spec.learning_rate), sort_keys=True),
            "batch_tokens": float(spec.batch * spec.context),
            "seed": spec.seed,
            "replicate_group": spec.replicate_group or None,
            "epochs": epochs,
            "start": spec.start_run,
            "trainer": f"{self.name}-{self.version} {shlex.join(self._arguments())}",
            "corpus_hash": spec.corpus_hash or self.corpus.hash,
            "status": "diverged" if diverged else "done",
        }
        return Observations.from_records([run], values)


def read_metrics(path: Path, spec: RunSpec) -> list[dict[str, Any]]:
    """Rows that an external trainer wrote, as JSONL (one object per line) or CSV with a header.

    Columns: ``step``, ``target`` and ``value`` are needed; ``tokens`` (default: step x batch x context), ``metric``
    (default ``loss``), ``unit`` and the other columns of the values table may be there. ``NaN`` and infinite values
    say that the run diverged.

    Raises:
        RunError: no file, no rows, or a row that cannot be read; names the line.

    Example:
        >>> from mixlaw import RunSpec, Schedule
        >>> spec = RunSpec(Schedule.constant({"web": 1.0}), tokens=8192, batch=4, context=64)
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "metrics.jsonl"
        ...     _ = path.write_text('{"step": 32, "target": "web", "value": 3.1}')
        ...     row = read_metrics(path, spec)[0]
        >>> row["target"], row["value"], row["tokens"]
        ('web', 3.1, 8192.0)
    """
    tail = log_tail(path.parent / "log.txt")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(
            f"The training command of run {spec.id} ended well but wrote no metrics to {path}.", spec, tail
        ) from None
    raw: list[tuple[int, Mapping[str, Any]]] = []
    if text.lstrip().startswith("{"):
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise RunError(f"{path} line {number} is not JSON ({error}): {line[:200]!r}.", spec, tail) from None
            raw.append((number, record))
    else:
        reader = csv.DictReader(io.StringIO(text))
        raw.extend((reader.line_num, {k: v for k, v in record.items() if v not in ("", None)}) for record in reader)
    if not raw:
        raise RunError(f"The training command of run {spec.id} wrote no rows to {path}.", spec, tail)
    rows = []
    for number, record in raw:
        where = f"{path} line {number}: {dict(record)!r}"
        for key in record:
            if key not in _COLUMNS:
                raise RunError(f"{where}: unknown column {key!r}.{did_you_mean(str(key), _COLUMNS)}", spec, tail)
        missing = [c for c in ("step", "target", "value") if c not in record]
        if missing:
            raise RunError(f"{where} lacks {missing}.", spec, tail)
        try:
            row = {
                **record,
                "step": int(float(record["step"])),
                "target": str(record["target"]),
                "value": float(record["value"]),
                "metric": str(record.get("metric") or "loss"),
            }
            row["tokens"] = float(record.get("tokens") or row["step"] * spec.batch * spec.context)
            for name, kind in (("std", float), ("shots", int), ("num_items", int)):
                if name in record:
                    row[name] = kind(record[name])
        except (TypeError, ValueError) as error:
            raise RunError(f"{where} has a value that is not a number ({error}).", spec, tail) from None
        rows.append(row)
    return rows


def _token_dtype(index: Path, vocab_size: int | None) -> str:
    """NumPy type of the token files: as their index says, else by the vocabulary."""
    found = read_index(index.parent)
    if found is not None:
        return str(found["dtype"])
    return "<u2" if (vocab_size or 0) <= 2**16 else "<u4"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it started: ask, wait, kill."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(5.0)
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _die_with_parent() -> None:
    """In the child, before it becomes the command: be killed when the worker that started it dies (Linux)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 = PR_SET_PDEATHSIG

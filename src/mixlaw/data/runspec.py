"""Everything that can change a training run's result, and the content hash that names the run.

The name stays for ever: a field that a later version adds is part of the hash only where it differs from its default,
so the runs that earlier versions trained keep their ids, and their folders are found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mixlaw.data import formats
from mixlaw.data.mixture import Schedule
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.kit.hashing import content_hash
from mixlaw.kit.store import Store

__all__ = ["RunSpec"]

_FIRST = (
    "schedule", "tokens", "model", "optimizer", "learning_rate", "batch", "context", "seed", "tokenizer", "corpus_hash",
    "evaluation_hash", "unique_tokens", "start", "evaluate_at", "trainer", "trainer_version",
)  # fmt: skip
"""Fields that version 0.1.0 hashed, all of them in every id. Never add to it: see :attr:`RunSpec.id`."""

_STAGES = ("pretrain", "continue", "tune")
_UPDATES = ("full", "lora")
_LOSS_ON = ("all", "answer")
_MOMENTS = ("keep", "reset")


@dataclass(frozen=True)
class RunSpec:
    """One training run, completely described.

    Args:
        schedule: the mixture over time.
        tokens: token budget of the run; rounded down to whole batches by the trainer.
        model: architecture as plain data, e.g. ``{"preset": "d64"}`` or every field spelled out.
        optimizer: e.g. ``{"name": "adamw", "betas": [0.9, 0.95], "weight_decay": 0.1, "clip": 1.0}``.
        learning_rate: ``{"name": "wsd" | "cosine" | "constant", "peak": 3e-3, "warmup": 0.05, ...}``.
        batch: sequences per step.
        context: tokens per sequence.
        seed: seeds initialisation and data order.
        tokenizer: content hash of the tokenizer.
        corpus_hash, evaluation_hash: what was trained and scored on.
        unique_tokens: per domain, how many of its unique tokens the run may see (``{}`` = all): with it a proxy
            repeats each domain as often as the target run will (*simulated epoching*).
        start: where training starts: None (from scratch), the id of a run (from its final checkpoint), or a mapping
            ``{"run": id}`` or ``{"checkpoint": URI, "hash": its content hash}``, with ``"moments": "keep" | "reset"``
            where the optimiser's setting does not hold. ``{"run": id}`` alone is stored as the id.
        evaluate_at: fractions of the run, in (0, 1], at which validation losses are measured.
        trainer, trainer_version: who trains.
        replicate_group: label of runs that differ only in their seed; not part of ``id``.
        strategy: what changes the mixture while the run trains, ``{"name": ..., "options": {...}}``; None: nothing,
            the schedule is followed.
        stage: ``"pretrain"``, ``"continue"`` (from ``start``) or ``"tune"`` (on examples).
        update: what is trained, ``{"name": "full" | "lora", "options": {...}}``; the name alone is accepted.
        loss_on: ``"all"`` tokens, or only those of the ``"answer"``.
        examples: content hash of the :class:`~mixlaw.data.selection.Selection` of examples to train on; ``""``: all.
        evaluators: what is measured beside the validation losses, ``[{"name": ..., "options": {...}, "at": [...],
            "tasks": {target: {"path": ..., "hash": ...}}}]``, ``at`` in fractions of the run (default: at its end),
            ``tasks`` with the content hash of each file of records.

    Raises:
        ConfigError: a value out of range, an unknown word, or a field in another form.

    Example:
        >>> from mixlaw.data.mixture import Mixture
        >>> a = RunSpec(Schedule.constant(Mixture({"web": 1.0})), tokens=1000)
        >>> a.id == a.replace(seed=1).id
        False
        >>> a.replace(update="lora").update
        {'name': 'lora', 'options': {}}
    """

    schedule: Schedule
    tokens: int
    model: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 8
    context: int = 256
    seed: int = 0
    tokenizer: str = ""
    corpus_hash: str = ""
    evaluation_hash: str = ""
    unique_tokens: Mapping[str, int] = field(default_factory=dict)
    start: str | Mapping[str, Any] | None = None
    evaluate_at: tuple[float, ...] = (1.0,)
    trainer: str = "torch"
    trainer_version: str = ""
    replicate_group: str = ""
    strategy: Mapping[str, Any] | None = None
    stage: str = "pretrain"
    update: Mapping[str, Any] | str = field(default_factory=lambda: {"name": "full", "options": {}})
    loss_on: str = "all"
    examples: str = ""
    evaluators: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "evaluate_at", tuple(float(f) for f in self.evaluate_at))
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(
                f"RunSpec evaluate_at must be fractions of the run in (0, 1], got {self.evaluate_at!r}."
            ) from None
        for name in ("model", "optimizer", "learning_rate", "unique_tokens"):
            if not isinstance(getattr(self, name), Mapping):
                raise ConfigError(f"RunSpec {name} must be a mapping, got {getattr(self, name)!r}.")
        for name in ("tokenizer", "corpus_hash", "evaluation_hash", "trainer", "trainer_version", "replicate_group"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"RunSpec {name} must be a text, got {getattr(self, name)!r}.")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise ConfigError(f"RunSpec seed must be a whole number, got {self.seed!r}.")
        for name in ("tokens", "batch", "context"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                raise ConfigError(f"RunSpec {name} must be a positive whole number, got {value!r}.")
        if not self.evaluate_at or any(not 0 < f <= 1 for f in self.evaluate_at) or self.evaluate_at[-1] != 1.0:
            raise ConfigError(
                f"RunSpec evaluate_at must be fractions of the run in (0, 1] ending with 1.0, got {self.evaluate_at}."
            )

        for name, words in (("stage", _STAGES), ("loss_on", _LOSS_ON)):
            if getattr(self, name) not in words:
                raise ConfigError(
                    f"RunSpec {name}={getattr(self, name)!r} is unknown.{did_you_mean(str(getattr(self, name)), words)}"
                )
        object.__setattr__(self, "start", _start(self.start))
        if self.stage == "continue" and self.start is None:
            raise ConfigError(
                "RunSpec stage='continue' needs a start to continue from: the id of a run, or "
                "{'checkpoint': URI, 'hash': ...}."
            )
        if self.strategy is not None:
            object.__setattr__(self, "strategy", _part("strategy", self.strategy))
        update = _part("update", {"name": self.update} if isinstance(self.update, str) else self.update)
        if update["name"] not in _UPDATES:
            raise ConfigError(f"RunSpec update {update['name']!r} is unknown.{did_you_mean(update['name'], _UPDATES)}")
        if update["name"] == "full" and update["options"]:
            raise ConfigError(f"RunSpec update 'full' trains every weight and has no options, got {update['options']}.")
        object.__setattr__(self, "update", update)
        if not isinstance(self.examples, str):
            raise ConfigError(
                f"RunSpec examples must be the content hash of a Selection (its .hash), got {self.examples!r}."
            )
        if isinstance(self.evaluators, str | Mapping):
            raise ConfigError(f"RunSpec evaluators must be a list of {{name, options, at}}, got {self.evaluators!r}.")
        object.__setattr__(self, "evaluators", tuple(_evaluator(one) for one in self.evaluators))

    @property
    def id(self) -> str:
        """Content hash: the same run is never trained twice, different runs never collide.

        It covers every field of the first version, and of the later fields those that differ from their default. So a
        new field renames no old run. Of a checkpoint elsewhere, and of a task's file, it covers the content and not the
        place.
        """
        data = self.to_dict()
        data["evaluators"] = [_without_paths(one) for one in self.evaluators]
        if isinstance(self.start, Mapping):
            data["start"] = {key: value for key, value in self.start.items() if key != "checkpoint"}
        return content_hash({name: data[name] for name in (*_FIRST, *self.changed())})

    @property
    def start_run(self) -> str | None:
        """Id of the run this one starts from; None where it starts from scratch or from a checkpoint elsewhere."""
        if self.start is None or isinstance(self.start, str):
            return self.start
        return self.start.get("run")

    def changed(self) -> tuple[str, ...]:
        """Later fields that differ from their default: what a trainer must know how to do, or refuse.

        Example:
            >>> RunSpec(Schedule.constant({"web": 1.0}), tokens=1000, loss_on="answer").changed()
            ('loss_on',)
        """
        later = [name for name in self.__dataclass_fields__ if name not in (*_FIRST, "replicate_group")]
        return tuple(name for name in later if getattr(self, name) != _DEFAULTS[name])

    @property
    def num_steps(self) -> int:
        """Optimiser steps: whole batches in the token budget."""
        return self.tokens // (self.batch * self.context)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``spec.json``."""
        return {
            "schedule": self.schedule.to_dict(),
            "tokens": self.tokens,
            "model": dict(self.model),
            "optimizer": dict(self.optimizer),
            "learning_rate": dict(self.learning_rate),
            "batch": self.batch,
            "context": self.context,
            "seed": self.seed,
            "tokenizer": self.tokenizer,
            "corpus_hash": self.corpus_hash,
            "evaluation_hash": self.evaluation_hash,
            "unique_tokens": dict(self.unique_tokens),
            "start": dict(self.start) if isinstance(self.start, Mapping) else self.start,
            "evaluate_at": list(self.evaluate_at),
            "trainer": self.trainer,
            "trainer_version": self.trainer_version,
            "replicate_group": self.replicate_group,
            "strategy": None if self.strategy is None else dict(self.strategy),
            "stage": self.stage,
            "update": dict(self.update) if isinstance(self.update, Mapping) else self.update,
            "loss_on": self.loss_on,
            "examples": self.examples,
            "evaluators": [dict(one) for one in self.evaluators],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunSpec:
        """Inverse of :meth:`to_dict`; fields that an earlier version did not write take their defaults.

        Raises:
            ConfigError: an unknown key, or no schedule or tokens.
        """
        values = dict(data)
        lacking = [key for key in ("schedule", "tokens") if key not in values]
        if lacking:
            raise ConfigError(f"This is no run spec: it lacks {lacking}; it has {sorted(map(str, values))}.")
        values["schedule"] = Schedule.from_dict(values["schedule"])
        for key in values:
            if key not in cls.__dataclass_fields__:
                raise ConfigError(f"Unknown run spec key {key!r}.{did_you_mean(key, cls.__dataclass_fields__)}")
        return cls(**values)

    def save(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all: a run's ``spec.json``. The file's header is no part of the id."""
        target = Path(path)
        formats.write(Store(target.parent), target.name, "spec", self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> RunSpec:
        """Read what :meth:`save` wrote, in this version or an earlier one.

        Raises:
            DataError: not there, no run spec, of a newer format, or changed after it was written.
            ConfigError: a value that :class:`RunSpec` refuses.
        """
        return formats.made("spec", path, cls.from_dict, formats.load(path, "spec"))

    def replace(self, **changes: Any) -> RunSpec:
        """A copy with some fields changed."""
        return replace(self, **changes)


_DEFAULTS = {
    "strategy": None,
    "stage": "pretrain",
    "update": {"name": "full", "options": {}},
    "loss_on": "all",
    "examples": "",
    "evaluators": (),
}
"""Defaults of the later fields, as they are stored."""


def _part(what: str, value: Any) -> dict[str, Any]:
    """``{name, options}``, checked."""
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str) or not value["name"]:
        raise ConfigError(f"RunSpec {what} must be {{'name': ..., 'options': {{...}}}}, got {value!r}.")
    for key in value:
        if key not in ("name", "options"):
            raise ConfigError(f"RunSpec {what} has no key {key!r}.{did_you_mean(str(key), ('name', 'options'))}")
    options = value.get("options") or {}
    if not isinstance(options, Mapping):
        raise ConfigError(f"RunSpec {what}: options must be a mapping of names to values, got {options!r}.")
    return {"name": value["name"], "options": dict(options)}


def _evaluator(value: Any) -> dict[str, Any]:
    """``{name, options, at}``, checked."""
    known = ("at", "tasks")
    rest = {k: v for k, v in value.items() if k not in known} if isinstance(value, Mapping) else value
    part = _part("evaluators", rest)
    at = value.get("at", (1.0,))
    numbers = [at] if isinstance(at, int | float) and not isinstance(at, bool) else at
    if (
        not isinstance(numbers, list | tuple)
        or not numbers
        or any(isinstance(f, bool) or not isinstance(f, int | float) or not 0 < f <= 1 for f in numbers)
    ):
        raise ConfigError(
            f"RunSpec evaluators: {part['name']!r} is asked at {at!r}; give fractions of the run in (0, 1]."
        )
    tasks = value.get("tasks", {})
    if not isinstance(tasks, Mapping) or not all(
        isinstance(target, str)
        and target
        and isinstance(file, Mapping)
        and set(file) == {"path", "hash"}
        and all(isinstance(text, str) and text for text in file.values())
        for target, file in tasks.items()
    ):
        raise ConfigError(
            f"RunSpec evaluators: the tasks of {part['name']!r} must be {{target: {{'path': ..., 'hash': ...}}}}, got "
            f"{tasks!r}."
        )
    found = {**part, "at": [float(f) for f in numbers]}
    return {**found, "tasks": {target: dict(file) for target, file in tasks.items()}} if tasks else found


def _without_paths(evaluator: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluator as the id covers it."""
    if "tasks" not in evaluator:
        return dict(evaluator)
    return {**evaluator, "tasks": {target: file["hash"] for target, file in evaluator["tasks"].items()}}


def _start(value: Any) -> str | dict[str, Any] | None:
    """A start in its one form: None, a run's id, or a mapping that says more than that."""
    if value is None or isinstance(value, str):
        return value
    known = ("run", "checkpoint", "hash", "moments")
    if not isinstance(value, Mapping):
        raise ConfigError(f"RunSpec start must be None, the id of a run, or a mapping with {known}, got {value!r}.")
    for key in value:
        if key not in known:
            raise ConfigError(f"RunSpec start has no key {key!r}.{did_you_mean(str(key), known)}")
    given = {key: value[key] for key in known if value.get(key) is not None}
    for key, text in given.items():
        if not isinstance(text, str) or not text:
            raise ConfigError(f"RunSpec start: {key} must be a text that is not empty, got {text!r}.")
    if ("run" in given) == ("checkpoint" in given):
        raise ConfigError(f"RunSpec start names either a run or a checkpoint, got {dict(value)!r}.")
    if ("checkpoint" in given) != ("hash" in given):
        raise ConfigError(
            f"RunSpec start: a checkpoint comes with the hash of its content, a run needs none (its id is one); "
            f"got {dict(value)!r}."
        )
    if given.get("moments", "keep") not in _MOMENTS:
        raise ConfigError(f"RunSpec start: moments={given['moments']!r}.{did_you_mean(given['moments'], _MOMENTS)}")
    return str(given["run"]) if list(given) == ["run"] else given

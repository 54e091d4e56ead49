"""Everything that can change a training run's result, and the content hash that names the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mixlaw.data.mixture import Schedule
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.kit.hashing import content_hash

__all__ = ["RunSpec"]


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
        start: id of the run whose final checkpoint this one starts from, or None for from scratch.
        evaluate_at: fractions of the run, in (0, 1], at which validation losses are measured.
        trainer, trainer_version: who trains.
        replicate_group: label of runs that differ only in their seed; not part of ``id``.

    Example:
        >>> from mixlaw.data.mixture import Mixture
        >>> a = RunSpec(Schedule.constant(Mixture({"web": 1.0})), tokens=1000)
        >>> a.id == replace(a, seed=1).id
        False
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
    start: str | None = None
    evaluate_at: tuple[float, ...] = (1.0,)
    trainer: str = "torch"
    trainer_version: str = ""
    replicate_group: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "evaluate_at", tuple(float(f) for f in self.evaluate_at))
        for name in ("tokens", "batch", "context"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                raise ConfigError(f"RunSpec {name} must be a positive whole number, got {value!r}.")
        if not self.evaluate_at or any(not 0 < f <= 1 for f in self.evaluate_at) or self.evaluate_at[-1] != 1.0:
            raise ConfigError(
                f"RunSpec evaluate_at must be fractions of the run in (0, 1] ending with 1.0, got {self.evaluate_at}."
            )

    @property
    def id(self) -> str:
        """Content hash: the same run is never trained twice, different runs never collide."""
        data = self.to_dict()
        del data["replicate_group"]
        return content_hash(data)

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
            "start": self.start,
            "evaluate_at": list(self.evaluate_at),
            "trainer": self.trainer,
            "trainer_version": self.trainer_version,
            "replicate_group": self.replicate_group,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunSpec:
        """Inverse of :meth:`to_dict`; unknown keys are errors."""
        values = dict(data)
        values["schedule"] = Schedule.from_dict(values["schedule"])
        for key in values:
            if key not in cls.__dataclass_fields__:
                raise ConfigError(f"Unknown run spec key {key!r}.{did_you_mean(key, cls.__dataclass_fields__)}")
        return cls(**values)

    def replace(self, **changes: Any) -> RunSpec:
        """A copy with some fields changed."""
        return replace(self, **changes)

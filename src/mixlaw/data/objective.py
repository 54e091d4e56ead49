"""What a mixture is chosen for: a weighted mean of losses, or another kind of wish, in one form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mixlaw.errors import ConfigError, did_you_mean

__all__ = ["OBJECTIVES", "Objective"]

OBJECTIVES = {
    "loss": ("down", "nats_per_token"),
    "speed": ("down", "tokens"),
    "score": ("up", "fraction"),
    "worst": ("down", "nats_per_token"),
    "guard": ("down", "nats_per_token"),
}
"""Kinds of objectives, each with its usual direction and unit."""

_NEED_THRESHOLD = ("speed", "guard")


@dataclass(frozen=True)
class Objective:
    """What is wished of a mixture.

    Args:
        targets: ``{validation set or task: weight}``, weights not negative with a positive sum; stored as shares of it.
        kind: ``"loss"``: the weighted mean of losses. ``"worst"``: the largest excess of a set over the best it could
            reach. ``"score"``: the weighted mean of scores, such as accuracies. ``"speed"``: how much training it takes
            until the mean of the targets passes ``threshold``. ``"guard"``: the targets may change by at most
            ``threshold`` against the reference.
        direction: ``"down"`` where less is better, ``"up"`` where more is; the kind's usual one by default.
        threshold: in ``unit``; of ``"speed"`` in the unit of its targets. Needed by ``"speed"`` and ``"guard"`` only.
        unit: of the objective; the kind's usual one by default.

    Raises:
        ConfigError: unknown kind or direction, weights that are none, or a threshold that is missing or not asked for.

    Example:
        >>> Objective({"web": 3, "exam": 1}).targets
        {'web': 0.75, 'exam': 0.25}
        >>> Objective.of({"web": 0.7, "exam": 0.3}).kind
        'loss'
        >>> Objective.of({"kind": "score", "targets": {"exam": 1.0}}).direction
        'up'
    """

    targets: Mapping[str, float]
    kind: str = "loss"
    direction: str = ""
    threshold: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in OBJECTIVES:
            raise ConfigError(f"Unknown kind of objective {self.kind!r}.{did_you_mean(str(self.kind), OBJECTIVES)}")
        if not isinstance(self.targets, Mapping) or any(not _number(w) or w < 0 for w in self.targets.values()):
            raise ConfigError(f"An objective needs targets {{set: weight}} with weights >= 0, got {self.targets!r}.")
        total = math.fsum(self.targets.values())
        if total <= 0:
            raise ConfigError(f"An objective needs weights with a positive sum, got {dict(self.targets)}.")
        object.__setattr__(self, "targets", {str(name): weight / total for name, weight in self.targets.items()})
        direction, unit = OBJECTIVES[self.kind]
        object.__setattr__(self, "direction", self.direction or direction)
        object.__setattr__(self, "unit", self.unit or unit)
        if self.direction not in ("down", "up"):
            raise ConfigError(f"Objective direction {self.direction!r}.{did_you_mean(self.direction, ('down', 'up'))}")
        if (self.threshold is None) == (self.kind in _NEED_THRESHOLD):
            needs = "needs a threshold" if self.threshold is None else f"has no threshold, got {self.threshold!r}"
            raise ConfigError(f"An objective of kind {self.kind!r} {needs}; {' and '.join(_NEED_THRESHOLD)} have one.")
        if not isinstance(self.unit, str):
            raise ConfigError(f"The unit of an objective must be a text, got {self.unit!r}.")
        if self.threshold is not None and not _number(self.threshold):
            raise ConfigError(f"The threshold of an objective must be a finite number, got {self.threshold!r}.")

    @classmethod
    def of(cls, value: Any) -> Objective:
        """From itself, a set's name, several names (equal weights), ``{set: weight}``, or ``{"kind": ..., ...}``.

        A plain mapping, name or list of names is of kind ``"loss"``.

        Raises:
            ConfigError: none of these, or an unknown key.
        """
        if isinstance(value, Objective):
            return value
        if isinstance(value, str):
            return cls({value: 1.0})
        if isinstance(value, Mapping):
            return cls.from_dict(value) if isinstance(value.get("kind"), str) else cls(value)
        if isinstance(value, Sequence) and all(isinstance(name, str) for name in value):
            return cls(dict.fromkeys(value, 1.0))
        raise ConfigError(f"An objective is a set, several sets, {{set: weight}} or {{'kind': ...}}, got {value!r}.")

    def replace(self, **changes: Any) -> Objective:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, every field spelled out."""
        return {
            "kind": self.kind,
            "targets": dict(self.targets),
            "direction": self.direction,
            "threshold": self.threshold,
            "unit": self.unit,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Objective:
        """Inverse of :meth:`to_dict`; fields that are left out take the kind's usual values.

        Raises:
            ConfigError: an unknown key, or no targets.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"An objective is written as {{kind, targets, ...}}, got {data!r}.")
        for key in data:
            if key not in cls.__dataclass_fields__:
                raise ConfigError(f"An objective has no key {key!r}.{did_you_mean(str(key), cls.__dataclass_fields__)}")
        if "targets" not in data:
            raise ConfigError(f"An objective needs targets {{set: weight}}, got {dict(data)!r}.")
        return cls(**data)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

"""What strategies were worth beside one another: their runs with equal seeds and an equal total of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mixlaw.data.mixture import Mixture
from mixlaw.errors import DataError

__all__ = ["Comparison", "StrategyArm"]


@dataclass(frozen=True)
class StrategyArm:
    """One strategy with its options.

    Args:
        strategy: its registry name.
        options: those that the user gave.
        losses: nats per token, of each validation set, per seed: ``{set: {seed: loss}}``.
        objective: the weighted mean of the losses, per seed.
        tokens: what all its runs of one seed cost, in tokens of training: the final run, runs before it, and a third
            of a token for each token that was only scored.
        search: the part of ``tokens`` that was spent before the final run.
        weights: the average weights of the domains over the final run, per seed.
        runs: ids of its runs, per seed, the final one last.
        lost: seeds without a result, and why.

    Example:
        >>> arm = StrategyArm("odm", {}, {"web": {0: 3.2, 1: 3.3}}, {0: 3.2, 1: 3.3}, 2_000_000.0)
        >>> round(arm.mean, 2)
        3.25
    """

    strategy: str
    options: Mapping[str, Any]
    losses: Mapping[str, Mapping[int, float]]
    objective: Mapping[int, float]
    tokens: float
    search: float = 0.0
    weights: Mapping[int, Mixture] = field(default_factory=dict)
    runs: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    lost: Mapping[int, str] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean of the objective over the seeds, in nats per token; NaN where every seed was lost."""
        values = list(self.objective.values())
        return sum(values) / len(values) if values else float("nan")

    def worst(self, seed: int) -> tuple[str, float]:
        """The validation set with the largest loss, and that loss."""
        name = max(self.losses, key=lambda s: self.losses[s][seed])
        return name, self.losses[name][seed]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "strategy": self.strategy,
            "options": dict(self.options),
            "losses": {name: {str(k): v for k, v in one.items()} for name, one in self.losses.items()},
            "objective": {str(k): v for k, v in self.objective.items()},
            "tokens": self.tokens,
            "search": self.search,
            "weights": {str(k): v.to_dict() for k, v in self.weights.items()},
            "runs": {str(k): list(v) for k, v in self.runs.items()},
            "lost": {str(k): v for k, v in self.lost.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StrategyArm:
        """Inverse of :meth:`to_dict`."""
        return cls(
            data["strategy"],
            data["options"],
            {name: {int(k): float(v) for k, v in one.items()} for name, one in data["losses"].items()},
            {int(k): float(v) for k, v in data["objective"].items()},
            float(data["tokens"]),
            float(data["search"]),
            {int(k): Mixture(v) for k, v in data["weights"].items()},
            {int(k): tuple(v) for k, v in data["runs"].items()},
            {int(k): str(v) for k, v in data["lost"].items()},
        )


@dataclass(frozen=True)
class Comparison:
    """Strategies on one corpus, objective and budget.

    Args:
        arms: by label; the first is what the others are compared with.
        tokens: the budget that each arm was given, search included where ``charged``.
        charged: whether runs before the final one and probes were paid from this budget.
        setting: content hash of what all arms have in common: text, model, training, objective and limits; ``""``
            where it was not noted. Arms of different settings do not belong into one table.

    Raises:
        DataError: no arms.

    Example:
        >>> one = StrategyArm("stratified", {}, {"web": {0: 3.3}}, {0: 3.3}, 2e6)
        >>> two = StrategyArm("odm", {}, {"web": {0: 3.2}}, {0: 3.2}, 2e6)
        >>> found = Comparison({"stratified": one, "odm": two}, 2_000_000)
        >>> found.pairs("odm", "stratified")
        [(3.2, 3.3)]
    """

    arms: Mapping[str, StrategyArm]
    tokens: int
    charged: bool = True
    setting: str = ""

    def __post_init__(self) -> None:
        if not self.arms:
            raise DataError("A comparison of strategies needs at least one.")

    def pairs(self, a: str, b: str) -> list[tuple[float, float]]:
        """Objectives of two arms for every seed that both have."""
        first, second = self.arms[a].objective, self.arms[b].objective
        return [(first[k], second[k]) for k in sorted(first) if k in second]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "arms": {label: arm.to_dict() for label, arm in self.arms.items()},
            "tokens": self.tokens,
            "charged": self.charged,
            "setting": self.setting,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Comparison:
        """Inverse of :meth:`to_dict`."""
        arms = {label: StrategyArm.from_dict(arm) for label, arm in data["arms"].items()}
        return cls(arms, int(data["tokens"]), bool(data["charged"]), str(data.get("setting", "")))

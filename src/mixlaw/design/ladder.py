"""The same mixtures at several model sizes: fewer and fewer of them as runs grow dear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from mixlaw.data.mixture import Schedule
from mixlaw.data.runspec import RunSpec
from mixlaw.design.samplers.maximin import farthest
from mixlaw.errors import ConfigError

__all__ = ["Rung", "ladder_specs", "nested"]


@dataclass(frozen=True)
class Rung:
    """One size of the ladder.

    Args:
        num: mixtures trained at this size.
        tokens: token budget of each run.
        model: architecture, as in :attr:`RunSpec.model`.
        learning_rate, optimizer: replace the template's where given.
        params: non-embedding parameters, if known; with it :attr:`flops` is.

    Example:
        >>> Rung(num=8, tokens=2_000_000, model={"preset": "d64"}, params=1_000_000).flops
        96000000000000.0
    """

    num: int
    tokens: int
    model: Mapping[str, Any]
    learning_rate: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    params: int | None = None

    @property
    def flops(self) -> float | None:
        """Training FLOPs of the rung, 6 N D per run."""
        return None if self.params is None else 6.0 * self.params * self.tokens * self.num


def nested(schedules: Sequence[Schedule], counts: Sequence[int]) -> list[list[int]]:
    """Indices of the schedules at each rung: every rung's set lies in the previous one's, spread far apart.

    Nesting matters: a mixture measured at two sizes tells how size changes the effect of the mixture, two mixtures
    at one size each do not.

    Raises:
        ConfigError: no schedules, counts that are not positive or grow, or more mixtures than there are schedules.

    Example:
        >>> from mixlaw import Schedule
        >>> schedules = [Schedule.constant({"a": w, "b": 1 - w}) for w in (0.0, 0.25, 0.5, 0.75, 1.0)]
        >>> first, second = nested(schedules, [4, 2])
        >>> len(first), len(second), set(second) <= set(first)
        (4, 2, True)
    """
    if not schedules or any(c < 1 for c in counts) or any(b > a for a, b in pairwise(counts)):
        raise ConfigError(f"Counts per rung must be positive and not grow from rung to rung, got {list(counts)}.")
    if counts and counts[0] > len(schedules):
        raise ConfigError(f"The first rung asks for {counts[0]} mixtures, the design has {len(schedules)}.")
    points = np.sqrt(np.array([np.concatenate([p.mixture.array() for p in s.phases]) for s in schedules]))
    # one farthest-point order serves all rungs: each prefix is spread out
    order = farthest(points, len(points), near=points.mean(axis=0))
    return [sorted(int(i) for i in order[:c]) for c in counts]


def ladder_specs(
    schedules: Sequence[Schedule], rungs: Sequence[Rung], template: RunSpec, seed: int = 0
) -> list[RunSpec]:
    """Run specs of a multi-size design, smallest rung first.

    Args:
        schedules: mixtures of the first rung (or more).
        rungs: sizes, cheapest first; ``num`` must not grow.
        template: what the rungs have in common.

    Raises:
        ConfigError: no rung, growing counts, or fewer schedules than the first rung asks for.

    Example:
        >>> from mixlaw.data.mixture import Mixture
        >>> design = [Schedule.constant({"a": w, "b": 1 - w}) for w in (0.1, 0.5, 0.9)]
        >>> steps = [Rung(3, 1_000, {"preset": "d64"}), Rung(2, 4_000, {"preset": "d128"})]
        >>> [run.tokens for run in ladder_specs(design, steps, RunSpec(design[0], tokens=1_000))]
        [1000, 1000, 1000, 4000, 4000]
    """
    if not rungs:
        raise ConfigError("A ladder needs at least one rung.")
    chosen = nested(schedules, [r.num for r in rungs])
    out = []
    for rung, rows in zip(rungs, chosen):
        for i in rows:
            out.append(
                template.replace(
                    schedule=schedules[i],
                    tokens=rung.tokens,
                    model=dict(rung.model),
                    learning_rate=dict(rung.learning_rate) or dict(template.learning_rate),
                    optimizer=dict(rung.optimizer) or dict(template.optimizer),
                    seed=seed,
                    replicate_group=f"mixture-{i}",
                )
            )
    return out

"""Runs that share their beginning: a trunk, branches of it, and one expert per domain.

A *trunk* is trained once, on one mixture; a *branch* continues it on a mixture of its own. An *expert* is a branch (or,
without a trunk, a whole run) that trains on one domain alone. Trunk and branch together are as long as a run from
scratch, and follow its learning rate: warm-up in the trunk, decay in the branch.

Sources: branches before the decay, Haegele et al. 2024, arXiv:2405.18392; one expert per domain from a common
checkpoint, Li et al. 2022 (Branch-Train-Merge), arXiv:2208.03306.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixlaw.data.learning_rate import LearningRate
from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError

__all__ = ["branch_of", "expert_specs", "trunk_of"]


def trunk_of(base: RunSpec, share: float, mixture: Mixture, seed: int = 0) -> RunSpec:
    """The run that others start from: the first ``share`` of ``base``'s steps, on ``mixture``, without the decay of the
    learning rate.

    Args:
        base: a whole run, from scratch.
        share: of its steps, in (0, 1).
        mixture: what the trunk is trained on.
        seed: of initialisation and data order.

    Raises:
        ConfigError: the share is not in (0, 1), or leaves the trunk or its branches without a step.

    Example:
        >>> base = RunSpec(Schedule.constant({"web": 0.5, "code": 0.5}), tokens=204_800, learning_rate={"peak": 4e-3})
        >>> trunk = trunk_of(base, 0.5, Mixture({"web": 0.5, "code": 0.5}))
        >>> trunk.num_steps, trunk.learning_rate
        (50, {'name': 'constant', 'peak': 0.004, 'warmup': 0.1})
    """
    steps = _trunk_steps(base, share)
    rate = LearningRate(base.learning_rate, base.num_steps)
    warmup = min(1.0, _fraction(base, "warmup", 0.05) * base.num_steps / steps)
    return base.replace(
        schedule=Schedule.constant(mixture),
        tokens=steps * base.batch * base.context,
        learning_rate={"name": "constant", "peak": rate.peak, "warmup": warmup},
        seed=seed,
        replicate_group="",
    )


def branch_of(base: RunSpec, trunk: RunSpec, share: float) -> RunSpec:
    """``base`` from the end of ``trunk`` on: the rest of its steps, and the decay of its learning rate as long as in
    ``base``. Its schedule is the branch's own: what the trunk was trained on is no part of it.

    Raises:
        ConfigError: as :func:`trunk_of`.

    Example:
        >>> base = RunSpec(Schedule.constant({"web": 0.5, "code": 0.5}), tokens=204_800, learning_rate={"peak": 4e-3})
        >>> trunk = trunk_of(base, 0.5, Mixture({"web": 0.5, "code": 0.5}))
        >>> branch = branch_of(base, trunk, 0.5)
        >>> branch.num_steps + trunk.num_steps == base.num_steps, branch.learning_rate["decay"]
        (True, 0.4)
    """
    steps = base.num_steps - _trunk_steps(base, share)
    rate = {**base.learning_rate, "warmup": 0.0}
    if rate.get("name", "wsd") == "wsd":
        rate["decay"] = min(1.0, _fraction(base, "decay", 0.2) * base.num_steps / steps)
    return base.replace(tokens=steps * base.batch * base.context, learning_rate=rate, start=trunk.id)


def expert_specs(
    base: RunSpec, domains: Sequence[str], trunk: RunSpec | None, share: float, seed: int
) -> list[RunSpec]:
    """One run per domain, on that domain alone: branches of ``trunk``, or whole runs where there is none.

    An expert sees all text of its domain: simulated epoching is of runs that mix domains.

    Args:
        base: a whole run, from scratch.
        domains: at least two.
        trunk: from :func:`trunk_of`; None: from scratch.
        share: of the trunk in a whole run; without a trunk it says nothing.
        seed: of the first expert; the others have the next ones.

    Raises:
        ConfigError: fewer than two domains.

    Example:
        >>> base = RunSpec(Schedule.constant({"web": 0.5, "code": 0.5}), tokens=204_800)
        >>> [s.schedule.mixture.to_dict() for s in expert_specs(base, ("web", "code"), None, 0.0, seed=5)]
        [{'web': 1.0, 'code': 0.0}, {'web': 0.0, 'code': 1.0}]
    """
    if len(domains) < 2:
        raise ConfigError(
            f"Experts stand for domains that are mixed, and there is only {list(domains)}. Split the text into at "
            f"least two domains (corpus.domains)."
        )
    one = base.replace(unique_tokens={}, replicate_group="")
    if trunk is not None:
        one = branch_of(one, trunk, share)
    return [
        one.replace(schedule=Schedule.constant(Mixture({d: float(d == name) for d in domains})), seed=seed + i)
        for i, name in enumerate(domains)
    ]


def _trunk_steps(base: RunSpec, share: float) -> int:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise ConfigError(f"A trunk's share of the tokens must lie between 0 and 1, got {share!r}.")
    steps = round(share * base.num_steps)
    if not 0 < steps < base.num_steps:
        raise ConfigError(
            f"A trunk of {share:g} of {base.num_steps} steps leaves {steps} steps to the trunk and "
            f"{base.num_steps - steps} to its branches; both need some. Train longer runs, or choose another share."
        )
    return steps


def _fraction(base: RunSpec, name: str, default: float) -> Any:
    """A field of the learning rate that is a fraction of the run."""
    return float(base.learning_rate.get(name, default))

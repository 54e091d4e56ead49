"""The strategy that a run spec names, made and checked without torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from mixlaw.data.runspec import RunSpec
from mixlaw.data.seams import STRATEGIES
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.train.strategies.contract import Need, Strategy

__all__ = [
    "PROBE_TOKENS", "TARGET_SEQUENCES", "probe_size", "probed_sets", "reference_of", "scored_tokens", "strategy_of",
]  # fmt: skip

T = TypeVar("T")

PROBE_TOKENS = 4096
"""Validation tokens of each set that a probe scores, where the strategy does not say how many (``probe_tokens``)."""

TARGET_SEQUENCES = 2
"""Validation sequences of each set of the objective in one gradient of the target."""

NEEDS: frozenset[Need] = frozenset({"losses", "reference", "gradients", "target", "probes"})


def strategy_of(spec: RunSpec, sets: Collection[str] | None = None, can: frozenset[Need] = NEEDS) -> Strategy:
    """The strategy of ``spec``, at its beginning.

    Args:
        spec: with a strategy.
        sets: the validation sets that there are, where its objective is to be checked.
        can: what the trainer can compute.

    Raises:
        ConfigError: an unknown strategy or option, needs that the trainer does not meet, no reference run where it
            needs one, or an objective of sets that are not there.

    Example:
        >>> from mixlaw import Schedule
        >>> spec = RunSpec(Schedule.constant({"web": 0.5, "code": 0.5}), tokens=20_480, strategy={"name": "static"})
        >>> strategy_of(spec).update(0)["web"]
        0.5
    """
    assert spec.strategy is not None
    name, options = spec.strategy["name"], spec.strategy["options"]
    STRATEGIES.check(name, options)
    kind = STRATEGIES[name]
    for bound in ("schedule", "num_steps"):
        if bound in options:
            raise ConfigError(f"The strategy {name!r} takes {bound} from the run. Leave it out of the options.")
    strategy: Strategy = kind(schedule=spec.schedule, num_steps=spec.num_steps, **options)
    if lacking := sorted(strategy.needs - can):
        raise ConfigError(
            f"The strategy {name!r} needs {lacking}, and the trainer {spec.trainer!r} gives "
            f"{sorted(can) or 'nothing'}. Train with the trainer 'torch', or choose a strategy that needs less."
        )
    if "reference" in strategy.needs and not reference_of(spec):
        raise ConfigError(
            f"The strategy {name!r} compares with a reference model: give the id of a finished run as its option "
            f"'reference'. `mixlaw train STUDY --strategy {name}` trains one first."
        )
    objective = getattr(strategy, "objective", None)
    if "target" in strategy.needs and not objective:
        raise ConfigError(f"The strategy {name!r} needs an objective: its option is {{validation set: weight}}.")
    for one in objective or ():
        if sets is not None and one not in sets:
            raise ConfigError(
                f"The objective of the strategy {name!r} names {one!r}, which is no validation set."
                f"{did_you_mean(one, sets)}"
            )
    return strategy


def reference_of(spec: RunSpec) -> str | None:
    """Id of the run that the strategy of ``spec`` compares with; None where it compares with none.

    Example:
        >>> from mixlaw import Schedule
        >>> doremi = {"name": "doremi", "options": {"reference": "0123456789abcdef"}}
        >>> reference_of(RunSpec(Schedule.constant({"web": 1.0}), tokens=20_480, strategy=doremi))
        '0123456789abcdef'
    """
    if spec.strategy is None:
        return None
    found = spec.strategy["options"].get("reference")
    return found if isinstance(found, str) and found else None


def scored_tokens(spec: RunSpec, sizes: Mapping[str, int]) -> float:
    """Tokens that the strategy of ``spec`` will have scored beside training: three of them cost as much as one token of
    training, of whose three passes through the model scoring is one.

    Args:
        spec: with or without a strategy.
        sizes: tokens of each validation set of the corpus.

    Example:
        >>> from mixlaw import Schedule
        >>> spec = RunSpec(Schedule.constant({"web": 1.0}), tokens=20_480, strategy={"name": "static"})
        >>> scored_tokens(spec, {"web": 9_000})
        0.0
    """
    if spec.strategy is None:
        return 0.0
    strategy = strategy_of(spec)
    asked = [strategy.asks(step) for step in range(spec.num_steps)]
    places = {name: _sequences(size, spec.context) for name, size in sizes.items() if size > 1}
    looked_at = probed_sets(strategy, places)
    probe = sum(length * probe_size(strategy, length, places[name][0]) for name, (_, length) in looked_at.items())
    aims = [places[name] for name in getattr(strategy, "objective", None) or () if name in places]
    target = 3 * sum(min(TARGET_SEQUENCES, count) * length for count, length in aims)
    read = spec.batch * spec.context  # by the reference
    return float(
        sum("probes" in one for one in asked) * probe
        + sum("target" in one for one in asked) * target
        + sum("reference" in one for one in asked) * read
    )


def probed_sets(strategy: Strategy, sets: Mapping[str, T]) -> dict[str, T]:
    """Those of the validation sets whose losses a strategy looks at: its ``sets``, all where it names none.

    Example:
        >>> from mixlaw.train.strategies.static import Static
        >>> from mixlaw import Schedule
        >>> probed_sets(Static(Schedule.constant({"web": 1.0}), num_steps=10), {"web": 1, "exam": 2})
        {'web': 1, 'exam': 2}
    """
    named = getattr(strategy, "sets", None)
    return {name: found for name, found in sets.items() if named is None or name in named}


def probe_size(strategy: Strategy, length: int, count: int) -> int:
    """Sequences of ``length`` tokens that a probe scores of a validation set that has ``count`` of them.

    Example:
        >>> from mixlaw.train.strategies.static import Static
        >>> from mixlaw import Schedule
        >>> probe_size(Static(Schedule.constant({"web": 1.0}), num_steps=10), length=256, count=99)
        16
    """
    return min(count, max(1, round(int(getattr(strategy, "probe_tokens", PROBE_TOKENS)) / length)))


def _sequences(size: int, context: int) -> tuple[int, int]:
    """Sequences of a validation set of ``size`` tokens, and their targets each."""
    length = min(context, size - 1)
    return (size - 1) // length, length

"""From schedules to run specs, with anchors everyone is compared to and replicates that measure the noise."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Schedule, rounded
from mixlaw.data.observations import Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.design.polytope import Polytope
from mixlaw.errors import ConfigError, DataError, MixlawWarning, did_you_mean
from mixlaw.laws.core.replicates import SeedNoise, pooled_noise

__all__ = ["anchor_mixtures", "noise", "specs"]

_ANCHORS = ("natural", "uniform")


def anchor_mixtures(
    corpus: Corpus, anchors: Sequence[str] | Mapping[str, Mixture] = ("natural",), budget: Budget | None = None
) -> dict[str, Mixture]:
    """Named anchor mixtures: ``"natural"``, ``"uniform"`` and the user's own.

    Args:
        corpus: the domains.
        anchors: ``"natural"`` and ``"uniform"``, or ``{name: mixture}``.
        budget: limits of the runs (None: there are none).

    An anchor outside the budget is replaced by the nearest feasible mixture, with a warning.

    Raises:
        ConfigError: unknown anchor, or a mixture over other domains.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000, "wiki": 1_000}, source="example")
        >>> {name: m["wiki"] for name, m in anchor_mixtures(corpus, ("natural", "uniform")).items()}
        {'natural': 0.1, 'uniform': 0.5}
    """
    if isinstance(anchors, str):
        anchors = (anchors,)
    result: dict[str, Mixture] = {}
    for name in anchors:
        if isinstance(anchors, Mapping):
            result[name] = Mixture.from_array(corpus.names, anchors[name].array(corpus.names))
        elif name == "natural":
            result[name] = corpus.natural
        elif name == "uniform":
            result[name] = Mixture.uniform(corpus.names)
        else:
            raise ConfigError(
                f"Unknown anchor {name!r}.{did_you_mean(name, _ANCHORS)} Give your own as {{name: Mixture}}."
            )
    if budget is not None:
        polytope = Polytope.of(corpus, budget)
        for name, mixture in result.items():
            if not polytope.contains(mixture.array())[0]:
                near = polytope.snap_to_bounds(polytope.project(mixture.array()))[0]
                moved = float(np.abs(near - mixture.array()).sum() / 2)
                warnings.warn(
                    f"The {name} mixture breaks the budget; the nearest feasible one takes its place as an anchor "
                    f"({moved:.1%} of the tokens move).",
                    MixlawWarning,
                    stacklevel=2,
                )
                result[name] = Mixture.from_array(corpus.names, near)
    return result


def specs(
    schedules: Sequence[Schedule],
    template: RunSpec,
    corpus: Corpus | None = None,
    budget: Budget | None = None,
    *,
    anchors: Sequence[str] | Mapping[str, Mixture] = ("natural",),
    anchor_replicates: int = 3,
    replicates: int = 1,
    seed: int = 0,
) -> list[RunSpec]:
    """Run specs of a design: every schedule, and anchors with several seeds each.

    Runs that share a mixture share ``replicate_group`` and differ in their seed; the anchors' replicates tell seed
    noise from the effect of mixtures (:func:`noise`) at the price of a few runs.

    Args:
        schedules: from a sampler.
        template: a run of which only schedule, seed and replicate group change.
        corpus: needed for anchors.
        budget: checked against the anchors, if given.
        anchors: names (``"natural"``, ``"uniform"``) or ``{name: Mixture}``; ``()`` for none.
        anchor_replicates: runs per anchor.
        replicates: runs per schedule.
        seed: of the first replicate; the others count up from it.

    Returns:
        Specs with distinct ids, the anchors last.

    Raises:
        ConfigError: counts below one, anchors without a corpus, or schedules over other domains.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000, "wiki": 1_000}, source="example")
        >>> design = [Schedule.constant({"web": 0.5, "wiki": 0.5})]
        >>> runs = specs(design, RunSpec(design[0], tokens=1_000), corpus, anchor_replicates=2)
        >>> [(run.replicate_group, run.seed) for run in runs]
        [('mixture-0', 0), ('natural', 0), ('natural', 1)]
    """
    if replicates < 1 or anchor_replicates < 1:
        raise ConfigError(
            f"replicates and anchor_replicates must be at least 1, got {replicates}, {anchor_replicates}."
        )
    if corpus is None and len(anchors):
        raise ConfigError("Anchors are mixtures of a corpus: give corpus, or anchors=() for none.")
    if corpus is not None:
        for schedule in schedules:
            if schedule.domains != corpus.names:
                raise ConfigError(f"A schedule is over {schedule.domains}, the corpus has {corpus.names}.")
    named: list[tuple[str, Schedule, int]] = [
        (f"mixture-{i}", schedule, replicates) for i, schedule in enumerate(schedules)
    ]
    if corpus is not None and len(anchors):
        found = anchor_mixtures(corpus, anchors, budget)
        named += [(name, Schedule.constant(mixture), anchor_replicates) for name, mixture in found.items()]
    unique: dict[str, RunSpec] = {}
    for group, schedule, count in named:
        for k in range(count):
            spec = template.replace(schedule=schedule, seed=seed + k, replicate_group=group)
            unique.setdefault(spec.id, spec)
    return list(unique.values())


def noise(
    observations: Observations, targets: Sequence[str] | None = None, metric: str = "loss"
) -> dict[str, SeedNoise]:
    """Seed noise per target, pooled over all groups of runs with the same mixture, model and tokens; its standard
    deviation is in the unit of the target.

    Args:
        observations: with some mixture that was trained with two seeds or more.
        targets: validation sets (None: all that have ``metric``).
        metric: such as ``"loss"``.

    Raises:
        DataError: no mixture was trained twice, so noise is not measured.

    Example:
        >>> from mixlaw import Observations
        >>> rows = [{"run": f"r{i}", "schedule": {"web": 0.5, "wiki": 0.5}, "seed": i} for i in range(3)]
        >>> values = [{"run": f"r{i}", "step": 1, "target": "web", "value": 3.0 + 0.1 * i} for i in range(3)]
        >>> found = noise(Observations.from_records(rows, values))["web"]
        >>> round(found.sd, 3), found.dof
        (0.1, 2)
    """
    table = observations.table(targets, metric=metric)
    y, order = table.y, table.runs
    info = {r["run"]: r for r in observations.runs.select(["run", "params", "tokens"]).to_pylist()}
    schedules = observations.schedules()
    number: dict[tuple[object, ...], int] = {}
    groups = np.empty(len(order), dtype=np.int64)
    for row, run in enumerate(order):
        key = (
            tuple((p.fraction, tuple(rounded(p.mixture.weights).tolist())) for p in schedules[run].phases),
            info[run]["params"],
            info[run]["tokens"],
        )
        groups[row] = number.setdefault(key, len(number))
    if len(number) == len(order):
        raise DataError(
            f"None of the {len(order)} runs repeats another's mixture, so seed noise is not measured. Train "
            f"replicates: mixlaw.design.specs(..., anchor_replicates=3)."
        )
    return {name: pooled_noise(groups, np.asarray(y.column(name).to_numpy())) for name in y.column_names}

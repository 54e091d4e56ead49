"""Do mixtures rank the same at other sizes? What a study's own runs say, or why they say nothing.

A law fitted on proxies is worth what its ranking is worth at the target. Where mixtures were run at several sizes,
:func:`rank_evidence` compares them by :func:`mixlaw.laws.rank_transfer`: at a token count all sizes share, if the
largest models are nearly at their end there, and at each run's own end otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mixlaw.data.observations import Observations
from mixlaw.errors import DataError, NotIdentifiableError
from mixlaw.kit.arrays import Array
from mixlaw.kit.units import format_count
from mixlaw.laws.read.transfer import RankTransfer, rank_transfer

__all__ = ["Evidence", "base_size", "rank_evidence"]

NEARLY = 0.9
"""Share of the largest model's runs from which a shared token count stands for their end."""


@dataclass(frozen=True)
class Evidence:
    """Ranks measured between sizes, or the reason why there are none.

    Args:
        tables: one over all sizes, or one per larger size where too few mixtures were run at all of them.
        where: at which point of the runs they were compared.
        reason: why nothing is known; empty where something is.
    """

    tables: tuple[RankTransfer, ...] = ()
    where: str = ""
    reason: str = ""

    def sentence(self, target: float | None = None) -> str:
        """One line for a recipe; ``target``: parameters of the target model, if known."""
        if not self.tables:
            return f"not known ({self.reason}): this is the optimum at the size of the runs."
        parts = []
        for table in self.tables:
            rows = [row for row in table.table if row["from"] == table.sizes[0]]
            told = ", ".join(
                f"number {row['rank_of_best']} at {format_count(row['to'])} (Spearman {row['spearman']:.2f}, "
                f"{row['regret']:.4f} above the best there)"
                for row in rows
            )
            parts.append(
                f"the best of {len(table.mixtures)} mixtures at {format_count(table.sizes[0])} parameters is {told}"
            )
        text = f"measured {self.where}: {'; '.join(parts)}."
        largest = max(float(table.sizes[-1]) for table in self.tables)
        if target is not None and target > 1.01 * largest:
            text += f" The target has {format_count(target)}, larger than any of them."
        return text

    def reassures(self, target: float | None) -> bool:
        """Whether the best mixture of the smallest size was the best at every other one, and the target (parameters)
        is not larger than those: then nothing is to be careful about.

        Example:
            >>> Evidence(reason="all runs have one size").reassures(1e9)
            False
        """
        rows = [row for table in self.tables for row in table.table if row["from"] == table.sizes[0]]
        if not rows or target is None:
            return False
        largest = max(float(table.sizes[-1]) for table in self.tables)
        return target <= 1.01 * largest and all(row["rank_of_best"] == 1 for row in rows)

    def __str__(self) -> str:
        if not self.tables:
            return f"Rank transfer between sizes is not known: {self.reason}."
        return "\n".join([f"Rank transfer, {self.where}:", *map(str, self.tables)])


def rank_evidence(observations: Observations, weights: Mapping[str, float] | None = None) -> Evidence:
    """What the runs say about the transfer of ranks.

    Args:
        weights: of the validation sets, the objective; all sets alike without.

    Example:
        >>> runs = [
        ...     {"run": f"{w}-{n}", "schedule": {"a": w, "b": 1 - w}, "params": n, "tokens": 1e9}
        ...     for n in (1e7, 1e8) for w in (0.2, 0.5, 0.8)
        ... ]
        >>> losses = [3.0, 3.1, 3.2, 2.6, 2.5, 2.7]
        >>> values = [{"run": r["run"], "target": "a", "value": v, "tokens": 1e9} for r, v in zip(runs, losses)]
        >>> print(rank_evidence(Observations.from_records(runs, values)).sentence().replace(": ", ":\\n"))
        measured at 1.00B tokens:
        the best of 3 mixtures at 10.00M parameters is number 2 at 100M (Spearman 0.50, 0.1000 above the best there).
    """
    schedules = observations.schedules()
    info = {r["run"]: r for r in observations.runs.select(["run", "params", "tokens", "status"]).to_pylist()}
    usable = [r for r in schedules if info[r]["params"] and info[r]["status"] != "diverged"]
    if not usable:
        return Evidence(reason="the runs do not say how large their models are")
    sizes = sorted({float(info[r]["params"]) for r in usable})
    if len(sizes) == 1:
        return Evidence(reason=f"all {len(usable)} runs have {format_count(sizes[0])} parameters")
    if any(not info[r]["tokens"] for r in usable):
        return Evidence(reason="the runs do not say how many tokens they were trained on")
    chosen = observations.select(usable)
    targets = None if weights is None else list(weights)
    share = None if weights is None else np.array(list(weights.values())) / sum(weights.values())
    base = base_size(observations)
    lacking = [t for t in targets or [] if t not in observations.targets]
    if lacking:
        return Evidence(reason=f"no run measured {', '.join(map(repr, lacking))}")
    reason = "no run measured all of the objective's validation sets" if targets else "no losses were measured"
    for where, columns, losses in _views(chosen, targets):
        try:
            return Evidence((rank_transfer(columns, losses, share),), where)
        except (NotIdentifiableError, DataError) as error:
            reason = str(error)
        pairs = [
            table
            for size in sizes
            if base is not None and size != base
            if (table := _pair(columns, losses, share, sorted((base, size)))) is not None
        ]
        if pairs:
            return Evidence(tuple(pairs), where)
    return Evidence(reason=reason.rstrip("."))


def base_size(observations: Observations) -> float | None:
    """Parameters of the size at which most mixtures were run (the larger of two alike), None where no run says."""
    schedules = observations.schedules()
    mixtures: dict[float, set[tuple[float, ...]]] = {}
    for run, params in zip(*(observations.runs.column(c).to_pylist() for c in ("run", "params"))):
        if params is not None and run in schedules:
            mixtures.setdefault(float(params), set()).add(schedules[run].mixture.weights)
    return max(mixtures, key=lambda s: (len(mixtures[s]), s)) if mixtures else None


_View = tuple[str, dict[str, Array], Array]


def _views(observations: Observations, targets: Sequence[str] | None) -> Iterator[_View]:
    """Where, X and losses: at the latest token count all sizes share, then at the end of every run."""
    for at in ("all", "final"):
        try:
            X, y = observations.table(targets, at=at, features="joint")  # type: ignore[arg-type]
        except DataError:
            continue
        columns = {n: X.column(n).to_numpy() for n in X.column_names if n != "step"}
        losses = np.column_stack([y.column(n).to_numpy() for n in y.column_names])
        if at == "final":
            yield "at the end of each run", {**columns, "tokens": np.ones(len(losses))}, losses
            continue
        counts = [set(columns["tokens"][columns["params"] == s].tolist()) for s in np.unique(columns["params"])]
        shared = set.intersection(*counts)
        if shared and max(shared) >= NEARLY * max(counts[-1]):
            here = columns["tokens"] == max(shared)
            where = f"at {format_count(max(shared))} tokens"
            yield where, {n: v[here] for n, v in columns.items()}, losses[here]


def _pair(columns: dict[str, Array], losses: Array, share: Array | None, sizes: Sequence[float]) -> RankTransfer | None:
    rows = np.isin(columns["params"], sizes)
    try:
        return rank_transfer({n: v[rows] for n, v in columns.items()}, losses[rows], share)
    except (NotIdentifiableError, DataError):
        return None

"""Which domain teaches which skill, from short runs on one domain and on pairs: the graph of the strategy Skill-it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mixlaw.errors import DataError

__all__ = ["learn_graph"]

Losses = Mapping[str, float]


def learn_graph(
    start: Losses,
    alone: Mapping[str, Losses],
    pairs: Mapping[tuple[str, str], Losses] | None = None,
    own_sets: Mapping[str, str] | None = None,
    others: Sequence[str] = (),
) -> dict[str, dict[str, float]]:
    """Strength with which training on each domain lowers the loss of each domain's validation set.

    All runs start alike and have the same number of steps. ``drop_j(r)`` is how far run r lowers the loss of domain j's
    set. With ``pairs``, ``A_ij = max(0, drop_j(i and j) - drop_j(j)) / drop_j(j)``: domain i is worth having beside j
    if the pair reaches a lower loss on j than j alone, though it sees j half as often. Without, A is estimated from
    the single runs: ``A_ij = max(0, drop_j(i)) / drop_j(j)``, at most 1, which takes K runs instead of K (K + 1) / 2
    and has more edges. A domain's own strength is 1.

    Args:
        start: loss of each validation set before training, in nats per token.
        alone: for each domain, the losses after training on it alone.
        pairs: for pairs of domains (in either order), the losses after training on equal parts of both. A pair that is
            not there has no edge.
        own_sets: validation set of each domain. None: sets named like the domains.
        others: further validation sets, which are no domain's own: a domain's strength is what its run alone lowers
            the set's loss by, over the most that any domain's does.

    Returns:
        ``{domain: {domain: strength}}``, with the edges only.

    Raises:
        DataError: a loss that is missing or not finite; a domain whose own run does not lower its own loss; a pair with
            a domain that has no run alone.

    Source: Chen et al. 2023, arXiv:2307.14430, section 3; strengths relative to the domain's own drop.

    Example:
        >>> start = {"web": 5.0, "code": 5.0}
        >>> alone = {"web": {"web": 3.0, "code": 4.5}, "code": {"web": 4.8, "code": 3.0}}
        >>> learn_graph(start, alone)
        {'web': {'web': 1.0, 'code': 0.25}, 'code': {'web': 0.1, 'code': 1.0}}
        >>> learn_graph(start, alone, {("web", "code"): {"web": 3.2, "code": 2.8}})
        {'web': {'web': 1.0, 'code': 0.1}, 'code': {'code': 1.0}}
        >>> start, alone = {**start, "exam": 5.0}, {d: {**one, "exam": one["web"]} for d, one in alone.items()}
        >>> learn_graph(start, alone, others=["exam"])["code"]
        {'web': 0.1, 'code': 1.0, 'exam': 0.1}
    """
    own = {d: d for d in alone} if own_sets is None else dict(own_sets)
    drops = {
        d: {other: _drop(start, losses, own, other, f"{d!r} alone") for other in alone} for d, losses in alone.items()
    }
    for domain in alone:
        if not drops[domain][domain] > 0:
            raise DataError(
                f"Training on {domain!r} alone does not lower the loss of its own validation set ({own[domain]!r}: "
                f"{start[own[domain]]} before, {alone[domain][own[domain]]} after), so strengths cannot be measured "
                f"against it. Train the runs longer."
            )
    together: dict[tuple[str, str], float] = {}
    for (first, second), losses in (pairs or {}).items():
        if lost := [d for d in (first, second) if d not in alone]:
            raise DataError(f"The pair ({first!r}, {second!r}) has {lost}, of which there is no run alone.")
        for helper, helped in ((first, second), (second, first)):
            together[helper, helped] = _drop(start, losses, own, helped, f"{first!r} and {second!r}")
    graph: dict[str, dict[str, float]] = {}
    for i in alone:
        graph[i] = {}
        for j in alone:
            if i == j:
                graph[i][j] = 1.0
                continue
            if pairs is None:
                gain = min(drops[i][j], drops[j][j])
            else:
                gain = together.get((i, j), -math.inf) - drops[j][j]
            if gain > 0:
                graph[i][j] = round(gain / drops[j][j], 12)  # 12 digits: 0.1, not 0.09999999999999998
    for name in others:
        fall = {i: _drop(start, alone[i], {i: name}, i, f"{i!r} alone") for i in alone}
        most = max(fall.values())
        if not most > 0:
            raise DataError(f"Training on no domain alone lowers the loss of {name!r}: {fall}. Train the runs longer.")
        for i in alone:
            if fall[i] > 0:
                graph[i][name] = round(fall[i] / most, 12)
    return graph


def _drop(start: Losses, losses: Losses, own: Mapping[str, str], domain: str, run: str) -> float:
    """How far a run lowers the loss of the domain's own set."""
    if domain not in own:
        raise DataError(
            f"The domain {domain!r} has no validation set of its own among {dict(own)}. Hold one out of it."
        )
    values = []
    for table, whose in ((start, "before training"), (losses, f"after training on {run}")):
        value = table.get(own[domain], math.nan)
        if not math.isfinite(value):
            raise DataError(
                f"The loss of {own[domain]!r} {whose} is {table.get(own[domain])!r}; it must be there and finite. "
                f"Evaluate all runs on the same validation sets."
            )
        values.append(float(value))
    return values[0] - values[1]

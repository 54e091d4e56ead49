"""Pareto frontiers: what one skill costs in another, every point certified and all solved in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture
from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array
from mixlaw.optimize.pose.forms import Repetition
from mixlaw.optimize.pose.objective import mean
from mixlaw.optimize.pose.view import LawView
from mixlaw.optimize.solve.convex import Program, solve

__all__ = ["Frontier", "frontier", "simplex_points"]


@dataclass(frozen=True)
class Frontier:
    """Optimal trade-offs between ``sets``.

    Args:
        sets: validation sets traded off.
        mixtures: (n, K) weights over ``domains``.
        losses: (n, len(sets)) predicted losses, in the unit of the law (nats per token).
        exchange: (n, len(sets)) weights of the sets for which the point is optimal: at point i a nat of set a is worth
            ``exchange[i, a] / exchange[i, b]`` nats of set b.
        gap: (n,) duality gap of each point's weighted mean.

    Example:
        >>> mixtures, losses = np.array([[0.7, 0.3]]), np.array([[2.1]])
        >>> front = Frontier(("qa",), ("web", "code"), mixtures, losses, np.ones((1, 1)), np.zeros(1))
        >>> front.mixture(0).to_dict()
        {'web': 0.7, 'code': 0.3}
    """

    sets: tuple[str, ...]
    domains: tuple[str, ...]
    mixtures: Array
    losses: Array
    exchange: Array
    gap: Array

    def __len__(self) -> int:
        return len(self.mixtures)

    def mixture(self, i: int) -> Mixture:
        """The i-th point's mixture."""
        return Mixture.from_array(self.domains, self.mixtures[i])

    def __str__(self) -> str:
        width = max(len(name) for name in self.sets)
        lines = [
            f"{len(self)} certified points (largest gap {self.gap.max():.1e}). Lowest loss of each set, "
            f"and what it costs:"
        ]
        for i, name in enumerate(self.sets):
            best = int(np.argmin(self.losses[:, i]))
            losses = ", ".join(f"{n} {v:.4f}" for n, v in zip(self.sets, self.losses[best]))
            drawn = Mixture({d: w for d, w in self.mixture(best).to_dict().items() if w > 0})
            lines.append(f"  {name:<{width}}  {losses}  at  {drawn}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for reports."""
        return {
            "sets": list(self.sets),
            "domains": list(self.domains),
            "mixtures": self.mixtures.tolist(),
            "losses": self.losses.tolist(),
            "exchange": self.exchange.tolist(),
            "gap": self.gap.tolist(),
        }


def simplex_points(num: int, k: int) -> Array:
    """(num, k) evenly spread points of the simplex: its corners first, then a low-discrepancy sequence.

    Two sets get equal steps; more use the generalised golden ratio (R-sequence), folded onto the simplex by gaps
    between sorted coordinates.

    Example:
        >>> simplex_points(3, 2).tolist()
        [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    if k == 1:
        return np.ones((num, 1))
    if k == 2:
        share = np.linspace(0, 1, num)
        return np.column_stack([1 - share, share])
    ratio = 2.0
    for _ in range(40):
        ratio = (1 + ratio) ** (1 / k)
    steps = ratio ** -np.arange(1, k)
    rest = max(num - k, 0)
    u = np.sort((0.5 + np.arange(1, rest + 1)[:, None] * steps) % 1.0, axis=1)
    inner = np.diff(np.hstack([np.zeros((rest, 1)), u, np.ones((rest, 1))]), axis=1)
    return np.vstack([np.eye(k), inner])[:num]


def _snap_to_bounds(program: Program, R: Array, gap: Array, value: Callable[[Array], Array]) -> tuple[Array, Array]:
    """R (n, K) with weights just above their floor on it, their tokens on the weight with most room, wherever that
    satisfies every limit and keeps the gap (n,) within 1e-8."""
    for reach in (1e-8, 1e-7, 1e-6, 1e-5):
        low, high, row = program.low[0], program.high[0], np.arange(len(R))
        gone = (low < R) & (reach > R - low)
        clean = np.where(gone, low, R)
        top = np.argmax(np.where(gone, -1.0, np.minimum(clean - low, high - clean)), axis=1)
        clean[row, top] += 1.0 - clean.sum(axis=1)
        rise = value(clean) - value(R)
        ok = (clean[row, top] >= low[top]) & (clean[row, top] <= high[top]) & (gap + rise <= np.maximum(gap, 1e-8))
        ok &= (clean @ program.matrix[0].T <= program.upper[0] + 1e-9).all(axis=1)
        R, gap = np.where(ok[:, None], clean, R), np.where(ok, np.maximum(gap + rise, gap * (rise < 0)), gap)
    return R, gap


def frontier(
    law: Any,
    sets: Sequence[str],
    budget: Budget,
    corpus: Corpus,
    *,
    num: int = 200,
    repetition: bool | float | None = None,
) -> Frontier:
    """Pareto-optimal mixtures for two or more validation sets.

    For convex laws every trade-off is the optimum of some weighted mean, so the frontier is swept by weights, each
    scaled by the set's own range over the frontier.

    Args:
        sets: two or more of the law's targets.
        num: points.
        repetition: as in :func:`mixlaw.optimize.optimize`.

    Raises:
        ConfigError: fewer than two sets, unknown names, or a law that is not convex for them (see the message).
        InfeasibleBudgetError: no mixture satisfies the budget.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import EffectiveTokens
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> losses = {"qa": 2 + (web + 0.1) ** -0.3, "bugs": 2 + (1.1 - web) ** -0.3}
        >>> law = EffectiveTokens().fit({"web": web, "code": 1 - web}, losses)
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> front = frontier(law, ["qa", "bugs"], Budget(tokens=1_000), corpus, num=5)
        >>> [round(front.mixture(i)["web"], 2) for i in range(len(front))]
        [1.0, 0.74, 0.5, 0.26, 0.0]
    """
    if len(set(sets)) < 2 or len(set(sets)) != len(sets):
        raise ConfigError(f"A frontier needs two or more different validation sets, got {list(sets)}.")
    if num < len(sets):
        raise ConfigError(f"A frontier of {len(sets)} sets needs at least as many points, got num={num}.")
    constraints = budget.check(corpus)
    curve = Repetition.asked(repetition, [d.unique_tokens for d in corpus.domains], budget.tokens)
    view = LawView(law, corpus, budget, curve)
    index = view.index(sets, "frontier")
    atoms = view.atoms()
    T = len(view.targets)
    posed = mean(constraints, np.isin(np.arange(T), index).astype(float), repetition=curve)
    if atoms is None or not posed.certifiable(atoms):
        raise ConfigError(
            f"{type(law).__name__} is no sum of convex functions of the weights for {list(sets)}, so a sweep of "
            f"weighted means would miss part of its frontier. Fit M4, EffectiveTokens or LogLinear for this."
        )
    base = posed.program(atoms)

    def sweep(weights: Array) -> tuple[Array, Array]:
        W = np.zeros((len(weights), T))
        W[:, index] = weights
        batch = replace(base, coef=(W[:, atoms.target] * atoms.scale)[:, None], const=(W @ atoms.const)[:, None])
        found = solve(batch)
        return found.z, found.gap

    corners, _ = sweep(np.eye(len(index)))
    reach = view.predict(corners)[:, index]
    span = np.maximum(reach.max(axis=0) - reach.min(axis=0), 1e-9)
    # a corner's weight of exactly zero leaves the other sets free: a whisper of each makes the point Pareto-optimal
    share = simplex_points(num, len(index))
    exchange = (share + 1e-4) / span
    exchange /= exchange.sum(axis=1, keepdims=True)
    mixtures, gap = sweep(exchange)
    mixtures, gap = _snap_to_bounds(base, mixtures, gap, lambda R: (view.predict(R)[:, index] * exchange).sum(axis=1))
    return Frontier(tuple(sets), corpus.names, mixtures, view.predict(mixtures)[:, index], exchange, gap)

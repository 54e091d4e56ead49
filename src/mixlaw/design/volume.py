"""How far a budget cuts the simplex of all mixtures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mixlaw.data.budget import Budget, Constraints
from mixlaw.data.corpus import Corpus
from mixlaw.design.polytope import Array, Polytope

__all__ = ["Cut", "cut"]


@dataclass(frozen=True)
class Cut:
    """What a budget leaves of the simplex.

    Attributes:
        fraction: share of the simplex's volume that is feasible (0 if a limit fixes some weight).
        log10: its logarithm, also where ``fraction`` underflows; ``-inf`` if 0.
        relative_error: standard error of ``fraction`` over ``fraction``; 0 where it is exact.
        dimension, full_dimension: of the feasible set, and K - 1.
        reach: ``{domain: (smallest, largest)}`` weight that any feasible mixture can have.
        domains_cut: domains that cannot take the whole budget.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> corpus = Corpus.declared({"web": 9_000, "wiki": 1_000}, source="example")
        >>> found = cut(corpus, Budget(tokens=8_000, max_epochs=4))
        >>> found.reach["wiki"], found.domains_cut
        ((0.0, 0.5), ('wiki',))
    """

    fraction: float
    log10: float
    relative_error: float
    dimension: int
    full_dimension: int
    reach: dict[str, tuple[float, float]]

    @property
    def domains_cut(self) -> tuple[str, ...]:
        """Domains whose largest reachable weight is below 1."""
        return tuple(d for d, (_, high) in self.reach.items() if high < 1 - 1e-9)

    def __float__(self) -> float:
        return self.fraction

    def __str__(self) -> str:
        if self.dimension == 0 and self.full_dimension > 0:
            return "The budget leaves exactly one mixture: there is nothing to design."
        if self.dimension < self.full_dimension:
            return (
                f"The budget fixes {self.full_dimension - self.dimension} of {self.full_dimension} free directions; "
                f"the mixtures left have no volume in the simplex."
            )
        if not self.domains_cut and self.fraction >= 1 - 1e-12:
            return "The budget does not cut the simplex: every mixture is feasible."
        per_direction = 10 ** (self.log10 / max(self.full_dimension, 1))
        share = f"{self.fraction:.2%}" if self.fraction >= 1e-3 else f"10^{self.log10:.1f}"
        text = f"The budget leaves {share} of the simplex ({per_direction:.0%} of its width per free direction)"
        if self.domains_cut:
            tightest = sorted(self.domains_cut, key=lambda d: self.reach[d][1])[:3]
            text += f"; {len(self.domains_cut)} of {len(self.reach)} domains are capped, tightest " + ", ".join(
                f"{d} <= {self.reach[d][1]:.3g}" for d in tightest
            )
        return text + "."


def cut(corpus: Corpus, budget: Budget, seed: int = 0, samples: int = 2000) -> Cut:
    """Share of the simplex that ``budget`` leaves, and how far each weight can still go.

    The share is estimated by multilevel splitting: the limits are tightened step by step, each step keeping
    about a third of the points, so that shares of 1e-30 are found as surely as shares of a half.

    Args:
        corpus, budget: the domains and the limits.
        seed: of the random points.
        samples: points of each step; more make the share more exact.

    Raises:
        ConfigError: the budget names unknown domains.
        InfeasibleBudgetError: no mixture satisfies the budget.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000, "wiki": 1_000}, source="example")
        >>> round(float(cut(corpus, Budget(tokens=8_000, max_epochs=4))), 2)
        0.5
    """
    polytope = Polytope.of(corpus, budget)
    k = len(corpus.names)
    low, high = polytope.reach()
    reach = {d: (float(a), float(b)) for d, a, b in zip(corpus.names, low, high)}
    if polytope.dimension < k - 1:
        return Cut(0.0, -math.inf, 0.0, polytope.dimension, k - 1, reach)
    if k == 1:
        return Cut(1.0, 0.0, 0.0, 0, 0, reach)
    if k == 2:
        return Cut(float(high[0] - low[0]), math.log10(high[0] - low[0]), 0.0, 1, 1, reach)
    # floors alone are exact: the rest of the simplex is a copy shrunk by what they take
    free = 1.0 - float(polytope.low.sum())
    log_fraction = (k - 1) * math.log(free)
    inner = Polytope(
        Constraints(
            polytope.domains,
            np.zeros(k),
            np.minimum((polytope.high - polytope.low) / free, 1.0),
            polytope.matrix,
            (polytope.upper - polytope.matrix @ polytope.low) / free if len(polytope.upper) else polytope.upper,
            (),
            (),
            tuple(f"row {i}" for i in range(len(polytope.upper))),
            (),
        )
    )
    if not len(inner.upper) and (inner.high >= 1 - 1e-12).all():
        return Cut(math.exp(log_fraction), log_fraction / math.log(10), 0.0, k - 1, k - 1, reach)
    log_inner, error = _splitting(inner, np.random.default_rng(seed), max(samples if k <= 100 else samples // 8, 100))
    log_fraction += log_inner
    return Cut(math.exp(log_fraction), log_fraction / math.log(10), error, k - 1, k - 1, reach)


def _relaxed(p: Polytope, level: float) -> Polytope:
    """``p`` with every limit loosened by ``level``; the shared centre stays feasible."""
    copy = object.__new__(Polytope)
    copy.domains, copy.low, copy.matrix = p.domains, p.low, p.matrix
    copy.high = np.where(p.high < 1, np.minimum(p.high + level, 1.0), 1.0)
    copy.upper = p.upper + level
    copy.centre, copy.dimension, copy._basis = p.centre, p.dimension, p._basis
    return copy


def _splitting(p: Polytope, rng: np.random.Generator, samples: int) -> tuple[float, float]:
    """(log volume share, relative standard error) of ``p`` in the simplex."""
    k = len(p.domains)

    def violation(X: Array) -> Array:
        worst = np.where(p.high < 1, X - p.high, -np.inf).max(axis=1)
        if len(p.upper):
            worst = np.maximum(worst, (X @ p.matrix.T - p.upper).max(axis=1))
        return np.asarray(worst)

    X = rng.dirichlet(np.ones(k), size=samples)
    log_share, variance = 0.0, 0.0
    for _ in range(2000):
        v = violation(X)
        inside = float((v <= 0).mean())
        if inside > 0.3:
            return log_share + math.log(inside), math.sqrt(variance + (1 - inside) / (inside * samples))
        level = max(float(np.quantile(v, 0.3)), 0.0)
        alive = np.flatnonzero(v <= level)
        share = len(alive) / samples
        log_share += math.log(share)
        # points share ancestors, so the steps are not independent: double the textbook variance
        variance += 2 * (1 - share) / (share * samples)
        X = _relaxed(p, level).walk(X[rng.choice(alive, samples)], rng, sweeps=8 if k <= 100 else 4)
    return log_share, math.inf

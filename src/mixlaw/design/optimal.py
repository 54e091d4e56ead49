"""Runs that pin down a chosen law best: D-optimal for its parameters, I-optimal for its predictions.

Sources: Fedorov 1972 (exchange algorithm); Atkinson, Donev and Tobias 2007, chapters 10-12; for laws that are not
linear in their parameters the design is locally optimal at the fitted ones (Chernoff 1953).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Schedule
from mixlaw.data.observations import Observations
from mixlaw.design.polytope import Array, apart_rows, begin, finish
from mixlaw.design.samplers.maximin import spread
from mixlaw.errors import ConfigError, did_you_mean

__all__ = ["FEATURES", "criterion_value", "exchange", "parameter_gradient", "propose_optimal"]

FEATURES = ("linear", "log", "quadratic")
"""Families that need no fit: ``r``; ``1, log(r + eps)``; ``r`` and products of pairs (Scheffe)."""

DISTINCT = 1e-3
"""A weight of a candidate that is this close to its floor is put on it."""


def _basis(X: Array, family: str, eps: float) -> Array:
    """(1, n, P) derivative of a family that is linear in its parameters."""
    if family == "linear":  # the constant is the sum of the weights
        return X[None]
    if family == "log":
        return np.hstack([np.ones((len(X), 1)), np.log(X + eps)])[None]
    i, j = np.triu_indices(X.shape[1], 1)
    return np.hstack([X, X[:, i] * X[:, j]])[None]


def parameter_gradient(law: Any, X: npt.ArrayLike) -> Array:
    """d prediction_t / d parameter (T, n, P) of a fitted law, at mixtures X (n, K).

    The parameters are the law's own, so that what is D-optimal is so for them: :meth:`mixlaw.laws.core.base.Law.
    parameter_slopes`. In which coordinates they are counted (a number or its logarithm) does not matter to a
    determinant.

    Raises:
        ConfigError: the law declares no parameters (a Gaussian process or trees): use a family name instead.

    Example:
        >>> from mixlaw.laws import M4
        >>> R = np.random.default_rng(0).dirichlet([1, 1], 12)
        >>> law = M4().fit(R, 2 + np.exp(-2 * R[:, 0]))
        >>> parameter_gradient(law, R).shape  # targets, mixtures, parameters: c, k and two rates
        (1, 12, 4)
    """
    slopes = law.parameter_slopes(np.atleast_2d(np.asarray(X, dtype=float)))
    if slopes is None:
        raise ConfigError(
            f"{type(law).__name__} declares no parameters to design for. Give a parametric law, or one of the "
            f"families {', '.join(FEATURES)}."
        )
    return np.asarray(slopes, dtype=float)


def _normalised(G: Array) -> tuple[Array, float]:
    """Columns in units of their spread, so that one small ridge suits all; directions nobody can see are dropped."""
    parts, rank = [], 1
    for g in G:
        left, singular, _ = np.linalg.svd(g, full_matrices=False)
        keep = singular > 1e-7 * max(singular[0], 1e-300)
        rank = max(rank, int(keep.sum()))
        parts.append(np.where(keep, left, 0.0) * np.sqrt(len(g)))
    size = min(G.shape[1:])
    return np.stack([p[:, :size] for p in parts])[:, :, :rank], 1e-4


def exchange(
    G: npt.ArrayLike,
    num: int,
    criterion: str = "D",
    given: npt.ArrayLike | None = None,
    seed: int = 0,
    rounds: int = 10,
) -> npt.NDArray[np.int64]:
    """Indices of ``num`` candidates by Fedorov's exchange, starting from a greedy choice.

    Args:
        G: (N, P) or (T, N, P) derivatives at the candidates, of P parameters (and T targets).
        num: how many to choose.
        rounds: largest number of passes over the chosen ones; it ends when a pass changes nothing.
        criterion: ``"D"``: largest determinant of the information, summed over targets in the logarithm;
            ``"I"``: smallest variance of predictions, averaged over the candidates.
        given: (n, P) or (T, n, P) derivatives at runs that exist already.

    Raises:
        ConfigError: a criterion other than D and I.

    Example:
        >>> G = np.column_stack([np.ones(5), [0.0, 0.25, 0.5, 0.75, 1.0]])  # a straight line's two parameters
        >>> sorted(exchange(G, 2).tolist())  # its ends tell most
        [0, 4]
    """
    if criterion not in ("D", "I"):
        raise ConfigError(f"Unknown criterion {criterion!r}. Use 'D' (parameters) or 'I' (predictions).")
    G = np.asarray(G, dtype=float)
    G = G[None] if G.ndim == 2 else G
    extra = np.empty((len(G), 0, G.shape[2])) if given is None else np.asarray(given, dtype=float)
    extra = extra[None] if extra.ndim == 2 else extra
    candidates = G.shape[1]
    both, ridge = _normalised(np.concatenate([G, extra], axis=1))
    G, extra = both[:, :candidates], both[:, candidates:]
    region = _Region(G, np.einsum("tnp,tnq->tpq", G, G) / candidates, criterion)
    information = ridge * np.eye(G.shape[2])[None] + np.einsum("tnp,tnq->tpq", extra, extra)
    order = np.random.default_rng(seed).permutation(candidates)  # ties go to a random candidate
    return np.array(_swapped(region, information, _greedy(region, information, num, order), order, rounds), np.int64)


@dataclass(frozen=True)
class _Region:
    """What candidates are worth under a criterion, given the inverse information (T, P, P) of those chosen so far.

    Args:
        G: (T, N, P) derivatives at the candidates.
        moments: (T, P, P) their moment matrix: what I-optimality averages over.
        criterion: "D" or "I".
    """

    G: Array
    moments: Array
    criterion: str

    def gain(self, inverse: Array) -> Array:
        """(N,) by how much each candidate would lower :meth:`loss`."""
        H = self.G @ inverse
        d = np.einsum("tnp,tnp->tn", H, self.G)  # variance at each candidate
        if self.criterion == "D":
            return np.asarray(np.log1p(d).sum(axis=0))
        drop = np.einsum("tnp,tpq,tnq->tn", H, self.moments, H) / (1 + d)
        now = np.einsum("tpq,tqp->t", inverse, self.moments)
        return np.asarray((drop / np.maximum(now, 1e-300)[:, None]).sum(axis=0))

    def update(self, inverse: Array, x: int, sign: float) -> Array:
        """The inverse information with candidate x added (sign 1) or taken out (sign -1)."""
        h = np.einsum("tpq,tq->tp", inverse, self.G[:, x])
        d = 1 + sign * np.einsum("tp,tp->t", self.G[:, x], h)
        return np.asarray(inverse - sign * h[:, :, None] * h[:, None, :] / d[:, None, None])

    def loss(self, inverse: Array) -> float:
        """The criterion, smaller is better."""
        if self.criterion == "D":
            return float(np.linalg.slogdet(inverse)[1].sum())
        return float(np.log(np.einsum("tpq,tqp->t", inverse, self.moments)).sum())


def _inverse(information: Array) -> Array:
    return np.asarray(np.linalg.inv(information), dtype=float)


def _greedy(region: _Region, information: Array, num: int, order: npt.NDArray[np.int64]) -> list[int]:
    """Candidates picked in turn, each the one that gains most given those before it."""
    inverse, free = _inverse(information), np.ones(len(order), dtype=bool)
    chosen: list[int] = []
    for _ in range(min(num, len(order))):
        score = np.where(free, region.gain(inverse), -np.inf)[order]
        best = int(order[np.argmax(score)])
        chosen.append(best)
        free[best] = False
        inverse = region.update(inverse, best, 1.0)
    return chosen


def _swapped(
    region: _Region, information: Array, chosen: list[int], order: npt.NDArray[np.int64], rounds: int
) -> list[int]:
    """The choice after each of its members was exchanged for a better candidate, until none is better."""
    inverse, free = _inverse(information), np.ones(len(order), dtype=bool)
    for x in chosen:
        inverse, free[x] = region.update(inverse, x, 1.0), False
    current = region.loss(inverse)
    for _ in range(rounds):
        improved = False
        for position, old in enumerate(list(chosen)):
            without = region.update(inverse, old, -1.0)
            free[old] = True
            score = np.where(free, region.gain(without), -np.inf)[order]
            new = int(order[np.argmax(score)])
            trial = region.update(without, new, 1.0)
            value = region.loss(trial)
            if new != old and value < current - 1e-9:
                chosen[position], inverse, current, improved = new, trial, value, True
            free[chosen[position]] = False
        # rank-one updates lose digits; start each round from the matrix itself
        picked = region.G[:, chosen]
        inverse = _inverse(information + np.einsum("tnp,tnq->tpq", picked, picked))
        if not improved:
            break
    return chosen


def criterion_value(G: npt.ArrayLike, chosen: npt.ArrayLike, criterion: str = "D") -> float:
    """How good a design is: mean log determinant of the information per parameter ("D", larger is better), or mean
    variance of predictions over the candidates in units of the noise variance ("I", smaller is better).

    Args:
        G: (N, P) or (T, N, P) derivatives at the candidates.
        chosen: (num,) indices of the chosen ones.
        criterion: ``"D"`` or ``"I"``.

    Example:
        >>> G = np.column_stack([np.ones(5), [0.0, 0.25, 0.5, 0.75, 1.0]])
        >>> criterion_value(G, [0, 4]) > criterion_value(G, [1, 3])
        True
    """
    G = np.asarray(G, dtype=float)
    G = G[None] if G.ndim == 2 else G
    normal, ridge = _normalised(G)
    picked = normal[:, np.asarray(chosen, dtype=np.int64)]
    information = ridge * np.eye(normal.shape[2])[None] + np.einsum("tnp,tnq->tpq", picked, picked)
    if criterion == "D":
        return float(np.linalg.slogdet(information)[1].mean() / normal.shape[2])
    target = np.einsum("tnp,tnq->tpq", normal, normal) / normal.shape[1]
    return float(np.einsum("tpq,tqp->t", np.linalg.inv(information), target).mean())


def propose_optimal(
    corpus: Corpus,
    budget: Budget,
    num: int,
    observations: Observations | None = None,
    seed: int = 0,
    *,
    criterion: str = "D",
    family: str = "log",
    law: Any = None,
    eps: float = 0.01,
    candidates: int = 600,
) -> list[Schedule]:
    """The ``num`` mixtures that, with those observed, tell most about a law.

    Args:
        criterion: ``"D"`` (parameters) or ``"I"`` (predictions over the feasible set).
        family: one of :data:`FEATURES`, used where no ``law`` is given.
        law: a fitted parametric law (M4, effective tokens, log-linear, ...): the design is optimal for it at its
            fitted parameters, over all its targets.
        eps: of the ``log`` family; about the smallest weight that matters.
        candidates: mixtures to choose from.

    Raises:
        ConfigError: num <= 0, unknown criterion or family, or a law without parameters.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: observations over other domains, or a law fitted on other domains.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> corpus = Corpus.declared({"web": 9_000, "wiki": 1_000}, source="example")
        >>> [round(s.mixture["wiki"], 2) for s in propose_optimal(corpus, Budget(tokens=8_000, max_epochs=4), 2)]
        [0.0, 0.5]
    """
    if family not in FEATURES:
        raise ConfigError(f"Unknown family {family!r}.{did_you_mean(family, FEATURES)}")
    if criterion not in ("D", "I"):
        raise ConfigError(f"Unknown criterion {criterion!r}. Use 'D' (parameters) or 'I' (predictions).")
    start = begin(corpus, budget, num, observations, seed)
    pool = spread(start.polytope, max(candidates, 3 * num), start.rng)
    # corners and edges first: of a corner and its near copies it is the corner that stays
    pool = start.polytope.snap_to_bounds(pool[np.argsort(-(pool**2).sum(axis=1), kind="stable")], DISTINCT)
    # the best of two corners is the same corner twice: near copies of it must not pass for other mixtures
    pool = pool[apart_rows(pool, num, start.observed)]
    if len(pool) <= num:
        return finish(start, pool)
    both = np.vstack([pool, start.observed])
    G = _basis(both, family, eps) if law is None else _law_gradient(law, both, corpus)
    chosen = exchange(G[:, : len(pool)], num, criterion, G[:, len(pool) :], seed)
    return finish(start, pool[chosen])


def _law_gradient(law: Any, X: Array, corpus: Corpus) -> Array:
    names = [str(n) for n in law.feature_names_in_]
    if set(names) == set(corpus.names):
        X = X[:, [corpus.names.index(n) for n in names]]
    elif len(names) != len(corpus.names) or any(not n.startswith("x") for n in names):
        raise ConfigError(f"The law was fitted on {names}, the corpus has {list(corpus.names)}. They must agree.")
    return parameter_gradient(law, X)

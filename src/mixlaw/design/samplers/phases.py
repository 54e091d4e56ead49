"""Schedules of several mixtures in a row, whose average keeps to the budget.

Epochs, caps and floors limit what a run draws in all, so they bind the token-weighted average of the phases; within
one phase any mixture may run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixlaw.data.budget import Budget, Constraints
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Phase, Schedule
from mixlaw.data.observations import Observations
from mixlaw.design.polytope import Array, Polytope, apart_rows, begin, unique_rows
from mixlaw.errors import ConfigError

__all__ = ["propose"]


def propose(
    corpus: Corpus,
    budget: Budget,
    num: int,
    observations: Observations | None = None,
    seed: int = 0,
    *,
    fractions: Sequence[float] = (0.5, 0.5),
    temperature: float = 0.5,
    strength: float = 5.0,
    reversed_pairs: bool = True,
) -> list[Schedule]:
    """Multi-phase schedules: Dirichlet mixtures per phase, jointly conditioned on the budget.

    Args:
        fractions: of the token budget, one per phase, positive, summing to 1.
        temperature, strength: each phase is Dirichlet(strength x tempered token shares).
        reversed_pairs: with equal fractions, follow each schedule by the same phases in reverse order. Both have
            the same average mixture, so their difference is the effect of order and nothing else.

    Raises:
        ConfigError: num <= 0 or wrong fractions.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: observations over other domains.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000, "wiki": 1_000}, source="example")
        >>> a, b = propose(corpus, Budget(tokens=10_000, max_epochs=2), 2)
        >>> a.mixture.weights == b.mixture.weights and a.phases[0].mixture == b.phases[1].mixture
        True
    """
    f = np.array([float(x) for x in fractions])
    if not len(f) or (f <= 0).any() or abs(f.sum() - 1) > 1e-9:
        raise ConfigError(f"Phase fractions must be positive and sum to 1, got {tuple(fractions)}.")
    if not strength > 0 or temperature < 0:
        raise ConfigError(f"strength must be > 0 and temperature >= 0, got {strength} and {temperature}.")
    start = begin(corpus, budget, num, observations, seed)
    joint = _joint(start.polytope, f)
    prior = corpus.natural.array() ** temperature
    alpha = np.tile(np.maximum(strength * prior / prior.sum(), 1e-3), len(f))
    pairs = reversed_pairs and len(f) > 1 and bool((np.abs(f - f[0]) < 1e-12).all())
    out: list[Schedule] = []
    for _ in range(10):
        draws = joint.walk(np.repeat(joint.centre[None], num, axis=0), start.rng, alpha)
        draws = draws[unique_rows(draws)]
        for row in draws:
            parts = row.reshape(len(f), -1) / f[:, None]
            parts = np.where(parts < 1e-12, 0.0, parts)
            parts /= parts.sum(axis=1, keepdims=True)
            if not start.polytope.contains(f @ parts)[0]:
                continue
            mixtures = [Mixture.from_array(corpus.names, p) for p in parts]
            for order in (mixtures, mixtures[::-1]) if pairs else (mixtures,):
                schedule = Schedule(tuple(Phase(float(x), m) for x, m in zip(f, order)))
                if schedule not in out:
                    out.append(schedule)
        rows = np.array([np.concatenate([p.mixture.array() for p in s.phases]) for s in out]).reshape(len(out), -1)
        keep = apart_rows(rows, num)
        if len(keep) >= num:
            return [out[i] for i in keep[:num]]
        if joint.dimension == 0:
            break
    raise ConfigError(
        f"{num} different schedules of {len(f)} phases were asked for, but only {len(out)} were found under this "
        f"budget. Ask for fewer, or loosen the limits."
    )


def _joint(single: Polytope, fractions: Array) -> Polytope:
    """The set of (f_1 r_1, ..., f_P r_P) whose phases are mixtures and whose sum is feasible."""
    k, p = len(single.domains), len(fractions)
    average = np.tile(np.eye(k), p)  # (K, P K): share of each domain in the whole run
    phase = np.kron(np.eye(p), np.ones(k))  # (P, P K): weight of each phase
    rows = [phase, -phase, np.tile(single.matrix, p) if len(single.upper) else np.empty((0, k * p))]
    upper = [fractions, -fractions, single.upper]
    capped, floored = single.high < 1, single.low > 0
    rows += [average[capped], -average[floored]]
    upper += [single.high[capped], -single.low[floored]]
    matrix, ends = np.vstack(rows), np.concatenate(upper)
    names = tuple(f"{d}@{i + 1}" for i in range(p) for d in single.domains)
    return Polytope(
        Constraints(
            names,
            np.zeros(k * p),
            np.repeat(fractions, k),
            matrix,
            ends,
            names,
            names,
            tuple(f"row {i}" for i in range(len(ends))),
            ("simplex",) * (k * p),
        )
    )

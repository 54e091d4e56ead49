"""Random mixtures around the token counts: the swarm of RegMix.

Source: RegMix, Liu et al. 2024 (arXiv 2407.01492), ``mixture_config/synthesize_mixture.py``.
"""

from __future__ import annotations

import numpy as np

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Schedule
from mixlaw.data.observations import Observations
from mixlaw.design.polytope import apart_rows, begin, finish, unique_rows
from mixlaw.errors import ConfigError

__all__ = ["propose"]


def propose(
    corpus: Corpus,
    budget: Budget,
    num: int,
    observations: Observations | None = None,
    seed: int = 0,
    *,
    temperature: float = 0.5,
    strengths: tuple[float, float] = (0.1, 5.0),
    num_strengths: int = 15,
    smallest: float = 2e-4,
    max_ratio: float | None = None,
) -> list[Schedule]:
    """Dirichlet draws around the tempered token shares, at several strengths, inside the budget.

    The prior is ``share ** temperature``, renormalised. For each of ``num_strengths`` strengths, evenly spaced in
    the logarithm over ``strengths``, equally many draws are made from Dirichlet(strength x prior): a small
    strength gives nearly pure domains, a large one mixtures near the prior. Fewer draws than strengths take
    strengths spread over the whole of that range, a single one its middle. Weights below ``smallest`` become zero.
    Draws outside the budget are rejected; where nearly all would be, the same distribution restricted to the budget
    is sampled by Gibbs steps.

    Args:
        temperature: 0 = equal prior, 1 = token shares, RegMix 0.5.
        strengths: smallest and largest strength.
        max_ratio: also reject weights above ``max_ratio`` x token share (RegMix 15); None leaves that to the
            budget's ``max_epochs``, which says the same of the run the mixture is for.

    Raises:
        ConfigError: num <= 0, or an option out of range.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: observations over other domains.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 1_000_000}, source="example")
        >>> len(propose(corpus, Budget(tokens="10M"), 8))
        8
    """
    if not 0 < strengths[0] <= strengths[1] or num_strengths < 1 or not 0 <= smallest < 0.5 or temperature < 0:
        raise ConfigError(
            f"Dirichlet sampler: strengths must be 0 < low <= high (got {strengths}), num_strengths >= 1 (got "
            f"{num_strengths}), 0 <= smallest < 0.5 (got {smallest}) and temperature >= 0 (got {temperature})."
        )
    start = begin(corpus, budget, num, observations, seed)
    share = corpus.natural.array()
    prior = share**temperature
    prior = prior / prior.sum()
    grid = np.geomspace(strengths[0], strengths[1], num_strengths)
    if num < num_strengths:  # the first of the grid alone would be nearly pure domains
        middle = (num_strengths - 1) / 2
        grid = grid[np.rint(np.linspace(0, num_strengths - 1, num) if num > 1 else [middle]).astype(int)]
    each = -(-4 * num // len(grid))  # more than needed: zeroed and repeated draws fall away
    swarm = []
    for strength in grid:
        draw = start.polytope.sample(each, start.rng, np.maximum(strength * prior, 1e-6))
        small = np.where(draw < smallest, 0.0, draw)
        small /= small.sum(axis=1, keepdims=True)
        # zeroing must not break a floor or push a neighbour over its cap
        draw = np.where(start.polytope.contains(small)[:, None], small, draw)
        if max_ratio is not None:
            draw = draw[(draw <= np.minimum(1.0, max_ratio * share) + 1e-12).all(axis=1)]
        swarm.append(draw[unique_rows(draw)])
    # one of each strength in turn, so that every prefix of the design holds all strengths
    rows = [s[i] for i in range(each) for s in swarm if i < len(s)]
    pool = np.array(rows).reshape(-1, len(share))
    keep = apart_rows(pool, num, start.observed, most=num)
    return finish(start, start.rng.permutation(pool[keep], axis=0), np.maximum(prior, 1e-6))

"""Domains that are cells of a tree (source > topic > quality): vary each level on its own.

A flat Dirichlet over hundreds of cells moves them independently and hardly ever moves a whole source. Here shares are
drawn at every node of the tree (a Dirichlet tree; Minka 1999), so sources, topics and qualities all vary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Schedule
from mixlaw.data.observations import Observations
from mixlaw.design.polytope import Array, begin, finish, unique_rows
from mixlaw.errors import ConfigError, did_you_mean

__all__ = ["paths_of", "propose"]


def paths_of(
    corpus: Corpus, levels: Mapping[str, Sequence[str]] | None = None, separator: str = ":"
) -> dict[str, tuple[str, ...]]:
    """Path of each domain in the tree: as given, or its name split at ``separator``.

    Raises:
        ConfigError: ``levels`` lacks a domain or names another one, or two domains have the same path.

    Example:
        >>> corpus = Corpus.declared({"web:news:high": 10, "web:news:low": 20, "code": 5}, source="example")
        >>> paths_of(corpus)["web:news:high"]
        ('web', 'news', 'high')
    """
    if levels is None:
        return {name: tuple(name.split(separator)) for name in corpus.names}
    for name in levels:
        if name not in corpus.names:
            raise ConfigError(f"levels names {name!r}, which is not a domain.{did_you_mean(name, corpus.names)}")
    missing = [n for n in corpus.names if n not in levels]
    if missing:
        raise ConfigError(f"levels lacks the domains {missing[:5]}; give every domain its path.")
    paths = {n: tuple(map(str, levels[n])) for n in corpus.names}
    clash = [n for n in paths if not paths[n] or list(paths.values()).count(paths[n]) > 1]
    if clash:
        raise ConfigError(f"Paths must be non-empty and differ between domains; look at {clash[:5]}.")
    return paths


def propose(
    corpus: Corpus,
    budget: Budget,
    num: int,
    observations: Observations | None = None,
    seed: int = 0,
    *,
    levels: Mapping[str, Sequence[str]] | None = None,
    separator: str = ":",
    temperature: float = 0.5,
    strength: tuple[float, float] = (0.5, 8.0),
) -> list[Schedule]:
    """Mixtures drawn down the tree: shares of sources, then of topics in each source, then of qualities in each topic.

    At every node the children's shares are Dirichlet around their tempered token shares; how concentrated is drawn
    anew for every mixture and level (evenly in the logarithm over ``strength``), so some mixtures change sources
    and leave qualities alone, and others do the opposite.

    Args:
        levels: ``{domain: (source, topic, quality)}``, paths of any length; default: names split at ``separator``.
        temperature: exponent on token shares at every node; 1 keeps them, 0 makes children equal.

    Raises:
        ConfigError: num <= 0, or ``levels`` does not fit the corpus.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: observations over other domains.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> corpus = Corpus.declared({"web:news": 5_000, "web:blogs": 4_000, "code": 1_000}, source="example")
        >>> len(propose(corpus, Budget(tokens=2_000, max_epochs=4), 3, seed=0))
        3
    """
    if not 0 < strength[0] <= strength[1] or temperature < 0:
        raise ConfigError(f"strength must be 0 < low <= high and temperature >= 0, got {strength}, {temperature}.")
    start = begin(corpus, budget, num, observations, seed)
    paths = list(paths_of(corpus, levels, separator).values())
    tokens = np.array([d.unique_tokens for d in corpus.domains], dtype=float)
    kept: list[Array] = []
    have = 0
    for _ in range(20):
        draw = _tree(paths, tokens, max(4 * num, 64), temperature, strength, start.rng)
        kept.append(draw[start.polytope.contains(draw)])
        have += len(kept[-1])
        if have >= num:
            break
    pool = np.vstack(kept)
    if have < num:
        # tight budget: the nearest feasible mixtures keep each draw's direction; what coincides is drawn at random
        pool = np.vstack([pool, start.polytope.project(draw)])
    return finish(start, pool[unique_rows(pool, start.observed)])


def _tree(
    paths: Sequence[tuple[str, ...]],
    tokens: Array,
    num: int,
    temperature: float,
    strength: tuple[float, float],
    rng: np.random.Generator,
) -> Array:
    depth = max(len(p) for p in paths)
    low, high = np.log(strength[0]), np.log(strength[1])
    concentration = np.exp(rng.uniform(low, high, size=(num, depth)))
    out = np.zeros((num, len(paths)))

    def descend(cells: list[int], level: int, share: Array) -> None:
        if len(cells) == 1:
            out[:, cells[0]] = share
            return
        children: dict[str, list[int]] = {}
        for c in cells:  # a domain whose path ends here is a child of its own
            key = paths[c][level] if level < len(paths[c]) else f"\x00{c}"
            children.setdefault(key, []).append(c)
        if len(children) == 1 and level < depth:
            descend(cells, level + 1, share)
            return
        groups = list(children.values())
        prior = np.array([tokens[g].sum() for g in groups]) ** temperature
        prior = prior / prior.sum() * len(groups)
        gammas = rng.standard_gamma(concentration[:, [min(level, depth - 1)]] * prior[None])
        gammas = np.maximum(gammas, 1e-300)
        parts = gammas / gammas.sum(axis=1, keepdims=True)
        for g, group in enumerate(groups):
            descend(group, level + 1, share * parts[:, g])

    descend(list(range(len(paths))), 0, np.ones(num))
    total: Array = out / out.sum(axis=1, keepdims=True)
    return total

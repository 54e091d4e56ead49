"""Mixtures on a grid, counted and drawn without listing them.

Seventeen domains in sixteenths have hundreds of millions of mixtures; the number of ways to complete a partial
mixture depends only on what is left, so a table over (domain, units left) counts them and draws uniformly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Grid"]


class Grid:
    """All ways to choose one level per domain so that the units sum to ``total``.

    Args:
        levels: per domain the allowed whole numbers of units.
        weights: per domain the weight of each level; a mixture's weight is their product.
        total: units of the whole.
        rest: if given, one more domain takes what is left, provided that is at most ``rest`` units.

    Example:
        >>> Grid([[0, 1, 2], [0, 1, 2]], total=2).count
        3.0
    """

    def __init__(
        self,
        levels: Sequence[Sequence[int]],
        total: int,
        weights: Sequence[Sequence[float]] | None = None,
        rest: int | None = None,
    ) -> None:
        self.levels = [np.asarray(x, dtype=np.int64) for x in levels]
        self.weights = [
            np.ones(len(x)) if weights is None else np.asarray(weights[j], dtype=float)
            for j, x in enumerate(self.levels)
        ]
        self.total = int(total)
        # ways[j][u]: weighted number of ways for domains j.. to use exactly u units
        self.ways = np.zeros((len(self.levels) + 1, self.total + 1))
        self.rest = rest
        self.ways[-1, : 1 if rest is None else min(rest, self.total) + 1] = 1.0
        plain = self.ways.copy()
        for j in range(len(self.levels) - 1, -1, -1):
            for level, weight in zip(self.levels[j], self.weights[j]):
                if level <= self.total:
                    self.ways[j, level:] += weight * self.ways[j + 1, : self.total + 1 - level]
                    plain[j, level:] += plain[j + 1, : self.total + 1 - level]
        self.count = float(plain[0, self.total])
        """Number of mixtures (exact below 2**53)."""

    def all(self) -> npt.NDArray[np.int64]:
        """Every mixture (count, K), in lexicographic order of levels as given."""
        partial = np.zeros((1, 0), dtype=np.int64)
        left = np.array([self.total])
        for j, levels in enumerate(self.levels):
            index, choice = np.nonzero(left[:, None] >= levels[None])
            remaining = left[index] - levels[choice]
            ok = self.ways[j + 1, remaining] > 0
            index, choice, left = index[ok], choice[ok], remaining[ok]
            partial = np.hstack([partial[index], levels[choice][:, None]])
        ok = self.ways[-1, left] > 0
        return partial[ok] if self.rest is None else np.hstack([partial[ok], left[ok][:, None]])

    def draw(self, num: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """``num`` independent mixtures (num, K) with probability proportional to their weight."""
        out = np.zeros((num, len(self.levels)), dtype=np.int64)
        left = np.full(num, self.total)
        for j, (levels, weights) in enumerate(zip(self.levels, self.weights)):
            remaining = left[:, None] - levels[None]
            chance = np.where(remaining >= 0, weights * self.ways[j + 1, np.maximum(remaining, 0)], 0.0)
            edges = np.cumsum(chance, axis=1)
            pick = (rng.random(num)[:, None] * edges[:, -1:] >= edges).sum(axis=1)
            out[:, j] = levels[np.minimum(pick, len(levels) - 1)]
            left = left - out[:, j]
        return out if self.rest is None else np.hstack([out, left[:, None]])

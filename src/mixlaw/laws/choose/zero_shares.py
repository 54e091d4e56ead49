"""Leaving a domain out where no run did: how far the last step to a share of 0 lies beyond what was tried.

Losses may rise steeply close to a share of 0, where runs of random mixtures never are, and every family predicts
smoothly through such a cliff: they disagree there by less than they may all be wrong. How steep it is cannot be known;
how long the step is beside those that were tried can. Mixtures are compared by the roots of their shares (Hellinger
distance), in which the step from 1% to none is a third of that from 16% to 1%.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixlaw.kit.arrays import Array

__all__ = ["ZeroShares"]

_LESS = 0.5
"""A share is untried below this part of the smallest that was run."""


@dataclass(frozen=True)
class ZeroShares:
    """The shares that were run; make it with :meth:`of`.

    Args:
        least: (K,) smallest share of each domain in any run. ``middle``: (K,) the median.

    Example:
        >>> tried = ZeroShares.of(np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]))
        >>> tried.untried(np.array([[0.0, 1.0], [0.5, 0.5]])).tolist()  # no run was without the first domain
        [[True, False], [False, False]]
    """

    least: Array
    middle: Array

    @classmethod
    def of(cls, shares: Array) -> ZeroShares:
        """Of the runs' shares (n, K)."""
        return cls(shares.min(axis=0), np.median(shares, axis=0))

    def untried(self, R: Array) -> Array:
        """(m, K) whether mixtures R (m, K) have less of a domain than half of the smallest share that was run."""
        return np.asarray((_LESS * self.least > R) & (self.least > 1e-6) & (self.middle > 1.01 * self.least))

    def reach(self, R: Array) -> Array:
        """(m,) how far mixtures R (m, K) lie beyond what was tried, by leaving domains out: the sum, over the domains
        left out untried, of the squared length of the step from the smallest share that was run to the mixture's,
        beside that from the median share to the smallest. A longer step counts as one as long: where shares hardly
        varied, what lies so far off is far from the runs in every way, and the families' disagreement says so."""
        least, middle, here = (np.sqrt(np.maximum(v, 0.0)) for v in (self.least, self.middle, R))
        length = (least - here) / np.where(middle > least, middle - least, np.inf)
        return np.asarray((np.where(self.untried(R), np.minimum(length, 1.0), 0.0) ** 2).sum(axis=1))

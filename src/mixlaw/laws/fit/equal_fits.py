"""Optima that runs cannot tell apart: other ridges, priors and valleys that held-out and fitted runs like as well.

A ridge is chosen by the error of held-out runs, and how runs are dealt to folds is chance. Where a law explodes away
from its runs, as an exponential does, two strengths whose held-out errors differ by less than chance can predict losses
that are nats apart. The law keeps one of these fits; its interval must hold all of them.

Legend: T targets, n runs, G strengths of the ridge that were tried, S starts, P parameters, A fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.kit.arrays import Array
from mixlaw.laws.core.replicates import chi2_quantile
from mixlaw.laws.fit.engine import BatchFit

__all__ = ["EqualFits", "as_good", "own_share"]

_EACH = 8  # other fits of a target that are kept


def own_share(n: int) -> float:
    """How much a target's own held-out errors of n runs count beside those of all targets, when a ridge is chosen.

    Example:
        >>> own_share(64)
        0.5
    """
    return n / (n + 64.0)


def as_good(squares: Array, weight: Array, choice: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """(G, T) strengths whose held-out error exceeds the chosen one's by less than the standard error of that.

    Errors are compared as they are when a ridge is chosen: logarithms of mean squares, a target's own and everyone's.

    Args:
        squares: (G, n, T) squared held-out errors. weight: (n, T) of the runs, 0 where not measured.
        choice: (T,) the strength chosen for each target.

    Example:
        >>> e = np.random.default_rng(0).normal(size=(64, 1))
        >>> as_good(np.stack([e, 1.01 * e, 3 * e]) ** 2, np.ones((64, 1)), np.array([0])).ravel().tolist()
        [True, False, False]
        >>> other = np.random.default_rng(1).normal(size=(64, 1))  # as large, but not on the same runs
        >>> as_good(np.stack([e, other]) ** 2, np.ones((64, 1)), np.array([0])).ravel().tolist()
        [True, True]
    """
    _, n, T = squares.shape
    share, total = own_share(n), np.maximum(weight.sum(axis=0), 1e-300)
    mean = np.maximum((weight * squares).sum(axis=1) / total, 1e-300)  # (G, T)
    each = n * weight * squares / (total * mean[:, None])  # what a run adds to the logarithm, on average 1
    score, pull = (share * v + (1 - share) * v.mean(axis=-1, keepdims=True) for v in (np.log(mean), each))
    at = np.arange(T)
    behind = score - score[choice, at]
    spread = (pull - pull[choice, :, at].T).std(axis=1) / np.sqrt(n)
    return np.asarray(behind <= spread)


@dataclass(frozen=True)
class EqualFits:
    """The other fits of each target, padded with the one that was kept; made by :meth:`of`.

    Args:
        theta: (A, T, P). linear: (A, T, L). count: (T,) how many optima of each target fit equally well, the kept one
            included.

    Example:
        >>> fits = EqualFits(np.zeros((2, 1, 3)), np.zeros((2, 1, 2)), np.array([3]))
        >>> EqualFits.from_dict(fits.to_dict()).count.tolist()
        [3]
    """

    theta: Array
    linear: Array
    count: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, fits: list[tuple[BatchFit, npt.NDArray[np.bool_]]], theta: Array, linear: Array, free: int, rows: Array
    ) -> EqualFits:
        """Gather the distinct optima.

        Args:
            fits: of all targets from S starts, and (T,) whether they count for a target: one for each strength.
            theta: (T, P), linear: (T, L) the optimum that was kept.
            free: number of parameters of a target. rows: (T,) runs that measured it.
        """
        T = len(theta)
        found: list[list[tuple[Array, Array]]] = [[] for _ in range(T)]
        for fit, counts in fits:
            best = fit.objective.min(axis=1)
            noise = 2 * best / np.maximum(rows - free, 1)
            limit = best + 0.5 * noise * chi2_quantile(0.95, 1) + 1e-9 * best
            for t in np.flatnonzero(counts).tolist():
                for s in np.flatnonzero(fit.converged[t] & (fit.objective[t] <= limit[t])):
                    one = fit.theta[t, s], fit.linear[t, s]
                    known = [(theta[t], linear[t]), *found[t]]
                    if not any(_same(one, other) for other in known) and len(found[t]) < _EACH:
                        found[t].append(one)
        most = max(map(len, found), default=0)
        out = np.repeat(theta[None], most, axis=0), np.repeat(linear[None], most, axis=0)
        for t, several in enumerate(found):
            for a, (p, c) in enumerate(several):
                out[0][a, t], out[1][a, t] = p, c
        return cls(*out, np.array([1 + len(several) for several in found], dtype=np.int64))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for the state of a law."""
        return {"theta": self.theta.tolist(), "linear": self.linear.tolist(), "count": self.count.tolist()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EqualFits:
        """Inverse of :meth:`to_dict`."""
        return cls(np.asarray(data["theta"]), np.asarray(data["linear"]), np.asarray(data["count"]))


def _same(one: tuple[Array, Array], other: tuple[Array, Array]) -> bool:
    return all(np.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(one, other, strict=True))

"""Seed noise: how far runs of one and the same mixture lie apart, and whether that differs between mixtures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.laws.core.folds import Ints, replicate_groups

__all__ = ["Noise", "SeedNoise", "chi2_quantile", "pooled_noise", "replicate_noise"]


@dataclass(frozen=True)
class SeedNoise:
    """Seed noise of one target: standard deviation ``sd`` in its unit, pooled over replicates (NaN without any), and
    the degrees of freedom ``dof`` behind it.

    Example:
        >>> SeedNoise(sd=0.02, dof=8).sd
        0.02
    """

    sd: float
    dof: int


def pooled_noise(groups: Ints, values: Array) -> SeedNoise:
    """Seed noise of ``values`` (n,), from those of one group in ``groups`` (n,): runs that differ by their seed alone.

    Args:
        groups: as :func:`mixlaw.laws.core.folds.replicate_groups` gives them, or by any other rule of what is the same.
        values: losses, NaN where not measured.

    Example:
        >>> found = pooled_noise(np.array([0, 0, 1, 1, 2]), np.array([1.0, 1.2, 5.0, 5.2, 3.0]))
        >>> round(found.sd, 6), found.dof
        (0.141421, 2)
    """
    total, dof = 0.0, 0
    known = np.isfinite(values)
    for group in np.unique(groups[known]):
        same = values[known & (groups == group)]
        total, dof = total + float(((same - same.mean()) ** 2).sum()), dof + len(same) - 1
    return SeedNoise(math.sqrt(total / dof) if dof else math.nan, dof)


@dataclass(frozen=True)
class Noise:
    """Seed noise of all targets, and how it varies between mixtures; :class:`SeedNoise` is one target's pooled one.

    ``sd`` (T,) pooled (NaN without replicates), ``dof`` its degrees of freedom, ``varies`` (T,) whether Bartlett's
    test finds it different between mixtures (5%), ``mixtures`` (G, K) the replicated ones and ``group_sd`` (G, T)
    their own sds, shrunk towards the pooled one as far as the test's evidence allows.

    Example:
        >>> R = np.repeat([[0.5, 0.5], [0.2, 0.8]], 3, axis=0)  # two mixtures, three seeds each
        >>> noise = replicate_noise(R, np.array([[2.0], [2.1], [2.2], [3.0], [3.1], [3.2]]))
        >>> noise.sd.round(3).tolist(), noise.dof, noise.varies.tolist()
        ([0.1], 4, [False])
    """

    sd: Array
    dof: int
    varies: np.ndarray
    mixtures: Array
    group_sd: Array

    def ratio(self, X: Array) -> Array:
        """(n, T) noise sd at X (n, K) over the pooled sd, a ratio without a unit: 1 where it does not vary, else
        from the nearest mixtures.
        """
        out = np.ones((len(X), len(self.sd)))
        if not self.varies.any() or not len(self.mixtures):
            return out
        distance = ((X[:, None] - self.mixtures[None]) ** 2).sum(-1)
        typical = np.median(((self.mixtures[:, None] - self.mixtures[None]) ** 2).sum(-1))
        weight = np.exp(-distance / max(0.25 * typical, 1e-12)) + 1e-6
        log_sd = weight @ np.log(self.group_sd / self.sd) / weight.sum(1, keepdims=True)
        return np.where(self.varies[None], np.exp(log_sd), out)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "sd": self.sd,
            "dof": self.dof,
            "varies": self.varies.astype(float),
            "mixtures": self.mixtures,
            "group_sd": self.group_sd,
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Noise:
        """Inverse of :meth:`to_dict`."""
        return Noise(
            np.asarray(data["sd"], dtype=float),
            int(data["dof"]),
            np.asarray(data["varies"]) > 0.5,
            np.asarray(data["mixtures"], dtype=float),
            np.asarray(data["group_sd"], dtype=float),
        )


def replicate_noise(X: Array, Y: Array) -> Noise:
    """Noise of repeated mixtures: pooled, and by mixture where it differs.

    Args:
        X: (n, K); identical rows are replicates.
        Y: (n, T).

    Example:
        >>> X = np.repeat(np.eye(2), 3, axis=0)
        >>> round(float(replicate_noise(X, np.array([[1.], [2.], [3.], [0.], [1.], [2.]])).sd[0]), 6)
        1.0
    """
    X, Y = np.asarray(X, dtype=float), np.asarray(Y, dtype=float)
    Y = Y[:, None] if Y.ndim == 1 else Y
    T = Y.shape[1]
    ok = np.isfinite(Y).all(axis=1)
    groups = replicate_groups(X[ok])
    counts = np.bincount(groups) if len(groups) else np.zeros(0, dtype=int)
    repeated = np.flatnonzero(counts > 1)
    if not len(repeated):
        return Noise(np.full(T, np.nan), 0, np.zeros(T, dtype=bool), np.empty((0, X.shape[1])), np.empty((0, T)))
    rows = [np.flatnonzero(groups == g) for g in repeated]
    kept_X, kept_Y = X[ok], Y[ok]
    dof = np.array([len(r) - 1 for r in rows], dtype=float)
    variance = np.stack([kept_Y[r].var(axis=0, ddof=1) for r in rows])  # (G, T)
    total = dof.sum()
    pooled = (dof[:, None] * variance).sum(0) / total
    floor = 1e-12 * np.maximum(pooled, 1e-300)
    varies = np.zeros(T, dtype=bool)
    shrunk = np.broadcast_to(pooled, variance.shape).copy()
    if len(rows) > 1 and (pooled > 0).any():
        G = len(rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(np.maximum(variance, floor))
            bartlett = total * np.log(np.maximum(pooled, 1e-300)) - (dof[:, None] * logs).sum(0)
        bartlett /= 1 + ((1 / dof).sum() - 1 / total) / (3 * (G - 1))
        varies = (pooled > 0) & (bartlett > chi2_quantile(0.95, G - 1))
        # what of the spread of log variances is more than their sampling error: that share is kept
        sampling = float(np.mean(2.0 / dof))
        between = np.maximum(logs.var(axis=0, ddof=1) - sampling, 0.0)
        keep = between / (between + sampling)
        level = np.log(np.maximum(pooled, 1e-300))
        shrunk = np.where(varies, np.exp(level + keep * (logs - level)), shrunk)
    mixtures = np.stack([kept_X[r[0]] for r in rows])
    return Noise(np.sqrt(pooled), int(total), varies, mixtures, np.sqrt(np.maximum(shrunk, floor)))


def chi2_quantile(level: float, dof: int) -> float:
    """Quantile of chi squared (exact for 1 degree of freedom, else Wilson & Hilferty's cube, within 1%).

    Args:
        level: in (0, 1).
        dof: degrees of freedom, >= 1.

    Example:
        >>> round(chi2_quantile(0.95, 1), 3), round(chi2_quantile(0.95, 2), 2)  # exact: 3.841 and 5.99
        (3.841, 5.94)
    """
    if dof == 1:
        return NormalDist().inv_cdf(0.5 + 0.5 * level) ** 2
    z, a = NormalDist().inv_cdf(level), 2.0 / (9.0 * dof)
    return dof * (1.0 - a + z * math.sqrt(a)) ** 3

"""What evaluations along one training run share of their error, and what that makes each of them worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.kit.arrays import Array
from mixlaw.laws.fit.random_effects import MixedFit

__all__ = ["run_noise", "worth_one"]


def worth_one(shares: Mapping[str, Any]) -> float:
    """How many evaluations are worth one, for the share of their noise that those of a run have in common.

    Args:
        shares: what :func:`run_noise` found.

    Example:
        >>> worth_one({"run": 0.0, "within": 1.0, "looks": 10.0}), worth_one({"run": 1.0, "within": 0.0, "looks": 10.0})
        (1.0, 10.0)
    """
    return float(1 + (shares["looks"] - 1) * shares["run"] / max(shares["run"] + shares["within"], 1e-300))


def run_noise(residual: Array, seen: npt.NDArray[np.bool_], params: Array, fit: MixedFit) -> dict[str, float]:
    """Variance of what all evaluations of one run share (``run``; its seed, mostly) and of a single one (``within``),
    and the mean number of ``looks`` at a run, from residuals (M, C) of cells of the sizes ``params`` (C,).

    Analysis of variance with unequal groups. Too low rather than too high: the mixtures' own coefficients have followed
    their runs a little.

    Example:
        >>> rng, fit = np.random.default_rng(0), MixedFit(*[np.zeros(3)] * 5, 0.2, 1e-5, np.zeros(3), 0.0)
        >>> own = np.repeat(0.003 * rng.standard_normal((40, 3)), 6, axis=1)  # of 40 mixtures at 3 sizes
        >>> residual = own + 0.001 * rng.standard_normal((40, 18))
        >>> found = run_noise(residual, np.ones((40, 18), dtype=bool), np.repeat([1e7, 3e7, 1e8], 6), fit)
        >>> round(found["run"] ** 0.5, 3), round(found["within"] ** 0.5, 3)
        (0.003, 0.001)
    """
    sizes, at = np.unique(params, return_inverse=True)
    belongs = (at[:, None] == np.arange(len(sizes))).astype(float)
    count = seen.astype(float) @ belongs
    mean = np.divide(residual @ belongs, count, out=np.zeros_like(count), where=count > 0)
    runs, rows = int((count > 0).sum()), int(seen.sum())
    if rows <= runs:
        return {"run": 0.0, "within": fit.noise, "looks": 1.0}
    within = float((((residual - mean[:, at]) * seen) ** 2).sum()) / (rows - runs)
    taken = len(fit.beta) + len(fit.theta)
    looks = rows / runs
    between = float((count * mean**2).sum()) / max(runs - taken, 1.0)
    return {"run": max(0.0, (between - within) / looks), "within": within, "looks": looks}

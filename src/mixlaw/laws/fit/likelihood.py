"""What the data say of a parameter: profile likelihoods, and whether a multi-start fit found one optimum or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.replicates import chi2_quantile
from mixlaw.laws.fit.engine import BatchFit, Ints, Model, Prior, fit_batch

__all__ = ["Profile", "crossing", "describe_optima", "profile_likelihood"]


@dataclass(frozen=True)
class Profile:
    """Objective minimised over all other parameters at each value of one: its interval, and whether it closes.

    Args:
        values, objective: (G,) the curve of the parameter ``name``.
        low, high: the interval at ``level``.

    Example:
        >>> x = np.linspace(-1, 1, 40)
        >>> A = np.column_stack([np.ones(40), x])
        >>> y = 1 + 2 * x + 0.1 * np.random.default_rng(0).standard_normal(40)
        >>> line = lambda theta, problem: (theta @ A.T, np.broadcast_to(A, (len(theta), 40, 2)))
        >>> best = np.linalg.lstsq(A, y, rcond=None)[0]
        >>> found = profile_likelihood(line, y, best, 1, values=np.linspace(1.99, 2.01, 5))
        >>> found.closed, found.flat  # so few values near the best one do not close it
        (False, True)
    """

    values: Array
    objective: Array
    low: float
    high: float
    level: float
    closed: bool
    """False where the objective stays within the noise to an end of the grid: the data leave it free there."""
    name: str = ""
    best: float = float("nan")
    """The value at the lowest objective."""
    limit: float = float("nan")
    """The objective up to which a fit is no worse than the noise; the interval is where the curve lies below."""
    below: bool = True
    above: bool = True
    """Whether the curve crosses ``limit`` below and above the best value."""
    given: bool = False
    """The values were the caller's: the curve was not followed beyond them."""

    @property
    def flat(self) -> bool:
        """Neither end is closed: over all ``values`` the fit gets no worse than the noise. Where they are ``given``,
        that says nothing of what lies beyond them."""
        return not (self.below or self.above)

    def __str__(self) -> str:
        where = f"{self.values[0]:.4g} to {self.values[-1]:.4g}"
        if self.flat and self.given:
            return (
                f"{self.name}: no worse a fit at any of the values given, {where}; beyond them nothing was tried "
                f"(leave values= out to follow the curve until it rises)"
            )
        if self.flat:
            return f"{self.name}: flat, the runs do not know it (no worse a fit anywhere from {where})"
        ends = f"{self.level:.0%} interval {self.low:.4g} to {self.high:.4g}"
        if self.closed:
            return f"{self.name} = {self.best:.4g}, {ends}"
        side = "from below" if self.below else "from above"
        return f"{self.name} = {self.best:.4g}, bounded only {side} ({ends}, tried {where})"


def profile_likelihood(
    model: Model,
    Y: Array,
    best: Array,
    index: int,
    *,
    values: Array,
    level: float = 0.9,
    noise_variance: float | None = None,
    loss: str = "squared",
    delta: float = 1e-3,
    log: bool = False,
    weights: Array | None = None,
    prior: Prior | None = None,
    starts: Array | None = None,
    bounds: Any = None,
) -> Profile:
    """Profile parameter ``index`` of a model function (theta, problem) -> (f, J), all grid values in one batch.

    Args:
        Y: (n,) measured values.
        loss, delta, log, weights, prior, bounds: as in :func:`mixlaw.laws.fit.engine.fit_batch`, as in the fit itself.
        best: (P,) the optimum, used as a start (further ``starts`` (S, P) are tried at every value).
        values: (G,) grid; the interval is where the objective rises by less than the chi squared quantile of
            ``level`` times the noise variance (None: estimated from the optimum's residual).

    With a single parameter nothing is left to minimise over, and the curve is the objective itself.

    Raises:
        DataError: an ``index`` the model does not have.

    Example:
        >>> x = np.linspace(-1, 1, 40)
        >>> A = np.column_stack([np.ones(40), x])
        >>> y = 1 + 2 * x + 0.1 * np.random.default_rng(0).standard_normal(40)
        >>> line = lambda theta, problem: (theta @ A.T, np.broadcast_to(A, (len(theta), 40, 2)))
        >>> best = np.linalg.lstsq(A, y, rcond=None)[0]
        >>> found = profile_likelihood(line, y, best, 1, values=np.linspace(1.5, 2.5, 101))
        >>> found.low < 2 < found.high, found.closed
        (True, True)
    """
    best = np.asarray(best, dtype=float)
    P = len(best)
    if not 0 <= index < P:
        raise DataError(f"The model has the parameters 0 to {P - 1}, so there is no parameter {index} to profile.")
    grid = np.unique(np.append(np.asarray(values, dtype=float), best[index]))
    y = np.asarray(Y, dtype=float).reshape(1, -1)
    objective = _profiled(
        model, y, best, index, grid,
        starts=starts, bounds=bounds, prior=prior, loss=loss, delta=delta, log=log, weights=weights,
    )  # fmt: skip
    n = int(np.isfinite(y).sum())
    variance = 2 * float(objective.min()) / max(n - P, 1) if noise_variance is None else noise_variance
    return _read_off(f"theta {index}", grid, objective, variance, level)


def _profiled(
    model: Model,
    y: Array,
    best: Array,
    index: int,
    grid: Array,
    *,
    starts: Array | None,
    bounds: Any,
    prior: Prior | None,
    **objective: Any,
) -> Array:
    """(G,) objective with parameter ``index`` held at each of ``grid`` (G,), minimised over the others."""
    P = len(best)
    rest = [p for p in range(P) if p != index]
    repeated = np.repeat(y, len(grid), axis=0)
    centre, strength = (np.zeros((1, P)), np.zeros((1, P))) if prior is None else prior.broadcast((1, P))
    penalty = 0.5 * strength[0, index] * (grid - centre[0, index]) ** 2

    def fixed(theta: Array, problem: Ints) -> tuple[Array, Array]:
        whole = np.empty((len(theta), P))
        whole[:, rest] = theta
        whole[:, index] = grid[problem]
        f, J = model(whole, problem)
        return f, J[:, :, rest]

    start = best[None] if starts is None else np.vstack([best[None], starts])
    limits = None
    if bounds is not None:
        lower, upper = (np.broadcast_to(np.asarray(b, dtype=float), (P,)) for b in bounds)
        limits = (lower[rest], upper[rest])
    ridge = None if prior is None else Prior(centre[:, rest], strength[:, rest])
    fit = fit_batch(fixed, repeated, start[:, rest], prior=ridge, bounds=limits, **objective)
    return np.asarray(fit.best().objective + penalty)


def _read_off(name: str, grid: Array, objective: Array, variance: float, level: float) -> Profile:
    """The interval in which a curve (G,) stays below its minimum plus the noise's share of the chi squared quantile."""
    lowest = float(objective.min())
    limit = lowest + 0.5 * variance * chi2_quantile(level, 1)
    inside = objective <= limit
    at = int(objective.argmin())
    left, right = at, at
    while left > 0 and inside[left - 1]:
        left -= 1
    while right < len(grid) - 1 and inside[right + 1]:
        right += 1
    low = grid[0] if left == 0 else crossing(grid, objective, left - 1, limit)
    high = grid[-1] if right == len(grid) - 1 else crossing(grid, objective, right, limit)
    below, above = left > 0, right < len(grid) - 1
    return Profile(
        grid, objective, float(low), float(high), level, below and above,
        name=name, best=float(grid[at]), limit=limit, below=below, above=above,
    )  # fmt: skip


def crossing(grid: Array, objective: Array, i: int, limit: float) -> float:
    """Where between grid points i and i + 1 the objective passes ``limit`` (linearly).

    Args:
        grid, objective: (G,) a curve.
        i: the left one of the two points, between which it passes ``limit``.

    Example:
        >>> crossing(np.array([1.0, 2.0, 4.0]), np.array([5.0, 1.0, 9.0]), 1, limit=5.0)
        3.0
    """
    a, b = objective[i], objective[i + 1]
    return float(grid[i] + (grid[i + 1] - grid[i]) * (limit - a) / (b - a)) if b != a else float(grid[i])


def describe_optima(
    fit: BatchFit,
    n: int,
    names: Sequence[str],
    *,
    problem: int = 0,
    present: Callable[[Array], Array] | None = None,
    curvature: Array | None = None,
    noise_variance: float | None = None,
    apart: float = 0.05,
    level: float = 0.95,
) -> dict[str, Any]:
    """Distinct optima a multi-start fit found within the objective's noise, and flat directions, in words.

    Args:
        fit: of one or several problems; ``problem`` says which.
        n: number of observations behind the objective.
        names: of the parameters, after ``present`` (a map of theta (P,) to what is shown; default: theta).
        curvature: (P, P) Gauss-Newton matrix at the optimum, for flat directions.
        noise_variance: of a residual (None: from the best objective, ``2 F / (n - P)``).
        apart: relative difference of a shown parameter that makes two optima distinct.

    Returns:
        ``text`` (empty when nothing is wrong), ``optima`` (list of {parameter values, objective, starts}),
        ``flat`` (list of lists of names), ``identified`` (bool).

    Example:
        >>> from mixlaw.laws.fit.engine import fit_batch
        >>> x = np.linspace(0, 1, 9)
        >>> def even(theta, problem):  # knows theta up to its sign
        ...     return theta**2 * x, (2 * theta * x)[:, :, None]
        >>> found = describe_optima(fit_batch(even, 4 * x, [[1.0], [-1.0]]), n=9, names=["a"])
        >>> found["identified"], [round(o["parameters"]["a"], 3) for o in found["optima"]]
        (False, [2.0, -2.0])
    """
    F = fit.objective[problem]
    theta = fit.theta[problem]
    if fit.linear.shape[-1] and present is None and len(names) == theta.shape[1] + fit.linear.shape[-1]:
        theta = np.concatenate([theta, fit.linear[problem]], axis=1)
    finite = np.isfinite(F)
    best = float(F[finite].min())
    P = theta.shape[1]
    variance = 2 * best / max(n - P, 1) if noise_variance is None else noise_variance
    noise = 0.5 * variance * chi2_quantile(level, 1) + 1e-9 * abs(best)
    shown = np.array([present(t) for t in theta]) if present is not None else theta
    optima: list[dict[str, Any]] = []
    for s in np.argsort(F, kind="stable"):
        if not finite[s] or F[s] > best + noise or not fit.converged[problem, s]:
            continue
        same = [o for o in optima if _near(shown[s], o["_at"], apart)]
        if same:
            same[0]["starts"] += 1
        else:
            optima.append({"_at": shown[s], "objective": float(F[s]), "starts": 1})
    flat = _flat(curvature, names) if curvature is not None and len(names) == len(curvature) else []
    lines = []
    if len(optima) > 1:
        lines.append(
            f"The data do not tell {len(optima)} solutions apart (their objectives differ by less than the noise, "
            f"{noise:.3g}):"
        )
        for o in optima[:6]:
            values = ", ".join(f"{name} {value:.4g}" for name, value in zip(names, o["_at"]))
            lines.append(f"  objective {o['objective']:.7g} ({o['starts']} starts): {values}")
        lines.append("Do not read these parameters one by one; add runs where the solutions' predictions differ.")
    for group in flat:
        lines.append(f"Flat: {' and '.join(group)} can change together without changing the fit.")
    return {
        "text": "\n".join(lines),
        "optima": [
            {"parameters": dict(zip(names, map(float, o["_at"]))), "objective": o["objective"], "starts": o["starts"]}
            for o in optima
        ],
        "flat": flat,
        "identified": len(optima) <= 1 and not flat,
    }


def _near(a: Array, b: Array, apart: float) -> bool:
    return bool(np.all(np.abs(a - b) <= apart * np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-3)))


def _flat(H: Array, names: Sequence[str], relative: float = 1e-8) -> list[list[str]]:
    """Directions with next to no curvature, each as the names that carry it."""
    d = np.sqrt(np.maximum(np.diag(H), 1e-300))
    alone = [[names[i]] for i in range(len(d)) if d[i] <= 1e-10 * d.max()]
    keep = [i for i in range(len(d)) if d[i] > 1e-10 * d.max()]
    if len(keep) < 2:
        return alone
    values, vectors = np.linalg.eigh(H[np.ix_(keep, keep)] / d[keep][:, None] / d[keep][None])
    groups = []
    for value, vector in zip(values, vectors.T):
        if value <= relative * values[-1]:
            size = np.abs(vector)
            groups.append([names[keep[i]] for i in np.argsort(-size) if size[i] > 0.3 * size.max()][:6])
    return alone + groups

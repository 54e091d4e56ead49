"""Profile likelihood of one reported parameter of a fitted law: ``law.profile("alpha")``.

The parameter is held at a value while all others are fitted again; how much worse the fit gets says how well the data
know it. A valley with a floor gives an interval that need not be symmetric; a plain says that the data do not know.

A reported parameter is a function ``q(theta)`` of the law's internal, well-scaled ones (``A = exp(theta_1 + alpha
c)``), so one internal parameter is eliminated by solving ``q(theta) = value``. All values are fitted in one batch.

The fit counts as worse where the objective rises by half the squared Student quantile times the noise: for squared
loss the residual variance, for Huber's the ratio ``E psi^2 / E psi'`` that stands in its place (Huber 1981).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.fit.engine import Ints, Model, Prior, fit_batch
from mixlaw.laws.fit.likelihood import Profile, crossing

__all__ = ["ProfileProblem", "curvature", "profile_parameter", "student"]

_POINTS = 20  # values on either side of the optimum, and again for every extension
_EXTENSIONS = 2


@dataclass(frozen=True)
class ProfileProblem:
    """One target's fit as the profile needs it: every parameter in one vector (P,), linear ones included.

    Args:
        model: the law over the target's rows.
        y, weight, side: (n,) values, weights and which of them are bounds (None: none).
        best, centre, strength: (P,) the optimum and the prior.
        bounds: (P,) lowest and highest.
        loss, delta, log: as in :func:`mixlaw.laws.fit.engine.fit_batch`.

    Example:
        >>> x, free = np.linspace(0, 1, 9), np.full(1, np.inf)
        >>> def decay(theta, problem):
        ...     f = np.exp(-theta * x)
        ...     return f, (-x * f)[:, :, None]
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> describe = lambda theta: {"rate": theta[:, 0]}
        >>> problem = ProfileProblem(
        ...     decay, np.exp(-x), np.ones(9), None, one, describe, (-free, free), zero, zero, "squared", 1.0, False
        ... )
        >>> problem.describe(problem.best[None])["rate"].tolist()
        [1.0]
    """

    model: Model
    y: Array
    weight: Array
    side: npt.NDArray[np.int8] | None
    best: Array
    describe: Callable[[Array], dict[str, Array]]
    """(B, P) to the reported parameters, each (B, ...)."""
    bounds: tuple[Array, Array]
    centre: Array
    strength: Array
    loss: str
    delta: float
    log: bool


def profile_parameter(
    law: Law, parameter: str, target: str | None, domain: str | None, level: float, values: npt.ArrayLike | None
) -> Profile:
    """See ``law.profile`` of the laws that have it.

    Args:
        law: fitted, with the runs it was fitted on.
        parameter, target, domain: which number of ``parameters_``; a target may be left out where there is one.
        level: of the interval, in (0, 1).
        values: where to ask; None: the curve is followed until it rises.

    Raises:
        ConfigError: no such parameter, target or domain, or a level outside (0, 1).
        DataError: the law is not fitted.

    Example:
        >>> from mixlaw.laws import Chinchilla
        >>> N, D = np.tile([1e8, 3e8, 1e9], 3), np.repeat([2e9, 6e9, 2e10], 3)
        >>> noise = 1 + 0.001 * np.random.default_rng(0).standard_normal(9)
        >>> law = Chinchilla().fit({"params": N, "tokens": D}, (1.7 + 400 / N**0.34 + 410 / D**0.28) * noise)
        >>> found = profile_parameter(law, "alpha", None, None, 0.9, None)
        >>> found.low < law.parameters_["alpha"] < found.high
        True
    """
    law._check_fitted()
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level={level!r} must lie between 0 and 1, for example 0.9.")
    t = _target(law, target)
    problem: ProfileProblem = law._profile_problem(t)  # type: ignore[attr-defined]
    index = _index(law, problem, parameter, domain)
    label = "".join(
        [
            parameter,
            f"[{domain}]" if domain is not None else "",
            f" of {law.target_names_[t]}" if target is not None else "",
        ]
    )
    at: tuple[slice | int, ...] = (slice(None), *index)
    return _profile(problem, lambda theta: np.asarray(problem.describe(theta)[parameter])[at], label, level, values)


def _target(law: Law, target: str | None) -> int:
    names = list(law.target_names_)
    if target is None:
        if len(names) > 1:
            raise ConfigError(f"The law has {len(names)} targets; say which: target={names[0]!r}. Known: {names[:8]}.")
        return 0
    if target not in names:
        raise ConfigError(f"No target {target!r} in this law.{did_you_mean(target, names)}")
    return names.index(target)


def _index(law: Law, problem: ProfileProblem, parameter: str, domain: str | None) -> tuple[int, ...]:
    """Where in a described parameter the wanted number stands."""
    described = problem.describe(problem.best[None])
    if parameter not in described:
        raise ConfigError(
            f"{type(law).__name__} has no parameter {parameter!r}.{did_you_mean(parameter, list(described))} "
            f"Known: {list(described)}."
        )
    shape, domains = described[parameter].shape[1:], law.domain_names
    if shape in ((), (1,)):
        if domain is not None:
            raise ConfigError(f"{parameter!r} is one number per target; leave domain= out.")
        return (0,) * len(shape)
    if shape != (len(domains),):
        raise ConfigError(
            f"{parameter!r} has shape {shape} per target; only numbers and one per domain can be profiled."
        )
    if domain is None:
        raise ConfigError(
            f"{parameter!r} has a value per domain; say which: domain={domains[0]!r}. Known: {domains[:20]}."
        )
    if domain not in domains:
        raise ConfigError(f"No domain {domain!r} in this law.{did_you_mean(domain, domains)}")
    return (domains.index(domain),)


class _Constraint:
    """``q(theta) = value`` solved for one internal parameter, in logarithms where q is positive and runs so."""

    def __init__(
        self, q: Callable[[Array], Array], best: Array, information: Array, bounds: tuple[Array, Array]
    ) -> None:
        self.q, self.bounds = q, bounds
        self.at = float(q(best[None])[0])
        if not np.isfinite(self.at):
            raise DataError("The parameter has no finite value at the optimum, so it cannot be profiled.")
        slope = self._slope(best[None], q)[0]
        sd = np.sqrt(np.maximum(np.diag(np.linalg.pinv(information, hermitian=True)), 1e-300))
        free = bounds[1] > bounds[0]
        self.p = int(np.argmax(np.where(free, np.abs(slope) * sd, -1.0)))
        if not abs(slope[self.p]) > 0:
            raise DataError("The law does not depend on this parameter at its optimum: there is nothing to profile.")
        self.log = self._runs_in_logs(best)
        self.rest = [i for i in range(len(best)) if i != self.p]
        self.slope = slope / self.at if self.log else slope

    def scale(self, value: Array) -> Array:
        return np.log(value) if self.log else value

    def unscale(self, value: Array) -> Array:
        return np.exp(value) if self.log else value

    def _g(self, theta: Array) -> Array:
        return self.scale(self.q(theta))

    def _slope(self, theta: Array, f: Callable[[Array], Array]) -> Array:
        """d f / d theta (B, P) by central differences, in two calls."""
        B, P = theta.shape
        step = 1e-6 * (1.0 + np.abs(theta))
        moves = step[:, :, None] * np.eye(P)[None]  # (B, P, P): row p moves parameter p
        up = f((theta[:, None] + moves).reshape(B * P, P)).reshape(B, P)
        down = f((theta[:, None] - moves).reshape(B * P, P)).reshape(B, P)
        return (up - down) / (2 * step)

    def _runs_in_logs(self, best: Array) -> bool:
        if self.at <= 0:
            return False
        line = np.repeat(best[None], 3, axis=0)
        line[:, self.p] += np.array([-0.1, 0.0, 0.1]) * (1.0 + abs(best[self.p]))
        q = self.q(line)
        if (q <= 0).any():
            return False
        bend, log_bend = abs(q[0] - 2 * q[1] + q[2]) / q[1], abs(np.log(q[0] * q[2] / q[1] ** 2))
        return bool(log_bend < bend)

    def solve(self, rest: Array, value: Array, start: float) -> tuple[Array, npt.NDArray[np.bool_], Array]:
        """Whole theta (B, P), whether it could be solved (B,), and d theta_p / d rest (B, P - 1)."""
        theta = np.empty((len(rest), len(self.rest) + 1))
        theta[:, self.rest], theta[:, self.p] = rest, start
        wanted = self.scale(value)
        with np.errstate(all="ignore"):
            for _ in range(30):
                off = self._g(theta) - wanted
                if not (np.abs(off) > 1e-11 * (1.0 + np.abs(wanted))).any():
                    break
                h = 1e-6 * (1.0 + np.abs(theta[:, self.p]))
                ahead = theta.copy()
                ahead[:, self.p] += h
                slope = (self._g(ahead) - wanted - off) / h
                step = np.nan_to_num(-off / np.where(slope == 0, np.nan, slope))
                theta[:, self.p] += np.clip(
                    step, -5.0 * (1 + np.abs(theta[:, self.p])), 5.0 * (1 + np.abs(theta[:, self.p]))
                )
            ok = np.abs(self._g(theta) - wanted) <= 1e-8 * (1.0 + np.abs(wanted))
            ok &= (theta[:, self.p] >= self.bounds[0][self.p] - 1e-9) & (
                theta[:, self.p] <= self.bounds[1][self.p] + 1e-9
            )
            slopes = self._slope(theta, self._g)
            follow = -slopes[:, self.rest] / slopes[:, [self.p]]
        return theta, ok, np.nan_to_num(follow, nan=0.0, posinf=0.0, neginf=0.0)


def _profile(
    problem: ProfileProblem, q: Callable[[Array], Array], label: str, level: float, values: npt.ArrayLike | None
) -> Profile:
    best = problem.best
    H, noise, dof = curvature(problem)
    constraint = _Constraint(q, best, H, problem.bounds)
    inverse = np.linalg.pinv(H, rcond=1e-12, hermitian=True)
    along = inverse @ constraint.slope
    spread = float(constraint.slope @ along)  # per unit of noise
    here = float(constraint.scale(np.array(constraint.at)))
    z = student(level, dof)
    cap = 3.0 if constraint.log else 3.0 * abs(here) + 1.0
    reach = min(max(2.0 * z * np.sqrt(max(noise * spread, 0.0)), 1e-9 * (1.0 + abs(here))), cap)
    known: dict[float, tuple[float, Array]] = {}

    def run(grid: Array) -> None:
        starts = best[None] + (grid - here)[:, None] / max(spread, 1e-300) * along[None]
        own = np.stack([np.broadcast_to(best, starts.shape), np.clip(starts, *problem.bounds)], axis=1)
        objective, theta = _refit(problem, constraint, constraint.unscale(grid), own)
        # neighbours' optima are the other starts: a valley that bends is followed from value to value
        order = np.argsort(grid, kind="stable")
        beside = np.stack(
            [theta[order[np.clip(np.arange(len(grid)) + k, 0, len(grid) - 1)]] for k in (-1, 0, 1)], axis=1
        )
        sorted_objective, sorted_theta = _refit(problem, constraint, constraint.unscale(grid[order]), beside)
        for i, o in enumerate(order):
            first = objective[o] <= sorted_objective[i]
            known[float(grid[o])] = (
                float(objective[o] if first else sorted_objective[i]),
                theta[o] if first else sorted_theta[i],
            )

    if values is not None:
        wanted = np.asarray(values, dtype=float).ravel()
        if len(wanted) < 2 or not np.isfinite(wanted).all() or (constraint.log and (wanted <= 0).any()):
            sort = "positive" if constraint.log else "finite"
            raise ConfigError(f"values= must be two or more {sort} numbers, got {wanted[:5].tolist()}.")
        run(constraint.scale(np.unique(np.append(wanted, constraint.at))))
    else:
        run(here + np.linspace(-reach, reach, 2 * _POINTS + 1))
        for _ in range(_EXTENSIONS):
            grid, F = _curve(known)
            limit = F.min() + 0.5 * noise * z**2
            lower, upper = F[0] <= limit, F[-1] <= limit
            if not (lower or upper):
                break
            width = grid[-1] - grid[0]
            more = np.linspace(0.0, width, _POINTS + 1)[1:]
            run(np.concatenate([grid[0] - more if lower else more[:0], grid[-1] + more if upper else more[:0]]))
    return _read_off(*_curve(known), 0.5 * noise * z**2, constraint, label, level, given=values is not None)


def _read_off(
    grid: Array, F: Array, rise: float, constraint: _Constraint, label: str, level: float, given: bool
) -> Profile:
    """The interval of a curve of objectives F (G,) over ``grid`` (G,): where it lies less than ``rise`` above its
    lowest point, around that point."""
    limit = float(F.min() + rise)
    at = int(F.argmin())
    left, right = at, at
    while left > 0 and F[left - 1] <= limit:
        left -= 1
    while right < len(F) - 1 and F[right + 1] <= limit:
        right += 1
    low = grid[0] if left == 0 else crossing(grid, F, left - 1, limit)
    high = grid[-1] if right == len(F) - 1 else crossing(grid, F, right, limit)
    ends = constraint.unscale(np.array([low, high]))
    return Profile(
        constraint.unscale(grid), F, float(ends[0]), float(ends[1]), level, left > 0 and right < len(F) - 1,
        name=label, best=float(constraint.unscale(grid[[at]])[0]), limit=limit,
        below=left > 0, above=right < len(F) - 1, given=given,
    )  # fmt: skip


def _curve(known: dict[float, tuple[float, Array]]) -> tuple[Array, Array]:
    """Values and objectives in order, up to where no fit could be made."""
    grid = np.array(sorted(known))
    F = np.array([known[v][0] for v in grid])
    ok = np.isfinite(F)
    if not ok.any():
        raise DataError("No fit could be made with the parameter held at any value.")
    return grid[ok], F[ok]


def _refit(problem: ProfileProblem, constraint: _Constraint, values: Array, starts: Array) -> tuple[Array, Array]:
    """Objective (G,) and theta (G, P) with q held at ``values``, all others fitted from ``starts`` (G, S, P)."""
    p, rest = constraint.p, constraint.rest
    # the ridge on the eliminated parameter becomes one more observation, so small that Huber sees it as inside
    unit = 1e-6 * min(problem.delta, 1.0)
    pulled = problem.strength[p] > 0

    def model(theta_rest: Array, which: Ints) -> tuple[Array, Array]:
        theta, ok, follow = constraint.solve(theta_rest, values[which], float(problem.best[p]))
        with np.errstate(all="ignore"):
            f, J = problem.model(theta, which)
            J = J[:, :, rest] + J[:, :, [p]] * follow[:, None, :]
            if pulled:
                away = unit * (theta[:, p] - problem.centre[p])
                row = np.exp(away) if problem.log else away
                f = np.concatenate([f, row[:, None]], axis=1)
                slope = unit * (row if problem.log else np.ones_like(row))
                J = np.concatenate([J, (slope[:, None] * follow)[:, None, :]], axis=1)
        return np.where(ok[:, None], f, np.nan), J

    y, w, side = problem.y, problem.weight, problem.side
    if pulled:
        y = np.append(y, 1.0 if problem.log else 0.0)
        w = np.append(w, problem.strength[p] / unit**2)
        side = None if side is None else np.append(side, np.int8(0))
    fit = fit_batch(
        model,
        np.broadcast_to(y, (len(values), len(y))),
        starts[:, :, rest],
        loss=problem.loss,  # type: ignore[arg-type]
        delta=problem.delta,
        log=problem.log,
        weights=w,
        censored=side,
        bounds=(problem.bounds[0][rest], problem.bounds[1][rest]),
        prior=Prior(problem.centre[rest][None], problem.strength[rest][None]),
        gtol=1e-7,
    ).best()
    theta, ok, _ = constraint.solve(fit.theta, values, float(problem.best[p]))
    return np.where(ok, fit.objective, np.inf), theta


def curvature(problem: ProfileProblem) -> tuple[Array, float, float]:
    """Gauss-Newton matrix (P, P) of the objective at the optimum, its noise, and the residual's degrees of freedom.

    Example:
        >>> from mixlaw.laws import Chinchilla
        >>> X = Chinchilla().example_rows(20, np.random.default_rng(0))
        >>> law = Chinchilla().fit(X, Chinchilla().example_losses(X))
        >>> H, noise, dof = curvature(law._profile_problem(0))
        >>> H.shape, round(dof)
        ((5, 5), 15)
    """
    f, J = problem.model(problem.best[None], np.zeros(1, dtype=np.int64))
    value, J = f[0], J[0]
    if problem.log:
        J, r = J / value[:, None], np.log(value) - np.log(problem.y)
    else:
        r = value - problem.y
    w = problem.weight
    if problem.side is not None:
        met = ((problem.side > 0) & (r > 0)) | ((problem.side < 0) & (r < 0))
        w = np.where(met, 0.0, w)
    psi, inside = r, 1.0
    if problem.loss == "huber":
        psi = np.clip(r, -problem.delta, problem.delta)
        inside = _inside(r[w > 0], problem.delta, len(r))
    # weights on any scale: as many equal rows as they are worth, each of this weight
    total, unit = float(w.sum() ** 2 / (w**2).sum()), float((w**2).sum() / w.sum())
    H = (J * (w * inside)[:, None]).T @ J
    ridge = H + np.diag(problem.strength)
    free = float(np.trace(np.linalg.pinv(ridge, rcond=1e-12, hermitian=True) @ H))
    dof = max(total - free, 1.0)
    noise = unit * float((w * psi**2).sum() / float(w.sum())) / inside * total / dof
    return ridge, noise, dof


def _inside(residual: Array, delta: float, n: int) -> float:
    """Probability of a residual within ``delta``: smoothed, for few or none may lie in so narrow a window."""
    width = 1.06 * 1.4826 * float(np.median(np.abs(residual))) * max(n, 1) ** -0.2
    if width <= 1e-3 * delta:
        return max(float((np.abs(residual) <= delta).mean()), 1.0 / max(n, 1))
    cdf = NormalDist().cdf
    return float(np.mean([cdf((delta - r) / width) - cdf((-delta - r) / width) for r in residual.tolist()]))


def student(level: float, dof: float) -> float:
    """Two-sided quantile of Student's t (Cornish-Fisher, within 2% from 3 degrees of freedom).

    Example:
        >>> round(student(0.9, 30.0), 2)
        1.7
    """
    z = NormalDist().inv_cdf(0.5 + 0.5 * level)
    return z + (z**3 + z) / (4 * dof) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * dof**2)

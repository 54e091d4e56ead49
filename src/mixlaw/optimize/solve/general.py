"""Laws that are not sums of convex atoms (Gaussian process, trees, ensembles): best of many starts, no certificate.

Random feasible mixtures are scored in one batch; the best become starts of SLSQP with the law's gradients; a law
whose predictions are flat almost everywhere (trees) is searched by resampling ever closer around the best instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixlaw.errors import ConvergenceError
from mixlaw.kit.arrays import Array
from mixlaw.optimize.pose.objective import Problem, row_scale

__all__ = ["General", "complete", "has_slopes", "local_search", "random_feasible", "search"]


@dataclass(frozen=True)
class General:
    """Best point found: ``z`` (n,), its ``value``, how many ``starts`` were made, and every start's own end:
    ``ends`` (starts, n) with values ``end_values`` (starts,).

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> from mixlaw.optimize.pose.objective import mean
        >>> loss, slope = (lambda R: (R**2).sum(axis=1)[:, None]), (lambda R: 2 * R[:, None])
        >>> found = search(mean(limits, np.ones(1)), loss, slope, starts=4)
        >>> found.starts, round(found.value, 4), found.ends.shape
        (4, 0.5, (4, 2))
    """

    z: Array
    value: float
    starts: int
    ends: Array
    end_values: Array


def random_feasible(problem: Problem, num: int, seed: int = 0, steps: int = 0) -> Array:
    """(num, K) mixtures inside the budget's limits, by hit-and-run from many corners' averages.

    Args:
        steps: hit-and-run moves per chain (default 4 K).

    Raises:
        ConvergenceError: no mixture satisfies the limits.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.optimize.pose.objective import mean
        >>> corpus = Corpus.declared({"web": 9_000, "code": 9_000}, source="example")
        >>> problem = mean(Budget(tokens=1_000, caps={"web": 0.3}).check(corpus), np.ones(1))
        >>> R = random_feasible(problem, 50)
        >>> R.shape, bool((R[:, 0] <= 0.3 + 1e-9).all())
        ((50, 2), True)
    """
    from scipy.optimize import linprog

    c, k = problem.constraints, problem.num_weights
    low, high = problem.low[:k], problem.high[:k]
    rng = np.random.default_rng(seed)
    corners = []
    for _ in range(min(2 * k, 40)):
        result = linprog(
            rng.normal(size=k),
            A_ub=c.matrix if len(c.upper) else None,
            b_ub=c.upper if len(c.upper) else None,
            A_eq=np.ones((1, k)),
            b_eq=[1.0],
            bounds=list(zip(low, high)),
            method="highs",
        )
        if result.status == 0:
            corners.append(result.x)
    if not corners:
        raise ConvergenceError("No mixture satisfies the limits; call budget.check(corpus) for the conflict.")
    vertices = np.array(corners)
    x = rng.dirichlet(np.ones(len(vertices)), size=num) @ vertices
    for _ in range(steps or 4 * k):
        i, j = rng.integers(k, size=(2, num))
        row = np.arange(num)
        d = np.zeros((num, k))  # move share from j to i, or along a line between two chains
        d[row, i] += 1.0
        d[row, j] -= 1.0
        between = x[rng.permutation(num)] - x
        d = np.where(rng.random(num)[:, None] < 0.5, d, between)
        with np.errstate(divide="ignore", invalid="ignore"):
            up = np.where(d > 1e-12, (high - x) / d, np.where(d < -1e-12, (low - x) / d, np.inf)).min(1)
            down = np.where(d > 1e-12, (low - x) / d, np.where(d < -1e-12, (high - x) / d, -np.inf)).max(1)
            if len(c.upper):
                slope, room = d @ c.matrix.T, c.upper - x @ c.matrix.T
                up = np.minimum(up, np.where(slope > 1e-12, room / slope, np.inf).min(1))
                down = np.maximum(down, np.where(slope < -1e-12, room / slope, -np.inf).max(1))
        up, down = np.maximum(up, 0.0), np.minimum(down, 0.0)
        stuck = ~(np.isfinite(up) & np.isfinite(down))
        up, down = np.where(stuck, 0.0, up), np.where(stuck, 0.0, down)
        t = down + (up - down) * rng.random(num)
        x = x + t[:, None] * d
    x = np.clip(x, low, high)
    return x / x.sum(axis=1, keepdims=True)


def search(
    problem: Problem,
    predict: Callable[[Array], Array],
    gradient: Callable[[Array], Array],
    starts: int = 32,
    seed: int = 0,
    also: Array | None = None,
) -> General:
    """Minimise over mixtures by multi-start.

    Args:
        predict, gradient: losses (n, T) and their derivatives (n, T, K) at weights (n, K).
        starts: local searches.
        also: (s, K) further starting mixtures (baselines); infeasible ones are skipped.

    Raises:
        ConvergenceError: no start ended at a point that satisfies the constraints.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> from mixlaw.optimize.pose.objective import mean
        >>> loss, slope = (lambda R: (R**2).sum(axis=1)[:, None]), (lambda R: 2 * R[:, None])
        >>> search(mean(limits, np.ones(1)), loss, slope, starts=4).z.round(3).tolist()
        [0.5, 0.5]
    """
    k = problem.num_weights
    pool = random_feasible(problem, max(40 * starts, 2000), seed)
    if also is not None and len(also):
        c = problem.constraints
        ok = (also >= problem.low[:k] - 1e-9).all(1) & (also <= problem.high[:k] + 1e-9).all(1)
        ok &= (also @ c.matrix.T <= c.upper + 1e-9 * np.maximum(1.0, np.abs(c.upper))).all(1)
        pool = np.vstack([also[ok], pool])
    merit = _merit(problem, pool, predict(pool))
    order = np.argsort(merit, kind="stable")[: max(starts, 1)]
    smooth = has_slopes(predict, gradient, pool[order])
    ends = (
        local_search(problem, predict, gradient, pool[order])
        if smooth
        else _shrinking(problem, predict, pool, merit, seed)
    )
    values = _merit(problem, ends, predict(ends))
    if smooth:  # a search never ends worse than where it began
        worse = values > merit[order]
        ends = np.where(worse[:, None], pool[order], ends)
        values = np.where(worse, merit[order], values)
    best = int(np.argmin(values))
    r = _snap_to_bounds(problem, predict, ends[best], float(values[best]))[None]
    z, value, violation = complete(problem, r, predict(r))
    if violation[0] > 1e-5:
        asked = [f.label for f in problem.functions[1:] if f.label and not f.label.startswith("worst:")]
        raise ConvergenceError(
            f"None of {len(ends)} starts satisfies {'; '.join(asked) or 'the constraints'} (the best misses one by "
            f"{violation[0]:.2e}). Relax {'one of these' if len(asked) > 1 else 'it'}, or raise starts={starts}."
        )
    return General(z[0], float(value[0]), len(ends), ends, values)


def complete(problem: Problem, R: Array, losses: Array) -> tuple[Array, Array, Array]:
    """Best further variables at weights R (n, K): z (n, n_z), objective (n,), violation of the functions (n,).

    Args:
        losses: (n, T) at R.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> from mixlaw.optimize.pose.objective import worst
        >>> problem = worst(limits, np.array([0.5, 0.5]), best=np.array([2.0, 2.0]))
        >>> z, objective, violation = complete(problem, np.array([[0.5, 0.5]]), np.array([[2.1, 2.3]]))
        >>> objective.round(6).tolist()  # the larger excess
        [0.3]
    """
    n, k = R.shape
    W = np.stack([f.weights for f in problem.functions])
    const = np.array([f.const for f in problem.functions])
    values = losses @ W.T + const
    if any(f.kl for f in problem.functions):
        prior = problem.prior if problem.prior is not None else np.full(k, 1.0 / k)
        safe = np.where(prior > 0, prior, 1.0)
        kl = np.where(R > 0, R * np.log(np.maximum(R, 1e-300) / safe), 0.0).sum(1)
        values = values + kl[:, None] * np.array([f.kl for f in problem.functions])
    linear = np.stack([np.zeros(k + problem.num_extra) if f.linear is None else f.linear for f in problem.functions])
    values = values + R @ linear[:, :k].T
    extra = np.zeros((n, problem.num_extra))
    if problem.num_extra == 1 and np.isinf(problem.extra_high).all():  # an epigraph: the largest row decides
        bounded = linear[1:, k] < 0
        extra[:, 0] = values[:, 1:][:, bounded].max(axis=1)
    elif problem.num_extra == k and problem.rows_upper is not None:  # shares moved
        extra = np.maximum(R - problem.rows_upper[:k], 0.0)
    values = values + extra @ linear[:, k:].T
    return np.hstack([R, extra]), values[:, 0], np.maximum(values[:, 1:], 0.0).max(axis=1, initial=0.0)


def _snap_to_bounds(problem: Problem, predict: Callable[[Array], Array], r: Array, merit: float) -> Array:
    """r with weights just above their floor on it, their tokens on the weight with most room, where that is no worse
    than the search's own tolerance."""
    c, k = problem.constraints, problem.num_weights
    low, high = problem.low[:k], problem.high[:k]
    for reach in (1e-5, 1e-6, 1e-8):
        gone = (low < r) & (reach > r - low)
        clean = np.where(gone, low, r)
        top = int(np.argmax(np.where(gone, -1.0, np.minimum(clean - low, high - clean))))
        clean[top] += 1.0 - clean.sum()
        kept = low[top] <= clean[top] <= high[top] and (c.matrix @ clean <= c.upper + 1e-9 * np.abs(c.upper)).all()
        if gone.any() and kept and _merit(problem, clean[None], predict(clean[None]))[0] <= merit + 1e-7:
            return clean
    return r


def _merit(problem: Problem, R: Array, losses: Array) -> Array:
    _, value, violation = complete(problem, R, losses)
    value = np.where(np.isfinite(value), value, np.inf)
    return np.asarray(value + 1e3 * np.where(violation > 1e-6, violation, 0.0))


def has_slopes(predict: Callable[[Array], Array], gradient: Callable[[Array], Array], R: Array) -> bool:
    """Whether the derivatives at mixtures R say where losses fall: those of trees are flat almost everywhere.

    Example:
        >>> R = np.random.default_rng(0).dirichlet([1, 1], 40)
        >>> loss, slope = (lambda R: (R**2).sum(axis=1)[:, None]), (lambda R: 2 * R[:, None])
        >>> steps, flat = (lambda R: np.round(R[:, :1], 1)), (lambda R: np.zeros((len(R), 1, 2)))  # as of a tree
        >>> has_slopes(loss, slope, R), has_slopes(steps, flat, R)
        (True, False)
    """
    slopes = gradient(R)
    return bool((np.abs(slopes).max(axis=(1, 2)) > 1e-7).mean() > 0.5 and not _stepwise(predict, R, slopes))


def _stepwise(predict: Callable[[Array], Array], R: Array, slopes: Array) -> bool:
    """Whether derivatives say nothing about small moves: compare them with a move of 1% of the tokens."""
    x = R[: min(8, len(R))]
    direction = np.full_like(x, 1.0 / x.shape[1]) - x
    moved = predict(x + 0.01 * direction) - predict(x)
    expected = 0.01 * np.einsum("ntk,nk->nt", slopes[: len(x)], direction)
    size = np.abs(moved).mean()
    return bool(size > 1e-9 and np.abs(moved - expected).mean() > 0.8 * size)


def local_search(
    problem: Problem,
    predict: Callable[[Array], Array],
    gradient: Callable[[Array], Array],
    begin: Array,
    steps: int = 100,
) -> Array:
    """Where SLSQP ends from each of the mixtures ``begin`` (n, K).

    Args:
        predict, gradient: as in :func:`search`.
        steps: of SLSQP at most.

    Returns:
        (n, n_z) the last point of each.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> from mixlaw.optimize.pose.objective import mean
        >>> loss, slope = (lambda R: (R**2).sum(axis=1)[:, None]), (lambda R: 2 * R[:, None])
        >>> local_search(mean(limits, np.ones(1)), loss, slope, np.array([[0.9, 0.1]])).round(3).tolist()
        [[0.5, 0.5]]
    """
    from scipy import optimize

    minimize: Any = optimize.minimize
    k, n = problem.num_weights, problem.num_weights + problem.num_extra
    W = np.stack([f.weights for f in problem.functions])
    const = np.array([f.const for f in problem.functions])
    klc = np.array([f.kl for f in problem.functions])
    linear = np.stack([np.zeros(n) if f.linear is None else f.linear for f in problem.functions])
    prior = np.where(problem.prior > 0, problem.prior, 1.0) if problem.prior is not None else np.full(k, 1.0 / k)
    scale = row_scale(problem.matrix, problem.upper)
    matrix, upper = problem.matrix * scale[:, None], problem.upper * scale
    cache: dict[bytes, tuple[Array, Array]] = {}

    def both(z: Array) -> tuple[Array, Array]:
        key = z.tobytes()
        if key not in cache:
            cache.clear()
            r = np.clip(z[:k], 0.0, 1.0)
            F = W @ predict(r[None])[0] + const + linear @ z
            J = W @ gradient(r[None])[0]
            J = np.hstack([J, np.zeros((len(J), n - k))]) + linear
            if klc.any():
                safe = np.maximum(r, 1e-12)
                F = F + klc * float((safe * np.log(safe / prior)).sum())
                J[:, :k] += klc[:, None] * (np.log(safe / prior) + 1.0)
            cache[key] = (F, J)
        return cache[key]

    limits: Any = [
        {"type": "eq", "fun": lambda z: problem.equal @ z - 1.0, "jac": lambda z: problem.equal},
    ]
    if len(upper):
        limits.append({"type": "ineq", "fun": lambda z: upper - matrix @ z, "jac": lambda z: -matrix})
    if len(problem.functions) > 1:
        limits.append({"type": "ineq", "fun": lambda z: -both(z)[0][1:], "jac": lambda z: -both(z)[1][1:]})
    bounds = [(a if np.isfinite(a) else None, b if np.isfinite(b) else None) for a, b in zip(problem.low, problem.high)]
    ends = []
    first, _, _ = complete(problem, begin, predict(begin))
    for z0 in first:
        result = minimize(
            lambda z: float(both(z)[0][0]),
            z0,
            jac=lambda z: both(z)[1][0],
            method="SLSQP",
            bounds=bounds,
            constraints=limits,
            options={"maxiter": steps, "ftol": 1e-9},
        )
        r = np.clip(result.x[:k], problem.low[:k], problem.high[:k])
        ok = np.isfinite(r).all() and abs(r.sum() - 1) < 1e-4 and (matrix[:, :k] @ r <= upper + 1e-6).all()
        ends.append(r if ok or problem.num_extra else z0[:k])
    ends_array = np.array(ends)
    return np.asarray(ends_array / ends_array.sum(axis=1, keepdims=True))


def _shrinking(problem: Problem, predict: Callable[[Array], Array], pool: Array, merit: Array, seed: int) -> Array:
    """Resample between the best and fresh feasible points, ever closer to the best (convexity keeps it feasible)."""
    best, value = pool[np.argsort(merit)[:64]], np.sort(merit)[:64]
    rng = np.random.default_rng(seed + 1)
    for step in range(12):
        reach = 0.6**step
        parent = best[rng.integers(len(best), size=1500)]
        other = pool[rng.integers(len(pool), size=1500)]
        child = parent + reach * rng.random((1500, 1)) * (other - parent)
        found = _merit(problem, child, predict(child))
        everything, scores = np.vstack([best, child]), np.concatenate([value, found])
        order = np.argsort(scores, kind="stable")[:64]
        best, value = everything[order], scores[order]
    return np.asarray(best)

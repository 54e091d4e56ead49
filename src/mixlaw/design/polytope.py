"""The mixtures a budget allows: membership, projection, random points, and how much of the simplex is left.

All samplers end here, so that whatever they propose can be trained on. The set is
``{r : low <= r <= high, matrix @ r <= upper, sum(r) = 1}``, the arrays of :class:`mixlaw.data.budget.Constraints`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.budget import Budget, Constraints
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import SAME, Mixture, Schedule
from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.kit.arrays import Array

__all__ = ["TOLERANCE", "Polytope", "begin", "finish"]

TOLERANCE = 1e-9
"""How far a weight may lie outside a limit and still count as inside: far above rounding, far below one token."""

NEGLIGIBLE = 1e-5
"""A weight this little above its floor trains nothing: a design has the floor (mostly zero) instead."""


APART = 0.01
"""Two mixtures whose weights all differ by less than one percent of the tokens are near copies: a design that means to
measure the noise asks for replicates (:func:`mixlaw.design.specs`)."""


class Polytope:
    """The set of feasible mixtures.

    Attributes:
        domains: names, length K.
        low, high: (K,) bounds, tightened by the sum.
        matrix, upper: (M, K), (M,) further limits ``matrix @ r <= upper``.
        centre: (K,) a point that touches no limit it need not touch.
        dimension: K - 1 on an uncut simplex, 0 if only one mixture is left.

    Args:
        constraints: a budget's limits; :meth:`of` makes them from a corpus and a budget.

    Raises:
        DataError: no interior point could be found.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000, "wiki": 1_000}, source="example")
        >>> p = Polytope.of(corpus, Budget(tokens=8_000, max_epochs=4))
        >>> p.high.tolist()
        [1.0, 0.5]
    """

    def __init__(self, constraints: Constraints) -> None:
        self.domains = constraints.domains
        low, high = constraints.low.astype(float), constraints.high.astype(float)
        # what the sum implies for each weight on its own
        high = np.minimum(high, 1.0 - (low.sum() - low))
        low = np.maximum(low, 1.0 - (high.sum() - high))
        # floor and cap can cross by rounding where they meet
        self.low = np.clip(np.minimum(low, high), 0.0, 1.0)
        self.high = np.clip(np.maximum(low, high), 0.0, 1.0)
        self.matrix, self.upper = constraints.matrix.astype(float), constraints.upper.astype(float)
        if len(self.upper):  # rows in the scale of weights, so that one tolerance fits all
            size = np.abs(self.matrix).max(axis=1)
            binds = self.upper < size  # a mixture cannot reach more than a row's largest entry
            self.matrix = self.matrix[binds] / size[binds, None]
            self.upper = self.upper[binds] / size[binds]
        self._basis: Array | None = None
        self.centre, self.dimension = self._find_centre()

    @classmethod
    def of(cls, corpus: Corpus, budget: Budget) -> Polytope:
        """The mixtures ``budget`` allows on ``corpus``.

        Raises:
            InfeasibleBudgetError: there are none; the message names the conflicting limits.
        """
        return cls(budget.check(corpus))

    # ---- geometry ----------------------------------------------------------------------------------
    def _find_centre(self) -> tuple[Array, int]:
        free = self.high - self.low > 1e-12
        if not len(self.upper):
            room = float((self.high - self.low).sum())
            part = (1.0 - float(self.low.sum())) / room if room > 1e-12 else 0.0
            part = min(max(part, 0.0), 1.0)
            point = self.low + part * (self.high - self.low)
            dimension = max(int(free.sum()) - 1, 0) if 1e-12 < part < 1 - 1e-12 else 0
            return point / point.sum(), dimension
        from scipy.optimize import linprog

        # max sum(t) with a_i y + t_i <= b_i s, 0 <= t <= 1, s >= 1: at the optimum t_i is 1 for every limit that
        # some feasible point leaves slack, and y / s leaves slack in all of those at once.
        k = len(self.low)
        rows = np.vstack([np.eye(k), -np.eye(k), self.matrix])
        ends = np.concatenate([self.high, -self.low, self.upper])
        m = len(ends)
        problem: dict[str, Any] = {
            "c": np.concatenate([np.zeros(k + 1), -np.ones(m)]),
            "A_ub": np.hstack([rows, -ends[:, None], np.eye(m)]),
            "b_ub": np.zeros(m),
            "A_eq": np.concatenate([np.ones(k), [-1.0], np.zeros(m)])[None],
            "b_eq": [0.0],
            "bounds": [(0, None)] * k + [(1, None)] + [(0, 1)] * m,
        }
        result = linprog(**problem, method="highs")
        if result.status == 4:  # presolve gives up where limits meet within rounding error; the simplex does not
            result = linprog(**problem, method="highs", options={"presolve": False})
        if result.status != 0:  # budget.check allows 1e-12 that an exact solver need not
            raise DataError(f"No interior point was found for this budget ({result.message}). Loosen a limit.")
        solution = np.asarray(result.x, dtype=np.float64)
        point = solution[:k] / solution[k]
        tight = rows[solution[k + 1 :] < 0.5]
        equalities = np.vstack([np.ones((1, k)), tight])
        _, singular, right = np.linalg.svd(equalities)
        rank = int((singular > 1e-9 * singular[0]).sum())
        self._basis = right[rank:].T
        return self._tidy(point[None])[0], k - rank

    def _tidy(self, X: Array) -> Array:
        """Remove rounding errors: inside the bounds, sum exactly one up to rounding."""
        X = np.clip(X, self.low, self.high)
        for _ in range(3):
            short = 1.0 - X.sum(axis=1, keepdims=True)
            room = np.where(short > 0, self.high - X, X - self.low)
            used = np.where(X > 0, room, 0.0)  # a weight of zero stays zero where the others have room
            room = np.where(used.sum(axis=1, keepdims=True) > 2 * np.abs(short), used, room)
            total = room.sum(axis=1, keepdims=True)
            X = np.clip(X + np.where(total > 0, room * short / np.maximum(total, 1e-300), 0.0), self.low, self.high)
        return X

    def snap_to_bounds(self, X: Array, reach: float = NEGLIGIBLE) -> Array:
        """X (n, K) with weights less than ``reach`` above their floor on it, their tokens on each row's largest weight;
        rows that would leave the budget stay as they are."""
        above = X - self.low
        gone = (above > 0) & (above < reach)
        clean, row = np.where(gone, self.low, X), np.arange(len(X))
        top = np.argmax(np.where(gone, -1.0, X), axis=1)
        clean[row, top] += 1.0 - clean.sum(axis=1)
        return np.where((gone.any(axis=1) & self.contains(clean))[:, None], clean, X)

    def excess(self, X: npt.ArrayLike) -> Array:
        """(n,) by how much each mixture of X (n, K) violates its worst limit, as a share of the tokens; at most 0
        where feasible.
        """
        X = np.atleast_2d(np.asarray(X, dtype=float))
        worst = np.maximum((self.low - X).max(axis=1), (X - self.high).max(axis=1))
        worst = np.maximum(worst, np.abs(X.sum(axis=1) - 1.0))
        if len(self.upper):
            worst = np.maximum(worst, (X @ self.matrix.T - self.upper).max(axis=1))
        return worst

    def contains(self, X: npt.ArrayLike, tolerance: float = TOLERANCE) -> npt.NDArray[np.bool_]:
        """(n,) whether each mixture (n, K) satisfies every limit, to ``tolerance`` (a share of the tokens)."""
        return self.excess(X) <= tolerance

    def pull(self, X: npt.ArrayLike) -> Array:
        """Each mixture of X (n, K) moved straight towards the centre just far enough to be feasible."""
        X = np.atleast_2d(np.asarray(X, dtype=float))
        step = X - self.centre
        step -= step.mean(axis=1, keepdims=True)
        if self._basis is not None:
            step = step @ self._basis @ self._basis.T
        with np.errstate(divide="ignore", invalid="ignore"):
            up = np.where(step > 1e-15, (self.high - self.centre) / step, np.inf)
            down = np.where(step < -1e-15, (self.low - self.centre) / step, np.inf)
            reach = np.minimum(up, down).min(axis=1)
            if len(self.upper):
                slope = step @ self.matrix.T
                slack = np.maximum(self.upper - self.matrix @ self.centre, 0.0)
                reach = np.minimum(reach, np.where(slope > 1e-15, slack / slope, np.inf).min(axis=1))
        reach = np.clip(reach, 0.0, 1.0)
        return self._tidy(self.centre + reach[:, None] * step)

    def project(self, X: npt.ArrayLike) -> Array:
        """The nearest feasible mixture (Euclidean) to each row of X (n, K).

        Bounds and the sum are exact (bisection on the multiplier); further limits by Dykstra's alternating
        projections, whose last digits are made feasible by :meth:`pull`.
        """
        X = np.atleast_2d(np.asarray(X, dtype=float))
        if not len(self.upper):
            return self._tidy(self._onto_bounds(X))
        norm = (self.matrix**2).sum(axis=1)
        current = X
        memory = np.zeros((len(self.upper) + 1, *X.shape))
        for _ in range(2000):
            before = current
            point = current + memory[-1]
            current = self._onto_bounds(point)
            memory[-1] = point - current
            for m, row in enumerate(self.matrix):
                point = current + memory[m]
                over = np.maximum(point @ row - self.upper[m], 0.0) / norm[m]
                current = point - over[:, None] * row
                memory[m] = point - current
            if np.abs(current - before).max() < 1e-12:
                break
        current = self._tidy(self._onto_bounds(current))
        bad = ~self.contains(current)
        if bad.any():
            current[bad] = self.pull(current[bad])
        return current

    def _onto_bounds(self, X: Array) -> Array:
        below = (X - self.high).min(axis=1) - 1.0
        above = (X - self.low).max(axis=1) + 1.0
        for _ in range(100):
            middle = (below + above) / 2
            much = np.clip(X - middle[:, None], self.low, self.high).sum(axis=1) > 1.0
            below, above = np.where(much, middle, below), np.where(much, above, middle)
        return np.clip(X - ((below + above) / 2)[:, None], self.low, self.high)

    # ---- random points -----------------------------------------------------------------------------
    def sample(self, num: int, rng: np.random.Generator, concentration: npt.ArrayLike | None = None) -> Array:
        """Random feasible mixtures (num, K) from Dirichlet(concentration) conditioned on the budget.

        Independent draws by rejection where the budget leaves enough room; otherwise one Gibbs chain per
        mixture, all started at the centre: pairs of weights are redrawn given their sum from a truncated Beta.

        Args:
            concentration: (K,) positive; None = all ones, that is uniform over the feasible set.
        """
        k = len(self.low)
        alpha = np.ones(k) if concentration is None else np.asarray(concentration, dtype=float)
        if num <= 0 or self.dimension == 0:
            return np.repeat(self.centre[None], max(num, 0), axis=0)
        found: list[Array] = []
        have, drawn = 0, 0
        batch = int(min(max(4 * num, 256), max(2_000_000 // k, 64)))
        while have < num and drawn < 20 * batch and (drawn < 2 * batch or have * 50 > drawn):
            draw = _dirichlet(alpha, batch, rng)
            ok = draw[self.contains(draw)]
            found.append(ok)
            have, drawn = have + len(ok), drawn + batch
        if have >= num:
            return np.vstack(found)[:num]
        return self.walk(np.repeat(self.centre[None], num, axis=0), rng, alpha)

    def walk(
        self, X: Array, rng: np.random.Generator, concentration: npt.ArrayLike | None = None, sweeps: int = 0
    ) -> Array:
        """``sweeps`` Gibbs sweeps from the feasible mixtures X (n, K); see :meth:`sample`."""
        X = np.array(X, dtype=float)
        n, k = X.shape
        alpha = np.ones(k) if concentration is None else np.asarray(concentration, dtype=float)
        free = np.flatnonzero(self.high - self.low > 1e-12)
        if self.dimension == 0 or len(free) < 2:
            return X
        sweeps = sweeps or (60 if k <= 100 else 30)
        if not len(self.upper):
            rows = np.arange(n)[:, None]
            for _ in range(sweeps):  # disjoint pairs do not touch each other: all of them at once
                order = free[np.argsort(rng.random((n, len(free))), axis=1)]
                half = len(free) // 2
                i, j = order[:, :half], order[:, half : 2 * half]
                a, b = X[rows, i], X[rows, j]
                total = a + b
                lo = np.maximum(self.low[i], total - self.high[j])
                hi = np.minimum(self.high[i], total - self.low[j])
                new = _truncated_beta(alpha[i], alpha[j], total, lo, hi, a, rng)
                X[rows, i], X[rows, j] = new, total - new
            return self._tidy(X)
        # further limits couple the pairs: one pair per chain and step
        line = np.arange(n)
        slack = self.upper - X @ self.matrix.T
        for step in range(sweeps * len(free)):
            i = free[rng.integers(len(free), size=n)]
            j = free[rng.integers(len(free), size=n)]
            a, b = X[line, i], X[line, j]
            total = a + b
            lo = np.maximum(self.low[i], total - self.high[j])
            hi = np.minimum(self.high[i], total - self.low[j])
            change = (self.matrix[:, i] - self.matrix[:, j]).T  # (n, M)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.maximum(slack, 0.0) / np.abs(change)
            hi = np.minimum(hi, a + np.where(change > 1e-15, ratio, np.inf).min(axis=1))
            lo = np.maximum(lo, a - np.where(change < -1e-15, ratio, np.inf).min(axis=1))
            new = np.where(i == j, a, _truncated_beta(alpha[i], alpha[j], total, lo, hi, a, rng))
            X[line, i] = new
            X[line, j] = np.where(i == j, new, total - new)
            slack -= change * (new - a)[:, None]
            if step % 500 == 499:
                slack = self.upper - X @ self.matrix.T
        if self._basis is not None and self.dimension < len(free) - 1:
            X = self._walk_in_basis(X, rng, alpha, sweeps)
        X = self._tidy(X)
        bad = ~self.contains(X)
        if bad.any():
            X[bad] = self.pull(X[bad])
        return X

    def _walk_in_basis(self, X: Array, rng: np.random.Generator, alpha: Array, sweeps: int) -> Array:
        """Hit-and-run along directions that keep every forced equality, where pairs alone could get stuck."""
        basis = self._basis
        assert basis is not None
        for _ in range(sweeps * max(self.dimension, 1)):
            step = rng.standard_normal((len(X), basis.shape[1])) @ basis.T
            with np.errstate(divide="ignore", invalid="ignore"):
                ahead = np.where(step > 0, self.high - X, X - self.low) / np.abs(step)
                behind = np.where(step > 0, X - self.low, self.high - X) / np.abs(step)
                ahead, behind = (np.where(np.abs(step) < 1e-12, np.inf, np.maximum(v, 0)) for v in (ahead, behind))
                slope = step @ self.matrix.T
                slack = np.maximum(self.upper - X @ self.matrix.T, 0.0) / np.abs(slope)
            forward = np.minimum(ahead.min(axis=1), np.where(slope > 1e-12, slack, np.inf).min(axis=1))
            backward = np.minimum(behind.min(axis=1), np.where(slope < -1e-12, slack, np.inf).min(axis=1))
            move = (rng.random(len(X)) * (forward + backward) - backward)[:, None] * step
            new = np.clip(X + move, self.low, self.high)
            if (alpha == 1).all():
                X = new
                continue
            floor = 1e-300  # weights may be exactly zero
            ratio = ((alpha - 1) * (np.log(np.maximum(new, floor)) - np.log(np.maximum(X, floor)))).sum(axis=1)
            X = np.where((np.log(rng.random(len(X))) < ratio)[:, None], new, X)
        return X

    def reach(self) -> tuple[Array, Array]:
        """(K,) smallest and (K,) largest weight each domain can have in any feasible mixture."""
        if not len(self.upper):
            return self.low.copy(), self.high.copy()
        from scipy.optimize import linprog

        ends = []
        for sign in (1.0, -1.0):
            values = np.empty(len(self.low))
            for j in range(len(values)):
                cost = np.zeros(len(values))
                cost[j] = sign
                result = linprog(
                    cost,
                    A_ub=self.matrix,
                    b_ub=self.upper + 1e-12,
                    A_eq=np.ones((1, len(values))),
                    b_eq=[1.0],
                    bounds=list(zip(self.low, self.high)),
                    method="highs",
                )
                values[j] = np.asarray(result.x)[j] if result.status == 0 else self.centre[j]
            ends.append(np.clip(values, self.low, self.high))
        return ends[0], ends[1]


def _dirichlet(alpha: Array, num: int, rng: np.random.Generator) -> Array:
    """Dirichlet draws (num, K) that survive tiny concentrations, where all gammas can underflow to zero."""
    draw: Array = np.asarray(rng.standard_gamma(alpha, size=(num, len(alpha))), dtype=np.float64)
    total = draw.sum(axis=1, keepdims=True)
    lost = total[:, 0] <= 0
    if lost.any():  # the limit of a vanishing concentration: all weight on one domain
        winner = rng.choice(len(alpha), size=int(lost.sum()), p=alpha / alpha.sum())
        draw[lost] = np.eye(len(alpha))[winner]
        total = draw.sum(axis=1, keepdims=True)
    result: Array = draw / total
    return result


def _truncated_beta(
    a: Array, b: Array, total: Array, lo: Array, hi: Array, old: Array, rng: np.random.Generator
) -> Array:
    """First of two weights with sum ``total``, Dirichlet(a, b) restricted to [lo, hi]; ``old`` where empty."""
    hi = np.maximum(hi, lo)
    u = rng.random(np.shape(lo))
    if (a == 1).all() and (b == 1).all():
        new = lo + u * (hi - lo)
    else:
        from scipy.special import betainc, betaincinv

        scale = np.maximum(total, 1e-300)
        left, right = betainc(a, b, np.clip(lo / scale, 0, 1)), betainc(a, b, np.clip(hi / scale, 0, 1))
        new = np.asarray(betaincinv(a, b, left + u * (right - left)) * scale, dtype=np.float64)
        # far in a tail the distribution function is flat to rounding; there the density hardly varies either
        new = np.where((right - left > 1e-13) & np.isfinite(new), new, lo + u * (hi - lo))
    return np.where(hi - lo > 0, np.clip(new, lo, hi), np.clip(old, lo, hi))


# ---- what every sampler does first and last ----------------------------------------------------------
@dataclass(frozen=True)
class Start:
    """What a sampler starts from: the feasible set, its generator and the mixtures observed already."""

    polytope: Polytope
    rng: np.random.Generator
    observed: Array
    num: int


def observed_mixtures(observations: Observations | None, domains: Sequence[str]) -> Array:
    """Average mixtures (n, K) of the observed runs, in the order of ``domains``.

    Raises:
        DataError: a run trained on a domain that is not among ``domains``.
    """
    if observations is None or not len(observations):
        return np.empty((0, len(domains)))
    unknown = [d for d in observations.domains if d not in domains]
    used: dict[str, float] = {}
    schedules = observations.schedules()
    for name in unknown:
        used[name] = max((s.mixture[name] for s in schedules.values()), default=0.0)
    bad = [d for d, weight in used.items() if weight > 0]
    if bad:
        raise DataError(
            f"The observations were trained on {bad[:5]}, which the corpus does not have."
            f"{did_you_mean(bad[0], domains)} Give observations over the same domains, or rename them."
        )
    rows = [[s.mixture.get(d) for d in domains] for s in schedules.values()]
    return np.array(rows, dtype=float).reshape(len(rows), len(domains))


def begin(corpus: Corpus, budget: Budget, num: int, observations: Observations | None, seed: int) -> Start:
    """Check what every sampler is given.

    Raises:
        ConfigError: ``num`` is not a positive whole number, or the budget names unknown domains.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: the observations are over other domains.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000, "wiki": 1_000}, source="example")
        >>> begin(corpus, Budget(tokens=8_000, max_epochs=4), 3, None, seed=0).num
        3
    """
    if isinstance(num, bool) or not isinstance(num, int | np.integer) or num <= 0:
        raise ConfigError(f"The number of runs to propose must be a positive whole number, got {num!r}.")
    polytope = Polytope.of(corpus, budget)
    return Start(polytope, np.random.default_rng(seed), observed_mixtures(observations, corpus.names), int(num))


def unique_rows(X: Array, avoid: Array | None = None, same: float = SAME) -> npt.NDArray[np.int64]:
    """Indices of the rows of X that are new: unequal (rounded to ``same``) to every earlier row and to every row of
    ``avoid``."""
    seen = {tuple(r) for r in np.round(avoid / same).astype(np.int64)} if avoid is not None else set()
    keep = []
    for index, row in enumerate(map(tuple, np.round(X / same).astype(np.int64))):
        if row not in seen:
            seen.add(row)
            keep.append(index)
    return np.array(keep, dtype=np.int64)


def apart_rows(X: Array, num: int, avoid: Array | None = None, most: int | None = None) -> npt.NDArray[np.int64]:
    """Indices, in order, of rows of X (n, K) of which no two, and none and a row of ``avoid``, are near copies.

    Where that leaves fewer than ``num``, rows may lie half as far apart, and so on: a budget can leave little room, and
    with a thousand domains no weight of any mixture differs by a percent. ``most`` rows are enough.

    Example:
        >>> apart_rows(np.array([[0.5, 0.5], [0.501, 0.499], [0.9, 0.1]]), num=2).tolist()
        [0, 2]
    """
    distance, rows = APART, unique_rows(X, avoid)
    while distance > SAME:
        keep = _far(X, rows, distance, avoid, most)
        if len(keep) >= min(num, len(rows)):
            return keep
        distance /= 2
    return rows


def _far(
    X: Array,
    rows: npt.NDArray[np.int64],
    distance: float,
    avoid: Array | None = None,
    most: int | None = None,
) -> npt.NDArray[np.int64]:
    """The indices among ``rows``, in order, that lie ``distance`` from all kept before and from ``avoid``."""
    gap = np.full(len(X), np.inf)
    for row in avoid if avoid is not None else ():
        gap = np.minimum(gap, np.abs(X - row).max(axis=1))
    keep = []
    for i in rows:
        if gap[i] >= distance - TOLERANCE:
            keep.append(i)
            gap = np.minimum(gap, np.abs(X - X[i]).max(axis=1))
            if len(keep) == most:
                break
    return np.array(keep, dtype=np.int64)


def finish(start: Start, X: Array, concentration: npt.ArrayLike | None = None) -> list[Schedule]:
    """The first ``num`` feasible rows of X (n, K), no near copies of one another, as schedules; what is short is drawn
    at random.

    Mixtures that were observed already are not proposed again (a replicate is asked for in :func:`specs`).

    Raises:
        ConfigError: the budget does not leave ``num`` different mixtures.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000, "wiki": 1_000}, source="example")
        >>> start = begin(corpus, Budget(tokens=8_000, max_epochs=4), 2, None, seed=0)
        >>> [s.mixture["wiki"] for s in finish(start, np.array([[0.9, 0.1], [0.6, 0.4]]))]
        [0.1, 0.4]
    """
    polytope = start.polytope
    X = polytope.snap_to_bounds(polytope._tidy(np.asarray(X, dtype=float).reshape(-1, len(polytope.domains))))
    X = X[polytope.contains(X)]
    X = X[unique_rows(X, start.observed)]
    for round_ in range(20):
        enough = len(X) >= start.num and round_ >= 4  # so little room that near copies cannot be avoided
        if enough or len(_far(X, np.arange(len(X)), APART, most=start.num)) >= start.num or polytope.dimension == 0:
            break
        more = polytope.snap_to_bounds(polytope.sample(max(2 * start.num, 8), start.rng, concentration))
        X = np.vstack([X, more[polytope.contains(more)]])
        X = X[unique_rows(X, start.observed)]
    X = X[apart_rows(X, start.num, most=start.num)]
    if len(X) < start.num:
        if polytope.dimension == 0 and not len(X) and not len(start.observed):
            X = polytope.centre[None]
        if len(X) < start.num:
            raise ConfigError(
                f"{start.num} different mixtures were asked for, but the budget leaves "
                f"{'only one' if polytope.dimension == 0 else f'no more than {len(X)} that could be found'}"
                f"{' besides those observed' if len(start.observed) else ''}. "
                f"Ask for fewer runs (and replicates instead), or loosen the limits."
            )
    return [Schedule.constant(Mixture.from_array(polytope.domains, row)) for row in X]

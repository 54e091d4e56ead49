"""Levenberg-Marquardt over a batch of problems advanced in step; see :mod:`mixlaw.laws.fit.engine` for its use.

Damping follows Nielsen 1999; the curvature that Gauss-Newton leaves out is learned by NL2SOL's secant (Dennis, Gay
& Welsch 1981), which turns hundreds of steps along curved valleys into tens; starts whose paths meet go on as one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mixlaw.kit.arrays import Array

__all__ = ["TINY", "Evaluate", "Ints", "levenberg_marquardt"]

Ints = npt.NDArray[np.int64]
Evaluate = Callable[[Array, Ints], tuple[Array, Array, Array]]
TINY = 1e-300

_HALVING, _FINALISTS = 4, 12  # a race: starts halve in so many iterations, down to so many
_HOPE = 3.0  # a start still falling is ranked as if it fell three times its last drop more


def levenberg_marquardt(
    evaluate: Evaluate,
    theta: Array,
    problem: Ints,
    *,
    lower: Array | None = None,
    upper: Array | None = None,
    max_iter: int = 300,
    gtol: float = 1e-9,
    ftol: float = 1e-14,
    floor: Array | float = 0.0,
    secant: bool = True,
    race: bool = False,
) -> tuple[Array, Array, Array, Ints]:
    """Minimise B problems together from theta (B, P), inside ``lower <= theta <= upper`` (by projection).

    Args:
        evaluate: (theta (b, P), problem (b,)) -> objective (b,), gradient (b, P), Gauss-Newton matrix (b, P, P).
            A point it cannot evaluate gets a non-finite objective and is never accepted.
        floor: (B,) or a number: an objective below it is an exact fit.
        secant: learn the curvature the Gauss-Newton matrix leaves out (for smooth losses).
        race: give up starts that fall behind the others of their problem: their number halves every four iterations,
            down to a dozen. For the best optimum; those given up end where they were.

    Returns:
        theta (B, P), objective (B,), gradient_norm (B,), iterations (B,); each row the best point it has seen.

    Example:
        >>> def parabola(theta, problem):  # (theta - 3)^2 / 2
        ...     away = theta - 3.0
        ...     return 0.5 * (away**2).sum(1), away, np.ones((len(theta), 1, 1))
        >>> levenberg_marquardt(parabola, [[0.0]], np.zeros(1, dtype=np.int64))[0].round(6).tolist()
        [[3.0]]

    Source: Marquardt 1963; Nielsen 1999; Dennis, Gay & Welsch 1981.
    """
    theta = np.array(theta, dtype=float)
    B, P = theta.shape
    box = _Box.of(lower, upper, P)
    theta = np.clip(theta, box.low, box.high)
    floor = np.broadcast_to(np.asarray(floor, dtype=float), (B,))
    ends = _Ends(theta.copy(), np.full(B, np.inf), np.full(B, np.inf), np.zeros(B, dtype=np.int64), np.arange(B))
    if P == 0:
        F, _, _ = evaluate(theta, problem)
        return theta, F, np.zeros(B), ends.iterations

    num_starts = B / max(1, len(np.unique(problem)))
    with np.errstate(all="ignore"):
        at = _Moving.begin(evaluate, theta, problem, floor, secant)
        iteration = 0
        while len(at.index) and iteration < max_iter:
            iteration += 1
            learning = secant and not (race and iteration <= _HALVING)  # most starts of a race will not need it
            done, drop = _advance(at, evaluate, box, gtol, ftol, learning)
            if iteration % 4 == 0 and len(at.index) > 4:
                done = done | ends.follow(at, done)
            if race and iteration % 2 == 0:
                done = done | _behind(at.F - _HOPE * drop, at.problem, num_starts * 0.5 ** (iteration / _HALVING))
            if done.any() or iteration == max_iter:
                leave = done if iteration < max_iter else np.ones(len(done), dtype=bool)
                ends.record(at, leave, box, iteration)
                at.keep(~leave)
        ends.copy_leaders()
    return ends.theta, ends.F, ends.norm, ends.iterations


@dataclass(frozen=True)
class _Box:
    """Bounds (P,) of theta."""

    low: Array
    high: Array
    bounded: bool

    @classmethod
    def of(cls, low: Array | None, high: Array | None, P: int) -> _Box:
        """The box; None: no bound."""
        lo = np.full(P, -np.inf) if low is None else np.broadcast_to(low, (P,))
        hi = np.full(P, np.inf) if high is None else np.broadcast_to(high, (P,))
        return cls(lo, hi, bool(np.isfinite(lo).any() or np.isfinite(hi).any()))


@dataclass
class _Moving:
    """The b rows of the batch that still move."""

    index: Ints
    """Places in the whole batch."""
    t: Array
    F: Array
    g: Array
    H: Array
    problem: Ints
    floor: Array
    damping: Array
    grow: Array
    """(b,) factor by which the damping grows at the next failure."""
    S: Array | None
    """(b, P, P) secant estimate of the curvature the Gauss-Newton matrix leaves out; None: not learned."""
    augment: npt.NDArray[np.bool_]
    """(b,) whether H + S has predicted better than H."""

    @classmethod
    def begin(cls, evaluate: Evaluate, theta: Array, problem: Ints, floor: Array, secant: bool) -> _Moving:
        """All rows that have a finite objective."""
        F, g, H = evaluate(theta, problem)
        index = np.flatnonzero(np.isfinite(F))
        b, H = len(index), H[index]
        return cls(
            index, theta[index], F[index], g[index], H, problem[index], floor[index],
            np.full(b, 1e-2), np.full(b, 2.0), np.zeros_like(H) if secant else None, np.zeros(b, dtype=bool),
        )  # fmt: skip

    def keep(self, stay: npt.NDArray[np.bool_]) -> None:
        """Let the other rows go."""
        for name, value in vars(self).items():
            if value is not None:
                setattr(self, name, value[stay])


@dataclass
class _Ends:
    """Where each of the B rows ended, or which row it follows."""

    theta: Array
    F: Array
    norm: Array
    iterations: Ints
    leader: Ints

    def record(self, at: _Moving, leave: npt.NDArray[np.bool_], box: _Box, iteration: int) -> None:
        """Rows ``leave`` end where they are."""
        gone = at.index[leave]
        self.theta[gone], self.F[gone], self.iterations[gone] = at.t[leave], at.F[leave], iteration
        D = _diagonal(at.H)[leave]
        largest = D.max(axis=1, keepdims=True)
        self.norm[gone] = _certificate(at.F[leave], at.g[leave], D, largest, at.t[leave], box, at.floor[leave])[0]

    def follow(self, at: _Moving, done: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which rows have met another one's path and follow it from now on."""
        joined = _joined(at.t, at.F, at.problem)
        if joined is None:
            return np.zeros(len(done), dtype=bool)
        follows = (joined >= 0) & ~done
        self.leader[at.index[follows]] = at.index[joined[follows]]
        return follows

    def copy_leaders(self) -> None:
        """Rows that follow another end where it ended."""
        for i in np.flatnonzero(self.leader != np.arange(len(self.leader))):
            j = self.leader[i]
            while self.leader[j] != j:
                j = self.leader[j]
            for values in (self.theta, self.F, self.norm, self.iterations):
                values[i] = values[j]


def _advance(
    at: _Moving, evaluate: Evaluate, box: _Box, gtol: float, ftol: float, learning: bool
) -> tuple[npt.NDArray[np.bool_], Array]:
    """One damped step of every moving row, taken where it lowers the objective: which rows are done, and by how much
    each objective fell, (b,) both."""
    F, g, H = at.F, at.g, at.H
    new, norm = _damped_step(at, box)
    step = new - at.t
    F1, g1, H1 = evaluate(new, at.problem)
    linear = (g * step).sum(1)
    plain = -linear - 0.5 * (np.matmul(H, step[:, :, None])[:, :, 0] * step).sum(1)
    predicted, Ss, learned = plain, plain, plain
    if learning and at.S is not None:
        Ss = np.matmul(at.S, step[:, :, None])[:, :, 0]
        learned = plain - 0.5 * (Ss * step).sum(1)
        predicted = np.where(at.augment, learned, plain)
    better, fall = np.isfinite(F1) & (F1 < F), F - F1
    gain = np.where(better, fall / np.maximum(predicted, TINY), -1.0)
    drop = np.where(better, fall, 0.0)
    still = ftol * (np.abs(F) + at.floor)
    # Nielsen's damping: shrink smoothly on success, grow ever faster on failure
    success = gain > 0
    factor = np.where(success, np.maximum(0.1, 1.0 - (2.0 * np.minimum(gain, 1.0) - 1.0) ** 3), at.grow)
    at.damping = np.maximum(at.damping * factor, 1e-14)
    at.grow = np.where(success, 2.0, at.grow * 2.0)
    done = (norm <= gtol) | (at.floor >= F) | (np.abs(predicted) <= still) & (drop <= still) | (at.damping > 1e14)
    if learning and at.S is not None:
        at.S, at.augment = _secant(at.S, Ss, H1, g1 - g, step, better, fall, plain, learned, at.augment)
    if better.all():
        at.t, at.F, at.g, at.H = new, F1, g1, H1
    else:
        at.t = np.where(better[:, None], new, at.t)
        at.F = np.where(better, F1, F)
        at.g = np.where(better[:, None], g1, g)
        at.H = np.where(better[:, None, None], H1, H)
    return done, drop


def _damped_step(at: _Moving, box: _Box) -> tuple[Array, Array]:
    """Where the next steps lead (b, P), inside the box, and the certificate (b,) of where they start."""
    D = _diagonal(at.H)
    largest = D.max(axis=1, keepdims=True)
    norm, free = _certificate(at.F, at.g, D, largest, at.t, box, at.floor)
    scale = D + 1e-10 * largest + TINY
    if at.S is not None and at.augment.any():
        A = at.H + np.where(at.augment[:, None, None], at.S, 0.0)
    else:
        A = at.H.copy()
    diagonal, right = _diagonal(A), -at.g
    diagonal += at.damping[:, None] * scale
    if free is not None and not free.all():
        A *= free[:, :, None] & free[:, None, :]
        diagonal += np.where(free, 0.0, scale)
        right = np.where(free, right, 0.0)
    new = at.t + _solve(A, right)
    return (np.minimum(np.maximum(new, box.low), box.high) if box.bounded else new), norm


def _diagonal(H: Array) -> Array:
    """The diagonals (b, P) of matrices (b, P, P): a view, so that what is written to it is written to them."""
    return np.einsum("bpp->bp", H)


def _behind(score: Array, problem: Ints, quota: float) -> npt.NDArray[np.bool_]:
    """Which rows are not among the ``quota`` lowest scores of their problem."""
    order = np.lexsort((score, problem))
    row = np.arange(len(order))
    first = np.append(True, problem[order][1:] != problem[order][:-1])
    out = np.empty(len(order), dtype=bool)
    out[order] = row - np.maximum.accumulate(np.where(first, row, 0)) >= max(_FINALISTS, int(quota))
    return out


def _joined(t: Array, F: Array, problem: Ints) -> Ints | None:
    """For each row the row whose path it has met (same problem, same place, lower objective), or -1.

    Starts that meet end in the same optimum; following one of them is enough.
    """
    order = np.lexsort((F, problem))
    a, b = order[:-1], order[1:]
    near = (problem[a] == problem[b]) & (F[b] - F[a] <= 1e-6 * np.abs(F[a]))
    if not near.any():
        return None
    near &= (np.abs(t[a] - t[b]) <= 1e-3 * (np.abs(t[a]) + 0.01)).all(axis=1)
    result = np.full(len(t), -1, dtype=np.int64)
    result[b[near]] = a[near]
    return result


def _secant(
    S: Array,
    Ss: Array,
    H1: Array,
    y: Array,
    step: Array,
    better: npt.NDArray[np.bool_],
    drop: Array,
    plain: Array,
    learned: Array,
    augment: npt.NDArray[np.bool_],
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """NL2SOL's update of S from an accepted step, and for which problems H + S now predicts better than H.

    Along a curved valley H alone takes hundreds of short steps. Dennis, Gay & Welsch 1981.
    """
    wanted = y - np.matmul(H1, step[:, :, None])[:, :, 0]
    ys = (y * step).sum(1)
    usable = better & (ys > 1e-12 * np.sqrt((y * y).sum(1) * (step * step).sum(1)))
    if not usable.any():
        return S, augment
    sSs = np.abs((Ss * step).sum(1))
    tau = np.minimum(1.0, np.abs((wanted * step).sum(1)) / np.maximum(sSs, TINY))
    rest = wanted - tau[:, None] * Ss
    safe = np.where(usable, ys, 1.0)
    u = y / safe[:, None]
    cross = rest[:, :, None] * u[:, None, :]
    new = tau[:, None, None] * S + cross + cross.transpose(0, 2, 1)
    new -= (rest * step).sum(1)[:, None, None] * u[:, :, None] * u[:, None, :]
    usable &= np.isfinite(new).all(axis=(1, 2))
    S = np.where(usable[:, None, None], new, S)
    return S, np.where(usable, np.abs(drop - learned) < np.abs(drop - plain), augment)


def _certificate(
    F: Array, g: Array, D: Array, largest: Array, t: Array, box: _Box, floor: Array
) -> tuple[Array, npt.NDArray[np.bool_] | None]:
    """Scale-free norm of the projected gradient, and which parameters are free to move (None: all are).

    ``D`` (b, P) is the diagonal of the curvature, ``largest`` (b, 1) the largest number of each row.
    """
    counts, free = 1e-14 * largest < D, None
    if box.bounded:
        low, high = t <= box.low, t >= box.high
        if low.any() or high.any():
            free = ~((low & (g > 0)) | (high & (g < 0)))
            counts &= free
    cosine = np.abs(g) / np.sqrt(np.maximum(D, TINY) * np.maximum(2.0 * np.abs(F), TINY)[:, None])
    return np.where(floor >= F, 0.0, np.where(counts, cosine, 0.0).max(axis=1)), free


def _solve(A: Array, b: Array) -> Array:
    """Batched A x = b for damped normal matrices; a row that is still singular gets a zero step."""
    try:
        x = np.linalg.solve(A, b[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        x = np.zeros_like(b)
        for i in range(len(b)):  # rare: one singular matrix must not stop the batch
            x[i] = np.linalg.lstsq(np.nan_to_num(A[i]), np.nan_to_num(b[i]), rcond=None)[0]
    finite = np.isfinite(x)
    if not finite.all():
        x = np.where(finite.all(axis=1, keepdims=True), x, 0.0)
    return np.asarray(x, dtype=float)

"""Levenberg-Marquardt over a batch of problems advanced in step; see :mod:`mixlaw.laws.fit.engine` for its use.

Damping follows Nielsen 1999; the curvature that Gauss-Newton leaves out is learned by NL2SOL's secant (Dennis, Gay
& Welsch 1981), which turns hundreds of steps along curved valleys into tens; starts whose paths meet go on as one.
"""

from __future__ import annotations

from collections.abc import Callable

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
        theta, objective, gradient_norm, iterations; each row the best point it has seen.
    """
    theta = np.array(theta, dtype=float)
    B, P = theta.shape
    lo = np.full(P, -np.inf) if lower is None else np.broadcast_to(lower, (P,))
    hi = np.full(P, np.inf) if upper is None else np.broadcast_to(upper, (P,))
    theta = np.clip(theta, lo, hi)
    floor = np.broadcast_to(np.asarray(floor, dtype=float), (B,))
    out_theta, out_F = theta.copy(), np.full(B, np.inf)
    out_norm, out_iter = np.full(B, np.inf), np.zeros(B, dtype=np.int64)
    if P == 0:
        F, _, _ = evaluate(theta, problem)
        return theta, F, np.zeros(B), out_iter

    with np.errstate(all="ignore"):
        F, g, H = evaluate(theta, problem)
        alive = np.isfinite(F)
        if not alive.all():
            g, H = np.where(alive[:, None], g, 0.0), np.where(alive[:, None, None], H, 0.0)
        index = np.flatnonzero(alive)  # rows of the batch still moving
        t, F, g, H, prob, fl = theta[index], F[index], g[index], H[index], problem[index], floor[index]
        lam = np.full(len(index), 1e-2)
        grow = np.full(len(index), 2.0)
        S = np.zeros_like(H) if secant else H  # secant estimate of the curvature the Gauss-Newton matrix leaves out
        augment = np.zeros(len(index), dtype=bool)
        eye = np.arange(P)
        bounded = bool(np.isfinite(lo).any() or np.isfinite(hi).any())
        leader = np.arange(B)
        num_starts = B / max(1, len(np.unique(problem)))
        iteration = 0
        while len(index) and iteration < max_iter:
            iteration += 1
            D = H[:, eye, eye]
            norm, free = _certificate(F, g, D, t, lo, hi, bounded, fl)
            scale = D + 1e-10 * D.max(axis=1, keepdims=True) + TINY
            A = H + np.where(augment[:, None, None], S, 0.0) if augment.any() else H.copy()
            A[:, eye, eye] += lam[:, None] * scale
            right = -g
            if bounded and not free.all():
                A *= free[:, :, None] & free[:, None, :]
                A[:, eye, eye] += np.where(free, 0.0, scale)
                right = np.where(free, right, 0.0)
            step = _solve(A, right)
            new = np.clip(t + step, lo, hi) if bounded else t + step
            step = new - t
            F1, g1, H1 = evaluate(new, prob)
            linear = (g * step).sum(1)
            plain = -linear - 0.5 * (np.matmul(H, step[:, :, None])[:, :, 0] * step).sum(1)
            predicted = plain
            learning = secant and not (race and iteration <= _HALVING)  # most starts of a race will not need it
            if learning:
                Ss = np.matmul(S, step[:, :, None])[:, :, 0]
                learned = plain - 0.5 * (Ss * step).sum(1)
                predicted = np.where(augment, learned, plain)
            better = np.isfinite(F1) & (F1 < F)
            gain = np.where(better, (F - F1) / np.maximum(predicted, TINY), -1.0)
            drop = np.where(better, F - F1, 0.0)
            small = np.abs(predicted) <= ftol * (np.abs(F) + fl)
            # Nielsen's damping: shrink smoothly on success, grow ever faster on failure
            factor = np.where(gain > 0, np.maximum(0.1, 1.0 - (2.0 * np.minimum(gain, 1.0) - 1.0) ** 3), grow)
            lam = np.maximum(lam * factor, 1e-14)
            grow = np.where(gain > 0, 2.0, grow * 2.0)
            done = (norm <= gtol) | (fl >= F) | small & (drop <= ftol * (np.abs(F) + fl)) | (lam > 1e14)
            if learning:
                S, augment = _secant(S, Ss, H1, g1 - g, step, better, F - F1, plain, learned, augment)
            t = np.where(better[:, None], new, t)
            F = np.where(better, F1, F)
            g = np.where(better[:, None], g1, g)
            H = np.where(better[:, None, None], H1, H)
            joined = _joined(t, F, prob) if iteration % 4 == 0 and len(index) > 4 else None
            if joined is not None:
                follows = (joined >= 0) & ~done
                leader[index[follows]] = index[joined[follows]]
                done = done | follows
            if race and iteration % 2 == 0:
                done = done | _behind(F - _HOPE * drop, prob, num_starts * 0.5 ** (iteration / _HALVING))
            if done.any() or iteration == max_iter:
                leave = done if iteration < max_iter else np.ones(len(index), dtype=bool)
                gone = index[leave]
                out_theta[gone], out_F[gone], out_iter[gone] = t[leave], F[leave], iteration
                D = H[leave][:, eye, eye]
                out_norm[gone] = _certificate(F[leave], g[leave], D, t[leave], lo, hi, bounded, fl[leave])[0]
                stay = ~leave
                index, t, F, g, H = index[stay], t[stay], F[stay], g[stay], H[stay]
                prob, fl, lam, grow = prob[stay], fl[stay], lam[stay], grow[stay]
                if secant:
                    S, augment = S[stay], augment[stay]
        for i in np.flatnonzero(leader != np.arange(B)):
            j = leader[i]
            while leader[j] != j:
                j = leader[j]
            out_theta[i], out_F[i], out_norm[i], out_iter[i] = out_theta[j], out_F[j], out_norm[j], out_iter[j]
    return out_theta, out_F, out_norm, out_iter


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
    F: Array, g: Array, D: Array, t: Array, lo: Array, hi: Array, bounded: bool, floor: Array
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Scale-free norm of the projected gradient, and which parameters are free to move."""
    free = np.ones(t.shape, dtype=bool)
    if bounded:
        free = ~(((t <= lo) & (g > 0)) | ((t >= hi) & (g < 0)))
    cosine = np.abs(g) / np.sqrt(np.maximum(D, TINY) * np.maximum(2.0 * np.abs(F), TINY)[:, None])
    cosine = np.where(free & (1e-14 * D.max(axis=1, keepdims=True) < D), cosine, 0.0)
    return np.where(floor >= F, 0.0, cosine.max(axis=1)), free


def _solve(A: Array, b: Array) -> Array:
    """Batched A x = b for damped normal matrices; a row that is still singular gets a zero step."""
    try:
        x = np.linalg.solve(A, b[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        x = np.zeros_like(b)
        for i in range(len(b)):  # rare: one singular matrix must not stop the batch
            x[i] = np.linalg.lstsq(np.nan_to_num(A[i]), np.nan_to_num(b[i]), rcond=None)[0]
    return np.where(np.isfinite(x).all(axis=1, keepdims=True), x, 0.0)

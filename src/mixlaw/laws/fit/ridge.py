"""How a parametric mixture law is solved: priors, folds, and a ridge and its centre chosen by held-out error.

All targets, folds and strengths of the ridge are fitted in one batch (:mod:`mixlaw.laws.fit.engine`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.folds import fold_ids, held_out_folds
from mixlaw.laws.fit.engine import BatchFit, Best, Ints, fit_batch
from mixlaw.laws.fit.equal_fits import as_good, own_share
from mixlaw.laws.fit.mixture_form import MixtureForm
from mixlaw.laws.fit.objective import Prior
from mixlaw.laws.fit.separable import Separable
from mixlaw.laws.fit.shared_prior import learn_centres

__all__ = ["Centres", "RidgeLaw", "Rows", "Sharing", "Tuned", "clearly_better"]

_WORK = 4e9  # multiplications the ridge search may cost before it looks at fewer rows and strengths
_LEAST = 1e-8  # of a family's least strength, as good as none: so far a choice at that end is followed
_EXACT = 1e-12  # share of a target's variance: less held-out error is none

Sharing = Literal["separate", "shared", "cv"]
Centres = tuple[Array, Array]  # of the ridges on theta (M, P) and on the linear coefficients (M, L)


@dataclass(frozen=True)
class Rows:
    """What problems are fitted to: the model over the rows, targets Y (M, n) without NaN, weights W (M, n), and for
    censored values the side (M, n) on which the truth lies (+1 above Y, -1 below, 0 measured; None: all measured).

    Example:
        >>> rows = Rows(None, np.array([[3.0, 2.5]]), np.ones((1, 2)), np.array([[1, 0]], np.int8))
        >>> rows.error(np.array([[3.4], [2.6]])).round(2).tolist()  # 3.0 is a lower bound: 3.4 is no error
        [[0.0], [0.1]]
    """

    model: Any
    Y: Array
    W: Array
    side: npt.NDArray[np.int8] | None

    def tile(self, weights: Array) -> Rows:
        """The problems once for each of ``weights`` (F, n), which multiply their own: F * M problems."""
        F = len(weights)
        W = (weights[:, None, :] * self.W[None]).reshape(F * len(self.W), -1)
        return Rows(self.model, np.tile(self.Y, (F, 1)), W, None if self.side is None else np.tile(self.side, (F, 1)))

    def take(self, model: Any, keep: npt.NDArray[np.bool_]) -> Rows:
        """The rows where ``keep`` (n,) is true; ``model`` is the one over them."""
        side = None if self.side is None else self.side[:, keep]
        return Rows(model, self.Y[:, keep], self.W[:, keep], side)

    def error(self, predicted: Array) -> Array:
        """(n, T) predicted (n, T) minus measured, in the targets' unit; for a censored value only as far as the
        prediction is on the wrong side.
        """
        error = predicted - self.Y.T
        if self.side is None:
            return error
        above, below = self.side.T > 0, self.side.T < 0
        return np.where(above, np.minimum(error, 0.0), np.where(below, np.maximum(error, 0.0), error))


@dataclass(frozen=True)
class Tuned:
    """Ridges chosen by held-out error, with what the folds found at them.

    Example:
        >>> one = Tuned(np.array([0.1]), np.zeros((8, 1)), np.array([-2.0]), theta=None, linear=None)
        >>> one.heldout.shape, one.as_good
        ((8, 1), {})
    """

    ridge: Array
    heldout: Array
    """(n, T) predictions by folds that had not seen the row."""
    score: Array
    """(T,) log of the mean squared held-out error, in units of the target's variance."""
    theta: Array | None
    """(F, T, P) and (F, T, 1 + L): the folds' optima; None where one sample of the rows chose."""
    linear: Array | None
    as_good: Mapping[float, npt.NDArray[np.bool_]] = field(default_factory=dict)
    """By strength: (T,) whether held-out runs cannot tell it from the chosen one. Only where ``tells_equal_fits``."""


class RidgeLaw(MixtureForm):
    """What :class:`mixlaw.laws.fit.mixture_law.MixtureLaw` is solved by; its options are described there.

    Example:
        >>> from mixlaw.laws import M4
        >>> R = np.random.default_rng(0).dirichlet([1, 1], 12)
        >>> law = M4(ridge="cv").fit(R, 2 + np.exp(-2 * R[:, 0]))
        >>> isinstance(law, RidgeLaw), bool(law.ridge_[0] < 1e-5)  # exact data need none
        (True, True)
    """

    ridge_grid: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    tells_equal_fits: ClassVar[bool] = False
    """Whether other optima that fit as well are searched for, told and held by intervals: where they lie nats apart."""
    ridge: float | Literal["cv"]
    log: bool
    prior: Sharing
    _delta: float
    _variance: Array  # (T,) of the targets

    # ---- options -----------------------------------------------------------------------------------
    def _check_prior(self) -> None:
        if self.prior not in ("separate", "shared", "cv"):
            raise ConfigError(f"prior={self.prior!r} is not known. Use 'separate', 'shared' or 'cv'.")
        if self.prior == "shared" and self.comparable() is None:
            raise ConfigError(
                f"{type(self).__name__} has no coefficients that mean the same in every target, so prior='shared' has "
                f"nothing to share. Use prior='separate'."
            )

    def _may_share(self, tuned: Tuned) -> bool:
        """Whether a shared prior is worth a try: asked for, several targets, a ridge that has a centre."""
        wanted = self.prior != "separate" and self.comparable() is not None
        if self.prior == "cv" and len(tuned.heldout) > 10 * self.num_free():  # each target speaks for itself
            return False
        return wanted and self.n_targets_ > 1 and tuned.theta is not None and bool((tuned.ridge > 0).any())

    def _learn(self, theta: Array, linear: Array, trust: Array) -> Centres:
        """Ridge centres (F*T, P) and (F*T, L) learned across targets from optima (F, T, P), (F, T, 1 + L)
        (without the 1 for a law without intercept)."""
        comparable = self.comparable()
        assert comparable is not None
        if self._parts().intercept is None:
            linear = np.concatenate([np.zeros((*linear.shape[:2], 1)), linear], axis=2)
        a, b = learn_centres(
            comparable, theta, linear, self.pull()[0], self.own_domains(), np.sqrt(self._variance), trust
        )
        problems = theta.shape[0] * theta.shape[1]
        return a.reshape(problems, -1), b.reshape(problems, b.shape[2])

    def _sample(self, X: Array, Y: Array, P: int) -> npt.NDArray[np.bool_] | None:
        """(n,) a sample of rows large enough to tell starts apart, or None where all rows are hardly more."""
        rows = max(256, 8 * P)
        if len(X) < 2 * rows:
            return None
        return fold_ids(X, Y.T, len(X) // rows, self.seed) == 0

    def _fit_problems(
        self,
        rows: Rows,
        starts: Array,
        ridge: Array,
        max_iter: int,
        gtol: float,
        centres: Centres | None = None,
        race: bool = False,
    ) -> BatchFit:
        """Fit the problems of ``rows``; problem m belongs to target ``m % T``."""
        prior, linear = self._priors(rows.model, np.arange(len(rows.Y)) % len(self.target_names_), ridge, centres)
        return fit_batch(
            rows.model,
            rows.Y,
            starts,
            loss=self.loss,
            delta=self._delta,
            log=self.log,
            weights=rows.W,
            censored=rows.side,
            bounds=self.bounds(),
            prior=prior,
            linear_prior=linear,
            max_iter=max_iter,
            gtol=gtol,
            race=race,
        )

    def _priors(
        self, model: Any, target: npt.NDArray[Any], ridge: Array, centres: Centres | None
    ) -> tuple[Prior, Prior | None]:
        """Ridges on theta and on the linear coefficients of problems (M,), each of a target."""
        centre, pattern = self.pull()
        at, linear_at = (centre[target], 0.0) if centres is None else centres
        prior = Prior(at, (ridge * self._variance[target])[:, None] * pattern[target])
        linear = Prior(linear_at, ridge[:, None] * self.pull_amplitudes()) if isinstance(model, Separable) else None
        return prior, linear

    def _solve(
        self,
        rows: Rows,
        starts: Array,
        ridge: Array,
        max_iter: int = 300,
        gtol: float = 1e-9,
        centres: Centres | None = None,
    ) -> Best:
        return self._fit_problems(rows, starts, ridge, max_iter, gtol, centres).best()

    def _values(self, model: Any, theta: Array, linear: Array, problem: Ints) -> Array:
        """(M, n) predictions of M parameter sets."""
        with np.errstate(all="ignore"):
            if isinstance(model, Separable):
                phi = model.basis(theta, problem)
                if not model.intercept:
                    return np.matmul(phi, linear[:, :, None])[:, :, 0]
                return np.matmul(phi, linear[:, 1:, None])[:, :, 0] + linear[:, :1]
            return model(theta, problem)[0]

    # ---- the ridge, by held-out error --------------------------------------------------------------
    def _tune(self, rows: Rows, X: Array, starts: Array, ridge: Array, centres: Centres | None) -> Tuned:
        """Ridges by held-out error (or ``ridge`` where the caller set it), pulling towards ``centres``.

        ``starts`` are (T, S, P), or (F*T, 1, P) with the folds' own, as ``centres`` are.
        """
        T, n = rows.Y.shape
        chosen = self.ridge == "cv"
        grid = np.array(self.ridge_grid) if chosen else np.array([np.nan])
        if centres is None and float(n) * starts.shape[2] ** 2 * T * 40 * len(grid) > _WORK:
            sample = self._sample(X, rows.Y, starts.shape[2])
            if chosen and sample is not None:
                return self._tune_on_sample(rows, X, starts, sample)
        ids, folds = self._folds(X, rows.Y)
        if not chosen and float(n) * starts.shape[2] ** 2 * T * 40 > _WORK:
            folds = folds[:1]
        begin, weak = starts, starts[:, :0]
        if centres is None:
            begin, weak = (
                np.repeat(starts[None, :, s], len(folds), axis=0).reshape(len(folds) * T, 1, -1) for s in (0, -1)
            )
        found: dict[float, tuple[Array, Best]] = {}

        def ask(strength: float, start: Array) -> Array:
            each = np.full(T, strength) if chosen else ridge
            found[strength] = self._fold_predictions(rows, start, each, ids, folds, centres)
            return found[strength][1].theta[:, None]

        # from the middle outwards, each strength starts where its neighbour ended
        middle = len(grid) // 2
        begin = ask(float(grid[middle]), begin)
        for path in (grid[middle + 1 :], grid[:middle][::-1]):
            start = begin
            for strength in path:
                less = strength < grid[middle]  # there the valley that is the deepest without a ridge may be so too
                start = ask(float(strength), np.concatenate([start, weak], axis=1) if less else start)
        choice, heldout, score = self._pick([found[v][0] for v in sorted(found)], rows)
        # a choice of the least strength that was tried says that less may be better, down to none
        while chosen and (choice == 0).any() and min(found) > _LEAST * grid[0]:
            least = min(found)
            ask(least / 100, found[least][1].theta[:, None])
            choice, heldout, score = self._pick([found[v][0] for v in sorted(found)], rows, len(found) - len(grid))
        tried = sorted(found)
        equal: dict[float, npt.NDArray[np.bool_]] = {}
        if chosen and self.tells_equal_fits:
            weight = rows.W.T
            seen = [np.isfinite(found[v][0]) & (weight > 0) for v in tried]
            squares = np.array([np.where(s, rows.error(found[v][0]), 0.0) ** 2 for s, v in zip(seen, tried)])
            equal = dict(zip(tried, as_good(squares, np.where(np.all(seen, axis=0), weight, 0.0), choice)))
        F, at = len(folds), np.arange(T)
        theta = np.stack([found[v][1].theta.reshape(F, T, -1) for v in tried])[choice, :, at]
        linear = np.stack([found[v][1].linear.reshape(F, T, -1) for v in tried])[choice, :, at]
        return Tuned(
            np.array(tried)[choice] if chosen else ridge,
            heldout,
            score,
            np.ascontiguousarray(theta.swapaxes(0, 1)),
            np.ascontiguousarray(linear.swapaxes(0, 1)),
            equal,
        )

    def _pick(self, predictions: Sequence[Array], rows: Rows, below: int = 0) -> tuple[npt.NDArray[Any], Array, Array]:
        """Each target's choice by held-out error, the held-out predictions (n, T) at it, and how good they are. The
        first ``below`` are of strengths under the family's grid, and count where they halve the squared error, as they
        do for exact data."""
        T, n = rows.Y.shape
        scores = []
        for predicted in predictions:
            seen = np.isfinite(predicted) & (rows.W.T > 0)
            error, weight = np.where(seen, rows.error(predicted), 0.0), np.where(seen, rows.W.T, 0.0)
            known = np.where(seen.any(0), weight.sum(0), 1.0)
            scores.append(np.log(np.maximum((weight * error**2).sum(0) / known / self._variance, _EXACT)))
        table = np.array(scores)  # (G, T)
        # a target's own evidence and everyone's: few runs cannot choose for one target alone
        share = own_share(n)
        judged = share * table + (1 - share) * table.mean(axis=1, keepdims=True)
        judged[:below] = np.where(table[:below] < table[below] - np.log(2.0), judged[:below], np.inf)
        choice = len(table) - 1 - np.argmin(judged[::-1], axis=0)  # of equally exact ones the strongest
        heldout = np.stack([predictions[choice[t]][:, t] for t in range(T)], axis=1)
        return choice, heldout, table[choice, np.arange(T)]

    def _tune_on_sample(self, rows: Rows, X: Array, starts: Array, sample: npt.NDArray[np.bool_]) -> Tuned:
        """As :meth:`_tune` where rows abound: fit a sample, score on all the others."""
        grid = np.array([_LEAST * self.ridge_grid[0], *self.ridge_grid[:: max(1, len(self.ridge_grid) // 3)]])
        part = rows.take(self.model(X[sample]), sample)
        problem = np.arange(len(rows.Y))
        predictions, begin = [], starts[:, -1:]
        for strength in grid:
            ridge = np.full(len(rows.Y), strength * sample.mean())
            best = self._solve(part, begin, ridge, max_iter=60, gtol=1e-5)
            begin = best.theta[:, None]
            values = np.concatenate(
                [self._values(rows.model, best.theta[[t]], best.linear[[t]], problem[[t]]) for t in problem]
            ).T
            predictions.append(np.where(sample[:, None], np.nan, values))
        choice, heldout, score = self._pick(predictions, rows, below=1)
        return Tuned(grid[choice], heldout, score, None, None)

    def _folds(self, X: Array, Y: Array) -> tuple[Ints, list[int]]:
        ids = held_out_folds(X, Y.T, seed=self.seed)
        return ids, list(range(int(ids.max()) + 1))

    def _fold_predictions(
        self, rows: Rows, starts: Array, ridge: Array, ids: Ints, folds: Sequence[int], centres: Centres | None
    ) -> tuple[Array, Best]:
        """Held-out predictions (n, T) and the folds' optima (F*T), fitted in one batch."""
        T, n = rows.Y.shape
        F = len(folds)
        fold_rows = rows.tile(np.stack([ids != f for f in folds]).astype(float))
        best = self._solve(fold_rows, starts, np.tile(ridge, F), max_iter=40, gtol=1e-4, centres=centres)
        out = np.full((n, T), np.nan)
        values = self._values(rows.model, best.theta, best.linear, np.tile(np.arange(T), F)).reshape(F, T, n)
        for i, f in enumerate(folds):
            out[ids == f] = values[i][:, ids == f].T
        return out, best


def clearly_better(score: Array, other: Array, times: float = 1.0) -> bool:
    """Whether held-out errors are lower over the targets by more than the standard error of their difference.

    Args:
        score, other: (T,) logarithms of held-out mean squared errors, of the candidate and of what it would replace.
        times: that many standard errors.

    Example:
        >>> clearly_better(np.array([0.1, 0.2, 0.1]), np.array([0.5, 0.5, 0.6]))
        True
    """
    gain = other - score
    return bool(gain.mean() > times * gain.std(ddof=1) / np.sqrt(len(gain)))

"""What every parametric mixture law inherits: starts, ridge chosen by held-out error, certificate, intervals.

A family is one file: a model (:class:`mixlaw.laws.engine.Separable` or a function), its starting points, its
ridge and how its parameters are called. All targets, folds and ridge strengths are fitted in one batch.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, ConvergenceError, DataError, MixlawWarning, TooFewRunsError
from mixlaw.laws.base import Array, Law
from mixlaw.laws.engine import BatchFit, Best, Ints, Model, Prior, Separable, fit_batch, resample_weights
from mixlaw.laws.folds import fold_ids, replicate_groups
from mixlaw.laws.inputs import design_notes
from mixlaw.laws.own import own_matrix

__all__ = ["ParametricLaw", "log_slopes", "more_starts"]

_WORK = 4e9  # multiplications the ridge search may cost before it looks at fewer rows and strengths


class ParametricLaw(Law):
    """Base of the parametric mixture families.

    Args:
        ridge: strength of the pull towards the family's prior, in units of the target's variance; ``"cv"``
            chooses it by held-out error inside the rows given (leave-one-out up to 24 mixtures, else 5 folds).
        loss: ``"squared"`` or ``"huber"``; ``delta`` is Huber's threshold (None: about a quarter of
            the targets' robust spread, a guess at 1.35 residual sds).
        log: residuals of log losses instead of losses.
        num_starts: starting points per target (None: the family's own choice).
        own: ``{target: domain}``, which domain a target is measured on; otherwise by name.
        seed: of the starts beyond the deterministic ones, and of the folds.
    """

    allows_missing = True
    ridge_grid: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    formula: str = ""

    def __init__(
        self,
        ridge: float | Literal["cv"] = "cv",
        loss: Literal["squared", "huber"] = "squared",
        delta: float | None = None,
        log: bool = False,
        num_starts: int | None = None,
        own: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.ridge = ridge
        self.loss = loss
        self.delta = delta
        self.log = log
        self.num_starts = num_starts
        self.own = own
        self.seed = seed

    # ---- written by a family ---------------------------------------------------------------------
    def _model(self, X: Array) -> Separable | Model:
        """The model over the rows of X."""
        raise NotImplementedError

    def _starts(self, X: Array, Y: Array, W: Array) -> Array:
        """(T, S, P) starting points; Y has no NaN (missing values hold the target's mean), W (T, n)."""
        raise NotImplementedError

    def _prior(self) -> tuple[Array, Array]:
        """(centre, pattern), each (T, P): ridge strength is ``ridge * pattern``."""
        raise NotImplementedError

    def _linear_pattern(self) -> Array:
        """(L,) pattern of the ridge on the linear coefficients."""
        return np.zeros(1)

    def _bounds(self) -> tuple[npt.ArrayLike, npt.ArrayLike] | None:
        return None

    def _num_free(self) -> int:
        """Parameters per target that data must determine where nothing is pulled."""
        raise NotImplementedError

    def _describe(self, theta: Array, linear: Array) -> dict[str, Array]:
        """Parameters under the field's names: arrays with targets first."""
        raise NotImplementedError

    # ---- shared ----------------------------------------------------------------------------------
    def _own(self) -> Array:
        """(T, K): 1 where the domain is the target's own."""
        return own_matrix(list(self.feature_names_in_), self.target_names_, self.own)

    def _reset(self) -> None:
        for name in ("intervals_", "conformal_", "notes_", "identifiability_"):
            self.__dict__.pop(name, None)

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        self._reset()
        if self.ridge != "cv" and not (isinstance(self.ridge, int | float) and self.ridge >= 0):
            raise ConfigError(f"ridge={self.ridge!r} must be 'cv' or a number >= 0.")
        notes = design_notes(X, Y, list(self.feature_names_in_), self.target_names_)
        W = np.where(np.isfinite(Y.T), sample_weight[None], 0.0)  # (T, n)
        distinct = replicate_groups(X)
        seen = np.array([len(np.unique(distinct[w > 0])) for w in W])
        free = self._num_free()
        need = max(4, free) if self.ridge == 0 else 4
        if (seen < need).any():
            worst = int(np.argmin(seen))
            raise TooFewRunsError(
                f"{type(self).__name__} needs at least {need} different mixtures per target"
                f"{f' ({free} parameters, no ridge)' if self.ridge == 0 else ''}; "
                f"{self.target_names_[worst]!r} has {int(seen[worst])}. Add runs"
                f"{', or let ridge=' + repr('cv') + ' hold what they cannot determine.' if self.ridge == 0 else '.'}"
            )
        if (seen < free).any():
            notes.append(
                f"{int(seen.min())} different mixtures for {free} parameters per target: the ridge decides what "
                f"the runs cannot."
            )
        total = W.sum(1)
        mean = np.where(np.isfinite(Y.T), Y.T, 0.0)
        mean = (W * mean).sum(1) / total
        filled = np.where(np.isfinite(Y.T), Y.T, mean[:, None])  # (T, n)
        if self.log and (filled <= 0).any():
            raise DataError("log=True needs positive losses; some are zero or negative. Use log=False.")
        spread = np.log(filled) - np.log(np.maximum(mean, 1e-300))[:, None] if self.log else filled - mean[:, None]
        variance = (W * spread**2).sum(1) / total
        constant = variance <= 1e-20 * np.maximum(mean**2, 1e-20)
        if constant.any():
            names = [self.target_names_[t] for t in np.flatnonzero(constant)]
            notes.append(f"Constant targets {names}: predicted as constants, nothing can be learned from them.")
        self._variance = np.where(constant, 1.0, variance)
        self.simplex_ = bool(np.abs(X.sum(axis=1) - 1.0).max() <= 1e-9)
        self.centre_ = X.mean(axis=0)  # models are written around the mean mixture
        model = self._model(X)
        starts = self._starts(X, filled.T, W)
        self._delta = self._threshold(spread)
        if self.ridge == "cv":
            ridge = np.full(len(filled), self.ridge_grid[len(self.ridge_grid) // 2])
        else:
            ridge = np.full(len(filled), float(self.ridge))
        finalists, agreeing = self._search(model, X, filled, W, starts, ridge)
        heldout = None
        if self.ridge == "cv":
            ridge, heldout = self._choose_ridge(model, X, filled, W, finalists)
        best = self._solve(model, filled, W, finalists, ridge)
        if heldout is None:
            heldout = self._heldout(model, X, filled, W, best.theta[:, None], ridge)
        theta, linear = self._finish(model, filled, W, best.theta.copy(), best.linear.copy())
        if constant.any():
            theta[constant] = self._prior()[0][constant]
            self._heal_constant(theta, linear, constant, mean)
        if not (np.isfinite(theta).all() and np.isfinite(linear).all() and np.isfinite(best.objective).all()):
            raise ConvergenceError(
                f"{type(self).__name__} found no finite optimum. Check for extreme losses, or raise ridge."
            )
        self.theta_, self.linear_, self.ridge_ = theta, linear, ridge
        ok = best.converged | constant
        self.converged_ = bool(ok.all())
        self.fit_report_ = {
            "objective": best.objective.tolist(),
            "gradient_norm": best.gradient_norm.tolist(),
            "converged": ok.tolist(),
            "starts": int(starts.shape[1]),
            "agreeing_starts": agreeing.tolist(),
            "ridge": ridge.tolist(),
            "loss": self.loss,
        }
        if not self.converged_:
            bad = [self.target_names_[t] for t in np.flatnonzero(~ok)]
            text = f"{type(self).__name__} did not reach a certified optimum for {bad[:5]} (of {len(ok)} targets)"
            notes.append(text + ".")
            warnings.warn(
                f"{text}; its best start is kept. See fit_report_; more starts or a larger ridge may help.",
                MixlawWarning,
                stacklevel=3,
            )
        self._unseen = heldout
        error = np.abs(heldout - Y)
        self.heldout_error_ = {
            name: float(np.nanmean(error[:, t])) if np.isfinite(error[:, t]).any() else float("nan")
            for t, name in enumerate(self.target_names_)
        }
        self.notes_ = notes
        self.parameters_ = {k: _plain(v) for k, v in self._describe(theta, linear).items()}
        from mixlaw.laws.uncertainty import calibrate

        calibrate(self, X, Y, heldout)

    def _threshold(self, spread: Array) -> float:
        if self.delta is not None:
            return float(self.delta)
        return 1.35 * max(float(np.median(np.abs(spread))) * 1.4826 * 0.2, 1e-6)

    def _heal_constant(self, theta: Array, linear: Array, constant: Any, mean: Array) -> None:
        """Make constant targets exactly so: every coefficient 0 but the intercept."""
        linear[constant] = 0.0
        linear[constant, 0] = mean[constant]

    def _finish(self, model: Any, Y: Array, W: Array, theta: Array, linear: Array) -> tuple[Array, Array]:
        """A family's last touch on the optimum (default: none)."""
        return theta, linear

    def _search(
        self, model: Any, X: Array, Y: Array, W: Array, starts: Array, ridge: Array
    ) -> tuple[Array, npt.NDArray[Any]]:
        """The two best distinct optima (T, 2, P) over all starts, and how many starts agree with the first.
        Where rows abound, starts race on a sample of them."""
        T, S, P = starts.shape
        sample = self._sample(X, Y, P)
        if sample is not None and S > 2:
            part, share = self._model(X[sample]), ridge * sample.mean()
            fit = self._fit_problems(part, Y[:, sample], W[:, sample], starts, share, 100, 1e-5)
        else:
            fit = self._fit_problems(model, Y, W, starts, ridge, 200, 1e-6)
        first = fit.best()
        order = np.argsort(fit.objective, axis=1, kind="stable")
        ranked = np.take_along_axis(fit.objective, order, axis=1)
        other = np.argmax(ranked > ranked[:, :1] * (1 + 1e-5), axis=1)  # 0, the first again, if all agree
        second = fit.theta[np.arange(T), order[np.arange(T), other]]
        return np.stack([first.theta, second], axis=1), first.agreement

    def _sample(self, X: Array, Y: Array, P: int) -> npt.NDArray[np.bool_] | None:
        """(n,) a sample of rows large enough to tell starts apart, or None where all rows are hardly more."""
        rows = max(256, 8 * P)
        if len(X) < 2 * rows:
            return None
        return fold_ids(X, Y.T, len(X) // rows, self.seed) == 0

    def _fit_problems(
        self, model: Any, Y: Array, W: Array, starts: Array, ridge: Array, max_iter: int, gtol: float
    ) -> BatchFit:
        """Fit problems (rows of Y, W); row m belongs to target ``m % T``."""
        of = np.arange(len(Y)) % len(self.target_names_)
        centre, pattern = self._prior()
        scale = (ridge * self._variance[of])[:, None]
        linear = Prior(0.0, ridge[:, None] * self._linear_pattern()) if isinstance(model, Separable) else None
        return fit_batch(
            model,
            Y,
            starts,
            loss=self.loss,
            delta=self._delta,
            log=self.log,
            weights=W,
            bounds=self._bounds(),
            prior=Prior(centre[of], scale * pattern[of]),
            linear_prior=linear,
            max_iter=max_iter,
            gtol=gtol,
        )

    def _solve(
        self, model: Any, Y: Array, W: Array, starts: Array, ridge: Array, max_iter: int = 300, gtol: float = 1e-9
    ) -> Best:
        return self._fit_problems(model, Y, W, starts, ridge, max_iter, gtol).best()

    def _values(self, model: Any, theta: Array, linear: Array, problem: Ints) -> Array:
        """(M, n) predictions of M parameter sets."""
        with np.errstate(all="ignore"):
            if isinstance(model, Separable):
                phi = model.basis(theta, problem)
                if not model.intercept:
                    return np.matmul(phi, linear[:, :, None])[:, :, 0]
                return np.matmul(phi, linear[:, 1:, None])[:, :, 0] + linear[:, :1]
            return model(theta, problem)[0]

    def _predict(self, X: Array) -> Array:
        model = self._model(X)
        problem = np.arange(len(self.theta_))
        size = max(1, 2_000_000 // max(1, len(X) * max(1, self.linear_.shape[1])))
        parts = [
            self._values(model, self.theta_[i : i + size], self.linear_[i : i + size], problem[i : i + size])
            for i in range(0, len(problem), size)
        ]
        return np.ascontiguousarray(np.concatenate(parts).T)

    @property
    def heldout_(self) -> Array:
        """(n, T) predictions of the training rows by folds that had not seen them (NaN where none). Not saved."""
        self._need_training("heldout_")
        return self._unseen

    # ---- the ridge, by held-out error --------------------------------------------------------------
    def _choose_ridge(self, model: Any, X: Array, Y: Array, W: Array, starts: Array) -> tuple[Array, Array]:
        """(T,) strengths and held-out predictions (n, T) at them."""
        T, n = Y.shape
        grid = np.array(self.ridge_grid)
        if float(n) * starts.shape[2] ** 2 * T * 40 * len(grid) > _WORK:
            sample = self._sample(X, Y, starts.shape[2])
            if sample is not None:
                return self._choose_on_sample(model, X, Y, W, starts, sample)
        ids, folds = self._folds(X, Y)
        theta = np.repeat(starts[None, :, 0], len(folds), axis=0).reshape(len(folds) * T, 1, -1)
        # from the middle outwards, each strength starts where its neighbour ended
        results: dict[int, tuple[Array, Array]] = {}
        middle_at = len(grid) // 2
        for path in (range(middle_at, len(grid)), range(middle_at - 1, -1, -1)):
            start = theta
            for g in path:
                predicted, start = self._fold_predictions(model, Y, W, start, np.full(T, grid[g]), ids, folds)
                results[g] = (predicted, start)
                if g == middle_at:
                    theta = start
        return self._pick(grid, [results[g][0] for g in range(len(grid))], Y, W)

    def _pick(self, grid: Array, predictions: Sequence[Array], Y: Array, W: Array) -> tuple[Array, Array]:
        """Each target's strength by held-out error, and the held-out predictions (n, T) at it."""
        T, n = Y.shape
        scores = []
        for predicted in predictions:
            seen = np.isfinite(predicted) & (W.T > 0)
            error = np.where(seen, predicted - Y.T, 0.0)
            scores.append(np.log((error**2).sum(0) / np.maximum(seen.sum(0), 1) / self._variance + 1e-12))
        table = np.array(scores)  # (G, T)
        # a target's own evidence and everyone's: few runs cannot choose for one target alone
        share = n / (n + 64.0)
        choice = np.argmin(share * table + (1 - share) * table.mean(axis=1, keepdims=True), axis=0)
        return grid[choice], np.stack([predictions[choice[t]][:, t] for t in range(T)], axis=1)

    def _choose_on_sample(
        self, model: Any, X: Array, Y: Array, W: Array, starts: Array, sample: npt.NDArray[np.bool_]
    ) -> tuple[Array, Array]:
        """As :meth:`_choose_ridge` where rows abound: fit a sample, score on all the others."""
        grid = np.array(self.ridge_grid)[:: max(1, len(self.ridge_grid) // 3)]
        part = self._model(X[sample])
        problem = np.arange(len(Y))
        predictions, begin = [], starts[:, :1]
        for strength in grid:
            ridge = np.full(len(Y), strength * sample.mean())
            best = self._solve(part, Y[:, sample], W[:, sample], begin, ridge, max_iter=60, gtol=1e-5)
            begin = best.theta[:, None]
            values = np.concatenate(
                [self._values(model, best.theta[[t]], best.linear[[t]], problem[[t]]) for t in problem]
            ).T
            predictions.append(np.where(sample[:, None], np.nan, values))
        return self._pick(grid, predictions, Y, W)

    def _folds(self, X: Array, Y: Array) -> tuple[Ints, list[int]]:
        distinct = len(np.unique(replicate_groups(X)))
        num = distinct if distinct <= 24 else 5
        return fold_ids(X, Y.T, num, self.seed), list(range(min(num, distinct)))

    def _fold_predictions(
        self, model: Any, Y: Array, W: Array, starts: Array, ridge: Array, ids: Ints, folds: Sequence[int]
    ) -> tuple[Array, Array]:
        """Held-out predictions (n, T) and the folds' optima (F*T, 1, P), fitted in one batch."""
        T, n = Y.shape
        F = len(folds)
        keep = np.stack([ids != f for f in folds]).astype(float)  # (F, n)
        weights = (keep[:, None, :] * W[None]).reshape(F * T, n)
        best = self._solve(model, np.tile(Y, (F, 1)), weights, starts, np.tile(ridge, F), max_iter=40, gtol=1e-4)
        out = np.full((n, T), np.nan)
        values = self._values(model, best.theta, best.linear, np.tile(np.arange(T), F)).reshape(F, T, n)
        for i, f in enumerate(folds):
            out[ids == f] = values[i][:, ids == f].T
        return out, best.theta[:, None]

    def _heldout(self, model: Any, X: Array, Y: Array, W: Array, warm: Array, ridge: Array) -> Array:
        """Held-out predictions (n, T) at given strengths."""
        ids, folds = self._folds(X, Y)
        if float(len(X)) * warm.shape[2] ** 2 * len(Y) * 40 > _WORK:
            folds = folds[:1]
        return self._fold_predictions(model, Y, W, np.tile(warm, (len(folds), 1, 1)), ridge, ids, folds)[0]

    # ---- intervals of parameters -------------------------------------------------------------------
    def bootstrap(self, num: int = 200, seed: int = 0) -> dict[str, Array]:
        """Parameters of ``num`` fits to resampled runs, all in one batch: name to (num, T, ...).

        Needs the training rows, so it works on a law that was fitted in this process, not on one read back.
        """
        X, _, _ = self._need_training("bootstrap")
        out: dict[str, list[Array]] = {}
        for theta, linear in self._refits(resample_weights(len(X), num, seed), "bootstrap"):
            for key, value in self._describe(theta, linear).items():
                out.setdefault(key, []).append(np.asarray(value, dtype=float))
        return {key: np.stack(values) for key, values in out.items()}

    def reweighted(self, weights: npt.ArrayLike) -> list[Self | None]:
        """Copies of this law refitted under other weights (B, n) of its training rows, all in one batch.

        Each copy predicts and has atoms; None stands for a refit that found no finite optimum. Needs the training
        rows, like :meth:`bootstrap`.
        """
        copies: list[Self | None] = []
        for theta, linear in self._refits(np.asarray(weights, dtype=float), "reweighted"):
            other = copy.copy(self)
            for name in ("parameters_", "intervals_", "identifiability_", "conformal_"):
                vars(other).pop(name, None)  # those of the fit itself
            other.theta_, other.linear_ = theta, linear
            copies.append(other if np.isfinite(theta).all() and np.isfinite(linear).all() else None)
        return copies

    def _refits(self, weights: Array, what: str) -> Iterator[tuple[Array, Array]]:
        """(theta, linear) of a refit from this optimum under each row of weights (B, n)."""
        X, Y, own = self._need_training(what)
        (num, n), T = weights.shape, Y.shape[1]
        mean = np.nanmean(np.where(np.isfinite(Y), Y, np.nan), axis=0)
        filled = np.where(np.isfinite(Y), Y, mean).T
        W = np.where(np.isfinite(Y.T), own[None], 0.0)
        best = self._solve(
            self._model(X),
            np.tile(filled, (num, 1)),
            (weights[:, None] * W[None]).reshape(num * T, n),
            np.tile(self.theta_[:, None], (num, 1, 1)),
            np.tile(self.ridge_, num),
            max_iter=60,
            gtol=1e-6,
        )
        for i in range(num):
            yield best.theta[i * T : (i + 1) * T], best.linear[i * T : (i + 1) * T]

    def _need_training(self, what: str) -> tuple[Array, Array, Array]:
        self._check_fitted()
        if not hasattr(self, "_training"):
            raise DataError(
                f"{what} needs the rows the law was fitted on, and a law read from JSON does not carry them. "
                f"Call {what} (or read intervals_) before saving, or fit again."
            )
        return self._training

    @cached_property
    def intervals_(self) -> dict[str, Any]:
        """90% bootstrap intervals over runs, ``{name: (low, high)}``, shaped like ``parameters_``; made on
        first use (about 100 refits in one batch) and saved with the law from then on."""
        draws = self.bootstrap(100, self.seed)
        return {
            k: (_plain(np.quantile(v, 0.05, axis=0)), _plain(np.quantile(v, 0.95, axis=0))) for k, v in draws.items()
        }

    @cached_property
    def identifiability_(self) -> dict[str, Any]:
        """Flat directions and rival optima, in words; see :func:`mixlaw.laws.uncertainty.identifiability`."""
        from mixlaw.laws.uncertainty import diagnose

        return diagnose(self)


def _plain(value: Any) -> Any:
    return np.asarray(value, dtype=float).tolist()


def more_starts(base: Array, num: int | None, spread: float, seed: int) -> Array:
    """``base`` (T, S, P) cut or grown to ``num`` starts: further ones are the given ones plus Gaussian jitter."""
    if num is None or num == base.shape[1]:
        return base
    if num < 1:
        raise ConfigError(f"num_starts={num!r} must be at least 1.")
    if num < base.shape[1]:
        return base[:, :num]
    extra = num - base.shape[1]
    again = base[:, np.arange(extra) % base.shape[1]]
    jitter = np.random.default_rng(seed).normal(size=(extra, base.shape[2]))
    return np.concatenate([base, again + spread * jitter[None]], axis=1)


def log_slopes(X: Array, Y: Array, above: Array) -> tuple[Array, Array]:
    """Slopes b (T, S, K) of ``log(y - c)`` on the centred mixture for several floors c below the losses, and the
    floors (T, S). ``above`` (S,) says how far each floor lies below the lowest loss, in ranges of y; a negative
    entry mirrors (``log(c - y)`` with c above the highest)."""
    Z = X - X.mean(axis=0)
    gram = Z.T @ Z
    # a start need not be exact: a ridge that grows as rows get few keeps it from fitting their noise
    gram[np.diag_indices_from(gram)] += (1e-6 + 0.02 / len(X)) * max(float(np.trace(gram)), 1e-12) + 1e-9
    low, high = Y.min(axis=0), Y.max(axis=0)
    width = np.maximum(high - low, 1e-9 * np.maximum(np.abs(high), 1.0))
    mirror = above < 0
    floor = np.where(mirror[None], high[:, None], low[:, None]) - above[None] * width[:, None]
    gap = np.abs(Y.T[:, None, :] - floor[:, :, None])  # (T, S, n)
    logs = np.log(np.maximum(gap, 1e-300))
    slopes = np.linalg.solve(gram, (logs @ Z)[..., None])[..., 0]
    reach = np.abs(slopes @ Z.T).max(axis=-1, keepdims=True)
    return slopes * np.minimum(1.0, 6.0 / np.maximum(reach, 1e-12)), floor

"""The base of every parametric mixture law: options, and the fit of all targets in one batch.

:mod:`mixlaw.laws.fit.mixture_form` says what a family writes. All targets, folds and ridge strengths are fitted in one
batch by :mod:`mixlaw.laws.fit.ridge`; :mod:`mixlaw.laws.fit.mixture_uncertainty` fits again for intervals and profiles.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, ConvergenceError, DataError, MixlawWarning, TooFewRunsError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import TrainingRows
from mixlaw.laws.core.bounds import censored_notes
from mixlaw.laws.core.folds import replicate_groups
from mixlaw.laws.core.heldout import relative_weights
from mixlaw.laws.core.notes import design_notes
from mixlaw.laws.fit.engine import BatchFit, Best, Ints
from mixlaw.laws.fit.equal_fits import EqualFits
from mixlaw.laws.fit.mixture_uncertainty import MixtureUncertainty, plain
from mixlaw.laws.fit.ridge import Centres, Rows, Sharing, Tuned, clearly_better

__all__ = ["MixtureLaw", "Sharing"]

_WEAK_STARTS = 8  # of the starts: as many are followed under a weak ridge too


@dataclass(frozen=True)
class _Task:
    """The rows of a fit: those of positive weight, missing losses filled with their target's mean."""

    used: npt.NDArray[np.bool_]
    """(N,) which of the given rows these n are."""
    X: Array
    """(n, K) mixtures."""
    Y: Array
    """(T, n) losses in nats."""
    W: Array
    """(T, n) weights, 0 where not measured."""
    side: npt.NDArray[np.int8] | None
    """(T, n) +1 or -1 where Y is only a bound."""
    total: Array
    """(T,) weight of the measurements; their ``mean``, and ``variance`` (of logarithms with ``log=True``)."""
    mean: Array
    spread: Array
    """(T, n) losses, or their logarithms, about the mean."""
    variance: Array
    constant: npt.NDArray[np.bool_]
    """(T,) targets that are the same in all rows."""
    notes: list[str]


@dataclass(frozen=True)
class _Found:
    """Where the fit of all targets ended."""

    best: Best
    centres: Centres | None
    ridge: Array
    heldout: Array
    """(n, T) predictions by folds that had not seen the row."""
    starts: int
    agreeing: Ints
    """(T,) how many starts reached the best optimum."""
    others: list[tuple[BatchFit, npt.NDArray[np.bool_]]]
    """Fits of all targets under ridges and centres that held-out runs cannot tell from the chosen ones, and (T,) which
    targets each counts for."""


class MixtureLaw(MixtureUncertainty):
    """Base of the parametric mixture laws. Write one as the head of :mod:`mixlaw.laws.fit.mixture_form` shows.

    Args:
        ridge: strength of the pull towards the family's prior, in units of the target's variance; ``"cv"``
            chooses it by held-out error inside the rows given (leave-one-out up to 24 mixtures, else 5 folds).
        loss: ``"squared"`` or ``"huber"``; ``delta`` is Huber's threshold (None: about a quarter of
            the targets' robust spread, a guess at 1.35 residual sds).
        log: residuals of log losses instead of losses.
        num_starts: starting points per target (None: the family's own choice).
        own: ``{target: domain}``, which domain a target is measured on; otherwise by name.
        prior: what the ridge pulls towards. ``"separate"``: the family's own values, for each target alone;
            ``"shared"``: the mean over the targets fitted together (:mod:`mixlaw.laws.fit.shared_prior`), which helps
            where runs are few and targets many; ``"cv"``: whichever has the lower held-out error (with more than
            ten runs per parameter: ``"separate"``).
        seed: of the starts beyond the deterministic ones, and of the folds.

    Fitted: ``parameters_`` by name, ``(T,)`` or ``(T, K)`` as lists; ``theta_`` (T, P) and ``linear_`` (T, 1 + L) where
    the fit ended; ``ridge_`` (T,); ``centre_`` (K,) the mean mixture; ``fit_report_`` and ``converged_``, how
    the fit ended; ``heldout_error_``, mean absolute held-out error of each target.

    Raises:
        ConfigError: an option that is not known, or a declaration that does not fit the formula.
        TooFewRunsError: fewer than four different mixtures of a target, or than parameters with ``ridge=0``.
        ConvergenceError: no start reached a finite optimum.

    Example:
        >>> from mixlaw.laws.core.parameters import Free, Positive
        >>> class MyLaw(MixtureLaw):
        ...     parameters = {
        ...         "c": Free(2.0, "loss where the exponential has died out, nats"),
        ...         "k": Positive(1.0, "amplitude, nats"),
        ...         "t": Free((-2.0, 0.5), "rate of each domain", per="domain"),
        ...     }
        ...     intercept, amplitudes = "c", ("k",)
        ...
        ...     def loss(self, p, R):
        ...         return p.c + p.k * np.exp(p.t @ R.T)
        ...
        ...     def slopes(self, p, R):
        ...         curve = np.exp(p.t @ R.T)
        ...         return {"c": 1.0, "k": curve, "t": (p.k * curve)[:, :, None] * R}
        >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 30)
        >>> loss = 1.5 + 0.8 * np.exp(r @ [-1.5, 1.0, -0.4])
        >>> law = MyLaw().fit(r[:20], loss[:20])
        >>> bool(np.abs(law.predict(r[20:]) - loss[20:]).max() < 0.01)
        True
    """

    def __init__(
        self,
        ridge: float | Literal["cv"] = "cv",
        loss: Literal["squared", "huber"] = "squared",
        delta: float | None = None,
        log: bool = False,
        num_starts: int | None = None,
        own: Mapping[str, Any] | None = None,
        seed: int = 0,
        prior: Sharing = "cv",
    ) -> None:
        self.ridge = ridge
        self.loss = loss
        self.delta = delta
        self.log = log
        self.num_starts = num_starts
        self.own = own
        self.seed = seed
        self.prior = prior

    # ---- the fit -----------------------------------------------------------------------------------
    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        for name in ("intervals_", "conformal_", "notes_", "identifiability_", "_limits", "_centres"):
            self.__dict__.pop(name, None)
        self._check_options()
        weight = relative_weights(len(X), sample_weight)
        task = self._task(X, Y, weight)
        self._variance = np.where(task.constant, 1.0, task.variance)
        self._delta = self._threshold(task.spread)
        self.simplex_ = bool(np.abs(task.X.sum(axis=1) - 1.0).max() <= 1e-9)
        self.centre_ = task.X.mean(axis=0)  # models are written around the mean mixture
        rows = Rows(self.model(task.X), task.Y, task.W, task.side)
        found = self._optimise(rows, task)
        self._centres, self.prior_shared_ = found.centres, found.centres is not None
        self._keep(found, task)
        self.notes_ = task.notes + self._notes_of(found, task)
        self._warn_unless_converged()
        self._remember(X, Y, weight, task, found.heldout)
        self.parameters_ = {k: plain(v) for k, v in self.report(self.theta_, self.linear_).items()}
        self.calibrate()

    def _check_options(self) -> None:
        if self.ridge != "cv" and not (isinstance(self.ridge, int | float) and self.ridge >= 0):
            raise ConfigError(f"ridge={self.ridge!r} must be 'cv' or a number >= 0.")
        self._check_prior()

    def _task(self, X: Array, Y: Array, weight: Array) -> _Task:
        """The rows used, filled and weighed, and what is unusual about them."""
        used = weight > 0  # a row of weight 0 is as one left out, down to folds, centres and starts
        X, Y, weight = X[used], Y[used], weight[used]
        side = None if self._side is None else self._side[used].T
        measured = np.isfinite(Y.T) if side is None else np.isfinite(Y.T) & (side == 0)
        notes = design_notes(X, Y, list(self.feature_names_in_), self.target_names_)
        notes += censored_notes(self._side, self.target_names_)
        W = np.where(np.isfinite(Y.T), weight[None], 0.0)  # (T, n)
        exact = np.where(measured, W, 0.0)
        notes += self._need_mixtures(X, exact)
        total = exact.sum(1)
        mean = np.where(measured, Y.T, 0.0)
        mean = (exact * mean).sum(1) / total
        filled = np.where(np.isfinite(Y.T), Y.T, mean[:, None])  # (T, n)
        if self.log and (filled <= 0).any():
            raise DataError("log=True needs positive losses; some are zero or negative. Use log=False.")
        spread = np.log(filled) - np.log(np.maximum(mean, 1e-300))[:, None] if self.log else filled - mean[:, None]
        variance = (exact * spread**2).sum(1) / total
        constant = variance <= 1e-20 * np.maximum(mean**2, 1e-20)
        if constant.any():
            names = [self.target_names_[t] for t in np.flatnonzero(constant)]
            notes.append(f"Constant targets {names}: predicted as constants, nothing can be learned from them.")
        return _Task(used, X, filled, W, side, total, mean, spread, variance, constant, notes)

    def _need_mixtures(self, X: Array, exact: Array) -> list[str]:
        """Refuse too few different mixtures per target (weights ``exact`` (T, n) of measurements); note where few."""
        distinct = replicate_groups(X)
        seen = np.array([len(np.unique(distinct[w > 0])) for w in exact])
        free = self.num_free()
        need = max(4, free) if self.ridge == 0 else 4
        if (seen < need).any():
            worst = int(np.argmin(seen))
            raise TooFewRunsError(
                f"{type(self).__name__} needs at least {need} different mixtures per target"
                f"{f' ({free} parameters, no ridge)' if self.ridge == 0 else ''}; "
                f"{self.target_names_[worst]!r} has {int(seen[worst])}. Add runs"
                f"{', or let ridge=' + repr('cv') + ' hold what they cannot determine.' if self.ridge == 0 else '.'}"
            )
        if not (seen < free).any():
            return []
        return [
            f"{int(seen.min())} different mixtures for {free} parameters per target: the ridge decides what the runs "
            f"cannot."
        ]

    def _optimise(self, rows: Rows, task: _Task) -> _Found:
        """Starts, ridge and optimum of all targets; then again with centres shared by the targets, where that may help
        and does."""
        X = task.X
        starts = self.starts(X, task.Y.T, task.W)
        given = self.ridge_grid[len(self.ridge_grid) // 2] if self.ridge == "cv" else float(self.ridge)
        ridge = np.full(len(task.Y), given)
        finalists, agreeing = self._search(rows, X, starts, ridge)
        if self.ridge == "cv":  # under a weak ridge another valley may be the deepest, and no path leads from one to it
            some = starts[:, :: max(1, starts.shape[1] // _WEAK_STARTS)]
            weak, _ = self._search(rows, X, some, np.full(len(task.Y), self.ridge_grid[0]))
            finalists = np.concatenate([finalists, weak[:, :1]], axis=1)
        tuned = self._tune(rows, X, finalists, ridge, None)
        best, centres = self._solve(rows, finalists, tuned.ridge), None
        alone: Tuned | None = None
        if self._may_share(tuned):
            assert tuned.theta is not None and tuned.linear is not None
            trust = np.where(task.constant, 0.0, task.total)
            folds = self._learn(tuned.theta, tuned.linear, trust)
            shared = self._tune(rows, X, tuned.theta.reshape(-1, 1, tuned.theta.shape[2]), ridge, folds)
            if self.prior == "shared" or clearly_better(shared.score, tuned.score):
                alone, tuned, centres = tuned, shared, self._learn(best.theta[None], best.linear[None], trust)
                finalists = np.concatenate([best.theta[:, None], finalists], axis=1)
                best = self._solve(rows, finalists, tuned.ridge, centres=centres)
        others = self._others(rows, finalists, tuned, centres)
        if alone is not None and self.prior == "cv" and not clearly_better(tuned.score, alone.score, 2.0):
            others += self._others(rows, finalists, alone, None)
        return _Found(best, centres, tuned.ridge, tuned.heldout, int(starts.shape[1]), agreeing, others)

    def _others(
        self, rows: Rows, starts: Array, tuned: Tuned, centres: Centres | None
    ) -> list[tuple[BatchFit, npt.NDArray[np.bool_]]]:
        """Fits from all starts under each strength that is as good as the chosen one, and the targets it is for."""
        return [
            (self._fit_problems(rows, starts, np.full(len(rows.Y), strength), 100, 1e-6, centres), counts)
            for strength, counts in tuned.as_good.items()
            if counts.any()
        ]

    def _keep(self, found: _Found, task: _Task) -> None:
        """Set the fitted attributes from the optimum."""
        best, constant = found.best, task.constant
        theta, linear = self.finish(best.theta.copy(), best.linear.copy())
        if constant.any():
            self.make_constant(theta, linear, constant, task.mean)
        if not (np.isfinite(theta).all() and np.isfinite(linear).all() and np.isfinite(best.objective).all()):
            raise ConvergenceError(
                f"{type(self).__name__} found no finite optimum. Check for extreme losses, or raise ridge."
            )
        self.theta_, self.linear_, self.ridge_ = theta, linear, found.ridge
        measured = (task.W > 0).sum(axis=1)
        fits = [(fit, counts & ~constant) for fit, counts in found.others]
        equal = EqualFits.of(fits, theta, linear, self.num_free(), measured)
        self.equal_fits_ = equal.to_dict() if len(equal.theta) else None
        ok = best.converged | constant
        self.converged_ = bool(ok.all())
        self.fit_report_ = {
            "objective": best.objective.tolist(),
            "gradient_norm": best.gradient_norm.tolist(),
            "converged": ok.tolist(),
            "starts": found.starts,
            "agreeing_starts": found.agreeing.tolist(),
            "ridge": found.ridge.tolist(),
            "prior": "shared" if self.prior_shared_ else "separate",
            "loss": self.loss,
        }

    def _notes_of(self, found: _Found, task: _Task) -> list[str]:
        notes = []
        most = max(self.ridge_grid)
        held = [name for name, r, c in zip(self.target_names_, found.ridge, task.constant) if r >= most and not c]
        if self.ridge == "cv" and held:
            notes.append(
                f"The ridge of {held[:5]}{f' and {len(held) - 5} more targets' if len(held) > 5 else ''} ended at the "
                f"largest that is tried ({most:g}): these runs show little beyond the mean. More runs would tell more."
            )
        if self.prior_shared_:
            notes.append(
                "The ridge pulls each target towards the mean over all targets (prior='shared')"
                + (", which had the lower held-out error." if self.prior == "cv" else ".")
            )
        if not self.converged_:
            notes.append(self._not_converged() + ".")
        return notes + self._notes_of_equal_fits(found, task)

    def _notes_of_equal_fits(self, found: _Found, task: _Task) -> list[str]:
        """How many optima fit as well, and how far apart they are, where that is more than the held-out error."""
        X = task.X
        near = 0.5 * (X + np.eye(X.shape[1])[np.arange(len(X)) % X.shape[1]])  # halfway to a pure mixture
        others = self._equally_good(near)
        if others is None or self.equal_fits_ is None:
            return []
        apart = np.ptp(np.clip(np.concatenate([others, self._predict(near)[None]]), -1e6, 1e6), axis=0).max(axis=0)
        error = np.sqrt(np.nanmean((found.heldout - task.Y.T) ** 2, axis=0))
        concerned = np.flatnonzero(apart > error)
        if not len(concerned):
            return []
        t = int(concerned[np.argmax(apart[concerned])])
        return [
            f"{self.equal_fits_['count'][t]} different optima fit {self.target_names_[t]!r} equally well (other "
            f"ridges, priors or valleys; how runs are dealt to folds decides): halfway from a run to a pure mixture "
            f"their losses differ by up to {apart[t]:.2g}"
            + (f", and {len(concerned) - 1} more targets have such rivals" if len(concerned) > 1 else "")
            + ". Intervals hold them all; trust no optimum there without a run."
        ]

    def _equally_good(self, X: Array) -> Array | None:
        """(A, n, T) predictions of the other optima that fit as well at mixtures X; None where there are none."""
        if self.equal_fits_ is None:
            return None
        fits, model = EqualFits.from_dict(self.equal_fits_), self.model(X)
        every = np.arange(self.n_targets_)
        return np.array([self._values(model, p, c, every).T for p, c in zip(fits.theta, fits.linear)])

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """Ends of an interval for a new observation; see :meth:`mixlaw.laws.Law.predict_interval`. Where other optima
        fit as well, it reaches as far beyond each of them as beyond the prediction."""
        low, high = super().predict_interval(X, level)
        matrix = self._align(X)
        others = self._equally_good(matrix)
        if others is None:
            return low, high
        mean = self._predict(matrix)
        below, above = (mean - others).max(axis=0), (others - mean).max(axis=0)
        down, up = np.maximum(below, 0.0), np.maximum(above, 0.0)
        return (low - down[:, 0], high + up[:, 0]) if self.single_target_ else (low - down, high + up)

    def _not_converged(self) -> str:
        ok = self.fit_report_["converged"]
        bad = [name for name, good in zip(self.target_names_, ok) if not good]
        return f"{type(self).__name__} did not converge for {bad[:5]} (of {len(ok)} targets)"

    def _warn_unless_converged(self) -> None:
        if not self.converged_:
            warnings.warn(
                f"{self._not_converged()}; its best start is kept. See fit_report_; more starts or a larger ridge may "
                f"help.",
                MixlawWarning,
                stacklevel=4,
            )

    def _remember(self, X: Array, Y: Array, weight: Array, task: _Task, heldout: Array) -> None:
        """Keep the rows (all that were given) and their held-out predictions."""
        self._heldout = np.full(Y.shape, np.nan)
        self._heldout[task.used] = heldout
        if self._side is not None:
            side = self._side.T
            self._limits = (side, np.where(side != 0, Y.T, task.mean[:, None]))
            Y = np.where(side.T == 0, Y, np.nan)  # a bound is no measurement: no interval is calibrated on it
        self._training = TrainingRows(X, Y, weight)
        error = np.abs(self._heldout - Y)
        self.heldout_error_ = {
            name: float(np.nanmean(error[:, t])) if np.isfinite(error[:, t]).any() else float("nan")
            for t, name in enumerate(self.target_names_)
        }

    def _threshold(self, spread: Array) -> float:
        if self.delta is not None:
            return float(self.delta)
        return 1.35 * max(float(np.median(np.abs(spread))) * 1.4826 * 0.2, 1e-6)

    def _search(self, rows: Rows, X: Array, starts: Array, ridge: Array) -> tuple[Array, npt.NDArray[Any]]:
        """The two best distinct optima (T, 2, P) over all starts, and how many starts agree with the first.
        Where rows abound, starts are told apart on a sample of them; many starts race."""
        T, S, P = starts.shape
        sample = self._sample(X, rows.Y, P)
        if sample is not None and S > 2:
            part = rows.take(self.model(X[sample]), sample)
            fit = self._fit_problems(part, starts, ridge * sample.mean(), 100, 1e-5, race=S >= 48)
        else:
            # with hardly more rows than parameters a start far behind may still win: all go to the end
            race = S >= 48 and 2 * (rows.W > 0).sum(axis=1).min() >= 3 * self.num_free()
            fit = self._fit_problems(rows, starts, ridge, 200, 1e-6, race=race)
        first = fit.best()
        order = np.argsort(fit.objective, axis=1, kind="stable")
        ranked = np.take_along_axis(fit.objective, order, axis=1)
        other = np.argmax(ranked > ranked[:, :1] * (1 + 1e-5), axis=1)  # 0, the first again, if all agree
        second = fit.theta[np.arange(T), order[np.arange(T), other]]
        return np.stack([first.theta, second], axis=1), first.agreement

    def _predict(self, X: Array) -> Array:
        model = self.model(X)
        problem = np.arange(len(self.theta_))
        size = max(1, 2_000_000 // max(1, len(X) * max(1, self.linear_.shape[1])))
        parts = [
            self._values(model, self.theta_[i : i + size], self.linear_[i : i + size], problem[i : i + size])
            for i in range(0, len(problem), size)
        ]
        return np.ascontiguousarray(np.concatenate(parts).T)

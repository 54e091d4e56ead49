"""The base of every parametric mixture law: options, the fit of all targets in one batch, intervals and profiles.

:mod:`mixlaw.laws.fit.mixture_form` says what a family writes. All targets, folds and ridge strengths are fitted in one
batch by :mod:`mixlaw.laws.fit.ridge`.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, ConvergenceError, DataError, MixlawWarning, TooFewRunsError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import TrainingRows
from mixlaw.laws.core.bounds import censored_notes
from mixlaw.laws.core.folds import replicate_groups
from mixlaw.laws.core.heldout import relative_weights
from mixlaw.laws.core.notes import design_notes
from mixlaw.laws.core.replicates import chi2_quantile
from mixlaw.laws.fit.engine import Best, Ints, resample_weights
from mixlaw.laws.fit.ridge import Centres, RidgeLaw, Rows, Sharing, clearly_better
from mixlaw.laws.fit.separable import linear_bounds, with_linear

if TYPE_CHECKING:
    from mixlaw.laws.fit.likelihood import Profile
    from mixlaw.laws.fit.profile import ProfileProblem

__all__ = ["MixtureLaw", "Sharing"]


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


class MixtureLaw(RidgeLaw):
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
    the fit ended; ``ridge_`` (T,); ``centre_`` (K,) the mean mixture; ``fit_report_`` and ``converged_``, the
    certificate; ``heldout_error_``, mean absolute held-out error of each target.

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

    _limits: tuple[npt.NDArray[np.int8], Array] | None = None  # sides and bounds (T, n) of censored values
    _centres: Centres | None = None  # of the ridge, where they were learned across targets

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
        self._warn_if_uncertified()
        self._remember(X, Y, weight, task, found.heldout)
        self.parameters_ = {k: _plain(v) for k, v in self.report(self.theta_, self.linear_).items()}
        self._calibrate_to(self._heldout)

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
        tuned = self._tune(rows, X, finalists, ridge, None)
        best, centres = self._solve(rows, finalists, tuned.ridge), None
        if self._may_share(tuned):
            assert tuned.theta is not None and tuned.linear is not None
            trust = np.where(task.constant, 0.0, task.total)
            folds = self._learn(tuned.theta, tuned.linear, trust)
            shared = self._tune(rows, X, tuned.theta.reshape(-1, 1, tuned.theta.shape[2]), ridge, folds)
            if self.prior == "shared" or clearly_better(shared.score, tuned.score):
                tuned, centres = shared, self._learn(best.theta[None], best.linear[None], trust)
                finalists = np.concatenate([best.theta[:, None], finalists], axis=1)
                best = self._solve(rows, finalists, tuned.ridge, centres=centres)
        return _Found(best, centres, tuned.ridge, tuned.heldout, int(starts.shape[1]), agreeing)

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
        if self.prior_shared_:
            notes.append(
                "The ridge pulls each target towards the mean over all targets (prior='shared')"
                + (", which had the lower held-out error." if self.prior == "cv" else ".")
            )
        if not self.converged_:
            notes.append(self._uncertified() + ".")
        return notes

    def _uncertified(self) -> str:
        ok = self.fit_report_["converged"]
        bad = [name for name, good in zip(self.target_names_, ok) if not good]
        return f"{type(self).__name__} did not reach a certified optimum for {bad[:5]} (of {len(ok)} targets)"

    def _warn_if_uncertified(self) -> None:
        if not self.converged_:
            warnings.warn(
                f"{self._uncertified()}; its best start is kept. See fit_report_; more starts or a larger ridge may "
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

    def sample(self, X: Any, num: int, rng: np.random.Generator) -> Array:
        """Draws (num, n, T) of possible losses: refits to runs under random weights (Bayesian bootstrap), all in one
        batch; see :meth:`mixlaw.laws.Law.sample`.

        Raises:
            DataError: a law read from JSON, which has no rows to fit again.
            ConvergenceError: most of the refits found no finite optimum.

        Example:
            >>> from mixlaw import laws
            >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 20)
            >>> law = laws.M4().fit(r, 2 + np.exp(-2 * r[:, 0]))
            >>> law.sample(r[:4], 10, np.random.default_rng(1)).shape
            (10, 4, 1)
        """
        there, rows = self.model(self._align(X)), self._need_rows("sample")
        every = np.arange(self.n_targets_)
        draws: list[Array] = []
        tried = 0
        while len(draws) < num:
            if tried > 3 * num:
                raise ConvergenceError(
                    f"{type(self).__name__}: of {tried} refits to reweighted runs only {len(draws)} found a finite "
                    f"optimum. Raise ridge, or add runs."
                )
            random = rng.standard_exponential((num - len(draws), len(rows.X))) * rows.weight
            tried += len(random)
            for theta, linear in self._refits(random / random.mean(axis=1, keepdims=True), "sample"):
                if np.isfinite(theta).all() and np.isfinite(linear).all():
                    draws.append(self._values(there, theta, linear, every).T)
        return np.array(draws)

    # ---- intervals of parameters -------------------------------------------------------------------
    def bootstrap(self, num: int = 200, seed: int = 0) -> dict[str, Array]:
        """Parameters of ``num`` fits to resampled runs, all in one batch: name to (num, T, ...).

        Needs the training rows, so it works on a law that was fitted in this process, not on one read back.
        """
        X, _, _ = self._need_rows("bootstrap")
        out: dict[str, list[Array]] = {}
        for theta, linear in self._refits(resample_weights(len(X), num, seed), "bootstrap"):
            for key, value in self.report(theta, linear).items():
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
                other.__dict__.pop(name, None)  # those of the fit itself
            other.theta_, other.linear_ = theta, linear
            copies.append(other if np.isfinite(theta).all() and np.isfinite(linear).all() else None)
        return copies

    def _refits(self, weights: Array, what: str) -> Iterator[tuple[Array, Array]]:
        """(theta, linear) of a refit from this optimum under each row of weights (B, n)."""
        rows = self._rows(what)
        num, T = len(weights), len(rows.Y)
        centres = None
        if self._centres is not None:  # what was learned across targets stays as it was learned
            centres = np.tile(self._centres[0], (num, 1)), np.tile(self._centres[1], (num, 1))
        best = self._solve(
            rows.tile(weights),
            np.tile(self.theta_[:, None], (num, 1, 1)),
            np.tile(self.ridge_, num),
            max_iter=60,
            gtol=1e-6,
            centres=centres,
        )
        for i in range(num):
            yield best.theta[i * T : (i + 1) * T], best.linear[i * T : (i + 1) * T]

    def _rows(self, what: str) -> Rows:
        """The training rows as the fit saw them."""
        X, Y, weight = self._need_rows(what)
        finite = np.isfinite(Y)
        mean = np.nanmean(np.where(finite, Y, np.nan), axis=0)
        filled, seen, side = np.where(finite, Y, mean).T, finite.T, None
        if self._limits is not None:
            side, limit = self._limits
            filled, seen = np.where(side != 0, limit, filled), seen | (side != 0)
        return Rows(self.model(X), filled, np.where(seen, weight[None], 0.0), side)

    @cached_property
    def intervals_(self) -> dict[str, Any]:
        """90% bootstrap intervals over runs, ``{name: (low, high)}``, shaped like ``parameters_``; made on
        first use (about 100 refits in one batch) and saved with the law from then on."""
        draws = self.bootstrap(100, self.seed)
        return {
            k: (_plain(np.quantile(v, 0.05, axis=0)), _plain(np.quantile(v, 0.95, axis=0))) for k, v in draws.items()
        }

    def profile(
        self,
        parameter: str,
        target: str | None = None,
        domain: str | None = None,
        level: float = 0.9,
        values: npt.ArrayLike | None = None,
    ) -> Profile:
        """Profile likelihood of one reported parameter: it is held at values, the rest is fitted again.

        Args:
            parameter: a key of ``parameters_``.
            target: whose (may be left out with one target); ``domain``: of which domain, where there is one per domain.
            level: of the interval.
            values: at which to hold it (None: around the optimum until the fit gets worse than the noise).

        Returns:
            :class:`mixlaw.laws.fit.likelihood.Profile`: ``values``, ``objective``, ``low``, ``high``, ``closed``,
            ``flat``; ``str()`` says it in words, ``report.plots.profile`` draws it.

        Raises:
            ConfigError: no such parameter, target or domain.
            DataError: a law read from JSON, which no longer has its rows.

        Example:
            >>> print(law.profile("t", target="loss_github", domain="weight_github"))  # doctest: +SKIP
            t[weight_github] of loss_github = -2.31, 90% interval -2.9 to -1.8
        """
        from mixlaw.laws.fit.profile import profile_parameter

        return profile_parameter(self, parameter, target, domain, level, values)

    def _profile_problem(self, t: int) -> ProfileProblem:
        from mixlaw.laws.fit.profile import ProfileProblem

        rows = self._rows("profile")
        low, high = (np.broadcast_to(b, self.theta_[t].shape) for b in self.bounds() or (-np.inf, np.inf))
        centres = None if self._centres is None else (self._centres[0][[t]], self._centres[1][[t]])
        prior, linear = self._priors(rows.model, np.array([t]), self.ridge_[[t]], centres)
        P = len(low)
        centre, strength = (v[0] for v in prior.broadcast((1, P)))
        best, model, extra = self.theta_[t], rows.model, 0
        if linear is not None:
            extra = len(self.linear_[t])
            best, model = np.concatenate([best, self.linear_[t]]), with_linear(rows.model)
            at, pull = (v[0] for v in linear.broadcast((1, rows.model.num_linear)))
            pad = np.zeros(extra - len(at))
            centre, strength = np.concatenate([centre, pad, at]), np.concatenate([strength, pad, pull])
            floor, ceiling = linear_bounds(rows.model)
            low, high = np.concatenate([low, floor]), np.concatenate([high, ceiling])

        def one(theta: Array, problem: Ints) -> tuple[Array, Array]:
            return model(theta, np.full(len(theta), t))

        def describe(theta: Array) -> dict[str, Array]:
            return {k: np.asarray(v) for k, v in self.report(theta[:, :P], theta[:, P:]).items()}

        return ProfileProblem(
            one, rows.Y[t], rows.W[t], None if rows.side is None else rows.side[t], best, describe, (low, high),
            centre, strength, self.loss, self._delta, self.log,
        )  # fmt: skip

    @cached_property
    def identifiability_(self) -> dict[str, Any]:
        """Rival optima that fit equally well: ``text``, ``optima``, ``flat`` and ``identified``. Made on first use.

        They are told apart by their predictions on and between the training mixtures, since parameters alone may
        differ by a pure renaming.

        Raises:
            DataError: a law read from JSON that had not made it before it was saved.
        """
        rows = self._rows("identifiability_")
        X, W = self.training.X, rows.W
        mean = (W * rows.Y).sum(axis=1) / np.maximum(W.sum(axis=1), 1e-300)
        starts = self.starts(X, rows.Y.T, W)
        starts = np.concatenate([self.theta_[:, None], starts], axis=1)
        fit = self._fit_problems(rows, starts, self.ridge_, 300, 1e-9, self._centres)
        corners = np.vstack([X, 0.5 * X + 0.5 * np.eye(X.shape[1])[np.arange(len(X)) % X.shape[1]]])
        away = self.model(corners)
        lines, optima = [], {}
        for t, name in enumerate(self.target_names_):
            F = fit.objective[t]
            best = float(F.min())
            n = int((W[t] > 0).sum())
            variance = 2 * best / max(n - self.num_free(), 1)
            limit = best + 0.5 * variance * chi2_quantile(0.95, 1) + 1e-9 * best
            within = np.flatnonzero(fit.converged[t] & (limit >= F))
            if len(within) < 2:
                continue
            values = self._values(away, fit.theta[t, within], fit.linear[t, within], np.full(len(within), t))
            values = np.clip(values, -1e6, 1e6)
            sd = math.sqrt(max(variance, 1e-300))
            kinds: list[int] = []
            for i in np.argsort(F[within], kind="stable"):
                if all(np.abs(values[i] - values[j]).max() > 3 * sd + 1e-6 * abs(mean[t]) for j in kinds):
                    kinds.append(int(i))
            if len(kinds) > 1:
                at = within[kinds]
                optima[name] = [
                    {"objective": float(F[s]), "theta": fit.theta[t, s].tolist(), "linear": fit.linear[t, s].tolist()}
                    for s in at
                ]
                gap = max(np.abs(values[i] - values[kinds[0]]).max() for i in kinds[1:])
                lines.append(
                    f"{name}: {len(kinds)} solutions fit equally well (objectives "
                    f"{', '.join(f'{F[s]:.4g}' for s in at[:4])}) and differ by up to {gap:.3g} between the runs."
                )
        text = "\n".join(lines)
        return {"text": text, "optima": optima, "flat": [], "identified": not lines}


def _plain(value: Any) -> Any:
    return np.asarray(value, dtype=float).tolist()

"""What the runs leave open in a mixture law: refits, draws, intervals, profiles, and optima that fit equally well.

All refits of the ridge laws are made in one place, :meth:`MixtureUncertainty._refits`: a batch of problems that differ
in the weights of the runs, started from the law's own optimum.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from mixlaw.errors import ConvergenceError, MixlawWarning
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.replicates import chi2_quantile
from mixlaw.laws.fit.engine import BatchFit, Ints, resample_weights
from mixlaw.laws.fit.objective import Model
from mixlaw.laws.fit.ridge import Centres, RidgeLaw, Rows
from mixlaw.laws.fit.separable import Separable, linear_bounds, with_linear

if TYPE_CHECKING:
    from mixlaw.laws.fit.likelihood import Profile
    from mixlaw.laws.fit.profile import ProfileProblem

__all__ = ["MixtureUncertainty", "plain"]


class MixtureUncertainty(RidgeLaw):
    """The part of :class:`mixlaw.laws.fit.mixture_law.MixtureLaw` that fits again: draws, intervals and profiles.

    Example:
        >>> from mixlaw.laws import M4
        >>> R = np.random.default_rng(0).dirichlet([1, 1], 12)
        >>> law = M4().fit(R, 2 + np.exp(-2 * R[:, 0]))
        >>> isinstance(law, MixtureUncertainty), law.sample(R[:1], 5, np.random.default_rng(0)).shape
        (True, (5, 1, 1))
    """

    _limits: tuple[npt.NDArray[np.int8], Array] | None = None  # sides and bounds (T, n) of censored values
    equal_fits_: dict[str, Any] | None = None
    """Other optima that fit as well, as :class:`mixlaw.laws.fit.equal_fits.EqualFits` writes them; None without any."""
    _centres: Centres | None = None  # of the ridge, where they were learned across targets

    def refit_draws(self, X: Array, num: int, rng: np.random.Generator) -> Array:
        """(num, n, T) predictions at X (n, K) of refits to runs under random weights, all in one batch.

        Raises:
            ConvergenceError: most refits found no finite optimum.
        """
        there, rows = self.model(X), self._need_rows("sample")
        every = np.arange(self.n_targets_)
        draws: list[Array] = []
        tried = 0
        while len(draws) < num:
            if tried > 3 * num:
                raise ConvergenceError(
                    f"{type(self).__name__}: of {tried} refits to reweighted runs only {len(draws)} found a finite "
                    f"optimum. Raise ridge, or add runs."
                )
            random = rng.standard_exponential((num - len(draws), len(rows.X)))  # times the weights of the fit
            tried += len(random)
            for theta, linear in self._refits(random / random.mean(axis=1, keepdims=True), "sample"):
                if np.isfinite(theta).all() and np.isfinite(linear).all():
                    draws.append(self._values(there, theta, linear, every).T)
        return np.array(draws)

    # ---- intervals of parameters -------------------------------------------------------------------
    def bootstrap(self, num: int = 200, seed: int = 0) -> dict[str, Array]:
        """Parameters of ``num`` fits to resampled runs, all in one batch: name to (num, T, ...).

        Needs the training rows, so it works on a law that was fitted in this process, not on one read back.

        Returns:
            Arrays (num, T, ...) by name, in the units of ``parameters_``.

        Raises:
            DataError: a law read from JSON, which has no rows.
        """
        X, _, _ = self._need_rows("bootstrap")
        out: dict[str, list[Array]] = {}
        for theta, linear in self._refits(resample_weights(len(X), num, seed), "bootstrap"):
            for key, value in self.report(theta, linear).items():
                out.setdefault(key, []).append(np.asarray(value, dtype=float))
        return {key: np.stack(values) for key, values in out.items()}

    def reweighted(self, weights: npt.ArrayLike, X: Any = None, y: Any = None) -> list[Self | None]:
        """Copies of this law refitted under other weights (B, n) of its training rows, or of ``X``, ``y``; see
        :meth:`mixlaw.laws.Law.reweighted`. All start at one optimum and are solved in one batch.

        Each copy predicts and has atoms; None stands for a refit that found no finite optimum.

        Raises:
            DataError: a law read from JSON, without other rows.
        """
        if X is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", MixlawWarning)  # it repeats what the fit itself said
                whole: Self = clone(self).set_params(**self.refit_options()).fit(X, y)
            return whole.reweighted(weights)
        copies: list[Self | None] = []
        for theta, linear in self._refits(np.asarray(weights, dtype=float), "reweighted"):
            other = copy.copy(self)
            for name in ("parameters_", "intervals_", "identifiability_", "conformal_"):
                other.__dict__.pop(name, None)  # those of the fit itself
            other.theta_, other.linear_, other.equal_fits_ = theta, linear, None
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
        return {k: (plain(np.quantile(v, 0.05, axis=0)), plain(np.quantile(v, 0.95, axis=0))) for k, v in draws.items()}

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
            >>> from mixlaw import laws
            >>> rng = np.random.default_rng(0)
            >>> r = rng.dirichlet(np.ones(3), 30)
            >>> law = laws.M4().fit(r, 2 + np.exp(-2 * r[:, 0]) + 0.01 * rng.normal(size=30))
            >>> found = law.profile("t", domain="x0")
            >>> found.closed, bool(found.low < law.parameters_["t"][0][0] < found.high)
            (True, True)
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
        rows, X = self._rows("identifiability_"), self._need_rows("identifiability_").X
        starts = np.concatenate([self.theta_[:, None], self.starts(X, rows.Y.T, rows.W)], axis=1)
        fit = self._fit_problems(rows, starts, self.ridge_, 300, 1e-9, self._centres)
        between = self.model(np.vstack([X, 0.5 * X + 0.5 * np.eye(X.shape[1])[np.arange(len(X)) % X.shape[1]]]))
        lines, optima = [], {}
        for t, name in enumerate(self.target_names_):
            places, gap = self._rivals(fit, t, rows, between)
            if len(places) < 2:
                continue
            F = fit.objective[t, places]
            optima[name] = [
                {"objective": float(f), "theta": fit.theta[t, s].tolist(), "linear": fit.linear[t, s].tolist()}
                for f, s in zip(F, places)
            ]
            lines.append(
                f"{name}: {len(places)} solutions fit equally well (objectives "
                f"{', '.join(f'{f:.4g}' for f in F[:4])}) and differ by up to {gap:.3g} between the runs."
            )
        return {"text": "\n".join(lines), "optima": optima, "flat": [], "identified": not lines}

    def _rivals(self, fit: BatchFit, t: int, rows: Rows, between: Separable | Model) -> tuple[Ints, float]:
        """Starts of target t that ended in different optima within the noise of its objective, the best one first, and
        how far their predictions differ over the mixtures of ``between``."""
        F, w = fit.objective[t], rows.W[t]
        best = float(F.min())
        variance = 2 * best / max(int((w > 0).sum()) - self.num_free(), 1)
        limit = best + 0.5 * variance * chi2_quantile(0.95, 1) + 1e-9 * best
        within = np.flatnonzero(fit.converged[t] & (limit >= F))
        if len(within) < 2:
            return within, 0.0
        values = self._values(between, fit.theta[t, within], fit.linear[t, within], np.full(len(within), t))
        values = np.clip(values, -1e6, 1e6)
        mean = float((w * rows.Y[t]).sum() / max(w.sum(), 1e-300))
        apart = 3 * math.sqrt(max(variance, 1e-300)) + 1e-6 * abs(mean)
        kinds: list[int] = []
        for i in np.argsort(F[within], kind="stable"):
            if all(np.abs(values[i] - values[j]).max() > apart for j in kinds):
                kinds.append(int(i))
        return within[kinds], max((float(np.abs(values[i] - values[kinds[0]]).max()) for i in kinds[1:]), default=0.0)


def plain(value: Any) -> Any:
    """Numbers of any shape as nested lists, as a law saves them.

    Example:
        >>> plain(np.eye(2))
        [[1.0, 0.0], [0.0, 1.0]]
    """
    return np.asarray(value, dtype=float).tolist()

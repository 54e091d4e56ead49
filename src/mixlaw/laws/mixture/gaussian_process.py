"""A hierarchical multi-target Gaussian process over mixtures: the best single predictor of a new mixture's loss."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, TooFewRunsError, did_you_mean
from mixlaw.kit.arrays import Array, alike
from mixlaw.laws.core.base import Law, TrainingRows
from mixlaw.laws.core.folds import Ints as Rows
from mixlaw.laws.core.folds import count_different, replicate_groups
from mixlaw.laws.core.heldout import Predict, heldout_predictions
from mixlaw.laws.core.notes import design_notes
from mixlaw.laws.core.own import own_matrix
from mixlaw.laws.core.residuals import residual_correlation
from mixlaw.laws.core.table import as_targets
from mixlaw.laws.process import gp_draws
from mixlaw.laws.process import gp_kernel as gk

__all__ = ["GaussianProcess"]

_LOO_FROM = 150  # below this analytic leave-one-out is optimistic: the hyperparameters have seen the row
_DRAWS_BELOW = 48  # runs below which draws of the hyperparameters lowered the error of held-out training rows
_ENOUGH = 512  # runs from which more change the hyperparameters little
_THREADS_FROM = 200  # runs from which members are fitted side by side
_BLOCK = 4_000_000  # numbers in one block of cross-covariances while predicting


class GaussianProcess(Law):
    """``y_t = warp^-1( level + sum_j v_tj f_j(r) + smooth_t(f(r)) + noise )``, one process per target, tied priors.

    ``f_j`` is a concave feature of domain j's weight (a logarithm, a fourth root or a learned power of weight plus
    a small constant); the smooth part is a Matern-5/2 process with one length scale per domain. All
    hyperparameters are tied across targets and domains by a hierarchy of priors in which a target's own domain
    has its own level, so 16 runs are enough to start and 512 are used well. Noise is Student-t like: runs that
    the others contradict lose weight. Several members (feature x output warp) are fitted and averaged, below 48
    runs each with four draws from the posterior of its hyperparameters.

    Use it to predict and to rank mixtures near those tried. It is not convex, so an optimum found on it carries
    no certificate, and it should not be trusted far from the runs: there the parametric laws are safer.

    X: mixtures (n, K), weights as shares of the training tokens; y: losses (n,) or (n, T) in nats per token, NaN where
    a target was not measured.

    Args:
        own: which training domain each target is measured on, ``{target: domain}``; by name where not given.
        members: feature/warp pairs to average; known: ``bc/log``, ``pow/logc``, ``log/log``, ``bc/logc``.
        iterations: L-BFGS steps of the first fit; chosen by the number of runs when None.
        max_runs: with more runs than this, hyperparameters and predictions use that many, spread evenly.
        seed: of the choice of those runs and of the folds.
        draws: average draws of the hyperparameters as well, below 48 runs; ten times the time of the rest.

    Attributes:
        parameters_: of the first member: ``noise`` and ``amplitude`` (T,), ``length_scale`` and ``slope``
            (T, K), in units of the warped, standardised target and of the features.
        heldout_: (n, T) predictions of each training row without that row (NaN where not measured): analytic
            leave-one-out from 150 runs, 5-fold refits below; made when first asked for.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> r = rng.dirichlet(np.ones(3), 40)
        >>> loss = 2 + (r[:, 0] + 0.02) ** -0.3
        >>> law = GaussianProcess().fit(r[:30], loss[:30])
        >>> bool(np.abs(law.predict(r[30:]) - loss[30:]).max() < 0.1)
        True

    Source: no paper; Gaussian process regression after Rasmussen & Williams 2006, robust
    weights after Shah, Wilson & Ghahramani 2014, arXiv:1402.4306; draws after Neal 2011, arXiv:1206.1901.
    """

    kind = "mixture"
    name = "gaussian_process"
    draws_form = True
    quick_options = MappingProxyType(
        {"draws": False}
    )  # draws of the hyperparameters take ten times the time of the rest
    costly = True
    allows_missing = True
    heldout_is_cheap = True
    source = "hierarchical Gaussian process; Rasmussen & Williams 2006, Gaussian Processes for Machine Learning"

    drawn_: Sequence[list[dict[str, Any]]] = ()
    """Of each member, the same with hyperparameters drawn from their posterior; none where runs are many."""

    def __init__(
        self,
        own: Mapping[str, str | Sequence[str] | None] | None = None,
        members: Sequence[str] = ("bc/log", "pow/logc"),
        iterations: int | None = None,
        max_runs: int = 1000,
        seed: int = 0,
        draws: bool = True,
    ) -> None:
        self.own = own
        self.members = members
        self.iterations = iterations
        self.max_runs = max_runs
        self.seed = seed
        self.draws = draws

    # ---- fitting -------------------------------------------------------------------------------------
    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        for stale in ("heldout_values_", "heldout_sd_", "stretch_", "rows_", "drawn_", "_ready"):
            self.__dict__.pop(stale, None)
        for member in self.members:
            if member not in gk.MEMBERS:
                raise ConfigError(f"Unknown member {member!r}.{did_you_mean(member, gk.MEMBERS)}")
        if not self.members:
            raise ConfigError("members=() leaves nothing to fit; give at least one of " + ", ".join(gk.MEMBERS) + ".")
        usable = (sample_weight > 0) & np.isfinite(Y).any(axis=1)
        X, Y, weight = X[usable], Y[usable], sample_weight[usable]
        if count_different(X) < 3:
            raise TooFewRunsError(
                f"A Gaussian process needs at least 3 different mixtures, got {count_different(X)} in "
                f"{len(X)} usable runs. Train a few more."
            )
        too_few = [self.target_names_[t] for t in range(Y.shape[1]) if np.isfinite(Y[:, t]).sum() < 3]
        if too_few:
            raise TooFewRunsError(f"Targets {too_few[:5]} were measured in fewer than 3 runs; leave them out of y.")
        self.notes_ = design_notes(X, Y, [str(n) for n in self.feature_names_in_], self.target_names_)
        if len(X) > self.max_runs:
            rows = np.sort(np.random.default_rng(self.seed).permutation(len(X))[: self.max_runs])
            self.notes_.append(
                f"Fitted on {self.max_runs} of {len(X)} runs, drawn at random (max_runs={self.max_runs})."
            )
            X, Y, weight = X[rows], Y[rows], weight[rows]
            self.rows_ = np.flatnonzero(usable)[rows]
        self.own_ = own_matrix([str(n) for n in self.feature_names_in_], self.target_names_, self.own)
        self.train_X_, self.train_Y_ = X, Y
        self._training = TrainingRows(X, Y, weight)  # the rows that heldout speaks of
        self.train_weight_ = weight / weight.mean()
        with _one_thread():
            self.members_ = self._side_by_side(len(X))
            few = self.draws and len(X) < _DRAWS_BELOW
            self.drawn_ = [self._draws(m) for m in self.members_] if few else []
        self._describe()

    def _side_by_side(self, n: int) -> list[dict[str, Any]]:
        """The members fitted to all n runs; in threads where that takes seconds (linear algebra frees Python)."""

        def one(name: str) -> dict[str, Any]:
            return self._fit_member(gk.MEMBERS[name], self._data(np.arange(n)), None)

        if n < _THREADS_FROM:
            return [one(name) for name in self.members]
        with ThreadPoolExecutor(len(self.members)) as pool:
            return list(pool.map(one, self.members))

    def _data(self, rows: Rows, scale: dict[str, Array] | None = None) -> gk.Data:
        """The runs ``rows`` as the kernel sees them; ``scale`` is worked out again where not given."""
        Y = self.train_Y_[rows].T
        seen = np.isfinite(Y).astype(float)
        filled = np.where(seen > 0, Y, 0.0)
        middle = filled.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        filled = np.where(seen > 0, Y, middle[:, None])
        scale = gk.standardize(filled, seen) if scale is None else dict(scale)
        base = np.broadcast_to(1.0 / np.maximum(self.train_weight_[rows], 1e-6), Y.shape)
        return gk.Data(self.train_X_[rows], filled, seen, self.own_, scale, base.copy())

    def _fit_member(self, member: gk.Member, data: gk.Data, start: Array | None, fold: bool = False) -> dict[str, Any]:
        """Hyperparameters, robust weights and posterior of one member; ``start`` warms it up."""
        if member.warp == "log" and (data.y <= 0).any():
            member = gk.Member(member.feature, "none")  # a logarithm needs positive targets
        layout = gk.Layout(member, len(data.y), data.r.shape[1])
        n = len(data.r)
        first, again, rounds = self._effort(n, fold, start is not None)
        u = np.zeros(layout.size) if start is None or len(start) != layout.size else start
        base = data.noise_scale
        if start is None and n > 200:
            # Most of the way is the same for a part of the runs, where a step costs a tenth.
            order = np.random.default_rng(self.seed).permutation(n)
            for part in (128, _ENOUGH // 2, _ENOUGH) if n > 600 else (max(128, n // 4), n // 2)[: 1 + (n >= 400)]:
                u = gk.minimize_objective(u, data.take(np.sort(order[:part])), layout, 40 if part < _ENOUGH else 25)
        u = gk.minimize_objective(u, data, layout, first) if first else u
        for _ in range(rounds):
            data.noise_scale = base * gk.reweight(u, data, layout)
            u = gk.minimize_objective(u, data, layout, again)
        return self._state(u, data, layout)

    @staticmethod
    def _state(u: Array, data: gk.Data, layout: gk.Layout) -> dict[str, Any]:
        """What predicting with the hyperparameters ``u`` needs."""
        state = gk.posterior(u, data, layout)
        return {
            "feature": layout.member.feature,
            "warp": layout.member.warp,
            "u": u,
            "alpha": np.ascontiguousarray(state.alpha),  # as it is read back: sums end the same to the last digit
            "precision": state.precision_diagonal,
            "noise_scale": data.noise_scale,
            "scale": data.scale,
        }

    def _draws(self, member: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The member again, with hyperparameters drawn from their posterior."""
        data, layout, _ = self._parts(member)
        return [self._state(u, data, layout) for u in gp_draws.draw(member["u"], data, layout, self.seed)]

    def _weighted(self) -> list[tuple[float, dict[str, Any]]]:
        """What the mean averages: the members, and where runs are few their draws, which have half of the weight."""
        drawn = self.drawn_
        each = 1 / len(self.members_)
        out = [(each / 2 if drawn else each, m) for m in self.members_]
        return out + [(each / 2 / len(group), m) for group in drawn for m in group]

    def _effort(self, n: int, fold: bool, warm: bool) -> tuple[int, int, int]:
        """Iterations before and after reweighting, and rounds of reweighting."""
        if self.iterations is not None:
            first, again = self.iterations, max(1, self.iterations // 2)
        elif n <= 200:
            first, again = 40, 40
        elif n <= 600:
            first, again = 25, 15
        else:  # a step costs the cube of n: what hyperparameters need is known from a part
            first, again = 0, 5
        if warm:
            return max(1, first // 3), max(1, again // 3), 1
        if fold:  # a fold only measures: the last iterations change its score by less than its own noise
            return max(1, 2 * first // 3), max(1, first // 2), 1
        return first, again, 2 if n < 48 else 1

    def _parts(self, member: Mapping[str, Any]) -> tuple[gk.Data, gk.Layout, gk.Hyper]:
        """A stored member, as the kernel needs it."""
        return self._whole(member)[:3]

    def _whole(self, member: Mapping[str, Any]) -> tuple[gk.Data, gk.Layout, gk.Hyper, Array]:
        """The same with the features (T, n, K) of its runs. Kept: an optimiser asks thousands of times."""
        kept = self.__dict__.setdefault("_ready", {})
        if id(member) not in kept:  # a member lives as long as the law, so that no other gets its id
            data = self._data(np.arange(len(self.train_X_)), member["scale"])
            data.noise_scale = member["noise_scale"]
            layout = gk.Layout(gk.Member(member["feature"], member["warp"]), self.n_targets_, self.n_features_in_)
            hyper = gk.Hyper.of(member["u"], layout, self.own_)
            kept[id(member)] = data, layout, hyper, gk.features(data.r, hyper, layout.member.feature)
        found: tuple[gk.Data, gk.Layout, gk.Hyper, Array] = kept[id(member)]
        return found

    def _describe(self) -> None:
        hyper = self._parts(self.members_[0])[2]
        self.parameters_ = {
            "noise": hyper.noise.tolist(),
            "amplitude": hyper.s.tolist(),
            "length_scale": hyper.ell.tolist(),
            "slope": hyper.v.tolist(),
        }

    # ---- predicting ------------------------------------------------------------------------------------
    def _predict(self, X: Array) -> Array:
        total = np.zeros((len(X), self.n_targets_))
        for share, member in self._weighted():
            total += share * self._member_mean(member, X)[1]
        return total

    def _member_mean(self, member: Mapping[str, Any], X: Array) -> tuple[Array, Array]:
        """Warped (T, n) and unwarped (n, T) posterior mean of one member."""
        data, layout, hyper, known = self._whole(member)
        z = np.empty((self.n_targets_, len(X)))
        step = max(1, _BLOCK // len(data.r))
        if self.n_targets_ * len(X) <= step:  # all targets at once: what few mixtures cost is calls, not numbers
            covariances = gk.kernel(X, data.r, hyper, layout.member.feature, known)
            z = (covariances @ member["alpha"][:, :, None])[:, :, 0]
            return z, gk.unwarp(z, hyper, layout.member, data.scale).T
        with _one_thread():
            for t in range(self.n_targets_):
                for i in range(0, len(X), step):
                    k = gk.kernel(X[i : i + step], data.r, hyper.only(t), layout.member.feature)[0]
                    z[t, i : i + step] = k @ member["alpha"][t]
        return z, gk.unwarp(z, hyper, layout.member, data.scale).T

    def _sigma(self, member: Mapping[str, Any], X: Array) -> Array:
        """Half the width (n, T), in the target's units, of mean +- one standard deviation, noise included."""
        from scipy.linalg import cho_solve

        data, layout, hyper = self._parts(member)
        z, _ = self._member_mean(member, X)
        variance = np.empty_like(z)
        with _one_thread():
            for t in range(self.n_targets_):
                one = hyper.only(t)
                factor = gk.factor(t, hyper, data, layout.member)
                k = gk.kernel(X, data.r, one, layout.member.feature)[0]
                f = gk.features(X, one, layout.member.feature)[0]
                prior = gk.BIAS + one.s[0] ** 2 + (f * f) @ (one.v[0] ** 2)
                variance[t] = prior - np.einsum("ni,in->n", k, cho_solve(factor, k.T))
        return self._width(z, np.maximum(variance, 0) + (hyper.noise**2)[:, None], hyper, layout.member, data.scale)

    @staticmethod
    def _width(z: Array, variance: Array, hyper: gk.Hyper, member: gk.Member, scale: dict[str, Array]) -> Array:
        sd = np.minimum(np.sqrt(variance), 5.0)  # five sd of the warped target is "anything"
        high, low = gk.unwarp(z + sd, hyper, member, scale), gk.unwarp(z - sd, hyper, member, scale)
        return np.maximum((high - low).T / 2, 1e-300)

    def scale(self, X: Any) -> Array:
        """Standard deviation (n, T) of a new observation at X, as the process itself sees it (not calibrated)."""
        matrix = self._align(X)
        return np.mean([self._sigma(m, matrix) for m in self.members_], axis=0)

    def difference_sd(self, A: Array, b: Array) -> Array:
        """Posterior standard deviation (n, T) of the noise-free target at each row of A minus that at b (K,).

        That of the mixture of members (and, where runs are few, their draws): their mean variance and the variance of
        their means.
        """
        from scipy.linalg import cho_solve

        rows = np.vstack([np.atleast_2d(A), b])
        first, second = (np.zeros((len(rows) - 1, self.n_targets_)) for _ in range(2))
        for share, member in self._weighted():
            data, layout, hyper = self._parts(member)
            z, mean = self._member_mean(member, rows)
            variance = np.empty((self.n_targets_, len(rows) - 1))
            for t in range(self.n_targets_):
                one = hyper.only(t)
                factor = gk.factor(t, hyper, data, layout.member)
                k = gk.kernel(rows, data.r, one, layout.member.feature)[0]
                prior = gk.kernel(rows, rows, one, layout.member.feature)[0]
                step = k[:-1] - k[-1]
                before = np.diag(prior)[:-1] + prior[-1, -1] - 2 * prior[:-1, -1]
                variance[t] = before - np.einsum("ni,in->n", step, cho_solve(factor, step.T))
            small = 1e-3
            slope = gk.unwarp(z[:, -1:] + small, hyper, layout.member, data.scale)
            slope -= gk.unwarp(z[:, -1:] - small, hyper, layout.member, data.scale)
            change = mean[:-1] - mean[-1]
            first += share * change
            second += share * ((np.maximum(variance, 0) * (slope / (2 * small)) ** 2).T + change**2)
        return np.sqrt(np.maximum(second - first**2, 0))

    def sample(self, X: Any, num: int, rng: np.random.Generator, rough: Array | None = None) -> Array:
        """Losses (num, n, T) without noise at mixtures X (n, K): joint draws from the posterior.

        Each takes a member, or where runs are few a draw of its hyperparameters, by their weight in the mean.
        Targets err together as much as their held-out residuals do (:meth:`residual_correlation`).

        Args:
            rough: (T,) share, 0 to 1, of what the law takes for noise that another seed would repeat, since it belongs
                to the mixture (default none). It is drawn for each row on its own: give each mixture once.

        Example:
            >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 20)
            >>> law = GaussianProcess().fit(r, 2 + (r[:, 0] + 0.02) ** -0.3)
            >>> law.sample(r[:4], 10, np.random.default_rng(1)).shape
            (10, 4, 1)

        Source: Rasmussen & Williams 2006, section 2.2 and A.2.
        """
        from scipy.linalg import solve_triangular

        matrix = self._align(X)
        out = np.empty((num, len(matrix), self.n_targets_))
        together = np.linalg.cholesky(self.residual_correlation())
        states = self._weighted()
        share = np.array([s for s, _ in states])
        taken = rng.choice(len(states), size=num, p=share / share.sum())
        for i in np.unique(taken):
            draws, member = np.flatnonzero(taken == i), states[i][1]
            data, layout, hyper = self._parts(member)
            normal = rng.standard_normal((len(draws), len(matrix), self.n_targets_)) @ together.T
            extra_noise = normal if rough is None else rng.standard_normal(normal.shape) @ together.T
            with _one_thread():
                for t in range(self.n_targets_):
                    one = hyper.only(t)
                    factor = gk.factor(t, hyper, data, layout.member)
                    k = gk.kernel(matrix, data.r, one, layout.member.feature)[0]
                    half = solve_triangular(factor[0], k.T, lower=True)
                    covariance = gk.kernel(matrix, matrix, one, layout.member.feature)[0] - half.T @ half
                    z = normal[:, :, t] @ gk.root(covariance).T
                    if rough is not None:
                        z = z + math.sqrt(rough[t]) * one.noise[0] * extra_noise[:, :, t]
                    z = np.minimum(z + k @ member["alpha"][t], 8.0)  # eight sd above the runs is "very bad" anyhow
                    scale = {key: value[t : t + 1] for key, value in data.scale.items()}
                    out[draws, :, t] = gk.unwarp(z.reshape(1, -1), one, layout.member, scale).reshape(z.shape)
        return out

    def seed_noise(self) -> Array:
        """(T,) standard deviation between runs of one mixture in the targets' units, at the median training run."""
        self._check_fitted()
        data, layout, hyper = self._parts(self.members_[0])
        z = gk.warp(data.y, hyper, layout.member, data.scale)[0]
        step = hyper.noise[:, None]
        up, down = (gk.unwarp(v, hyper, layout.member, data.scale) for v in (z + step, z - step))
        return np.asarray(np.median((up - down) / 2, axis=1))

    def residual_sd(self) -> Array:
        """(T,) what the law leaves unexplained: the noise of its likelihood, :meth:`seed_noise`."""
        return self.seed_noise()

    def residual_sd_of(self, weights: npt.ArrayLike) -> float:
        """The same of the weighted sum of targets, weights (T,).

        Targets of one run err together. How much that makes of the sum is taken from leave-one-out residuals: their
        spread, over what it would be if each target erred on its own.
        """
        w = np.asarray(weights, dtype=float)
        alone = float(w**2 @ self.seed_noise() ** 2)
        residual = (self.train_Y_ - self.leave_one_out()[0])[:, w != 0] * w[w != 0]
        residual = residual[np.isfinite(residual).all(axis=1)]
        if residual.shape[1] == 1 or len(residual) < 3 or not residual.any():
            return math.sqrt(alone)
        return math.sqrt(alone * float((residual.sum(axis=1) ** 2).sum() / (residual**2).sum()))

    def residual_correlation(self) -> Array:
        """Correlation (T, T) between targets of what the law does not know of a run, from leave-one-out residuals.

        Hyperparameters that have seen the row make these too small below 150 runs, but alike in all targets.
        """
        mean, sd = self.leave_one_out()
        return residual_correlation((self.train_Y_ - mean) / sd)

    # ---- how wrong it is: held-out rows -------------------------------------------------------------------
    def leave_one_out(self, replicates: bool = False) -> tuple[Array, Array]:
        """Analytic leave-one-out predictions and their standard deviations, both (n, T); free of refits.

        Only the hyperparameters have seen the row; below about 150 runs that makes it optimistic.

        Args:
            replicates: leave out all rows of a mixture together, so that none is predicted from its own replicates.
        """
        from scipy.linalg import cho_solve

        self._check_fitted()
        means, sds = [], []
        groups = replicate_groups(self.train_X_)
        together = [np.flatnonzero(groups == g) for g, n in enumerate(np.bincount(groups)) if n > 1 and replicates]
        for member in self.members_:
            data, layout, hyper = self._parts(member)
            z, _ = gk.warp(data.y, hyper, layout.member, data.scale)
            z = z * data.seen
            error, total = member["alpha"] / member["precision"], 1 / member["precision"]
            for t in range(self.n_targets_ if together else 0):
                factor = gk.factor(t, hyper, data, layout.member)
                inverse = cho_solve(factor, np.eye(len(self.train_X_)))
                for rows in together:
                    block = np.linalg.inv(inverse[np.ix_(rows, rows)])
                    error[t, rows], total[t, rows] = block @ member["alpha"][t, rows], np.diag(block)
            mean = z - error
            variance = total - gk.noise_variance(hyper, data)
            variance = np.maximum(variance, 0) + (hyper.noise**2)[:, None]
            means.append(gk.unwarp(mean, hyper, layout.member, data.scale).T)
            sds.append(self._width(mean, variance, hyper, layout.member, data.scale))
        return np.mean(means, axis=0), np.mean(sds, axis=0)

    def cross_validate(self, folds: int | None = None) -> tuple[Array, Array]:
        """Predictions (n, T) of every training row by fits without it (replicates leave together), and their sd.

        ``folds`` is 5 where not given, and 8 up to 24 different mixtures.
        """
        self._check_fitted()
        X, Y = self.train_X_, self.train_Y_
        few = count_different(X) <= 24
        # Below 64 runs the hyperparameters carry too much of the held-out rows to start from them.
        warm = [m["u"] if len(X) >= 64 else None for m in self.members_]

        def refit(rows: Rows, weight: Array) -> Predict:
            model = self._shadow(rows)  # which has the rows' weights
            with _one_thread():
                model.members_ = [
                    model._fit_member(gk.MEMBERS[name], model._data(np.arange(len(rows))), start, True)
                    for name, start in zip(self.members, warm, strict=True)
                ]
            return lambda held: np.stack(
                [model._predict(X[held]), np.mean([model._sigma(m, X[held]) for m in model.members_], axis=0)], axis=-1
            )

        both = heldout_predictions(refit, X, Y, folds=folds or (8 if few else None), seed=self.seed, partial=False)
        return both[..., 0], both[..., 1]

    def _shadow(self, rows: Rows) -> GaussianProcess:
        """An unfitted copy that holds only some of the training rows."""
        model = GaussianProcess(**self.get_params(deep=False))
        model.own_, model.n_targets_, model.n_features_in_ = self.own_, self.n_targets_, self.n_features_in_
        model.feature_names_in_, model.target_names_ = self.feature_names_in_, self.target_names_
        model.single_target_ = self.single_target_
        model.train_X_, model.train_Y_ = self.train_X_[rows], self.train_Y_[rows]
        model.train_weight_ = self.train_weight_[rows]
        return model

    def calibrate(self) -> None:
        """Held-out predictions and the factors by which the process' own standard deviation must be stretched; made
        once, and saved with the law from then on."""
        if "stretch_" in vars(self):
            return
        mean, sd = self.leave_one_out(replicates=True) if len(self.train_X_) >= _LOO_FROM else self.cross_validate()
        seen = np.isfinite(self.train_Y_)
        self.heldout_values_ = np.where(seen, mean, np.nan)
        self.heldout_sd_ = sd
        with np.errstate(invalid="ignore"):
            self.stretch_ = np.sort((np.abs(self.train_Y_ - mean) / sd)[seen])

    @property
    def known_runs(self) -> TrainingRows:
        """The runs it was fitted on, which are saved with it."""
        return TrainingRows(self.train_X_, self.train_Y_, self.train_weight_)

    @property
    def heldout(self) -> Array:
        """(n, T) predictions, in the targets' unit, of the training rows used, each without itself; NaN where not
        measured.
        """
        self.calibrate()
        return self.heldout_values_

    def heldout_scale(self) -> Array:
        """(n, T) standard deviations of the training rows used, each without itself; see :meth:`scale`."""
        self.calibrate()
        return self.heldout_sd_

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """Ends of an interval for a new observation: the process' own sd, stretched to cover held-out rows.

        Raises:
            ConfigError: ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ConfigError(f"level={level!r} must lie between 0 and 1, for example 0.9.")
        matrix = self._align(X)
        self.calibrate()
        n = len(self.train_X_)
        stretch = float(np.quantile(self.stretch_, min(1.0, level * (1 + 1 / n)), method="higher"))
        mean = self._predict(matrix)
        half = stretch * np.mean([self._sigma(m, matrix) for m in self.members_], axis=0)
        low, high = mean - half, mean + half
        return (low[:, 0], high[:, 0]) if self.single_target_ else (low, high)

    def reweighted(self, weights: npt.ArrayLike, X: Any = None, y: Any = None) -> list[Self | None]:
        """Copies of this law under other weights (B, n) of its training rows; see :meth:`mixlaw.laws.Law.reweighted`.

        What it chose is kept: hyperparameters, and how much each run's error counts. Only the posterior is solved
        again, which takes a hundredth of the time of a fit.

        Raises:
            DataError: no rows were given and the law has none.
        """
        many = np.atleast_2d(np.asarray(weights, dtype=float))
        other_rows = X is not None and not (
            alike(self._align(X), self.train_X_) and alike(as_targets(y, allow_missing=True)[0], self.train_Y_)
        )
        if other_rows or many.shape[1] != len(self.train_X_):
            return super().reweighted(weights, X, y)
        copies: list[Self | None] = []
        for weight in many:
            rows = np.flatnonzero(weight > 0)
            if count_different(self.train_X_[rows]) < 3:
                copies.append(None)
                continue
            other = copy.copy(self)
            for name in ("heldout_values_", "heldout_sd_", "stretch_", "_ready", "_heldout", "_training"):
                other.__dict__.pop(name, None)
            other.train_X_, other.train_Y_ = self.train_X_[rows], self.train_Y_[rows]
            other.train_weight_ = self.train_weight_[rows] * weight[rows] / weight[rows].mean()
            with _one_thread():
                other.members_ = [self._under(member, rows, weight) for member in self.members_]
                other.drawn_ = [[self._under(one, rows, weight) for one in group] for group in self.drawn_]
            copies.append(other)
        return copies

    def _under(self, member: Mapping[str, Any], rows: Rows, weight: Array) -> dict[str, Any]:
        """A member with the posterior of some rows under weights (n,)."""
        data, layout, _ = self._parts(member)
        part = data.take(rows)
        part.noise_scale = part.noise_scale / np.maximum(weight[rows], 1e-6)
        return self._state(member["u"], part, layout)

    def gradient(self, X: Any) -> Array:
        """d target / d weight (n, T, K), exact."""
        matrix = self._align(X)
        out = np.zeros((len(matrix), self.n_targets_, self.n_features_in_))
        for share, member in self._weighted():
            data, layout, hyper, known = self._whole(member)
            z, y = self._member_mean(member, matrix)
            if layout.member.warp == "log":
                outer = y * data.scale["log_sd"]
            elif layout.member.warp == "none":
                outer = np.broadcast_to(data.scale["sd"], y.shape)
            else:
                outer = np.exp(np.clip(z, -700, 60)).T * data.scale["sd"]
            slope = gk.kernel_slopes(matrix, known, member["alpha"], hyper, layout.member)
            out += share * outer[:, :, None] * slope.transpose(1, 0, 2)
        return out


def _one_thread() -> Any:
    """Many small factorisations: a second BLAS thread costs more than it brings, and stalls on a busy machine."""
    return _pools().limit(limits=1, user_api="blas")


@cache
def _pools() -> Any:
    """The thread pools loaded; to look for them takes longer than a small prediction, so it is done once."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()

"""What the parametric laws of size and data inherit: columns, starts, certificate, bootstrap intervals.

A family is one file: formula, Jacobian, starting points and the meaning of its parameters. All targets, starts
and bootstrap resamples are advanced together by :func:`mixlaw.laws.fit.engine.fit_batch`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, DataError, MixlawWarning
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law, TrainingRows
from mixlaw.laws.core.censoring import Sides, censored_notes
from mixlaw.laws.core.columns import check_counts, need_runs, need_sizes
from mixlaw.laws.fit.engine import BatchFit, Best, Ints, fit_batch, resample_weights

if TYPE_CHECKING:
    from mixlaw.laws.core.intervals import Profile
    from mixlaw.laws.fit.profile import ProfileProblem

__all__ = ["ScaleLaw"]


class ScaleLaw(Law):
    """Base of the laws of ``params``, ``tokens`` and kin.

    A family sets ``columns`` (what X holds, in the order a plain array has) and ``needs`` (how many different
    values of each are needed), and writes ``_starts``, ``_evaluate`` and ``_describe``. theta are the family's
    internal, well-scaled parameters; logarithms of columns are centred at their means for that reason.
    """

    kind: ClassVar = "scale"
    columns: ClassVar[tuple[str, ...]] = ("params", "tokens")
    num_free: ClassVar[int] = 1
    permutation_invariant = False
    allows_missing = True
    accepts_censored = True

    loss: str = "huber"
    delta: float = 1e-3
    seed: int = 0
    bootstrap: int = 0
    level: float = 0.9
    _limits: tuple[Sides, Array] | None = None  # sides and bounds (T, n) of censored values

    # ---- written by a family ---------------------------------------------------------------------
    def _columns(self) -> tuple[str, ...]:
        """Columns in the order of a plain array; a family with several forms overrides."""
        return self.columns

    def _needs(self) -> dict[str, int]:
        """How many different values of each column identify the law."""
        return {c: 3 for c in self._columns()}

    def _starts(self, Z: Array, y: Array, w: Array) -> Array:
        """(S, P) starts for one target; Z (n, c) raw columns, y (n,) finite losses where w > 0."""
        raise NotImplementedError

    def _evaluate(self, theta: Array, Z: Array) -> tuple[Array, Array]:
        """Losses (B, n) and their Jacobian (B, n, P) at theta (B, P)."""
        raise NotImplementedError

    def _bounds(self) -> Any:
        return None

    def _describe(self, theta: Array) -> dict[str, Array]:
        """Parameters by name, each (B,), from theta (B, P)."""
        raise NotImplementedError

    # ---- shared ------------------------------------------------------------------------------------
    def _check_inputs(self, X: Array, Y: Array, names: Sequence[str] | None) -> None:
        if self.loss not in ("huber", "squared"):
            raise ConfigError(f"{type(self).__name__}: loss={self.loss!r} is not known. Use 'huber' or 'squared'.")
        if not self.delta > 0:
            raise ConfigError(f"{type(self).__name__}: delta must be positive, got {self.delta!r}.")
        Z = X[:, self._order(names, X.shape[1])]
        self._check_columns(Z)
        if (Y[np.isfinite(Y)] <= 0).any():
            raise DataError("Losses must be positive: these laws are fitted to log losses. Subtract nothing first.")
        need_runs(len(X), self.num_free, type(self).__name__)
        self._check_sizes(Z, type(self).__name__)
        if len(Y) > 1 and (np.nanmax(Y, axis=0) - np.nanmin(Y, axis=0) <= 1e-12).any():
            raise DataError("A target is constant over all runs: there is nothing to fit. Was the right column read?")

    def _check_sizes(self, Z: Array, law: str) -> None:
        """Enough different values of each column in these rows."""
        for j, (column, least) in enumerate(self._needs().items()):
            need_sizes(Z[:, j], least, column, law)

    def _check_columns(self, Z: Array) -> None:
        for j, name in enumerate(self._columns()):
            check_counts(Z[:, j], name)

    def _column_names(self, num: int) -> list[str]:
        return list(self._columns())

    def _order(self, names: Sequence[str] | None, num: int) -> list[int]:
        """Positions in X of the family's columns."""
        wanted = self._columns()
        if names is None or all(n.startswith("x") and n[1:].isdigit() for n in names):
            if num != len(wanted):
                raise DataError(
                    f"{type(self).__name__} reads a plain array as columns {list(wanted)}; got {num} columns."
                )
            return list(range(num))
        missing = [c for c in wanted if c not in names]
        if missing:
            raise DataError(
                f"{type(self).__name__} needs the columns {list(wanted)}; X lacks {missing}, it has {list(names)}."
            )
        return [list(names).index(c) for c in wanted]

    def _used(self, X: Array) -> Array:
        return X[:, self._order([str(n) for n in self.feature_names_in_], X.shape[1])]

    def _set_scale(self, Z: Array) -> None:
        """Means of the logarithms of the columns, where theta is centred."""
        self.centre_ = np.log(Z).mean(axis=0)

    def _problem(self, Z: Array) -> Any:
        def model(theta: Array, problem: Ints) -> tuple[Array, Array]:
            return self._evaluate(theta, Z)

        return model

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        for name in ("intervals_", "conformal_", "identifiability_", "bootstrap_theta_"):
            self.__dict__.pop(name, None)
        Z = self._used(X)
        side = None if self._side is None else self._side.T
        measured = np.isfinite(Y.T) if side is None else np.isfinite(Y.T) & (side == 0)
        self._training = TrainingRows(X, np.where(measured.T, Y, np.nan), sample_weight)
        self._limits = None if side is None else (side, Y.T)
        self.notes_ = censored_notes(self._side, self.target_names_)
        self._set_scale(Z)
        weights, W = self._weights(Z, Y, sample_weight)
        starts = [self._starts(Z[w > 0], y[w > 0], w[w > 0]) for y, w in zip(Y.T, W)]
        fit = self._run(Z, Y.T, np.stack(starts), weights, side=side)
        best = fit.best()
        self.theta_ = best.theta
        self.objective_ = best.objective if not self.single_target_ else float(best.objective[0])
        self.agreement_ = best.agreement.tolist()
        self.num_starts_ = int(fit.theta.shape[1])
        self.converged_ = bool(best.converged.all())
        if not self.converged_:
            warnings.warn(
                f"{type(self).__name__}: the optimum is not certified for {int((~best.converged).sum())} target(s) "
                f"(gradient norm {best.gradient_norm.max():.1e}). The predictions are the best found; read "
                f"parameters_ with care, and see identifiability_.",
                MixlawWarning,
                stacklevel=4,
            )
        self.parameters_ = self._as_parameters(self._describe(self.theta_))
        if self.bootstrap:
            self._bootstrap(Z, Y.T, weights, side, best)
        self._after_fit(Z, Y.T, W, fit, best)

    def _weights(self, Z: Array, Y: Array, sample_weight: Array) -> tuple[Array, Array]:
        """Weights (T, n) of all values, and of measurements alone; refuses targets with too few of these."""
        weights = np.where(np.isfinite(Y.T), sample_weight[None], 0.0)
        W = weights if self._side is None else np.where(self._side.T == 0, weights, 0.0)
        for t, name in enumerate(self.target_names_):
            need_runs(int((W[t] > 0).sum()), self.num_free, f"{type(self).__name__} ({name})")
            # a bound, a gap or a row of weight 0 measures nothing at its size
            self._check_sizes(Z[W[t] > 0], f"{type(self).__name__} ({name}, measured rows)")
        return weights, W

    def _run(
        self, Z: Array, Y: Array, starts: Array, W: Array, gtol: float = 1e-9, side: Sides | None = None
    ) -> BatchFit:
        kind: Literal["squared", "huber"] = "huber" if self.loss == "huber" else "squared"
        return fit_batch(
            self._problem(Z), Y, starts, loss=kind, delta=self.delta, log=True, weights=W, censored=side,
            bounds=self._bounds(), gtol=gtol,
        )  # fmt: skip

    def _after_fit(self, Z: Array, Y: Array, W: Array, fit: BatchFit, best: Best) -> None:
        """Where a family looks for other optima."""

    def _as_parameters(self, values: Mapping[str, Array]) -> dict[str, Any]:
        return {k: float(v[0]) if self.single_target_ else [float(x) for x in v] for k, v in values.items()}

    def _bootstrap(self, Z: Array, Y: Array, W: Array, side: Sides | None, best: Best) -> None:
        """Percentile intervals over resampled runs, every resample started at the optimum."""
        if self.bootstrap < 20:
            raise ConfigError(f"bootstrap={self.bootstrap} resamples say nothing; use at least 20, or 0 for none.")
        tail = (1 - self.level) / 2
        low, high = [], []
        draws = self._resampled(Z, Y, W, side, best.theta, resample_weights(Z.shape[0], self.bootstrap, self.seed))
        for theta in draws:
            described = self._describe(theta)
            low.append({k: float(np.quantile(v, tail)) for k, v in described.items()})
            high.append({k: float(np.quantile(v, 1 - tail)) for k, v in described.items()})
        self.intervals_: dict[str, Any] = {k: ([x[k] for x in low], [x[k] for x in high]) for k in low[0]}
        if self.single_target_:
            self.intervals_ = {k: (low[0][k], high[0][k]) for k in low[0]}
        self.bootstrap_theta_ = draws

    def _resampled(self, Z: Array, Y: Array, W: Array, side: Sides | None, theta: Array, counts: Array) -> Array:
        """(T, B, P): optima of the targets' fits to rows counted as ``counts`` (B, n) says."""
        out = []
        for t in range(len(Y)):
            start = np.broadcast_to(theta[t], (len(counts), 1, theta.shape[1]))
            fit = self._run(Z, Y[t], start, counts * W[t], gtol=1e-5, side=None if side is None else side[t])
            out.append(fit.theta[:, 0])
        return np.stack(out)

    def sample(self, X: Any, num: int, rng: np.random.Generator) -> Array:
        """Draws (num, n, T) of possible losses: refits to runs under random weights (Bayesian bootstrap), all in one
        batch; see :meth:`mixlaw.laws.Law.sample`.

        Raises:
            DataError: a law read from JSON, which has no rows to fit again.
        """
        rows = self._need_rows("sample")
        there = self._used(self._align(X))
        side, Y = (None, rows.Y.T) if self._limits is None else self._limits
        W = np.where(np.isfinite(Y), rows.weight, 0.0)
        counts = rng.standard_exponential((num, len(rows.X)))
        draws = self._resampled(
            self._used(rows.X), Y, W, side, self.theta_, counts / counts.mean(axis=1, keepdims=True)
        )
        with np.errstate(over="ignore"):
            return np.stack([self._evaluate(theta, there)[0] for theta in draws], axis=-1)

    def profile(
        self, parameter: str, target: str | None = None, level: float = 0.9, values: npt.ArrayLike | None = None
    ) -> Profile:
        """Profile likelihood of one reported parameter: it is held at values, the rest is fitted again.

        Args:
            parameter: a key of ``parameters_``.
            target: whose (may be left out with one target).
            level: of the interval.
            values: at which to hold it (None: around the optimum until the fit gets worse than the noise).

        Returns:
            :class:`mixlaw.laws.core.intervals.Profile`: ``values``, ``objective``, ``low``, ``high``, ``closed``,
            ``flat``; ``str()`` says it in words, ``report.plots.profile`` draws it.

        Raises:
            ConfigError: no such parameter, target or domain.
            DataError: a law read from JSON, which no longer has its rows.

        Example:
            >>> print(law.profile("alpha"))  # doctest: +SKIP
            alpha = 0.3473, 90% interval 0.32 to 0.371
        """
        from mixlaw.laws.fit.profile import profile_parameter

        return profile_parameter(self, parameter, target, None, level, values)

    def _profile_problem(self, t: int) -> ProfileProblem:
        from mixlaw.laws.fit.profile import ProfileProblem

        X, Y, weight = self._need_rows("profile")
        y, side = Y[:, t], None
        if self._limits is not None:
            side, y = self._limits[0][t], self._limits[1][t]
        seen, P = np.isfinite(y), self.theta_.shape[1]
        bounds = self._bounds()
        low, high = (np.broadcast_to(b, (P,)) for b in (bounds if bounds is not None else (-np.inf, np.inf)))
        return ProfileProblem(
            self._problem(self._used(X)), np.where(seen, y, 1.0), np.where(seen, weight, 0.0), side, self.theta_[t],
            self._describe, (low, high), np.zeros(P), np.zeros(P), self.loss, self.delta, True,
        )  # fmt: skip

    def _predict(self, X: Array) -> Array:
        Z = self._used(X)
        self._check_columns(Z)
        with np.errstate(over="ignore"):
            return self._evaluate(self.theta_, Z)[0].T

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """Ends of an interval for a new run at X.

        Calibrated on rows left out of the fit, so it covers runs like those given. After ``bootstrap=`` the
        spread of the refits is added (in quadrature): then it also widens where the law extrapolates.
        """
        low, high = super().predict_interval(X, level)
        if self.bootstrap_theta_ is None:
            return low, high
        Z = self._used(self._align(X))
        tail = (1 - level) / 2
        with np.errstate(over="ignore"):
            spread = [np.quantile(self._evaluate(t, Z)[0], (tail, 1 - tail), axis=0) for t in self.bootstrap_theta_]
        extra = np.stack([(s[1] - s[0]) / 2 for s in spread], axis=1)
        extra = extra[:, 0] if self.single_target_ else extra
        middle, half = (low + high) / 2, (high - low) / 2
        half = np.sqrt(half**2 + extra**2)
        return middle - half, middle + half

    def gradient(self, X: Any) -> Array:
        """d loss / d column (n, T, K), by central differences of one part in a million of each column."""
        matrix = self._align(X)
        out = np.empty((len(matrix), self.n_targets_, matrix.shape[1]))
        for j in range(matrix.shape[1]):
            step = 1e-6 * matrix[:, j]
            up, down = matrix.copy(), matrix.copy()
            up[:, j] += step
            down[:, j] -= step
            out[:, :, j] = (self._predict(up) - self._predict(down)) / (2 * step)[:, None]
        return out

"""The seam for laws of size and data: a family declares columns and parameters, and writes its loss and slopes.

    class Hestness(ScaleLaw):
        columns = ("tokens",)
        parameters = {
            "E": Positive(1.7, "irreducible loss, nats"),
            "B": Positive(410.0, "data term, nats"),
            "beta": Positive(0.28, "data exponent"),
        }

        def loss(self, p, tokens):
            return p.E + p.B * tokens**-p.beta

        def slopes(self, p, tokens):
            term = tokens**-p.beta
            return {"E": 1.0, "B": term, "beta": -np.log(tokens) * p.B * term}

Everything else is inherited: constructor, starts, transforms and bounds, the fit of all targets, starts and resampled
runs in one batch (:func:`mixlaw.laws.fit.engine.fit_batch`), certificate, bootstrap and prediction intervals, profile
likelihood, JSON, plots and the contract test. Columns are raw counts; the numerical scaling that a fit to counts of
1e13 needs is done here (:func:`mixlaw.laws.fit.coordinates.uncoupled`) and never seen by a family.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from mixlaw.data.columns import COUNTS
from mixlaw.errors import ConfigError, DataError, MixlawWarning, NotIdentifiableError, TooFewRunsError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law, TrainingRows
from mixlaw.laws.core.bounds import Sides, censored_notes
from mixlaw.laws.core.columns import check_column, column_range, need_runs, need_sizes
from mixlaw.laws.core.parameters import Layout, Parameter
from mixlaw.laws.fit.coordinates import uncoupled
from mixlaw.laws.fit.declared_starts import declared_starts, linear_parameters
from mixlaw.laws.fit.engine import BatchFit, Best, Ints, Model, fit_batch, resample_weights
from mixlaw.laws.fit.first_version import migrated
from mixlaw.laws.fit.objective import slopes_and_differences

if TYPE_CHECKING:
    from mixlaw.laws.fit.likelihood import Profile
    from mixlaw.laws.fit.profile import ProfileProblem

__all__ = ["Rows", "ScaleLaw"]

_LINEAR: dict[tuple[Any, ...], list[str]] = {}  # which parameters a family's loss is linear in: found once


@dataclass(frozen=True)
class Rows:
    """The rows of a fit: ``columns`` (n,) each in the law's order, losses ``Y`` (T, n), ``weights`` (T, n) of all
    values (0 where there is none), ``measured`` (T, n) those of measurements alone, and ``side`` (T, n): +1 or -1 where
    Y is a bound, None without bounds.

    Example:
        >>> tokens, Y, ones = np.array([1e8, 1e9]), np.array([[3.0, 2.5], [2.0, 1.9]]), np.ones((2, 2))
        >>> rows = Rows((tokens,), Y, ones, ones, None)
        >>> rows.of(1).Y.tolist()
        [[2.0, 1.9]]
    """

    columns: tuple[Array, ...]
    Y: Array
    weights: Array
    measured: Array
    side: Sides | None

    def of(self, target: int) -> Rows:
        """The rows of one target."""
        one = slice(target, target + 1)
        side = None if self.side is None else self.side[one]
        return Rows(self.columns, self.Y[one], self.weights[one], self.measured[one], side)


class ScaleLaw(Law):
    """Base of the laws of ``params``, ``tokens`` and kin. Write a family as the head of this module shows.

    Args:
        seed: of the bootstrap.
        loss: ``"huber"`` (with ``delta``, on log losses, summed) or ``"squared"``.
        delta: Huber's threshold in log loss.
        bootstrap: number of resamples of the runs for ``intervals_`` (0: none, else at least 20).
        level: of those intervals.

    X: columns by name, or a plain array in the order of ``columns``; y: (n,) or (n, T) positive losses in nats, NaN
    where a target was not measured. Fitted: ``parameters_``, ``objective_`` (sum over runs), ``intervals_`` (with
    ``bootstrap``), ``theta_`` (T, P).

    **A family declares** ``columns``, ``parameters`` and ``source`` (properties, where they depend on its options) and
    **writes** :meth:`loss` and :meth:`slopes`. Where that is not enough it overrides one of the hooks, each of which
    has a default: :meth:`loss_and_slopes`, :meth:`starts`, :meth:`bounds`, :meth:`check_rows`, :attr:`needs`,
    :meth:`report`, :meth:`after_fit`, :meth:`example_rows`.

    Raises:
        DataError: rows that no such law can use. NotIdentifiableError: too few different values of a column.
        TooFewRunsError: fewer rows than parameters. ConfigError: an option that is not known.

    Example:
        >>> from mixlaw.laws.core.parameters import Positive
        >>> class Power(ScaleLaw):
        ...     columns = ("tokens",)
        ...     parameters = {"E": Positive(1.7, "nats"), "B": Positive(400.0, "nats"), "beta": Positive(0.3, "power")}
        ...
        ...     def loss(self, p, tokens):
        ...         return p.E + p.B * tokens**-p.beta
        ...
        ...     def slopes(self, p, tokens):
        ...         power = tokens**-p.beta
        ...         return {"E": 1.0, "B": power, "beta": -p.B * power * np.log(tokens)}
        >>> tokens = np.geomspace(1e8, 1e11, 8)
        >>> law = Power().fit({"tokens": tokens}, 2 + 500 * tokens**-0.32)
        >>> round(float(law.parameters_["beta"]), 3)
        0.32
    """

    kind: ClassVar = "scale"
    columns: Any = ()
    """Names of the columns of X, in the order in which :meth:`loss` takes them."""
    parameters: Any = None
    """Name to declaration (:mod:`mixlaw.laws.core.parameters`)."""
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Usual least and greatest value of columns that :mod:`mixlaw.laws.core.columns` does not know."""
    permutation_invariant = False
    allows_missing = True
    accepts_censored = True

    loss: Any
    """A family's method ``loss(self, p, *columns) -> (B, n)``: predicted losses. ``p`` holds each declared parameter as
    (B, 1), columns are (n,). On a constructed law the name holds the constructor's option ``loss=``; to call the method
    there, use :meth:`curve`."""

    theta_: Array  # type: ignore[assignment]  # every fitted one has it
    seed: int
    delta: float
    bootstrap: int
    level: float
    _limits: tuple[Sides, Array] | None = None  # sides and bounds (T, n) of censored values

    def __init__(
        self, seed: int = 0, loss: str = "huber", delta: float = 1e-3, bootstrap: int = 0, level: float = 0.9
    ) -> None:
        self.seed = seed
        self.loss = loss
        self.delta = delta
        self.bootstrap = bootstrap
        self.level = level

    # ---- written by a family -------------------------------------------------------------------------
    def slopes(self, p: Any, *columns: Any) -> Mapping[str, Any]:
        """d loss / d parameter by name, each (B, n) or what broadcasts to it; arguments as of ``loss``."""
        raise NotImplementedError(f"{type(self).__name__} must define slopes(self, p, {', '.join(self.columns)}).")

    # ---- hooks: a family overrides those it needs -----------------------------------------------------
    def loss_and_slopes(self, p: Any, *columns: Any) -> tuple[Array, Mapping[str, Any]]:
        """Losses (B, n) and slopes by parameter, (B, n) each, at columns (n,). Override where they share costly
        terms, and let ``slopes`` return the second half of it.
        """
        return self.curve(p, *columns), self.slopes(p, *columns)

    def starts(self, y: Array, w: Array, *columns: Array) -> Array:
        """Where the fit of one target begins: theta (S, P), made with ``self.layout.join``.

        Default: a grid around the declared values with the sizes of terms solved for
        (:func:`mixlaw.laws.fit.declared_starts.declared_starts`). Override where the law has positions in X (breaks,
        thresholds) or no term that is linear in a parameter. ``y``, ``w`` and columns are (n,): the measured rows.
        """
        layout, key = self.layout, (type(self), *self.parameters.items())

        def formula(p: Any) -> tuple[Array, Mapping[str, Any]]:
            return self.loss_and_slopes(p, *columns)

        if key not in _LINEAR:
            _LINEAR[key] = linear_parameters(layout, formula)
        return declared_starts(layout, formula, _LINEAR[key], y, w, self.seed)

    def bounds(self, *columns: Array) -> Mapping[str, tuple[float, float]]:
        """Lowest and highest value of parameters where these depend on the rows; default: as declared."""
        return {}

    def check_rows(self, *columns: Array) -> None:
        """Refuse rows (columns (n,)) that the law cannot be asked about; default: each column by itself, see
        :func:`mixlaw.laws.core.columns.check_column`. Called for fits and predictions."""
        for name, values in zip(self.columns, columns):
            check_column(values, name)

    def check_fit(self, *columns: Array) -> None:
        """Refuse rows (columns (n,)) that the law can be asked about but not be fitted to; default: nothing."""

    @property
    def needs(self) -> Mapping[str, int]:
        """How many different values of each column identify the law; default 3."""
        return dict.fromkeys(self.columns, 3)

    @property
    def num_free(self) -> int:
        """How many runs the law needs at least: its number of parameters."""
        return self.layout.size

    def report(self, values: dict[str, Array]) -> dict[str, Array]:
        """``parameters_`` as users read them, each (B,), from the fitted ones; default: these themselves. Override to
        add what follows from them, or what an option holds fixed."""
        return values

    def after_fit(self, rows: Rows, fit: BatchFit, best: Best) -> None:
        """Called with the optima of all starts (``fit``) and of each target (``best``): to look for rival optima, or to
        add to ``notes_``. Default: nothing."""

    def example_rows(self, num: int, rng: np.random.Generator) -> dict[str, Array]:
        """``num`` plausible rows, at which the contract test simulates. Default: each column drawn log-uniformly
        from its usual range (:func:`mixlaw.laws.core.columns.column_range`, ``ranges``)."""
        out = {}
        for name in self.columns:
            low, high = self.ranges.get(name) or column_range(name)
            out[name] = np.exp(rng.uniform(np.log(low), np.log(high), num))
        return out

    # ---- what the contract test asks ------------------------------------------------------------------
    def example_losses(self, X: Mapping[str, npt.ArrayLike]) -> Array:
        """(n,) losses without noise at columns of X, of the declared parameters."""
        truth = SimpleNamespace(**{name: value[:, None] for name, value in self.layout.truth().items()})
        columns = [np.asarray(X[name], dtype=float) for name in self.columns]
        return np.broadcast_to(self.curve(truth, *columns), (1, len(columns[0])))[0].copy()

    def example_parameters(self) -> dict[str, float]:
        """What ``parameters_`` of a fit to such losses should be."""
        return {name: float(v[0]) for name, v in self.report(self.layout.truth()).items()}

    def example_slopes(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """d loss / d theta (3, n, P) near the declared parameters, from :meth:`slopes` and by central differences."""
        layout, rows = self.layout, self.example_rows(24, rng)
        theta = layout.join(layout.truth()) + 0.02 * rng.normal(size=(3, layout.size))
        model = self._model([rows[name] for name in self.columns])
        return slopes_and_differences(model, np.clip(theta, *layout.bounds()))

    @property
    def count_columns(self) -> tuple[str, ...]:
        """Sizes and token counts among the law's columns."""
        return tuple(name for name in self.columns if name in COUNTS)

    # ---- inherited --------------------------------------------------------------------------------------
    @property
    def layout(self) -> Layout:
        """The parameters side by side, as theta (B, P) holds them.

        Raises:
            ConfigError: the law declares no parameters.
        """
        declared: Mapping[str, Parameter] = self.parameters
        if not declared:
            raise ConfigError(f"{type(self).__name__} declares no parameters = {{name: Positive(...), ...}}.")
        return Layout(declared)

    def curve(self, p: SimpleNamespace, *columns: Array) -> Array:
        """Losses (B, n) in nats at columns (n,): the family's method ``loss`` on a constructed law, where that name
        holds the option.
        """
        return np.asarray(type(self).loss(self, p, *columns), dtype=float)

    def _check_inputs(self, X: Array, Y: Array, names: Sequence[str] | None) -> None:
        law = type(self).__name__
        if self.loss not in ("huber", "squared"):
            raise ConfigError(f"{law}: loss={self.loss!r} is not known. Use 'huber' or 'squared'.")
        if not self.delta > 0:
            raise ConfigError(f"{law}: delta must be positive, got {self.delta!r}.")
        if self.bootstrap and self.bootstrap < 20:
            raise ConfigError(f"bootstrap={self.bootstrap} resamples say nothing; use at least 20, or 0 for none.")
        columns = self._columns_of(X[:, self._order(names, X.shape[1])])
        self.check_rows(*columns)
        if (Y[np.isfinite(Y)] <= 0).any():
            raise DataError("Losses must be positive: these laws are fitted to log losses. Subtract nothing first.")
        need_runs(len(X), self.num_free, law)
        self._check_values(columns, law)
        self.check_fit(*columns)
        if len(Y) > 1 and (np.nanmax(Y, axis=0) - np.nanmin(Y, axis=0) <= 1e-12 * np.nanmax(Y, axis=0)).any():
            raise DataError("A target is constant over all runs: there is nothing to fit. Was the right column read?")

    def _check_values(self, columns: Sequence[Array], law: str) -> None:
        """Enough different values of each column in these rows."""
        given = dict(zip(self.columns, columns))
        for name, least in self.needs.items():
            need_sizes(given[name], least, name, law)

    def _column_names(self, num: int) -> list[str]:
        return list(self.columns)

    def _order(self, names: Sequence[str] | None, num: int) -> list[int]:
        """Positions in X of the family's columns."""
        wanted = list(self.columns)
        if names is None or all(n.startswith("x") and n[1:].isdigit() for n in names):
            if num != len(wanted):
                raise DataError(f"{type(self).__name__} reads a plain array as columns {wanted}; got {num} columns.")
            return list(range(num))
        missing = [c for c in wanted if c not in names]
        if missing:
            raise DataError(
                f"{type(self).__name__} needs the columns {wanted}; X lacks {missing}, it has {list(names)}."
            )
        return [list(names).index(c) for c in wanted]

    @staticmethod
    def _columns_of(Z: Array) -> tuple[Array, ...]:
        return tuple(np.ascontiguousarray(column) for column in Z.T)

    def _used(self, X: Array) -> tuple[Array, ...]:
        """The family's columns (n,) each, of rows as they were given to ``fit``."""
        return self._columns_of(X[:, self._order([str(n) for n in self.feature_names_in_], X.shape[1])])

    # ---- fitting ------------------------------------------------------------------------------------------
    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        for name in ("intervals_", "conformal_", "identifiability_", "bootstrap_theta_"):
            self.__dict__.pop(name, None)
        rows = self._read(X, Y, sample_weight)
        starts = [
            self.starts(y[w > 0], w[w > 0], *(c[w > 0] for c in rows.columns)) for y, w in zip(rows.Y, rows.measured)
        ]
        fit = self._run(rows, np.stack(starts))
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
            self._bootstrap(rows)
        self.after_fit(rows, fit, best)

    def _read(self, X: Array, Y: Array, sample_weight: Array) -> Rows:
        """The rows of this fit; refuses targets with too few measurements, and keeps what was measured."""
        columns = self._used(X)
        side = None if self._side is None else self._side.T
        weights = np.where(np.isfinite(Y.T), sample_weight[None], 0.0)
        measured = weights if side is None else np.where(side == 0, weights, 0.0)
        for t, name in enumerate(self.target_names_):
            need_runs(int((measured[t] > 0).sum()), self.num_free, f"{type(self).__name__} ({name})")
            # a bound, a gap or a row of weight 0 measures nothing at its size
            seen = [c[measured[t] > 0] for c in columns]
            self._check_values(seen, f"{type(self).__name__} ({name}, measured rows)")
        known = np.isfinite(Y) if side is None else np.isfinite(Y) & (side.T == 0)
        self._training = TrainingRows(X, np.where(known, Y, np.nan), sample_weight)
        self._limits = None if side is None else (side, Y.T)
        self.notes_ = censored_notes(self._side, self.target_names_)
        return Rows(columns, np.ascontiguousarray(Y.T), weights, measured, side)

    def _model(self, columns: Sequence[Array]) -> Model:
        """The law as the solver wants it: theta (B, P) to losses (B, n) and their Jacobian (B, n, P)."""
        layout, n = self.layout, len(columns[0])

        def model(theta: Array, problem: Ints) -> tuple[Array, Array]:
            p = layout.split(theta)
            value, slopes = self.loss_and_slopes(p, *columns)
            if value.shape != (len(theta), n):
                value = np.broadcast_to(value, (len(theta), n))
            return value, layout.jacobian(p, slopes, n)

        return model

    def _theta_bounds(self, columns: Sequence[Array]) -> tuple[Array, Array]:
        layout = self.layout
        low, high = layout.bounds()
        for name, ends in self.bounds(*columns).items():
            low[layout.slices[name]], high[layout.slices[name]] = layout.parameters[name].theta(np.array(ends))
        return low, high

    def _run(self, rows: Rows, starts: Array, weights: Array | None = None, gtol: float = 1e-9) -> BatchFit:
        """All targets from starts (T, S, P); or one target (rows of it) under each row of ``weights``."""
        model, bounds = self._model(rows.columns), self._theta_bounds(rows.columns)
        kind: Literal["squared", "huber"] = "huber" if self.loss == "huber" else "squared"
        return fit_batch(
            model, rows.Y, starts, loss=kind, delta=self.delta, log=True,
            weights=rows.weights if weights is None else weights, censored=rows.side, bounds=bounds, gtol=gtol,
            coordinates=self._coordinates(model, starts.reshape(-1, starts.shape[-1])[0], bounds, rows),
        )  # fmt: skip

    @staticmethod
    def _coordinates(model: Model, start: Array, bounds: tuple[Array, Array], rows: Rows) -> Array:
        """Coordinates (P, P) for the solver in which raw counts do no harm, from the Jacobian at one start (P,)."""
        with np.errstate(all="ignore"):
            value, J = model(np.clip(start, *bounds)[None], np.zeros(1, dtype=np.int64))
            weight = np.sqrt(rows.measured if J.shape[1] > rows.measured.shape[1] else rows.measured[:1]).ravel()
            relative = J[0] * (weight / value[0])[:, None]
        return uncoupled(relative, np.isfinite(bounds[0]) | np.isfinite(bounds[1]))

    def _describe(self, theta: Array) -> dict[str, Array]:
        with np.errstate(over="ignore"):
            return self.report(self.layout.describe(theta))

    def _as_parameters(self, values: Mapping[str, Array]) -> dict[str, Any]:
        return {k: float(v[0]) if self.single_target_ else [float(x) for x in v] for k, v in values.items()}

    def _bootstrap(self, rows: Rows) -> None:
        """Percentile intervals over resampled runs, every resample started at the optimum."""
        tail = (1 - self.level) / 2
        low, high = [], []
        draws = self._resampled(rows, resample_weights(rows.Y.shape[1], self.bootstrap, self.seed), gtol=1e-5)
        for theta in draws:
            described = self._describe(theta)
            low.append({k: float(np.quantile(v, tail)) for k, v in described.items()})
            high.append({k: float(np.quantile(v, 1 - tail)) for k, v in described.items()})
        self.intervals_: dict[str, Any] = {k: ([x[k] for x in low], [x[k] for x in high]) for k in low[0]}
        if self.single_target_:
            self.intervals_ = {k: (low[0][k], high[0][k]) for k in low[0]}
        self.bootstrap_theta_ = draws

    def _resampled(self, rows: Rows, counts: Array, gtol: float) -> Array:
        """(T, B, P): optima of the targets' fits to rows that count as ``counts`` (B, n) says."""
        out = []
        for t, theta in enumerate(self.theta_):
            one = rows.of(t)
            start = np.broadcast_to(theta, (len(counts), 1, len(theta)))
            out.append(self._run(one, start, counts * one.weights, gtol).theta[:, 0])
        return np.stack(out)

    # ---- asking ---------------------------------------------------------------------------------------------
    def refit_draws(self, X: Array, num: int, rng: np.random.Generator) -> Array:
        """Refits to runs under random weights, all in one batch. A law read from JSON draws from its bootstrap, if it
        was fitted with ``bootstrap=``."""
        there = self._used(X)
        if self.training is None and self.bootstrap_theta_ is not None:
            draws = self.bootstrap_theta_[:, rng.integers(self.bootstrap_theta_.shape[1], size=num)]
        else:
            given = self._need_rows("sample")
            rows = self._rows_of(given)
            counts = rng.standard_exponential((num, len(given.X)))
            draws = self._resampled(rows, counts / counts.mean(axis=1, keepdims=True), gtol=1e-5)
        return np.stack([self._values(theta, there) for theta in draws], axis=-1)

    def _rows_of(self, given: TrainingRows) -> Rows:
        """The rows of the fit once more, bounds included."""
        side, Y = (None, given.Y.T) if self._limits is None else self._limits
        weights = np.where(np.isfinite(Y), given.weight[None], 0.0)
        measured = weights if side is None else np.where(side == 0, weights, 0.0)
        return Rows(self._used(given.X), Y, weights, measured, side)

    def _values(self, theta: Array, columns: Sequence[Array]) -> Array:
        """Losses (B, n) at theta (B, P)."""
        with np.errstate(over="ignore"):
            value = self.curve(self.layout.split(theta), *columns)
        return np.broadcast_to(value, (len(theta), len(columns[0])))

    def _predict(self, X: Array) -> Array:
        columns = self._used(X)
        self.check_rows(*columns)
        return np.ascontiguousarray(self._values(self.theta_, columns).T)

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """Ends of an interval for a new run at X.

        Calibrated on rows left out of the fit, so it covers runs like those given. After ``bootstrap=`` the
        spread of the refits is added (in quadrature): then it also widens where the law extrapolates.
        """
        low, high = super().predict_interval(X, level)
        if self.bootstrap_theta_ is None:
            return low, high
        columns = self._used(self._align(X))
        tail = (1 - level) / 2
        spread = [np.quantile(self._values(t, columns), (tail, 1 - tail), axis=0) for t in self.bootstrap_theta_]
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
            :class:`mixlaw.laws.fit.likelihood.Profile`: ``values``, ``objective``, ``low``, ``high``, ``closed``,
            ``flat``; ``str()`` says it in words, ``report.plots.profile`` draws it.

        Raises:
            ConfigError: no such parameter, target or domain.
            DataError: a law read from JSON, which no longer has its rows.

        Example:
            >>> from mixlaw.laws import Chinchilla
            >>> rng = np.random.default_rng(0)
            >>> X = Chinchilla().example_rows(40, rng)
            >>> loss = Chinchilla().example_losses(X) * np.exp(0.002 * rng.normal(size=40))
            >>> print(Chinchilla().fit(X, loss).profile("alpha"))  # doctest: +ELLIPSIS
            alpha = 0.3..., 90% interval 0.3... to 0.3...
        """
        from mixlaw.laws.fit.profile import profile_parameter

        return profile_parameter(self, parameter, target, None, level, values)

    def _profile_problem(self, t: int) -> ProfileProblem:
        from mixlaw.laws.fit.profile import ProfileProblem

        X, Y, weight = self._need_rows("profile")
        y, side, P = Y[:, t], None, self.theta_.shape[1]
        if self._limits is not None:
            side, y = self._limits[0][t], self._limits[1][t]
        seen = np.isfinite(y)
        columns = self._used(X)
        return ProfileProblem(
            self._model(columns), np.where(seen, y, 1.0), np.where(seen, weight, 0.0), side, self.theta_[t],
            self._describe, self._theta_bounds(columns), np.zeros(P), np.zeros(P), self.loss, self.delta, True,
        )  # fmt: skip

    # ---- saving ---------------------------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Plain data. The calibration of intervals is made before saving, for it needs the rows; where these are too
        few to leave any out, the law is saved without."""
        if self.training is not None:
            # asked of a law saved without, an interval is refused by predict_interval
            with contextlib.suppress(NotIdentifiableError, TooFewRunsError):
                self.calibrate()
        return super().to_dict()

    def _read_state(self, state: dict[str, Any]) -> Mapping[str, Any]:
        return migrated(type(self).name, self.layout, state)

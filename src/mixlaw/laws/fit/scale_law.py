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
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, DataError, MixlawWarning, NotIdentifiableError, TooFewRunsError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import TrainingRows
from mixlaw.laws.core.bounds import Sides, censored_notes
from mixlaw.laws.core.columns import WEIGHTS, need_runs, need_sizes
from mixlaw.laws.fit.coordinates import uncoupled
from mixlaw.laws.fit.declared_starts import check_formula, declared_starts, linear_parameters
from mixlaw.laws.fit.engine import BatchFit, Best, Model, fit_batch, resample_weights
from mixlaw.laws.fit.first_version import migrated
from mixlaw.laws.fit.scale_form import ScaleForm
from mixlaw.laws.fit.scale_rows import Criterion, Rows

if TYPE_CHECKING:
    from mixlaw.laws.fit.likelihood import Profile
    from mixlaw.laws.fit.profile import ProfileProblem

__all__ = ["ScaleLaw"]

_LINEAR: dict[tuple[Any, ...], list[str]] = {}  # which parameters a family's loss is linear in: found once


class ScaleLaw(ScaleForm):
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

    permutation_invariant = False
    coverage_options: ClassVar[Mapping[str, Any] | None] = {"bootstrap": 80, "loss": "squared", "level": 0.9}
    accepts_censored = True

    theta_: Array  # type: ignore[assignment]  # every fitted one has it
    seed: int
    delta: float
    bootstrap: int
    level: float
    _limits: tuple[Sides, Array] | None = None  # sides and bounds (T, n) of censored values
    _for_predictions: bool = False  # a refit to a part of the rows is not asked what it does not know
    line_: dict[str, Any] | None = None
    """Where two sizes move together in the rows: the line (:func:`mixlaw.laws.fit.off_line.strip`); None elsewhere."""
    rivals_: Sequence[Array] | None = None
    """Of each target (R, P) internal parameters that fit as well as the optimum and say something else elsewhere; None
    where the runs identify the law."""

    def __init__(
        self, seed: int = 0, loss: str = "huber", delta: float = 1e-3, bootstrap: int = 0, level: float = 0.9
    ) -> None:
        self.seed = seed
        self.loss = loss
        self.delta = delta
        self.bootstrap = bootstrap
        self.level = level

    # ---- hooks: a family overrides those it needs -----------------------------------------------------
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
            self._need_formula()
            check_formula(type(self).__name__, layout, formula, len(y))
            _LINEAR[key] = linear_parameters(layout, formula)
        return declared_starts(layout, formula, _LINEAR[key], y, w, self.seed)

    def _need_formula(self) -> None:
        law = type(self)
        written = "accuracy" if self.kind == "capability" else "loss"
        if law.loss_and_slopes is not ScaleForm.loss_and_slopes:
            return
        for name in (written, "slopes"):
            if getattr(law, name, None) in (None, ScaleForm.slopes):
                raise ConfigError(f"{law.__name__} must define {name}(self, p, {', '.join(self.columns)}).")

    def bounds(self, *columns: Array) -> Mapping[str, tuple[float, float]]:
        """Lowest and highest value of parameters where these depend on the rows; default: as declared."""
        return {}

    def check_fit(self, *columns: Array) -> None:
        """Refuse rows (columns (n,)) that the law can be asked about but not be fitted to; default: nothing."""

    @property
    def needs(self) -> Mapping[str, int]:
        """How many different values of each column identify the law; default 3, and of mixtures as many as domains."""
        return {name: max(3, self.num_domains) if name == WEIGHTS else 3 for name in self.columns}

    @property
    def num_free(self) -> int:
        """How many runs the law needs at least: its number of parameters."""
        return self.layout.size

    def after_fit(self, rows: Rows, fit: BatchFit, best: Best) -> None:
        """Called with the optima of all starts (``fit``) and of each target (``best``): to look for rival optima, or to
        add to ``notes_``. Default: nothing."""

    # ---- inherited --------------------------------------------------------------------------------------
    def _check_inputs(self, X: Array, Y: Array, names: Sequence[str] | None) -> None:
        law = type(self).__name__
        self._check_options()
        columns = self._columns_of(X[:, self._order(names, X.shape[1])])
        self.check_rows(*columns)
        self._check_losses(Y)
        if WEIGHTS not in self.columns:  # how many domains there are is known when the rows are read
            need_runs(len(X), self.num_free, law)
            self._check_values(columns, law)
        self.check_fit(*columns)
        if len(Y) > 1 and (np.nanmax(Y, axis=0) - np.nanmin(Y, axis=0) <= 1e-12 * np.nanmax(Y, axis=0)).any():
            raise DataError("A target is constant over all runs: there is nothing to fit. Was the right column read?")

    def _check_options(self) -> None:
        law = type(self).__name__
        if self.loss not in ("huber", "squared"):
            raise ConfigError(f"{law}: loss={self.loss!r} is not known. Use 'huber' or 'squared'.")
        if not self.delta > 0:
            raise ConfigError(f"{law}: delta must be positive, got {self.delta!r}.")
        if self.bootstrap and self.bootstrap < 20:
            raise ConfigError(f"bootstrap={self.bootstrap} resamples say nothing; use at least 20, or 0 for none.")

    def _check_losses(self, Y: Array) -> None:
        if (Y[np.isfinite(Y)] <= 0).any():
            raise DataError("Losses must be positive: these laws are fitted to log losses. Subtract nothing first.")

    def _check_values(self, columns: Sequence[Array], law: str) -> None:
        """Enough different values of each column in these rows."""
        given = dict(zip(self.columns, columns))
        for name, least in self.needs.items():
            values, what = given[name], name
            if name == WEIGHTS:  # which of the different mixtures each row has
                values, what = np.unique(values.round(9), axis=0, return_inverse=True)[1].ravel(), "mixtures"
            need_sizes(values, least, what, law)

    # ---- fitting ------------------------------------------------------------------------------------------
    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        for name in ("intervals_", "conformal_", "identifiability_", "bootstrap_theta_", "rivals_", "line_"):
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
        self.fit_report_ = {
            "starts": self.num_starts_,
            "agreeing_starts": self.agreement_,
            "gradient_norm": best.gradient_norm.tolist(),
        }
        if not self.converged_:
            warnings.warn(
                f"{type(self).__name__}: the fit did not converge for {int((~best.converged).sum())} target(s) "
                f"(gradient norm {best.gradient_norm.max():.1e}). The predictions are the best found; read "
                f"parameters_ with care, and see identifiability_.",
                MixlawWarning,
                stacklevel=4,
            )
        self.parameters_ = self._as_parameters(self._describe(self.theta_))
        if self.bootstrap:
            self._bootstrap(rows)
        self.after_fit(rows, fit, best)
        if not self._for_predictions:
            self._identify(rows, fit)

    def _identify(self, rows: Rows, fit: BatchFit) -> None:
        """Says what these runs do not know, and keeps the parameters that fit as well, for intervals elsewhere."""
        from mixlaw.laws.fit.identify import unknown, wrong_signs

        several, said, runs = len(self.target_names_) > 1, [], {}
        rivals: list[Array] = []
        for t, target in enumerate(self.target_names_):
            of, seen = f"{target}: " if several else "", rows.measured[t] > 0
            columns = tuple(c[seen] for c in rows.columns)
            for name in wrong_signs(self, self.theta_[t]):
                value = float(self._describe(self.theta_[[t]])[name][0])
                said.append(
                    f"{of}{name} = {value:.3g} has the wrong sign ({self.meaning(name)}): the runs do not show the "
                    f"loss falling that way, and nothing beyond them follows. Add runs that span more of it."
                )
            found = unknown(self, self._identify_problem(t), columns, fit.theta[t])
            rivals.append(np.zeros((0, self.theta_.shape[1])) if found is None else found.rivals)
            if found is not None:
                said.append(of + found.text)
                runs[target] = found.run
        self.rivals_ = rivals if any(len(r) for r in rivals) else None
        self.line_ = self._line(rows)
        if self.line_ is not None and said:
            said[-1] += " Off that line intervals hold all that a loss allows which falls with both."
        if self.rivals_ is not None and self.bootstrap:
            self._widen(rivals)
        if self.__dict__.get("identifiability_") is None:
            self.identifiability_ = {"text": "\n".join(said), "identified": not said, "runs": runs}
        if said:
            self.notes_ = [*self.notes_, *said]
            warnings.warn(
                f"{type(self).__name__} is not identified by these runs. {' '.join(said[:3])}"
                + (f" And {len(said) - 3} more: see notes." if len(said) > 3 else ""),
                MixlawWarning,
                stacklevel=5,
            )

    def _line(self, rows: Rows) -> dict[str, Any] | None:
        """The line on which two of the law's counts move together in these rows; None where they do not."""
        from mixlaw.laws.fit.off_line import strip

        seen = (rows.measured > 0).any(axis=0)
        values = {n: np.log(c[seen]) for n, c in zip(self.columns, rows.columns) if n in ("params", "tokens")}
        return strip("params", values["params"], "tokens", values["tokens"]) if len(values) == 2 else None

    def _off_line(self, columns: Sequence[Array]) -> tuple[Array, Array]:
        """How far below and above the prediction (T, n) the loss may lie off the line of the rows; 0 without one."""
        from mixlaw.laws.fit.off_line import allowed

        line = self.line_
        if line is None:
            zero = np.zeros((len(self.theta_), len(columns[0])))
            return zero, zero
        at = {name: list(self.columns).index(name) for name in (line["a"], line["b"])}

        def predict(a: Array, b: Array) -> Array:
            moved = list(columns)
            moved[at[line["a"]]], moved[at[line["b"]]] = a, b
            with np.errstate(all="ignore"):
                return self.values_at(self.theta_, moved)

        return allowed(line, predict, columns[at[line["a"]]], columns[at[line["b"]]])

    def copy_to_refit(self) -> Self:
        """As of every law; what its rows do not know has been said of the whole fit."""
        copy = super().copy_to_refit()
        copy._for_predictions = True
        return copy

    def equally_good(self, target: int = 0) -> dict[str, Array]:
        """Reported parameters of one target that fit its runs alike: the optimum's first, then those of its rivals.

        Args:
            target: number of the target, where several were fitted.

        Returns:
            name to (1 + R,), or (1 + R, K) for a parameter per domain; R is 0 where the runs identify the law.
        """
        P = self.layout.size
        best = self.theta_[[target], :P]
        rivals = () if self.rivals_ is None else [np.asarray(r)[None, :P] for r in self.rivals_[target]]
        return self._describe(np.vstack([best, *rivals]))

    def predict(self, X: Any) -> Array:
        """As of every law; warns where parameters that fit the runs as well predict something else by over a hundredth.

        Raises:
            DataError: X lacks columns that the law was fitted on, or has another number of them.
        """
        values = super().predict(X)
        if self.rivals_ is not None:
            columns = self._used(self._align(X))
            for t, rivals in enumerate(self.rivals_):
                if not len(rivals):
                    continue
                mean = self.values_at(self.theta_[[t]], columns)[0]
                apart = np.abs(self.values_at(np.asarray(rivals), columns) - mean).max(axis=0)
                rows = np.flatnonzero(apart > 0.01 * np.abs(mean))
                if len(rows):
                    warnings.warn(
                        f"{type(self).__name__} does not know what it predicts for {self.target_names_[t]} at rows "
                        f"{rows[:5].tolist()}{f' and {len(rows) - 5} more' if len(rows) > 5 else ''}: laws that fit "
                        f"its runs as well differ there by up to {apart.max():.3g}. See predict_interval and notes.",
                        MixlawWarning,
                        stacklevel=2,
                    )
        return values

    def _widen(self, rivals: Sequence[Array]) -> None:
        """Intervals of parameters hold those of rivals of equal fit too."""
        every = [self.equally_good(t) for t in range(len(rivals))]
        least, most = (
            self._as_parameters({k: np.stack([end(e[k], axis=0) for e in every]) for k in every[0]})
            for end in (np.min, np.max)
        )
        for name, (low, high) in self.intervals_.items():
            self.intervals_[name] = (
                np.minimum(low, least[name]).tolist(),
                np.maximum(high, most[name]).tolist(),
            )

    def _identify_problem(self, t: int) -> ProfileProblem:
        """One target's fit as the question what it does not know takes it: all that was fitted, in one vector."""
        return self._profile_problem(t)

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

    def _theta_bounds(self, columns: Sequence[Array]) -> tuple[Array, Array]:
        layout = self.layout
        low, high = layout.bounds()
        for name, ends in self.bounds(*columns).items():
            low[layout.slices[name]], high[layout.slices[name]] = layout.parameters[name].theta(np.array(ends))
        return low, high

    def _run(self, rows: Rows, starts: Array, weights: Array | None = None, gtol: float = 1e-9) -> BatchFit:
        """All targets from starts (T, S, P); or one target (rows of it) under each row of ``weights``."""
        model, bounds = self._model(rows.columns), self._theta_bounds(rows.columns)
        criterion = self._criterion(rows.columns, rows.Y)
        return fit_batch(
            criterion.model, criterion.Y, starts, loss=criterion.loss, delta=criterion.delta, log=criterion.log,
            weights=rows.weights if weights is None else weights, censored=rows.side, bounds=bounds, gtol=gtol,
            coordinates=self._coordinates(model, starts.reshape(-1, starts.shape[-1])[0], bounds, rows),
        )  # fmt: skip

    def _criterion(self, columns: Sequence[Array], Y: Array) -> Criterion:
        """What the fit of values Y (T, n) at columns makes small: here errors of log losses."""
        loss: Literal["squared", "huber"] = "huber" if self.loss == "huber" else "squared"
        return Criterion(self._model(columns), Y, loss, self.delta, True)

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
        """(T,) or (T, K) as numbers and lists; of a single target without the axis of targets."""
        return {k: np.asarray(v[0] if self.single_target_ else v, dtype=float).tolist() for k, v in values.items()}

    def _bootstrap(self, rows: Rows) -> None:
        """Percentile intervals over resampled runs, every resample started at the optimum."""
        tail = (1 - self.level) / 2
        draws = self._resampled(rows, resample_weights(rows.Y.shape[1], self.bootstrap, self.seed), gtol=1e-5)
        described = [self._describe(theta) for theta in draws]  # of each target: (B,) or (B, K)
        low, high = (
            self._as_parameters({k: np.stack([np.quantile(d[k], q, axis=0) for d in described]) for k in described[0]})
            for q in (tail, 1 - tail)
        )
        self.intervals_: dict[str, Any] = {k: (low[k], high[k]) for k in low}
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
        out = np.stack([self.values_at(theta, there) for theta in draws], axis=-1)
        down, up = self._off_line(there)
        chance = rng.random((len(out), 1, 1))
        out += (down + (up - down) * chance).transpose(0, 2, 1) if self.line_ is not None else 0.0
        for t, rivals in enumerate(self.rivals_ or ()):
            if len(rivals):  # refits begin at the optimum and stay near it where nothing pulls them away
                away = self.values_at(np.asarray(rivals), there) - self.values_at(self.theta_[[t]], there)
                out[:, :, t] += away[rng.integers(len(away), size=len(out))] * rng.random((len(out), 1))
        return out

    def _rows_of(self, given: TrainingRows) -> Rows:
        """The rows of the fit once more, bounds included."""
        side, Y = (None, given.Y.T) if self._limits is None else self._limits
        weights = np.where(np.isfinite(Y), given.weight[None], 0.0)
        measured = weights if side is None else np.where(side == 0, weights, 0.0)
        return Rows(self._used(given.X), Y, weights, measured, side)

    def _predict(self, X: Array) -> Array:
        columns = self._used(X)
        self.check_rows(*columns)
        return np.ascontiguousarray(self.values_at(self.theta_, columns).T)

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """Ends of an interval for a new run at X.

        Calibrated on rows left out of the fit, so it covers runs like those given. After ``bootstrap=`` the
        spread of the refits is added (in quadrature): then it also widens where the law extrapolates.
        """
        low, high = super().predict_interval(X, level)
        columns = self._used(self._align(X))
        if self.rivals_ is not None or self.line_ is not None:
            low, high = self._with_rivals(low, high, columns)
        if self.bootstrap_theta_ is None:
            return low, high
        tail = (1 - level) / 2
        spread = [np.quantile(self.values_at(t, columns), (tail, 1 - tail), axis=0) for t in self.bootstrap_theta_]
        extra = np.stack([(s[1] - s[0]) / 2 for s in spread], axis=1)
        extra = extra[:, 0] if self.single_target_ else extra
        mean, (least, largest) = self.predict(X), self.response.range
        return (
            np.maximum(mean - np.sqrt((mean - low) ** 2 + extra**2), least),
            np.minimum(mean + np.sqrt((high - mean) ** 2 + extra**2), largest),
        )

    def _with_rivals(self, low: Array, high: Array, columns: Sequence[Array]) -> tuple[Array, Array]:
        """Ends that hold what rivals of equal fit predict, and off the line of the rows what any form may, as far from
        theirs as the ends were from the optimum's."""
        least, largest = self.response.range
        out = [np.array(v, dtype=float).reshape(len(low), -1) for v in (low, high)]
        for t, (down, up) in enumerate(zip(*self._off_line(columns))):
            rivals = () if self.rivals_ is None else self.rivals_[t]
            if len(rivals):
                away = self.values_at(np.asarray(rivals), columns) - self.values_at(self.theta_[[t]], columns)
                down, up = np.minimum(down, away.min(axis=0)), np.maximum(up, away.max(axis=0))
            out[0][:, t] = np.maximum(out[0][:, t] + down, least)
            out[1][:, t] = np.minimum(out[1][:, t] + up, largest)
        return out[0].reshape(low.shape), out[1].reshape(high.shape)

    def gradient(self, X: Any) -> Array:
        """d loss / d column (n, T, K), by central differences of one part in a million of each column, or of a
        millionth for weights (to one side at 0)."""
        matrix, domains = self._align(X), self.domain_names
        out = np.empty((len(matrix), self.n_targets_, matrix.shape[1]))
        for j, name in enumerate(map(str, self.feature_names_in_)):
            step = np.full(len(matrix), 1e-6) if name in domains else 1e-6 * matrix[:, j]
            up, down = matrix.copy(), matrix.copy()
            up[:, j] += step
            down[:, j] = np.maximum(down[:, j] - step, 0.0)
            change = self.values_at(self.theta_, self._used(up)) - self.values_at(self.theta_, self._used(down))
            out[:, :, j] = (change / (up[:, j] - down[:, j])).T
        return out

    def profile(
        self,
        parameter: str,
        target: str | None = None,
        level: float = 0.9,
        values: npt.ArrayLike | None = None,
        domain: str | None = None,
    ) -> Profile:
        """Profile likelihood of one reported parameter: it is held at values, the rest is fitted again.

        Args:
            parameter: a key of ``parameters_``.
            target: whose (may be left out with one target).
            level: of the interval.
            values: at which to hold it (None: around the optimum until the fit gets worse than the noise).
            domain: of which domain, for a parameter that has a value per domain.

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

        return profile_parameter(self, parameter, target, domain, level, values)

    def _profile_problem(self, t: int) -> ProfileProblem:
        from mixlaw.laws.fit.profile import ProfileProblem

        X, Y, weight = self._need_rows("profile")
        y, side, P = Y[:, t], None, self.theta_.shape[1]
        if self._limits is not None:
            side, y = self._limits[0][t], self._limits[1][t]
        seen = np.isfinite(y)
        columns = self._used(X)
        fit = self._criterion(columns, np.where(seen, y, 1.0)[None])
        return ProfileProblem(
            fit.model, fit.Y[0], np.where(seen, weight, 0.0), side, self.theta_[t],
            self._describe, self._theta_bounds(columns), np.zeros(P), np.zeros(P), fit.loss, fit.delta, fit.log,
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

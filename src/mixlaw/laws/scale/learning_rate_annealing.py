"""A loss curve that knows its learning-rate schedule, and so predicts another schedule.

    L(s) = L0 + A S1(s)^-alpha - C S2(s)  (+ B N^-gamma)

Legend: s optimiser step, S1 the learning rate summed so far (peak-rate steps), S2 the annealing area: every drop of
the rate times how long it has acted, with memory ``decay`` (lambda); L0 irreducible loss, A/alpha the curve at a
constant rate, C what annealing gains, N parameters, B/gamma what size gains.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixlaw.data.learning_rate import Cosine, LearningRateSchedule, as_schedule
from mixlaw.errors import ConfigError, DataError, NotIdentifiableError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.columns import check_counts
from mixlaw.laws.core.parameters import Free, Parameter, Positive
from mixlaw.laws.fit.engine import BatchFit, Ints, Model, fit_batch
from mixlaw.laws.fit.scale_law import ScaleLaw
from mixlaw.laws.fit.scale_rows import Rows

if TYPE_CHECKING:
    from mixlaw.laws.fit.profile import ProfileProblem

__all__ = ["LearningRateAnnealing"]

_MEMORIES = 8  # at which fits begin, over the steps seen
_LEAST_MEMORY = 2.0  # steps: less is none, for the rate hardly changes from one step to the next
_DECAY = 0.999  # of the data that the contract test simulates
_KNOTS = 41  # memories at which S2 is worked out by its definition; between them a cubic spline
_NEAR = 0.25  # half the range of logarithms of memories, around the best, over which they are laid a second time
_CACHED = 8  # sets of rows whose S2 is kept: a fit asks for the same few many times


class LearningRateAnnealing(ScaleLaw):
    """Whole training curves under known schedules; predicts any step of any other schedule.

    Args:
        schedules: one schedule, or a list of them; X's column ``schedule`` then says which of the list a row was
            trained under (0, 1, ...). ``predict`` can use schedules beyond the fitted ones: see
            :meth:`under`.
        decay: lambda of S2; ``None`` fits it with the rest (one for all targets), its memory ``1 / (1 - lambda)``
            between two steps and all the steps after the peak that the rows span. Bootstrap, profiles
            and folds then fit it again; a number given here is taken as known by all of them. Where the memory is
            much shorter than the steps between rows, noisy rows know only C times it; the notes then say so.
        size: whether X has ``params`` and the law the term B N^-gamma.
        loss, delta, bootstrap, level, seed: as in :class:`Chinchilla`.

    X: columns ``step`` (and ``params`` with ``size=True``, ``schedule`` with a list of schedules), or a plain array
    (n, 1 to 3) in the order step, params, schedule; y: losses (n,) or (n, T) in nats per token.
    Fitted: ``parameters_`` L0, A, alpha, C (B, gamma); ``decay_``.

    Not for: steps inside the warm-up; curves without any decay of the rate (C is not identified: refused).

    Raises:
        DataError: rows that the law cannot use, such as losses that are not positive.
        NotIdentifiableError: too few different values of a column.
        TooFewRunsError: fewer runs than parameters.
        ConfigError: no schedule, or an option that is not allowed.

    Source: Tissue, Wang, Wang 2024, arXiv:2408.11029.

    Example:
        >>> from mixlaw.data.learning_rate import Constant, Cosine
        >>> cosine = Cosine(total=20_000, warmup=500)
        >>> s = np.arange(1000., 20_001., 500.)
        >>> loss = 2.5 + 20 * cosine.area(s) ** -.5 - 4e-4 * cosine.annealing_area(s, .999)
        >>> law = LearningRateAnnealing(cosine).fit({"step": s}, loss)
        >>> flat = law.under(Constant(warmup=500)).predict({"step": [20_000.]})[0]
        >>> bool(abs(flat - (2.5 + 20 * Constant(500).area(20_000.) ** -.5)) < 1e-3)
        True
    """

    name = "learning_rate_annealing"
    irreducible = "L0"
    source = "Tissue, Wang, Wang 2024, arXiv:2408.11029"

    decay_: float | None = None
    _knots: tuple[float, float] | None = None  # between which S2 is worked out, where not over all memories

    def __init__(
        self,
        schedules: Any = None,
        decay: float | None = None,
        size: bool = False,
        seed: int = 0,
        loss: str = "huber",
        delta: float = 1e-3,
        bootstrap: int = 0,
        level: float = 0.9,
    ) -> None:
        super().__init__(seed, loss, delta, bootstrap, level)
        self.schedules = schedules
        self.decay = decay
        self.size = size

    @classmethod
    def examples(cls) -> list[Law]:
        """With a known memory and sizes, and with the memory fitted to one curve."""
        cosine = Cosine(total=20_000, warmup=500)
        return [cls(cosine, decay=_DECAY, size=True), cls(cosine)]

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """``step``, and ``params`` and ``schedule`` where the options ask for them.

        Raises:
            ConfigError: no schedule was given.
        """
        return ("step",) + (("params",) if self.size else ()) + (("schedule",) if len(self._list()) > 1 else ())

    @property
    def parameters(self) -> dict[str, Parameter]:  # type: ignore[override]
        """Of one target, beside the memory that all targets share."""
        declared: dict[str, Parameter] = {
            "L0": Positive(1.5, "irreducible loss, nats"),
            "A": Positive(20.0, "loss after one step at the peak rate, nats"),
            "alpha": Free(0.5, "exponent of the summed learning rate", low=1e-3, high=20.0),
            "C": Free(4e-4, "gain from annealing, nats per peak-rate step", scale=1e-4),
        }
        if self.size:
            declared["B"] = Positive(30.0, "size term, nats at one parameter")
            declared["gamma"] = Free(0.25, "size exponent", low=1e-3, high=20.0)
        return declared

    @property
    def num_free(self) -> int:
        """4, or 6 with size, and the memory unless ``decay`` was given."""
        return self.layout.size + (1 if self.decay is None else 0)

    @property
    def needs(self) -> dict[str, int]:
        """Four steps, and three sizes."""
        return {"step": 4} | ({"params": 3} if self.size else {})

    def _list(self) -> list[LearningRateSchedule]:
        given = self.schedules
        several = isinstance(given, Sequence) and not isinstance(given, str)
        found = [as_schedule(v) for v in (given if several else [given])]
        if not found or any(v is None for v in found):
            raise ConfigError(
                "LearningRateAnnealing needs the schedule(s) the runs were trained under, for example "
                "LearningRateAnnealing(Cosine(total=100_000, warmup=2_000))."
            )
        return [v for v in found if v is not None]

    @staticmethod
    def _which(columns: Sequence[Array], schedules: Sequence[LearningRateSchedule]) -> Array:
        """(n,) index of each row's schedule."""
        return columns[-1] if len(schedules) > 1 else np.zeros(len(columns[0]))

    def check_rows(self, *columns: Array) -> None:
        """Steps after the warm-up of a schedule that is known.

        Raises:
            DataError: columns (n,) with steps inside the warm-up, or the number of a schedule that there is not.
        """
        schedules, step = self._list(), columns[0]
        which = self._which(columns, schedules)
        if ((which < 0) | (which >= len(schedules)) | (which != np.round(which))).any():
            raise DataError(f"Column 'schedule' must index the {len(schedules)} schedules (0 to {len(schedules) - 1}).")
        for i, schedule in enumerate(schedules):
            early = (which == i) & (step <= schedule.peak_step)
            if early.any():
                rows = np.flatnonzero(early)[:5].tolist()
                raise DataError(
                    f"Rows {rows} lie inside the warm-up (up to step {schedule.peak_step:.4g}), where this law says "
                    f"nothing. Leave them out."
                )
        if self.size:
            check_counts(columns[1], "params")

    def check_fit(self, *columns: Array) -> None:
        """Some row must lie where the rate has come down.

        Raises:
            NotIdentifiableError: no such row.
        """
        if self._features(columns, 0.0)[1].max() <= 0:
            raise NotIdentifiableError(
                "No row lies where the learning rate has come down, so what annealing gains is not known. Add later "
                "steps, or fit a law without annealing (laws.Chinchilla on tokens)."
            )

    def example_rows(self, num: int, rng: np.random.Generator) -> dict[str, Array]:
        """Steps along the first schedule; three sizes, one after the other."""
        peak, sizes = self._list()[0].peak_step, (1e7, 3e7, 1e8) if self.size else (1.0,)
        each = -(-num // len(sizes))
        out = {"step": np.tile(np.linspace(3 * peak, 40 * peak, each), len(sizes))[:num]}
        if self.size:
            out["params"] = np.repeat(sizes, each)[:num]
        if len(self._list()) > 1:
            out["schedule"] = np.zeros(num)
        return out

    # ---- what the schedule says of a row ---------------------------------------------------------------
    def _features(self, columns: Sequence[Array], decay: float) -> tuple[Array, Array]:
        """S1 and S2 of every row; the last ones are kept, for a fit asks for the same rows many times."""
        schedules, step = self._list(), columns[0]
        which = self._which(columns, schedules)
        key = (step.tobytes(), which.tobytes(), decay, tuple(schedules))

        def work_out() -> tuple[Array, Array]:
            area, anneal = np.empty(len(step)), np.empty(len(step))
            for i, schedule in enumerate(schedules):
                rows = which == i
                if rows.any():
                    area[rows] = schedule.area(step[rows])
                    anneal[rows] = schedule.annealing_area(step[rows], decay)
            return area, anneal

        return self._remembered("_kept", key, work_out)

    def _remembered(self, where: str, key: Any, work_out: Callable[[], Any]) -> Any:
        """What was worked out for a key; of the last few."""
        known: dict[Any, Any] = self.__dict__.setdefault(where, {})
        if key not in known:
            if len(known) >= _CACHED:
                known.pop(next(iter(known)))
            known[key] = work_out()
        return known[key]

    def _span(self, columns: Sequence[Array]) -> Array:
        """Logarithms of the least and the greatest memory: one of a step or two is no memory, one longer than the
        curves never fades."""
        schedules = self._list()
        peak = np.array([s.peak_step for s in schedules])[self._which(columns, schedules).astype(int)]
        span = max(float((columns[0] - peak).max()), 20.0)
        return np.log([_LEAST_MEMORY, span])

    def _at_memories(self, columns: Sequence[Array], log_memory: Array) -> tuple[Array, Array]:
        """S2 (B, n) of every row at logarithms of memories (B,), and its slope in them: by its definition at knots,
        per step of memory, and between them by a cubic
        spline."""
        from scipy.interpolate import CubicSpline

        schedules = self._list()
        which = self._which(columns, schedules)
        ends = self._knots or tuple(self.memories_)
        key = (columns[0].tobytes(), which.tobytes(), tuple(schedules), ends)

        def work_out() -> Any:
            knots = np.linspace(float(ends[0]), float(ends[1]), _KNOTS)
            # over the memory itself what remains changes little, down to the shortest
            table = np.stack([self._features(columns, float(1 - np.exp(-v)))[1] * np.exp(-v) for v in knots])
            return CubicSpline(knots, table, axis=0)

        curve = self._remembered("_curves", key, work_out)
        at = np.clip(log_memory, *ends)
        memory = np.exp(at)[:, None]
        value = memory * curve(at)
        return value, value + memory * curve(at, 1)

    # ---- formula -----------------------------------------------------------------------------------------
    def _known_decay(self) -> float:
        """The fitted memory's lambda, the given one, or before any fit the contract test's."""
        known = self.decay if self.decay_ is None else self.decay_
        return _DECAY if known is None else float(known)

    def loss(self, p: Any, *columns: Array) -> Array:
        """(B, n) losses in nats at columns (n,)."""
        return self.loss_and_slopes(p, *columns)[0]

    def slopes(self, p: Any, *columns: Array) -> dict[str, Array]:
        """d loss / d parameter."""
        return self.loss_and_slopes(p, *columns)[1]

    def loss_and_slopes(self, p: Any, *columns: Array) -> tuple[Array, dict[str, Any]]:
        """Losses (B, n) and their slopes at columns (n,), at the memory that is known."""
        return self._at_areas(p, columns, *self._features(columns, self._known_decay()))

    def _at_areas(self, p: Any, columns: Sequence[Array], area: Array, anneal: Array) -> tuple[Array, dict[str, Any]]:
        """Losses and slopes at S1 (n,) and S2 (n,), or (B, n) where every problem has its own memory."""
        x = np.log(area)
        falling = np.exp(-p.alpha * x)
        curve = p.A * falling
        value = p.L0 + curve - p.C * anneal
        slopes = {"L0": 1.0, "A": falling, "alpha": -x * curve, "C": -anneal}
        if self.size:
            lnN = np.log(columns[1])
            power = np.exp(-p.gamma * lnN)
            value = value + p.B * power
            slopes |= {"B": power, "gamma": -lnN * p.B * power}
        return value, slopes

    def _with_memories(self, theta: Array, columns: Sequence[Array]) -> tuple[Array, Array]:
        """Losses (B, n) and Jacobian (B, n, P + 1) of theta (B, P + 1), whose last column is a memory's logarithm."""
        layout = self.layout
        p = layout.split(theta)
        anneal, bend = self._at_memories(columns, theta[:, -1])
        value, slopes = self._at_areas(p, columns, self._features(columns, self._known_decay())[0], anneal)
        return value, np.concatenate([layout.jacobian(p, slopes, len(columns[0])), (-p.C * bend)[:, :, None]], axis=2)

    def values_at(self, theta: Array, columns: Sequence[Array]) -> Array:
        if theta.shape[1] == self.layout.size:
            return super().values_at(theta, columns)
        with np.errstate(over="ignore"):
            return self._with_memories(theta, columns)[0]

    def starts(self, y: Array, w: Array, *columns: Array) -> Array:
        """A few exponents, at the memory that is known."""
        area, anneal = self._features(columns, self._known_decay())
        unit = float(anneal.max()) or 1.0
        x = np.log(area)
        out = []
        for alpha in (0.2, 0.5, 1.0):
            for gamma in (0.15, 0.4) if self.size else (0.0,):
                parts = [np.ones(len(y)), np.exp(-alpha * (x - x.mean())), -anneal / unit]
                lnN = np.log(columns[1]) if self.size else np.zeros(len(y))
                if self.size:
                    parts.append(np.exp(-gamma * (lnN - lnN.mean())))
                coef = np.linalg.lstsq(np.stack(parts, axis=1), y, rcond=None)[0]
                coef = np.maximum(coef, 1e-3 * y.min())
                start = {"L0": min(coef[0], 0.99 * y.min()), "A": coef[1] * np.exp(alpha * x.mean()), "alpha": alpha}
                start["C"] = coef[2] / unit
                if self.size:
                    start |= {"B": coef[3] * np.exp(gamma * lnN.mean()), "gamma": gamma}
                out.append(self.layout.join(start)[0])
        return np.array(out)

    # ---- with the memory as one more parameter, that all targets share ----------------------------------
    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        if self.decay is not None:
            self.decay_ = float(self.decay)
        else:
            rows = self._read(X, Y, sample_weight)
            self.memories_ = self._span(rows.columns)
            weights = rows.weights.reshape(1, -1)
            best = self._fit_together(rows, self._together_starts(rows), weights, gtol=1e-7).best().theta[0]
            # once more with the knots around the best, where the spline is exact to rounding
            low, high = np.clip(best[-1] + np.array([-_NEAR, _NEAR]), *self.memories_)
            self._knots = (float(low), float(high))
            best = self._fit_together(rows, best[None], weights, gtol=1e-10).best().theta[0]
            self._knots = None
            self.decay_ = float(1 - np.exp(-best[-1]))
        super()._fit(X, Y, sample_weight)  # with the memory found: each target's optimum

    def _together(self, columns: Sequence[Array], T: int) -> Model:
        """The targets one after another, (B, T n), of theta = (each target's own, log memory) (B, T P + 1)."""
        P, n = self.layout.size, len(columns[0])

        def model(theta: Array, problem: Ints) -> tuple[Array, Array]:
            value, J = np.empty((len(theta), T * n)), np.zeros((len(theta), T * n, T * P + 1))
            for t in range(T):
                own, rows = slice(t * P, (t + 1) * P), slice(t * n, (t + 1) * n)
                value[:, rows], slope = self._with_memories(np.column_stack([theta[:, own], theta[:, -1]]), columns)
                J[:, rows, own], J[:, rows, -1] = slope[:, :, :-1], slope[:, :, -1]
            return value, J

        return model

    def _together_bounds(self, T: int) -> tuple[Array, Array]:
        free = np.full(T * self.layout.size, np.inf)
        low, high = self._knots or self.memories_
        return np.append(-free, low), np.append(free, high)

    def _together_starts(self, rows: Rows) -> Array:
        """(S, T P + 1): the starts of a known memory, at several memories."""
        kept, out = self.decay_, []
        for log_memory in np.linspace(self.memories_[0], self.memories_[1], _MEMORIES):
            self.decay_ = float(1 - np.exp(-log_memory))
            each = [
                self.starts(y[w > 0], w[w > 0], *(c[w > 0] for c in rows.columns))
                for y, w in zip(rows.Y, rows.measured)
            ]
            one = np.concatenate(each, axis=1)
            out.append(np.column_stack([one, np.full(len(one), log_memory)]))
        self.decay_ = kept
        return np.concatenate(out)

    def _fit_together(self, rows: Rows, starts: Array, weights: Array, gtol: float) -> BatchFit:
        T = len(rows.Y)
        model, bounds = self._together(rows.columns, T), self._together_bounds(T)
        return fit_batch(
            model, rows.Y.reshape(1, -1), starts, loss="huber" if self.loss == "huber" else "squared",
            delta=self.delta, log=True, weights=weights,
            censored=None if rows.side is None else rows.side.reshape(1, -1), bounds=bounds, gtol=gtol,
        )  # fmt: skip

    def _resampled(self, rows: Rows, counts: Array, gtol: float) -> Array:
        if self.decay is not None:
            return super()._resampled(rows, counts, gtol)
        T, P = len(rows.Y), self.layout.size
        each = self._together_starts(rows)
        best = np.append(self.theta_.ravel(), -np.log1p(-self._known_decay()))
        # the optimum, and at every memory one start: a resample may want quite another one
        starts = np.vstack([best, each[1 :: len(each) // _MEMORIES]])
        weights = (counts[:, None, :] * rows.weights[None]).reshape(len(counts), -1)
        found = self._fit_together(rows, starts, weights, gtol).best().theta
        return np.stack([np.column_stack([found[:, t * P : (t + 1) * P], found[:, -1]]) for t in range(T)])

    def _profile_problem(self, t: int) -> ProfileProblem:
        from mixlaw.laws.fit.profile import ProfileProblem

        if self.decay is not None or self.training is None:
            return super()._profile_problem(t)
        X, Y, weight = self.training
        Y, side, P = Y.T, None, self.layout.size
        if self._limits is not None:
            side, Y = self._limits[0].reshape(-1), self._limits[1]
        seen = np.isfinite(Y)
        best = np.append(self.theta_.ravel(), -np.log1p(-self._known_decay()))
        return ProfileProblem(
            self._together(self._used(X), len(Y)), np.where(seen, Y, 1.0).ravel(),
            np.where(seen, weight[None], 0.0).ravel(), side, best,
            lambda theta: self._describe(theta[:, t * P : (t + 1) * P]), self._together_bounds(len(Y)),
            np.zeros(len(best)), np.zeros(len(best)), str(self.loss), self.delta, True,
        )  # fmt: skip

    def _identify_problem(self, t: int) -> ProfileProblem:
        """Of one target, the memory included: what the others say of it is left out."""
        alone = super()._profile_problem(t)
        if self.decay is not None:
            return alone
        columns = self._used(self._need_rows("what it does not know").X)
        low, high = self._theta_bounds(columns)
        ends = np.append(low, self.memories_[0]), np.append(high, self.memories_[1])
        best = np.append(self.theta_[t], np.clip(-np.log1p(-self._known_decay()), *self.memories_))
        none = np.zeros(len(best))
        return replace(
            alone, model=lambda theta, problem: self._with_memories(theta, columns), best=best, bounds=ends,
            centre=none, strength=none,
        )  # fmt: skip

    def described(self, theta: Array) -> dict[str, Array]:
        """As of every law, with the memory in steps where it was fitted."""
        own = super().described(theta)
        return own if theta.shape[1] == self.layout.size else own | {"memory": np.exp(theta[:, -1])}

    def value_and_slopes(self, theta: Array, columns: Sequence[Array]) -> tuple[Array, Array]:
        """As of every law; with the memory's logarithm as one more column of theta where it was fitted."""
        if theta.shape[1] == self.layout.size:
            return super().value_and_slopes(theta, columns)
        return self._with_memories(theta, columns)

    # ---- other schedules, saving ---------------------------------------------------------------------------
    def under(self, schedules: Any) -> LearningRateAnnealing:
        """The same fitted law reading its rows under other schedules (one, or a list as in the constructor).

        The rows of the fit stay behind: they belong to the schedules they were trained under.
        """
        self._check_fitted()
        other = copy.copy(self)
        for name in ("_training", "_heldout", "_limits", "_kept", "_curves"):
            other.__dict__.pop(name, None)
        other.schedules = schedules
        if other.columns != self.columns:  # intervals were calibrated on rows of other columns
            other.__dict__.pop("conformal_", None)
        other.feature_names_in_ = np.array(other.columns, dtype=object)
        other.n_features_in_ = len(other.columns)
        return other

    def to_dict(self) -> dict[str, Any]:
        """Plain data; schedules are written as their ``to_dict()``."""
        given = self.schedules
        try:
            if given is not None and not isinstance(given, Mapping):
                listed = [s.to_dict() for s in self._list()]
                self.schedules = listed if isinstance(given, Sequence) else listed[0]
            return super().to_dict()
        finally:
            self.schedules = given

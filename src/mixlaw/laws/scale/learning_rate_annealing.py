"""A loss curve that knows its learning-rate schedule, and so predicts another schedule.

    L(s) = L0 + A S1(s)^-alpha - C S2(s)  (+ B N^-gamma)

Legend: s optimiser step, S1 the learning rate summed so far (peak-rate steps), S2 the annealing area: every drop of
the rate times how long it has acted, with memory ``decay`` (lambda); L0 irreducible loss, A/alpha the curve at a
constant rate, C what annealing gains, N parameters, B/gamma what size gains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixlaw.data.learning_rate import LearningRateSchedule, as_schedule
from mixlaw.errors import ConfigError, DataError, NotIdentifiableError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.censoring import Sides
from mixlaw.laws.core.columns import check_counts
from mixlaw.laws.fit.engine import BatchFit, Ints, Model, fit_batch
from mixlaw.laws.fit.scale_law import ScaleLaw

if TYPE_CHECKING:
    from mixlaw.laws.fit.profile import ProfileProblem

__all__ = ["LearningRateAnnealing"]

_MEMORIES = 6  # at which fits begin, over the steps seen
_KNOTS = 25  # memories at which S2 is worked out; between them a cubic spline


class LearningRateAnnealing(ScaleLaw):
    """Whole training curves under known schedules; predicts any step of any other schedule.

    Args:
        schedules: one schedule, or a list of them; X's column ``schedule`` then says which of the list a row was
            trained under (0, 1, ...). ``predict`` can use schedules beyond the fitted ones: see
            :meth:`under`.
        decay: lambda of S2; ``None`` fits it with the rest (one for all targets), its memory ``1 / (1 - lambda)``
            between a hundredth of the steps after the peak that the rows span and all of them. Bootstrap, profiles
            and folds then fit it again; a number given here is taken as known by all of them.
        size: whether X has ``params`` and the law the term B N^-gamma.
        loss, delta, bootstrap, level, seed: as in :class:`Chinchilla`.

    X: columns ``step`` (and ``params`` with ``size=True``, ``schedule`` with a list of schedules), or a plain array
    in the order step, params, schedule.
    Fitted: ``parameters_`` L0, A, alpha, C (B, gamma); ``decay_``.

    Not for: steps inside the warm-up; curves without any decay of the rate (C is not identified: refused).

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
    source = "Tissue, Wang, Wang 2024, arXiv:2408.11029"

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
        self.schedules = schedules
        self.decay = decay
        self.size = size
        self.seed = seed
        self.loss = loss
        self.delta = delta
        self.bootstrap = bootstrap
        self.level = level

    @property
    def num_free(self) -> int:  # type: ignore[override]
        """4, or 6 with size, and the memory unless ``decay`` was given."""
        return self._coefficients + (1 if self.decay is None else 0)

    @property
    def _coefficients(self) -> int:
        """Parameters of one target beside the memory."""
        return 6 if self.size else 4

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

    def _columns(self) -> tuple[str, ...]:
        return ("step",) + (("params",) if self.size else ()) + (("schedule",) if len(self._list()) > 1 else ())

    def _needs(self) -> dict[str, int]:
        return {"step": 4} | ({"params": 3} if self.size else {})

    def _check_inputs(self, X: Array, Y: Array, names: Any) -> None:
        super()._check_inputs(X, Y, names)
        Z = X[:, self._order(names, X.shape[1])]
        if self._features(Z, 0.0)[1].max() <= 0:
            raise NotIdentifiableError(
                "No row lies where the learning rate has come down, so what annealing gains is not known. Add later "
                "steps, or fit a law without annealing (laws.Chinchilla on tokens)."
            )

    def _check_columns(self, Z: Array) -> None:
        schedules = self._list()
        which = Z[:, -1] if len(schedules) > 1 else np.zeros(len(Z))
        if ((which < 0) | (which >= len(schedules)) | (which != np.round(which))).any():
            raise DataError(f"Column 'schedule' must index the {len(schedules)} schedules (0 to {len(schedules) - 1}).")
        for i, schedule in enumerate(schedules):
            early = (which == i) & (Z[:, 0] <= schedule.peak_step)
            if early.any():
                rows = np.flatnonzero(early)[:5].tolist()
                raise DataError(
                    f"Rows {rows} lie inside the warm-up (up to step {schedule.peak_step:.4g}), where this law says "
                    f"nothing. Leave them out."
                )
        if self.size:
            check_counts(Z[:, 1], "params")

    def _set_scale(self, Z: Array) -> None:
        area, anneal = self._features(Z, self.decay_)
        self.centre_ = np.array([np.log(area).mean(), np.log(Z[:, 1]).mean() if self.size else 0.0])
        self.unit_ = float(anneal.max())

    def _features(self, Z: Array, decay: float) -> tuple[Array, Array]:
        """S1 and S2 of every row; the last ones are kept, for a fit asks for the same rows many times."""
        schedules = self._list()
        key = (Z.tobytes(), decay, tuple(schedules))
        kept = self.__dict__.get("_kept")
        if kept is not None and kept[0] == key:
            return kept[1]
        which = Z[:, -1] if len(schedules) > 1 else np.zeros(len(Z))
        area, anneal = np.empty(len(Z)), np.empty(len(Z))
        for i, schedule in enumerate(schedules):
            rows = which == i
            if rows.any():
                area[rows] = schedule.area(Z[rows, 0])
                anneal[rows] = schedule.annealing_area(Z[rows, 0], decay)
        self._kept = (key, (area, anneal))
        return area, anneal

    def _span(self, Z: Array) -> Array:
        """Logarithms of the least and the greatest memory: one much shorter than the curves is no memory, one much
        longer never fades."""
        schedules = self._list()
        which = Z[:, -1].astype(int) if len(schedules) > 1 else np.zeros(len(Z), dtype=int)
        peak = np.array([s.peak_step for s in schedules])[which]
        span = max(float((Z[:, 0] - peak).max()), 20.0)
        return np.log([max(span / 100, 2.0), span])

    def _at_memories(self, Z: Array, log_memory: Array) -> tuple[Array, Array]:
        """S2 (B, n) of every row at logarithms of memories (B,), in the fit's unit, and its slope in them."""
        from scipy.interpolate import CubicSpline

        key = (Z.tobytes(), tuple(self._list()), tuple(self.memories_), self.unit_)
        kept = self.__dict__.get("_curves")
        if kept is None or kept[0] != key:
            knots = np.linspace(self.memories_[0], self.memories_[1], _KNOTS)
            table = np.stack([self._features(Z, float(1 - np.exp(-v)))[1] for v in knots]) / self.unit_
            kept = self._curves = (key, CubicSpline(knots, table, axis=0))
        at = np.clip(log_memory, *self.memories_)
        return kept[1](at), kept[1](at, 1)

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        if self.decay is not None:
            self.decay_ = float(self.decay)
        else:
            Z = self._used(X)
            weights, W = self._weights(Z, Y, sample_weight)
            self.memories_ = self._span(Z)
            self.decay_ = float(1 - np.exp(-self.memories_.mean()))
            self._set_scale(Z)
            side = None if self._side is None else self._side.T
            found = self._fit_together(Z, Y.T, self._together_starts(Z, Y.T, W), weights.reshape(1, -1), side)
            self.decay_ = float(1 - np.exp(-found.best().theta[0, -1]))
        super()._fit(X, Y, sample_weight)  # with the memory found: each target's optimum, certified

    # ---- with the memory as one more parameter, that all targets share ----------------------------------
    def _together(self, Z: Array, T: int) -> Model:
        """The targets one after another, (B, T n), of theta = (each target's own, log memory) (B, T P + 1)."""
        P, n = self._coefficients, len(Z)

        def model(theta: Array, problem: Ints) -> tuple[Array, Array]:
            value, J = np.empty((len(theta), T * n)), np.zeros((len(theta), T * n, T * P + 1))
            for t in range(T):
                own, rows = slice(t * P, (t + 1) * P), slice(t * n, (t + 1) * n)
                value[:, rows], slope = self._evaluate(np.column_stack([theta[:, own], theta[:, -1]]), Z)
                J[:, rows, own], J[:, rows, -1] = slope[:, :, :-1], slope[:, :, -1]
            return value, J

        return model

    def _together_bounds(self, T: int) -> tuple[Array, Array]:
        free = np.full(T * self._coefficients, np.inf)
        return np.append(-free, self.memories_[0]), np.append(free, self.memories_[1])

    def _together_starts(self, Z: Array, Y: Array, W: Array) -> Array:
        """(S, T P + 1): the starts of a known memory, at several memories."""
        kept, out = self.decay_, []
        for log_memory in np.linspace(self.memories_[0], self.memories_[1], _MEMORIES):
            self.decay_ = float(1 - np.exp(-log_memory))
            one = np.concatenate([self._starts(Z[w > 0], y[w > 0], w[w > 0]) for y, w in zip(Y, W)], axis=1)
            out.append(np.column_stack([one, np.full(len(one), log_memory)]))
        self.decay_ = kept
        return np.concatenate(out)

    def _fit_together(
        self, Z: Array, Y: Array, starts: Array, W: Array, side: Sides | None, gtol: float = 1e-7
    ) -> BatchFit:
        return fit_batch(
            self._together(Z, len(Y)), Y.reshape(1, -1), starts, loss="huber" if self.loss == "huber" else "squared",
            delta=self.delta, log=True, weights=W, censored=None if side is None else side.reshape(1, -1),
            bounds=self._together_bounds(len(Y)), gtol=gtol,
        )  # fmt: skip

    def _resampled(self, Z: Array, Y: Array, W: Array, side: Sides | None, theta: Array, counts: Array) -> Array:
        if self.decay is not None:
            return super()._resampled(Z, Y, W, side, theta, counts)
        measured = W if side is None else np.where(side == 0, W, 0.0)
        each = self._together_starts(Z, Y, measured)
        best = np.append(theta.ravel(), -np.log1p(-self.decay_))
        # the optimum, and at every memory one start: a resample may want quite another one
        starts = np.vstack([best, each[1 :: len(each) // _MEMORIES]])
        weights = (counts[:, None, :] * W[None]).reshape(len(counts), -1)
        found = self._fit_together(Z, Y, starts, weights, side, gtol=1e-5).best().theta
        P = self._coefficients
        return np.stack([np.column_stack([found[:, t * P : (t + 1) * P], found[:, -1]]) for t in range(len(Y))])

    def _profile_problem(self, t: int) -> ProfileProblem:
        from mixlaw.laws.fit.profile import ProfileProblem

        if self.decay is not None or self.training is None:
            return super()._profile_problem(t)
        X, Y, weight = self.training
        Y, side, P = Y.T, None, self._coefficients
        if self._limits is not None:
            side, Y = self._limits[0].reshape(-1), self._limits[1]
        seen = np.isfinite(Y)
        best = np.append(self.theta_.ravel(), -np.log1p(-self.decay_))
        return ProfileProblem(
            self._together(self._used(X), len(Y)), np.where(seen, Y, 1.0).ravel(),
            np.where(seen, weight[None], 0.0).ravel(), side, best,
            lambda theta: self._describe(theta[:, t * P : (t + 1) * P]), self._together_bounds(len(Y)),
            np.zeros(len(best)), np.zeros(len(best)), self.loss, self.delta, True,
        )  # fmt: skip

    def _starts(self, Z: Array, y: Array, w: Array) -> Array:
        area, anneal = self._features(Z, self.decay_)
        x, g = np.log(area) - self.centre_[0], anneal / self.unit_
        lnN = np.log(Z[:, 1]) - self.centre_[1] if self.size else None
        out = []
        for alpha in (0.2, 0.5, 1.0):
            for gamma in (0.15, 0.4) if self.size else (0.0,):
                columns = [np.ones(len(y)), np.exp(-alpha * x), -g]
                if lnN is not None:
                    columns.append(np.exp(-gamma * lnN))
                coef = np.linalg.lstsq(np.stack(columns, axis=1), y, rcond=None)[0]
                coef = np.maximum(coef, 1e-3 * y.min())
                start = [np.log(min(coef[0], 0.99 * y.min())), np.log(coef[1]), np.log(alpha), coef[2]]
                out.append(start + ([np.log(coef[3]), np.log(gamma)] if self.size else []))
        return np.array(out)

    def _evaluate(self, theta: Array, Z: Array) -> tuple[Array, Array]:
        """theta (B, P) at ``decay_``, or (B, P + 1) with the logarithm of a memory each."""
        area, anneal = self._features(Z, self.decay_)
        own = theta.shape[1] > self._coefficients
        g, bend = self._at_memories(Z, theta[:, -1]) if own else (anneal / self.unit_, anneal)
        x = np.log(area) - self.centre_[0]
        alpha = np.exp(theta[:, 2:3])
        base = np.exp(theta[:, :1]) * np.ones(len(x))
        curve = np.exp(theta[:, 1:2] - alpha * x)
        gain = theta[:, 3:4] * g
        parts = [base, curve, -alpha * x * curve, -g * np.ones((len(theta), 1))]
        value = base + curve - gain
        if self.size:
            lnN = np.log(Z[:, 1]) - self.centre_[1]
            gamma = np.exp(theta[:, 5:6])
            term = np.exp(theta[:, 4:5] - gamma * lnN)
            value = value + term
            parts += [term, -gamma * lnN * term]
        if own:
            parts.append(-theta[:, 3:4] * bend)
        return value, np.stack(parts, axis=2)

    def _describe(self, theta: Array) -> dict[str, Array]:
        alpha = np.exp(theta[:, 2])
        out = {
            "L0": np.exp(theta[:, 0]),
            "A": np.exp(theta[:, 1] + alpha * self.centre_[0]),
            "alpha": alpha,
            "C": theta[:, 3] / self.unit_,
        }
        if self.size:
            gamma = np.exp(theta[:, 5])
            out |= {"B": np.exp(theta[:, 4] + gamma * self.centre_[1]), "gamma": gamma}
        return out

    def under(self, schedules: Any) -> LearningRateAnnealing:
        """The same fitted law reading its rows under other schedules (one, or a list as in the constructor)."""
        self._check_fitted()
        state = self.to_dict()
        state["params"]["schedules"] = None
        other = type(self).from_dict(state)
        assert isinstance(other, LearningRateAnnealing)
        other.schedules = schedules
        columns = other._columns()
        other.feature_names_in_ = np.array(columns, dtype=object)
        other.n_features_in_ = len(columns)
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

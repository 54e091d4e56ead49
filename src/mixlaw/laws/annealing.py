"""A loss curve that knows its learning-rate schedule, and so predicts another schedule.

    L(s) = L0 + A S1(s)^-alpha - C S2(s)  (+ B N^-gamma)

Legend: s optimiser step, S1 the learning rate summed so far (peak-rate steps), S2 the annealing area: every drop of
the rate times how long it has acted, with memory ``decay`` (lambda); L0 irreducible loss, A/alpha the curve at a
constant rate, C what annealing gains, N parameters, B/gamma what size gains.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mixlaw.errors import ConfigError, DataError, MixlawWarning, NotIdentifiableError
from mixlaw.laws.base import Array
from mixlaw.laws.scale_input import check_counts
from mixlaw.laws.scale_law import ScaleLaw
from mixlaw.laws.schedules import LearningRateSchedule, as_schedule

__all__ = ["LearningRateAnnealing"]

_MEMORIES, _REFINEMENTS = 6, 14  # memories tried over the steps seen, then a search between the best one's neighbours


def _golden_section(objective: Callable[[float], float], low: float, high: float, rounds: int) -> None:
    """Close in on a minimum of ``objective`` inside [low, high]; the caller keeps what it has seen."""
    ratio = 0.5 * (np.sqrt(5.0) - 1.0)
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = objective(a), objective(b)
    for _ in range(rounds):
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = objective(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = objective(b)


class LearningRateAnnealing(ScaleLaw):
    """Whole training curves under known schedules; predicts any step of any other schedule.

    Args:
        schedules: one schedule, or a list of them; X's column ``schedule`` then says which of the list a row was
            trained under (0, 1, ...). ``predict`` can use schedules beyond the fitted ones: see
            :meth:`under`.
        decay: lambda of S2; ``None`` finds it by the objective, its memory ``1 / (1 - lambda)`` between a hundredth
            of the steps after the peak that the rows span and all of them.
        size: whether X has ``params`` and the law the term B N^-gamma.
        loss, delta, bootstrap, level, seed: as in :class:`Chinchilla`.

    X: columns ``step`` (and ``params`` with ``size=True``, ``schedule`` with a list of schedules), or a plain array
    in the order step, params, schedule.
    Fitted: ``parameters_`` L0, A, alpha, C (B, gamma); ``decay_``.

    Not for: steps inside the warm-up; curves without any decay of the rate (C is not identified: refused).

    Source: Tissue, Wang, Wang 2024, arXiv:2408.11029.

    Example:
        >>> from mixlaw.laws.schedules import Constant, Cosine
        >>> cosine = Cosine(total=20_000, warmup=500)
        >>> s = np.arange(1000., 20_001., 500.)
        >>> loss = 2.5 + 20 * cosine.area(s) ** -.5 - 4e-4 * cosine.annealing_area(s, .999)
        >>> law = LearningRateAnnealing(cosine).fit({"step": s}, loss)
        >>> flat = law.under(Constant(warmup=500)).predict({"step": [20_000.]})[0]
        >>> bool(abs(flat - (2.5 + 20 * Constant(500).area(20_000.) ** -.5)) < 1e-3)
        True
    """

    name = "annealing"
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
        """4, or 6 with size."""
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

    def _memories(self, Z: Array) -> Array:
        """Candidates for the memory. One much shorter than the curves is no memory, one much longer never fades."""
        schedules = self._list()
        which = Z[:, -1].astype(int) if len(schedules) > 1 else np.zeros(len(Z), dtype=int)
        peak = np.array([s.peak_step for s in schedules])[which]
        span = max(float((Z[:, 0] - peak).max()), 20.0)
        return np.geomspace(max(span / 100, 2.0), span, _MEMORIES)

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        if self.decay is not None:
            self.decay_ = float(self.decay)
            super()._fit(X, Y, sample_weight)
            return
        bootstrap, self.bootstrap = self.bootstrap, 0
        tried: dict[float, float] = {}

        def objective(log_memory: float) -> float:
            self.decay_ = float(1 - np.exp(-log_memory))
            super(LearningRateAnnealing, self)._fit(X, Y, sample_weight)
            tried[log_memory] = float(np.sum(self.objective_))
            return tried[log_memory]

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", MixlawWarning)  # only the fit that is kept speaks
                grid = np.log(self._memories(self._used(X))).tolist()
                at = int(np.argmin([objective(v) for v in grid]))
                _golden_section(objective, grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)], _REFINEMENTS)
        finally:
            self.bootstrap = bootstrap
        self.decay_ = float(1 - np.exp(-min(tried, key=lambda v: tried[v])))
        super()._fit(X, Y, sample_weight)

    def _settled(self) -> dict[str, Any]:
        return {"decay": self.decay_}

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
        area, anneal = self._features(Z, self.decay_)
        x, g = np.log(area) - self.centre_[0], anneal / self.unit_
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

"""What Joint and Nested share: reading rows of mixtures, sizes and tokens, and mixtures that were not run.

Both stand on the seam: they declare parameters and write the formula of one run (:meth:`loss`), of which examples,
slopes and meanings follow. Their fits are their own, for what they share between mixtures and sizes is not one formula
per row: ``_fit`` of Joint averages mixed models with random effects, that of Nested fits laws of laws.

Both predict the runs that were made at a size and length never tried; for other mixtures a law of the mixture is
fitted to those predictions (step 4 of Algorithm 1, Data Mixing Laws, arXiv:2403.16952).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from mixlaw.data.learning_rate import LearningRateSchedule, as_schedule
from mixlaw.data.seams import LAWS
from mixlaw.errors import ConfigError, DataError, MixlawWarning, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.columns import Columns, check_counts, check_weights, find_columns, need_sizes
from mixlaw.laws.core.examples import run_rows
from mixlaw.laws.core.table import as_matrix
from mixlaw.laws.fit.engine import Ints
from mixlaw.laws.fit.identify import common_line
from mixlaw.laws.fit.late_fall import late_fall, most_lengths
from mixlaw.laws.fit.scale_form import ScaleForm

__all__ = ["MixtureAtScale"]

_DIGITS = 6
"""Decimals of the weights that a law is saved with, which tell a mixture that was run. Coarser than the rule for rows
(:func:`mixlaw.data.mixture.rounded`): laws that the first version saved hold no more, and must know their runs."""


FULL_DECAY = 0.025
"""What a decay of the learning rate to nearly 0 takes off the loss, as a share of it: root mean square of 0.013 and
0.017 (the studies of arXiv:2403.16952) and 0.041 (arXiv:2408.11029)."""
_BEYOND = 1.05  # of the longest run: what is still the same run


class MixtureAtScale(ScaleForm):
    """Base of laws of mixture, size and tokens with a fit of their own. (A law whose formula can be fitted as it stands
    is a :class:`mixlaw.laws.JointLaw`.)

    A subclass sets ``schedule``, ``tokens_per_step``, ``first_step``, ``mixture_law`` and ``target_weights`` in its
    constructor, declares ``parameters`` and writes ``loss`` and ``slopes``, and overrides these hooks:

    - ``_fit``: the fit; it calls ``_read`` for the rows, and sets ``parameters_`` and ``intervals_``;
    - ``_of_known``: predictions of mixtures that were run;
    - ``_variance``: how far these may be off.

    Tokens stand in the formula as :meth:`exposure` counts them.

    Example:
        >>> from mixlaw.laws import Joint, Nested
        >>> issubclass(Joint, MixtureAtScale), issubclass(Nested, MixtureAtScale)
        (True, True)
    """

    kind: ClassVar[Any] = "joint"
    columns = ("weights", "params", "tokens")

    schedule: Any = None
    tokens_per_step: float | None = None
    first_step: float | None = None
    mixture_law: Law | None = None
    target_weights: Any = None
    pairs_: int | None = None
    """How many different runs, each a mixture at a size, the rows used belong to. None of laws saved before."""
    late_fall_: dict[str, Any] | None = None
    """Without a schedule: how far late losses leave the curve of the earlier rows of their run (``bias`` of each
    target, predicted minus measured, from ``start`` on, mean ``reach`` in e-folds of length), and whether that is
    ``likely`` a changing learning rate. None where the schedule is known or nothing can be said."""

    @classmethod
    def examples(cls) -> list[Law]:
        """With a mixture law that is fitted in no time."""
        return [cls(mixture_law=LAWS["log_linear"]())]

    def example_rows(self, num: int, rng: np.random.Generator) -> dict[str, Array]:
        """About twice ``num`` rows: a few mixtures, each at three sizes and looked at three times on its way."""
        return run_rows(num, rng)

    def exposure(self, tokens: Array) -> tuple[Array, Array]:
        """What a run of so many tokens (n,) has learned from, and its annealing gap: tokens and 0 without a schedule,
        else S1 (the learning rate summed, in steps at the peak rate) and g = 1 - rate / peak."""
        schedule = as_schedule(self.schedule)
        if schedule is None:
            return tokens, np.zeros(len(tokens))
        step = tokens / float(self.tokens_per_step or 1.0)
        return schedule.area(step), schedule.gap(step)

    def _order(self, names: Sequence[str] | None, num: int) -> list[int]:
        where = find_columns(names, num)
        last = where.step if where.tokens is None else where.tokens
        return [*where.weights, where.params, *([] if last is None else [last])]

    def _of_known(self, group: Ints, params: Array, step: Array) -> Array:
        """(n, T) predictions for mixtures that were run (indices into ``mixtures_``)."""
        raise NotImplementedError

    def _variance(self, t: int, group: Ints, params: Array, step: Array, known: npt.NDArray[np.bool_]) -> Array:
        """(n,) variance of a new run's loss; ``known`` is False where ``group`` stands in for a new mixture."""
        raise NotImplementedError

    def _anchors(self) -> npt.NDArray[np.bool_]:
        """(M,) mixtures the mixture law is fitted on: those whose weights sum to 1."""
        return np.abs(self.mixtures_.sum(axis=1) - 1) <= 5e-3

    # ---- reading rows --------------------------------------------------------------------------------
    def _check_inputs(self, X: Array, Y: Array, names: Any) -> None:
        self.__dict__.pop("start_", None)
        columns = find_columns(names, X.shape[1])
        self._check_rows(X, columns)
        step = self._exposure(X, columns)[0]
        keep = step >= self._start()
        if not keep.any():
            raise DataError(f"All rows lie before first_step={self._start():.4g} (last step {step.max():.4g}).")
        need_sizes(X[keep, columns.params], 3, "model sizes", type(self).__name__)
        need_sizes(step[keep], 3, "token counts", type(self).__name__)

    def _check_rows(self, X: Array, columns: Columns) -> None:
        check_weights(X[:, columns.weights])
        check_counts(X[:, columns.params], "params")
        if columns.tokens is not None:
            check_counts(X[:, columns.tokens], "tokens")

    def _start(self) -> float:
        if self.first_step is not None:
            return float(self.first_step)
        schedule = as_schedule(self.schedule)
        return 5.0 * schedule.peak_step if schedule is not None else float(self.__dict__.get("start_", 0.0))

    def _exposure(self, X: Array, columns: Columns) -> tuple[Array, Array, Array]:
        """step (or tokens), exposure (S1 in peak-rate steps, or tokens) and annealing gap g of every row."""
        schedule = as_schedule(self.schedule)
        if columns.step is not None and (schedule is not None or columns.tokens is None):
            step = X[:, columns.step]
        elif self.tokens_per_step is not None:
            step = X[:, columns.tokens] / float(self.tokens_per_step)
        elif schedule is None:
            step = X[:, columns.tokens]
        else:
            raise ConfigError(f"{type(self).__name__}(schedule=...) needs tokens_per_step=, or a 'step' column in X.")
        if schedule is None:
            return step, step, np.zeros(len(step))
        return step, schedule.area(step), schedule.gap(step)

    def _groups(self, W: Array) -> Ints:
        """Index into ``mixtures_`` of each row of weights, -1 for one that was not run."""
        known = {tuple(row): i for i, row in enumerate(np.round(self.mixtures_, _DIGITS).tolist())}
        return np.array([known.get(tuple(row), -1) for row in np.round(W, _DIGITS).tolist()], dtype=np.int64)

    def _align(self, X: Any) -> Array:
        """As in the base; a missing ``step`` is computed from ``tokens`` where ``tokens_per_step`` is known."""
        self._check_fitted()
        matrix, names = as_matrix(X)
        if (
            names is not None
            and "step" not in names
            and "tokens" in names
            and "step" in self.feature_names_in_
            and self.tokens_per_step is not None
        ):
            step = matrix[:, names.index("tokens")] / float(self.tokens_per_step)
            X = {n: matrix[:, j] for j, n in enumerate(names)} | {"step": step}
        return super()._align(X)

    def _read(self, X: Array, Y: Array, sample_weight: Array) -> tuple[Array, Array, Array]:
        """Losses and weights (T, M, C) of mixtures at cells (a size at a step), and the annealing gap of rows used.

        Sets ``columns_``, ``mixtures_``, ``cells_`` (C, 2) of params and step, ``scale_``, ``num_dropped_``.
        """
        self.__dict__.pop("_at", None)
        columns = find_columns([str(n) for n in self.feature_names_in_], X.shape[1])
        self.columns_ = asdict(columns)
        step, exposure, gap = self._exposure(X, columns)
        keep = (step >= self._start()) & (sample_weight > 0)
        self.num_dropped_ = int((~keep).sum())
        X, Y, sample_weight = X[keep], Y[keep], sample_weight[keep]
        step, exposure, gap = step[keep], exposure[keep], gap[keep]
        W = X[:, columns.weights]
        self.mixtures_ = np.unique(np.round(W, _DIGITS), axis=0)
        group = self._groups(W)
        params = X[:, columns.params]
        self.pairs_ = len(np.unique(np.column_stack([group, params]), axis=0))
        self.scale_ = {"params": float(np.exp(np.log(np.unique(params)).mean())),
                       "exposure": float(np.exp(np.log(np.unique(exposure)).mean()))}  # fmt: skip
        cells, cell = np.unique(np.column_stack([params, step]), axis=0, return_inverse=True)
        cell = np.ravel(cell)
        self.cells_ = cells
        M, C, T = len(self.mixtures_), len(cells), Y.shape[1]
        table, weight = np.zeros((T, M, C)), np.zeros((T, M, C))
        for t in range(T):  # replicates of one mixture at one cell are averaged
            there = np.isfinite(Y[:, t])
            np.add.at(weight[t], (group[there], cell[there]), sample_weight[there])
            np.add.at(table[t], (group[there], cell[there]), sample_weight[there] * Y[there, t])
        table = table / np.where(weight > 0, weight, 1.0)
        weight /= weight[weight > 0].mean()
        if (weight.sum(axis=(1, 2)) == 0).any():
            raise DataError("A target has no measured value in the rows used.")
        return table, weight, gap[np.isfinite(Y).any(axis=1)]

    def _warn_of_rows(self) -> None:
        """What is unusual about the rows: sums of mixtures, and sizes that move together with lengths."""
        self._warn_sums(self.mixtures_)
        by_step = self._by_step()
        length = "step" if by_step else "tokens"
        at = self.cells_[:, 1] * (1.0 if by_step else float(self.tokens_per_step or 1.0))
        line = common_line("params", np.log(self.cells_[:, 0]), length, np.log(np.maximum(at, 1e-300)))
        self.notes_ = []
        if line:
            low, high = self.cells_[:, 0].min(), at.max()
            text = (
                f"params and {length} move together: the runs fix the loss along {line} only, and the law's form alone "
                f"tells size from length. The run that would tell: params={low:.3g}, {length}={high:.3g}, or the "
                f"evaluations along each run."
            )
            self.notes_ = [text]
            warnings.warn(f"{type(self).__name__}: {text}", MixlawWarning, stacklevel=5)

    @property
    def runs_text(self) -> str:
        """Runs (a mixture at a size) and the evaluations along them."""
        if self.pairs_ is None:
            return f"{self.num_runs_} evaluations"
        return f"{self.num_runs_} evaluations of {self.pairs_} runs (a mixture at a size)"

    def _by_step(self) -> bool:
        return self.columns_["step"] is not None and (self.schedule is not None or self.columns_["tokens"] is None)

    def _warn_of_schedule(self, table: Array, weight: Array) -> None:
        """Where runs are given at several lengths and no schedule is known: what that hides, what hiding the late rows
        shows, and how to tell the law. Sets ``late_fall_``."""
        self.late_fall_, self.longest_ = None, None
        most = max(most_lengths(w, self.cells_) for w in weight)
        if self.schedule is not None or most < 2:
            return
        self.longest_ = float(self.cells_[:, 1].max())
        found = [late_fall(y, w, self.cells_) for y, w in zip(table, weight)]
        known = [f for f in found if f is not None]
        unit = "steps" if self._by_step() else "tokens"
        per = 1.0 if self._by_step() else float(self.tokens_per_step or 1.0)
        text = (
            "No learning-rate schedule is known, and runs are given at several lengths. A rate that decays lowers late "
            f"losses in a way that no curve over tokens foresees (by {FULL_DECAY:.1%} of the loss, as published), so "
            "that a run of another length ends elsewhere than its neighbours' curves say: of runs longer than any here "
            "the intervals hold that, of shorter runs with a decay of their own they do not. "
        )
        if not known:
            text += f"With at most {most} rows of a run no decay can be looked for here."
        else:
            mean = float(np.mean([f.bias for f in known]))
            start, reach = min(f.start for f in known), float(np.mean([f.reach for f in known]))
            likely = sum(f.likely for f in known) > len(known) / 2
            self.late_fall_ = {
                "bias": [mean if f is None else f.bias for f in found], "start": start, "reach": reach, "likely": likely
            }  # fmt: skip
            side = "below" if mean > 0 else "above"
            runs = sum(f.curves for f in known)
            share = sum(f.lower if mean > 0 else f.curves - f.lower for f in known)
            text += (
                f"Late rows, hidden, lie {side} what the earlier rows of the same run predict in {share} of {runs} "
                f"{'curves' if len(found) > 1 else 'runs'}, by {abs(mean):.2g} on average: "
            )
            text += (
                f"the rate likely changed. Intervals beyond {start * per:.3g} {unit} are widened by that."
                if likely
                else "no change of the rate is seen, but one after the last row would not be."
            )
        name = type(self).__name__
        text += (
            f" Give it: {name}(schedule=Cosine(total=..., warmup=...), tokens_per_step=...), from "
            f"mixlaw.data.learning_rate; Constant() where the rate stays."
        )
        self.notes_ = [*self.notes_, text]
        warnings.warn(f"{name}: {text}", MixlawWarning, stacklevel=5)

    def _late_variance(self, t: int, step: Array, loss: Array) -> Array:
        """(n,) what an unknown schedule adds: beyond the longest run, whose end a decay of its own may lower, the gain
        of a full decay; where late rows left the curve, their bias, growing with ln(length) as it did there."""
        longest = self.__dict__.get("longest_")  # None where the schedule is known; laws saved before have none
        variance = np.zeros(len(step))
        if longest is not None:
            variance += (FULL_DECAY * loss * (step > _BEYOND * longest)) ** 2
        if self.late_fall_ is not None and self.late_fall_["likely"]:
            ahead = np.maximum(np.log(step / self.late_fall_["start"]) / self.late_fall_["reach"], 0.0)
            variance += (self.late_fall_["bias"][t] * ahead) ** 2
        return variance

    def _warn_sums(self, W: Array) -> None:
        off = np.unique(W[np.abs(W.sum(axis=1) - 1) > 5e-3], axis=0)
        if len(off):
            sums = off.sum(axis=1).round(4).tolist()[:5]
            warnings.warn(
                f"{len(off)} mixture(s) have weights that do not sum to 1 (sums {sums}). "
                f"They are used to learn how loss falls with size and steps, and left out of the mixture law.",
                MixlawWarning,
                stacklevel=4,
            )

    def _aggregate(self, table: Array, weight: Array) -> tuple[Array, Array]:
        """The weighted loss, where every target was measured."""
        T = len(table)
        if isinstance(self.target_weights, Mapping):
            unknown = [k for k in self.target_weights if k not in self.target_names_]
            if unknown:
                raise ConfigError(f"target_weights names {unknown[0]!r}.{did_you_mean(unknown[0], self.target_names_)}")
            share = np.array([float(self.target_weights.get(n, 0.0)) for n in self.target_names_])
        elif self.target_weights is not None:
            share = np.asarray(self.target_weights, dtype=float)
        else:
            share = np.full(T, 1.0 / T)
        if share.shape != (T,) or (share < 0).any() or share.sum() <= 0:
            raise ConfigError(f"target_weights must be {T} non-negative numbers, got {self.target_weights!r}.")
        use = share > 0
        every = (weight[use] > 0).all(axis=0)
        if not every.any():
            raise DataError("No row has all weighted targets, so their aggregate is unknown. Fit them one at a time.")
        return np.einsum("t,tmc->mc", share, np.where(every, table, 0.0)), weight[use].mean(axis=0) * every

    def reach(self, X: Any) -> Array:
        """(n,) how far a prediction reaches: training compute N D of each row over the largest observed.

        Below 1 is inside what was run. Where only steps are known, N times steps is compared.
        """
        _, _, params, step = self._rows(self._align(X))
        return params * step / float((self.cells_[:, 0] * self.cells_[:, 1]).max())

    def difference_variance(
        self, X: Array, weights: Array, params: float, tokens: float | None = None, step: float | None = None
    ) -> float:
        """As in the base: the variance of a loss of each mixture that was run, carried to the two along the plane
        through these mixtures, and that of the two runs."""
        carried = self._carried(X)
        M, every = len(self.mixtures_), np.ones(len(self.mixtures_), dtype=bool)
        at = np.full(M, float(params)), np.full(M, self._one_step(tokens, step))
        sd = sum(abs(w) * np.sqrt(self._variance(t, np.arange(M), *at, every)) for t, w in enumerate(weights))
        squares = np.asarray(sd) ** 2
        return float((carried**2 * squares).sum() + 2 * squares.mean())

    def _carried(self, X: Array) -> Array:
        """(M,) by how much the difference of two mixtures, rows of X (2, K), moves with the loss of each mixture that
        was run, along the plane through them."""
        plane = np.linalg.pinv(np.column_stack([np.ones(len(self.mixtures_)), self.mixtures_]), rcond=1e-6)
        W = np.asarray(X, dtype=float)[:, list(self.columns_["weights"])]
        return np.asarray((W[0] - W[1]) @ plane[1:])

    # ---- predicting --------------------------------------------------------------------------------------
    def at(self, params: float, tokens: float | None = None, step: float | None = None) -> Law:
        """The law of the mixture at one size and length: fitted to the predicted losses of all mixtures that were
        run (Algorithm 1, step 4, of arXiv:2403.16952). What an optimiser of the mixture wants.

        Args:
            params: non-embedding parameters.
            tokens: training tokens; or ``step``.

        Raises:
            ConfigError: neither ``tokens`` nor ``step``, or ``tokens`` for a law that was fitted on steps.
        """
        self._check_fitted()
        step = self._one_step(tokens, step)
        key = (float(params), float(step))
        cache: dict[tuple[float, float], Law] = self.__dict__.setdefault("_at", {})
        if key not in cache:
            M = len(self.mixtures_)
            losses = self._of_known(np.arange(M), np.full(M, float(params)), np.full(M, float(step)))
            whole = self._anchors()
            if self.mixture_law is None:
                from mixlaw.laws import Auto

                law: Law = Auto(seed=0)
            else:
                law = clone(self.mixture_law)
            names = [str(self.feature_names_in_[i]) for i in self.columns_["weights"]]
            X = {n: self.mixtures_[whole, j] for j, n in enumerate(names)}
            y = {n: losses[whole, t] for t, n in enumerate(self.target_names_)}
            cache[key] = law.fit(X, losses[whole, 0] if self.single_target_ else y)
        return cache[key]

    def _one_step(self, tokens: float | None, step: float | None) -> float:
        if step is not None:
            return float(step)
        if tokens is None:
            raise ConfigError(f"{type(self).__name__}.at needs tokens= or step=.")
        check_counts(np.array([float(tokens)]), "tokens")
        if self.tokens_per_step is not None:
            return float(tokens) / float(self.tokens_per_step)
        if as_schedule(self.schedule) is not None:
            raise ConfigError(
                "A law with a schedule was fitted on steps: give step=, or tokens_per_step= to the constructor."
            )
        return float(tokens)

    def _rows(self, X: Array) -> tuple[Array, Ints, Array, Array]:
        columns = find_columns([str(n) for n in self.feature_names_in_], X.shape[1])
        self._check_rows(X, columns)
        W = X[:, columns.weights]
        return W, self._groups(W), X[:, columns.params], self._exposure(X, columns)[0]

    def _predict(self, X: Array) -> Array:
        W, group, params, step = self._rows(X)
        out = np.empty((len(X), self.n_targets_))
        known = group >= 0
        if known.any():
            out[known] = self._of_known(group[known], params[known], step[known])
        for N, S in {(N, S) for N, S in zip(params[~known], step[~known])}:
            rows = ~known & (params == N) & (step == S)
            out[rows] = self._mixture_predict(N, S, W[rows])[0]
        return out

    def _mixture_predict(self, params: float, step: float, W: Array, level: float | None = None) -> tuple[Array, Array]:
        """(n, T) prediction of the mixture law and half the width of its interval."""
        law = self.at(params, step=step)
        X = {str(n): W[:, j] for j, n in enumerate(law.feature_names_in_)}
        mean = np.asarray(law.predict(X)).reshape(len(W), -1)
        if level is None:
            return mean, np.zeros_like(mean)
        low, high = law.predict_interval(X, level)
        return mean, (np.asarray(high) - np.asarray(low)).reshape(len(W), -1) / 2

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """Ends of an interval for a new run at X.

        Its variance adds: how far the fits disagree; the uncertainty of the mixture's own coefficients; how
        strongly the prediction answers to an offset of all runs of one size, times how large such offsets are
        in the backtests; the noise of one evaluation; without a schedule, how far late losses left the curve of
        earlier ones where that is likely a changing rate (``late_fall_``); and for a mixture that was not run the
        mixture law's own interval.
        """
        if not 0 < level < 1:
            raise ConfigError(f"level must lie between 0 and 1, got {level!r}.")
        matrix = self._align(X)
        W, group, params, step = self._rows(matrix)
        mean = self._predict(matrix)
        z = NormalDist().inv_cdf(0.5 + level / 2)
        variance = np.zeros_like(mean)
        known = group >= 0
        nearest = np.where(known, group, 0)
        for t in range(self.n_targets_):
            variance[:, t] = self._variance(t, nearest, params, step, known) + self._late_variance(t, step, mean[:, t])
        extra = np.zeros_like(mean)
        for N, S in {(N, S) for N, S in zip(params[~known], step[~known])}:
            rows = ~known & (params == N) & (step == S)
            extra[rows] = self._mixture_predict(N, S, W[rows], level)[1]
        half = np.sqrt(z**2 * variance + extra**2)
        low, high = mean - half, mean + half
        return (low[:, 0], high[:, 0]) if self.single_target_ else (low, high)

    def gradient(self, X: Any) -> Array:
        """d loss / d column (n, T, K): weights by the law of the mixture at that size and length (:meth:`at`),
        the other columns by central differences of one part in ten thousand."""
        matrix = self._align(X)
        W, _, params, step = self._rows(matrix)
        out = np.zeros((len(matrix), self.n_targets_, matrix.shape[1]))
        weights = list(self.columns_["weights"])
        for N, S in set(zip(params, step)):
            rows = np.flatnonzero((params == N) & (step == S))
            law = self.at(N, step=S)
            slope = law.gradient({str(n): W[rows, j] for j, n in enumerate(law.feature_names_in_)})
            out[np.ix_(rows, np.arange(self.n_targets_), np.array(weights))] = slope
        for j in set(range(matrix.shape[1])) - set(weights):
            h = 1e-4 * matrix[:, j]
            up, down = matrix.copy(), matrix.copy()
            up[:, j] += h
            down[:, j] -= h
            out[:, :, j] = (self._predict(up) - self._predict(down)) / (2 * h)[:, None]
        return out

    # ---- saving ------------------------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Plain data; the schedule is written as its ``to_dict()``."""
        schedule = self.schedule
        try:
            if isinstance(schedule, LearningRateSchedule):
                self.schedule = schedule.to_dict()
            return super().to_dict()
        finally:
            self.schedule = schedule

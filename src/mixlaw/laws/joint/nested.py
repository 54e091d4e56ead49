"""Steps, then sizes, then the mixture: the nested pipeline of Data Mixing Laws, in one fit.

    per mixture and size     L = E + B s^-b       (b shared by all curves and targets)  -> at the target's steps
    per mixture              L = E + A N^-a       (a shared by all mixtures and targets) -> at the target's size
    over mixtures            a law of the mixture on the predicted losses                -> any mixture

Legend: N non-embedding parameters, s tokens or, with a schedule, the learning rate summed so far (S1), E, A, B per
curve, a and b exponents. Given an exponent the curves are straight lines, so each stage is a search over one number.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.learning_rate import LearningRateSchedule, as_schedule
from mixlaw.errors import MixlawWarning, NotIdentifiableError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.parameters import Free, Positive
from mixlaw.laws.fit.engine import Ints
from mixlaw.laws.fit.mixture_at_scale import MixtureAtScale
from mixlaw.laws.fit.off_line import allowed, strip
from mixlaw.laws.fit.power_curves import power_curves

__all__ = ["Nested"]

_OFFSET = 4e-3
"""Prior for how far off, in nats, all runs of one size can be; worth four backtests, as in Joint."""

_HALF = 1.645
"""Standard deviations from the middle of a 90% interval to its end."""


class Nested(MixtureAtScale):
    """Algorithm 1 of Data Mixing Laws: step laws, size laws, then a law of the mixture.

    Simpler than :class:`Joint` and easier to look into (every curve has its own E and B); less accurate where
    curves are short, because nothing is shared but two exponents. Mixtures seen at fewer than three sizes help
    the step law only.

    Args:
        schedule, tokens_per_step, first_step, mixture_law: as in :class:`Joint`. With a schedule the step law
            runs on S1 instead of tokens.
        backtest: hide the largest size (with four or more) and the late steps, and measure the bias.

    X, y: as in :class:`Joint`.
    Fitted: ``parameters_`` (b of the step law; a of the size law at the longest length seen), ``backtest_``,
    ``curves_`` (the step laws).

    Not for: lengths far beyond the schedule's start of decay when the schedule is not given.

    Raises:
        NotIdentifiableError, ConfigError, DataError, TooFewRunsError: as :class:`Joint`.

    Source: Ye et al. 2024, arXiv:2403.16952, Algorithm 1.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> r, n, d = np.meshgrid([.2, .4, .6, .8], [1e7, 3e7, 1e8], [1e9, 2e9, 4e9], indexing="ij")
        >>> loss = 2 - .4 * r + 30 * n ** -.25 + 900 * d ** -.35
        >>> X = {"web": r.ravel(), "code": 1 - r.ravel(), "params": n.ravel(), "tokens": d.ravel()}
        >>> law = Nested(mixture_law=LogLinear(), backtest=False).fit(X, loss.ravel())
        >>> found = law.predict({"web": [.5], "code": [.5], "params": [2e8], "tokens": [8e9]})[0]
        >>> bool(abs(found - (1.8 + 30 * 2e8 ** -.25 + 900 * 8e9 ** -.35)) < 0.02)
        True
    """

    name = "nested"
    unexplained, costly = 0.05, True
    irreducible = "E"
    source = "Ye et al. 2024, arXiv:2403.16952"

    formula = "L = E(r) + A(r) / N^a + B(r, N) / D^b"
    parameters = {
        "E": Free((1.7, 2.1, 1.9), "irreducible loss of a domain alone, nats", per="domain"),
        "A": Positive(30.0, "size term, nats at one parameter"),
        "a": Free(0.25, "size exponent", low=0.02, high=2.5),
        "B": Positive(900.0, "data term, nats at one token (with a schedule: one step at the peak rate)"),
        "b": Free(0.35, "data exponent", low=0.02, high=2.5),
    }

    curves_: Any = None
    """The step laws, once fitted."""

    def __init__(
        self,
        schedule: LearningRateSchedule | Mapping[str, Any] | None = None,
        tokens_per_step: float | None = None,
        first_step: float | None = None,
        mixture_law: Law | None = None,
        backtest: bool = True,
    ) -> None:
        self.schedule = schedule
        self.tokens_per_step = tokens_per_step
        self.first_step = first_step
        self.mixture_law = mixture_law
        self.backtest = backtest

    def loss(self, p: Any, R: Array, params: Array, tokens: Array) -> Array:
        """(B, n) losses in nats of mixtures R (n, K), sizes and tokens (n,): both laws in one, with one A and one B."""
        return np.asarray(p.E @ R.T + p.A * params**-p.a + p.B * self.exposure(tokens)[0] ** -p.b)

    def slopes(self, p: Any, R: Array, params: Array, tokens: Array) -> dict[str, Any]:  # type: ignore[override]
        """d loss / d parameter, (B, n), of E (n, K)."""
        exposure = self.exposure(tokens)[0]
        size, data = params**-p.a, exposure**-p.b
        by_a, by_b = -np.log(params) * p.A * size, -np.log(exposure) * p.B * data
        return {"E": R, "A": size, "a": by_a, "B": data, "b": by_b}

    def example_parameters(self) -> dict[str, Any]:
        """Both exponents: E, A and B differ by mixture and stand in ``curves_``."""
        every = super().example_parameters()
        return {name: every[name] for name in ("b", "a")}

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        table, weight, _ = self._read(X, Y, sample_weight)
        self._warn_of_rows()
        self._warn_of_schedule(table, weight)
        self.offset_sd_, self.late_error_ = _OFFSET, 0.0
        self.backtest_: list[dict[str, Any]] = []
        self.curves_ = self._step_laws(table, weight)
        deep = self.curves_["use"].sum(axis=1) >= 3  # (M,) mixtures with a size law
        if deep.sum() < 1:
            raise NotIdentifiableError(
                "No mixture was run at three sizes with three steps each, so no size law can be fitted. Add sizes, or "
                "use laws.Joint, which shares the size law between mixtures."
            )
        if not deep.all():
            warnings.warn(
                f"{int((~deep).sum())} of {len(deep)} mixtures were run at fewer than three sizes. They help the step "
                f"law only; laws.Joint would use them for the size law and the mixture too.",
                MixlawWarning,
                stacklevel=4,
            )
        if self.backtest:
            self._backtest(table, weight)
        last = float(self.cells_[:, 1].max())
        self.parameters_ = {"b": self.curves_["exponent"], "a": self._size_laws(self.curves_, last)[0]}
        self.intervals_: dict[str, Any] = {}
        self._note_bounds()

    def _note_bounds(self) -> None:
        """Says which exponent stands at its bound; such a fit does not call itself converged. Sets ``converged_``."""
        held = []
        for name, value in self.parameters_.items():
            for bound in (self.parameters[name].low, self.parameters[name].high):
                if abs(np.log(value / bound)) < 1e-3:
                    held.append(f"{name} = {value:.3g} at its bound ({bound:g})")
        self.converged_ = None if held else True
        if held:
            text = "exponent at its bound: " + "; ".join(held) + ". The rows do not say where it ends."
            self.notes_ = [*self.notes_, text]
            warnings.warn(f"Nested: {text}", MixlawWarning, stacklevel=5)

    def _anchors(self) -> npt.NDArray[np.bool_]:
        return super()._anchors() & (self.curves_["use"].sum(axis=1) >= 3)

    def _x(self, step: Array) -> Array:
        schedule = as_schedule(self.schedule)
        return step if schedule is None else schedule.area(step)

    def _step_laws(self, table: Array, weight: Array) -> dict[str, Any]:
        """One line per (target, mixture, size) with at least three steps."""
        T, M, _ = table.shape
        sizes = np.unique(self.cells_[:, 0])
        steps, at = np.unique(self.cells_[:, 1], return_inverse=True)
        size_at = np.searchsorted(sizes, self.cells_[:, 0])
        Y, W = (np.zeros((T, M, len(sizes), len(steps))) for _ in range(2))
        Y[:, :, size_at, np.ravel(at)] = table
        W[:, :, size_at, np.ravel(at)] = weight
        use = ((W > 0).sum(axis=3) >= 3).all(axis=0)  # (M, sizes)
        if not use.any():
            raise NotIdentifiableError(
                "No run has three evaluated steps, so no step law can be fitted. Use laws.Joint."
            )
        exponent, coefficients, noise = power_curves(self._x(steps), Y[:, use].reshape(-1, len(steps)),
                                                     W[:, use].reshape(-1, len(steps)))  # fmt: skip
        curves = np.full((T, M, len(sizes), 2), np.nan)
        curves[:, use] = coefficients.reshape(T, -1, 2)
        return {"exponent": exponent, "curves": curves, "use": use, "sizes": sizes, "noise": noise}

    def _size_laws(self, laws: dict[str, Any], step: float, shift: Array | None = None) -> tuple[float, Array, float]:
        """Exponent, coefficients (T, M, 2) and noise of the size laws at one step; ``shift`` (sizes,) is added."""
        x = self._x(np.array([step]))
        losses = laws["curves"][..., 0] + laws["curves"][..., 1] * x ** -laws["exponent"]  # (T, M, sizes)
        if shift is not None:
            losses = losses + shift
        T, M, K = losses.shape
        deep = laws["use"].sum(axis=1) >= 3
        Y = np.where(laws["use"], losses, 0.0)[:, deep].reshape(-1, K)
        W = np.broadcast_to(laws["use"].astype(float), losses.shape)[:, deep].reshape(-1, K)
        exponent, coefficients, noise = power_curves(laws["sizes"], Y, W)
        out = np.full((T, M, 2), np.nan)
        out[:, deep] = coefficients.reshape(T, -1, 2)
        return exponent, out, noise

    def _of_known(self, group: Ints, params: Array, step: Array) -> Array:
        return self._evaluate(self.curves_, group, params, step)

    def _evaluate(
        self, laws: dict[str, Any], group: Ints, params: Array, step: Array, shift: Array | None = None
    ) -> Array:
        out = np.empty((len(group), len(laws["curves"])))
        for S in np.unique(step):
            rows = step == S
            exponent, coefficients, _ = self._size_laws(laws, float(S), shift)
            chosen = coefficients[:, group[rows]]  # (T, n, 2)
            out[rows] = (chosen[..., 0] + chosen[..., 1] * params[rows] ** -exponent).T
        return out

    def _predict(self, X: Array) -> Array:
        W, group, params, step = self._rows(X)
        shallow = (group >= 0) & ~self._has_size_law(group)
        out = np.empty((len(X), self.n_targets_))
        direct = (group >= 0) & ~shallow
        if direct.any():
            out[direct] = self._of_known(group[direct], params[direct], step[direct])
        for N, S in set(zip(params[~direct], step[~direct])):
            rows = ~direct & (params == N) & (step == S)
            out[rows] = self._mixture_predict(N, S, W[rows])[0]
        return out

    def _has_size_law(self, group: Ints) -> npt.NDArray[np.bool_]:
        return self.curves_["use"].sum(axis=1)[np.maximum(group, 0)] >= 3

    def _groups(self, W: Array) -> Ints:
        """As in the base; once fitted, a mixture without a size law counts as not run."""
        group = super()._groups(W)
        if self.curves_ is not None:
            group = np.where((group >= 0) & self._has_size_law(group), group, -1)
        return group

    def _read(self, X: Array, Y: Array, sample_weight: Array) -> tuple[Array, Array, Array]:
        self.__dict__.pop("curves_", None)  # a refit starts from nothing
        return super()._read(X, Y, sample_weight)

    # ---- how far off it may be -----------------------------------------------------------------------
    def _variance(self, t: int, group: Ints, params: Array, step: Array, known: npt.NDArray[np.bool_]) -> Array:
        stand_in = int(np.flatnonzero(self._anchors())[0])
        group = np.where(known, group, stand_in)
        now = self._evaluate(self.curves_, group, params, step)[:, t]
        answer = np.zeros(len(group))
        for k in range(len(self.curves_["sizes"])):
            shift = np.zeros(len(self.curves_["sizes"]))
            shift[k] = 1e-3
            answer += ((self._evaluate(self.curves_, group, params, step, shift)[:, t] - now) / 1e-3) ** 2
        size_noise = np.array([self._size_laws(self.curves_, float(S))[2] for S in np.unique(step)])
        own = size_noise[np.searchsorted(np.unique(step), step)]
        x, seen = self._x(step), self._x(self.cells_[:, 1])
        beyond = np.maximum(np.log(x / seen.max()), 0.0)
        variance = answer * (self.offset_sd_**2 + own) + self.curves_["noise"] + (self.late_error_ * beyond) ** 2
        return variance + self._off_line(t, group, params, step) ** 2

    def _off_line(self, t: int, group: Ints, params: Array, step: Array) -> Array:
        """(n,) standard deviation off the line on which sizes and lengths move together in the rows: a 90% interval
        then holds all that a loss allows which falls with both. 0 where they do not."""
        line = strip("params", np.log(self.cells_[:, 0]), "step", np.log(np.maximum(self.cells_[:, 1], 1.0)))
        if line is None:
            return np.zeros(len(group))

        def predict(a: Array, b: Array) -> Array:
            return self._evaluate(self.curves_, group, a, b)[:, t]

        down, up = allowed(line, predict, params, step)
        return np.maximum(up, -down) / _HALF

    def _backtest(self, table: Array, weight: Array) -> None:
        sizes, step = np.unique(self.cells_[:, 0]), self.cells_[:, 1]
        late = step > np.quantile(np.unique(step), 0.7)
        tests = [(f"steps above {step[~late].max():.4g}", late)] if (~late).any() else []
        if len(sizes) >= 4:
            tests.insert(0, (f"size {sizes[-1]:.4g}", self.cells_[:, 0] == sizes[-1]))
        for label, hidden in tests:
            rest = weight * ~hidden
            if not label.startswith("size") and ((rest > 0).any(axis=(0, 1)).sum() < 9):
                continue
            laws = self._step_laws(table, rest)
            fitted = laws["use"].sum(axis=1) >= 3
            rows = (weight > 0).all(axis=0) & hidden & fitted[:, None]
            if not rows.any():
                continue
            group, cell = np.nonzero(rows)
            params, at = self.cells_[cell].T
            error = self._evaluate(laws, group, params, at) - table[:, group, cell].T
            self.backtest_.append({
                "hidden": label, "rows": len(group), "bias": float(error.mean()),
                "mean_absolute_error": float(np.abs(error).mean()),
            })  # fmt: skip
            if label.startswith("size"):
                self.offset_sd_ = float(np.sqrt((4 * _OFFSET**2 + error.mean() ** 2) / 5))
            else:
                x = self._x(at)
                reach = np.log(x / self._x(step[~late]).max())
                self.late_error_ = float(np.sqrt(np.mean(error.mean(axis=1) ** 2)) / max(float(np.mean(reach)), 1e-3))

"""Mixture, size, tokens and learning-rate schedule in one law: what large runs of a mixture will lose.

For a mixture m, a model of N parameters and a run that has summed S1 peak-rate steps (or D tokens where the
schedule is not known), with n = N^-a, s = S1^-b and g = 1 - rate / peak, three forms are fitted:

    power       E + A n + B s N^-c            - G g N^-c
    logarithm   E + A n + B s + C s ln N      - G g N^0.1
    product     E + A n + B s + C n s         - G g N^0.1

(the first is what the law declares and writes as ``loss``, with E a mean over domains: contracts and examples stand on
it), each for the loss and for its logarithm, with the first two and with the first three coefficients varying by
mixture: 12 fits, averaged with equal weights (24 where no row is far into a decay: with and without G). a, b, c and G
are shared by all mixtures; the mixture's own
coefficients are shrunk toward the common ones by a covariance that is estimated; what all runs share at one step
is a random effect too (see :mod:`mixlaw.laws.fit.random_effects`).

Legend: E irreducible loss, A/B size and data terms, C their interaction, G what a full annealing to rate 0
takes off, a/b/c exponents. N and S1 are in units of their geometric means among the observations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mixlaw.data.learning_rate import LearningRateSchedule, as_schedule
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.columns import find_columns
from mixlaw.laws.core.parameters import Free, Parameter, Positive
from mixlaw.laws.fit.engine import Ints
from mixlaw.laws.fit.mixture_at_scale import MixtureAtScale
from mixlaw.laws.fit.random_effects import MixedFit, MixedModel
from mixlaw.laws.fit.run_noise import run_noise, worth_one

__all__ = ["Joint"]

_FORMS = ("power", "logarithm", "product")
_LOWER, _UPPER = np.array([0.02, 0.05, -0.3]), np.array([1.5, 2.0, 0.8])
_STARTS = np.array([(a, b, c) for a in (0.15, 0.35, 0.7) for b in (0.3, 0.6, 1.0) for c in (0.0, 0.15)])
_SPEC = ("form", "random", "log", "annealed")
_STEP_LENGTH = 0.5
"""How far what runs share at one step carries to other steps: e-folding distance in ln(step)."""
_SHIFT = 3e-4
"""By which share of the loss the runs of one size are moved, to see how predictions answer."""
_OFFSET = 1.4e-3
"""Prior for how far off, as a share of the loss, all runs of one size can be from a smooth law; worth _OFFSET_WEIGHT
backtests."""
_OFFSET_WEIGHT = 4.0
_ANNEALING = np.array([0.02, 0.015])
"""Mean and sd of what a full annealing takes off the loss, as shares of it: mean of the logarithms, and spread, over
three records (0.013 and 0.017 on the studies of arXiv:2403.16952, 100,000 steps of a million tokens; 0.041 on the
curves of arXiv:2408.11029). It was not chosen by any backtest."""
_REFERENCE_PARAMS = 1e8
_ANNEALED = 0.3
"""An observation with g above this says something about annealing."""


_PARAMETERS: dict[str, Parameter] = {
    "E": Free((1.7, 2.1, 1.9), "irreducible loss of a domain alone, nats", per="domain"),
    "A": Positive(30.0, "size term, nats at one parameter"),
    "a": Free(0.25, "size exponent", low=0.02, high=1.5),
    "B": Positive(900.0, "data term, nats at one token (with a schedule: one step at the peak rate) and one parameter"),
    "b": Free(0.35, "data exponent", low=0.05, high=2.0),
    "c": Free(0.0, "how the data term falls with size, exponent", low=-0.3, high=0.8),
    "G": Free(0.05, "what full annealing takes off the loss, nats"),
}


class Joint(MixtureAtScale):
    """Loss of a mixture at any size and number of tokens, from runs of several mixtures, sizes and steps.

    X holds one column per domain (weights), ``params`` (N, non-embedding) and ``tokens`` (D; or ``step``); every
    evaluation along a training run is a row. y is (n,) for one loss, or (n, T); NaN where a target was not
    measured. At least three sizes are needed: with fewer the law refuses, because any exponent fits two.

    Args:
        schedule: learning-rate schedule of the runs, a :class:`LearningRateSchedule` or its ``to_dict()``;
            ``None`` when unknown: then the law sees tokens only, and is worse where rates differ (measured:
            5.4 thousandths of a nat against 4.6 in the backtests). It says so, looks for a decay by hiding the late
            rows of every run, and widens its intervals where one is likely. ``Constant()`` is a rate that stays.
        tokens_per_step: batch size in tokens; needed with ``schedule`` unless X has a ``step`` column.
        first_step: rows before it are left out (warm-up and the first fast drop follow other laws).
            In tokens where neither ``tokens_per_step`` nor ``schedule`` is given. Default: five times the warm-up of
            ``schedule``; without one 0, a sixth or a third of the usual run, chosen by hiding the last third.
        forms: which of ``"power"``, ``"logarithm"``, ``"product"`` to average.
        random: how many leading coefficients vary by mixture; one fit for each entry.
        annealing_prior: (mean, sd) of G at 1e8 parameters, in the unit of y. It matters only where no run was observed
            far into its decay: then half of the fits have the term and half do not. The default is 2.0% +- 1.5% of the
            loss (see ``_ANNEALING``); ``None`` drops the term there.
        target_weights: {target: weight} or (T,): the aggregate from whose exponents those of each target are searched,
            and of which backtests are made; equal when not given. With one target nothing is aggregated (the implicit
            way: give the weighted loss as y).
        mixture_law: law of the mixture used for mixtures that were not run; fitted to the predicted losses of
            those that were, at the size and tokens asked for. Default :class:`~mixlaw.laws.Auto`.
        backtest: whether to hide the largest size, and the late steps, and measure the bias (``backtest_``).

    Fitted: ``parameters_`` (means over the fits), ``intervals_`` (their range), ``backtest_`` (list of dicts:
    what was hidden, bias and mean absolute error in the unit of y), ``mixtures_`` (M, K), ``members_``.

    Not for: repeated data (epochs above 4, use :class:`RepeatedData`), fewer than three sizes, runs whose
    schedules differ (fit them apart).

    Raises:
        NotIdentifiableError: fewer than three sizes.
        ConfigError: an option that is not allowed.
        DataError, TooFewRunsError: rows that the law cannot use, or too few of them; the message says which.

    Source: the recipe is this project's, from backtests on the records of arXiv:2403.16952 (Data Mixing Laws);
    S1 and the annealing gain follow arXiv:2408.11029.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> r, n, d = np.meshgrid([.2, .5, .8], [1e7, 3e7, 1e8], [1e9, 2e9, 4e9], indexing="ij")
        >>> loss = 2 - .4 * r + 30 * n ** -.25 + 900 * d ** -.35
        >>> X = {"web": r.ravel(), "code": 1 - r.ravel(), "params": n.ravel(), "tokens": d.ravel()}
        >>> law = Joint(backtest=False).fit(X, loss.ravel())
        >>> bool(abs(law.predict({"web": [.5], "code": [.5], "params": [2e8], "tokens": [8e9]})[0] - 2.374) < .02)
        True
    """

    name = "joint"
    unexplained, costly = 0.05, True
    irreducible = "E"
    shift_ = 1e-3  # of laws saved before it was a share of the loss
    source = "backtests on the records of Ye et al. 2024, arXiv:2403.16952; Tissue et al. 2024, arXiv:2408.11029"

    formula = "L = E(r) + A / N^a + B / (D^b N^c) - G gap / N^c, and two forms like it"

    def __init__(
        self,
        schedule: LearningRateSchedule | Mapping[str, Any] | None = None,
        tokens_per_step: float | None = None,
        first_step: float | None = None,
        forms: tuple[str, ...] = _FORMS,
        random: tuple[int, ...] = (2, 3),
        annealing_prior: tuple[float, float] | Literal["published"] | None = "published",
        target_weights: Mapping[str, float] | npt.ArrayLike | None = None,
        mixture_law: Law | None = None,
        backtest: bool = True,
    ) -> None:
        self.schedule = schedule
        self.tokens_per_step = tokens_per_step
        self.first_step = first_step
        self.forms = forms
        self.random = random
        self.annealing_prior = annealing_prior
        self.target_weights = target_weights
        self.mixture_law = mixture_law
        self.backtest = backtest

    @property
    def parameters(self) -> dict[str, Parameter]:  # type: ignore[override]
        """Those of the first form; the gain from annealing where the schedule is known. ``parameters_`` holds the
        exponents and the gain, which all mixtures share."""
        return {n: declared for n, declared in _PARAMETERS.items() if n != "G" or self.schedule is not None}

    def loss(self, p: Any, R: Array, params: Array, tokens: Array) -> Array:
        """(B, n) losses in nats of mixtures R (n, K), sizes and tokens (n,): the power form, E linear in R."""
        exposure, gap = self.exposure(tokens)
        interaction = params**-p.c
        value = p.E @ R.T + p.A * params**-p.a + p.B * exposure**-p.b * interaction
        return np.asarray(value - p.G * gap * interaction if "G" in vars(p) else value)

    def slopes(self, p: Any, R: Array, params: Array, tokens: Array) -> dict[str, Any]:  # type: ignore[override]
        """d loss / d parameter, (B, n), of E (n, K)."""
        exposure, gap = self.exposure(tokens)
        size, interaction = params**-p.a, params**-p.c
        data = exposure**-p.b * interaction
        slopes = {
            "E": R, "A": size, "a": -np.log(params) * p.A * size,
            "B": data, "b": -np.log(exposure) * p.B * data, "c": -np.log(params) * p.B * data,
        }  # fmt: skip
        if "G" in vars(p):
            slopes["c"] = slopes["c"] + np.log(params) * p.G * gap * interaction
            slopes["G"] = -gap * interaction
        return slopes

    def example_parameters(self) -> dict[str, Any]:
        """None: ``parameters_`` are means over forms, of which one is the truth of the examples."""
        return {}

    def _check_inputs(self, X: Array, Y: Array, names: Any) -> None:
        for form in self.forms:
            if form not in _FORMS:
                raise ConfigError(f"Joint: unknown form {form!r}.{did_you_mean(form, _FORMS)}")
        if not self.forms or not self.random or any(r not in (1, 2, 3) for r in self.random):
            raise ConfigError(f"Joint needs forms and random in 1..3, got {self.forms!r} and {self.random!r}.")
        super()._check_inputs(X, Y, names)

    # ---- fitting ---------------------------------------------------------------------------------------
    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        if self.first_step is None and self.schedule is None:
            self._choose_start(X, Y, sample_weight)
        table, weight, gap = self._read(X, Y, sample_weight)
        self._warn_of_rows()
        self._warn_of_schedule(table, weight)
        late = bool((gap > _ANNEALED).any())
        known = as_schedule(self.schedule) is not None
        self.annealed_ = known and (late or self.annealing_prior is not None)
        self.unseen_ = known and not late
        self._fit_table(table, weight)
        self._describe()
        self.backtest_: list[dict[str, Any]] = []
        if self.backtest:
            self._backtest(table, weight)
        self._offset_sd(table, weight)
        unsettled = sum(not m["settled"] for fits in self.members_ for m in fits)
        if unsettled:
            every = sum(len(fits) for fits in self.members_)
            self.notes_ = [*self.notes_, f"{unsettled} of {every} fits stopped while their exponents still moved."]
        bound = any("at its bound" in note for note in self.notes_)
        self.converged_ = False if unsettled else None if bound else True

    def _choose_start(self, X: Array, Y: Array, sample_weight: Array) -> None:
        """Where to start where no warm-up is known: at 0, a sixth or a third of the usual run's length, whichever
        predicts the last third of the runs best from what comes before it. Sets ``start_`` and ``starts_tried_``.
        """
        self.annealed_, self.start_ = False, 0.0
        self.starts_tried_: dict[float, float] = {}
        step = self._exposure(X, find_columns([str(n) for n in self.feature_names_in_], X.shape[1]))[0]
        table, weight, _ = self._read(X, Y, sample_weight)
        at, (table, weight) = self.cells_[:, 1], self._whole(table, weight)
        last = np.where(weight > 0, at, 0).max(axis=1)  # of every mixture
        usual = float(np.median(last))
        hidden = at > usual * 2 / 3
        for fraction in (0.0, 1 / 6, 1 / 3):
            start = fraction * usual
            rest = weight * (~hidden & (at >= start))
            rows = (rest.sum(axis=1) > 0)[:, None] & (weight > 0) & hidden
            usable = rest.sum(axis=0) > 0
            if len(np.unique(self.cells_[usable, 0])) < 3 or len(np.unique(at[usable])) < 3 or not rows.any():
                continue
            group, cell = np.nonzero(rows)
            spec = {"random": min(2, len(last)), "log": False, "annealed": False}
            fits = [self._member(spec | {"form": f}, table, rest) for f in self.forms]
            predicted = self._of_mixtures(group, self.cells_[cell, 0], at[cell], [fits])[:, 0]
            self.starts_tried_[start] = float(np.abs(predicted - table[group, cell]).mean())
        if self.starts_tried_:
            self.start_ = min(self.starts_tried_, key=lambda s: self.starts_tried_[s])
        if not (step >= self.start_).any():
            self.start_ = 0.0

    def _whole(self, table: Array, weight: Array) -> tuple[Array, Array]:
        """The one target, or the aggregate of several."""
        return (table[0], weight[0]) if len(table) == 1 else self._aggregate(table, weight)

    def _specs(self) -> list[dict[str, Any]]:
        limit = max(1, min(3, len(self.mixtures_) - 1))
        counts = sorted({min(r, limit) for r in self.random})
        # with no row far into its decay, what annealing takes off and how fast the data term falls look alike: without
        # the term the curve is flatter. Half of the fits have it, half do not, and their distance is in the interval.
        annealed = (False, True) if self.annealed_ and self.unseen_ else (self.annealed_,)
        return [
            {"form": f, "random": r, "log": g, "annealed": h}
            for f in self.forms for r in counts for g in (False, True) for h in annealed
        ]  # fmt: skip

    def _design(self, form: str, params: Array, step: Array, annealed: bool) -> Any:
        schedule = as_schedule(self.schedule)
        S = (step if schedule is None else schedule.area(step)) / self.scale_["exposure"]
        lnN, lnS = np.log(params / self.scale_["params"]), np.log(S)
        ln_ref = np.log(params / _REFERENCE_PARAMS)
        gap = None if not annealed or schedule is None else schedule.gap(step)

        def design(theta: Array) -> Array:
            a, b, c = theta[:, :1], theta[:, 1:2], theta[:, 2:3]
            n, s = np.exp(-a * lnN), np.exp(-b * lnS)
            one = np.ones_like(n)
            if form == "power":
                columns = [one, n, s * np.exp(-c * lnN)]
            elif form == "logarithm":
                columns = [one, n, s, s * lnN]
            else:
                columns = [one, n, s, n * s]
            if gap is not None:  # the gain from annealing grows slowly with size
                columns.append(-gap * (np.exp(-c * ln_ref) if form == "power" else one * np.exp(0.1 * ln_ref)))
            return np.stack(columns, axis=2)

        return design

    def _step_basis(self, step: Array) -> tuple[Array, Array]:
        """Distinct steps and the square root of the correlation of what runs share at them."""
        distinct = np.unique(step)
        spread = self._step_correlation(distinct, distinct) + 1e-9 * np.eye(len(distinct))
        return distinct, np.asarray(np.linalg.cholesky(spread), dtype=float)

    @staticmethod
    def _step_correlation(a: Array, b: Array) -> Array:
        return np.exp(-np.abs(np.log(a)[:, None] - np.log(b)[None]) / _STEP_LENGTH)

    def _member(
        self,
        spec: dict[str, Any],
        table: Array,
        weight: Array,
        warm: MixedFit | None = None,
        short: bool = False,
        open_too: bool = False,
    ) -> dict[str, Any]:
        """One fit of one target.

        Args:
            warm: a fit to start from; with ``short`` one round from there is enough.
            open_too: whether to find ``near``, fits as far off as the rows allow (see :meth:`_open`).
        """
        used = weight.sum(axis=0) > 0
        level = float((table * weight).sum() / weight.sum())
        Y = np.log(np.where(weight > 0, table, 1.0)) if spec["log"] else table
        middle = float((Y * weight).sum() / weight.sum())
        Y = Y - middle  # every form has a constant column: this only spares digits, and goes back into it below
        params, step = self.cells_[used].T
        distinct, root = self._step_basis(step)
        shared = (step[:, None] == distinct) @ root if len(distinct) <= 64 else np.zeros((len(step), 0))
        rows = weight.sum(axis=1) > 0
        seen, R = weight[rows][:, used] > 0, spec["random"]
        prior = self._annealing(level, spec)
        model = MixedModel(Y[rows][:, used], weight[rows][:, used], shared, R, last_prior=prior)
        lower, upper = _LOWER, _UPPER
        if spec["form"] != "power":
            lower, upper = lower * [1, 1, 0], upper * [1, 1, 0]  # c belongs to the power form
        design = self._design(spec["form"], params, step, spec["annealed"])

        def shares(fit: MixedFit) -> dict[str, float]:
            phi = design(fit.theta[None])[0]
            fitted = phi @ fit.beta + fit.effects @ phi[:, :R].T
            fitted += shared @ fit.crossed if shared.shape[1] else 0.0
            return run_noise((Y[rows][:, used] - fitted) * seen, seen, params, fit)

        if short:
            fit = model.fit(design, _STARTS, lower, upper, warm=warm, rounds=1, em_rounds=5)
        else:
            fit = model.fit(design, np.clip(_STARTS, lower, upper), lower, upper, warm=warm)
        worth = worth_one(shares(fit))
        if prior is not None and not short:  # a prior knows of one look at a run, not of all its evaluations
            model.last_prior = (prior[0], prior[1] / np.sqrt(worth))
            fit = model.fit(design, _STARTS, lower, upper, warm=fit, rounds=2)
        near: list[list[MixedFit]] = []
        if open_too:
            for axis in model.theta_axes(design, fit, lower, upper, worth):
                ends = [np.clip(fit.theta + sign * axis, lower, upper) for sign in (-1, 1)]
                near += [[model.at(design, end, fit) for end in ends]] if axis.any() else []
            if spec["annealed"]:
                error = model.last_error(design, fit, worth)
                near.append([model.at(design, fit.theta, fit, fit.beta[-1] + sign * error) for sign in (-1, 1)])
        spread = np.zeros((len(rows), R, R))
        spread[rows], spread[~rows] = fit.spread, fit.covariance * fit.noise

        def whole(fit: MixedFit) -> dict[str, Array]:
            effects = np.zeros((len(rows), R))
            effects[rows] = fit.effects
            on_steps = root @ fit.crossed if shared.shape[1] else np.zeros(len(distinct))
            beta = fit.beta + middle * (np.arange(len(fit.beta)) == 0)
            return {"theta": fit.theta, "beta": beta, "effects": effects, "on_steps": on_steps}

        return {
            **spec,
            **whole(fit),
            "spread": spread,
            "steps": distinct,
            "covariance": fit.covariance,
            "ratio": fit.crossed_ratio,
            "noise": fit.noise,
            "level": level,
            "objective": fit.objective,
            "settled": fit.settled,
            **shares(fit),
            "near": [[whole(f) for f in pair] for pair in near],
        }

    def _annealing(self, level: float, spec: dict[str, Any]) -> tuple[float, float] | None:
        """Mean and sd of the prior of G, in the unit that the fit has: y's, or shares of it under a logarithm."""
        if not spec["annealed"] or self.annealing_prior is None:
            return None
        mean, sd = _ANNEALING * level if isinstance(self.annealing_prior, str) else self.annealing_prior
        unit = level if spec["log"] else 1.0
        return float(mean) / unit, float(sd) / unit

    def _fit_table(self, table: Array, weight: Array) -> None:
        T = len(table)
        specs = self._specs()
        if (table[weight > 0] <= 0).any():
            specs = [s for s in specs if not s["log"]]
        whole = self._whole(table, weight)
        first = [self._member(s, *whole, open_too=True) for s in specs]
        self.aggregate_ = first
        if T == 1:
            self.members_ = [first]
        else:
            self.members_ = [
                [self._member(s, table[t], weight[t], warm=_as_fit(f), open_too=True) for s, f in zip(specs, first)]
                for t in range(T)
            ]

    def _describe(self) -> None:
        thetas = np.array([m["theta"] for m in self.aggregate_])
        power = np.array([m["form"] == "power" for m in self.aggregate_])
        values = {"a": thetas[:, 0], "b": thetas[:, 1]}
        if power.any():
            values["c"] = thetas[power, 2]
        if self.annealed_:
            with_it = [m for m in self.aggregate_ if m["annealed"]]
            values["G"] = np.array([m["beta"][-1] * (m["level"] if m["log"] else 1.0) for m in with_it])
        limits = dict(zip("abc", zip(_LOWER, _UPPER)))
        held = [
            f"{k} at its bound ({limit:g}) in {count} of {len(values[k])} fits"
            for k, limits_of in limits.items()
            for limit in limits_of
            if k in values and (count := int((np.abs(values[k] - limit) < 1e-3 * abs(limit)).sum()))
        ]
        if held:
            text = "exponent at its bound: " + "; ".join(held) + ". The rows do not say where it ends."
            self.notes_ = [*self.notes_, text]
        self.parameters_ = {k: float(v.mean()) for k, v in values.items()}
        self.intervals_ = {k: (float(v.min()), float(v.max())) for k, v in values.items()}

    # ---- predicting --------------------------------------------------------------------------------------
    def _of_member(self, member: dict[str, Any], group: Ints, params: Array, step: Array) -> tuple[Array, Array, Array]:
        """Prediction, slope of its link (d loss / d linear predictor) and random-effect columns, per row."""
        annealed = member.get("annealed", self.annealed_)  # laws saved before do not say
        phi = self._design(member["form"], params, step, annealed)(member["theta"][None])[0]
        R = member["random"]
        own = phi[:, :R]
        value = phi @ member["beta"] + (own * member["effects"][group]).sum(axis=1)
        if len(member["steps"]):
            known = self._step_correlation(member["steps"], member["steps"]) + 1e-9 * np.eye(len(member["steps"]))
            value = value + self._step_correlation(step, member["steps"]) @ np.linalg.solve(known, member["on_steps"])
        if member["log"]:
            value = np.exp(value)
            return value, value, own
        return value, np.ones_like(value), own

    def _of_mixtures(self, group: Ints, params: Array, step: Array, members: list[list[dict[str, Any]]]) -> Array:
        """(n, T) mean over the fits, for mixtures that were run."""
        return np.stack(
            [np.mean([self._of_member(m, group, params, step)[0] for m in fits], axis=0) for fits in members], axis=1
        )

    def _of_known(self, group: Ints, params: Array, step: Array) -> Array:
        return self._of_mixtures(group, params, step, self.members_)

    def _variance(self, t: int, group: Ints, params: Array, step: Array, known: npt.NDArray[np.bool_]) -> Array:
        values, spread, noise = [], [], []
        for m in self.members_[t]:
            value, slope, own = self._of_member(m, group, params, step)
            values.append(value)
            # what a run's evaluations share makes them that much fewer looks at the mixture's own coefficients
            spread.append(slope**2 * worth_one(m) * np.einsum("ni,nij,nj->n", own, m["spread"][group], own) * known)
            noise.append(slope**2 * (max(m["noise"], m["within"] + m["run"]) + m["noise"] * m["ratio"]))
        unknown = np.mean([self._open(m, group, params, step) for m in self.members_[t]], axis=0)
        disagree = np.var(values, axis=0) + unknown
        offset = self._sensitivity(group, params, step) ** 2 * self.offset_sd_**2
        return disagree + np.mean(spread, axis=0) + offset + np.mean(noise, axis=0)

    def _half(self, member: dict[str, Any], group: Ints, params: Array, step: Array) -> list[Array]:
        """(n,) half the way between the two ends of each direction that the rows leave open."""
        out = []
        for pair in member.get("near", []):
            low, high = (self._of_member({**member, **part}, group, params, step)[0] for part in pair)
            # along the logarithm, where the member fits that: what an exponential makes of a wide range says nothing
            out.append(low * np.log(np.maximum(high, 1e-300) / low) / 2 if member["log"] else (high - low) / 2)
        return out

    def _open(self, member: dict[str, Any], group: Ints, params: Array, step: Array) -> Array:
        """(n,) variance by what the rows leave open in the exponents and in the gain from annealing."""
        return np.sum([half**2 for half in self._half(member, group, params, step)] or [np.zeros(len(params))], axis=0)

    def difference_variance(
        self, X: Array, weights: Array, params: float, tokens: float | None = None, step: float | None = None
    ) -> float:
        """As in the base. What the fits and their open exponents and coefficients say of each mixture that was run is
        carried to the two along the plane through these mixtures."""
        carried = self._carried(X)
        M = len(self.mixtures_)
        at = np.arange(M), np.full(M, float(params)), np.full(M, self._one_step(tokens, step))
        members = zip(*self.members_)
        values, open_, own, noise = [], [], [], []
        for of_targets in members:
            value, sd, single, pairs = 0.0, np.zeros(M), 0.0, []
            for w, m in zip(weights, of_targets):
                predicted, slope, columns = self._of_member(m, *at)
                value += w * float(carried @ predicted)
                sd += abs(w) * np.sqrt(
                    slope**2 * worth_one(m) * np.einsum("ni,nij,nj->n", columns, m["spread"], columns)
                )
                single += abs(w) * float(np.sqrt((slope**2 * max(m["noise"], m["within"] + m["run"])).mean()))
                pairs.append([w * float(carried @ half) for half in self._half(m, *at)])
            values.append(value)
            own.append(float((carried**2 * sd**2).sum()))
            noise.append(2 * single**2)
            widest = max(len(p) for p in pairs)  # the axes of different targets are not the same: each by itself
            open_.append(float(sum(sum(abs(p[k]) for p in pairs if k < len(p)) ** 2 for k in range(widest))))
        return float(np.var(values) + np.mean(open_) + np.mean(own) + np.mean(noise))

    # ---- how far off it may be -----------------------------------------------------------------------
    def _offset_sd(self, table: Array, weight: Array) -> None:
        """How the aggregate answers to an offset at each size, and how large such offsets are.

        Each size's rows are moved a little and the fits repeated from where they stand. Offsets have a prior of about a
        thousandth of the loss, worth four observations, corrected by the backtests that hid a size.
        """
        whole = self._whole(table, weight)
        level = float((whole[0] * whole[1]).sum() / whole[1].sum())
        self.shift_ = _SHIFT * abs(level)
        self.shifted_ = []
        chosen = [m for m in self.aggregate_ if not m["log"]] or self.aggregate_
        for size in np.unique(self.cells_[:, 0]):
            moved = whole[0] + self.shift_ * (self.cells_[:, 0] == size) * (whole[1] > 0)
            pairs = []
            for m in chosen:
                spec, warm = {k: m[k] for k in _SPEC}, _as_fit(m)
                # the same short refit without the move, so that only the move's effect remains
                pairs.append([self._member(spec, v, whole[1], warm, short=True) for v in (whole[0], moved)])
            self.shifted_.append(pairs)
        squares = [b["bias"] ** 2 for b in self.backtest_ if b["hidden"].startswith("size")]
        square = _OFFSET_WEIGHT * (_OFFSET * level) ** 2 + sum(squares)
        self.offset_sd_ = float(np.sqrt(square / (_OFFSET_WEIGHT + len(squares))))

    def _sensitivity(self, group: Ints, params: Array, step: Array) -> Array:
        """Norm over sizes of d prediction / d offset of that size's runs."""
        total = np.zeros(len(params))
        for pairs in self.shifted_:
            change = np.mean(
                [
                    self._of_member(b, group, params, step)[0] - self._of_member(a, group, params, step)[0]
                    for a, b in pairs
                ],
                axis=0,
            )
            total += (change / self.shift_) ** 2
        return np.sqrt(total)

    def _backtest(self, table: Array, weight: Array) -> None:
        """Hide the largest size (with four or more), then the last tenth of the steps, and predict them."""
        sizes, step = np.unique(self.cells_[:, 0]), self.cells_[:, 1]
        late = step > np.quantile(np.unique(step), 0.7)
        tests = []
        if len(sizes) >= 4:
            tests.append((f"size {sizes[-1]:.4g}", self.cells_[:, 0] == sizes[-1]))
        if len(np.unique(step[~late])) >= 3:
            tests.append((f"steps above {step[~late].max():.4g}", late))
        whole = self._whole(table, weight)
        for label, hidden in tests:
            rest = whole[1] * ~hidden
            rows = (rest.sum(axis=1) > 0)[:, None] & (whole[1] > 0) & hidden
            if not rows.any() or len(np.unique(self.cells_[~hidden, 0])) < 3:
                continue
            fits = [self._member({k: m[k] for k in _SPEC}, whole[0], rest) for m in self.aggregate_]
            group, cell = np.nonzero(rows)
            params, at = self.cells_[cell].T
            predicted = self._of_mixtures(group, params, at, [fits])[:, 0]
            error = predicted - whole[0][group, cell]
            self.backtest_.append(
                {
                    "hidden": label,
                    "rows": len(error),
                    "bias": float(error.mean()),
                    "mean_absolute_error": float(np.abs(error).mean()),
                    "by_form": {
                        f: float(np.mean([
                            (self._of_member(m, group, params, at)[0] - whole[0][group, cell]).mean()
                            for m in fits if m["form"] == f
                        ]))
                        for f in self.forms
                    },
                }
            )  # fmt: skip


def _as_fit(m: dict[str, Any]) -> MixedFit:
    return MixedFit(
        m["theta"], m["beta"], m["effects"], m["on_steps"], m["covariance"], m["ratio"], m["noise"], m["spread"], 0.0
    )

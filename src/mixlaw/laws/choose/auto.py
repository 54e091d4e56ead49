"""``Auto``: several families fitted, judged on rows they had not seen, and averaged. The thing to call first."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mixlaw.data.columns import domains_of, sizes_of
from mixlaw.errors import (
    ConfigError,
    DataError,
    FitError,
    TooFewRunsError,
)
from mixlaw.kit.arrays import Array
from mixlaw.laws.choose.candidates import PROCESS, Size, candidates, canonical, part_of_runs, trusted_before
from mixlaw.laws.choose.league import League, LeagueRow, spearman
from mixlaw.laws.choose.stacking import cross_fitted, stack_weights
from mixlaw.laws.choose.trials import Runs, Trials, named
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.core.base import Law, TrainingRows
from mixlaw.laws.core.bounds import refuse_censored
from mixlaw.laws.core.folds import count_different, fold_ids, replicate_groups
from mixlaw.laws.core.notes import design_notes
from mixlaw.laws.core.own import own_domains
from mixlaw.laws.core.replicates import replicate_noise
from mixlaw.laws.core.table import as_matrix, table_columns

__all__ = ["Auto"]

ENOUGH_SIZES = 3
"""Different sizes from which the law of mixture, size and tokens is fitted."""
_FEWEST = 4  # different mixtures below which nothing can be held out


class Auto(Law):
    """The average of several families, with weights from held-out predictions at the sample size at hand.

    Fits the hierarchical Gaussian process, effective tokens (one term; two from 100 runs), the log-linear law,
    the exponential law M4 (and M2 up to 10 domains), and from 100 runs boosted trees where LightGBM is
    installed; predicts every run by fits that had not seen it; and chooses non-negative weights per target that
    minimise the error of the average. Of few runs such weights are partly luck, so they are mixed with all weight on
    the Gaussian process, the family with the lowest held-out error on published records: with four families it has at
    least 0.43 of the weight from 16 runs and 0.16 from 64.

    With ``params`` and ``tokens`` columns of three sizes or more its one member is :class:`mixlaw.laws.Joint` without a
    learning-rate schedule, which it says, and for which intervals widen where a decay is likely; for runs whose
    schedule you know, use ``Joint(schedule=..., tokens_per_step=...)`` itself.
    From 4 to 7 different mixtures the ranking is a first guess, and ``notes_`` says so.

    X: (n, K) weights, shares of the training tokens, with columns ``params`` and ``tokens`` where sizes differ; y:
    losses (n,) or (n, T) in nats per token, NaN where a target was not measured.

    Args:
        seed: of folds and subsets.
        own: which training domain(s) each target is measured on, ``{target: domain}``; by name where not given.
        families: names to choose from (default: all that suit the number of runs): ``gaussian_process``,
            ``effective_tokens``, ``effective_tokens_2`` (two terms), ``log_linear``, ``m2``, ``m4``, ``trees``, or an
            alias of these (``gp``, ``loglinear``).

    Attributes:
        weights_: ``{family: (T,)}`` weights in the average.
        members_: ``{family: fitted law}`` of those with weight, and of the best convex one.
        league_: :class:`mixlaw.laws.choose.league.League` of held-out scores, the average included (its weights are
            cross-fitted for that, so the score is honest).
        heldout_values_: (n, T) predictions of the training runs without themselves (``heldout_``).
        certifiable_name_: the convex parametric family with the lowest held-out error, of those that do not
            explode between the runs; ``certifiable_`` is that law, whose optimum :func:`mixlaw.optimize` can certify.
        noise_ (Array): (T,) standard deviation of the seed noise from replicates, in the unit of y (NaN without any).
        notes_: everything about the rows worth knowing, in sentences.

    Raises:
        TooFewRunsError: fewer than 4 different mixtures.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> r = rng.dirichlet(np.ones(3), 24)
        >>> law = Auto(families=("effective_tokens", "log_linear")).fit(r, 2 + (r[:, 0] + 0.05) ** -0.3)
        >>> sorted(law.weights_)
        ['effective_tokens', 'log_linear']

    Source: stacking after Breiman 1996 and van der Laan et al. 2007; the families' own pages.
    """

    name = "auto"
    costly = True
    allows_missing = True
    source = "stacked average of mixlaw's families (Breiman 1996, Stacked regressions)"
    certifiable_name_: str | None = None
    heldout_values_: Array | None = None
    ratios_: Array | None = None
    league_rows_: list[dict[str, Any]] | None = None
    _league: League | None = None

    def __init__(
        self,
        seed: int = 0,
        own: Mapping[str, str | Sequence[str] | None] | None = None,
        families: Sequence[str] | None = None,
    ) -> None:
        self.seed = seed
        self.own = own
        self.families = families

    # ---- what comes in ----------------------------------------------------------------------------------
    def fit(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None, censored: Any = None) -> Auto:
        """Fit to runs; see :class:`Auto`.

        Args:
            X: (n, K) weights, array or dataframe; with ``params`` and ``tokens`` columns too for several sizes.
            y: (n,) or (n, T) losses. NaN: not measured in that run. Infinite: diverged, left out and noted.
            sample_weight: (n,) weights of runs.
            censored: not taken; the parametric laws take it.
        """
        refuse_censored(censored, self.accepts_censored, type(self).__name__)
        for name in ("heldout_values_", "members_", "certifiable_name_", "ratios_", "league_rows_", "_league"):
            self.__dict__.pop(name, None)
        y, diverged = _without_infinite(y)
        self._arrival: list[str] = []
        if diverged:
            self._arrival.append(f"{diverged} infinite values in y (diverged runs) were left out.")
        matrix, names = as_matrix(X)
        sizes = sizes_of(names or [])
        if sizes:
            X = self._sizes(matrix, list(names or []), sizes)
        if X is None:
            return self._fit_across_sizes(dict(zip(names or [], matrix.T, strict=True)), y, sample_weight)
        super().fit(X, y, sample_weight)
        return self

    def _sizes(self, matrix: Array, names: list[str], sizes: list[str]) -> dict[str, Array] | None:
        """X without its columns of sizes where one size is all there is; None where Joint should take over."""
        column = {c: matrix[:, names.index(c)] for c in sizes}
        if "params" in column and len(np.unique(column["params"])) >= ENOUGH_SIZES:
            return None
        moving = [c for c in sizes if len(np.unique(column[c])) > 1]
        if moving:
            raise DataError(
                f"X holds the columns {sizes} and {moving} take several values, but a law across sizes needs "
                f"'params' of at least {ENOUGH_SIZES} sizes (here "
                f"{len(np.unique(column.get('params', np.zeros(1))))}). Fit the "
                f"runs of one size and one number of tokens at a time, or add runs of other sizes."
            )
        self._arrival.append(f"All runs share {', '.join(f'{c}={column[c][0]:g}' for c in sizes)}: mixture law only.")
        return {c: matrix[:, j] for j, c in enumerate(names) if c not in sizes}

    def _fit_across_sizes(self, X: dict[str, Array], y: Any, sample_weight: npt.ArrayLike | None) -> Auto:
        """The average of one law, that of mixture, size and tokens."""
        from mixlaw.laws.joint.joint import Joint

        law = Joint().fit(X, y) if sample_weight is None else Joint().fit(X, y, sample_weight)
        self.members_: dict[str, Law] = {law.name: law}
        self.weights_ = {law.name: [1.0] * law.n_targets_}
        self._training = law.training
        for key in ("feature_names_in_", "target_names_", "n_features_in_", "n_targets_", "num_runs_"):
            setattr(self, key, getattr(law, key))
        self.single_target_ = law.single_target_
        self.parameters_ = dict(law.parameters_)
        self.notes_ = [
            *self._arrival,
            "X holds three sizes or more: the Joint law of mixture, size and tokens was fitted.",
            *law.notes,
        ]
        return self

    # ---- fitting --------------------------------------------------------------------------------------------
    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        domains = [str(n) for n in self.feature_names_in_]
        notes = [*self._arrival, *design_notes(X, Y, domains, self.target_names_)]
        usable = np.isfinite(Y).any(axis=1) & (sample_weight > 0)
        if not usable.all():
            notes.append(f"{int((~usable).sum())} runs without any usable loss were left out.")
        X, Y, weight = X[usable], Y[usable], sample_weight[usable]
        distinct = count_different(X)
        if distinct < _FEWEST:
            raise TooFewRunsError(
                f"Auto needs at least {_FEWEST} different mixtures, got {distinct} (in {len(X)} usable runs). "
                f"Train a few more; 16 are enough for a first ranking."
            )
        ties = own_domains(domains, self.target_names_, self.own)
        untied = [t for t, d in ties.items() if not d]
        if untied:
            shown = ", ".join(untied[:6]) + (", ..." if len(untied) > 6 else "")
            notes.append(f"No training domain of their own: {shown}. If one exists, say own={{target: domain}}.")
        still = [t for t, y in zip(self.target_names_, Y.T, strict=True) if np.nanmax(y) == np.nanmin(y)]
        if still:
            notes.append(
                f"The same in every run, so no mixture can be told from another by it: {', '.join(still[:6])}"
                + (", ..." if len(still) > 6 else "")
                + ". Check that these columns are what they should be."
            )
        self.noise_ = replicate_noise(X, Y).sd
        self.train_X_, self.train_Y_ = X, Y
        self._training = TrainingRows(X, Y, weight)  # the rows that heldout speaks of
        laws, left_out = candidates(Size(distinct, X.shape[1], Y.shape[1]), self.seed, self.own, self.families)
        notes += left_out
        used = part_of_runs(len(X), X.shape[1], Y.shape[1], self.seed)
        if used is not None:
            notes.append(
                f"Parametric laws were fitted on {len(used)} of {len(X)} runs; the others judged every family."
            )
        runs = Runs(X, Y, weight, domains, self.target_names_, self.seed)
        trials = runs.fit_all(laws, used)
        fitted, heldout = trials.fitted, trials.heldout
        if not fitted:
            raise FitError("No family could be fitted: " + "; ".join(f"{k}: {v}" for k, v in trials.failed.items()))
        ids = fold_ids(X, Y, 5, self.seed + 1)
        names = list(fitted)
        stacked = np.stack([heldout[k] for k in names])
        prior, groups = trusted_before(names), replicate_groups(X)
        tame = runs.tame(fitted)
        notes += [
            f"{name} explodes between the runs for {int((~ok).sum())} of {len(ok)} targets and has no weight there."
            for name, ok in zip(names, tame, strict=True)
            if not ok.all()
        ]
        weights = stack_weights(stacked, Y, prior=prior, groups=groups, allowed=tame)
        self.weights_ = {k: weights[f].tolist() for f, k in enumerate(names)}
        self.heldout_values_ = cross_fitted(stacked, Y, ids, prior, groups, tame) if len(names) > 1 else stacked[0]
        self._keep(fitted, heldout, Y, {name for name, ok in zip(names, tame, strict=True) if ok.all()})
        self._calibrate(X, Y)
        self.notes_ = notes
        self._rate(trials)
        mean = {k: float(np.mean(v)) for k, v in self.weights_.items()}
        self.parameters_ = {"weights": mean}

    def _keep(self, fitted: dict[str, Law], heldout: dict[str, Array], Y: Array, tame: set[str]) -> None:
        """The members with weight, and the convex law that an optimiser can certify: one that does not explode between
        the runs, where optima lie."""
        error = {k: float(np.nanmean(_scaled_error(heldout[k], Y))) for k in fitted}
        convex = [k for k, law in fitted.items() if k in tame and _all_convex(law)]
        if convex:
            self.certifiable_name_ = min(convex, key=lambda k: error[k])
            off = np.abs(heldout[self.certifiable_name_] - Y)  # the league's number: targets count alike
            self.certifiable_error_ = float(np.mean([np.nanmean(e) for e in off.T if np.isfinite(e).any()]))
        used = {k for k, w in self.weights_.items() if np.max(w) > 0}
        used |= {PROCESS} & set(fitted)  # its standard deviation shapes the intervals
        if self.certifiable_name_ is not None:
            used.add(self.certifiable_name_)
        self.members_ = {k: law for k, law in fitted.items() if k in used}

    @property
    def certifiable_(self) -> Law | None:
        """The convex parametric law with the lowest held-out error of those that do not explode, or None."""
        return None if self.certifiable_name_ is None else self.members_[self.certifiable_name_]

    @property
    def averaged(self) -> Mapping[str, Law]:
        """The fitted laws with weight in the average, the Gaussian process, and the best convex law, by name."""
        return self.members_ if self.fitted else {}

    @property
    def known_runs(self) -> TrainingRows | None:
        """The usable runs, which are saved with it; of their weights only those of this process are known. Across sizes
        None are saved."""
        if self._training is not None or "train_X_" not in vars(self):
            return self._training
        return TrainingRows(self.train_X_, self.train_Y_, np.ones(len(self.train_X_)))

    @property
    def heldout(self) -> Array | None:
        """(n, T) predictions of the training runs by fits, and weights, that had not seen them; saved with the law."""
        self._check_fitted()
        if self.heldout_values_ is None and len(self.members_) == 1:
            return next(iter(self.members_.values())).heldout
        return self.heldout_values_

    # ---- what it does not know ----------------------------------------------------------------------------------
    def sample(self, X: Any, num: int, rng: np.random.Generator, rough: Array | None = None) -> Array:
        """Draws (num, n, T) of possible losses: each is drawn from one member, by the members' mean weights; see
        :meth:`mixlaw.laws.Law.sample`.

        Raises:
            DataError: members that draw by refits, in a law that was read from JSON.
        """
        matrix = self._align(X)
        share = np.array([np.mean(w) for w in self.weights_.values()])
        taken = rng.choice(len(share), size=num, p=share / share.sum())
        out = np.empty((num, len(matrix), self.n_targets_))
        for i, name in enumerate(self.weights_):
            draws = np.flatnonzero(taken == i)
            if len(draws):
                out[draws] = self.members_[name].sample(self._named(matrix), len(draws), rng, rough)
        return out

    def reweighted(self, weights: npt.ArrayLike, X: Any = None, y: Any = None) -> list[Self | None]:
        """Copies of this average under other weights (B, n) of its training rows; see
        :meth:`mixlaw.laws.Law.reweighted`. What it chose is kept, its members' weights included; each member is
        refitted in its own, quick way.

        Raises:
            DataError: no rows were given and the law has none.
        """
        rows = self.known_runs
        used = {name: law for name, law in self.members_.items() if np.max(self.weights_.get(name, 0.0)) > 0}
        forgot = any(law.known_runs is None and (law.rows_ is not None or X is None) for law in used.values())
        if rows is None or forgot or np.shape(weights)[-1] != len(rows.X):
            return super().reweighted(weights, X, y)
        many = np.atleast_2d(np.asarray(weights, dtype=float))
        refits: dict[str, list[Law | None]] = {}
        for name, law in used.items():
            part = many if law.rows_ is None else many[:, law.rows_]
            refits[name] = list(law.reweighted(part) if law.known_runs is not None else law.reweighted(part, X, y))
        copies: list[Self | None] = []
        for i in range(len(many)):
            members = {name: several[i] for name, several in refits.items()}
            if any(law is None for law in members.values()):
                copies.append(None)
                continue
            other = copy.copy(self)
            other.members_ = {**self.members_, **{name: law for name, law in members.items() if law is not None}}
            copies.append(other)
        return copies

    def seed_noise(self) -> Array:
        """(T,) noise sd between runs of one mixture, from replicates, else as the Gaussian process sees it."""
        noise = np.asarray(vars(self).get("noise_", np.full(self.n_targets_, np.nan)), dtype=float)
        process = self.members_.get(PROCESS)
        return noise if process is None else np.where(np.isfinite(noise), noise, process.seed_noise())

    def difference_sd(self, A: Array, b: Array) -> Array | None:
        """(n, T) standard deviations of the target at rows of A minus that at b (K,): the Gaussian process' own,
        and how far the members disagree. None without a Gaussian process among them."""
        process = self.members_.get(PROCESS)
        sd = None if process is None else process.difference_sd(A, b)
        if sd is None:
            return None
        share, each = [], []
        for name, weight in self.weights_.items():
            if np.max(weight) > 0 and self.members_[name].smooth:
                values = np.asarray(self.members_[name].predict(self._named(np.vstack([A, b])))).reshape(len(A) + 1, -1)
                each.append(values[:-1] - values[-1])
                share.append(np.broadcast_to(np.asarray(weight), each[-1].shape))
        w, d = np.array(share), np.array(each)
        w = w / np.maximum(w.sum(axis=0), 1e-12)
        middle = (w * d).sum(axis=0)
        return np.asarray(np.sqrt(sd**2 + (w * (d - middle) ** 2).sum(axis=0)))

    # ---- intervals --------------------------------------------------------------------------------------------
    def _local(self, X: Array, training: bool = False) -> Array:
        """How uncertain the Gaussian process thinks each place is, (n, T); 1 where there is none."""
        process = self.members_.get(PROCESS)
        own = None
        if process is not None:
            own = process.heldout_scale() if training else None
            own = own if own is not None and len(own) == len(X) else process.scale(self._named(X))
        return np.ones((len(X), self.n_targets_)) if own is None else own

    def _calibrate(self, X: Array, Y: Array) -> None:
        """How far held-out errors reach, in units of the local sd: a quantile function per target."""
        heldout = self.heldout_values_
        assert heldout is not None  # fits made it just before
        rows = np.flatnonzero(np.isfinite(heldout).any(axis=1))
        if len(rows) > 1000:
            rows = np.sort(np.random.default_rng(self.seed).permutation(rows)[:1000])
        local = self._local(X[rows], training=len(rows) == len(X))
        ratio = np.abs(Y[rows] - heldout[rows]) / local
        known = [np.sort(r[np.isfinite(r)]) for r in ratio.T]
        units = np.array([np.sqrt(np.mean(r**2)) if len(r) else 1.0 for r in known])
        # A constant target is predicted exactly: its tiny errors must not speak for the others.
        live = units > 1e-6
        units = np.maximum(units, 1e-9)
        # A target's own spread counts the more, the more runs measured it.
        count = np.array([len(r) for r in known], dtype=float)
        middle = float(np.exp(np.mean(np.log(units[live])))) if live.any() else 1.0
        share = count / (count + 16.0)
        self.unit_ = np.where(live, np.exp(share * np.log(units) + (1 - share) * np.log(middle)), units)
        kept = [r / u for r, u, ok in zip(known, self.unit_, live, strict=True) if ok]
        pooled = np.concatenate(kept) if kept else np.zeros(0)
        self.ratios_ = np.quantile(pooled, np.linspace(0, 1, 401)) if len(pooled) else np.ones(401)

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """Ends of an interval for a new observation at X.

        The Gaussian process' standard deviation there, times what held-out errors of the average needed to be
        covered at ``level``. Valid for mixtures exchangeable with those tried; wider away from them.

        Raises:
            ConfigError: ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ConfigError(f"level={level!r} must lie between 0 and 1, for example 0.9.")
        if self.ratios_ is None:  # the average of one law, which has intervals of its own
            return next(iter(self.members_.values())).predict_interval(X, level)
        matrix = self._align(X)
        n = len(self.train_X_)
        reach = float(np.interp(min(1.0, level * (1 + 1 / n)), np.linspace(0, 1, 401), self.ratios_))
        half = reach * self.unit_[None] * self._local(matrix)
        mean = self._predict(matrix)
        low, high = mean - half, mean + half
        return (low[:, 0], high[:, 0]) if self.single_target_ else (low, high)

    # ---- predicting ---------------------------------------------------------------------------------------------
    def _named(self, X: Array) -> dict[str, Array]:
        return named(list(self.feature_names_in_), X)

    def _align(self, X: Any) -> Array:
        self._check_fitted()
        matrix, names = as_matrix(X)
        if names is not None and not sizes_of(self.feature_names_in_):
            X = {c: matrix[:, names.index(c)] for c in domains_of(names)}
        return super()._align(X)

    def _predict(self, X: Array) -> Array:
        out = np.zeros((len(X), self.n_targets_))
        for name, weight in self.weights_.items():
            if np.max(weight) > 0:
                values = np.asarray(self.members_[name].predict(self._named(X))).reshape(len(X), -1)
                out += np.asarray(weight) * values
        return out

    def gradient(self, X: Any) -> Array:
        """d target / d weight (n, T, K): the members' gradients, averaged."""
        matrix = self._align(X)
        out = np.zeros((len(matrix), self.n_targets_, self.n_features_in_))
        for name, weight in self.weights_.items():
            if np.max(weight) > 0:
                out += np.asarray(weight)[None, :, None] * self.members_[name].gradient(self._named(matrix))
        return out

    def atoms(self) -> Atoms | None:
        """The average as atoms where all of its weight is on parametric laws, else None (see ``certifiable_``)."""
        parts: list[tuple[Array, Atoms]] = []
        for name, weight in self.weights_.items():
            if np.max(weight) > 0:
                one = self.members_[name].atoms()
                if one is None:
                    return None
                parts.append((np.asarray(weight), one))
        return Atoms(
            const=np.sum([w * a.const for w, a in parts], axis=0),
            target=np.concatenate([a.target for _, a in parts]),
            kind=np.concatenate([a.kind for _, a in parts]),
            scale=np.concatenate([w[a.target] * a.scale for w, a in parts]),
            linear=np.concatenate([a.linear for _, a in parts]),
            offset=np.concatenate([a.offset for _, a in parts]),
            exponent=np.concatenate([a.exponent for _, a in parts]),
        )

    def parameter_slopes(self, X: Any) -> Array | None:
        """Those of the members with weight, times their weights; None where one of them declares no parameters."""
        parts = []
        for name, weight in self.weights_.items():
            if np.max(weight) > 0:
                slopes = self.members_[name].parameter_slopes(X)
                if slopes is None:
                    return None
                parts.append(np.asarray(weight).reshape(-1, 1, 1) * slopes)
        return np.concatenate(parts, axis=2)

    # ---- how good it is --------------------------------------------------------------------------------------------
    def _rate(self, trials: Trials) -> None:
        rows = [LeagueRow(name, float("inf"), *(float("nan"),) * 5, error) for name, error in trials.failed.items()]
        assert self.heldout_values_ is not None  # fits made it just before
        scored = {**trials.heldout, "average": self.heldout_values_}
        total = sum(trials.seconds.values())
        local = self._local(self.train_X_, training=True) if len(self.train_X_) <= 2000 else None
        for name, values in scored.items():
            rows.append(self._league_row(name, values, trials.seconds.get(name, total), local))
        rows.sort(key=lambda r: (bool(r.error), r.mae))
        distinct = count_different(self.train_X_)
        splits = "leave-one-out" if distinct <= 24 else "5 folds or leave-one-out"
        if 8 < distinct <= 24 and PROCESS in trials.heldout:
            splits += ", the Gaussian process 8 folds"
        self._league = League(rows, len(self.train_X_), 5, 0.9, splits)
        self.league_rows_ = [
            {k: getattr(r, k) for k in ("name", "mae", "rmse", "spearman", "coverage", "width", "seconds", "error")}
            | {"by_target": r.by_target}
            for r in rows
        ]

    def _league_row(self, name: str, values: Array, seconds: float, local: Array | None) -> LeagueRow:
        Y = self.train_Y_
        by_target: dict[str, dict[str, float]] = {}
        for t, target in enumerate(self.target_names_):
            ok = np.isfinite(Y[:, t]) & np.isfinite(values[:, t])
            error = values[ok, t] - Y[ok, t]
            spread = local[ok, t] if local is not None else np.ones(int(ok.sum()))
            half = _fold_halves(np.abs(error) / spread) * spread
            by_target[target] = {
                "mae": float(np.abs(error).mean()),
                "rmse": float(np.sqrt((error**2).mean())),
                "spearman": spearman(values[ok, t], Y[ok, t]),
                "coverage": float((np.abs(error) <= half).mean()),
                "width": float(2 * half.mean()),
            }

        def mean(key: str) -> float:
            found = [row[key] for row in by_target.values() if np.isfinite(row[key])]
            return float(np.mean(found)) if found else float("nan")

        return LeagueRow(
            name, mean("mae"), mean("rmse"), mean("spearman"), mean("coverage"), mean("width"), seconds, "", by_target
        )

    @property
    def league_(self) -> League:
        """Held-out scores of every family and of the average, best first.

        Raises:
            DataError: several sizes were given, for which no league is made.
        """
        self._check_fitted()
        if self.league_rows_ is None:
            raise DataError("Several sizes: the Joint law was fitted, which has backtest_ instead of a league.")
        if self._league is None:
            rows = [LeagueRow(**row) for row in self.league_rows_]
            self._league = League(rows, len(self.train_X_), 5, 0.9, "5 folds or leave-one-out")
        return self._league

    def _read_state(self, state: dict[str, Any]) -> Mapping[str, Any]:
        """Version 0.1.0 called families by their aliases, and held the law across sizes apart."""
        if "delegate_" in state:
            law = state.pop("delegate_")
            state |= {"members_": {law.name: law}, "weights_": {law.name: [1.0] * law.n_targets_}}
        for key in ("members_", "weights_"):
            state[key] = _renamed(state[key])
        if state.get("certifiable_name_") is not None:
            state["certifiable_name_"] = canonical(state["certifiable_name_"])
        if "league_rows_" in state:
            state["league_rows_"] = [{**row, "name": canonical(row["name"])} for row in state["league_rows_"]]
        if "weights" in state["parameters_"]:
            state["parameters_"] = {"weights": _renamed(state["parameters_"]["weights"])}
        return state

    def summary(self) -> str:
        """The league, the weights, the certifiable law and the notes."""
        self._check_fitted()
        if self.league_rows_ is None:
            return "Auto chose the Joint law (several sizes).\n" + next(iter(self.members_.values())).summary()
        league = self.league_
        lines = [
            f"Auto: {len(self.train_X_)} runs, {self.n_features_in_} domains, {self.n_targets_} "
            f"target{'s' if self.n_targets_ != 1 else ''}; the average of "
            + ", ".join(f"{k} {np.mean(w):.0%}" for k, w in self.weights_.items() if np.max(w) > 0),
            *str(league).splitlines(),
        ]
        average = league["average"]
        if average.spearman < 0.5:
            lines.append(
                f"WARNING: held-out rank correlation is {average.spearman:.2f}; an optimum found on this law is "
                f"a guess."
            )
        if self.certifiable_ is not None:
            lines.append(
                f"Certifiable: {self.certifiable_name_} (convex), held-out error {self.certifiable_error_:.4g} against "
                f"the average's {average.mae:.4g}."
            )
        if np.isfinite(self.noise_).any():
            lines.append(f"Seed noise from replicates: {float(np.nanmean(self.noise_)):.4g} (mean over targets).")
        lines += [f"Note: {note}" for note in self.notes_]
        return "\n".join(lines)


def _without_infinite(y: Any) -> tuple[Any, int]:
    """y with infinite values turned to NaN (and their number); anything else is left for ``as_targets`` to judge."""
    table = table_columns(y)
    if table is not None:
        columns = {k: np.array(v, dtype=float) for k, v in table.items()}
        count = sum(int(np.isinf(v).sum()) for v in columns.values())
        return {k: np.where(np.isinf(v), np.nan, v) for k, v in columns.items()}, count
    array = np.array(y, dtype=float)
    return np.where(np.isinf(array), np.nan, array), int(np.isinf(array).sum())


def _renamed(by_family: Mapping[str, Any]) -> dict[str, Any]:
    return {canonical(name): value for name, value in by_family.items()}


def _scaled_error(values: Array, Y: Array) -> Array:
    spread = np.nanstd(Y, axis=0)
    return np.abs(values - Y) / np.where(spread > 0, spread, 1.0)


def _all_convex(law: Law) -> bool:
    atoms = law.atoms()
    return atoms is not None and bool(atoms.convex().all())


def _fold_halves(scores: Array, level: float = 0.9, parts: int = 5) -> Array:
    """Reach of each row's interval from the scores of the other rows' folds: coverage that is not circular."""
    n = len(scores)
    out = np.empty(n)
    for part in range(min(parts, n)):
        held = np.arange(n) % parts == part
        rest = scores[~held] if (~held).any() else scores
        out[held] = np.quantile(rest, min(1.0, level * (1 + 1 / max(1, len(rest)))), method="higher")
    return out

"""The best schedule of mixtures over phases, beside the best constant mixture it must beat.

Limits on epochs, floors, caps, groups and further budgets hold for the whole run (the token-weighted average of the
phases); inside a phase anything goes unless ``phase_caps`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from mixlaw.data.budget import Budget, Constraints
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Phase, Schedule
from mixlaw.data.prediction import Prediction
from mixlaw.data.recipe import Certificate, Recipe
from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.mixture.phase_law import PhaseLaw
from mixlaw.optimize.around.advice import standing
from mixlaw.optimize.around.baselines import baselines, feasible
from mixlaw.optimize.around.gain import gain
from mixlaw.optimize.pose.objective import Problem, mean, row_scale
from mixlaw.optimize.pose.view import check_weights, law_hash
from mixlaw.optimize.schedules.order_effect import order_error
from mixlaw.optimize.solve.convex import Program, Solution, solve

__all__ = ["best_schedule"]


@dataclass(frozen=True)
class _Phased:
    """The two convex problems: over all phases, and over one mixture used in all of them."""

    constraints: Constraints
    fractions: Array
    phase_caps: Array

    @property
    def num(self) -> tuple[int, int]:
        return len(self.fractions), len(self.constraints.domains)

    def average(self) -> Array:
        """(K, P K): token share of each domain over the run."""
        _, K = self.num
        return np.concatenate([f * np.eye(K) for f in self.fractions], axis=1)

    def program(self, atoms: Atoms, weights: Array) -> Program:
        """Best schedule: one simplex per phase, the budget on the average."""
        P, K = self.num
        c, average = self.constraints, self.average()
        base = mean(c, weights).program(replace(atoms, linear=np.zeros((len(atoms.linear), K))))
        rows, upper = [c.matrix @ average], [c.upper]
        for sign, bound in ((1.0, c.high), (-1.0, -c.low)):
            binding = bound < 1.0 - 1e-12 if sign > 0 else bound < 0.0
            rows.append(sign * average[binding])
            upper.append(bound[binding])
        matrix, limit = np.vstack(rows), np.concatenate(upper)
        scale = row_scale(matrix, limit)
        equal: Array = np.kron(np.eye(P), np.ones((1, K))).astype(np.float64)
        return replace(
            base,
            linear=np.zeros((1, 1, P * K)),
            direction=atoms.linear[None],
            low=np.zeros((1, P * K)),
            high=self.phase_caps.reshape(1, -1),
            matrix=(matrix * scale[:, None])[None],
            upper=(limit * scale)[None],
            equal=equal,
            right=np.ones((1, P)),
            prior=np.full(P * K, 1.0 / (P * K)),
        )

    def constant(self, atoms: Atoms, weights: Array) -> tuple[Problem, Atoms]:
        """Best constant mixture under the same law."""
        P, K = self.num
        linear = atoms.linear.reshape(len(atoms.linear), P, K).sum(axis=1)
        c = replace(self.constraints, high=np.minimum(self.constraints.high, self.phase_caps.min(axis=0)))
        return mean(c, weights), replace(atoms, linear=linear)


def best_schedule(
    law: PhaseLaw,
    objective: str | Sequence[str] | Mapping[str, float],
    budget: Budget,
    corpus: Corpus,
    *,
    phase_caps: Mapping[str, Sequence[float]] | None = None,
    runs: tuple[Any, Any] | None = None,
    num_bootstrap: int = 60,
    level: float = 0.9,
    rank_transfer: str | float | None = None,
    seed: int = 0,
) -> Recipe:
    """Certified best schedule under a law over phases.

    The recipe's ``reference`` is the **best constant mixture** under the same law and budget, and ``difference``
    says by how much the schedule is predicted to beat it. Its interval holds what bootstrap refits differ by (each
    chooses structure and recency anew) and how much of a predicted effect of order came true in held-out runs
    (:mod:`~mixlaw.optimize.schedules.order_effect`). Where the observations identify no effect of order, or the
    schedule gains nothing, the recipe is that constant mixture and says so.

    Args:
        law: fitted :class:`~mixlaw.laws.mixture.phase_law.PhaseLaw` whose base law is convex.
        objective: as in :func:`mixlaw.optimize.optimize`.
        phase_caps: ``{domain: [largest weight in each phase]}``.
        runs: ``(X, y)`` with phase columns, for the interval of the difference (a law fitted here brings its own).
        rank_transfer: rank correlation measured between proxies and the target size, or a sentence; printed.

    Raises:
        ConfigError: another law, unknown names, or a base law that cannot be certified.
        InfeasibleBudgetError: no mixture satisfies the budget.
    """
    if not isinstance(law, PhaseLaw) or not hasattr(law, "structure_"):
        raise ConfigError(
            f"A schedule needs a fitted PhaseLaw, got {type(law).__name__}. See mixlaw.optimize.PhaseLaw."
        )
    if list(corpus.names) != list(law.domains_):
        raise ConfigError(
            f"The corpus has domains {list(corpus.names)} but the law knows {law.domains_}, in that order."
        )
    constraints = budget.check(corpus)
    weights = check_weights(objective)
    W = np.zeros(len(law.target_names_))
    for name, weight in weights.items():
        if name not in law.target_names_:
            raise ConfigError(
                f"The objective names {name!r}, which the law does not predict.{did_you_mean(name, law.target_names_)}"
            )
        W[law.target_names_.index(name)] = weight
    P, K = law.num_phases_, len(corpus.names)
    caps = np.ones((P, K))
    for name, limits in (phase_caps or {}).items():
        if name not in corpus.names:
            raise ConfigError(f"phase_caps names {name!r}, which is not a domain.{did_you_mean(name, corpus.names)}")
        if len(limits) != P:
            raise ConfigError(f"phase_caps[{name!r}] needs one number per phase ({P}), got {list(limits)}.")
        caps[:, corpus.names.index(name)] = limits
    phased = _Phased(constraints, law.fractions_, caps)
    atoms = law.atoms()
    if atoms is None or not mean(constraints, W).certifiable(atoms):
        raise ConfigError(
            "The base law of this PhaseLaw is not a sum of convex atoms for this objective; use "
            "base='effective_tokens'."
        )
    warnings = standing(corpus, None, rank_transfer, budget)
    best, flat = _both(phased, atoms, W)
    z, r = best.z[0], flat.z[0]
    advantage = float(best.value[0] - flat.value[0])
    same = advantage > -1e-7  # limits that differ between phases let a schedule gain even where order means nothing
    if same:
        z, advantage = np.tile(r, P), 0.0
        warnings.append(
            "The observations identify no effect of order: the best schedule is the best constant mixture."
            if law.structure_ == "constant"
            else "No schedule is predicted to beat the best constant mixture under this budget."
        )
    z = np.where(z < 1e-8, 0.0, z).reshape(P, K)
    z /= z.sum(axis=1, keepdims=True)
    constant = Mixture.from_array(corpus.names, np.where(r < 1e-8, 0.0, r) / np.where(r < 1e-8, 0.0, r).sum())
    draws, optimism = (None, 0.0) if same else _refits(law, runs, phased, W, z.ravel(), r, num_bootstrap, seed)
    if draws is not None and law.structure_ != "constant":
        fault = order_error(law, W, seed, runs)
        if fault is None:
            warnings.append(
                "No four runs differ from others in nothing but the order of their phases, so how much of a predicted "
                "effect of order comes true was not measured: the interval knows the law's parameters only."
            )
        else:
            draws = draws + advantage * fault * _normal(len(draws), seed)
    predictions, half = _predictions(law, z, W, level)
    change = gain(advantage, draws, optimism, half, level, same)
    if not same and change.prediction.high >= 0:
        warnings.append(
            f"The advantage over the best constant mixture ({change.prediction}) is not distinguishable from nothing."
        )
    table: dict[str, dict[str, Any]] = {"best constant": _row(law, constant, constraints, W, half, level)}
    table |= {name: _row(law, m, constraints, W, half, level) for name, m in baselines(corpus, budget).items()}
    return Recipe(
        schedule=Schedule(
            tuple(Phase(float(f), Mixture.from_array(corpus.names, w)) for f, w in zip(law.fractions_, z))
        ),
        tokens=budget.tokens,
        corpus=corpus,
        objective={"kind": "mean", "weights": weights},
        predictions=predictions,
        reference=constant,
        difference=change.prediction,
        probability_better=change.probability,
        certificate=Certificate("certified", gap=float(max(best.gap[0], 0.0)), solver="mixlaw interior point"),
        baselines=table,
        law={
            "name": "PhaseLaw",
            "structure": law.structure_,
            "log_rho": law.log_rho_.tolist(),
            "heldout": dict(law.scores_),
            "runs": law.num_runs_,
        },
        law_hash=law_hash(law),
        budget=budget.to_dict(),
        warnings=tuple(warnings),
    )


def _both(phased: _Phased, atoms: Atoms, W: Array) -> tuple[Solution, Solution]:
    problem, merged = phased.constant(atoms, W)
    return solve(phased.program(atoms, W)), solve(problem.program(merged))


def _refits(
    law: PhaseLaw, runs: Any, phased: _Phased, W: Array, z: Array, r: Array, num: int, seed: int
) -> tuple[Array | None, float]:
    """Differences schedule minus constant under refits, and how much an optimised schedule flatters itself."""
    import warnings as _warnings

    from sklearn.base import clone

    from mixlaw.errors import ConvergenceError, MixlawWarning, TooFewRunsError

    n, rows, own = law.num_runs_, runs, np.ones(law.num_runs_)
    if num <= 0:
        return None, 0.0
    if rows is None:
        training = law.training
        if training is None:
            return None, 0.0
        rows = (
            dict(zip((str(n) for n in law.feature_names_in_), training[0].T)),
            dict(zip(law.target_names_, training[1].T)),
        )
        own = np.asarray(training[2], dtype=float)
    counts = own * np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=num).astype(float)
    both = np.stack([z, np.tile(r, phased.num[0])])
    draws, flattery = [], []
    names = [str(x) for x in law.feature_names_in_]
    columns = dict(zip(names, both.T))
    for weight in counts:
        try:
            with _warnings.catch_warnings():
                _warnings.simplefilter("ignore", MixlawWarning)
                options = law.refit_options(weight if runs is None else None)
                world = clone(law).set_params(**options).fit(*rows, sample_weight=weight)
        except (ConvergenceError, TooFewRunsError):
            continue  # a resample can leave too few different mixtures
        scored = np.asarray(world.predict(columns)).reshape(2, -1) @ W
        draws.append(scored[0] - scored[1])
        atoms = world.atoms()
        if atoms is not None and mean(phased.constraints, W).certifiable(atoms):
            best, flat = _both(phased, atoms, W)
            claimed = float(best.value[0] - flat.value[0])
            tried = np.stack([best.z[0], np.tile(flat.z[0], phased.num[0])])
            real = np.asarray(law.predict(dict(zip(names, np.clip(tried, 0, 1).T)))).reshape(2, -1) @ W
            flattery.append(float(real[0] - real[1]) - claimed)
    if len(draws) < max(4, num / 2):
        raise DataError(f"Only {len(draws)} of {num} bootstrap refits of the law over phases succeeded; add runs.")
    return np.array(draws), float(np.mean(flattery)) if flattery else 0.0


def _normal(num: int, seed: int) -> Array:
    """Standard normal numbers (num,) at equal steps of probability, in random order."""
    steps = [NormalDist().inv_cdf((i + 0.5) / num) for i in range(num)]
    return np.random.default_rng(seed + 1).permutation(steps)


def _predictions(law: PhaseLaw, z: Array, W: Array, level: float) -> tuple[dict[str, Prediction], float]:
    columns = dict(zip((str(n) for n in law.feature_names_in_), z.reshape(1, -1).T))
    values = np.asarray(law.predict(columns), dtype=float).reshape(-1)
    low, high = (np.asarray(side, dtype=float).reshape(-1) for side in law.predict_interval(columns, level))
    table = {
        name: Prediction(float(v), float(min(a, v)), float(max(b, v)), level)
        for name, v, a, b in zip(law.target_names_, values, low, high)
    }
    half = float(W @ (high - low) / 2)
    centre = float(W @ values)
    return table | {"objective": Prediction(centre, centre - half, centre + half, level)}, half


def _row(
    law: PhaseLaw, mixture: Mixture, constraints: Constraints, W: Array, half: float, level: float
) -> dict[str, Any]:
    z = np.tile(mixture.array(), law.num_phases_)[None]
    columns = dict(zip((str(n) for n in law.feature_names_in_), z.T))
    value = float(np.asarray(law.predict(columns)).reshape(-1) @ W)
    return {
        "weights": mixture.to_dict(),
        "prediction": Prediction(value, value - half, value + half, level).to_dict(),
        "feasible": feasible(mixture.array(constraints.domains), constraints),
    }

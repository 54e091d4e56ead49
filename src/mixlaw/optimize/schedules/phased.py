"""A question about phases, read once: the law over phases, the objective, the limits, and the two convex problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixlaw.data.budget import Budget, Constraints
from mixlaw.data.corpus import Corpus
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.core.base import Law
from mixlaw.optimize.pose.objective import Problem, mean, row_scale
from mixlaw.optimize.pose.view import check_weights
from mixlaw.optimize.solve.convex import Program, Solution, solve

if TYPE_CHECKING:
    from mixlaw.laws.mixture.phase_law import PhaseLaw

__all__ = ["PhasedRequest"]


@dataclass(frozen=True)
class PhasedRequest:
    """What :func:`~mixlaw.optimize.schedules.best.best_schedule` is asked, checked and in arrays; see :meth:`of`.

    P phases, K domains, T targets. A schedule is ``z`` (P K,): the weights of phase 1, then those of phase 2, ...

    Args:
        law: fitted law over phases.
        atoms: its atoms over the P K columns.
        corpus, budget: as given, for the recipe.
        constraints: the budget's limits on the K weights of the whole run.
        weights: ``{set: weight}`` of the objective; ``W`` (T,) the same over all targets.
        fractions: (P,) share of the tokens of each phase.
        caps: (P, K) largest weight of each domain in each phase.
        level: of all intervals.

    Example:
        >>> from mixlaw.laws import PhaseLaw
        >>> rng = np.random.default_rng(0)
        >>> first, second = rng.dirichlet(np.ones(2), 24), rng.dirichlet(np.ones(2), 24)
        >>> X = {"web@1": first[:, 0], "code@1": first[:, 1], "web@2": second[:, 0], "code@2": second[:, 1]}
        >>> seen = 0.25 * first + 0.75 * second  # the second phase counts three times as much
        >>> losses = {"loss": 2 - 0.3 * np.log(seen + 0.01).sum(axis=1)}
        >>> law = PhaseLaw(base="loglinear", structure="recency").fit(X, losses)
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = PhasedRequest.of(law, "loss", Budget(tokens=1_000), corpus, phase_caps={"code": [0.2, 1.0]})
        >>> q.fractions.tolist(), q.caps.tolist()
        ([0.5, 0.5], [[1.0, 0.2], [1.0, 1.0]])
    """

    law: PhaseLaw
    atoms: Atoms
    corpus: Corpus
    budget: Budget
    constraints: Constraints
    weights: dict[str, float]
    W: Array
    fractions: Array
    caps: Array
    level: float

    @classmethod
    def of(
        cls,
        law: Any,
        objective: str | Sequence[str] | Mapping[str, float],
        budget: Budget,
        corpus: Corpus,
        phase_caps: Mapping[str, Sequence[float]] | None = None,
        level: float = 0.9,
    ) -> PhasedRequest:
        """Check the arguments of ``best_schedule``, which says what they mean.

        Raises:
            ConfigError: a law that is not over phases, unknown names, or a base law that cannot be certified.
            InfeasibleBudgetError: no mixture satisfies the budget.
        """
        if not (isinstance(law, Law) and law.over_phases and law.fitted):
            raise ConfigError(
                f"A schedule needs a fitted PhaseLaw, got {type(law).__name__}. See mixlaw.optimize.PhaseLaw."
            )
        names = list(corpus.names)
        if names != list(law.domains_):
            raise ConfigError(f"The corpus has domains {names} but the law knows {law.domains_}, in that order.")
        constraints = budget.check(corpus)
        weights = check_weights(objective)
        targets = list(law.target_names_)
        W = np.zeros(len(targets))
        for name, weight in weights.items():
            if name not in targets:
                raise ConfigError(
                    f"The objective names {name!r}, which the law does not predict.{did_you_mean(name, targets)}"
                )
            W[targets.index(name)] = weight
        P = law.num_phases_
        caps = np.ones((P, len(names)))
        for name, limits in (phase_caps or {}).items():
            if name not in names:
                raise ConfigError(f"phase_caps names {name!r}, which is not a domain.{did_you_mean(name, names)}")
            if len(limits) != P:
                raise ConfigError(f"phase_caps[{name!r}] needs one number per phase ({P}), got {list(limits)}.")
            caps[:, names.index(name)] = limits
        atoms = law.atoms()
        if atoms is None or not mean(constraints, W).certifiable(atoms):
            raise ConfigError(
                "The base law of this PhaseLaw has no form whose optimum can be certified for this objective (a sum of "
                "convex functions of the weights); use base='effective_tokens'."
            )
        return cls(law, atoms, corpus, budget, constraints, weights, W, law.fractions_, caps, level)

    # ---- what the law says of schedules ------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, int]:
        """(P, K)."""
        return len(self.fractions), len(self.constraints.domains)

    @property
    def targets(self) -> list[str]:
        """Names of the T targets."""
        return list(self.law.target_names_)

    def columns(self, z: Array) -> dict[str, Array]:
        """Schedules (n, P K) by the law's column names."""
        return dict(zip((str(n) for n in self.law.feature_names_in_), np.atleast_2d(z).T))

    def losses(self, z: Array, law: PhaseLaw | None = None) -> Array:
        """(n, T) losses in nats at schedules z (n, P K), of ``law`` instead where given."""
        rows = np.atleast_2d(z)
        return np.asarray((law or self.law).predict(self.columns(rows)), dtype=float).reshape(len(rows), -1)

    def interval(self, z: Array) -> tuple[Array, Array]:
        """(low, high), each (n, T), at schedules z (n, P K)."""
        rows = np.atleast_2d(z)
        low, high = self.law.predict_interval(self.columns(rows), self.level)
        return np.asarray(low, dtype=float).reshape(len(rows), -1), np.asarray(high, dtype=float).reshape(len(rows), -1)

    def always(self, r: Array) -> Array:
        """The schedule (P K,) that is the mixture r (K,) in every phase."""
        return np.tile(r, len(self.fractions))

    # ---- the two convex problems: over all phases, and over one mixture used in all of them ------------------
    def optima(self, atoms: Atoms) -> tuple[Solution, Solution] | None:
        """(best schedule, best constant mixture) under a law's atoms; None where they cannot be certified."""
        if not mean(self.constraints, self.W).certifiable(atoms):
            return None
        problem, merged = self._constant(atoms)
        return solve(self._program(atoms)), solve(problem.program(merged))

    def _program(self, atoms: Atoms) -> Program:
        """Best schedule: one simplex per phase, the budget on the average."""
        P, K = self.shape
        c = self.constraints
        average = np.concatenate([f * np.eye(K) for f in self.fractions], axis=1)  # (K, P K): shares over the run
        base = mean(c, self.W).program(replace(atoms, linear=np.zeros((len(atoms.linear), K))))
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
            high=self.caps.reshape(1, -1),
            matrix=(matrix * scale[:, None])[None],
            upper=(limit * scale)[None],
            equal=equal,
            right=np.ones((1, P)),
            prior=np.full(P * K, 1.0 / (P * K)),
        )

    def _constant(self, atoms: Atoms) -> tuple[Problem, Atoms]:
        """Best constant mixture under the same law."""
        P, K = self.shape
        linear = atoms.linear.reshape(len(atoms.linear), P, K).sum(axis=1)
        c = replace(self.constraints, high=np.minimum(self.constraints.high, self.caps.min(axis=0)))
        return mean(c, self.W), replace(atoms, linear=linear)

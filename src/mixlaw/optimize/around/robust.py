"""An optimum for the law's uncertainty: mean, conditional value at risk, or minimax regret over bootstrap laws.

All three are convex where the laws are, so the answer stays certified. ``"mean"`` minimises the average of the refits;
``"cvar"`` the mean over the worse half of them (Rockafellar & Uryasev 2000) of the change against the reference
mixture; ``"regret"`` the largest loss against what each refit's own optimum would have reached.

Why the change and not the loss: bootstrap laws differ in level more than in what they say about mixtures, and no
mixture can do anything about a refit's level. A tail of losses is a tail of levels. Why the worse half: a tenth of a
few dozen laws is three or four of them, and the optimum follows their accidents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixlaw.data.budget import Constraints
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.optimize.pose.forms import Repetition, combine, monotone, stack
from mixlaw.optimize.pose.objective import Function, Problem, mean
from mixlaw.optimize.pose.request import MEASURES
from mixlaw.optimize.solve.convex import solve

__all__ = ["plug_in_optima", "robust_problem"]


def plug_in_optima(
    constraints: Constraints, refits: Sequence[Atoms], repetition: Repetition | None = None
) -> tuple[Array, Array]:
    """Optimum (B, K) of each law of one target, and its value (B,), all solved in one batch.

    Args:
        refits: laws of one target, such as refits' objectives.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws.core.atoms import Atoms
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> target, zeros = np.zeros(2, int), np.zeros(2)
        >>> atoms = Atoms(np.zeros(1), target, np.full(2, "exp"), np.ones(2), -np.eye(2), zeros, zeros)
        >>> R, values = plug_in_optima(limits, [atoms, atoms])  # exp(-web) + exp(-code)
        >>> R.round(3).tolist(), values.round(4).tolist()
        ([[0.5, 0.5], [0.5, 0.5]], [1.2131, 1.2131])
    """
    problem = mean(constraints, np.ones(1), repetition=repetition)
    programs = [problem.program(w) for w in refits]
    if len({tuple(p.kind) for p in programs}) == 1:
        first = programs[0]
        stacked: dict[str, Any] = {
            name: np.concatenate([getattr(p, name) for p in programs])
            for name in ("coef", "const", "direction", "offset", "exponent")
        }
        batch = replace(first, **stacked)
        found = solve(batch)
        return found.z, found.value
    parts = [solve(p) for p in programs]
    return np.concatenate([s.z for s in parts]), np.concatenate([s.value for s in parts])


def _centre(constraints: Constraints) -> Array:
    low, room = constraints.low, constraints.high - constraints.low
    return np.asarray(low + room * (1.0 - low.sum()) / max(float(room.sum()), 1e-300))


def robust_problem(
    measure: str,
    constraints: Constraints,
    law: Atoms,
    refits: Sequence[Atoms],
    weights: Array,
    guards: Sequence[Function] = (),
    *,
    reference: Array | None = None,
    prior: Array | None = None,
    tail: float = 0.5,
    repetition: Repetition | None = None,
) -> tuple[Problem, Atoms]:
    """The problem and the atoms it is over: the law's own targets first (guards refer to them), then one per refit.

    Args:
        refits: bootstrap laws' atoms over all targets.
        weights: (T,) objective.
        reference: (K,) mixture that ``"cvar"`` counts changes from; without it the constraints' own centre.
        prior: (K,) what KL terms among the guards are counted from.
        tail: share of the refits that ``"cvar"`` averages.

    Raises:
        ConfigError: an unknown measure, or no refits.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws.core.atoms import Atoms
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> target, zeros = np.zeros(2, int), np.zeros(2)
        >>> atoms = Atoms(np.zeros(1), target, np.full(2, "exp"), np.ones(2), -np.eye(2), zeros, zeros)
        >>> problem, both = robust_problem("mean", limits, atoms, [atoms, atoms], np.ones(1))
        >>> solve(problem.program(both)).z.round(3).tolist(), len(both.const)
        ([[0.5, 0.5]], 3)
    """
    if measure not in MEASURES:
        raise ConfigError(f"Unknown robust measure {measure!r}.{did_you_mean(measure, MEASURES)}")
    if not refits:
        raise ConfigError("A robust optimum needs bootstrap laws: give runs=(X, y) and num_bootstrap > 0.")
    single = [combine(refit, weights) for refit in refits]
    shape = _Shape(len(law.const), len(single), len(constraints.domains))
    if measure == "mean":
        functions, low, high = _mean(shape), np.zeros(0), np.zeros(0)
    elif measure == "regret":
        _, best = plug_in_optima(constraints, single, repetition)
        functions, low, high = _largest_regret(shape, best)
    else:
        start = _centre(constraints) if reference is None else reference
        points = start[None] if repetition is None else repetition.value(start[None])
        levels = [float((one if repetition is None else monotone(one)).value(points)[0, 0]) for one in single]
        functions, low, high = _tail_mean(shape, levels, tail)
    problem = Problem(
        constraints,
        (*functions, *(shape.lift(g, len(low)) for g in guards)),
        prior=prior,
        repetition=repetition,
        num_extra=len(low),
        extra_low=low,
        extra_high=high,
    )
    return problem, stack([law, *single])


@dataclass(frozen=True)
class _Shape:
    """Weights of a robust problem's functions: over T targets of the law and then over B refits; K domains."""

    T: int
    B: int
    K: int

    def refit(self, b: int) -> Array:
        """(T + B,) weight one on refit b."""
        one = np.zeros(self.T + self.B)
        one[self.T + b] = 1.0
        return one

    def lift(self, function: Function, extra: int) -> Function:
        """A function of the law's targets, as one of the whole problem with ``extra`` further variables."""
        linear = None if extra == 0 else np.zeros(self.K + extra)
        return replace(function, weights=np.concatenate([function.weights, np.zeros(self.B)]), linear=linear)


_Parts = tuple[list[Function], Array, Array]
"""Objective and constraints, and the bounds (extra,) of the variables beside the weights of domains."""


def _mean(shape: _Shape) -> list[Function]:
    """The average over refits."""
    return [Function(np.concatenate([np.zeros(shape.T), np.full(shape.B, 1.0 / shape.B)]))]


def _largest_regret(shape: _Shape, best: Array) -> _Parts:
    """One more variable, above each refit's loss minus the ``best`` (B,) it could have reached."""
    tau = np.zeros(shape.K + 1)
    tau[shape.K] = 1.0
    rows = [Function(shape.refit(b), const=-float(best[b]), linear=-tau, label=f"worst:{b}") for b in range(shape.B)]
    return [Function(np.zeros(shape.T + shape.B), linear=tau), *rows], np.array([-np.inf]), np.array([np.inf])


def _tail_mean(shape: _Shape, levels: list[float], tail: float) -> _Parts:
    """A level, and what each refit's change from ``levels`` (B,) is above it: their mean over the ``tail`` of refits
    with the largest changes (Rockafellar & Uryasev's linear form of the conditional value at risk)."""
    B, k = shape.B, shape.K
    cost = np.zeros(k + 1 + B)
    cost[k] = 1.0
    cost[k + 1 :] = 1.0 / (max(tail, 1.0 / B) * B)
    rows = []
    for b in range(B):
        linear = np.zeros(k + 1 + B)
        linear[k], linear[k + 1 + b] = -1.0, -1.0
        rows.append(Function(shape.refit(b), const=-levels[b], linear=linear, label=f"worst:{b}"))
    low, high = np.concatenate([[-np.inf], np.zeros(B)]), np.concatenate([[np.inf], np.full(B, 1e3)])
    return [Function(np.zeros(shape.T + B), linear=cost), *rows], low, high

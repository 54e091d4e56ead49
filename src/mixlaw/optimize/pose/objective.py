"""What is asked of a mixture, as one problem that the certified and the general solver both understand.

Every objective and constraint is a *function* ``sum_t weights_t loss_t(r) + linear . z + kl KL(r || prior) + const``
of ``z = (r, further variables)``; the further variables are an epigraph (worst case) or the shares moved (least
change).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mixlaw.data.budget import Constraints
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms, align
from mixlaw.optimize.pose.forms import Repetition, combine, merge, monotone, stack
from mixlaw.optimize.solve.convex import Program

__all__ = ["Function", "Problem", "least_change", "mean", "pooled", "worst"]


@dataclass(frozen=True)
class Function:
    """``sum_t weights[t] loss_t + linear . z + kl KL(r || prior) + const``; as a constraint it must be <= 0.

    Args:
        weights: (T,) of the losses.
        kl: weight of the KL divergence to the problem's prior.
        linear: (n,) coefficients of all variables; None: zeros.
        label: what the reader is told where it cannot hold.

    Example:
        >>> slack = Function(np.array([0.0, 1.0]), const=-2.5, label="code: at most 2.5 nats")
        >>> float(slack.weights @ [3.0, 2.4] + slack.const) <= 0  # kept by losses of 3.0 and 2.4
        True
    """

    weights: Array
    const: float = 0.0
    kl: float = 0.0
    linear: Array | None = None
    label: str = ""


@dataclass(frozen=True)
class Problem:
    """Minimise ``functions[0]`` subject to the others being <= 0, the budget's ``constraints``, and sum(r) = 1.

    ``z`` has the K weights first, then ``num_extra`` further variables with bounds ``extra_low, extra_high``; ``rows``,
    ``rows_upper`` are further rows ``rows @ z <= rows_upper`` after the budget's. ``prior`` (K,) is the mixture that KL
    terms measure the distance to; ``repetition`` says how repeated tokens count (None: like fresh ones).

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> target, zeros = np.zeros(2, int), np.zeros(2)
        >>> atoms = Atoms(np.zeros(1), target, np.full(2, "exp"), np.ones(2), -np.eye(2), zeros, zeros)
        >>> problem = Problem(limits, (Function(np.ones(1)),))
        >>> problem.num_weights, problem.certifiable(atoms)
        (2, True)
    """

    constraints: Constraints
    functions: tuple[Function, ...]
    prior: Array | None = None
    repetition: Repetition | None = None
    num_extra: int = 0
    extra_low: Array = field(default_factory=lambda: np.zeros(0))
    extra_high: Array = field(default_factory=lambda: np.zeros(0))
    rows: Array | None = None
    rows_upper: Array | None = None

    @property
    def num_weights(self) -> int:
        """K, the number of domains."""
        return len(self.constraints.domains)

    @property
    def low(self) -> Array:
        """(n,) lower bounds."""
        return np.concatenate([self.constraints.low, self.extra_low])

    @property
    def high(self) -> Array:
        """(n,) upper bounds; where the prior of a KL term is zero nothing may be drawn."""
        high = np.maximum(self.constraints.high, self.constraints.low)
        if self.prior is not None and any(f.kl for f in self.functions):
            high = np.where(self.prior > 0, high, self.constraints.low)
        return np.concatenate([high, self.extra_high])

    @property
    def matrix(self) -> Array:
        """(M, n) rows: the budget's, then the problem's own."""
        budget = np.hstack([self.constraints.matrix, np.zeros((len(self.constraints.upper), self.num_extra))])
        return budget if self.rows is None else np.vstack([budget, self.rows])

    @property
    def upper(self) -> Array:
        """(M,) right-hand sides of :attr:`matrix`."""
        if self.rows_upper is None:
            return self.constraints.upper
        return np.concatenate([self.constraints.upper, self.rows_upper])

    @property
    def equal(self) -> Array:
        """(1, n): the weights sum to one."""
        return np.concatenate([np.ones(self.num_weights), np.zeros(self.num_extra)])[None]

    def program(self, atoms: Atoms) -> Program:
        """The problem for the certified solver."""
        k, n = self.num_weights, self.num_weights + self.num_extra
        if self.repetition is not None:
            atoms = monotone(atoms)
        atoms = align(atoms, range(k), n)
        weights = np.stack([f.weights for f in self.functions])  # (m+1, T)
        linear = np.stack([np.zeros(n) if f.linear is None else f.linear for f in self.functions])
        scale = row_scale(self.matrix, self.upper)
        return Program(
            coef=(weights[:, atoms.target] * atoms.scale)[None],
            linear=linear[None],
            const=(weights @ atoms.const + [f.const for f in self.functions])[None],
            direction=atoms.linear[None],
            offset=atoms.offset[None],
            kind=atoms.kind,
            exponent=atoms.exponent[None],
            low=self.low[None],
            high=self.high[None],
            matrix=(self.matrix * scale[:, None])[None],
            upper=(self.upper * scale)[None],
            equal=self.equal,
            right=np.ones((1, 1)),
            kl=np.array([[f.kl for f in self.functions]]),
            prior=np.full(k, 1.0 / k) if self.prior is None else np.where(self.prior > 0, self.prior, 1.0),
            repetition=None if self.repetition is None else _padded(self.repetition, self.num_extra),
        )

    def certifiable(self, atoms: Atoms) -> bool:
        """Whether every function is convex in r."""
        for f in self.functions:
            coef = f.weights[atoms.target] * atoms.scale
            if (np.where(atoms.kind == "log", coef, -coef) > 0).any() or f.kl < 0:
                return False
        return True

    def without_limits(self) -> Problem:
        """The same on the whole simplex: no floors, caps, epochs, groups or further budgets."""
        c, k = self.constraints, self.num_weights
        free = replace(
            c,
            low=np.zeros(k),
            high=np.ones(k),
            matrix=np.zeros((0, k)),
            upper=np.zeros(0),
            labels=(),
            high_kind=("simplex",) * k,
        )
        return replace(self, constraints=free)


def pooled(problem: Problem, atoms: Atoms) -> tuple[Problem, Atoms]:
    """The same problem with the objective's equal atoms merged into a target of their own (first), so that what is
    convex only in sum is seen to be convex.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> linear = np.array([[-1.0, 0.0], [-1.0, 0.0]])  # 2 exp(-web) - exp(-web)
        >>> target, zeros, scale = np.zeros(2, int), np.zeros(2), np.array([2.0, -1.0])
        >>> atoms = Atoms(np.zeros(1), target, np.full(2, "exp"), scale, linear, zeros, zeros)
        >>> problem, merged = pooled(mean(limits, np.ones(1)), atoms)
        >>> mean(limits, np.ones(1)).certifiable(atoms), problem.certifiable(merged)
        (False, True)
    """
    single = merge(combine(atoms, problem.functions[0].weights))
    first = replace(problem.functions[0], weights=np.append(1.0, np.zeros(len(atoms.const))))
    others = [replace(f, weights=np.append(0.0, f.weights)) for f in problem.functions[1:]]
    return replace(problem, functions=(first, *others)), stack([single, atoms])


def row_scale(matrix: Array, upper: Array) -> Array:
    """Factor (M,) that brings each row to a largest entry of one (costs may be in dollars per token)."""
    size = np.maximum(np.abs(matrix).max(axis=1, initial=0.0), 1e-300)
    return np.where(size > 1e-300, 1.0 / size, 1.0)


def _padded(repetition: Repetition, num_extra: int) -> Repetition:
    return replace(repetition, once=np.concatenate([repetition.once, np.full(num_extra, np.inf)]))


def mean(
    constraints: Constraints, weights: Array, guards: Sequence[Function] = (), *, kl: float = 0.0, **options: object
) -> Problem:
    """Weighted mean of losses: ``weights`` (T,), one for each target; ``guards`` must stay <= 0.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> problem = mean(limits, np.array([0.7, 0.3]))
        >>> problem.functions[0].weights.tolist(), problem.num_extra
        ([0.7, 0.3], 0)
    """
    return Problem(constraints, (Function(weights, kl=kl), *guards), **options)  # type: ignore[arg-type]


def worst(
    constraints: Constraints,
    weights: Array,
    best: Array,
    guards: Sequence[Function] = (),
    *,
    kl: float = 0.0,
    **options: object,
) -> Problem:
    """Largest excess ``weights_t / max(weights) * (loss_t - best_t)`` over the targets with a weight.

    ``weights`` and ``best``, the lowest reachable losses, are (T,).

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> problem = worst(limits, np.array([0.5, 0.5]), best=np.array([2.0, 3.0]))
        >>> [f.label for f in problem.functions], problem.num_extra  # one more variable: the largest excess
        (['', 'worst:0', 'worst:1'], 1)
    """
    k, T = len(constraints.domains), len(weights)
    tau = np.zeros(k + 1)
    tau[k] = 1.0
    chosen, top = np.flatnonzero(weights > 0), weights.max()
    rows = []
    for t in chosen:
        one = np.zeros(T)
        one[t] = weights[t] / top
        rows.append(Function(one, const=-float(best[t]) * weights[t] / top, linear=-tau, label=f"worst:{t}"))
    lifted = [replace(g, linear=np.zeros(k + 1) if g.linear is None else np.append(g.linear, 0.0)) for g in guards]
    return Problem(
        constraints,
        (Function(np.zeros(T), linear=tau, kl=kl), *rows, *lifted),
        num_extra=1,
        extra_low=np.array([-np.inf]),
        extra_high=np.array([np.inf]),
        **options,  # type: ignore[arg-type]
    )


def least_change(
    constraints: Constraints, reference: Array, required: Sequence[Function], **options: object
) -> Problem:
    """Smallest share of the tokens moved away from ``reference`` (half the L1 distance) subject to ``required``.

    ``reference`` is a mixture (K,).

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> limits = Budget(tokens=1_000).check(Corpus.declared({"web": 9_000, "code": 9_000}, source="example"))
        >>> wanted = Function(np.ones(1), const=-2.4)
        >>> problem = least_change(limits, np.array([0.9, 0.1]), [wanted])
        >>> problem.num_extra, problem.rows_upper.tolist()  # per domain, the share moved there
        (2, [0.9, 0.1])
    """
    k = len(reference)
    T = len(required[0].weights)
    moved = np.concatenate([np.zeros(k), np.ones(k)])
    rows = np.hstack([np.eye(k), -np.eye(k)])  # r - d <= reference
    lifted = [
        replace(g, linear=np.zeros(2 * k) if g.linear is None else np.append(g.linear, np.zeros(k))) for g in required
    ]
    return Problem(
        constraints,
        (Function(np.zeros(T), linear=moved), *lifted),
        num_extra=k,
        extra_low=np.zeros(k),
        extra_high=np.full(k, 2.0),
        rows=rows,
        rows_upper=np.asarray(reference, dtype=float),
        **options,  # type: ignore[arg-type]
    )

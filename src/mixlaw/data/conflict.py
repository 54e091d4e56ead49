"""Which limits of a budget cannot hold together: as few as possible.

Mixtures r satisfy ``low <= r <= high``, ``matrix @ r <= upper``, r >= 0 and sum(r) = 1. By Farkas' lemma a set of these
limits conflicts where multipliers u >= 0 of it, and v of the sum, add up to ``(...) . r >= 0`` on one side and a
negative number on the other. A smallest set is found by an integer program over which multipliers may be positive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mixlaw.kit.arrays import Array

__all__ = ["Conflict", "feasible", "smallest_conflict"]

_SLIGHT = 1e-5
"""Conflicts that miss by a smaller share of the tokens are below what the integer program can tell from none."""


@dataclass(frozen=True)
class Conflict:
    """Limits that no mixture satisfies together, and none of which can be left out.

    ``lows``, ``highs`` are domains whose floor, or upper bound, takes part; ``rows`` the further limits; ``whole``
    whether it matters that the weights sum to one.

    Example:
        >>> Conflict((0, 1), (), (), whole=True).size
        2
    """

    lows: tuple[int, ...]
    highs: tuple[int, ...]
    rows: tuple[int, ...]
    whole: bool

    @property
    def size(self) -> int:
        """How many limits conflict."""
        return len(self.lows) + len(self.highs) + len(self.rows)


def feasible(low: Array, high: Array, matrix: Array, upper: Array, whole: bool = True) -> bool:
    """Whether some r >= 0 satisfies ``low <= r <= high``, ``matrix @ r <= upper`` and, where ``whole``, sum(r) = 1.

    Args:
        low, high: (K,) bounds.
        matrix, upper: (M, K), (M,) further limits.

    Example:
        >>> none = np.zeros((0, 2)), np.zeros(0)
        >>> feasible(np.array([0.6, 0.6]), np.ones(2), *none), feasible(np.array([0.6, 0.6]), np.ones(2), *none, False)
        (False, True)
    """
    from scipy.optimize import linprog

    if (low > high + 1e-12).any():
        return False
    result = linprog(
        np.zeros(len(low)),
        A_ub=matrix if len(matrix) else None,
        b_ub=upper + 1e-12 if len(matrix) else None,
        A_eq=np.ones((1, len(low))) if whole else None,
        b_eq=[1.0] if whole else None,
        bounds=list(zip(low, np.maximum(low, high))),
        method="highs",
    )
    return bool(result.status == 0)


def smallest_conflict(low: Array, high: Array, matrix: Array, upper: Array, seconds: float = 5.0) -> Conflict:
    """A conflict of as few limits as possible. Where the integer program does not end in time, or the limits miss by
    less than a hundred-thousandth of the tokens, one from which no limit can be left out.

    Args:
        low, high: (K,) bounds; 0 and 1 are no limits.
        matrix, upper: (M, K), (M,) further limits.
        seconds: time for the integer program.

    Example:
        >>> low, high = np.array([0.0, 0.3, 0.3]), np.array([0.6, 1.0, 1.0])
        >>> group, cap = np.array([[0.0, 1.0, 1.0]]), np.array([0.5])  # the last two together: at most a half
        >>> smallest_conflict(low, high, group, cap)
        Conflict(lows=(1, 2), highs=(), rows=(0,), whole=False)
    """
    size = np.abs(matrix).max(axis=1, initial=0.0)  # rows in the scale of weights
    size = np.where(size > 0, size, 1.0)
    with np.errstate(over="ignore"):  # a limit that allows a million times all tokens limits nothing
        matrix, upper = matrix / size[:, None], np.clip(upper / size, -1e6, 1e6)
    few = _integer_program(low, high, matrix, upper, seconds)
    kept = np.ones(len(low) * 2 + len(upper), dtype=bool) if few is None else few
    kept[: len(low)] &= low > 0
    kept[len(low) : 2 * len(low)] &= high < 1
    return _irreducible(low, high, matrix, upper, kept)


def _integer_program(
    low: Array, high: Array, matrix: Array, upper: Array, seconds: float
) -> npt.NDArray[np.bool_] | None:
    """(2 K + M) which floors, upper bounds and rows a smallest conflict has; None where none was found."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    k, m = len(low), len(upper)
    limits = 2 * k + m
    usable = np.concatenate([low > 0, high < 1, np.ones(m, dtype=bool)]).astype(float)
    # variables: multipliers u (limits), v of the sum (1), which limits take part (limits), whether the sum does (1)
    falls = np.hstack([-np.eye(k), np.eye(k), matrix.T, np.ones((k, 1)), np.zeros((k, limits + 1))])
    value = np.concatenate([-low, high, upper, [1.0], np.zeros(limits + 1)])
    chosen = np.hstack([np.eye(limits + 1), -np.eye(limits + 1)])
    other = np.hstack([-np.eye(limits + 1), -np.eye(limits + 1)])[-1:]  # v may be negative: |v| <= whether
    big = max(1.0, float(m))
    chosen[-1, -1] = other[-1, -1] = -big
    result = milp(
        np.concatenate([np.zeros(limits + 1), np.ones(limits), [0.5]]),  # among equals, one without the sum
        integrality=np.concatenate([np.zeros(limits + 1), np.ones(limits + 1)]),
        bounds=Bounds(
            np.concatenate([np.zeros(limits), [-big], np.zeros(limits + 1)]),
            np.concatenate([usable, [big], usable, [1.0]]),
        ),
        constraints=[
            LinearConstraint(falls, 0.0, np.inf),
            LinearConstraint(value[None] / _SLIGHT, -np.inf, -1.0),
            LinearConstraint(np.vstack([chosen, other]), -np.inf, 0.0),
        ],
        options={"time_limit": seconds},
    )
    if result.x is None:
        return None
    few = np.asarray(result.x)[limits + 1 : 2 * limits + 1] > 0.5
    lows = np.where(few[:k], low, 0.0)
    highs = np.where(few[k : 2 * k], high, 1.0)
    return None if feasible(lows, highs, matrix[few[2 * k :]], upper[few[2 * k :]]) else few


def _irreducible(low: Array, high: Array, matrix: Array, upper: Array, kept: npt.NDArray[np.bool_]) -> Conflict:
    """What is left of the limits ``kept`` (2 K + M) after each that is not needed was deleted."""
    k = len(low)

    def possible(some: npt.NDArray[np.bool_], whole: bool = True) -> bool:
        rows = some[2 * k :]
        return feasible(
            np.where(some[:k], low, 0.0), np.where(some[k : 2 * k], high, 1.0), matrix[rows], upper[rows], whole
        )

    kept = kept.copy()
    for i in np.flatnonzero(kept):
        kept[i] = False
        kept[i] = possible(kept)
    lows, highs, rows = (
        tuple(int(i) for i in np.flatnonzero(part)) for part in (kept[:k], kept[k : 2 * k], kept[2 * k :])
    )
    return Conflict(lows, highs, rows, whole=possible(kept, whole=False))

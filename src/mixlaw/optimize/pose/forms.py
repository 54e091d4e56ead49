"""Atoms put into the shape solvers want: aligned to a corpus, merged, and composed with repeated data.

Repetition (Muennighoff et al. 2023, arXiv:2305.16264): drawing a domain ``e`` times over is worth
``U (1 + R* (1 - exp(-(e - 1) / R*)))`` fresh tokens, U its unique tokens. As a share of the budget this is a concave
function of the weight, so a law that falls with more effective tokens stays convex.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms

__all__ = ["PUBLISHED_DECAY", "Repetition", "combine", "merge", "monotone", "stack"]

PUBLISHED_DECAY = 15.387756
"""R_D* of Muennighoff et al. 2023 (repository README): fitted to whole corpora repeated, not to one domain of many."""


@dataclass(frozen=True)
class Repetition:
    """Effective share of the budget of a weight r, per variable: r up to one epoch, then saturating.

    Args:
        once: (n,) the weight at which a domain has been seen once (unique tokens / budget); inf = never repeats.
        decay: R*, in epochs.

    Raises:
        ConfigError: ``decay`` is not a positive number of epochs.

    Example:
        >>> Repetition(np.array([0.1]), 15.387756).value(np.array([[0.4]])).round(4).tolist()  # 4 epochs
        [[0.3726]]
    """

    once: Array
    decay: float = PUBLISHED_DECAY

    def __post_init__(self) -> None:
        if not (np.isfinite(self.decay) and self.decay > 0):
            raise ConfigError(f"repetition must be a positive number of epochs (R*), got {self.decay!r}.")

    @staticmethod
    def asked(
        option: bool | float | None, unique_tokens: Sequence[float] | Array, budget_tokens: int
    ) -> Repetition | None:
        """What ``repetition=`` of the public calls means: None or False nothing, True the published R*, a number R*.

        Args:
            option: the value given; R* is in epochs.
            unique_tokens: (K,) unique tokens of each domain.
            budget_tokens: of the target run.

        Raises:
            ConfigError: R* that is not positive.
        """
        if option is None or option is False:
            return None
        if not isinstance(option, int | float | np.integer | np.floating):
            raise ConfigError(f"repetition={option!r} must be True, False or R*, a number of epochs.")
        once = np.array([u / budget_tokens for u in unique_tokens])
        return Repetition(once, PUBLISHED_DECAY if option is True else float(option))

    def take(self, keep: npt.NDArray[np.bool_]) -> Repetition:
        """Only the variables where ``keep`` (n,) is true."""
        return replace(self, once=self.once[keep])

    def _beyond(self, z: Array) -> tuple[npt.NDArray[np.bool_], Array]:
        """Where z is past one epoch, and exp(-(epochs - 1) / R*) there (1 elsewhere)."""
        past = z > self.once
        excess = np.where(past, z / np.where(past, self.once, 1.0) - 1.0, 0.0)
        return past, np.exp(-excess / self.decay)

    def value(self, z: Array) -> Array:
        """Effective shares (B, n)."""
        past, left = self._beyond(z)
        once = np.where(past, self.once, 0.0)
        return np.where(past, once * (1.0 + self.decay * (1.0 - left)), z)

    def slope(self, z: Array) -> Array:
        """d effective / d weight (B, n): what the last token is worth against a fresh one."""
        return self._beyond(z)[1]

    def curvature(self, z: Array) -> Array:
        """Second derivative (B, n) with respect to the weights z (B, n), <= 0."""
        past, left = self._beyond(z)
        return np.where(past, -left / (self.decay * np.where(past, self.once, 1.0)), 0.0)

    def slope_once(self, z: Array) -> Array:
        """d effective / d once (B, n): what more unique tokens are worth."""
        past, left = self._beyond(z)
        epochs = np.where(past, z / np.where(past, self.once, 1.0), 1.0)
        return np.where(past, 1.0 + self.decay * (1.0 - left) - epochs * left, 0.0)


def monotone(atoms: Atoms) -> Atoms:
    """The same values on the simplex, written so that every atom falls with every weight.

    Weights sum to one, so a constant added to all coefficients of a linear form is a constant in its offset. With
    the least helpful domain at zero, a share lost to repetition counts as a share of that domain.

    Example:
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> atoms = Atoms(zero, np.zeros(1, int), np.array(["exp"]), one, np.array([[1.0, -2.0]]), zero, zero)
        >>> falling = monotone(atoms)  # exp(web - 2 code) is e exp(-3 code) where the two sum to one
        >>> falling.linear.tolist(), falling.offset.tolist()
        ([[0.0, -3.0]], [1.0])
    """
    falling = np.where(atoms.kind == "exp", atoms.scale > 0, atoms.scale <= 0)
    falling = np.where(atoms.kind == "power", atoms.scale < 0, falling)  # True: the atom grows with u
    shift = np.where(falling, atoms.linear.max(axis=1), atoms.linear.min(axis=1))
    return replace(atoms, linear=atoms.linear - shift[:, None], offset=atoms.offset + shift)


def combine(atoms: Atoms, weights: npt.ArrayLike) -> Atoms:
    """One target: ``sum_t weights[t] loss_t``.

    Args:
        weights: (T,), of any sign.

    Example:
        >>> const, zeros = np.array([2.0, 3.0]), np.zeros(2)
        >>> atoms = Atoms(const, np.arange(2), np.full(2, "exp"), np.ones(2), -np.eye(2), zeros, zeros)
        >>> combine(atoms, [0.5, 0.5]).value([[1.0, 0.0]]).round(4).tolist()  # 2.5 + (exp(-1) + 1) / 2
        [[3.1839]]
    """
    w = np.asarray(weights, dtype=float)
    keep = w[atoms.target] != 0
    return Atoms(
        const=np.array([float(w @ atoms.const)]),
        target=np.zeros(int(keep.sum()), dtype=np.int64),
        kind=atoms.kind[keep],
        scale=(atoms.scale * w[atoms.target])[keep],
        linear=atoms.linear[keep],
        offset=atoms.offset[keep],
        exponent=atoms.exponent[keep],
    )


def merge(atoms: Atoms) -> Atoms:
    """The same one-target law with equal atoms added up: a domain that hurts one set and helps another more is then one
    convex atom, not a concave and a convex one.

    Example:
        >>> linear = np.array([[-1.0, 0.0], [-1.0, 0.0]])  # 2 exp(-web) - exp(-web)
        >>> target, zeros, scale = np.zeros(2, int), np.zeros(2), np.array([2.0, -1.0])
        >>> atoms = Atoms(np.zeros(1), target, np.full(2, "exp"), scale, linear, zeros, zeros)
        >>> atoms.convex().tolist(), merge(atoms).convex().tolist()
        ([False], [True])
    """
    order = np.array([{"exp": 0.0, "power": 1.0, "log": 2.0}[str(k)] for k in atoms.kind])
    keys = np.column_stack([order, atoms.exponent, atoms.offset, atoms.linear])
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    scale = np.bincount(np.ravel(group), weights=atoms.scale, minlength=len(first))
    keep = scale != 0
    first = first[keep]
    return Atoms(
        const=atoms.const,
        target=atoms.target[first],
        kind=atoms.kind[first],
        scale=scale[keep],
        linear=atoms.linear[first],
        offset=atoms.offset[first],
        exponent=atoms.exponent[first],
    )


def stack(laws: Sequence[Atoms]) -> Atoms:
    """Targets of several laws side by side: the targets of the first, then those of the second, ...

    Example:
        >>> target, zeros = np.zeros(2, int), np.zeros(2)
        >>> atoms = Atoms(np.zeros(1), target, np.full(2, "exp"), np.ones(2), -np.eye(2), zeros, zeros)
        >>> len(stack([atoms, atoms]).const), stack([atoms, atoms]).target.tolist()
        (2, [0, 0, 1, 1])
    """
    counts = np.cumsum([0, *(len(law.const) for law in laws)])
    return Atoms(
        const=np.concatenate([law.const for law in laws]),
        target=np.concatenate([law.target + c for law, c in zip(laws, counts)]).astype(np.int64),
        kind=np.concatenate([law.kind for law in laws]),
        scale=np.concatenate([law.scale for law in laws]),
        linear=np.concatenate([law.linear for law in laws]),
        offset=np.concatenate([law.offset for law in laws]),
        exponent=np.concatenate([law.exponent for law in laws]),
    )

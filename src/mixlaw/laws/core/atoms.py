"""The form of a fitted mixture law that solvers can certify: sums of one-dimensional functions of linear forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array

__all__ = ["Atoms", "align"]

_FUNCTIONS: dict[str, tuple[Callable[[Array, Array], Array], ...]] = {
    "exp": (lambda u, p: np.exp(u),) * 3,
    "power": (lambda u, p: u**-p, lambda u, p: -p * u ** (-p - 1), lambda u, p: p * (p + 1) * u ** (-p - 2)),
    "log": (lambda u, p: np.log(u), lambda u, p: 1 / u, lambda u, p: -1 / u**2),
}
"""phi of each kind, its slope and its curvature in u, for exponents p."""


@dataclass(frozen=True)
class Atoms:
    """A fitted mixture law as sums of one-dimensional functions of linear forms: what solvers can certify.

    ``loss_t(r) = const[t] + sum over atoms a of target t:  scale[a] * phi_kind(u_a)``,
    ``u_a = linear[a] @ r + offset[a]``

    ========  =======================  ============================
    kind      phi(u)                   convex in r when
    ========  =======================  ============================
    "exp"     exp(u)                   scale >= 0
    "power"   u ** -exponent (u > 0)   scale >= 0 (exponent > 0)
    "log"     log(u)         (u > 0)   scale <= 0
    ========  =======================  ============================

    Shapes: ``const`` (T,), ``target`` (A,) int index into T, ``kind`` (A,) str, ``scale``, ``offset``,
    ``exponent`` (A,) (exponent is used by "power" only), ``linear`` (A, K).

    Example:
        >>> atoms = Atoms(
        ...     const=np.array([2.0]), target=np.array([0]), kind=np.array(["exp"]), scale=np.array([1.0]),
        ...     linear=np.array([[-3.0, 0.0]]), offset=np.array([0.0]), exponent=np.array([0.0]),
        ... )
        >>> atoms.value(np.array([[0.0, 1.0]])).tolist(), atoms.convex().tolist()
        ([[3.0]], [True])
    """

    const: Array
    target: npt.NDArray[np.int64]
    kind: npt.NDArray[np.str_]
    scale: Array
    linear: Array
    offset: Array
    exponent: Array

    def convex(self) -> npt.NDArray[np.bool_]:
        """(T,) whether each target is convex on the simplex."""
        ok = np.where(self.kind == "log", self.scale <= 0, self.scale >= 0)
        result = np.ones(len(self.const), dtype=bool)
        np.logical_and.at(result, self.target, ok)
        return result

    def _phi(self, X: Array, order: int) -> Array:
        """phi (order 0) or its first / second derivative with respect to u, times scale: (n, A)."""
        u = X @ self.linear.T + self.offset
        out = np.empty_like(u)
        for kind in np.unique(self.kind):
            if kind not in _FUNCTIONS:
                raise DataError(f"Unknown atom kind {kind!r}; known: {', '.join(_FUNCTIONS)}.")
            columns = self.kind == kind
            out[:, columns] = _FUNCTIONS[kind][order](u[:, columns], self.exponent[columns])
        return out * self.scale

    def _collect(self, columns: Array) -> Array:
        out = np.zeros((columns.shape[0], len(self.const), *columns.shape[2:]))
        np.add.at(out, (slice(None), self.target), columns)  # type: ignore[arg-type]
        return out

    def value(self, X: npt.ArrayLike) -> Array:
        """Predicted targets (n, T), in their unit (usually nats per token), at mixtures X (n, K).

        Raises:
            DataError: an unknown ``kind`` of atom.
        """
        return self.const + self._collect(self._phi(np.atleast_2d(np.asarray(X, dtype=float)), 0))

    def gradient(self, X: npt.ArrayLike) -> Array:
        """d loss_t / d r_j, per unit of weight, at X (n, K): shape (n, T, K).

        Raises:
            DataError: an unknown ``kind`` of atom.
        """
        slope = self._phi(np.atleast_2d(np.asarray(X, dtype=float)), 1)  # (n, A)
        return self._collect(slope[:, :, None] * self.linear[None])

    def hessian(self, x: npt.ArrayLike) -> Array:
        """Second derivatives at one mixture x (K,): shape (T, K, K).

        Raises:
            DataError: an unknown ``kind`` of atom.
        """
        curve = self._phi(np.atleast_2d(np.asarray(x, dtype=float)), 2)[0]  # (A,)
        out = np.zeros((len(self.const), self.linear.shape[1], self.linear.shape[1]))
        np.add.at(out, self.target, curve[:, None, None] * self.linear[:, :, None] * self.linear[:, None, :])
        return out


def align(atoms: Atoms, columns: Sequence[int], num_variables: int | None = None) -> Atoms:
    """Atoms over the caller's variables: variable i of the result is column ``columns[i]``, the rest are zero.

    Example:
        >>> from mixlaw.laws import M4
        >>> R = np.random.default_rng(0).dirichlet([1, 1], 12)
        >>> atoms = M4().fit(R, 2 + np.exp(-2 * R[:, 0])).atoms()
        >>> wider = align(atoms, [0, 1], num_variables=3)  # a third variable, on which no loss depends
        >>> wider.linear.shape[1], bool((wider.linear[:, 2] == 0).all())
        (3, True)
    """
    n = len(columns) if num_variables is None else num_variables
    linear = np.zeros((len(atoms.linear), n))
    linear[:, : len(columns)] = atoms.linear[:, list(columns)]
    return replace(atoms, linear=linear)

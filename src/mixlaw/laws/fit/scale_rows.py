"""What a fit of a law of size works on: its rows, and what it makes small over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from mixlaw.kit.arrays import Array
from mixlaw.laws.core.bounds import Sides
from mixlaw.laws.fit.engine import Model

__all__ = ["Criterion", "Rows"]


@dataclass(frozen=True)
class Rows:
    """The rows of a fit: ``columns`` in the law's order, (n,) each and weights (n, K), losses ``Y`` (T, n), ``weights``
    (T, n) of all values (0 where there is none), ``measured`` (T, n) those of measurements alone, and ``side`` (T, n):
    +1 or -1 where Y is a bound, None without bounds.

    Example:
        >>> import numpy as np
        >>> tokens, Y, ones = np.array([1e8, 1e9]), np.array([[3.0, 2.5], [2.0, 1.9]]), np.ones((2, 2))
        >>> rows = Rows((tokens,), Y, ones, ones, None)
        >>> rows.of(1).Y.tolist()
        [[2.0, 1.9]]
    """

    columns: tuple[Array, ...]
    Y: Array
    weights: Array
    measured: Array
    side: Sides | None

    def of(self, target: int) -> Rows:
        """The rows of one target."""
        one = slice(target, target + 1)
        side = None if self.side is None else self.side[one]
        return Rows(self.columns, self.Y[one], self.weights[one], self.measured[one], side)


class Criterion(NamedTuple):
    """What a fit makes small: ``loss`` (with Huber's ``delta``) of ``model`` minus ``Y`` (T, n), or with ``log`` of the
    difference of their logarithms.

    Example:
        >>> import numpy as np
        >>> from mixlaw.laws import Chinchilla
        >>> columns = (np.array([1e8, 1e9]), np.array([1e9, 1e10]))
        >>> Chinchilla()._criterion(columns, np.array([[3.0, 2.5]])).log
        True
    """

    model: Model
    Y: Array
    loss: Literal["squared", "huber"]
    delta: float
    log: bool

"""The runs a law was fitted on, read once: mixtures and losses as arrays, held-out errors, refits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array, alike
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.table import as_matrix, as_targets
from mixlaw.optimize.pose.view import LawView

__all__ = ["Rows"]


@dataclass(frozen=True)
class Rows:
    """Runs as a view of their law sees them; make one with :meth:`of`.

    Args:
        view: of the law.
        weights: (n, K) token shares in the corpus' order.
        losses: (n, T) losses in nats, NaN where not measured.
        X: (n, columns) the same runs in the law's own columns (sizes and former domains included).

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> runs = {"web": web, "code": 1 - web}, {"all": 3 - np.log(web + 0.1)}
        >>> corpus = Corpus.declared({"code": 5_000, "web": 5_000}, source="example")
        >>> view = LawView(LogLinear().fit(*runs), corpus, Budget(tokens=1_000))
        >>> Rows.of(view, runs).weights[0].tolist()
        [0.9, 0.1]
    """

    view: LawView
    weights: Array
    losses: Array
    X: Array

    @classmethod
    def of(cls, view: LawView, runs: tuple[Any, Any]) -> Rows:
        """Read runs ``(X, y)``: arrays in the law's order, or tables by name in any order.

        Raises:
            DataError: columns or targets of the law are missing, or shapes do not match.
        """
        names = view.columns
        matrix, found = as_matrix(runs[0])
        losses, targets, _ = as_targets(runs[1], allow_missing=True)
        if found is not None:
            missing = [n for n in names if n not in found]
            if missing:
                raise DataError(f"runs lack the columns {missing} the law was fitted on; they have {found}.")
            matrix = matrix[:, [found.index(n) for n in names]]
        if matrix.shape[1] != len(names):
            raise DataError(f"runs have {matrix.shape[1]} columns; the law was fitted on {names}.")
        if targets is not None:
            missing = [t for t in view.targets if t not in targets]
            if missing:
                raise DataError(f"runs lack the targets {missing} of the law; they have {targets}.")
            losses = losses[:, [targets.index(t) for t in view.targets]]
        if losses.shape != (len(matrix), len(view.targets)):
            raise DataError(f"runs hold {len(matrix)} mixtures but losses of shape {losses.shape}.")
        return cls(view, view.weights_of(matrix), losses, matrix)

    @property
    def other_columns(self) -> npt.NDArray[np.bool_]:
        """(columns,) of X: which are no weights of the corpus' domains (sizes, domains that are gone)."""
        return self.view.other_columns

    @cached_property
    def errors(self) -> Array:
        """(n, T) errors in nats of predictions by fits that had not seen the run; NaN where there are none."""
        return self.view.heldout(self.X, self.losses) - self.losses

    def are_of(self, law: Law) -> bool:
        """Whether a law was fitted to just these runs, and remembers them."""
        return law.training is not None and alike(law.training.X, self.X) and alike(law.training.Y, self.losses)

    def refits(self, weights: npt.ArrayLike) -> list[LawView]:
        """Views of the law refitted under other weights (B, n) of the runs; refits that failed are left out."""
        return self.view.refits(self.X, self.losses, np.asarray(weights, dtype=float))

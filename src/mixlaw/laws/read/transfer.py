"""Do the best mixtures stay best at larger sizes? Ranks measured between sizes, and said in words.

A law fitted on small proxies is worth what its ranking of mixtures is worth at the target size. Where the same
mixtures were run at several sizes this can be measured; where not, nothing is known and that is said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import rounded
from mixlaw.errors import DataError, NotIdentifiableError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.columns import check_counts, find_columns
from mixlaw.laws.core.table import as_matrix, as_targets

__all__ = ["RankTransfer", "rank_transfer"]


@dataclass(frozen=True)
class RankTransfer:
    """Ranks of the same mixtures at every size.

    ``sizes`` (S,) in non-embedding parameters, ``mixtures`` (M, K) weights of the ``domains``, ``losses`` and ``ranks``
    (M, S) (1 = lowest loss), ``spearman`` (S, S),
    ``table``: per pair of sizes Spearman, decision accuracy (share of pairs of mixtures ordered alike), the rank at
    the larger size of the best at the smaller, and the regret: its loss above the larger size's best, in the
    target's unit.

    Example:
        >>> rows = {"web": [0.2, 0.5, 0.8] * 2, "code": [0.8, 0.5, 0.2] * 2}
        >>> rows |= {"params": [10e6] * 3 + [100e6] * 3, "tokens": [1e9] * 6}
        >>> found = rank_transfer(rows, [3.1, 3.0, 3.2, 2.4, 2.5, 2.6])
        >>> found.ranks_of_best()  # the best small mixture is second at the larger size
        [1, 2]
    """

    sizes: Array
    mixtures: Array
    losses: Array
    ranks: npt.NDArray[np.int64]
    spearman: Array
    table: list[dict[str, Any]]
    domains: list[str] = field(default_factory=list)

    def ranks_of_best(self, size: int = 0) -> list[int]:
        """Ranks at every size of the mixture that is best at size number ``size`` (0 = the smallest)."""
        return [int(r) for r in self.ranks[int(np.argmin(self.losses[:, size]))]]

    def __str__(self) -> str:
        best = self.ranks_of_best()
        lines = [
            f"{len(self.mixtures)} mixtures at {len(self.sizes)} sizes "
            f"({', '.join(_short(s) for s in self.sizes)} parameters).",
            f"The best at {_short(self.sizes[0])} ranks {', '.join(map(str, best))} of {len(self.mixtures)}.",
            f"{'from':>8} {'to':>8} {'Spearman':>9} {'pairs alike':>12} {'rank of best':>13} {'regret':>8}",
        ]
        for row in self.table:
            lines.append(
                f"{_short(row['from']):>8} {_short(row['to']):>8} {row['spearman']:>9.3f} "
                f"{row['decision_accuracy']:>12.3f} {row['rank_of_best']:>13d} {row['regret']:>8.4f}"
            )
        if best[-1] > 1:
            lines.append(
                "So the best proxy mixture is not the best large one: optimise a law that extrapolates over sizes "
                "(laws.Joint), and treat a difference below the regret as a tie."
            )
        return "\n".join(lines)


def _short(size: float) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{size / unit:.3g}{name}"
    return f"{size:.3g}"


def rank_transfer(X: Any, y: npt.ArrayLike, target_weights: npt.ArrayLike | None = None) -> RankTransfer:
    """Compare the ranking of mixtures between the sizes they were run at.

    Args:
        X: one row per evaluation: weights, ``params`` and ``tokens`` (or ``step``), as for :class:`Joint`.
            The latest token count that all compared runs share is used.
        y: (n,) losses, or (n, T) with ``target_weights`` (T,) to add them up.
        target_weights: weights of the targets in the sum; equal when not given.

    Raises:
        NotIdentifiableError: fewer than three mixtures were run at two sizes or more.
        DataError: what was given cannot be read.

    Example:
        >>> X = {"web": [.2, .5, .8] * 2, "code": [.8, .5, .2] * 2, "params": [1e7] * 3 + [1e8] * 3}
        >>> X["tokens"] = [1e9] * 6
        >>> rank_transfer(X, [3.0, 3.1, 3.2, 2.6, 2.5, 2.7]).ranks_of_best()
        [1, 2]
    """
    matrix, names = as_matrix(X)
    Y, _, _ = as_targets(y)
    if len(matrix) != len(Y):
        raise DataError(f"X has {len(matrix)} rows but y has {len(Y)}.")
    columns = find_columns(names, matrix.shape[1])
    check_counts(matrix[:, columns.params], "params")
    share = np.full(Y.shape[1], 1.0 / Y.shape[1]) if target_weights is None else np.asarray(target_weights, dtype=float)
    if share.shape != (Y.shape[1],):
        raise DataError(f"target_weights must be {Y.shape[1]} numbers, got shape {share.shape}.")
    loss, params = Y @ share, matrix[:, columns.params]
    position = columns.step if columns.step is not None else columns.tokens
    assert position is not None  # find_columns refuses a table with neither
    length = matrix[:, position]
    weights = rounded(matrix[:, columns.weights])
    sizes = np.unique(params)
    if len(sizes) < 2:
        raise NotIdentifiableError(
            f"All runs have {_short(sizes[0])} parameters: whether ranks transfer to other sizes is not known. Run a "
            f"few of the mixtures at a second size."
        )
    at: dict[tuple[float, ...], dict[tuple[float, float], float]] = {}
    for row in range(len(loss)):
        at.setdefault(tuple(weights[row]), {})[(float(params[row]), float(length[row]))] = float(loss[row])
    best: tuple[int, float, list[tuple[float, ...]]] | None = None
    for step in np.unique(length)[::-1]:
        both = [m for m, seen in at.items() if all((float(s), float(step)) in seen for s in sizes)]
        if best is None or len(both) > best[0]:
            best = (len(both), float(step), both)
    assert best is not None  # length is not empty
    count, step, chosen = best
    if count < 3:
        raise NotIdentifiableError(
            f"Only {count} mixtures were run at all of {len(sizes)} sizes with the same token count; ranks need three. "
            f"Leave out sizes with few runs, or add runs."
        )
    losses = np.array([[at[m][(float(s), step)] for s in sizes] for m in chosen])
    ranks = losses.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable") + 1
    spearman = np.corrcoef(ranks.T.astype(float))
    upper = np.triu_indices(count, 1)
    order = np.sign(losses[upper[0]] - losses[upper[1]])
    table = []
    for i in range(len(sizes)):
        for j in range(i + 1, len(sizes)):
            winner = int(np.argmin(losses[:, i]))
            table.append(
                {
                    "from": float(sizes[i]),
                    "to": float(sizes[j]),
                    "spearman": float(spearman[i, j]),
                    "decision_accuracy": float((order[:, i] == order[:, j]).mean()),
                    "rank_of_best": int(ranks[winner, j]),
                    "regret": float(losses[winner, j] - losses[:, j].min()),
                }
            )
    domains = [names[i] for i in columns.weights] if names else [f"x{i}" for i in columns.weights]
    return RankTransfer(sizes, np.array(chosen), losses, ranks.astype(np.int64), spearman, table, domains)

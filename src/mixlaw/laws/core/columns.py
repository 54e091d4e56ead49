"""Reading sizes and token counts: which column is what, and whether the numbers can be counts at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixlaw.data.columns import COUNTS, SIZES
from mixlaw.errors import DataError, NotIdentifiableError, TooFewRunsError
from mixlaw.kit.arrays import Array

__all__ = [
    "WEIGHTS",
    "Columns",
    "check_column",
    "check_counts",
    "check_weights",
    "column_range",
    "find_columns",
    "need_runs",
    "need_sizes",
    "weight_columns",
]

WEIGHTS = "weights"
"""What a law's declaration calls the block of columns that are shares of domains."""

_SMALLEST = 1e4

_RANGES = {
    "params": (3e7, 1e10),
    "tokens": (1e9, 3e11),
    "unique_tokens": (3e8, 3e10),
    "step": (1e3, 1e5),
    "loss": (1.6, 4.0),
}


@dataclass(frozen=True)
class Columns:
    """Where things are in X: indices of the mixture weights and of the reserved columns (None where absent).

    Example:
        >>> where = find_columns(["web", "code", "params", "tokens"], 4)
        >>> where.weights, where.params, where.tokens, where.step
        ((0, 1), 2, 3, None)
    """

    weights: tuple[int, ...]
    params: int
    tokens: int | None
    step: int | None


def find_columns(names: Sequence[str] | None, num: int) -> Columns:
    """Columns of a joint law: every column that is not ``params``, ``tokens``, ``step`` or ``unique_tokens`` is a
    weight. A plain array is read as weights, then params, then tokens.

    Raises:
        DataError: no column of sizes, of tokens or steps, or of weights.

    Example:
        >>> find_columns(["tokens", "web", "code", "params"], 4).weights
        (1, 2)
        >>> find_columns(None, 5).weights  # a plain array: three weights, params, tokens
        (0, 1, 2)
    """
    if names is None or all(n.startswith("x") and n[1:].isdigit() for n in names):
        if num < 3:
            raise DataError(f"A plain array for a joint law holds weights, params, tokens; got only {num} columns.")
        return Columns(tuple(range(num - 2)), num - 2, num - 1, None)
    where = {n: i for i, n in enumerate(names)}
    if "params" not in where or not {"tokens", "step"} & set(where):
        raise DataError(
            f"A law of mixture, size and tokens needs the columns 'params' and 'tokens' (or 'step') beside the "
            f"weights; got {list(names)}. Rename yours, for example non_embedding_params -> params."
        )
    weights = tuple(weight_columns(names))
    if not weights:
        raise DataError(f"X has no column of mixture weights, only {list(names)}. Use laws.Chinchilla for sizes alone.")
    return Columns(weights, where["params"], where.get("tokens"), where.get("step"))


def weight_columns(names: Sequence[str], others: Sequence[str] = ()) -> list[int]:
    """Positions of the columns that are shares of domains: those that are no sizes and not among ``others``.

    Example:
        >>> weight_columns(["tokens", "web", "code", "experts"], others=["experts"])
        [1, 2]
    """
    return [i for i, n in enumerate(names) if n not in SIZES and n not in others]


def check_weights(W: Array) -> None:
    """Refuse mixture weights (n, K) outside [0, 1].

    Raises:
        DataError: which rows.

    Example:
        >>> check_weights(np.array([[0.7, 0.3], [70.0, 30.0]]))
        Traceback (most recent call last):
        mixlaw.errors.DataError: Mixture weights must lie in [0, 1]; rows [1] do not. They are shares of tokens.
    """
    outside = (W < -1e-9) | (W > 1 + 1e-9)
    if outside.any():
        rows = np.flatnonzero(outside.any(axis=1))[:5].tolist()
        raise DataError(f"Mixture weights must lie in [0, 1]; rows {rows} do not. They are shares of tokens.")


def check_counts(values: Array, name: str) -> None:
    """Refuse counts that are not positive or are plainly in millions or billions, or in two units at once.

    Args:
        values: (n,) parameters or tokens, as plain counts.

    Raises:
        DataError: which rows, what they hold, and what to give instead.

    Example:
        >>> check_counts(np.array([70e6, 1.4e9]), "params")
        >>> check_counts(np.array([70.0, 1400.0]), "params")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mixlaw.errors.DataError: params looks as if it were in millions or billions: rows [0, 1] hold ...
    """
    if (values <= 0).any():
        rows = np.flatnonzero(values <= 0)[:5].tolist()
        raise DataError(f"{name} must be positive; rows {rows} hold {values[rows].tolist()}.")
    small = values < _SMALLEST
    if small.any():
        rows = np.flatnonzero(small)[:5].tolist()
        unit = "millions or billions" if small.all() else "two units at once (some in millions or billions)"
        raise DataError(
            f"{name} looks as if it were in {unit}: rows {rows} hold {values[rows].tolist()}. Give plain counts, "
            f"for example 70e6 and not 70."
        )


def column_range(name: str) -> tuple[float, float]:
    """Usual least and greatest value of a column, between which examples are drawn log-uniformly; (1, 1e3) for a
    column that this project does not know.

    Example:
        >>> column_range("params"), column_range("experts")
        ((30000000.0, 10000000000.0), (1.0, 1000.0))
    """
    return _RANGES.get(name, (1.0, 1e3))


def check_column(values: Array, name: str) -> None:
    """Refuse what a column of this name cannot hold: sizes and token counts must be plain counts, others positive.

    Args:
        values: (n,).

    Raises:
        DataError: which rows, what they hold, and what to give instead.

    Example:
        >>> check_column(np.array([0.001, 0.0]), "learning_rate")
        Traceback (most recent call last):
        mixlaw.errors.DataError: learning_rate must be positive; rows [1] hold [0.0].
    """
    if name in COUNTS:
        check_counts(values, name)
    elif (values <= 0).any():
        rows = np.flatnonzero(values <= 0)[:5].tolist()
        raise DataError(f"{name} must be positive; rows {rows} hold {values[rows].tolist()}.")


def need_runs(n: int, needed: int, law: str) -> None:
    """Raise where there are fewer rows than parameters to find.

    Raises:
        TooFewRunsError: fewer than ``needed``.

    Example:
        >>> need_runs(4, 5, "Chinchilla")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mixlaw.errors.TooFewRunsError: Chinchilla has 5 parameters and was given 4 runs. ...
    """
    if n < needed:
        raise TooFewRunsError(f"{law} has {needed} parameters and was given {n} runs. Give at least {needed + 1}.")


def need_sizes(values: Array, needed: int, what: str, law: str) -> None:
    """Raise where a quantity (``values`` (n,), called ``what``) takes too few different values to say how the loss
    depends on it.

    Raises:
        NotIdentifiableError: fewer than ``needed`` different values.

    Example:
        >>> need_sizes(np.array([70e6, 70e6]), 2, "model sizes", "Chinchilla")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mixlaw.errors.NotIdentifiableError: Chinchilla needs at least 2 different model sizes to say ...
    """
    found = np.unique(values)
    if len(found) < needed:
        shown = ", ".join(f"{v:.4g}" for v in found[:5])
        raise NotIdentifiableError(
            f"{law} needs at least {needed} different {what} to say how the loss depends on it; these runs have "
            f"{len(found)} ({shown}). Add runs at other values, or use a law that leaves {what} out."
        )

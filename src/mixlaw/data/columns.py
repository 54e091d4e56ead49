"""Names of the columns of X that are sizes of a run, not weights of domains: the one list of them.

Mixture weights may have any name but these. A law that brings a column of its own (``experts``, ``batch_tokens``)
adds it here, and every reader of tables knows it.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["COUNTS", "SIZES", "domains_of", "sizes_of"]

SIZES: dict[str, str] = {
    "params": "non-embedding parameters, a count",
    "tokens": "training tokens, a count",
    "step": "optimiser steps, a count",
    "unique_tokens": "tokens before the first is repeated, a count",
}
"""Column and what it holds."""

COUNTS: tuple[str, ...] = ("params", "tokens", "unique_tokens")
"""Those that are counts of millions and more, so that a unit (thousands, millions) can be mistaken."""


def sizes_of(names: Iterable[str]) -> list[str]:
    """The names that are sizes, in their order.

    Example:
        >>> sizes_of(["web", "tokens", "code", "params"])
        ['tokens', 'params']
    """
    return [name for name in names if name in SIZES]


def domains_of(names: Iterable[str]) -> list[str]:
    """The names that are no sizes, in their order.

    Example:
        >>> domains_of(["web", "tokens", "code", "params"])
        ['web', 'code']
    """
    return [name for name in names if name not in SIZES]

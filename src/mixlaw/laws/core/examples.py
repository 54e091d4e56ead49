"""Data that the contract test simulates for laws of mixtures and of everything, where a law does not bring its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from mixlaw.data.columns import COUNTS, SIZES
from mixlaw.kit.arrays import Array

__all__ = ["DOMAINS", "Simulated", "mixture_rows", "run_rows", "smooth_losses"]

DOMAINS = ("web", "code", "books", "papers")


def mixture_rows(num: int, rng: np.random.Generator) -> dict[str, Array]:
    """``num`` mixtures of four domains, drawn evenly over all mixtures (Dirichlet with parameter 1): name to (num,).

    Example:
        >>> rows = mixture_rows(5, np.random.default_rng(0))
        >>> list(rows), float(sum(rows.values())[0].round(9))
        (['web', 'code', 'books', 'papers'], 1.0)
    """
    return dict(zip(DOMAINS, rng.dirichlet(np.ones(len(DOMAINS)), num).T))


def run_rows(num: int, rng: np.random.Generator) -> dict[str, Array]:
    """Runs of several mixtures at three sizes, each looked at three times on its way: weights, ``params``, ``tokens``.

    A fourth as many mixtures as ``num``, with nine rows each.

    Example:
        >>> rows = run_rows(60, np.random.default_rng(0))
        >>> len(rows["params"]), len(np.unique(rows["params"]))
        (135, 3)
    """
    weights = rng.dirichlet(np.ones(len(DOMAINS)), max(6, num // 4))
    mixture, params, tokens = np.meshgrid(np.arange(len(weights)), [1e7, 3e7, 1e8], [1e9, 2e9, 4e9], indexing="ij")
    rows = dict(zip(DOMAINS, weights[mixture.ravel()].T))
    return {**rows, "params": params.ravel(), "tokens": tokens.ravel()}


def smooth_losses(X: Mapping[str, npt.ArrayLike]) -> Array:
    """(n,) losses in nats without noise at columns of X: each domain helps, with returns that diminish at a pace of its
    own; size and tokens, where X has them, take off a power law each.

    Example:
        >>> smooth_losses({"web": [1.0, 0.0], "code": [0.0, 1.0]}).round(3).tolist()
        [2.288, 2.313]
    """
    columns = {name: np.asarray(v, dtype=float) for name, v in X.items()}
    shares = [v for name, v in columns.items() if name not in SIZES]
    loss = np.full(len(next(iter(columns.values()))), 1.8)
    for j, share in enumerate(shares):
        loss = loss + (0.5 - 0.08 * j) * np.exp(-(2.0 + 1.5 * j) * share)
    if "params" in columns:
        loss = loss + 30 * columns["params"] ** -0.25
    if "tokens" in columns:
        loss = loss + 900 * columns["tokens"] ** -0.35
    return loss


class Simulated:
    """What the contract test (:mod:`mixlaw.laws.core.contract`) simulates for a law and how closely it looks; part of
    every :class:`mixlaw.laws.Law`, whose families override what does not suit them.

    Example:
        >>> from mixlaw.laws import Chinchilla
        >>> law, rng = Chinchilla(), np.random.default_rng(0)
        >>> X = law.example_rows(20, rng)
        >>> list(X), law.example_losses(X).shape
        (['params', 'tokens'], (20,))
    """

    kind: ClassVar[Literal["mixture", "scale", "joint", "capability", "time"]]

    unexplained: ClassVar[float] = 0.005
    """The largest share of the variance of losses without noise, at rows it has not seen, that a fit may miss."""
    costly: ClassVar[bool] = False
    """Whether a fit takes so long (a tenth of a second and more) that fewer data sets are simulated."""

    @classmethod
    def examples(cls) -> list[Any]:
        """Laws of this class, not fitted, that the contract test checks. Default: one with default options; override
        where options change what the law is."""
        return [cls()]

    def example_rows(self, num: int, rng: np.random.Generator) -> dict[str, Array]:
        """About ``num`` plausible rows for :meth:`fit`, each column (n,). Default, by :attr:`kind`: mixtures of four
        domains, or runs of a few mixtures at several sizes and lengths."""
        return run_rows(num, rng) if self.kind == "joint" else mixture_rows(num, rng)

    def example_losses(self, X: Mapping[str, npt.ArrayLike]) -> Array:
        """(n,) values of y without noise at columns of X, from a truth that this law can learn. Default: a smooth
        surface (:func:`smooth_losses`); laws with declared parameters use those."""
        return smooth_losses(X)

    def example_parameters(self) -> dict[str, Any]:
        """What ``parameters_`` of a fit to such values should be; empty where the truth has no such parameters or runs
        cannot determine them."""
        return {}

    def example_truth(self) -> dict[str, Any]:
        """True values of those parameters that runs determine, for their intervals to hold: (T,) or numbers, one per
        domain where there is one. Default: :meth:`example_parameters`."""
        return self.example_parameters()

    coverage_options: ClassVar[Mapping[str, Any] | None] = None
    """Options under which ``intervals_`` are 90% intervals of parameters that nothing pulls away from the truth, for
    noise like that of the examples; None for a law that has no such intervals."""

    def example_slopes(self, rng: np.random.Generator) -> tuple[Array, Array] | None:
        """Slopes of the loss in the law's parameters near their declared values, as the law gives them and by central
        differences, of one shape. None for a law that is not fitted by slopes."""
        return None

    @property
    def unit_free(self) -> bool:
        """Whether the law has no numbers in nats, parameters or tokens among its options, so that data in other units
        give the same law. Default: yes."""
        return True

    @property
    def count_columns(self) -> tuple[str, ...]:
        """Columns of raw counts whose unit the law must not care about: multiplied by a number they give the same
        predictions. Default: those among the law's columns."""
        return COUNTS if self.kind == "joint" else ()

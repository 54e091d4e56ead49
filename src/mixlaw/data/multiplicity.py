"""Many numbers at once: what is listed, what is claimed, and how often a claim is false.

A study compares many things: validation sets, domains, references, and looks with more and more seeds. One rule holds
for all of them:

* what is **listed** (a table of losses, intervals or effects) is each by itself, and the list says how many of its
  intervals are expected to miss;
* what is **claimed** out of a list ("this set got worse", "this domain helps", "a gain over the reference") is held to
  all that were compared: where nothing is different, at most :data:`FALSE_CLAIMS` of answers claim anything.

Few claims that are acted on one by one (sets, references) are held so whatever else is true (:func:`holm`, or equal
shares); the many effects of domains on sets are held so where nothing has an effect, and elsewhere at most that
fraction of those named is false on average (:func:`benjamini_hochberg`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mixlaw.kit.arrays import Array

__all__ = ["FALSE_CLAIMS", "benjamini_hochberg", "by_themselves", "holm"]

FALSE_CLAIMS = 0.05
"""The largest share of answers that claim something where there is nothing."""


def holm(p_value: npt.ArrayLike) -> Array:
    """Adjusted p-values: with those at or below q claimed, any false claim is made in at most the share q of answers.

    It holds whatever the dependence between the p-values, and whichever of the others are true.

    Args:
        p_value: (m,) of the things compared.

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65-70.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_value, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1.0)


def benjamini_hochberg(p_value: Array) -> Array:
    """Adjusted p-values: calling everything at or below q keeps the expected false fraction at or below q. Any shape.

    Source: Benjamini & Hochberg 1995.

    Example:
        >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5])).round(4).tolist()
        [0.04, 0.0533, 0.0533, 0.5]
    """
    flat = np.ravel(p_value)
    order = np.argsort(flat, kind="stable")[::-1]
    ranks = np.arange(len(flat), 0, -1)
    adjusted = np.minimum.accumulate(flat[order] * len(flat) / ranks)
    out = np.empty_like(flat)
    out[order] = np.minimum(adjusted, 1.0)
    return out.reshape(np.shape(p_value))


def by_themselves(count: int, level: float) -> str:
    """What a list of intervals says of itself; empty for a single one.

    Example:
        >>> by_themselves(13, 0.9)
        'Each of the 13 intervals is a 90% one by itself: about 1.3 of them miss by chance.'
    """
    if count < 2:
        return ""
    return (
        f"Each of the {count} intervals is a {level:.0%} one by itself: about {count * (1 - level):.1f} of them miss "
        f"by chance."
    )

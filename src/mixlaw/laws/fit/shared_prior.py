"""A ridge's centre learned across targets: what a domain does to the other targets is a guess for this one.

Fitted alone, a target with few runs is pulled towards its family's prior (usually "no effect"). Fitted together, the
coefficients of one domain over all targets have a mean, and pulling towards that mean costs less. The mean is taken
over targets that are not the domain's own; own domains are compared with own domains. It is itself shrunk by its
sampling error (James & Stein's positive part, ``max(0, 1 - variance / (T mean^2))``), so that coefficients which differ
between targets in every which way keep the family's centre. How hard to pull is the ridge's strength, chosen by
held-out error as ever; folds learn their own means, so a held-out run tells nothing about the mean it is judged by.

Source: Efron & Morris 1973, JASA 68 (parametric empirical Bayes).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mixlaw.kit.arrays import Array

__all__ = ["SKIP", "TARGET", "Comparable", "learn_centres"]

Ints = npt.NDArray[np.int64]

TARGET = -1  # a coefficient of the target as a whole: compared over all targets
SKIP = -2  # a coefficient that means something else in every target: never compared


@dataclass(frozen=True)
class Comparable:
    """Which coefficients of a family can be compared between targets.

    ``theta`` (P,) and ``linear`` (L,) (without the intercept) hold, for each coefficient, the domain it is about, or
    ``TARGET``, or ``SKIP``. ``mirrored`` says that a negative first linear coefficient turns the sign of theta round
    (an exponential with a negative amplitude). Linear coefficients are compared in units of the target's spread.

    Example:
        >>> found = Comparable(theta=np.array([0, 1]), linear=np.array([TARGET]), mirrored=True)  # M4 over two domains
        >>> found.theta.tolist()
        [0, 1]
    """

    theta: Ints
    linear: Ints
    mirrored: bool = False


def learn_centres(
    comparable: Comparable, theta: Array, linear: Array, centre: Array, own: Array, spread: Array, trust: Array
) -> tuple[Array, Array]:
    """Centres (F, T, P) and (F, T, L) of the ridges on theta and on the linear coefficients.

    Args:
        theta: (F, T, P) coefficients fitted target by target, in F folds (or one: all rows).
        linear: (F, T, 1 + L) intercept and linear coefficients, likewise.
        centre: (T, P) the family's own centre, from which deviations are taken.
        own: (T, K), 1 where the domain is the target's own.
        spread: (T,) sds of the targets.
        trust: (T,) weight of a target in the means (its number of runs; 0 leaves it out).

    Example:
        >>> one = Comparable(np.array([0]), np.array([SKIP]))
        >>> theta = np.array([[[1.0], [1.1], [0.9]]])  # one fold, three targets that agree on domain 0
        >>> zero, free = np.zeros((3, 1)), np.ones((1, 3, 2))
        >>> learn_centres(one, theta, free, zero, zero, np.ones(3), np.ones(3))[0].round(2).ravel().tolist()
        [1.0, 1.0, 1.0]

    Source: James & Stein 1961; Efron & Morris 1973, JASA 68.
    """
    sign = np.ones((*theta.shape[:2], 1))
    if comparable.mirrored:
        sign = np.where(linear[:, :, 1:2] < 0, -1.0, 1.0)
    moved = _means(sign * (theta - centre), comparable.theta, own, trust)
    scaled = linear[:, :, 1:] / spread[:, None]
    return centre + sign * moved, spread[:, None] * _means(scaled, comparable.linear, own, trust)


def _means(values: Array, domain: Ints, own: Array, trust: Array) -> Array:
    """For each coefficient the shrunk mean (F, T, Q) of its kind over targets; 0 where nothing is comparable."""
    out = np.zeros_like(values)
    pairs: dict[int, list[tuple[int, int]]] = {}  # own coefficients: the j-th block of theta with one entry per domain
    blocks: dict[int, int] = {}
    for p, d in enumerate(domain.tolist()):
        if d == SKIP:
            continue
        mine = own[:, d] > 0 if d >= 0 else np.zeros(len(own), dtype=bool)
        others = np.flatnonzero(~mine & (trust > 0))
        out[:, ~mine, p] = _shrunk(values[:, others, p], trust[others])[:, None]
        if d >= 0:
            block = blocks[d] = blocks.get(d, -1) + 1
            pairs.setdefault(block, []).extend((int(t), p) for t in np.flatnonzero(mine))
    for found in pairs.values():
        if found:
            t, p = np.array(found).T
            use = trust[t] > 0
            out[:, t, p] = _shrunk(values[:, t[use], p[use]], trust[t[use]])[:, None]
    return out


def _shrunk(values: Array, trust: Array) -> Array:
    """(F,) weighted means over the columns of (F, m), shrunk to 0 as far as they are within their sampling error."""
    if values.shape[1] < 2:
        return np.zeros(len(values))
    share = trust / trust.sum()
    effective = 1.0 / float((share**2).sum())
    mean = values @ share
    if effective <= 1.0 + 1e-9:
        return np.zeros(len(values))
    variance = ((values - mean[:, None]) ** 2 @ share) * effective / (effective - 1.0)
    keep = 1.0 - variance / np.maximum(effective * mean**2, 1e-300)
    return mean * np.maximum(keep, 0.0)

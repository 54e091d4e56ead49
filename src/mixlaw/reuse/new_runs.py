"""The few runs to train after the domains changed: distinct, within the budget, where the old runs say least.

Intervals grow with the leverage of a mixture among the runs. The untouched domains are kept in frozen ratios as one
*virtual* domain (mixture reuse of Olmix, arXiv:2602.12237), so that the number of runs grows with the changed domains,
not with all of them. A ratio gives way only to the budget: an optimum sits at its caps, and frozen there it would leave
the changed domains no room to be probed in. Each run is the one that lowers the leverage most over the region the next
optimum may lie in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixlaw.data.budget import Budget, Constraints
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import SAME, Mixture
from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array

if TYPE_CHECKING:
    from mixlaw.design.polytope import Polytope

__all__ = ["NewRuns", "propose_runs"]

POOL = 400
"""Candidate mixtures per proposal."""

APART = (0.1, 0.05, 0.025)
"""How far apart proposed mixtures lie, as a share of the candidates' spread: leverage alone would repeat a corner, and
show nothing of a curve. The next is taken where the room for the one before is used up."""

NEGLIGIBLE = 1e-4
"""Weights below this become zero where the budget allows it: no one trains on them."""

MOST_CHANGED = 0.7
"""Largest share of the changed domains together that is tried, unless the budget asks for more."""


@dataclass(frozen=True)
class NewRuns:
    """Mixtures to train next.

    Args:
        mixtures: distinct; each satisfies the budget it was proposed under.
        widths: width of prediction intervals where the next optimum may lie, relative to their average at the old runs'
            mixtures before the change, after 0, 1, ... new runs.
        restored: whether the last width is within the tolerance.
        virtual: the untouched domains in their frozen ratios; None where every domain changed.
        reason: why it stopped short, where it did.
    """

    mixtures: tuple[Mixture, ...]
    widths: tuple[float, ...]
    restored: bool
    virtual: Mixture | None = None
    reason: str = ""

    def __str__(self) -> str:
        if not self.mixtures and self.restored:
            why = f"{self.reason}, so " if self.reason else ""
            return f"No new run is needed: {why}predictions are {self.widths[0]:.2f} times as wide as before."
        if not self.mixtures:
            return (
                f"Predictions are {self.widths[0]:.2f} times as wide as before, and no run is proposed: {self.reason}."
            )
        ending = "as before the change" if self.restored else f"still wider: {self.reason}"
        lines = [
            f"Predictions are {self.widths[0]:.2f} times as wide as before; {len(self.mixtures)} new runs make it "
            f"{self.widths[-1]:.2f} ({ending}):"
        ]
        return "\n".join([*lines, *(f"  {m} (then {w:.2f})" for m, w in zip(self.mixtures, self.widths[1:]))])


def propose_runs(
    runs: Array,
    order: Sequence[str],
    corpus: Corpus,
    unidentified: Sequence[str],
    mixture: Mixture,
    budget: Budget | None,
    max_runs: int,
    tolerance: float,
    seed: int,
) -> NewRuns:
    """See :meth:`mixlaw.reuse.old_runs.Reuse.new_runs`.

    Args:
        runs: (n, len(order)) mixtures of the old runs over the new corpus' domains and the former ones.
        order: their columns, the corpus' domains first.
        unidentified: domains whose effect no old run shows.

    Raises:
        ConfigError: wrong ``max_runs`` or ``tolerance``, or a mixture without weight on the untouched domains.
        InfeasibleBudgetError: no mixture of the new domains satisfies the budget.
    """
    from mixlaw.design.polytope import Polytope

    if max_runs < 0 or not tolerance >= 0:
        raise ConfigError(f"max_runs and tolerance must be 0 or more, got {max_runs!r} and {tolerance!r}.")
    if not unidentified and len(order) == len(corpus.names):  # the law and its runs are what they were
        return NewRuns((), (1.0,), True, reason="no domain changed")
    names = corpus.names
    allowed = Polytope.of(corpus, Budget(tokens=1) if budget is None else budget)
    today = mixture.array(names)
    if not allowed.contains(today)[0]:
        today = allowed.project(today[None])[0]
    fresh = np.array([n in unidentified for n in names])
    asked = np.where(fresh, 0.0, mixture.array(names))
    base = asked if asked.sum() > 0 else np.where(fresh, 0.0, today)
    if base.sum() <= 0 and len(unidentified) < len(names):
        untouched = [n for n in names if n not in unidentified]
        raise ConfigError(f"The mixture puts no weight on the untouched domains {untouched}: {mixture}.")
    virtual = Mixture.normalized(dict(zip(names, base.tolist()))) if base.sum() > 0 else None
    changed = [i for i, n in enumerate(names) if n in unidentified]
    rng = np.random.default_rng(seed)
    pool = _candidates(allowed, base, today, changed, rng)
    wide = np.zeros((len(pool), len(order)))
    wide[:, : len(names)] = pool
    chosen, widths, reason = _choose(wide, runs, wide[rng.choice(len(wide), 40)], max_runs, tolerance)
    mixtures = tuple(Mixture.from_array(names, pool[i]) for i in chosen)
    if changed and not chosen and not reason:
        most = float(pool[:, changed].sum(axis=1).max())
        reason = (
            f"what no run shows ({', '.join(names[i] for i in changed)}) can move predictions by little within this "
            f"budget, which leaves at most {most:.1%} of the tokens there"
        )
    return NewRuns(mixtures, tuple(widths), widths[-1] <= 1 + tolerance, virtual, reason)


def _candidates(allowed: Polytope, base: Array, today: Array, changed: list[int], rng: np.random.Generator) -> Array:
    """Feasible mixtures (n, K) that the next optimum may lie among, without negligible weights where that is allowed.

    Args:
        base: (K,) what the untouched domains' ratios are taken from.
        today: (K,) today's mixture, in the budget.
        changed: the domains whose effect no run shows.
    """
    if changed:
        pool = _around(allowed, base, changed, rng)
    else:  # domains only went away: the region is today's mixture and what lies around it
        pool = allowed.sample(POOL, rng, 1e-2 + 4.0 * len(today) * today)
    clean = np.where(pool < NEGLIGIBLE, 0.0, pool)
    clean /= clean.sum(axis=1, keepdims=True)
    pool = np.where(allowed.contains(clean)[:, None], clean, pool)
    return pool[allowed.contains(pool)]


def _choose(
    wide: Array, runs: Array, targets: Array, max_runs: int, tolerance: float
) -> tuple[list[int], list[float], str]:
    """Candidates picked in turn, each the one that lowers the leverage most, until intervals are as wide as before.

    Args:
        wide: (n, D) candidates in the runs' columns.
        runs: (m, D) what was trained.
        targets: (p, D) where intervals are to be narrow.

    Returns:
        Indices of the chosen, widths after 0, 1, ... of them, and why it stopped short (empty where it did not).
    """
    usual = float(np.mean(np.sqrt(1 + _leverage(runs, runs))))
    known = runs.copy()

    def width() -> float:
        return float(np.mean(np.sqrt(1 + _leverage(known, targets)))) / usual

    other = _distance(wide, known).min(axis=1) > SAME  # what was run already is not proposed
    spread = float(_distance(wide, wide.mean(axis=0)[None]).max())
    widths, reason = [width()], ""
    chosen: list[int] = []
    while widths[-1] > 1 + tolerance:
        if len(chosen) == max_runs:
            reason = f"more than {max_runs} runs are needed" if max_runs else "max_runs is 0"
            break
        nearest = _distance(wide, wide[chosen]).min(axis=1, initial=np.inf)
        rooms = [other & (nearest > max(share * spread, SAME)) for share in APART]
        open_ = next((room for room in rooms if room.any()), None)
        if open_ is None:
            reason = "the budget leaves no further mixture that differs from these"
            break
        inverse, centre = _information(known)
        away = wide - centre
        reach = (targets - centre) @ inverse @ away.T  # (targets, pool)
        own = 1.0 + np.einsum("ij,jk,ik->i", away, inverse, away)
        best = int(np.argmax(np.where(open_, (reach**2 / own).mean(axis=0), -1.0)))
        chosen.append(best)
        known = np.vstack([known, wide[best]])
        widths.append(width())
    return chosen, widths, reason


def _around(allowed: Polytope, base: Array, changed: list[int], rng: np.random.Generator) -> Array:
    """Feasible mixtures (n, K), spread evenly over the shares that the budget leaves the changed domains; the untouched
    ones in the ratios ``base`` (K,) as far as the budget lets them.

    Ratios that sit at their caps, as those of an optimum do, must not pin the changed domains: where a cap stands in
    the way, what it cuts off goes to the other untouched domains.
    """
    from mixlaw.design.polytope import Polytope

    k, m = len(base), len(changed)
    rest = np.setdiff1d(np.arange(k), changed)
    low = np.concatenate([[allowed.low[rest].sum()], allowed.low[changed]])
    high = np.concatenate([[min(1.0, float(allowed.high[rest].sum()))], allowed.high[changed]])
    # of the untouched domains only that they are there: which of them pays for a further limit is settled below
    cheapest = allowed.matrix[:, rest].min(axis=1, initial=0.0 if not len(rest) else np.inf)
    matrix = np.hstack([cheapest[:, None], allowed.matrix[:, changed]])
    for least in (1.0 - MOST_CHANGED, 0.0):
        floor = low.copy()
        floor[0] = max(low[0], min(least, high[0]))
        if _possible(floor, high, matrix, allowed.upper):
            names = tuple(f"{i}" for i in range(m + 1))
            labels = tuple(map(str, allowed.upper))
            limits = Constraints(names, floor, high, matrix, allowed.upper, names, names, labels, ("cap",) * (m + 1))
            shares = Polytope(limits).sample(POOL, rng, np.concatenate([[m + 1.0], np.ones(m)]))
            pool = np.zeros((len(shares), k))
            pool[:, changed] = shares[:, 1:]
            pool[:, rest] = _fill(shares[:, 0], base[rest], allowed.low[rest], allowed.high[rest])
            out = ~allowed.contains(pool)
            if out.any():
                pool[out] = allowed.project(pool[out])
            return pool
    # rounding at a budget that leaves a single mixture
    return np.asarray(allowed.centre[None])


def _fill(total: Array, ratio: Array, low: Array, high: Array) -> Array:
    """Weights (n, K) that sum to ``total`` (n,), in the given ratios (K,), between ``low`` and ``high`` (K,).

    What a bound takes is given to the others in their ratios, and to those of ratio zero only where no other has room.
    """
    drawn = ratio > 0
    least, most = np.zeros(len(total)), np.full(len(total), (high[drawn] / ratio[drawn]).max(initial=0.0))
    for _ in range(100):  # the scale of the ratios at which the weights have their sum
        middle = (least + most) / 2
        much = np.clip(middle[:, None] * ratio, low, high).sum(axis=1) > total
        least, most = np.where(much, least, middle), np.where(much, middle, most)
    weights = np.clip(((least + most) / 2)[:, None] * ratio, low, high)
    short = np.maximum(total - weights.sum(axis=1), 0.0)
    room = high - weights
    share = np.minimum(short / np.maximum(room.sum(axis=1), 1e-300), 1.0)
    return np.asarray(weights + np.where(short > 1e-12, share, 0.0)[:, None] * room)


def _possible(low: Array, high: Array, matrix: Array, upper: Array) -> bool:
    from scipy.optimize import linprog

    if (low > high + 1e-12).any():
        return False
    found = linprog(
        np.zeros(len(low)),
        A_ub=matrix if len(upper) else None,
        b_ub=upper + 1e-12 if len(upper) else None,
        A_eq=np.ones((1, len(low))),
        b_eq=[1.0],
        bounds=list(zip(low, np.maximum(low, high))),
        method="highs",
    )
    return bool(found.status == 0)


def _distance(a: Array, b: Array) -> Array:
    """Share of tokens (len(a), len(b)) that differs between mixtures."""
    return np.asarray(0.5 * np.abs(a[:, None] - b[None]).sum(axis=2))


def _information(runs: Array) -> tuple[Array, Array]:
    """Inverse information of the runs' weights (with a small ridge) and their centre: what leverage is measured by."""
    centre = runs.mean(axis=0)
    gram = (runs - centre).T @ (runs - centre)
    gram[np.diag_indices_from(gram)] += 1e-3 * np.trace(gram) / len(gram) + 1e-12
    return np.linalg.inv(gram), centre


def _leverage(runs: Array, points: Array) -> Array:
    inverse, centre = _information(runs)
    return np.asarray(np.einsum("ij,jk,ik->i", points - centre, inverse, points - centre))

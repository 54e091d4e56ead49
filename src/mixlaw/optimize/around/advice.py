"""What the reader must know beside the numbers, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.prediction import Prediction
from mixlaw.kit.arrays import Array
from mixlaw.laws.choose.zero_shares import ZeroShares
from mixlaw.optimize.pose.forms import PUBLISHED_DECAY, Repetition
from mixlaw.optimize.pose.objective import Problem
from mixlaw.optimize.pose.request import Request
from mixlaw.optimize.pose.task import TaskLaw
from mixlaw.optimize.pose.view import LawView, hull_distance

__all__ = ["accuracy", "outside_hull", "shape", "standing", "unidentified", "untried_zeros"]

_EDGE = 1e-4


def standing(
    corpus: Corpus,
    budget: Budget,
    rank_transfer: str | float | None = None,
    repetition: Repetition | None = None,
) -> list[str]:
    """Warnings, as sentences, that do not depend on the answer; ``rank_transfer`` and ``repetition`` are as in
    :func:`mixlaw.optimize.optimize`.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> corpus = Corpus.declared({"web": 9_000}, source="a guess")
        >>> for text in standing(corpus, Budget(tokens=1_000), rank_transfer=0.95):
        ...     print(text)
        Rank correlation between the law's runs and the target size: 0.950.
        Token counts are declared: a guess.
    """
    out = []
    if rank_transfer is None:
        size = f" of {budget.params:,} parameters" if budget.params else ""
        out.append(
            f"No evidence was given that mixtures rank the same at the target{size} as in the runs the law was fitted "
            f"on: this is the optimum at their size."
        )
    elif isinstance(rank_transfer, str):
        out += [f"Rank transfer: {rank_transfer}"] if rank_transfer else []
    else:
        out.append(f"Rank correlation between the law's runs and the target size: {float(rank_transfer):.3f}.")
    if repetition is not None:
        source = (
            "the published decay constant (Muennighoff et al. 2023), fitted to whole corpora that repeat, not to one "
            "domain of many"
            if repetition.decay == PUBLISHED_DECAY
            else "the decay constant given"
        )
        out.append(
            f"Repeated tokens count by R* = {repetition.decay:.4g} epochs, {source}; what repetition loses "
            f"counts as the least helpful domain."
        )
    declared = sorted({d.source for d in corpus.domains if d.source != "measured"})
    if declared:
        out.append(f"Token counts are {', '.join(declared)}.")
    return out


def accuracy(curve: TaskLaw, loss: Prediction) -> Prediction:
    """A task's accuracy (a fraction) from its loss (nats per token); the task law's own residual widens the interval.

    Example:
        >>> curve = TaskLaw(a=-0.6, k=4.0, L0=1.0, b=0.85, residual=0.01)
        >>> found = accuracy(curve, Prediction(1.0, 0.95, 1.05, 0.9))
        >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3)
        (0.55, 0.516, 0.584)
    """
    from statistics import NormalDist

    centre = float(curve.predict(loss.mean))
    spread = NormalDist().inv_cdf((1 + loss.level) / 2) * curve.residual
    below, above = centre - float(curve.predict(loss.high)), float(curve.predict(loss.low)) - centre
    low, high = centre - np.hypot(below, spread), centre + np.hypot(above, spread)
    return Prediction(centre, float(max(low, 0.0)), float(min(max(high, centre), 1.0)), loss.level, "fraction")


def outside_hull(points: Array, r: Array, warnings: list[str]) -> None:
    """Warn when the mixture ``r`` (K,) lies outside the hull of what was observed, ``points`` (n, K).

    Example:
        >>> warnings = []
        >>> outside_hull(np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([0.9, 0.1]), warnings)
        >>> warnings[0][:67]
        'The mixture lies outside the observed mixtures: 30.0% of its tokens'
    """
    distance = hull_distance(points / points.sum(axis=1, keepdims=True), r)
    if distance > 1e-3:
        warnings.append(
            f"The mixture lies outside the observed mixtures: {distance:.1%} of its tokens would have to move to be an "
            f"average of them. Predictions there are extrapolations; train a run near it."
        )


def untried_zeros(points: Array, domains: Sequence[str], r: Array, wider: float | None, warnings: list[str]) -> None:
    """Warn where the answer ``r`` (K,) has far less of domains than every run of ``points`` (n, K) had, or none.

    Args:
        domains: names of the K columns.
        wider: times as wide as without that the intervals' allowance for a wrong form is; None where there is none.
        warnings: a sentence is added.

    Example:
        >>> warnings, points = [], np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
        >>> untried_zeros(points, ["web", "code"], np.array([1.0, 0.0]), 1.2, warnings)
        >>> warnings[0].partition(":")[0]
        'No run had as little code (0.00% here, at least 10.00% in the runs) as the mixture'
    """
    tried = ZeroShares.of(points)
    found = np.flatnonzero(tried.untried(r[None])[0])
    if not len(found):
        return
    shown = [f"{domains[j]} ({r[j]:.2%} here, at least {tried.least[j]:.2%} in the runs)" for j in found[:6]]
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""
    allowed = (
        "The intervals do not allow for it."
        if wider is None
        else f"The intervals allow {wider:.2g} times as much for a wrong form because of it, which is a guess."
    )
    warnings.append(
        f"No run had as little {', '.join(shown)}{more} as the mixture: what the last step down costs is not in the "
        f"runs, and a loss may rise steeply close to 0. {allowed} Train a run with as little, or set a floor."
    )


def unidentified(
    points: Array, domains: Sequence[str], r: Array, near: Mapping[str, tuple[float, float]], warnings: list[str]
) -> None:
    """Warn of what no run of ``points`` (n, K) shows: domains whose share never varied, and domains that only varied
    together, as the parts of a domain that was split after the runs. A law's ridge answers there as if it knew.

    Args:
        domains: names of the K columns.
        r: (K,) the answer.
        near: ``{domain: (low, high)}`` of its near-optimal weights.
        warnings: sentences are added.

    Example:
        >>> warnings, points = [], np.array([[0.2, 0.8, 0.0], [0.6, 0.4, 0.0], [0.5, 0.5, 0.0]])
        >>> unidentified(points, ["web", "code", "legal"], np.array([0.5, 0.3, 0.2]), {}, warnings)
        >>> warnings[0][:57]
        'No run drew from legal, so what it does is not identified'
    """
    still = np.ptp(points, axis=0) < 1e-6
    for j in np.flatnonzero(still)[:5]:
        share = float(points[:, j].mean())
        seen = "No run drew from" if share < 1e-9 else f"Every run drew the same {share:.1%} from"
        weight = (
            f"its weight of {r[j]:.1%}, and every prediction for it, rest on the law's form alone"
            if r[j] >= _EDGE
            else "its weight of zero is no finding"
        )
        warnings.append(
            f"{seen} {domains[j]}, so what it does is not identified: {weight}{_ranges(domains, [j], near)}. "
            f"Train runs that vary it (`mixlaw reuse` or `mixlaw design --more` propose them)."
        )
    for group in _together(points, still)[:5]:
        drawn = points[:, group].sum(axis=0) / points[:, group].sum()
        names = [domains[j] for j in group]
        total = float(r[group].sum())
        own = r[group] / total if total >= _EDGE else drawn
        place = (
            "The weights above keep that ratio"
            if np.abs(own - drawn).max() < 0.01
            else f"The weights above leave it ({_ratio(own)}), where predictions rest on the law's form alone"
        )
        warnings.append(
            f"No run tells {', '.join(names[:-1])} and {names[-1]} apart: all drew them as {_ratio(drawn)}, so how the "
            f"{total:.1%} they get are divided is not identified. {place}{_ranges(domains, group, near)}. Train runs "
            f"that vary it (`mixlaw reuse` or `mixlaw design --more` propose them)."
        )


def _together(points: Array, still: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Groups of columns that were drawn in one ratio by every run; two runs could not tell."""
    moving = [int(j) for j in np.flatnonzero(~still)]
    if len(points) < 3 or len(moving) < 2:
        return []
    unit = points[:, moving] / np.sqrt((points[:, moving] ** 2).sum(axis=0))
    same = unit.T @ unit > 1.0 - 1e-9
    groups = {tuple(moving[j] for j in np.flatnonzero(row)) for row in same if row.sum() > 1}
    return [list(group) for group in sorted(groups)]


def _ratio(shares: Array) -> str:
    return " : ".join(f"{s:.0%}" for s in shares)


def _ranges(domains: Sequence[str], group: Sequence[int], near: Mapping[str, tuple[float, float]]) -> str:
    """Where weights may lie at nearly the same objective, as the law sees it."""
    known = [domains[j] for j in group if domains[j] in near]
    if not known:
        return ""
    return "; nearly as good under the law: " + ", ".join(f"{n} {near[n][0]:.3f}-{near[n][1]:.3f}" for n in known)


def shape(
    q: Request,
    problem: Problem,
    r: Array,
    near: Mapping[str, tuple[float, float]],
    change: Prediction,
    warnings: list[str],
) -> None:
    """Warn of one-hot and edge optima ``r`` (K,), a flat objective, and a gain within its uncertainty.

    Args:
        problem: what was solved.
        near: ``{domain: (low, high)}`` of its near-optimal weights.
        change: predicted gain over the reference.
        warnings: sentences are added.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.objective import mean
        >>> from mixlaw.optimize.pose.request import Request
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus)
        >>> problem, warnings = mean(q.constraints, q.W), []
        >>> shape(q, problem, np.array([0.99, 0.01]), {}, Prediction(-0.1, -0.2, -0.05, 0.9), warnings)
        >>> warnings[0][:39]
        'One domain takes everything: web 99.0%.'
    """
    weights, constraints, names = r, q.constraints, q.domains
    top = int(np.argmax(weights))
    if len(weights) > 1 and weights[top] > 0.95:
        slope = _score_slope(q.view, problem, weights)
        pull = slope - slope[top]
        order = [int(j) for j in np.argsort(pull) if j != top]
        capped = weights > constraints.high - 1e-6
        tight = constraints.matrix @ weights > constraints.upper - 1e-6 * np.maximum(np.abs(constraints.upper), 1e-9)
        bound = np.asarray((constraints.matrix[tight] > 0).any(axis=0))
        held = [j for j in order if pull[j] < 0 and (capped[j] or bound[j])]
        if held:  # by the signs of the multipliers: without their limits, these would get more
            shown = ", ".join(
                f"{names[j]} {'at its cap' if capped[j] else 'by a limit'} "
                f"({pull[j]:+.3g} nats per unit of weight moved there)"
                for j in held[:4]
            )
            more = f" and {len(held) - 4} more" if len(held) > 4 else ""
            warnings.append(
                f"{names[top]} takes {weights[top]:.1%} because limits hold what would help more: {shown}{more}. "
                f"{names[top]} fills what is left. More tokens of these domains, or looser limits, would change it."
            )
        else:
            warnings.append(
                f"One domain takes everything: {names[top]} {weights[top]:.1%}. Under this law moving weight to any "
                f"other raises the objective (next best {names[order[0]]}: {pull[order[0]]:+.3g} nats per unit of "
                f"weight moved there). A law that is monotone in the mixture always ends in a corner; add floors, "
                f"caps or a target of several sets."
            )
    else:
        zero = [n for n, w, a in zip(names, weights, constraints.low) if w < _EDGE and a < _EDGE]
        if zero:
            shown = ", ".join(zero[:6]) + (f" and {len(zero) - 6} more" if len(zero) > 6 else "")
            warnings.append(
                f"{len(zero)} of {len(names)} domains get nothing ({shown}): each one's share helps the objective less "
                f"than the others' at the optimum. Laws fit worst at zero shares: where you doubt it, set a "
                f"floor, and its price says what it costs."
            )
    room = constraints.high - constraints.low
    wide = [near[n][1] - near[n][0] for n in names if n in near]
    limits = [min(1.0, h) for n, h in zip(names, room) if n in near]
    if wide and np.mean([w / max(x, 1e-12) for w, x in zip(wide, limits) if x > 1e-9] or [0.0]) > 0.8:
        warnings.append(
            "The objective is flat: nearly every mixture under this budget is within the allowance of the optimum, so "
            "the weights above are one choice of many. See near_optimal."
        )
    loose = [n for n in near if near[n][1] - near[n][0] > 0.2]
    if loose:
        ranges = ", ".join(f"{n} {near[n][0]:.2f}-{near[n][1]:.2f}" for n in loose[:5])
        warnings.append(f"Weights the law hardly determines (range at nearly the same objective): {ranges}.")
    if change.low <= 0 <= change.high and abs(change.mean) > 0:
        warnings.append(
            f"The gain over the reference ({change}) is not distinguishable from nothing at {change.level:.0%}."
        )


def _score_slope(view: LawView, problem: Problem, weights: Array) -> Array:
    """d objective / d weight (K,) of the objective's losses at a mixture."""
    chosen = problem.functions[0].weights
    if not chosen.any():  # epigraph or least change: the constraints carry the losses
        chosen = sum((f.weights for f in problem.functions[1:]), np.zeros_like(chosen))
    T = len(view.targets)
    return np.asarray(chosen[:T] @ view.gradient(weights[None])[0])

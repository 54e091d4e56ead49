"""The gain over the reference: its interval, from refits and held-out runs, and the probability that there is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from mixlaw.data.prediction import Prediction
from mixlaw.kit.arrays import Array
from mixlaw.optimize.around.difference import Score, difference_error
from mixlaw.optimize.around.form_error import FormError
from mixlaw.optimize.around.robust import plug_in_optima
from mixlaw.optimize.pose.forms import combine
from mixlaw.optimize.pose.objective import mean
from mixlaw.optimize.pose.request import Request
from mixlaw.optimize.pose.view import LawView

__all__ = ["Gain", "credible", "gain", "predicted_gain"]

_WILD = 30.0
"""Half widths of the law's own interval from its difference, beyond which a refit says nothing: what an exponential
makes of few runs at a mixture far from all of them."""


@dataclass(frozen=True)
class Gain:
    """``prediction``: objective of the recipe minus the reference's, in the objective's unit, with its interval;
    ``probability``: that it is below zero (None where the law gives no distribution).

    Example:
        >>> Gain(Prediction(-0.02, -0.03, -0.01, 0.9), 0.99).probability
        0.99
    """

    prediction: Prediction
    probability: float | None


def credible(draws: Array, difference: float, half: float, warnings: list[str]) -> npt.NDArray[np.bool_]:
    """Which refits' differences (B,) are of the size of the law's own; how many are not is said.

    Args:
        difference: the law's own.
        half: half width of the objective's interval.
        warnings: a sentence is added where some are left out.

    Example:
        >>> said = []
        >>> credible(np.array([-0.02, 4e12, 0.01]), -0.01, 0.3, said).tolist()
        [True, False, True]
        >>> said[0][:61]
        '1 of 3 refits of the law predict a gain beyond anything measu'
    """
    kept = np.abs(draws - difference) <= _WILD * max(half, abs(difference))
    if half > 0 and not kept.all():
        warnings.append(
            f"{int((~kept).sum())} of {len(draws)} refits of the law predict a gain beyond anything measured (up to "
            f"{np.abs(draws[~kept]).max():.2g}) and are left out of its interval: the runs hardly determine the law at "
            f"this mixture. Train a run near it."
        )
    return kept if half > 0 else np.ones(len(draws), dtype=bool)


def predicted_gain(
    q: Request,
    score: Score,
    r: Array,
    refits: Sequence[LawView],
    half: float,
    warnings: list[str],
    form: FormError | None = None,
) -> Gain:
    """The gain of weights ``r`` (K,) over the request's reference.

    Args:
        score: losses to objective.
        refits: the law refitted to drawn runs; none where there were none to draw.
        half: half width of the objective's interval at ``r`` by the law alone, in the objective's unit.
        warnings: a sentence is added where refits are left out.
        form: how wrong the law's form may be: gives the interval, and lets other families vote on whether there is a
            gain.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus)
        >>> found = predicted_gain(q, lambda losses: losses @ q.W, np.array([0.5, 0.5]), [], half=0.01, warnings=[])
        >>> round(found.prediction.mean, 2), found.probability > 0.99
        (-0.59, True)
    """
    both = np.stack([r, q.today])
    difference = float(np.subtract(*score(q.view.predict(both))))
    same = bool(np.allclose(r, q.today, atol=1e-6))
    draws, optimism, error = None, 0.0, None
    if refits:
        scored = np.array([score(one.predict(both)) for one in refits])
        draws = scored[:, 0] - scored[:, 1]
        kept = credible(draws, difference, half, warnings)
        draws, refits = draws[kept], [one for one, keep in zip(refits, kept) if keep]
        optimism = _optimism(q, score, refits)
    if not same and q.rows is not None and refits:
        plain = q.kind != "worst" and not q.several_tasks
        error = difference_error(q.rows, q.W, score, r, q.today, half if plain else None, q.level)
    found = gain(difference, draws, optimism, half, q.level, same, error)
    return found if form is None or same else _with_form(q, r, found, optimism, form, warnings)


def _with_form(q: Request, r: Array, found: Gain, optimism: float, form: FormError, warnings: list[str]) -> Gain:
    """The same with what other families say: the interval is that of all that is not known, of every family's
    difference and of which family is right, and the probability of a gain is the mean of the families', each by its own
    difference and intervals. (The law votes as they do, and not by its refits: they all agree that its own optimum is
    good, which is why it was chosen.) What refits and held-out pairs of runs say of the law's form is part of the
    families' say, and not added again. By how much an optimum of drawn runs looks better than it is, is."""
    change = found.prediction
    half = q.z * math.sqrt(form.variance_of_difference(r, q.today, q.W))
    wide = Prediction(change.mean, change.mean - half, change.mean + half + max(optimism, 0.0), change.level)
    chance, against = 0.0, {}
    for name, (share, difference, sd) in form.differences(r, q.today, q.W).items():
        chance += share * (NormalDist().cdf(-difference / sd) if sd > 0 else difference < 0)
        if difference >= 0:
            against[name] = (share, difference)
    if change.mean < 0 and chance < 0.5 and against:
        worst = max(against, key=lambda name: against[name][0])
        warnings.append(
            f"Families that explain the runs at least as well predict no gain at this mixture: {worst} "
            f"{against[worst][1]:+.3g} nats, {form.view.name} {change.mean:+.3g}. No run tells which is right here: "
            f"train one at or near this mixture, or optimise a law with a lower held-out error (laws.Auto)."
        )
    return Gain(wide, chance)


def _optimism(q: Request, score: Score, refits: Sequence[LawView]) -> float:
    """By how much an optimum chosen on resampled runs looks better there than it is under the law itself."""
    if q.kind not in ("mean", "guard") or q.guards or q.kl_weight or q.repetition is not None or q.tasks:
        return 0.0
    atoms = [one.atoms() for one in refits]
    if any(a is None for a in atoms):
        return 0.0
    problem = mean(q.constraints, np.ones(1))
    singles = [a for a in (combine(a, q.W) for a in atoms if a is not None) if problem.certifiable(a)]
    if len(singles) < 4:
        return 0.0
    optima, values = plug_in_optima(q.constraints, singles)
    at_reference = np.array([a.value(q.today[None])[0, 0] for a in singles])
    claimed = values - at_reference
    real = score(q.view.predict(optima)) - score(q.view.predict(q.today[None]))
    return float(np.mean(real - claimed))


def gain(
    difference: float,
    draws: Array | None,
    optimism: float,
    half: float,
    level: float,
    same: bool,
    error: float | None = None,
) -> Gain:
    """Interval of the gain, at ``level`` around ``difference`` (recipe minus reference), from bootstrap differences
    (B,), stretched to the held-out ``error`` where that is larger.

    An optimum picked on a law looks better there than it is. ``optimism`` (>= 0) is that bias as measured in the
    bootstrap; the interval is widened by it on the side of less gain. The spread of few draws is taken from their sd
    and quantiles, whichever is wider. Without draws: two independent errors of half width ``half``.

    Example:
        >>> round(gain(-0.02, None, 0.0, 0.01, 0.9, same=False).probability, 3)
        0.99
    """
    if same:
        return Gain(Prediction(difference, difference, difference, level), 0.5)
    z = NormalDist().inv_cdf((1 + level) / 2)
    if draws is None or len(draws) < 4:
        wide = math.sqrt(2.0) * half
        sd = wide / z
        probability = NormalDist().cdf(-difference / sd) if sd > 0 else float(difference < 0)
        return Gain(Prediction(difference, difference - wide, difference + wide, level), probability)
    spread = float(draws.std(ddof=1))
    if error is not None and error > spread:
        if spread > 1e-6 * error:
            draws = draws.mean() + (draws - draws.mean()) * (error / spread)
        else:  # refits that agree have no shape to stretch
            steps = [NormalDist().inv_cdf((i + 0.5) / len(draws)) for i in range(len(draws))]
            draws = draws.mean() + error * np.array(steps)
        spread = error
    sd = spread * math.sqrt(1 + 1 / len(draws))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    lower = min(difference - z * sd, float(low), difference)
    upper = max(difference + z * sd, float(high), difference) + max(optimism, 0.0)
    probability = float(((draws + max(optimism, 0.0)) < 0).mean())
    probability = float(np.clip(probability, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    return Gain(Prediction(difference, lower, upper, level), probability)

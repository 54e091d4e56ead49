"""How sure the objective and the gain are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.optimize.view import LawView
from mixlaw.prediction import Prediction

__all__ = ["Gain", "gain", "objective_half_width"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gain:
    """Objective of the recipe minus the reference's, and the probability that it is below zero."""

    prediction: Prediction
    probability: float | None


def objective_half_width(view: LawView, W: Array, half: Array, runs: tuple[Any, Any] | None) -> float:
    """Half width of the weighted mean's interval from the sets' (T,).

    Errors of different sets go partly together. How much is read off the errors of rows held out of the fit; without
    them they are taken to go together fully, which is the widest.
    """
    widest = float(np.abs(W) @ half)
    if runs is None:
        return widest
    errors = _heldout(view, runs)
    errors = errors[np.isfinite(errors[:, W != 0]).all(axis=1)]
    if len(errors) < 8:
        return widest
    apart = np.abs(W) @ np.sqrt((errors**2).mean(axis=0), where=np.isfinite(errors).all(axis=0), out=np.zeros(len(W)))
    together = math.sqrt(float(((np.where(np.isfinite(errors), errors, 0.0) @ W) ** 2).mean()))
    return widest * min(1.0, together / apart) if apart > 0 else widest


def _heldout(view: LawView, runs: tuple[Any, Any]) -> Array:
    """Errors (n, T) of predictions for rows that a refit had not seen; NaN where there are none."""
    from mixlaw.laws.uncertainty import heldout_predictions

    _, losses, matrix = view.rows(runs)
    law = view.law
    if "_unseen" in vars(law):  # a law fitted in this process remembers
        known = np.asarray(law.heldout_, dtype=float)
        if known.shape == losses.shape:
            return known - losses
    return heldout_predictions(law, matrix, losses) - losses


def gain(difference: float, draws: Array | None, optimism: float, half: float, level: float, same: bool) -> Gain:
    """Interval of the gain from bootstrap differences (B,).

    An optimum picked on a law looks better there than it is. ``optimism`` (>= 0) is that bias as measured in the
    bootstrap; the interval is widened by it on the side of less gain. The spread of few draws is taken from their sd
    and quantiles, whichever is wider. Without draws: two independent errors of half width ``half``.
    """
    if same:
        return Gain(Prediction(difference, difference, difference, level), 0.5)
    z = NormalDist().inv_cdf((1 + level) / 2)
    if draws is None or len(draws) < 4:
        wide = math.sqrt(2.0) * half
        sd = wide / z
        probability = NormalDist().cdf(-difference / sd) if sd > 0 else float(difference < 0)
        return Gain(Prediction(difference, difference - wide, difference + wide, level), probability)
    sd = float(draws.std(ddof=1)) * math.sqrt(1 + 1 / len(draws))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    lower = min(difference - z * sd, float(low), difference)
    upper = max(difference + z * sd, float(high), difference) + max(optimism, 0.0)
    probability = float(((draws + max(optimism, 0.0)) < 0).mean())
    probability = float(np.clip(probability, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    return Gain(Prediction(difference, lower, upper, level), probability)

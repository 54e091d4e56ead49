"""What the law predicts at a mixture: each set's loss, tasks' accuracies, and the objective, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mixlaw.data.mixture import Mixture
from mixlaw.data.prediction import Prediction
from mixlaw.kit.arrays import Array
from mixlaw.optimize.around import advice
from mixlaw.optimize.around.baselines import feasible
from mixlaw.optimize.around.difference import Score, objective_half_width
from mixlaw.optimize.around.form_error import FormError
from mixlaw.optimize.pose.objective import Problem
from mixlaw.optimize.pose.problem import with_tasks
from mixlaw.optimize.pose.request import Request

__all__ = ["baseline", "bounded", "predictions", "scorer"]


def scorer(q: Request, problem: Problem) -> Score:
    """Losses (n, T) to the objective (n,) that the recipe reports, lower is better; KL terms are not part of it.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> from mixlaw.optimize.pose.objective import mean
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus)
        >>> scorer(q, mean(q.constraints, q.W))(np.array([[2.5], [3.0]])).tolist()
        [2.5, 3.0]
    """
    if q.kind == "worst":
        rows = [f for f in problem.functions if f.label.startswith("worst:")]
        W, const = np.stack([f.weights for f in rows]), np.array([f.const for f in rows])
        return lambda losses: np.asarray((losses @ W.T + const).max(axis=1))
    if q.several_tasks:
        return lambda losses: np.asarray(with_tasks(q, losses) @ q.W)
    return lambda losses: np.asarray(losses @ q.W)


def predictions(
    q: Request, score: Score, r: Array, form: FormError | None = None
) -> tuple[dict[str, Prediction], float]:
    """Predictions at weights ``r`` (K,) by set, by task (``"accuracy: set"``) and of the ``"objective"``; and the half
    width of the objective's interval by the law alone, in its own unit.

    Args:
        form: how wrong the law's form may be there, which widens all intervals of the table.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus)
        >>> table, half = predictions(q, lambda losses: losses @ q.W, np.array([0.5, 0.5]))
        >>> sorted(table), round(table["objective"].mean, 2)  # 4 - 2 ln 0.6 nats per token
        (['all', 'objective'], 5.02)
    """
    losses, low, high = q.view.predict(r[None])[0], *(end[0] for end in q.view.interval(r[None], q.level))
    low, high = np.minimum(low, losses), np.maximum(high, losses)
    half = _half_width(q, losses, (high - low) / 2)
    whole = half
    if form is not None:
        extra = q.z * np.sqrt(form.variance_of_sets(r[None])[0])
        low, high = losses - np.hypot(losses - low, extra), losses + np.hypot(high - losses, extra)
        if q.several_tasks:
            whole = _half_width(q, losses, (high - low) / 2)
        else:
            whole = float(np.hypot(half, q.z * np.sqrt(form.variance(r[None], q.W)[0])))
    table = {
        t: Prediction(float(x), float(a), float(b), q.level) for t, x, a, b in zip(q.view.targets, losses, low, high)
    }
    for name, curve in q.tasks.items():
        table[f"accuracy: {name}"] = advice.accuracy(curve, table[name])
    value = float(score(losses[None])[0])
    unit = "error and nats" if q.several_tasks else "nats_per_token"
    table["objective"] = Prediction(value, value - whole, value + whole, q.level, unit)
    return table, half


def _half_width(q: Request, losses: Array, sides: Array) -> float:
    """Half width of the objective's interval from the sets' (T,)."""
    return _half_width_of_tasks(q, losses, sides) if q.several_tasks else objective_half_width(q.W, sides, q.rows)


def bounded(q: Request, table: Mapping[str, Prediction], warnings: list[str]) -> dict[str, Prediction]:
    """The predictions, none above what a model that knows nothing has: ln(vocabulary), or the largest loss measured.

    A law far from its runs can predict any loss. Where it is cut, a sentence says so; the optimum is the law's own.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), replace(corpus, vocab_size=2_000))
        >>> said = []
        >>> round(bounded(q, {"all": Prediction(12.0, 7.0, 16.0, 0.9)}, said)["all"].mean, 2)  # ln(2000)
        7.6
        >>> said[0][:54]
        'The law predicts a loss of 12.0 nats per token on all,'
    """
    if not q.corpus.vocab_size:
        return dict(table)
    ignorant = math.log(q.corpus.vocab_size)
    out = dict(table)
    for i, name in enumerate(q.view.targets):
        if name not in table:
            continue
        losses = np.array([]) if q.rows is None else q.rows.losses[:, i][np.isfinite(q.rows.losses[:, i])]
        most, p = float(max([ignorant, *losses])), table[name]
        if p.mean > most:
            out[name] = replace(p, mean=most, low=min(p.low, most), high=most)
            warnings.append(
                f"The law predicts a loss of {p.mean:.1f} nats per token on {name}, above the largest that was "
                f"measured and above ln(vocabulary) = {ignorant:.2f}, that of a model that knows nothing; {most:.2f} "
                f"is shown. The law does not hold at this mixture, or the set is too small: look at its tokens."
            )
    return out


def _half_width_of_tasks(q: Request, losses: Array, sides: Array) -> float:
    """Half width of a mean of errors and losses: errors of sets are taken to go fully together."""
    slopes = np.ones(len(losses))
    for i, name in enumerate(q.view.targets):
        if name in q.tasks:
            slopes[i] = abs(float(q.tasks[name].slope(losses[i])))
    return float(q.W @ (sides * slopes))


def baseline(q: Request, score: Score, mixture: Mixture, form: FormError | None = None) -> dict[str, Any]:
    """A row of the table of baselines: weights, the objective predicted, whether the budget allows it.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus)
        >>> row = baseline(q, lambda losses: losses @ q.W, corpus.natural)
        >>> row["feasible"], round(row["prediction"]["mean"], 2)
        (True, 5.61)
    """
    weights = mixture.array(q.domains)
    known = bool(np.isfinite(score(q.view.predict(weights[None]))[0]))
    return {
        "weights": mixture.to_dict(),
        "prediction": predictions(q, score, weights, form)[0]["objective"].to_dict() if known else None,
        "feasible": feasible(weights, q.constraints),
    }

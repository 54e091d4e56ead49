"""Item response: how able a model is, from which items it solves, instead of how many.

A model of ability theta solves item i with probability ``1 / (1 + exp(-a_i (theta - b_i)))``: ``b`` is the item's
difficulty, on the scale of the abilities, and ``a`` its discrimination, how sharply it tells models apart there (the
two-parameter logistic model, Birnbaum 1968). Abilities of the models that the items were fitted to have mean 0 and
standard deviation 1. Along training, ability moves with less noise than accuracy, because items that tell nothing at
that stage count little (Hofmann et al. 2025, Fluid Language Model Benchmarking).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.observations import Observations
from mixlaw.errors import DataError, did_you_mean

__all__ = ["ENOUGH_MODELS", "Ability", "Items", "Responses"]

Floats = npt.NDArray[np.float64]

LARGEST = 4.0
"""Abilities are sought in [-4, 4]: with a standard normal prior nothing is told apart beyond."""

ENOUGH_MODELS = 20
"""Fewer models cannot tell how sharply an item discriminates; then all items are given the same discrimination."""

_NODES = np.linspace(-LARGEST, LARGEST, 41)
_SPREAD_A = 0.5  # log a has a normal prior of this standard deviation around 0
_SPREAD_B = 2.0  # b has one of this around 0: an item that all models solve has no difficulty of its own


@dataclass(frozen=True, eq=False)
class Responses:
    """Who solved what.

    Args:
        models: ``(run, step)`` of each row.
        items: name of each column.
        solved: (models, items), 1 where the item was solved, 0 where not, NaN where it was not asked.

    Raises:
        DataError: other values, or another shape.

    Example:
        >>> rows = [{"run": "a", "step": 9, "target": "t", "item": i, "metric": "accuracy", "value": 1.0} for i in "xy"]
        >>> Responses.of(Observations.from_records([{"run": "a"}], [], items=rows), "t").solved
        array([[1., 1.]])
    """

    models: tuple[tuple[str, int], ...]
    items: tuple[str, ...]
    solved: Floats

    def __post_init__(self) -> None:
        solved = np.asarray(self.solved, float)
        if solved.shape != (len(self.models), len(self.items)):
            raise DataError(
                f"Responses of {len(self.models)} models to {len(self.items)} items need a matrix of that shape, got "
                f"{solved.shape}."
            )
        known = solved[~np.isnan(solved)]
        if not np.isin(known, (0.0, 1.0)).all():
            odd = known[~np.isin(known, (0.0, 1.0))][0]
            raise DataError(
                f"Item response needs items that are solved (1) or not (0), got {odd:g}. Choose a metric such as "
                f"accuracy."
            )
        object.__setattr__(self, "solved", solved)

    @classmethod
    def of(cls, observations: Observations, target: str, metric: str = "accuracy") -> Responses:
        """The items of a task in observations; every run and step is a model.

        Raises:
            DataError: no such items, or items that are not 0 or 1. A pair that counts half (two sentences of equal
                probability) counts as not asked.
        """
        rows = observations.items.filter(_where(observations, target, metric))
        if not rows.num_rows:
            there = sorted({*observations.items["target"].to_pylist()})
            raise DataError(
                f"No items of {target!r} with the metric {metric!r} are there.{did_you_mean(target, there)} Items are "
                f"kept of every task that an evaluator scores."
            )
        runs, steps, names = (rows[column].to_pylist() for column in ("run", "step", "item"))
        models = {key: i for i, key in enumerate(dict.fromkeys(zip(runs, steps)))}
        items = {key: i for i, key in enumerate(dict.fromkeys(names))}
        solved = np.full((len(models), len(items)), np.nan)
        values = rows["value"].to_numpy()
        solved[[models[key] for key in zip(runs, steps)], [items[name] for name in names]] = np.where(
            (values == 0.5) & (metric == "accuracy"), np.nan, values
        )
        return cls(tuple(models), tuple(items), solved)


def _where(observations: Observations, target: str, metric: str) -> Any:
    import pyarrow.compute as pc

    return pc.and_(pc.equal(observations.items["target"], target), pc.equal(observations.items["metric"], metric))


@dataclass(frozen=True)
class Ability:
    """An ability and how surely it is known.

    Args:
        value: its most probable value, with a standard normal prior.
        std: its standard error: one over the root of the information, the prior's included.
        num_items: how many items it was told from.

    Example:
        >>> low, high = Ability(0.5, 0.2, 40).interval(0.95)
        >>> round(low, 3), round(high, 3)
        (0.108, 0.892)
    """

    value: float
    std: float
    num_items: int

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """``(low, high)`` that holds the ability with probability ``level``."""
        from statistics import NormalDist

        half = NormalDist().inv_cdf(0.5 + level / 2) * self.std
        return self.value - half, self.value + half


@dataclass(frozen=True, eq=False)
class Items:
    """Items whose discrimination and difficulty are known.

    Args:
        names: of the items.
        discrimination: (items,) ``a``, positive.
        difficulty: (items,) ``b``.

    Example:
        >>> items = Items(("easy", "hard"), np.array([1.0, 2.0]), np.array([-1.0, 1.0]))
        >>> items.ability({"easy": 1.0, "hard": 0.0}).value.__round__(3)
        0.019
        >>> items.next_item(0.9)
        'hard'
    """

    names: tuple[str, ...]
    discrimination: Floats
    difficulty: Floats

    def __post_init__(self) -> None:
        a, b = np.asarray(self.discrimination, float), np.asarray(self.difficulty, float)
        if a.shape != (len(self.names),) or b.shape != a.shape or not (np.isfinite(a) & np.isfinite(b) & (a > 0)).all():
            raise DataError(
                f"{len(self.names)} items need as many positive discriminations and finite difficulties, got shapes "
                f"{a.shape} and {b.shape}."
            )
        object.__setattr__(self, "discrimination", a)
        object.__setattr__(self, "difficulty", b)

    @classmethod
    def fit(cls, responses: Responses, steps: int = 200) -> Items:
        """Discriminations and difficulties that make the responses most probable, abilities integrated out (marginal
        maximum a posteriori; Bock and Aitkin 1981, doi:10.1007/BF02293801).

        Abilities have a standard normal prior, ``log a`` one of standard deviation 0.5 around 0, and ``b`` one of 2
        around 0. With fewer than :data:`ENOUGH_MODELS` models every ``a`` is 1 (the Rasch model), and ``b`` is still
        told. Checkpoints of one run count as models of their own; they are more alike than separate models, so items
        fitted to few runs say more about those runs than about others.

        Args:
            responses: of at least three models.
            steps: of expectation and maximisation at most; it stops where no difficulty moves by 0.001.

        Raises:
            DataError: fewer than three models.
        """
        if len(responses.models) < 3:
            raise DataError(
                f"Items cannot be told from {len(responses.models)} models: at least three are needed, and "
                f"{ENOUGH_MODELS} for discriminations. Score more runs, or more checkpoints (evaluators: at)."
            )
        asked = ~np.isnan(responses.solved)
        solved = np.where(asked, responses.solved, 0.0)
        counts = asked.sum(0)
        share = (solved.sum(0) + 0.5) / (counts + 1.0)
        log_a, b = np.zeros(len(responses.items)), -np.log(share / (1 - share))
        both = len(responses.models) >= ENOUGH_MODELS
        prior = np.exp(-0.5 * _NODES**2)
        for _ in range(steps):
            weights = _posterior(solved, asked, np.exp(log_a), b, prior)  # (models, nodes)
            right, total = weights.T @ solved, weights.T @ asked  # (nodes, items): expected counts
            before = b
            for _ in range(3):
                log_a, b = _maximised(log_a, b, right, total, both)
            if np.abs(b - before).max() < 1e-3:
                break
        return cls(responses.items, np.exp(log_a), b)

    def ability(self, solved: Mapping[str, float]) -> Ability:
        """The most probable ability of a model, with a standard normal prior.

        Args:
            solved: ``{item: 1 or 0}``; items that are not among these are left out.

        Raises:
            DataError: none of the items is known.
        """
        place = {name: i for i, name in enumerate(self.names)}
        known = [(place[name], value) for name, value in solved.items() if name in place and not np.isnan(value)]
        if not known:
            raise DataError("None of the answered items is among the fitted ones, so there is no ability to tell.")
        index, y = np.array([i for i, _ in known]), np.array([value for _, value in known])
        a, b = self.discrimination[index], self.difficulty[index]

        def slope_and_information(theta: float) -> tuple[float, float]:
            p = _probability(a, b, theta)
            return float(a @ (y - p)) - theta, float(a**2 @ (p * (1 - p))) + 1.0

        low, high, theta = -LARGEST, LARGEST, 0.0
        for _ in range(100):  # the slope falls in theta, so its root is bracketed; Newton inside, else the middle
            slope, information = slope_and_information(theta)
            if slope > 0:
                low = theta
            else:
                high = theta
            step = theta + slope / information
            new = step if low < step < high else (low + high) / 2
            if abs(new - theta) < 1e-10:
                break
            theta = new
        return Ability(theta, float(slope_and_information(theta)[1] ** -0.5), len(known))

    def abilities(self, responses: Responses) -> dict[tuple[str, int], Ability]:
        """The ability of each ``(run, step)``."""
        return {
            model: self.ability(dict(zip(responses.items, row)))
            for model, row in zip(responses.models, responses.solved)
        }

    def information(self, theta: float) -> Floats:
        """(items,) Fisher information about the ability at ``theta``: ``a^2 P (1 - P)``."""
        p = _probability(self.discrimination, self.difficulty, theta)
        return np.asarray(self.discrimination**2 * p * (1 - p))

    def next_item(self, theta: float, asked: Collection[str] = ()) -> str:
        """The item that tells most about an ability near ``theta``, of those not asked yet.

        Raises:
            DataError: all were asked.
        """
        left = np.array([name not in set(asked) for name in self.names])
        if not left.any():
            raise DataError(f"All of the {len(self.names)} items were asked.")
        return self.names[int(np.where(left, self.information(theta), -1.0).argmax())]

    def rows(self, responses: Responses, target: str, metric: str = "accuracy") -> list[dict[str, Any]]:
        """Abilities as rows of the values table, each naming the measured row that it comes from.

        Add them to what was measured: ``Observations.concat`` does not take a run twice, ``Observations.from_records``
        takes them beside the measured rows.
        """
        return [
            {
                "run": run,
                "step": step,
                "target": target,
                "metric": "ability",
                "unit": "standard_deviations",
                "value": found.value,
                "std": found.std,
                "num_items": found.num_items,
                "source": "derived:item_response",
                "derived_from": [{"run": run, "step": step, "target": target, "metric": metric}],
            }
            for (run, step), found in self.abilities(responses).items()
        ]


def _probability(a: Floats, b: Floats, theta: Any) -> Floats:
    z = np.clip(a * (theta - b), -35.0, 35.0)
    return np.asarray(1.0 / (1.0 + np.exp(-z)))


def _posterior(solved: Floats, asked: Any, a: Floats, b: Floats, prior: Floats) -> Floats:
    """(models, nodes) probability of each ability given the responses."""
    p = np.clip(_probability(a, b, _NODES[:, None]), 1e-12, 1 - 1e-12)  # (nodes, items)
    log = solved @ np.log(p).T + (asked - solved) @ np.log1p(-p).T + np.log(prior)
    log -= log.max(1, keepdims=True)
    weights = np.exp(log)
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _maximised(log_a: Floats, b: Floats, right: Floats, total: Floats, both: bool) -> tuple[Floats, Floats]:
    """One step of Fisher scoring per item in (log a, b), at most half a unit each."""
    a, away = np.exp(log_a), _NODES[:, None] - b  # away: (nodes, items)
    p = _probability(a, b, _NODES[:, None])
    residual, spread = right - total * p, total * p * (1 - p)
    slope_b = -a * residual.sum(0) - b / _SPREAD_B**2
    curve_b = a**2 * spread.sum(0) + 1 / _SPREAD_B**2
    if not both:
        return log_a, b + np.clip(slope_b / curve_b, -0.5, 0.5)
    slope_a = a * (residual * away).sum(0) - log_a / _SPREAD_A**2
    curve_a = a**2 * (spread * away**2).sum(0) + 1 / _SPREAD_A**2
    cross = -(a**2) * (spread * away).sum(0)
    det = curve_a * curve_b - cross**2
    step_a = (curve_b * slope_a - cross * slope_b) / det
    step_b = (curve_a * slope_b - cross * slope_a) / det
    return log_a + np.clip(step_a, -0.5, 0.5), b + np.clip(step_b, -0.5, 0.5)

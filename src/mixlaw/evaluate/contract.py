"""What an evaluator promises: a model and items in, values and single results out.

An evaluator is one file in this room that holds a class. Its options are the constructor's arguments, so that
``EVALUATORS.make(name, options)`` refuses unknown ones, and a run spec names it as ``{"name": ..., "options": {...}}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from mixlaw.models.contract import Item, Model

__all__ = ["Evaluation", "Evaluator"]


@dataclass(frozen=True)
class Evaluation:
    """Rows for two tables of :class:`~mixlaw.data.observations.Observations`, without run and step.

    Args:
        values: one row per target: ``target``, ``metric``, ``unit``, ``value``, ``num_items``, and ``std`` where there
            is one.
        items: one row per item: ``target``, ``item``, ``metric``, ``value``.

    Example:
        >>> values = [{"target": "web", "metric": "loss", "unit": "nats_per_token", "value": 2.5, "num_items": 1}]
        >>> items = [{"target": "web", "item": "a", "metric": "loss", "value": 2.5}]
        >>> Evaluation(values, items).records("run-1", step=100)[0][0]["run"]
        'run-1'
    """

    values: Sequence[Mapping[str, Any]]
    items: Sequence[Mapping[str, Any]]

    def records(self, run: str, step: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """``(values, items)`` of a run at a step, as ``Observations.from_records`` takes them."""
        there = {"run": run, "step": step}
        return [{**there, **row} for row in self.values], [{**there, **row} for row in self.items]


@runtime_checkable
class Evaluator(Protocol):
    """Measures one metric of a model."""

    @property
    def metric(self) -> str:
        """Name of what is measured, as in the observations' column of that name: ``"loss"``, ``"accuracy"``."""

    @property
    def unit(self) -> str:
        """Its unit: ``"nats_per_token"``, ``"fraction"``."""

    @property
    def direction(self) -> Literal["lower", "higher"]:
        """Which is better."""

    @property
    def floor(self) -> float | None:
        """The value of a guess, where it does not depend on the model: 0.25 for four choices. None: it does."""

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Item]]) -> Evaluation:
        """Measure every target.

        Args:
            model: see :class:`~mixlaw.models.contract.Model`.
            targets: the items of each target, at least one.

        Raises:
            DataError: a target has no items, or items that the model or the metric cannot take.
        """

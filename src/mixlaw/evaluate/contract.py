"""What an evaluator promises: a model and items in, values and single results out.

An evaluator is one file in this room that holds a class. Its options are the constructor's arguments, so that
``EVALUATORS.make(name, options)`` refuses unknown ones, and a run spec names it as ``{"name": ..., "options": {...}}``.

The way from a file of a task to observations::

    records = read_records("blimp.jsonl.zst")                        # mixlaw.text.records: plain dicts
    items = evaluator.prepare(records, model.tokenizer, context=256)  # what this evaluator makes of them, once
    evaluation = evaluator(model, {"blimp": items})                   # at every checkpoint
    values, rows = evaluation.records(run, step)                      # for Observations.from_records
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from mixlaw.models.contract import Item, Model, Tokenizer

__all__ = ["Evaluation", "Evaluator", "Question", "Record"]

Record = Mapping[str, Any]
"""One question or example as its file has it, with texts as texts. :mod:`mixlaw.evaluate.tasks.fields` says which keys
are read as what."""


@dataclass(frozen=True, eq=False)
class Question:
    """One record, prepared for an evaluator.

    Args:
        id: names it within its target; begins with ``group/`` where there is a group.
        record: what it was made from; an evaluator that lets the model write reads its prompt and answer here.
        sequences: the texts that are scored of it, for instance the two sentences of a pair, or every choice; each as
            the items that it was cut into, one where it fits into the context. Empty for an evaluator that scores no
            texts.
        group: the part of the task that it belongs to (the phenomenon, the subject); ``""``: there are no parts.

    Example:
        >>> Question("sums/3", {"question": "1+1", "answer": "2"}, group="sums").record["answer"]
        '2'
    """

    id: str
    record: Record
    sequences: tuple[tuple[Item, ...], ...] = ()
    group: str = ""


@dataclass(frozen=True)
class Evaluation:
    """Rows for two tables of :class:`~mixlaw.data.observations.Observations`, without run and step.

    :func:`mixlaw.evaluate.tasks.scores.evaluation` makes one from a score per question.

    Args:
        values: one row per target and metric, and one per group of a target under ``target/group``: ``target``,
            ``metric``, ``unit``, ``value``, ``num_items``, and ``std``, the standard error of the value, where there is
            one; ``shots`` and ``prompt_format`` where they are known.
        items: one row per item: ``target``, ``item``, ``metric``, ``value``. Items of groups stand under their target
            only.

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
    """Measures a model on items that it has prepared. Where it gives several metrics, the four properties are those of
    the first; the rows of the others say their own unit."""

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
        """The value of a guess, where it does not depend on the items: 0.5 for pairs. None: it does."""

    def prepare(self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None) -> list[Any]:
        """Items of a target, made once for all checkpoints.

        Args:
            records: of one file.
            tokenizer: the model's.
            context: tokens that the model sees at once; None: no limit. A prompt that does not fit is cut on its left,
                so that what is scored stays whole; a scored text that does not fit is scored in pieces, see
                :func:`mixlaw.evaluate.tasks.sequences.pieces`.

        Raises:
            DataError: a record lacks a key, or holds something else there (says which record, counted from 1), or there
                is no tokenizer.
        """

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Any]]) -> Evaluation:
        """Measure every target.

        Args:
            model: see :class:`~mixlaw.models.contract.Model`.
            targets: the items of each target, at least one, as :meth:`prepare` made them.

        Raises:
            DataError: a target has no items, or items that the model or the metric cannot take.
        """

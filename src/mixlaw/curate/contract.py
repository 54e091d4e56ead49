"""What a step of curation promises: documents in, documents out, and a reason for each that is rejected.

A step is one file of ``steps`` that holds a class, a dataclass whose fields are its options. Documents stream through
it, so a corpus need not fit in memory; what it must remember is its ``state``, which is saved between files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from mixlaw.errors import ConfigError
from mixlaw.kit.hashing import content_hash
from mixlaw.text.document import Document

__all__ = ["Need", "Rejected", "Step", "step_hash"]

Need = Literal["pass", "index", "model"]
"""What a step needs: one pass, in which any part of a corpus can be processed on its own; an index over the whole
corpus, so that its parts are processed in order; or the scores of a model."""


@dataclass(frozen=True)
class Rejected:
    """A document that was left out.

    Args:
        id: the document's id.
        step: registry name of the step that rejected it.
        reason: in words, with the figures that decided.

    Example:
        >>> Rejected("web/7", "exact_duplicates", "the same text as web/1").reason
        'the same text as web/1'
    """

    id: str
    step: str
    reason: str


@runtime_checkable
class Step(Protocol):
    """Keeps, changes or rejects documents."""

    @property
    def version(self) -> str:
        """Changes whenever the same options would give other documents; part of :func:`step_hash`."""

    @property
    def needs(self) -> Need:
        """What it needs beside the documents."""

    def apply(self, documents: Iterable[Document]) -> Iterator[Document | Rejected]:
        """Each document as kept (perhaps changed, with further scores) or rejected, in the order given.

        Exactly one comes out for each that goes in, under its id. Applying it to the rest of a corpus goes on from
        the state that the beginning has left.
        """

    def state(self) -> dict[str, Any]:
        """All that it remembers of the documents so far, as plain data for JSON."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state` gave."""


def step_hash(name: str, step: Step) -> str:
    """Content hash of what a step does: its registry name, its version and its options.

    Args:
        name: registry name of the step.
        step: a dataclass; its fields are its options.

    Raises:
        ConfigError: ``step`` is no dataclass.

    Example:
        >>> from mixlaw.curate import STEPS
        >>> one, two = STEPS.make("exact_duplicates"), STEPS.make("exact_duplicates", {"strip": False})
        >>> step_hash("exact_duplicates", one) == step_hash("exact_duplicates", two)
        False
    """
    if not is_dataclass(step) or isinstance(step, type):
        raise ConfigError(f"The step {name!r} must be a dataclass whose fields are its options; {step!r} is none.")
    return content_hash({"step": name, "version": step.version, "options": asdict(step)})

"""A document: its text, where it came from, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Document"]


@dataclass(frozen=True)
class Document:
    """One document on its way through curation and selection.

    Args:
        id: names it in its source; unique there.
        text: its text.
        meta: what its source says of it (address, language, date), plain data.
        scores: what was measured of it, by name.

    Example:
        >>> document = Document("web/1", "Rivers carry silt.", meta={"language": "en"})
        >>> document.scored(length=18.0).scores
        {'length': 18.0}
    """

    id: str
    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)

    def scored(self, **scores: float) -> Document:
        """The same document with further scores; a name that it has already is replaced."""
        return Document(self.id, self.text, self.meta, {**self.scores, **scores})

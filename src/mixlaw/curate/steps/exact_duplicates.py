"""Documents whose text was seen before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mixlaw.curate.contract import Need, Rejected
from mixlaw.text.document import Document

__all__ = ["ExactDuplicates"]


@dataclass
class ExactDuplicates:
    """Keeps the first of documents with one text, and rejects the others.

    Texts are compared by the first 128 bits of their SHA-256; among a billion documents, two different texts share
    one with a probability of about 1e-21.

    Args:
        strip: ignore white space at the ends.

    Example:
        >>> step = ExactDuplicates()
        >>> documents = [Document("a", "silt"), Document("b", "silt "), Document("c", "clay")]
        >>> [result.id for result in step.apply(documents) if isinstance(result, Rejected)]
        ['b']
    """

    strip: bool = True

    version = "1"
    needs: Need = "index"

    def __post_init__(self) -> None:
        self._seen: dict[str, str] = {}

    def apply(self, documents: Iterable[Document]) -> Iterator[Document | Rejected]:
        """Each document, or why it is left out."""
        for document in documents:
            text = document.text.strip() if self.strip else document.text
            key = hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()[:32]
            if key in self._seen:
                yield Rejected(document.id, "exact_duplicates", f"the same text as {self._seen[key]}")
            else:
                self._seen[key] = document.id
                yield document

    def state(self) -> dict[str, Any]:
        """Hash of each text seen, and the id of its first document."""
        return {"seen": dict(self._seen)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state` gave."""
        self._seen = dict(state["seen"])

"""Which documents or examples are kept, and why: ids and reasons, never a copy of the text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from mixlaw.data import formats
from mixlaw.errors import DataError
from mixlaw.kit.hashing import content_hash
from mixlaw.kit.store import Store

__all__ = ["Selection"]


@dataclass(frozen=True)
class Selection:
    """Ids that are kept of a corpus, with a score and a reason each where there are any.

    It can be computed again from the corpus, so it holds no text.

    Args:
        kept: ids of the documents or examples, in order; each once.
        corpus_hash: content hash of what was selected from.
        scores: ``{id: score}``, finite, in ``unit``; may also name ids that are not kept.
        reasons: ``{id: words}``, for ids that are kept or rejected.
        selector: ``{"name": ..., "options": {...}}``, what selected.
        unit: what a score is.

    Raises:
        DataError: an id that is no text or repeats, a score that is not finite, or no hash of the corpus.

    Example:
        >>> selection = Selection(("d2", "d7"), "0123456789abcdef", scores={"d2": 0.9, "d7": 0.4})
        >>> len(selection), "d2" in selection
        (2, True)
        >>> Selection.from_dict(selection.to_dict()) == selection
        True
    """

    kept: tuple[str, ...]
    corpus_hash: str
    scores: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    selector: Mapping[str, Any] = field(default_factory=dict)
    unit: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.kept, str) or not isinstance(self.kept, Iterable):
            raise DataError(f"A selection keeps a list of ids, such as ['d2', 'd7']; got {self.kept!r}.")
        for name in ("scores", "reasons", "selector"):
            if not isinstance(getattr(self, name), Mapping):
                raise DataError(f"{name} of a selection must be a mapping, got {getattr(self, name)!r}.")
        if not isinstance(self.unit, str):
            raise DataError(f"unit of a selection must be a text, got {self.unit!r}.")
        object.__setattr__(self, "kept", tuple(self.kept))
        wrong = [i for i in (*self.kept, *self.scores, *self.reasons) if not isinstance(i, str) or not i]
        if wrong:
            raise DataError(f"A selection names documents by ids, texts that are not empty; got {wrong[0]!r}.")
        seen: set[str] = set()
        repeated = [i for i in self.kept if i in seen or seen.add(i)]  # type: ignore[func-returns-value]
        if repeated:
            raise DataError(f"A selection keeps each id once; repeated: {repeated[:5]}.")
        bad = {i: s for i, s in self.scores.items() if not _finite(s)}
        if bad:
            raise DataError(f"Scores of a selection must be finite numbers, got {dict(list(bad.items())[:5])}.")
        silent = {i: r for i, r in self.reasons.items() if not isinstance(r, str)}
        if silent:
            raise DataError(f"Reasons of a selection must be texts, got {dict(list(silent.items())[:5])}.")
        if not isinstance(self.corpus_hash, str) or not self.corpus_hash:
            raise DataError(
                f"A selection needs corpus_hash, the content hash of what was selected from; got {self.corpus_hash!r}."
            )

    def __len__(self) -> int:
        return len(self.kept)

    def __contains__(self, item: object) -> bool:
        return item in self.kept

    @property
    def hash(self) -> str:
        """Content hash of what is kept, of which corpus: what a run spec's ``examples`` names."""
        return content_hash({"kept": list(self.kept), "corpus_hash": self.corpus_hash})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "kept": list(self.kept),
            "corpus_hash": self.corpus_hash,
            "scores": dict(self.scores),
            "reasons": dict(self.reasons),
            "selector": dict(self.selector),
            "unit": self.unit,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Selection:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: it is no selection.
        """
        try:
            return cls(**{**data, "kept": tuple(data["kept"])})
        except (KeyError, TypeError) as error:
            raise DataError(f"This is not a selection written by mixlaw: {error!r}.") from None

    def save(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all."""
        target = Path(path)
        formats.write(Store(target.parent), target.name, "selection", self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Selection:
        """Read what :meth:`save` wrote, in this version or an earlier one.

        Raises:
            DataError: not there, no selection, of a newer format, or changed after it was written.
        """
        return formats.made("selection", path, cls.from_dict, formats.load(path, "selection"))


def _finite(score: Any) -> bool:
    return isinstance(score, Real) and not isinstance(score, bool) and math.isfinite(score)

"""What changed between two corpora: whether runs on one say something about the other."""

from __future__ import annotations

from dataclasses import dataclass

from mixlaw.data.corpus import Corpus
from mixlaw.kit.units import format_count

__all__ = ["Diff", "DomainChange", "corpus_diff", "diff"]


@dataclass(frozen=True)
class DomainChange:
    """A domain or validation set on both sides that is not the same. ``hash_changed``: other content."""

    name: str
    tokens_before: int
    tokens_after: int
    hash_changed: bool

    def __str__(self) -> str:
        change = self.tokens_after - self.tokens_before
        if change:
            share = f" ({change / self.tokens_before:+.1%})" if self.tokens_before else ""
            return f"{self.name}: {format_count(self.tokens_before)} -> {format_count(self.tokens_after)} tokens{share}"
        return f"{self.name}: other content, {format_count(self.tokens_after)} tokens as before"


@dataclass(frozen=True)
class Diff:
    """What changed from one corpus to another.

    Attributes:
        added, removed, changed: training domains.
        validation_added, validation_removed, validation_changed: validation sets.
        tokenizer: ``(before, after)`` where it differs, else None.
        natural_shift: per domain, change of its weight in the natural mixture.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[DomainChange, ...]
    validation_added: tuple[str, ...]
    validation_removed: tuple[str, ...]
    validation_changed: tuple[DomainChange, ...]
    tokenizer: tuple[str, str] | None
    natural_shift: dict[str, float]

    @property
    def same_training(self) -> bool:
        """Runs on one are runs on the other."""
        return not (self.added or self.removed or self.changed or self.tokenizer)

    @property
    def comparable(self) -> bool:
        """Losses measured on one compare with losses measured on the other."""
        return not (self.validation_added or self.validation_removed or self.validation_changed or self.tokenizer)

    def __bool__(self) -> bool:
        return not (self.same_training and self.comparable)

    def __str__(self) -> str:
        if not self:
            return "No change: same domains, validation sets and tokenizer."
        lines = []
        if self.tokenizer:
            lines.append(
                f"tokenizer: {self.tokenizer[0] or '(none)'} -> {self.tokenizer[1] or '(none)'}; "
                f"tokens and losses per token do not compare"
            )
        for title, added, removed, changed in (
            ("domain", self.added, self.removed, self.changed),
            ("validation set", self.validation_added, self.validation_removed, self.validation_changed),
        ):
            lines += [f"+ {title} {name}" for name in added]
            lines += [f"- {title} {name}" for name in removed]
            lines += [f"~ {title} {change}" for change in changed]
        moved = {n: s for n, s in self.natural_shift.items() if abs(s) >= 0.0005}
        if moved:
            lines.append("natural mixture: " + ", ".join(f"{n} {s:+.3f}" for n, s in moved.items()))
        lines.append(
            "Training text is the same: runs stay valid."
            if self.same_training
            else "Training text differs: runs on the one corpus are not runs on the other."
        )
        lines.append(
            "Validation is the same: losses compare."
            if self.comparable
            else "Validation differs: losses do not compare."
        )
        return "\n".join(lines)


def corpus_diff(before: Corpus, after: Corpus) -> Diff:
    """Compare two corpora.

    Example:
        >>> a = Corpus.declared({"web": 300, "code": 100}, source="card")
        >>> b = Corpus.declared({"web": 100, "wiki": 100}, source="card")
        >>> change = corpus_diff(a, b)
        >>> change.added, change.removed, str(change.changed[0])
        (('wiki',), ('code',), 'web: 300 -> 100 tokens (-66.7%)')
    """
    sides = []
    for corpus in (before, after):
        sides.append(
            (
                {d.name: (d.unique_tokens, d.hash) for d in corpus.domains},
                {v.name: (v.tokens, v.hash) for v in corpus.validation},
            )
        )
    compared = []
    for old, new in zip(*sides):
        changed = tuple(
            DomainChange(n, old[n][0], new[n][0], old[n][1] != new[n][1])
            for n in old
            if n in new and (old[n][0] != new[n][0] or (old[n][1] and new[n][1] and old[n][1] != new[n][1]))
        )
        compared.append((tuple(n for n in new if n not in old), tuple(n for n in old if n not in new), changed))
    names = list(dict.fromkeys([*before.names, *after.names]))
    shift = {n: after.natural.get(n) - before.natural.get(n) for n in names}
    other = before.tokenizer != after.tokenizer
    return Diff(*compared[0], *compared[1], (before.tokenizer, after.tokenizer) if other else None, shift)


diff = corpus_diff

"""What text there is: named domains with their counts, and validation sets beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixlaw.data import formats
from mixlaw.data.mixture import Mixture
from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.kit.hashing import content_hash
from mixlaw.kit.store import Store, folder_name

__all__ = ["Corpus", "Domain", "ValidationSet"]


def _check_name(name: str, kind: str) -> None:
    """Refuse what no file system could hold or no message could show.

    Raises:
        ConfigError: an empty name, or one with a NUL character.
    """
    if not name or "\x00" in name:
        raise ConfigError(f"{name!r} cannot name a {kind}: give it a name of its own, such as 'web'.")


@dataclass(frozen=True)
class Domain:
    """One training domain.

    Args:
        name: unique within the corpus.
        unique_tokens: distinct training tokens available (one epoch), > 0.
        num_bytes, num_documents: UTF-8 bytes and documents behind them; ``None`` if not known.
        hash: content hash of the tokens; ``""`` where the counts are declared.
        paths: where the text came from, as the user wrote it.
        source: ``"measured"``, or who declared the counts; shown wherever the counts are.

    Raises:
        ConfigError: an empty name.
        DataError: no unique tokens.

    Example:
        >>> Domain("wiki", unique_tokens=1_000, num_bytes=4_200).unique_tokens
        1000
        >>> Domain("wiki", unique_tokens=0)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mixlaw.errors.DataError: Domain 'wiki' has 0 unique tokens; a domain needs at least one. ...
    """

    name: str
    unique_tokens: int
    num_bytes: int | None = None
    num_documents: int | None = None
    hash: str = ""
    paths: tuple[str, ...] = ()
    source: str = "measured"

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", tuple(self.paths))
        _check_name(self.name, "domain")
        if self.unique_tokens <= 0:
            raise DataError(
                f"Domain {self.name!r} has {self.unique_tokens} unique tokens; a domain needs at least one. "
                f"Remove it, or check its files: {list(self.paths)}."
            )


@dataclass(frozen=True)
class ValidationSet:
    """Fixed tokens every model is scored on.

    Args:
        name: unique among validation sets; the same name as a training domain where it is its held-out part.
        tokens, num_bytes: size of the set (``num_bytes`` gives bits per byte).
        hash: content hash of the tokens.
        domain: the training domain it was split from, or ``None`` for a set of its own.
        paths: where the text came from, as the user wrote it.

    Example:
        >>> held_out = ValidationSet("wiki", tokens=1_000, num_bytes=4_200, domain="wiki")
        >>> held_out.num_bytes / held_out.tokens  # bytes per token: what bits per byte are computed with
        4.2
    """

    name: str
    tokens: int
    num_bytes: int | None = None
    hash: str = ""
    domain: str | None = None
    paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_name(self.name, "validation set")
        object.__setattr__(self, "paths", tuple(self.paths))


@dataclass(frozen=True)
class Corpus:
    """Ordered named domains, the validation sets beside them, and the tokenizer that counted them.

    Args:
        domains: the training domains, in the order in which every array of weights lists them.
        validation: the sets that losses are measured on.
        tokenizer: name or hash of the tokenizer that counted the tokens.
        vocab_size: number of its different tokens, or None where it is not known.
        extra: what else was found when the text was read; not compared and not hashed.

    Raises:
        ConfigError: no domain, or two domains or two validation sets of one name.

    Example:
        >>> corpus = Corpus.declared({"web": 3_000_000, "code": 1_000_000}, source="data card")
        >>> corpus.natural["web"]
        0.75
    """

    domains: tuple[Domain, ...]
    validation: tuple[ValidationSet, ...] = ()
    tokenizer: str = ""
    vocab_size: int | None = None
    extra: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "domains", tuple(self.domains))
        object.__setattr__(self, "validation", tuple(self.validation))
        for kind, names in (("domain", self.names), ("validation set", [v.name for v in self.validation])):
            repeated = sorted({n for n in names if list(names).count(n) > 1})
            if repeated:
                raise ConfigError(f"Every {kind} needs a name of its own; repeated: {repeated}.")
            by_folder: dict[str, str] = {}
            for name in names:
                other = by_folder.setdefault(folder_name(name), name)
                if other != name:
                    raise ConfigError(
                        f"{other!r} and {name!r} would share the folder {folder_name(name)!r}; rename one."
                    )
        if not self.domains:
            raise ConfigError("A corpus needs at least one domain, got none.")

    @classmethod
    def declared(cls, unique_tokens: Mapping[str, int], source: str, tokenizer: str = "") -> Corpus:
        """A corpus known only by a table of token counts; ``source`` says who counted, and is shown.

        Args:
            unique_tokens: tokens of each domain.
            source: who counted, with which tokenizer.
            tokenizer: its name.

        Raises:
            ConfigError: no source, or no domain.
            DataError: a count that is not positive.
        """
        if not source:
            raise ConfigError("Declared token counts need a source (who counted, with which tokenizer).")
        domains = tuple(Domain(n, int(c), source=f"declared: {source}") for n, c in unique_tokens.items())
        return cls(domains, tokenizer=tokenizer)

    @property
    def names(self) -> tuple[str, ...]:
        """Training domain names in order."""
        return tuple(d.name for d in self.domains)

    @property
    def unique_tokens(self) -> dict[str, int]:
        """Unique tokens per domain."""
        return {d.name: d.unique_tokens for d in self.domains}

    @property
    def natural(self) -> Mixture:
        """The *natural* mixture: proportional to unique tokens."""
        return Mixture.normalized({n: float(c) for n, c in self.unique_tokens.items()})

    def __getitem__(self, name: str) -> Domain:
        for domain in self.domains:
            if domain.name == name:
                return domain
        raise ConfigError(f"No domain {name!r} in the corpus.{did_you_mean(name, self.names)}")

    @property
    def hash(self) -> str:
        """Content hash over the training domains and the tokenizer: what a run trained on depends on."""
        return content_hash(
            {
                "domains": [[d.name, d.unique_tokens, d.hash] for d in self.domains],
                "tokenizer": self.tokenizer,
            }
        )

    @property
    def evaluation_hash(self) -> str:
        """Content hash over the validation sets: losses are comparable only where this agrees."""
        return content_hash({"validation": [[v.name, v.tokens, v.hash] for v in self.validation]})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``corpus.json``."""
        return {
            "domains": [{**vars(d), "paths": list(d.paths)} for d in self.domains],
            "validation": [{**vars(v), "paths": list(v.paths)} for v in self.validation],
            "tokenizer": self.tokenizer,
            "vocab_size": self.vocab_size,
            "hash": self.hash,
            "evaluation_hash": self.evaluation_hash,
            "extra": self.extra,
        }

    def save(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all."""
        target = Path(path)
        formats.write(Store(target.parent), target.name, "corpus", self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Corpus:
        """Read what :meth:`save` wrote, in this version or an earlier one.

        Raises:
            DataError: not there, no corpus, of a newer format, or changed after it was written.
        """
        return formats.made("corpus", path, cls.from_dict, formats.load(path, "corpus"))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Corpus:
        """Inverse of :meth:`to_dict`; a changed hash means the file was edited by hand.

        Raises:
            DataError: the recorded hash does not match the content.
        """
        corpus = cls(
            tuple(Domain(**d) for d in data["domains"]),
            tuple(ValidationSet(**v) for v in data["validation"]),
            data.get("tokenizer", ""),
            data.get("vocab_size"),
            dict(data.get("extra", {})),
        )
        if data.get("hash", corpus.hash) != corpus.hash:
            raise DataError(
                f"corpus.json says hash {data['hash']} but its content gives {corpus.hash}: it was changed "
                f"after it was written. Run `mixlaw tokenize` again."
            )
        return corpus

"""What a domain or a validation set is read from: files of text or of tokens, and a hash that changes with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.hashing import content_hash
from mixlaw.kit.store import folder_name
from mixlaw.text.readers import ReadCounts, SourceFile, find_files, read_documents

__all__ = ["FORMAT", "Source", "is_tokens", "read_sources"]

FORMAT = 1
"""Goes into every input hash: a change of method rebuilds."""


def is_tokens(path: str) -> bool:
    """Whether ``path`` names a file of tokens instead of text, by its ending.

    Example:
        >>> is_tokens("web.npy"), is_tokens("web.jsonl.zst")
        (True, False)
    """
    return str(path).lower().endswith((".npy", ".bin", ".idx"))


@dataclass(frozen=True)
class Source:
    """A domain or validation set: its name and what to read."""

    name: str
    paths: tuple[str, ...]
    files: tuple[SourceFile, ...]
    text_field: str
    ignored_files: int = 0

    @property
    def folder(self) -> str:
        """Name of the folder that its tokens are written into."""
        return folder_name(self.name)

    @property
    def is_tokens(self) -> bool:
        """Whether the files hold tokens instead of text."""
        return not self.files

    @property
    def size(self) -> int:
        """Bytes of the files as they lie there."""
        return sum(f.size for f in self.files)

    @property
    def inputs(self) -> str:
        """Hash over what is read: changes when a file is added, removed or written."""
        if self.is_tokens:
            stats = [(Path(p).name, Path(p).stat().st_size, Path(p).stat().st_mtime) for p in _pair(self.paths)]
            return content_hash([FORMAT, "tokens", stats])
        return content_hash([FORMAT, self.text_field, [(f.name, f.stamp) for f in self.files]])

    def documents(self, counts: ReadCounts, tell: Callable[[float], None] | None = None) -> Iterator[str]:
        """Texts, with the running position told now and then."""
        counts.ignored_files = self.ignored_files
        for number, text in enumerate(read_documents(self.files, self.text_field, counts)):
            if tell is not None and number % 64 == 0:
                tell(counts.consumed)
            yield text


def _pair(paths: Iterable[str]) -> list[str]:
    """Every file behind token paths: both of a Megatron pair."""
    result = []
    for path in paths:
        if path.lower().endswith(".npy"):
            result.append(path)
        else:
            prefix = str(Path(path).with_suffix(""))
            result += [f"{prefix}.bin", f"{prefix}.idx"]
    for path in result:
        if not Path(path).exists():
            raise DataError(f"{path!r} does not exist. Tokens are .npy files or Megatron pairs of .bin and .idx.")
    return result


def read_sources(given: Mapping[str, Any] | None, text_field: str) -> list[Source]:
    """Sources by name from one path or several each; folders are searched.

    Raises:
        ConfigError: no paths, or text and tokens in one source.
    """
    sources = []
    for name, paths in (given or {}).items():
        listed = [paths] if isinstance(paths, str | Path) else list(paths)
        texts = tuple(str(p) for p in listed)
        if not texts:
            raise ConfigError(f"{name!r} has no paths. Give at least one file or folder.")
        kinds = {is_tokens(p) for p in texts}
        if kinds == {True, False}:
            raise ConfigError(f"{name!r} mixes tokens and text: {list(texts)}. Make them two domains.")
        if kinds == {True}:
            sources.append(Source(name, texts, (), text_field))
        else:
            counts = ReadCounts()
            files = tuple(find_files(texts, counts))
            sources.append(Source(name, texts, files, text_field, counts.ignored_files))
    return sources

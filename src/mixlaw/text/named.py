"""Documents of files with a name each, which can be read more than once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePath

from mixlaw.errors import DataError
from mixlaw.text.document import Document
from mixlaw.text.readers import ReadCounts, SourceFile, find_files, read_documents

__all__ = ["DocumentFiles"]


class DocumentFiles:
    """The documents of files and folders, read anew each time, one at a time.

    A document is called after its file and its place there: ``web.jsonl.zst#12`` is the twelfth document with text of
    that file. Files of a folder have the folder's name in front, and where two paths would give equal names, the whole
    path stands there. ``meta["source"]`` is the path that the document is from.

    Args:
        paths: files, folders or patterns, as :func:`mixlaw.text.readers.find_files` takes them.
        text_field: where the text is in JSON lines and Parquet.
        tell: called with the bytes read so far and all bytes, now and then.

    Raises:
        DataError: a path does not exist, holds nothing to read, or is given twice.

    Example:
        >>> import fsspec
        >>> with fsspec.open("memory://named/a.jsonl", "w") as f: _ = f.write('{"text": "hello"}')
        >>> [(d.id, d.text) for d in DocumentFiles(["memory://named"])]
        [('named/a.jsonl#1', 'hello')]
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        text_field: str = "text",
        tell: Callable[[float, float], None] | None = None,
    ) -> None:
        self.paths = tuple(os.fspath(p) for p in paths)
        self.text_field = text_field
        self.tell = tell
        self.counts = ReadCounts()
        """What the last reading met."""
        self._files = _named(self.paths)
        self.size = sum(file.size for _, _, file in self._files)
        """Bytes of all files as they lie there."""

    def __iter__(self) -> Iterator[Document]:
        self.counts = counts = ReadCounts()
        for name, source, file in self._files:
            for number, text in enumerate(read_documents([file], self.text_field, counts), start=1):
                if self.tell is not None and counts.documents % 64 == 0:
                    self.tell(counts.consumed, self.size)
                yield Document(f"{name}#{number}", text, {"source": source})
        if self.tell is not None:
            self.tell(self.size, self.size)

    @property
    def texts(self) -> Iterable[str]:
        """The texts alone; they can be read again and again as well."""
        return _Texts(self)


class _Texts:
    def __init__(self, documents: DocumentFiles) -> None:
        self._documents = documents

    def __iter__(self) -> Iterator[str]:
        return (document.text for document in self._documents)


def _named(paths: Sequence[str]) -> list[tuple[str, str, SourceFile]]:
    """Name, source and file of each."""
    files = [(path, file) for path in paths for file in find_files([path])]
    seen: dict[str, str] = {}
    for path, file in files:
        if file.path in seen:
            raise DataError(
                f"{file.path} is read twice, for {seen[file.path]!r} and for {path!r}, and its documents would be "
                f"too. Name it once."
            )
        seen[file.path] = path
    short = [_short(path, file) for path, file in files]
    times = Counter(short)
    return [(name if times[name] == 1 else file.path, path, file) for name, (path, file) in zip(short, files)]


def _short(path: str, file: SourceFile) -> str:
    folder = PurePath(path).name
    return file.name if folder == file.name or any(c in folder for c in "*?[") else f"{folder}/{file.name}"

"""Text files to documents, one at a time, in bounded memory.

===================================  ===========================================================================
file                                 documents
===================================  ===========================================================================
``.jsonl``, ``.jsonl.gz``, ``.zst``  one JSON object per line, the text under ``text_field`` (``.json.gz`` too)
``.parquet``                         one row each, column ``text_field``
``.json``                            as ``.jsonl``, where every line is an object with ``text_field``
``.txt``, any other text file        the file; above 64k characters it is read in pieces that end at a blank line
===================================  ===========================================================================

A table (``.csv``, ``.tsv``, ...) or other JSON that is named as a domain's file is refused: its syntax would be trained
on. In a folder of other files (source code) it is text like them, and counted. Files of UTF-16 or UTF-32 are refused.

A folder is read recursively in sorted order, without hidden files. Where it holds JSONL or Parquet, those and its
``.txt`` files are its text; otherwise every file is (source code, documentation), and files that are not text are
skipped and counted. Paths may be local, any fsspec URL, or a pattern with ``*``.

Broken UTF-8 is replaced by U+FFFD in JSONL, ``.txt`` and Parquet, and the documents are counted; a file of any other
kind that is not UTF-8 counts as binary and is skipped.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import fsspec

from mixlaw.errors import DataError, did_you_mean

__all__ = ["ReadCounts", "SourceFile", "find_files", "numbered_lines", "read_documents"]

_LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz", ".json.zst", ".ndjson")
_TEXT = (".txt", ".txt.gz", ".txt.zst")
_TOKENS = (".npy", ".bin", ".idx")
_STRUCTURED = (".json", ".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.zst", ".tsv.zst")
_WIDE = (  # marks at the start of a file; the longer first
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_CHUNK = 1 << 18
_LONGEST_LINE = 1 << 22
"""Bytes of a ``.json`` file in which its first line must end to be parsed."""
_LARGEST_WINDOW = 1 << 29
"""Bytes of memory that a Zstandard frame may ask for: ``zstd --long=29``."""
_LONGEST_RECORD = 1 << 26
"""Bytes of the longest line that is read as one document."""
_MORSEL = 1 << 10
"""Compressed bytes that are decompressed at once: in Zstandard four bytes may stand for 128 kB."""
_EXPANSION = 1000
"""Text does not decompress to more than this many times its size, beyond :data:`_FREE` bytes."""
_FREE = 1 << 28
_PIECE = 1 << 16
"""Characters after which a plain text file is cut into a further document."""


@dataclass
class ReadCounts:
    """What reading met. ``empty``: documents without text; ``replaced``: with broken UTF-8 that was replaced;
    ``binary_files``: files skipped because they are not text; ``ignored_files``: of another kind than the data beside
    them; ``structured_files``: tables and JSON in a folder of other text, read as they stand; ``consumed``: bytes of
    the files read so far."""

    files: int = 0
    documents: int = 0
    empty: int = 0
    replaced: int = 0
    binary_files: int = 0
    ignored_files: int = 0
    structured_files: int = 0
    consumed: int = field(default=0, compare=False)

    def to_dict(self) -> dict[str, int]:
        """Counts as plain data, without the running position."""
        return {k: v for k, v in vars(self).items() if k != "consumed" and (v or k != "structured_files")}


@dataclass(frozen=True)
class SourceFile:
    """A file to read. ``name`` is relative to what the user named, ``stamp`` changes when the content does; ``alone``
    where nothing but files of its ending is there."""

    fs: Any
    path: str
    name: str
    size: int
    stamp: str
    alone: bool = True


def find_files(paths: Sequence[str | os.PathLike[str]], counts: ReadCounts | None = None) -> list[SourceFile]:
    """The files behind ``paths``, in a fixed order.

    Raises:
        DataError: a path does not exist, or nothing readable is there.
    """
    found: list[SourceFile] = []
    for given in paths:
        url = os.fspath(given)
        fs, root = fsspec.core.url_to_fs(url)
        if fs.isfile(root):
            found.append(_source(fs, root, os.path.basename(root)))
            continue
        if fs.isdir(root):
            there = fs.find(root, detail=True)
            names = sorted(str(p) for p, info in there.items() if info.get("type") == "file" or fs.isfile(p))
            if counts is not None:  # pipes, devices, links to folders: whoever opens a pipe waits for ever
                counts.ignored_files += len(there) - len(names)
        elif any(c in url for c in "*?["):
            names = sorted(str(p) for p in fs.glob(root) if fs.isfile(p))
        else:
            if fs.exists(root):
                raise DataError(f"{url!r} is a pipe or a device, not a file. Write what it gives into a file first.")
            raise DataError(
                f"{url!r} does not exist. Check the path; a relative one starts in the folder you are in, and in "
                f"study.yaml where the study folder lies."
            )
        base = root.rstrip("/") + "/"
        relative = [(n, n[len(base) :] if n.startswith(base) else os.path.basename(n)) for n in names]
        relative = [(n, r) for n, r in relative if not any(part.startswith(".") for part in r.split("/"))]
        if any(n.lower().endswith((*_LINES, ".parquet")) for n, _ in relative):
            kept = [(n, r) for n, r in relative if n.lower().endswith((*_LINES, *_TEXT, ".parquet"))]
            if counts is not None:
                counts.ignored_files += len(relative) - len(kept)
            relative = kept
        if not relative:
            raise DataError(f"{url!r} holds no files to read. Put .jsonl, .jsonl.zst, .parquet or text files there.")
        alone = len({os.path.splitext(r)[1].lower() for _, r in relative}) == 1
        found.extend(_source(fs, n, r, alone) for n, r in relative)
    return found


def _source(fs: Any, path: str, name: str, alone: bool = True) -> SourceFile:
    info = fs.info(path)
    changed = info.get("mtime", info.get("ETag", info.get("LastModified", info.get("created", ""))))
    return SourceFile(fs, path, name, int(info.get("size") or 0), f"{info.get('size')}:{changed}", alone)


def read_documents(
    files: Sequence[SourceFile], text_field: str = "text", counts: ReadCounts | None = None
) -> Iterator[str]:
    """The non-empty documents of ``files`` in order; what was met is added to ``counts``.

    Raises:
        DataError: a line or file cannot be read; names the file and the line.

    Example:
        >>> import fsspec
        >>> with fsspec.open("memory://doc/a.jsonl", "w") as f: _ = f.write('{"text": "hello"}')
        >>> list(read_documents(find_files(["memory://doc"])))
        ['hello']
    """
    counts = counts if counts is not None else ReadCounts()
    for file in files:
        before = counts.consumed
        counts.files += 1
        for text in _file_documents(file, text_field, counts):
            if not text.strip():
                counts.empty += 1
                continue
            if not text.isascii() and _SURROGATE.search(text):
                text = _SURROGATE.sub("\ufffd", text)
                counts.replaced += 1
            counts.documents += 1
            yield text
        counts.consumed = before + file.size


_SURROGATE = re.compile("[\ud800-\udfff]")


def _file_documents(file: SourceFile, text_field: str, counts: ReadCounts) -> Iterator[str]:
    name = file.path.lower()
    if name.endswith(_LINES):
        return _json_lines(file, text_field, counts)
    if name.endswith(".parquet"):
        return _parquet(file, text_field, counts)
    if name.endswith(_TOKENS):
        raise DataError(f"{file.path} holds tokens, not text; it cannot be mixed with text files in one domain.")
    if name.endswith(_STRUCTURED):
        if name.endswith(".json") and _is_json_lines(file, text_field):
            return _json_lines(file, text_field, counts)
        if file.alone:
            raise DataError(
                f"{file.path} is a table or JSON, and read as plain text its syntax would be trained on. Write it as "
                f'JSON lines ({{"{text_field}": "..."}}, one document a line) in a file .jsonl, or as .parquet with a '
                f"column {text_field!r}; where its syntax is what you want, name it .txt."
            )
        counts.structured_files += 1
    return _plain(file, counts, is_text=name.endswith(_TEXT))


def _is_json_lines(file: SourceFile, text_field: str) -> bool:
    """Whether the first line of a file is a JSON object; among other files, one with the text in it."""
    with file.fs.open(file.path, "rb") as handle:
        head = handle.read(_LONGEST_LINE)
    first = head.lstrip(b"\xef\xbb\xbf \t\r\n").split(b"\n", 1)[0]
    try:
        record = json.loads(first)
    except RecursionError:
        return False  # brackets in brackets, a thousand deep: no document
    except ValueError:
        # a first line longer than what was read can only be told by how it begins
        start = f"{{\\s*{json.dumps(text_field)}\\s*:".encode()
        return len(first) >= _LONGEST_LINE // 2 and re.match(start, first) is not None
    return isinstance(record, dict) and (file.alone or text_field in record)


def _refuse_wide(file: SourceFile, head: bytes) -> None:
    """Refuse text of two or four bytes a character, which would be read as letters with blanks between them.

    Raises:
        DataError: names the file and the encoding.
    """
    kind = next((name for mark, name in _WIDE if head.startswith(mark)), None)
    if kind is None and len(head) >= 4 and head[:4096].count(0) >= len(head[:4096]) // 4:
        kind = "UTF-16"
    if kind is not None:
        raise DataError(
            f"{file.path} is {kind}, and text must be UTF-8. Convert it: "
            f"iconv -f {kind} -t UTF-8 {os.path.basename(file.path)!r} > new.txt"
        )


def _text_chunks(file: SourceFile, counts: ReadCounts) -> Iterator[bytes]:
    """Chunks of a file of text, its encoding checked at the first."""
    first = True
    for chunk in _chunks(file, counts):
        if first:
            _refuse_wide(file, chunk)
            first = False
        yield chunk


def _chunks(file: SourceFile, counts: ReadCounts) -> Iterator[bytes]:
    """Decompressed bytes; a file that ends in the middle of its compressed stream is an error."""
    name = file.path.lower()
    with file.fs.open(file.path, "rb") as handle:
        if name.endswith(".zst"):
            import zstandard

            decoder: Any = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
            yield from _inflate(handle, decoder.decompressobj, zstandard.ZstdError, file, counts)
        elif name.endswith(".gz"):
            yield from _inflate(handle, lambda: zlib.decompressobj(31), zlib.error, file, counts)
        else:
            while block := handle.read(_CHUNK):
                counts.consumed += len(block)
                yield block


def _inflate(
    handle: Any, start: Any, failure: type[Exception], file: SourceFile, counts: ReadCounts
) -> Iterator[bytes]:
    stream, inside, read, made = start(), False, 0, 0
    while piece := handle.read(_CHUNK // 4):
        for begin in range(0, len(piece), _MORSEL):
            block = piece[begin : begin + _MORSEL]
            counts.consumed += len(block)
            read += len(block)
            while block:
                try:
                    data = stream.decompress(block)
                except failure as error:
                    raise DataError(f"{file.path} {_why(file, str(error), block, inside, handle.tell())}") from None
                inside = True
                made += len(data)
                if made > max(_FREE, _EXPANSION * read):
                    raise DataError(
                        f"{file.path} is no text: its first {read} bytes decompress to more than {_EXPANSION} times as "
                        f"many. Leave it out."
                    )
                for at in range(0, len(data), _CHUNK):
                    yield data[at : at + _CHUNK]
                block = b""
                if stream.eof:
                    block, stream, inside = stream.unused_data, start(), False
    if inside:
        raise DataError(f"{file.path} ends in the middle of its compressed data. Fetch it again.")


def _why(file: SourceFile, error: str, block: bytes, inside: bool, position: int) -> str:
    """What is wrong with compressed data, in words: not every file that cannot be read is damaged."""
    name = os.path.basename(file.path)
    if "too much memory" in error:
        import zstandard

        window = 0 if inside else zstandard.get_frame_parameters(block).window_size
        much = f"a window of {window / (1 << 20):.0f} MB" if window else "a larger window"
        return (
            f"needs {much} to be decompressed, and at most {_LARGEST_WINDOW >> 20} MB are used. Compress it again with "
            f"a smaller one: zstd -d --long=31 -c {name!r} | zstd -19 -o new-{name}"
        )
    if "ictionary" in error:
        return "was compressed with a dictionary. Compress it without one: zstd -d -D DICTIONARY, then zstd."
    if not inside and position <= _CHUNK // 4 and ("incorrect header" in error or "nknown frame" in error):
        kind = "gzip" if file.path.lower().endswith(".gz") else "Zstandard"
        return f"is not {kind}, though its name ends so; it begins with {block[:8]!r}. Rename it to what it is."
    return f"is damaged: {error}, near byte {position}. Fetch it again."


def _json_lines(file: SourceFile, text_field: str, counts: ReadCounts) -> Iterator[str]:
    for number, line in numbered_lines(file, counts):
        yield _line_text(line, file, number, text_field, counts)


def numbered_lines(file: SourceFile, counts: ReadCounts) -> Iterator[tuple[int, bytes]]:
    """``(number from 1, line)`` of every line that is not blank, decompressed, in bounded memory.

    Raises:
        DataError: damaged data, text of two or four bytes a character, or a line that is too long; names the file.

    Example:
        >>> import fsspec
        >>> with fsspec.open("memory://lines/a.jsonl", "w") as f: _ = f.write('{"a": 1}\\n\\n{"a": 2}')
        >>> list(numbered_lines(find_files(["memory://lines/a.jsonl"])[0], ReadCounts()))
        [(1, b'{"a": 1}'), (3, b'{"a": 2}')]
    """
    number, rest, length = 0, [], 0
    for chunk in _text_chunks(file, counts):
        lines = chunk.split(b"\n")
        rest.append(lines[0])
        length += len(lines[0])
        if length > _LONGEST_RECORD:
            raise DataError(
                f"{file.path}, line {number + 1} is longer than {_LONGEST_RECORD >> 20} MB, which no document is. "
                f"Write one document per line."
            )
        if len(lines) == 1:
            continue
        lines[0] = b"".join(rest)
        rest = [lines.pop()]
        length = len(rest[0])
        for line in lines:
            number += 1
            if line.strip():
                yield number, line
    last = b"".join(rest)
    if last.strip():
        yield number + 1, last


def _line_text(line: bytes, file: SourceFile, number: int, text_field: str, counts: ReadCounts) -> str:
    where = f"{file.path}, line {number}"
    try:
        string = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        string = line.decode("utf-8", "replace")
        counts.replaced += 1
    try:
        record = json.loads(string)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {error}: {string[:80]!r}. Correct or remove the line.") from None
    if not isinstance(record, dict):
        raise DataError(
            f'{where} holds {string[:80]!r}; each line must be an object such as {{"{text_field}": "..."}}.'
        )
    if text_field not in record:
        raise DataError(f"{where} has no field {text_field!r}.{did_you_mean(text_field, record)} Set text_field.")
    text = record[text_field]
    if text is not None and not isinstance(text, str):
        raise DataError(f"{where}: field {text_field!r} holds {str(text)[:60]!r}, which is not text.")
    return text or ""


def _parquet(file: SourceFile, text_field: str, counts: ReadCounts) -> Iterator[str]:
    import pyarrow as pa

    from mixlaw.kit.parquet import open_parquet, rows_at_once

    with file.fs.open(file.path, "rb") as handle:
        table = open_parquet(handle, file.size, file.path)
        names = table.schema_arrow.names
        if text_field not in names:
            raise DataError(
                f"{file.path} has no column {text_field!r}.{did_you_mean(text_field, names)} Set text_field."
            )
        rows, total, made = 0, max(1, table.metadata.num_rows), 0
        start = counts.consumed
        for batch in _batches(table, rows_at_once(table, text_field), text_field, file):
            column = batch.column(0)
            made += batch.nbytes
            if made > max(4 * _FREE, _EXPANSION * file.size):
                raise DataError(
                    f"{file.path} is no text: its {file.size} bytes unpack to more than {_EXPANSION} times as many. "
                    f"Leave it out."
                )
            if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
                raise DataError(f"{file.path}: column {text_field!r} holds {column.type}, which is not text.")
            for value in column.cast(pa.large_binary()).to_pylist():
                rows += 1
                try:
                    yield "" if value is None else value.decode("utf-8")
                except UnicodeDecodeError:
                    counts.replaced += 1
                    yield value.decode("utf-8", "replace")
            counts.consumed = start + file.size * rows // total


def _batches(table: Any, rows: int, column: str, file: SourceFile) -> Iterator[Any]:
    """Batches of the column; data that cannot be decoded are an error of ours."""
    import pyarrow as pa

    try:
        yield from table.iter_batches(batch_size=rows, columns=[column])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file.path} is damaged: {error}. Fetch it again.") from None


def _plain(file: SourceFile, counts: ReadCounts, is_text: bool) -> Iterator[str]:
    if not is_text and not _is_utf8(file):
        counts.binary_files += 1
        return
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    held, broken = "", False
    for chunk in _text_chunks(file, counts):
        held += decoder.decode(chunk)
        while len(held) > 2 * _PIECE:
            piece, held = _cut(held)
            broken |= "\ufffd" in piece
            yield piece
    held += decoder.decode(b"", True)
    while len(held) > _PIECE:
        piece, held = _cut(held)
        broken |= "\ufffd" in piece
        yield piece
    counts.replaced += broken or "\ufffd" in held
    yield held


def _cut(text: str) -> tuple[str, str]:
    """A piece of at most 64k characters that ends at a blank line, or else at a line, or else anywhere."""
    for mark in ("\n\n", "\n"):
        end = text.rfind(mark, _PIECE // 2, _PIECE)
        if end >= 0:
            return text[: end + len(mark)], text[end + len(mark) :]
    return text[:_PIECE], text[_PIECE:]


def _is_utf8(file: SourceFile) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with file.fs.open(file.path, "rb") as handle:
        while block := handle.read(_CHUNK):
            if b"\x00" in block:
                return False
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                return False
        try:
            decoder.decode(b"", True)
        except UnicodeDecodeError:
            return False
    return True

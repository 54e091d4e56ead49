"""Real text that is present on any machine with Python, as domains for the quickstart.

=============  ==============================================================================================
``code``       standard-library source, docstrings removed so that no sentence of ``prose`` is in it
``prose``      docstrings of the standard library, pydoc topics, README texts in installed packages' metadata
``headers``    C and C++ headers of Python and installed packages (left out where there are none)
``sums``       generated arithmetic: cheap to learn, and of no use to the others
=============  ==============================================================================================

Python itself and installed packages hold it under their own licences; it is read where it lies and only copied into the
user's own study folder.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import importlib.metadata
import io
import json
import random
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from mixlaw.kit.store import Store

__all__ = ["OBJECTIVE", "write_domains"]

OBJECTIVE = {"prose": 0.7, "code": 0.2, "headers": 0.1}
"""What the quickstart's model should be good at. Uneven on purpose: with equal weights the optimum is so flat that
five minutes cannot tell it from the natural mixture."""

_LIMITS = {"code": 6_000_000, "prose": 2_500_000, "headers": 4_000_000, "sums": 2_000_000}
"""Characters per domain: prose is the scarce one, as good text is."""


def write_domains(store: Store, folder: str) -> dict[str, str]:
    """Write ``<folder>/<domain>.jsonl.gz`` (once) and return ``{domain: path}``; deterministic on one machine."""
    sources = {"code": _code(), "prose": _prose(), "headers": _headers(), "sums": _sums()}
    paths = {}
    for name, documents in sources.items():
        target = f"{folder}/{name}.jsonl.gz"
        if not store.exists(target):
            kept = _take(documents, _LIMITS[name])
            if not kept:
                continue
            store.write_bytes(target, _pack(kept))
        paths[name] = str(store.local_path(target))
    return paths


def _take(documents: Iterable[str], limit: int) -> list[str]:
    """A sample of ``limit`` characters in an order that does not depend on the file system: by content hash."""
    unique = {hashlib.sha256(d.encode("utf-8", "replace")).hexdigest(): d for d in documents if len(d) >= 40}
    kept, size = [], 0
    for key in sorted(unique):
        kept.append(unique[key])
        size += len(unique[key])
        if size >= limit:
            break
    return kept


def _pack(documents: Iterable[str]) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1, mtime=0) as handle:
        for text in documents:
            handle.write(json.dumps({"text": text}, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
    return buffer.getvalue()


def _read(path: Path) -> str | None:
    """Text of a file, or None where it is not UTF-8 or cannot be read (a broken link, say)."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _library_files() -> list[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    skipped = {"test", "tests", "site-packages", "dist-packages", "encodings", "lib2to3", "idlelib", "__pycache__"}
    return [p for p in sorted(root.rglob("*.py")) if not skipped & set(p.relative_to(root).parts)]


def _docstrings(tree: ast.AST) -> Iterator[ast.Expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield first


def _parse(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():  # old escapes in other people's source are not our user's concern
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def _code() -> Iterator[str]:
    for path in _library_files():
        text = _read(path)
        tree = _parse(text) if text else None
        if text is None or tree is None:
            continue
        lines = text.split("\n")
        drop: set[int] = set()
        for node in _docstrings(tree):
            drop.update(range(node.lineno - 1, node.end_lineno or node.lineno))
        yield "\n".join(line for i, line in enumerate(lines) if i not in drop)


def _prose() -> Iterator[str]:
    for path in _library_files():
        text = _read(path)
        tree = _parse(text) if text else None
        if tree is None:
            continue
        parts = [ast.literal_eval(node.value) for node in _docstrings(tree)]
        if parts:
            yield "\n\n".join(parts)
    try:
        from pydoc_data.topics import topics

        yield from topics.values()
    except ImportError:  # some distributions ship Python without it; the other sources remain
        yield from ()
    for distribution in importlib.metadata.distributions():
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        _, _, body = text.partition("\n\n")
        yield body


def _headers() -> Iterator[str]:
    roots = {Path(sysconfig.get_path(name)) for name in ("include", "platinclude")}
    roots |= {Path(sysconfig.get_path("purelib")) / package for package in ("numpy", "pyarrow", "torch")}
    for root in sorted(roots):
        for path in sorted(root.rglob("*.h")) if root.is_dir() else []:
            text = _read(path)
            if text is not None and len(text) < 200_000:
                yield text


def _sums() -> Iterator[str]:
    rng = random.Random(20240316)
    for _ in range(2500):
        lines = []
        for _ in range(40):
            a, b = rng.randrange(1000), rng.randrange(1000)
            sign = rng.choice("+-*")
            lines.append(f"{a} {sign} {b} = {a + b if sign == '+' else a - b if sign == '-' else a * b}")
        yield "\n".join(lines)

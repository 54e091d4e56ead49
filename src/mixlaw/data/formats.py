"""Every kind of JSON file that mixlaw writes for itself: the number of its format, and how it is read and written.

An older file goes through one migration per format on its way in. A migration is one file of
:mod:`mixlaw.data.migrations`, called after the format that it starts from: ``law_0.py`` makes format 1 of format 0.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mixlaw.data.seams import MIGRATIONS
from mixlaw.errors import DataError, MixlawError, MixlawWarning
from mixlaw.kit.artefact import HEADER, seal, unseal
from mixlaw.kit.store import Store

__all__ = ["KINDS", "Kind", "dumps", "load", "loads", "made", "numbered", "read", "unsealed", "write"]


Made = TypeVar("Made")
_WRONG = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Kind:
    """A kind of file: ``number`` of the format that is written today, and ``again``, how it is made anew.

    ``told`` is whether a file without a checksum is warned about; a ledger's entries have their chain, and notes that
    are only for comfort decide nothing.

    Example:
        >>> KINDS["recipe"].number >= 1
        True
    """

    number: int
    again: str
    told: bool = True


KINDS = {
    "corpus": Kind(1, "Or run `mixlaw tokenize` again."),
    "design": Kind(1, "Or delete it and run `mixlaw design` again."),
    "equal tokens": Kind(1, "Or delete it and run `mixlaw fit` again."),
    "expert scores": Kind(1, "Or delete it: `mixlaw fit` scores the expert again."),
    "extrapolation": Kind(1, "Or run `mixlaw fit --at` again."),
    "failures": Kind(1, "Or delete it: `mixlaw train` writes it anew.", told=False),
    "law": Kind(1, "Or run `mixlaw fit` again."),
    "league": Kind(1, "Or run `mixlaw fit` again."),
    "ledger entry": Kind(2, "A ledger is only added to, so its entries cannot be made anew.", told=False),
    "ledger head": Kind(1, "Or compare with a head that was printed: `mixlaw ledger verify FOLDER HEAD`."),
    "made-from": Kind(1, "Or delete it: the verbs write it anew.", told=False),
    "recipe": Kind(1, "Or run `mixlaw optimize` again."),
    "selection": Kind(1, "Or select again."),
    "selection report": Kind(1, "Or select again.", told=False),
    "spec": Kind(1, "Or delete the run's folder and train it again."),
    "token blocks": Kind(1, "Or run `mixlaw tokenize` again.", told=False),
    "token index": Kind(1, "Or run `mixlaw tokenize` again.", told=False),
    "tables": Kind(1, "Or write the observations again."),
    "strategies": Kind(1, "Or run `mixlaw train --strategy` again."),
    "verification": Kind(1, "Or run `mixlaw verify` again."),
}


def dumps(kind: str, content: Mapping[str, Any]) -> str:
    """JSON text with the header of a kind in :data:`KINDS`.

    Example:
        >>> text = dumps("failures", {"0123456789abcdef": "out of memory"})
        >>> loads("failures", text, "failures.json")
        {'0123456789abcdef': 'out of memory'}
    """
    return json.dumps(seal(content, kind, KINDS[kind].number))


def loads(kind: str, text: str | bytes, where: str) -> dict[str, Any]:
    """Content of JSON text in today's format.

    Args:
        where: the file, for messages.

    Raises:
        DataError: no JSON, another kind of file, a newer format, or content that was altered after it was written.

    Example:
        >>> loads("recipe", "{", "recipe.json")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mixlaw.errors.DataError: recipe.json is not valid JSON: Expecting property name enclosed in ...
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not valid JSON: {error}. {KINDS[kind].again}") from None
    return _today(kind, data, where)[0]


def write(store: Store, name: str, kind: str, content: Mapping[str, Any]) -> None:
    """Publish a file with its header, whole or not at all.

    Raises:
        ValueError: a number that is NaN or infinite.

    Example:
        >>> import tempfile
        >>> store = Store(tempfile.mkdtemp())
        >>> write(store, "recipe.json", "recipe", {"tokens": 1000})
        >>> read(store, "recipe.json", "recipe")["tokens"]
        1000
    """
    store.write_json(name, seal(content, kind, KINDS[kind].number))


def read(store: Store, name: str, kind: str) -> dict[str, Any]:
    """Content of a file in today's format.

    Raises:
        DataError: not there, or what :func:`loads` refuses.

    Example:
        >>> import tempfile
        >>> store = Store(tempfile.mkdtemp())
        >>> write(store, "recipe.json", "recipe", {"tokens": 1000})
        >>> read(store, "recipe.json", "corpus")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mixlaw.errors.DataError: ...recipe.json is a recipe, not a corpus. ...
    """
    return numbered(store, name, kind)[0]


def numbered(store: Store, name: str, kind: str) -> tuple[dict[str, Any], int]:
    """The same as :func:`read`, with the number of the format that the file was written in (0: without a header).

    Example:
        >>> import tempfile
        >>> store = Store(tempfile.mkdtemp())
        >>> write(store, "recipe.json", "recipe", {"tokens": 1000})
        >>> numbered(store, "recipe.json", "recipe")
        ({'tokens': 1000}, 1)
    """
    return _today(kind, store.read_json(name), store.path(name))


def unsealed(store: Store, names: Iterable[str]) -> list[str]:
    """Which of these files are there and carry no checksum: whether they were changed cannot be told.

    Example:
        >>> import tempfile
        >>> store = Store(tempfile.mkdtemp())
        >>> write(store, "recipe.json", "recipe", {"tokens": 1000})
        >>> store.write_json("corpus.json", {"domains": []})
        >>> unsealed(store, ["recipe.json", "corpus.json", "design.json"])
        ['corpus.json']
    """
    found = []
    for name in names:
        data = store.read_json(name) if store.exists(name) else {HEADER: {}}
        if not isinstance(data, dict) or HEADER not in data:
            found.append(name)
    return found


def load(path: str | Path, kind: str) -> dict[str, Any]:
    """The same as :func:`read`, for a file given by its path.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write(Store(folder), "recipe.json", "recipe", {"tokens": 1000})
        >>> load(folder / "recipe.json", "recipe")["tokens"]
        1000
    """
    return read(Store(Path(path).parent), Path(path).name, kind)


def made(kind: str, where: str | Path, make: Callable[[dict[str, Any]], Made], content: dict[str, Any]) -> Made:
    """``make(content)``, where whatever is wrong with the content is told with the name of the file.

    Args:
        where: the file, for messages.
        make: such as :meth:`mixlaw.Recipe.from_dict`.

    Raises:
        DataError: the content is none of this kind.

    Example:
        >>> made("recipe", "recipe.json", lambda content: content["tokens"], {"token": 1000})
        Traceback (most recent call last):
            ...
        mixlaw.errors.DataError: recipe.json is no recipe written by mixlaw: KeyError('tokens'). ...
    """
    try:
        return make(content)
    except MixlawError as error:
        raise DataError(f"{where}: {error} {KINDS[kind].again}") from None
    except _WRONG as error:  # a file may hold anything, and each class finds something else wrong with it
        raise DataError(
            f"{where} is no {kind} written by mixlaw: {error!r}. Restore it from a copy. {KINDS[kind].again}"
        ) from None


def _today(kind: str, data: Any, where: str) -> tuple[dict[str, Any], int]:
    content, number = unseal(data, kind, KINDS[kind].number, where, KINDS[kind].again)
    if number == 0 and KINDS[kind].told:
        warnings.warn(
            f"{where} carries no checksum: the first version of mixlaw wrote it, or its header was taken off. Whether "
            f"it was changed since cannot be told.",
            MixlawWarning,
            stacklevel=4,
        )
    for earlier in range(number, KINDS[kind].number):
        if (name := f"{kind.replace(' ', '_')}_{earlier}") in MIGRATIONS:
            content = made(kind, where, MIGRATIONS[name], content)
    return content, number

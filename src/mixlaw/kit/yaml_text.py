"""YAML that people write, read as what it looks like, and never as a bomb.

YAML 1.1, which PyYAML reads, takes ``1:30`` for 90, ``010`` for 8, ``no`` for false and ``2026-01-01`` for a date,
keeps the last of two equal keys, and lets a few hundred bytes stand for billions of values. Here numbers are written
as elsewhere, only ``true`` and ``false`` are truth values, all else is text; equal keys and bombs are errors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from typing import Any

import yaml

from mixlaw.errors import ConfigError

__all__ = ["check_plain", "dump_yaml", "load_yaml"]

MOST_BYTES = 4_000_000
"""A configuration is not longer than this."""
MOST_VALUES = 100_000
"""Nor does it hold more values, each alias counted as all that it stands for."""


def load_yaml(text: str, where: str) -> Any:
    """Plain data from YAML.

    Args:
        text: YAML, or JSON.
        where: the file, for messages.

    Raises:
        ConfigError: no YAML, two equal keys, NaN or an infinity, a tag, or more values than a configuration has.

    Example:
        >>> load_yaml("{peak: 4e-3, start: 1:30, no: 010}", "study.yaml")
        {'peak': 0.004, 'start': '1:30', 'no': '010'}
        >>> load_yaml("{a: 1, a: 2}", "study.yaml")
        Traceback (most recent call last):
            ...
        mixlaw.errors.ConfigError: study.yaml, line 1: the key 'a' is there twice. Remove one of them.
    """
    if len(text) > MOST_BYTES:
        raise ConfigError(f"{where} has {len(text)} characters; a configuration has at most {MOST_BYTES}.")
    loader = None
    try:
        loader = _Loader(text)  # refuses characters that no YAML may hold
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, where, {}, set())
        data = loader.construct_document(node)
    except _Refused as error:
        raise ConfigError(f"{where}, {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not readable YAML: {error}") from None
    except (RecursionError, ValueError, OverflowError, LookupError) as error:  # !!bool 7 is looked up
        raise ConfigError(f"{where} is not readable YAML: {error}.") from None
    finally:
        if loader is not None:
            loader.dispose()
    check_plain(data, where)
    return data


def dump_yaml(data: Any) -> str:
    """YAML of plain data, which :func:`load_yaml` reads back as it is.

    Example:
        >>> dump_yaml({"name": "1e5", "tokens": 5})
        "name: '1e5'\\ntokens: 5\\n"
    """
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def check_plain(data: Any, where: str) -> None:
    """Refuse NaN and infinities anywhere in plain data: nothing is measured or limited by them.

    Raises:
        ConfigError: names the place.

    Example:
        >>> check_plain({"objective": {"web": float("nan")}}, "study.yaml")
        Traceback (most recent call last):
            ...
        mixlaw.errors.ConfigError: study.yaml: objective.web is nan, which is no number to work with. ...
    """
    waiting: list[tuple[str, Any]] = [("", data)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(
                f"{where}: {place or 'the value'} is {value}, which is no number to work with. Leave it out where "
                f"there is no limit."
            )
        if isinstance(value, dict):
            waiting += [(f"{place}.{key}" if place else str(key), part) for key, part in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{place}.{index}" if place else str(index), part) for index, part in enumerate(value)]


class _Refused(Exception):
    """What a document may not hold, with its line."""


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would not take for a text."""


_BREAKS = re.compile("[\r\x85\u2028\u2029\ufeff]")


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """A text; where it holds what YAML takes for the end of a line, in quotes that escape it."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _BREAKS.search(text) else None)


_Dumper.add_representer(str, _quoted)


class _Loader(yaml.SafeLoader):
    """Plain data with the numbers of YAML 1.2, and without its surprises."""

    yaml_implicit_resolvers: dict[Any, Any] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key_node, _ in node.value:
                if key_node.tag == _MERGE:
                    continue
                key = self.construct_object(key_node, deep=True)
                line = key_node.start_mark.line + 1
                if not isinstance(key, str | int | float | bool):
                    raise _Refused(f"line {line}: a key must be a text, got {str(key)[:60]!r}.")
                if key in seen:
                    raise _Refused(f"line {line}: the key {key!r} is there twice. Remove one of them.")
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


_MERGE = "tag:yaml.org,2002:merge"
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map", "merge")}

for _tag, _pattern, _first in (
    ("merge", r"<<", "<"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9]+(?:_[0-9]+)*(?:\.[0-9]*|(?=[eE]))|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}",
            re.compile(rf"^(?:{_pattern})$"),
            ["" if character == "\0" else character for character in _first],
        )


def _count(node: Any, where: str, known: dict[int, int], open_nodes: set[int]) -> int:
    """Values under a node, each alias counted in full.

    Raises:
        ConfigError: too many of them, or a node that holds itself.
    """
    if id(node) in known:
        return known[id(node)]
    if node.tag not in _PLAIN:
        raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {node.tag} is no tag of plain data. Leave it out.")
    if id(node) in open_nodes:
        raise _Refused(f"line {node.start_mark.line + 1}: a value holds itself, by an alias (*name). Write it out.")
    open_nodes.add(id(node))
    parts = node.value if isinstance(node, yaml.CollectionNode) else []
    total = 1
    for part in parts:
        for inner in part if isinstance(part, tuple) else (part,):
            total += _count(inner, where, known, open_nodes)
            if total > MOST_VALUES:
                raise _Refused(
                    f"line {node.start_mark.line + 1}: more than {MOST_VALUES} values, aliases (*name) counted in "
                    f"full; no configuration has so many."
                )
    open_nodes.discard(id(node))
    known[id(node)] = total
    return total

"""JSON in a text that a model wrote."""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["Found", "first_object", "json_value"]

_FENCE = re.compile(r"\A```[A-Za-z]*[ \t]*\n(.*?)\n?```\Z", re.DOTALL)


class Found:
    """A JSON value; ``value`` may be None, since ``null`` is one.

    Example:
        >>> Found(None).value is None
        True
    """

    def __init__(self, value: Any) -> None:
        self.value = value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def json_value(text: str) -> Found | None:
    """The value that the whole text is, with or without one fence of code around it; None where it is none.

    ``NaN`` and ``Infinity``, which Python's reader takes, are no JSON.

    Example:
        >>> json_value('```json\\n[1, 2]\\n```').value
        [1, 2]
        >>> json_value("[1, NaN]") is None
        True
    """
    whole = text.strip()
    fenced = _FENCE.match(whole)
    try:
        return Found(json.loads(fenced.group(1) if fenced else whole, parse_constant=_refuse))
    except (ValueError, RecursionError):
        return None


def first_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text, whatever stands around it; None where none begins at its first brace.

    Example:
        >>> first_object('Call: {"name": "f"} and so on')
        {'name': 'f'}
    """
    place = text.find("{")
    if place < 0:
        return None
    try:
        value, _ = json.JSONDecoder(parse_constant=_refuse).raw_decode(text, place)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None

"""One lazy registry class: a name stands for ``"module:attribute"``, imported when first asked for.

Adding a law, sampler, trainer or format is one file plus one line in the room's registry, and a
user's own class can be registered at run time without editing mixlaw.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

from mixlaw.errors import ConfigError, did_you_mean

__all__ = ["Registry"]


class Registry:
    """Names to objects, imported lazily.

    Example:
        >>> shapes = Registry("shape", {"sqrt": "math:sqrt"})
        >>> shapes["sqrt"](4.0)
        2.0
    """

    def __init__(self, kind: str, entries: dict[str, str] | None = None) -> None:
        self.kind = kind
        self._entries: dict[str, Any] = dict(entries or {})

    def register(self, name: str, target: Any = None) -> Any:
        """Add ``target`` (an object or ``"module:attribute"``) under ``name``; usable as a decorator."""
        if target is None:

            def decorate(obj: Callable[..., Any]) -> Callable[..., Any]:
                self.register(name, obj)
                return obj

            return decorate
        if name in self._entries and self._entries[name] is not target:
            raise ConfigError(
                f"{self.kind} {name!r} is registered already as {self._entries[name]!r}; "
                f"cannot register {target!r} under the same name. Choose another name."
            )
        self._entries[name] = target
        return target

    def __getitem__(self, name: str) -> Any:
        try:
            entry = self._entries[name]
        except KeyError:
            raise ConfigError(f"Unknown {self.kind} {name!r}.{did_you_mean(name, self.names())}") from None
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            entry = getattr(importlib.import_module(module), attribute)
            self._entries[name] = entry
        return entry

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(self._entries)

"""Griffe extension: what this project's docstrings write in Sphinx's way, as links of the site.

A role such as ``:class:`~mixlaw.data.corpus.Corpus` `` becomes a link to where the class is documented, also where the
docstring uses its public name (``mixlaw.laws.Joint``). A name that does not exist stays as it is, and fails the strict
build as a link without a target.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import griffe

from mixlaw.kit.lazy import load

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`(~?)([^`]+)`")
_EXAMPLE = re.compile(r"^(\s*)Example:\s*$", re.MULTILINE)


class DocstringRoles(griffe.Extension):
    """Rewrites each docstring once, when its object has been read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Links for roles, and a section of examples where the docstring has one example."""
        if obj.docstring is not None:
            text = _ROLE.sub(_link, obj.docstring.value)
            obj.docstring.value = _EXAMPLE.sub(r"\1Examples:", text)


def _link(match: re.Match[str]) -> str:
    short, target = match.groups()
    shown = target.rpartition(".")[2] if short else target
    if not target.startswith("mixlaw."):
        return f"`{shown}`"
    where = _documented(target)
    return f"[`{shown}`][{where}]" if where else f"`{shown}`"


def _documented(target: str) -> str | None:
    """The full name under which ``target`` is documented; None for packages, which have no entry of their own."""
    found = _resolve(target)
    if inspect.ismodule(found):
        return found.__name__ if not hasattr(found, "__path__") else None
    if inspect.isclass(found) or inspect.isfunction(found):
        return f"{found.__module__}.{found.__qualname__}"
    return target


def _resolve(target: str) -> Any:
    parts = target.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            module = load(".".join(parts[:cut]))
        except ImportError:
            continue
        for name in parts[cut:]:
            module = getattr(module, name, None)
        return module
    return None

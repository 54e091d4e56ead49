"""A package's public names, imported when first used.

Every room's ``__init__.py`` says which name lives in which file and imports none of them, so that
``import mixlaw`` stays light and heavy libraries load where they are needed. This file and
:mod:`mixlaw.kit.registry` are the only two places that import modules by their names.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from mixlaw.errors import did_you_mean

__all__ = ["attach", "call_as", "load"]


def load(target: str) -> Any:
    """The object that ``"module:attribute"`` names (``"module"`` alone: the module).

    Example:
        >>> load("math:sqrt")(4.0)
        2.0
    """
    module, _, attribute = target.partition(":")
    value: Any = importlib.import_module(module)
    for part in filter(None, attribute.split(".")):
        value = getattr(value, part)
    return value


def attach(
    package: str,
    attributes: Mapping[str, str],
    modules: Sequence[str] = (),
    registry: Any = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package whose names load when first used.

    Args:
        package: the package's ``__name__``.
        attributes: public name to ``"module"`` (where it has the same name) or ``"module:attribute"``.
        modules: sub-packages that are public themselves.
        registry: a :class:`~mixlaw.kit.registry.Registry` whose classes are public too, under their own names
            (``mixlaw.laws.Chinchilla``).

    Example:
        ``__getattr__, __dir__, __all__ = attach(__name__, {"Loader": "mixlaw.tokens.loader"})``
    """
    names = sorted({*attributes, *modules})

    def get(name: str) -> Any:
        if name in attributes:
            target = attributes[name]
            value = load(target if ":" in target else f"{target}:{name}")
        elif name in modules:
            value = load(f"{package}.{name}")
        elif registry is not None and not name.startswith("_") and (found := registry.class_named(name)) is not None:
            value = found
        else:
            hint = "" if name.startswith("__") else did_you_mean(name, listed())
            raise AttributeError(f"module {package!r} has no attribute {name!r}.{hint}")
        setattr(sys.modules[package], name, value)
        return value

    def listed() -> list[str]:
        classes = registry.class_names() if registry is not None else []
        return sorted({*names, *classes, *vars(sys.modules[package])})

    return get, listed, names


def call_as(package: str, name: str) -> None:
    """Let the package be called like its function ``name``: ``mixlaw.optimize(...)`` is ``mixlaw.optimize.optimize``.

    Python has no other way for a package and a function of one name to be both public: importing any file of the
    package puts the package in the function's place.
    """

    class Callable_(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return getattr(self, name)(*args, **kwargs)

    sys.modules[package].__class__ = Callable_

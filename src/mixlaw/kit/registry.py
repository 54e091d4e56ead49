"""One registry class: a room's file is its entry.

The files of a room are listed without being imported. A file's name is the registry name of what it holds: its one
public class, whose name is the file's without underscores and in lower case (``log_linear.py`` holds ``LogLinear``),
or, in rooms of functions, the function that the room's contract names (``propose`` of a sampler). A user's own class
joins at run time with :meth:`Registry.register`, or from another installed package by an entry point.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.kit.lazy import load

__all__ = ["Registry"]

_CONTRACTS = ("base", "contract")  # a room's contract stands in its folder, and is no entry


class Registry:
    """Names to objects, found by listing rooms and imported when first asked for.

    Args:
        kind: what an entry is, for messages ("law", "sampler").
        entries: further entries, name to ``"module:attribute"``.
        rooms: packages whose files are entries.
        attribute: what each file of the rooms holds under this name; None: its one public class.
        aliases: other names of entries, accepted everywhere and listed nowhere: name to name, or to
            ``"module:attribute"``.
        suffix: only files whose names end in it are entries, without it (``torch_trainer.py`` is ``"torch"``), for
            rooms that hold more than their entries.
        group: entry points of this group in other installed packages are entries too.
        methods: what a class must have to be an entry.

    Example:
        >>> shapes = Registry("shape", {"sqrt": "math:sqrt"})
        >>> shapes["sqrt"](4.0)
        2.0
        >>> laws = Registry("law", rooms=("mixlaw.laws.scale",))
        >>> laws["chinchilla"].__name__
        'Chinchilla'
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, str] | None = None,
        *,
        rooms: Sequence[str] = (),
        attribute: str | None = None,
        aliases: Mapping[str, str] | None = None,
        suffix: str = "",
        group: str | None = None,
        methods: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.rooms = tuple(rooms)
        self.attribute = attribute
        self.suffix = suffix
        self.group = group
        self.methods = tuple(methods)
        self.aliases = dict(aliases or {})
        self._given: dict[str, Any] = dict(entries or {})
        self._loaded: dict[str, Any] = {}

    # ---- what there is -------------------------------------------------------------------------------
    @cached_property
    def files(self) -> dict[str, str]:
        """Entries found by listing the rooms: name to module path. Nothing is imported but the rooms' packages."""
        found: dict[str, str] = {}
        for room in self.rooms:
            spec = importlib.util.find_spec(room)
            if spec is None:
                continue
            for info in pkgutil.iter_modules(spec.submodule_search_locations):
                if info.ispkg or info.name in _CONTRACTS or info.name[0] == "_" or not info.name.endswith(self.suffix):
                    continue
                found[info.name.removesuffix(self.suffix)] = f"{room}.{info.name}"
        return found

    @cached_property
    def plugins(self) -> dict[str, Any]:
        """Entries of other installed packages: name to entry point, not loaded. What mixlaw itself calls something, an
        alias included, no other package changes."""
        if self.group is None:
            return {}
        from importlib.metadata import entry_points  # costs more to import than the rest of this module

        ours = {*self.files, *self.aliases}
        return {point.name: point for point in entry_points(group=self.group) if point.name not in ours}

    def names(self) -> list[str]:
        """All names but aliases, sorted."""
        return sorted({*self._given, *self.files, *self.plugins})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._canonical(name) is not None

    # ---- one entry -----------------------------------------------------------------------------------
    def register(self, name: str, target: Any = None) -> Any:
        """Add ``target`` (a class, a function, or ``"module:attribute"``) under ``name``; usable as a decorator.

        Raises:
            ConfigError: the name is no text or taken by something else, or the target cannot be an entry.
        """
        if not isinstance(name, str) or not name:
            raise ConfigError(f"A {self.kind} is registered under a name, a text that is not empty; got {name!r}.")
        if target is None:

            def decorate(obj: Callable[..., Any]) -> Callable[..., Any]:
                self.register(name, obj)
                return obj

            return decorate
        if isinstance(target, str) and ":" not in target:
            raise ConfigError(f"{self.kind} {name!r}: {target!r} must look like 'package.module:Name'.")
        if not isinstance(target, str):
            self._checked(name, target)
        taken = self._given.get(name, self.aliases.get(name, self.files.get(name)))
        if taken is not None and taken is not target:
            raise ConfigError(
                f"{self.kind} {name!r} is registered already as {taken!r}; "
                f"cannot register {target!r} under the same name. Choose another name."
            )
        self._given[name] = target
        return target

    def canonical(self, name: str) -> str:
        """The name an entry is listed under; ``name`` itself, or what the alias stands for.

        Raises:
            ConfigError: no such entry, with the nearest known one.
        """
        found = self._canonical(name)
        if found is None:
            raise ConfigError(f"Unknown {self.kind} {name!r}.{did_you_mean(name, self.names())}")
        return found

    def __getitem__(self, name: str) -> Any:
        found = self.canonical(name)
        if found not in self._loaded:
            self._loaded[found] = self._checked(found, self._load(found))
        return self._loaded[found]

    def name_of(self, obj: Any) -> str | None:
        """The name that ``obj`` (a class or function) is registered under, or None."""
        where = f"{getattr(obj, '__module__', '')}:{getattr(obj, '__qualname__', '')}"
        for name, target in {**self._given, **self.aliases}.items():
            if target is obj or target == where:
                return name
        for name, module in self.files.items():
            if module == getattr(obj, "__module__", None) and self[name] is obj:
                return name
        return next((name for name in self.plugins if self._loaded.get(name) is obj), None)

    # ---- options -------------------------------------------------------------------------------------
    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """The options of an entry: the keyword-only arguments of a function, all arguments of a class."""
        entry = self[name]
        parameters = inspect.signature(entry).parameters
        if inspect.isclass(entry):
            return {n: p for n, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
        return {n: p for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}

    def check(self, name: str, options: Mapping[str, Any], hint: str = "") -> None:
        """Refuse options that the entry does not have, and values of another kind than the option's.

        Args:
            hint: a sentence for the end of the message where the entry has no such option.

        Raises:
            ConfigError: unknown entry or option, with the nearest known one; or no ``bool``, ``int``, ``float`` or
                ``str`` where the option is annotated as one.

        Example:
            >>> samplers = Registry("sampler", rooms=("mixlaw.design.samplers",), attribute="propose")
            >>> samplers.check("lattice", {"dept": 1})
            Traceback (most recent call last):
                ...
            mixlaw.errors.ConfigError: The sampler 'lattice' has no option 'dept'; ...
        """
        known = self.options(name)
        open_ended = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(self[name]).parameters.values())
        for option, value in options.items():
            if option in known:
                self._check_value(name, known[option], value)
            elif not open_ended:
                raise ConfigError(
                    f"The {self.kind} {name!r} has no option {option!r}; it has {', '.join(known) or 'none'}."
                    f"{did_you_mean(option, known)}{f' {hint}' if hint else ''}"
                )

    def _check_value(self, name: str, option: inspect.Parameter, value: Any) -> None:
        asked = option.annotation if isinstance(option.annotation, str) else getattr(option.annotation, "__name__", "")
        fits = {
            "bool": ("true or false", isinstance(value, bool)),
            "int": ("a whole number", isinstance(value, Integral) and not isinstance(value, bool)),
            "float": ("a number", isinstance(value, Real) and not isinstance(value, bool)),
            "str": ("text", isinstance(value, str)),
        }
        if asked in fits and not fits[asked][1]:
            usual = "" if option.default is option.empty else f", for example {option.default!r}"
            raise ConfigError(f"{self.kind} {name!r}: {option.name}={value!r} must be {fits[asked][0]}{usual}.")

    def beside(self, name: str, attribute: str, default: Any = None) -> Any:
        """What stands beside an entry under another name: its own attribute, or one of the module that defines it.

        Example:
            >>> importers = Registry("importer", rooms=("mixlaw.io.importers",), attribute="read")
            >>> importers.beside("table", "recognises").__name__
            'recognises'
        """
        entry = self[name]
        module = sys.modules.get(getattr(entry, "__module__", ""))
        return getattr(entry, attribute, getattr(module, attribute, default))

    def make(self, name: str, options: Mapping[str, Any] | None = None) -> Any:
        """An instance of the class ``name``, its options checked.

        Raises:
            ConfigError: as :meth:`check`; or an option that it cannot do without is missing.
        """
        given = dict(options or {})
        self.check(name, given)
        for option, parameter in self.options(name).items():
            needed = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
            if needed and option not in given:
                raise ConfigError(
                    f"The {self.kind} {name!r} needs the option {option!r}; got {sorted(given) or 'none'}."
                )
        return self[name](**given)

    # ---- classes of a room under their own names ---------------------------------------------------------
    def class_named(self, name: str) -> Any:
        """The class of that name (``"LogLinear"``) in one of the rooms, or None."""
        wanted = name.lower()
        for file, module in self.files.items():
            if _class_key(module) == wanted and wanted != name and (found := self[file]).__name__ == name:
                return found
        return None

    def class_names(self) -> list[str]:
        """Names of the rooms' classes, read from the source without importing it."""
        return [head.name for head in self._heads.values()]

    # ---- inside ------------------------------------------------------------------------------------------
    @cached_property
    def _heads(self) -> dict[str, ast.ClassDef]:
        """Each file's class statement."""
        heads = {}
        for file, module in self.files.items():
            spec = importlib.util.find_spec(module)
            if spec is None or spec.origin is None:
                continue
            for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and node.name.lower() == _class_key(module):
                    heads[file] = node
        return heads

    @cached_property
    def _stated(self) -> dict[str, str]:
        """Files whose class states another ``name`` than the file's."""
        out = {}
        for file, head in self._heads.items():
            for node in head.body:
                if (
                    isinstance(node, ast.Assign)
                    and isinstance(node.targets[0], ast.Name)
                    and node.targets[0].id == "name"
                    and isinstance(node.value, ast.Constant)
                    and node.value.value != file
                ):
                    out[file] = str(node.value.value)
        return out

    def _canonical(self, name: str) -> str | None:
        if name in self._given or name in self.files or name in self.plugins:
            return name
        if name in self.aliases:
            target = self.aliases[name]
            return name if ":" in target else target
        return next((file for file, stated in self._stated.items() if stated == name), None)

    def _load(self, name: str) -> Any:
        if name in self._given or name in self.aliases:
            entry = self._given[name] if name in self._given else self.aliases[name]
            if not isinstance(entry, str):
                return entry
            try:
                return load(entry)
            except (ImportError, AttributeError) as error:
                raise ConfigError(
                    f"{self.kind} {name!r} is registered as {entry!r}, which cannot be imported: {error}."
                ) from error
        if name in self.files:
            return self._from_file(name, self.files[name])
        point = self.plugins[name]
        try:
            return point.load()
        except Exception as error:  # whatever another package's code raises when it is imported
            package = point.dist.name if point.dist is not None else "an installed package"
            raise ConfigError(
                f"{self.kind} {name!r} comes from the entry point {point.value!r} of {package}, which cannot be "
                f"imported: {type(error).__name__}: {error}. Mend or uninstall that package."
            ) from error

    def _checked(self, name: str, entry: Any) -> Any:
        """``entry``, if it can be one."""
        if not callable(entry):
            raise ConfigError(
                f"{self.kind} {name!r}: {entry!r} is neither a class nor a function. Give the class itself."
            )
        missing = [m for m in self.methods if not hasattr(entry, m)] if inspect.isclass(entry) else []
        if missing:
            raise ConfigError(
                f"{self.kind} {name!r}: {entry!r} has no {' and no '.join(f'{m}()' for m in missing)}, so it is no "
                f"{self.kind}."
            )
        return entry

    def _from_file(self, name: str, module: str) -> Any:
        held = load(module)
        if self.attribute is not None:
            if not hasattr(held, self.attribute):
                raise ConfigError(f"{module} must hold {self.attribute!r} to be the {self.kind} {name!r}; it does not.")
            return getattr(held, self.attribute)
        wanted = _class_key(module)
        for attribute, value in vars(held).items():
            if attribute.lower() == wanted and inspect.isclass(value) and value.__module__ == module:
                return value
        raise ConfigError(
            f"{module} must hold a class whose name in lower case is {wanted!r} to be the {self.kind} {name!r}; it "
            f"holds none."
        )


def _class_key(module: str) -> str:
    """The lower-case name of the class that a file holds."""
    return module.rpartition(".")[2].replace("_", "")

"""Modules are imported by a name in a string only in kit/, where the linter cannot see it; no file hides a public
name."""

import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import mixlaw

SOURCE = Path(__file__).parents[2] / "src" / "mixlaw"


def test_no_module_is_imported_by_its_name_outside_kit():
    files = [p for p in SOURCE.rglob("*.py") if p.parent != SOURCE / "kit"]
    found = [str(p) for p in files if re.search(r"\bimport_module\b|__import__", p.read_text(encoding="utf-8"))]
    assert len(files) > 150 and not found


def test_no_file_hides_a_public_function_of_its_package():
    """Once ``mixlaw/laws/published.py`` is imported, ``mixlaw.laws.published`` is that file, not a function."""
    packages = [p.name for p in pkgutil.walk_packages(mixlaw.__path__, "mixlaw.") if p.ispkg]
    checked, hidden = 0, []
    for name in packages:
        package = importlib.import_module(name)
        lazy = vars(package).get("__getattr__")
        files = {f.name for f in pkgutil.iter_modules(package.__path__)}
        for public in sorted(files & set(getattr(package, "__all__", []))) if lazy else []:
            checked += 1
            if not isinstance(lazy(public), ModuleType):
                hidden.append(f"{name}.{public}")
    assert checked and not hidden

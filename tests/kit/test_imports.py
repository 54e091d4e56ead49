"""Modules are imported by a name in a string only in kit/, where the registries are: the linter cannot see it."""

import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "mixlaw"


def test_no_module_is_imported_by_its_name_outside_kit():
    files = [p for p in SOURCE.rglob("*.py") if p.parent != SOURCE / "kit"]
    found = [str(p) for p in files if re.search(r"\bimport_module\b|__import__", p.read_text(encoding="utf-8"))]
    assert len(files) > 150 and not found

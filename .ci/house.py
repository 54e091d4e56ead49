#!/usr/bin/env python3
"""Counts how the rooms of mixlaw depend on each other: rooms, floors, arrows, arrows that run up, circles.

    python .ci/house.py [folder of the package, default src/mixlaw]

A room is a folder at the top of the package, or a file there. An arrow from one room to another means that at least one
import statement of the first names the second. A circle is a set of rooms that can all be reached from each other.
Imports for type checkers only (``if TYPE_CHECKING``) count: a reader follows them too.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

# Highest floor first, as the `layers` contract in pyproject.toml has them.
FLOORS = (
    ("cli",),
    ("study",),
    ("report", "execute", "reuse"),
    ("optimize", "design", "train", "dynamics", "evaluate", "select", "verify"),
    ("laws", "models", "io", "tokens", "curate"),
    ("data", "text"),
    ("kit",),
    ("errors",),
)
PASSED = ("law", "corpus")  # what is walked through the calls of `optimize`


def modules(package: Path) -> dict[str, Path]:
    """Dotted name below the package -> file."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, name: str) -> set[str]:
    """Dotted names below mixlaw that a file imports."""
    out: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            out |= {alias.name[len(name) + 1 :] for alias in node.names if alias.name.startswith(f"{name}.")}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == name:
                out |= {alias.name for alias in node.names}
            elif node.module.startswith(f"{name}."):
                base = node.module[len(name) + 1 :]
                out |= {f"{base}.{alias.name}" for alias in node.names}
    return out


def arrows(package: Path) -> tuple[set[str], set[tuple[str, str]]]:
    """(rooms, arrows between them)."""
    files = modules(package)
    rooms = {room(m) for m in files if m}
    found = set()
    for module, path in files.items():
        if not module:
            continue
        for target in imports(path, package.name):
            while target and target not in files:
                target = target.rpartition(".")[0]
            if target and room(target) != room(module):
                found.add((room(module), room(target)))
    return rooms, found


def room(module: str) -> str:
    """The first name of a dotted one: ``laws.fit.engine`` lies in the room ``laws``."""
    return module.partition(".")[0]


def circles(rooms: set[str], edges: set[tuple[str, str]]) -> list[list[str]]:
    """Sets of two or more rooms that can all be reached from each other."""
    reach = {r: {r} for r in rooms}
    for _ in rooms:
        for a, b in edges:
            reach[a] |= reach[b]
    groups = {tuple(sorted(b for b in reach[a] if a in reach[b])) for a in rooms}
    return [list(g) for g in sorted(groups) if len(g) > 1]


def upward(edges: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Arrows that do not go down at least one floor."""
    floor = {r: i for i, row in enumerate(FLOORS) for r in row}
    return sorted((a, b) for a, b in edges if floor.get(a, -1) >= floor.get(b, len(FLOORS)))


def file_circles(package: Path) -> list[list[str]]:
    """The same for single files: sets of files that import each other in a ring."""
    files = modules(package)
    edges = set()
    for module, path in files.items():
        for target in imports(path, package.name):
            while target and target not in files:
                target = target.rpartition(".")[0]
            if module and target and target != module:
                edges.add((module, target))
    return circles({m for m in files if m}, edges)


def passes(folder: Path) -> dict[str, int]:
    """How many calls in a folder pass a variable of each name in :data:`PASSED` as an argument."""
    count = dict.fromkeys(PASSED, 0)
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                values = [*node.args, *(k.value for k in node.keywords)]
                for name in PASSED:
                    count[name] += any(isinstance(v, ast.Name) and v.id == name for v in values)
    return count


def main() -> int:
    package = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "src" / "mixlaw")
    rooms, edges = arrows(package)
    up, rings = upward(edges), circles(rooms, edges)
    walked = passes(package / "optimize")
    print(
        f"rooms {len(rooms)}, floors {len(FLOORS)}, arrows {len(edges)}, arrows back up {len(up)}, circles {len(rings)}"
    )
    for a, b in up:
        print(f"  back up: {a} -> {b}")
    for ring in rings:
        print(f"  circle of rooms: {', '.join(ring)}")
    for ring in file_circles(package):
        print(f"  circle of files: {', '.join(ring)}")
    print("calls in optimize/ that pass on " + ", ".join(f"{name}: {count}" for name, count in walked.items()))
    return 1 if up or rings else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Rooms talk through public names: no private state is read from another room, no family of laws is asked for by its
class outside laws/. (Directions between rooms are kept by import-linter.)"""

import ast
from collections import defaultdict
from pathlib import Path

from mixlaw.laws import LAWS

SOURCE = Path(__file__).parents[2] / "src" / "mixlaw"


def room_of(path):
    return path.split("/")[0]


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def root(node):
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def reach_ins(sources, families=()):
    """What breaks the rules in ``sources`` ({path below the package: text}), as sentences.

    A private name belongs to the rooms in which something of that name is defined or assigned.
    """
    trees = {path: ast.parse(text) for path, text in sources.items()}
    homes = defaultdict(set)
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                homes[node.name].add(room_of(path))
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                homes[node.attr].add(room_of(path))
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                homes[node.id].add(room_of(path))
    found = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Attribute) and is_private(node.attr) and root(node) not in ("torch", "os"):
                if room_of(path) not in homes[node.attr]:
                    found.append(f"{where} reads {node.attr}")
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mixlaw."):
                elsewhere = node.module.split(".")[1] != room_of(path)
                found += [f"{where} imports {a.name}" for a in node.names if elsewhere and is_private(a.name)]
            elif isinstance(node, ast.Call) and root(node.func) in ("isinstance", "issubclass"):
                asked = {
                    n.attr if isinstance(n, ast.Attribute) else getattr(n, "id", "") for n in ast.walk(node.args[1])
                }
                if room_of(path) != "laws" and asked & set(families):
                    found.append(f"{where} asks for {sorted(asked & set(families))}")
    return found


def test_no_room_reads_private_state_of_another_or_asks_for_a_family():
    sources = {p.relative_to(SOURCE).as_posix(): p.read_text(encoding="utf-8") for p in SOURCE.rglob("*.py")}
    families = {LAWS[name].__name__ for name in LAWS}
    assert len(sources) > 150 and "GaussianProcess" in families
    assert reach_ins(sources, families) == []


def test_each_kind_of_reach_in_is_seen():
    sources = {
        "laws/base.py": "class Law:\n    _kept = 1\n    def _rows(self):\n        return 1\n",
        "laws/other.py": "def g(law):\n    return law._rows()\n",
        "optimize/a.py": "from mixlaw.laws.base import _hidden\ndef h(law):\n    return law._kept\n",
        "design/b.py": "def h(law):\n    return isinstance(law, (int, laws.Tree))\n",
    }
    assert reach_ins(sources, {"Tree"}) == [
        "optimize/a.py:1 imports _hidden",
        "optimize/a.py:3 reads _kept",
        "design/b.py:2 asks for ['Tree']",
    ]

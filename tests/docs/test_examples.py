"""Every public class and function of the rooms that people call by name shows, in a runnable example, what it is for.

The examples themselves are run by ``python -m pytest --doctest-modules src/mixlaw``.
"""

import ast
import doctest
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "mixlaw"
ROOMS = ("data", "laws", "optimize", "design", "train")


def public_docstrings(file: Path) -> dict[str, str]:
    """Docstring of every class and function that the file defines and lists in ``__all__``."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    public: set[str] = set()
    for node in tree.body:
        if not isinstance(node, ast.Assign) or getattr(node.targets[0], "id", "") != "__all__":
            continue
        if isinstance(node.value, ast.List | ast.Tuple):  # a room's own __all__ comes from kit.lazy
            public = {element.value for element in node.value.elts if isinstance(element, ast.Constant)}
    defined = (n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name: ast.get_docstring(node) or "" for node in defined if node.name in public}


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_has_an_example_that_is_run(room):
    parser = doctest.DocTestParser()
    seen, without, skipped = 0, [], []
    for file in sorted((SOURCE / room).rglob("*.py")):
        for name, text in public_docstrings(file).items():
            seen += 1
            where = f"{file.relative_to(SOURCE)}: {name}"
            examples = parser.get_examples(text, where)
            if not examples:
                without.append(where)
            elif all(doctest.SKIP in example.options for example in examples):
                skipped.append(where)
    assert seen > 20
    assert not without, "Give each an Example: section with >>> (or make a helper of one file private)."
    assert not skipped, "An example that is never run shows nothing."

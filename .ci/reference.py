"""Writes the API reference: one page per room, one entry per public module, from the docstrings (run by mkdocs)."""

from __future__ import annotations

import ast
from pathlib import Path

import mkdocs_gen_files

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "mixlaw"
TITLES = {
    "data": "Data types",
    "laws": "Laws",
    "optimize": "Optimisation",
    "design": "Designs",
    "train": "Training",
    "models": "Models",
    "tokens": "Tokens",
    "text": "Text",
    "io": "Formats in and out",
    "execute": "Executors",
    "verify": "Verification",
    "reuse": "Reuse of old runs",
    "report": "Plots and reports",
    "study": "The study",
    "evaluate": "Evaluators",
    "curate": "Curation",
    "select": "Selection",
    "kit": "Tools of every room",
    "cli": "Command line",
}


def public(path: Path) -> bool:
    """Whether a module has something to show: names in ``__all__``, or a package with functions of its own."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.name == "__init__.py":
        return any(isinstance(node, ast.FunctionDef) and node.name[0] != "_" for node in tree.body)
    return any(isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__" for node in tree.body)


def main() -> None:
    """One page for each room that exists, and an index of them."""
    rooms = [name for name in TITLES if (PACKAGE / name).is_dir()]
    others = sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists() and p.name not in TITLES)
    index = ["# Reference", "", "Every public module, room by room, as its docstrings describe it.", ""]
    for room in [*rooms, *others]:
        title = TITLES.get(room, room)
        lines = [f"# {title}", ""]
        for path in sorted((PACKAGE / room).rglob("*.py")):
            if (path.name == "__init__.py" or path.name[0] != "_") and public(path):
                parts = path.relative_to(PACKAGE).with_suffix("").parts
                module = ".".join(["mixlaw", *(p for p in parts if p != "__init__")])
                lines += [f"::: {module}", "    options:", "      show_root_full_path: true", ""]
        with mkdocs_gen_files.open(f"reference/{room}.md", "w") as page:
            page.write("\n".join(lines))
        mkdocs_gen_files.set_edit_path(f"reference/{room}.md", f"src/mixlaw/{room}")
        index.append(f"- [{title}]({room}.md): `mixlaw.{room}`")
    with mkdocs_gen_files.open("reference/errors.md", "w") as page:
        page.write("# Errors\n\n::: mixlaw.errors\n")
    index.append("- [Errors](errors.md): `mixlaw.errors`")
    with mkdocs_gen_files.open("reference/index.md", "w") as page:
        page.write("\n".join(index) + "\n")


main()

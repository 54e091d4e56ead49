"""Code blocks of the documentation's pages, so that tests can follow a page to the letter."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')


def blocks(page: str, language: str = "python") -> dict[str, str]:
    """``{title: code}`` of the page's blocks in a language; blocks without a title are numbered."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = [(_TITLE.search(head), code) for name, head, code in _BLOCK.findall(text) if name == language]
    return {title[1] if title else str(number): code for number, (title, code) in enumerate(found)}


def own_lines(code: str) -> int:
    """Lines of code without blank lines, comments and docstrings' text."""
    return sum(1 for line in code.splitlines() if line.strip() and not line.strip().startswith("#"))

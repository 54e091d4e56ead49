"""Small pieces of HTML for notebooks; whatever is not ours to write is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

__all__ = ["lines", "table"]


def lines(texts: Iterable[str]) -> str:
    """A paragraph for each text.

    Example:
        >>> lines(["a < b"])
        '<p>a &lt; b</p>'
    """
    return "".join(f"<p>{html.escape(text)}</p>" for text in texts)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table whose first column is text, and whose others are numbers, set to the right.

    Example:
        >>> table(["domain", "weight"], [["web", "0.7"]]).count("<td")
        2
    """
    left, right = (f" style='text-align:{side};padding:0 0.6em;white-space:nowrap'" for side in ("left", "right"))

    def row(cells: Sequence[str], tag: str) -> str:
        shown = (f"<{tag}{right if i else left}>{html.escape(str(c))}</{tag}>" for i, c in enumerate(cells))
        return f"<tr>{''.join(shown)}</tr>"

    head = f"<caption{left}>{html.escape(caption)}</caption>" if caption else ""
    body = "".join(row(cells, "td") for cells in rows)
    return f"<table>{head}<thead>{row(headers, 'th')}</thead><tbody>{body}</tbody></table>"

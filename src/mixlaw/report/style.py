"""One look for every plot: a Matplotlib figure that saves as PNG, shows in a notebook and embeds in the page.

The palette is Okabe and Ito's (2008), which readers with any common colour vision can tell apart.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

MANY_POINTS = 2500
"""Scatter plots with more points are drawn as pixels: a page of vectors would be megabytes."""

__all__ = [
    "ACCENT",
    "ARM_COLORS",
    "GRID",
    "INK",
    "MANY_POINTS",
    "MUTED",
    "PALETTE",
    "REFERENCE",
    "Chart",
    "arm_color",
    "grid_shape",
    "styled",
    "top_legend",
]

INK, MUTED, GRID = "#1b2230", "#5b6472", "#e4e7ec"
ACCENT, REFERENCE = "#0072B2", "#D55E00"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5b6472", "#8C6D1F")
ARM_COLORS = {"recipe": ACCENT, "natural": REFERENCE, "uniform": "#009E73", "reference": "#CC79A7"}

_RC: Any = {
    "font.family": "DejaVu Sans",  # ships with Matplotlib: layout is the same on every machine
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelsize": 9,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#b6bcc6",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=list(PALETTE)),
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",  # text stays text: selectable, searchable, small
    "svg.hashsalt": "mixlaw",
}
# In the page, plots speak the page's font. These faces are no wider than DejaVu Sans, so nothing overlaps.
_WEB_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', 'Helvetica Neue', Arial, sans-serif"


@contextmanager
def styled() -> Iterator[None]:
    """mixlaw's look inside the block; the caller's Matplotlib settings are restored after it."""
    with mpl.rc_context(_RC):
        yield


class Chart(Figure):
    """A Matplotlib figure with words for whoever cannot see it, and names that appear under the pointer.

    ``savefig("x.png")`` works as on any figure; a notebook shows it as it is; :meth:`to_svg` embeds it in a page.
    """

    def __init__(self, width: float, height: float, alt: str = "", **options: Any) -> None:
        super().__init__(figsize=(width, height), **options)
        FigureCanvasAgg(self)
        self.alt = alt
        self._tips: dict[str, list[str]] = {}

    def tip(self, artist: Any, text: str | Sequence[str]) -> None:
        """Show ``text`` under the pointer; a sequence gives one text per point of a scatter plot."""
        gid = f"tip{len(self._tips)}"
        artist.set_gid(gid)
        self._tips[gid] = [text] if isinstance(text, str) else list(text)

    def to_svg(self, prefix: str = "") -> str:
        """One ``<svg>`` element, with ids that start with ``prefix`` so that several fit into one page."""
        buffer = io.StringIO()
        with styled():
            self.savefig(buffer, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.S)
        text = re.sub(r'(?<=font: )([^;"]*?)\'DejaVu Sans\'[^;"]*', rf"\1{_WEB_FONT}", text)
        text = re.sub(r"font-family: '?DejaVu Sans'?[^;\"]*", f"font-family: {_WEB_FONT}", text)
        text = re.sub(r'(?<= )(?:d|x|y|transform)="[^"]*"', _short, text)
        for gid, tips in self._tips.items():
            text = _add_tips(text, gid, tips)
        if prefix:
            text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
            text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
            text = re.sub(r'xlink:href="#([^"]+)"', rf'xlink:href="#{prefix}-\1"', text)
        head = f'<svg role="img" aria-label="{html.escape(self.alt, quote=True)}"'
        return re.sub(r"<svg", lambda _: head, text, count=1).strip()

    def _repr_svg_(self) -> str:
        return self.to_svg("nb")


def _short(attribute: re.Match[str]) -> str:
    """Coordinates to a hundredth of a point, a third of the bytes."""
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute.group())


def _add_tips(svg: str, gid: str, tips: Sequence[str]) -> str:
    start = svg.find(f'<g id="{gid}"')
    if start < 0:
        return svg
    if len(tips) == 1:
        mark = f'<g id="{gid}"'
        return svg.replace(mark, f'{mark} data-tip="{html.escape(tips[0], quote=True)}"', 1)
    end, depth = start, 0
    for match in re.finditer(r"<g[ >]|</g>", svg[start:]):
        depth += 1 if match.group() != "</g>" else -1
        if depth == 0:
            end = start + match.end()
            break
    block = svg[start:end]
    if block.count("<use ") != len(tips):  # some points lie outside the axes: better no name than a wrong one
        return svg
    words = iter(tips)
    block = re.sub(r"<use ", lambda _: f'<use data-tip="{html.escape(next(words), quote=True)}" ', block)
    return svg[:start] + block + svg[end:]


def arm_color(name: str, index: int) -> str:
    """Colour of a compared mixture: fixed for the usual names, else by position."""
    return ARM_COLORS.get(name, PALETTE[(index + 3) % len(PALETTE)])


def grid_shape(num: int, width: float, panel: float = 2.6) -> tuple[int, int]:
    """(rows, columns) of ``num`` panels, each about ``panel`` inches wide or wider, in a figure of ``width`` inches."""
    rows = -(-num // max(1, min(num, int(width // panel))))
    return rows, -(-num // rows)


def top_legend(chart: Chart, axis: Axes, columns: int = 4, **options: Any) -> None:
    """A legend above all panels, where it covers no data."""
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        chart.legend(
            handles, labels, loc="outside upper left", ncols=min(columns, len(labels)), borderaxespad=0.2, **options
        )

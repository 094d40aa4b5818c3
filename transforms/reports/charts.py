"""Draw a chart as SVG text in the style of the project's pages. Equal numbers give equal text.

Every chart is narrow, so that its text is readable on a telephone. A page puts two in a row where there is room.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

__all__ = ["BRIGHT", "FAINT", "INK", "chart", "svg"]

BRIGHT = ("#1f6feb", "#d1495b", "#2a9d8f", "#8957e5", "#e08e0b", "#0b7285")
"""Colors of what a chart compares."""
INK, FAINT = "#1f2933", "#e4e7eb"
_WIDTH = 4.6
"""Inches. On a page 390 pixels wide a text of size 10 is then 10 pixels high."""
_STYLE: Any = {
    "svg.hashsalt": "recbeam",  # ids in the file would be random otherwise
    "svg.fonttype": "none",  # text stays text: smaller, selectable, drawn in the page's font
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": "#9aa5b1",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 11,
}


@contextmanager
def chart(height: float) -> Iterator[tuple[Figure, Axes]]:
    """Open a chart of this height in inches. `svg` has to be called within the block."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield figure, figure.subplots()


def svg(figure: Figure, title: str) -> Markup:
    """Return a chart as SVG for a page. Screen readers read the title."""
    FigureCanvasSVG(figure)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    drawing = text.getvalue()
    return Markup(drawing[drawing.index("<svg") :])  # our own drawing: matplotlib escapes the labels

"""Tables for a terminal: plain, aligned, one line per row."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

__all__ = ["counted", "printable", "table"]

GAP = "  "


def printable(text: str) -> str:
    """Return the text on one line, without characters that control a terminal."""
    return "".join(one if one.isprintable() else "?" for one in " ".join(text.split()))


def counted(count: int, noun: str) -> str:
    """Return the count with its noun, as in "1 call" and "2 calls"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Return the lines of a table, without a newline at the end.

    Args:
        head: One name per column.
        rows: Rows with one cell per column.
        right: Names of the columns that are aligned right.
    """
    lines = [list(head), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(_columns(cell) for cell in column) for column in zip(*lines, strict=True)]
    text = []
    for line in lines:
        cells = []
        for name, cell, width in zip(head, line, widths, strict=True):
            fill = " " * (width - _columns(cell))
            cells.append(fill + cell if name in right else cell + fill)
        text.append(GAP.join(cells).rstrip())
    return "\n".join(text)


def _columns(text: str) -> int:
    """Return how many terminal columns the text takes. Ideographs take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )

"""Render the graph of lineage as one HTML file with an inline SVG picture and a list of all nodes."""

from __future__ import annotations

import itertools
import os

from transforms.lineage.graph import Graph, Node
from transforms.lineage.layout import arrange
from transforms.reports.page import render_page

__all__ = ["render"]

_WIDTH, _HEIGHT, _COLUMN, _LAYER, _MARGIN = 176, 58, 192, 104, 10
"""Pixels: a box, and the distance from box to box."""
_TITLE, _DETAIL = 25, 29
"""Characters that fit into a box."""


def render(graph: Graph, question: str, checked: bool) -> str:
    """Return the page.

    Args:
        graph: The nodes and edges, titles as they are to be shown.
        question: What the page answers, its heading.
        checked: Whether digests were compared, and not only sizes and times.
    """
    ends = [(edge.source, edge.target) for edge in graph.edges]
    layout = arrange(list(graph.nodes), ends)
    number = {key: index for index, key in enumerate(graph.nodes)}
    boxes = [
        {
            "node": graph.nodes[key],
            "id": number[key],
            "x": round(x * _COLUMN + _MARGIN),
            "y": y * _LAYER + _MARGIN,
            "title": _fit(graph.nodes[key], _TITLE),
            "detail": _ending(graph.nodes[key].detail, _DETAIL),
        }
        for key, (x, y) in layout.places.items()
    ]
    lines = [
        {"path": _curve([_pixel(point) for point in layout.routes[edge.source, edge.target]]), "stale": edge.stale}
        for edge in graph.edges
    ]
    following = {key: [edge.target for edge in graph.edges if edge.source == key] for key in graph.nodes}
    before = {key: [edge.source for edge in graph.edges if edge.target == key] for key in graph.nodes}
    return render_page(
        "transforms.lineage",
        question=question,
        checked=checked,
        nodes=graph.nodes,
        number=number,
        following=following,
        before=before,
        flagged=[node for node in graph.nodes.values() if node.flags],
        boxes=boxes,
        lines=lines,
        size=(_WIDTH, _HEIGHT),
        width=round((layout.width - 1) * _COLUMN) + _WIDTH + 2 * _MARGIN,
        height=max(0, layout.layers - 1) * _LAYER + _HEIGHT + 2 * _MARGIN,
    )


def _pixel(point: tuple[float, int]) -> tuple[int, int]:
    """Return the middle of a box's upper edge."""
    return round(point[0] * _COLUMN + _MARGIN + _WIDTH / 2), point[1] * _LAYER + _MARGIN


def _curve(points: list[tuple[int, int]]) -> str:
    """Return the SVG path of an edge from below its source to above its target. In a circle it may go upward."""
    path = f"M{points[0][0]} {points[0][1] + _HEIGHT}"
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        start, end = y0 + _HEIGHT, y1
        middle = (start + end) / 2
        path += f"C{x0} {middle:g} {x1} {middle:g} {x1} {end}"
        if (x1, y1) != points[-1]:
            path += f"V{y1 + _HEIGHT}"
    return path


def _fit(node: Node, length: int) -> str:
    """Return a title that fits. Of a path the last parts are kept."""
    title = node.title
    if len(title) <= length:
        return title
    folder, name = os.path.split(title)
    while folder and len(f"{os.path.basename(folder)}/{name}") < length:
        folder, name = os.path.dirname(folder), f"{os.path.basename(folder)}/{name}"
        if folder == os.path.dirname(folder):
            break
    return f"…{name[1 - length :]}" if len(name) >= length else f"…/{name}"


def _ending(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"

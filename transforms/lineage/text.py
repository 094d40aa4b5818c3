"""Print the graph of lineage as a tree on a terminal. A node that is reached twice is printed in full once."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from transforms.lineage.graph import Graph, Node

__all__ = ["print_tree"]

_STYLES = {"run": "cyan", "model": "magenta", "version": "bold green", "snapshot": "green", "lost run": "red"}


def print_tree(graph: Graph, console: Console, upward: bool = False) -> None:
    """Print one tree per start of the graph.

    Args:
        graph: The nodes and edges.
        console: Where to print.
        upward: Start at what was made last, and print what it came from below it. Otherwise start at what was read
            first, and print what was made of it.
    """
    steps: dict[str, list[tuple[str, bool]]] = {key: [] for key in graph.nodes}
    entered = set()
    for edge in graph.edges:
        start, end = (edge.target, edge.source) if upward else (edge.source, edge.target)
        steps[start].append((end, edge.stale))
        entered.add(end)
    order = list(graph.nodes)
    for found in steps.values():
        found.sort(key=lambda step: order.index(step[0]))
    done: set[str] = set()
    # A circle has no start, so its first node is one.
    for key in [*(key for key in order if key not in entered), *order]:
        if key not in done:
            tree = Tree(_line(graph.nodes[key], False, False), guide_style="dim")
            _grow(tree, key, graph, steps, done)
            console.print(tree)


def _grow(tree: Tree, key: str, graph: Graph, steps: dict[str, list[tuple[str, bool]]], done: set[str]) -> None:
    done.add(key)
    for flag in graph.nodes[key].flags:
        tree.add(Text(f"! {flag.kind}: {flag.text}", "red"))
    for end, stale in steps[key]:
        again = end in done
        branch = tree.add(_line(graph.nodes[end], stale, again))
        if not again:
            _grow(branch, end, graph, steps, done)


def _line(node: Node, stale: bool, again: bool) -> Text:
    line = Text()
    line.append(f"{node.caption} ", "dim")
    line.append(node.title, _STYLES.get(node.kind, ""))
    line.append(f"  {node.detail}", "dim")
    if stale:
        line.append("  (stale)", "red")
    if again:
        line.append("  (see above)", "dim")
    return line

"""Place the nodes of a directed graph in layers, every edge downward, with few crossings.

The method is that of Sugiyama, Tagawa and Toda (1981): layers by longest path, bends where an edge passes a layer,
order within a layer by the mean of the neighbors, then horizontal places near the neighbors. It is meant for some
hundred nodes.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Mapping, Sequence

__all__ = ["Layout", "arrange"]

_SWEEPS = 8
_BEND = 0.25
"""Room of a bend in a layer; a node takes 1."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where things are. x counts nodes from the left, y layers from the top.

    Args:
        places: (x, y) of the nodes.
        routes: The points of every edge, from its source to its target.
        width: Largest x plus 1.
        layers: Number of layers.
    """

    places: Mapping[str, tuple[float, int]]
    routes: Mapping[tuple[str, str], Sequence[tuple[float, int]]]
    width: float
    layers: int


def arrange(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> Layout:
    """Return the layout. Equal arguments give equal layouts.

    Args:
        nodes: Names. Their order decides between equally good places.
        edges: Pairs of source and target. In a circle one edge goes upward.
    """
    layer = _layers(nodes, edges)
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node in nodes:
        rows[layer[node]].append(node)
    chains: dict[tuple[str, str], list[str]] = {}
    above: dict[str, list[str]] = {node: [] for node in nodes}
    below: dict[str, list[str]] = {node: [] for node in nodes}
    for number, (source, target) in enumerate(edges):
        top, bottom = (source, target) if layer[source] <= layer[target] else (target, source)
        chain = [top]
        for at in range(layer[top] + 1, layer[bottom]):
            bend = f"\0{number} {at}"
            rows[at].append(bend)
            above[bend], below[bend] = [], []
            chain.append(bend)
        chain.append(bottom)
        for first, second in itertools.pairwise(chain):
            below[first].append(second)
            above[second].append(first)
        chains[source, target] = chain if top == source else chain[::-1]
    _order(rows, above, below)
    x = _places(rows, above, below)
    y = {name: at for at, row in enumerate(rows) for name in row}
    return Layout(
        {node: (x[node], y[node]) for node in nodes},
        {edge: [(x[name], y[name]) for name in chain] for edge, chain in chains.items()},
        max(x.values(), default=0.0) + 1,
        len(rows),
    )


def _layers(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return the layer of each node: below all its sources, and sources right above their first target."""
    targets: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in edges:
        targets[source].append(target)
    order: list[str] = []  # targets before sources
    entered: set[str] = set()
    forward: dict[str, list[str]] = {node: [] for node in nodes}
    for start in nodes:
        path = [(start, iter(targets[start]))] if start not in entered else []
        entered.add(start)
        on_path = {start}
        while path:
            node, rest = path[-1]
            for target in rest:
                if target in on_path:  # the edge closes a circle
                    continue
                forward[node].append(target)
                if target not in entered:
                    entered.add(target)
                    on_path.add(target)
                    path.append((target, iter(targets[target])))
                    break
            else:
                path.pop()
                on_path.discard(node)
                order.append(node)
    layer = dict.fromkeys(nodes, 0)
    for node in reversed(order):
        for target in forward[node]:
            layer[target] = max(layer[target], layer[node] + 1)
    reached = {target for found in forward.values() for target in found}
    for node in nodes:
        if node not in reached and forward[node]:
            layer[node] = min(layer[target] for target in forward[node]) - 1
    return layer


def _order(rows: list[list[str]], above: Mapping[str, list[str]], below: Mapping[str, list[str]]) -> None:
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for fixed, row in itertools.pairwise(rows if down else rows[::-1]):
            at = {name: index / len(fixed) for index, name in enumerate(fixed)}
            neighbors = above if down else below
            own = {name: index / len(row) for index, name in enumerate(row)}
            means = {name: _mean([at[other] for other in neighbors[name]], own[name]) for name in row}
            row.sort(key=means.__getitem__)


def _places(rows: list[list[str]], above: Mapping[str, list[str]], below: Mapping[str, list[str]]) -> dict[str, float]:
    x: dict[str, float] = {}
    for row in rows:
        _settle(row, dict.fromkeys(row, 0.0), x)
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            wanted = {name: _mean([x[other] for other in (*above[name], *below[name])], x[name]) for name in row}
            _settle(row, wanted, x)
    left = min(x.values(), default=0.0)
    return {name: value - left for name, value in x.items()}


def _settle(row: list[str], wanted: Mapping[str, float], x: dict[str, float]) -> None:
    """Place a row near the wanted places, in its order and without overlap."""
    at = float("-inf")
    for before, name in itertools.pairwise(["", *row]):
        at = max(wanted[name], at + _gap(before, name)) if before else wanted[name]
        x[name] = at
    if row:
        shift = statistics.fmean(wanted[name] - x[name] for name in row)
        for name in row:
            x[name] += shift


def _gap(left: str, right: str) -> float:
    return sum(_BEND if name.startswith("\0") else 1.0 for name in (left, right)) / 2


def _mean(values: Sequence[float], default: float) -> float:
    return statistics.fmean(values) if values else default

"""The graph of lineage: data, runs, models, versions and snapshots, with an edge from each to what was made of it.

Pure functions of nodes and edges. `build` makes the graph.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

__all__ = ["Edge", "Flag", "Graph", "Node", "downstream", "nodes_at", "shorten", "upstream"]


@dataclasses.dataclass(frozen=True, order=True)
class Flag:
    """A doubt about a node.

    Args:
        kind: `missing`, `changed`, `stale` or `digest`. `digest` is a difference that a hash proves.
        sentence: What is wrong, for a person.
        readers: Ids of the runs that read the node before. Empty if the flag does not depend on a reader.
    """

    kind: Literal["missing", "changed", "stale", "digest"]
    sentence: str
    readers: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The sentence, with the runs that read the node before."""
        return f"{self.sentence}; read before by {', '.join(self.readers)}" if self.readers else self.sentence


@dataclasses.dataclass(frozen=True)
class Node:
    """Something that was read or made.

    Args:
        key: Unique name in the graph.
        kind: What it is. A `lost run` is one that others name and whose run.json was not found.
        title: Short name: the place, or what is known instead.
        detail: One short line about it.
        place: Absolute path or URI. Empty for a lost run.
        files: Absolute paths or URIs of its files, as far as run.json lists them.
        facts: More about it, by label.
        flags: What is wrong with it.
        at: Time that orders nodes, RFC 3339. Empty if unknown.
        pipeline: The pipeline of a run.
    """

    key: str
    kind: Literal["data", "run", "model", "version", "snapshot", "lost run"]
    title: str
    detail: str = ""
    place: str = ""
    files: frozenset[str] = frozenset()
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    at: str = ""
    pipeline: str = ""

    @property
    def caption(self) -> str:
        """The kind, for a person: of a run with its pipeline."""
        return f"{self.kind} {self.pipeline}".strip()


@dataclasses.dataclass(frozen=True, order=True)
class Edge:
    """`target` was made of `source`. `stale`: the source has another content now."""

    source: str
    target: str
    stale: bool = False


@dataclasses.dataclass(frozen=True)
class Graph:
    """Nodes by key, in the order in which they are shown, and edges between them, sorted."""

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]


def upstream(graph: Graph, keys: Collection[str]) -> Graph:
    """Return the part of the graph that the nodes came from, with the nodes."""
    return _part(graph, keys, [(edge.target, edge.source) for edge in graph.edges])


def downstream(graph: Graph, keys: Collection[str]) -> Graph:
    """Return the part of the graph that was made of the nodes, with the nodes."""
    return _part(graph, keys, [(edge.source, edge.target) for edge in graph.edges])


def nodes_at(graph: Graph, place: str) -> list[str]:
    """Return the keys of the nodes that a path or URI names.

    These are the nodes with this place, else those with this file, where a part of an output comes before its run, else
    the nodes below this folder, else the nearest node above.
    """
    nodes = graph.nodes.values()
    if exact := [node.key for node in nodes if node.place == place]:
        return exact
    holding = [node for node in nodes if place in node.files]
    if holding:
        return [node.key for node in holding if node.kind != "run"] or [node.key for node in holding]
    if below := [node.key for node in nodes if node.place.startswith(f"{place}/")]:
        return below
    above = [node for node in nodes if node.place and place.startswith(f"{node.place}/")]
    nearest = max((len(node.place) for node in above), default=0)
    return [node.key for node in above if len(node.place) == nearest]


def shorten(graph: Graph, folder: str) -> Graph:
    """Return the graph with titles relative to a folder, for the places below it."""
    start = f"{folder}/"
    nodes = {key: dataclasses.replace(node, title=node.title.removeprefix(start)) for key, node in graph.nodes.items()}
    return Graph(nodes, graph.edges)


def _part(graph: Graph, keys: Iterable[str], steps: Iterable[tuple[str, str]]) -> Graph:
    following: dict[str, list[str]] = {}
    for start, end in steps:
        following.setdefault(start, []).append(end)
    open_, reached = list(keys), set(keys)
    while open_:
        new = set(following.get(open_.pop(), [])) - reached
        reached |= new
        open_ += new
    return Graph(
        {key: _without(node, reached) for key, node in graph.nodes.items() if key in reached},
        tuple(edge for edge in graph.edges if edge.source in reached and edge.target in reached),
    )


def _without(node: Node, reached: Collection[str]) -> Node:
    """Return the node without the flags of readers that are not reached."""
    flags = []
    for flag in node.flags:
        readers = tuple(reader for reader in flag.readers if f"run:{reader}" in reached)
        if readers or not flag.readers:
            flags.append(dataclasses.replace(flag, readers=readers))
    return dataclasses.replace(node, flags=tuple(flags))

"""Where the boxes of the picture are: apart from each other, every edge downward, and always the same."""

from __future__ import annotations

import itertools
import random

import pytest

from transforms.lineage.layout import arrange


def test_a_chain_is_a_column() -> None:
    layout = arrange(["a", "b", "c"], [("a", "b"), ("b", "c")])
    assert layout.places == {"a": (0, 0), "b": (0, 1), "c": (0, 2)}
    assert (layout.width, layout.layers) == (1, 3)


def test_an_edge_over_a_layer_bends_beside_the_node_there() -> None:
    layout = arrange(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    (start, bend, end) = layout.routes["a", "c"]
    assert start == layout.places["a"] and end == layout.places["c"] and bend[1] == 1
    assert abs(bend[0] - layout.places["b"][0]) >= 0.6


def test_a_source_stands_right_above_what_reads_it() -> None:
    layout = arrange(["a", "b", "c", "late"], [("a", "b"), ("b", "c"), ("late", "c")])
    assert layout.places["late"][1] == 1


@pytest.mark.parametrize("seed", range(5))
def test_nodes_of_a_layer_do_not_overlap_and_edges_lead_down(seed: int) -> None:
    rng = random.Random(seed)
    nodes = [f"n{number}" for number in range(60)]
    pairs = {(nodes[min(pair)], nodes[max(pair)]) for pair in (rng.sample(range(60), 2) for _ in range(90))}
    layout = arrange(nodes, sorted(pairs))
    for layer in range(layout.layers):
        row = sorted(x for x, y in layout.places.values() if y == layer)
        assert all(right - left > 1 - 1e-9 for left, right in itertools.pairwise(row))
    for (source, target), route in layout.routes.items():
        assert (route[0], route[-1]) == (layout.places[source], layout.places[target])
        assert [y for _, y in route] == list(range(route[0][1], route[-1][1] + 1))
    assert layout == arrange(nodes, sorted(pairs))


def test_in_a_circle_one_edge_leads_up() -> None:
    layout = arrange(["a", "b", "c"], [("a", "b"), ("b", "c"), ("c", "a")])
    assert [layout.places[name][1] for name in "abc"] == [0, 1, 2]
    assert [y for _, y in layout.routes["c", "a"]] == [2, 1, 0]


def test_a_tree_has_no_crossing() -> None:
    edges = [("r", "a"), ("r", "b"), ("b", "b1"), ("a", "a1"), ("b", "b2"), ("a", "a2")]
    places = arrange(["r", "a", "b", "b1", "a1", "b2", "a2"], edges).places
    assert (places["a"] < places["b"]) == (max(places["a1"], places["a2"]) < min(places["b1"], places["b2"]))


def test_nothing_has_a_layout() -> None:
    assert arrange([], []).layers == 0

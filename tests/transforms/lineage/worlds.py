"""Small worlds of runs: the folders are written by the code that real runs use, without the pipelines."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from transforms.lineage.build import build
from transforms.lineage.finding import Finder, place_of
from transforms.lineage.graph import Graph, nodes_at
from transforms.runs.run_folder import open_folder
from transforms.runs.run_record import RunRecord, describe_inputs, parents_of

LATER = "2033-01-01T00:00:00Z"
"""Start of the runs: no file of a test is younger."""


def write(path: pathlib.Path, text: str = "a row\n") -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def run(
    output: pathlib.Path,
    run_id: str,
    inputs: Sequence[pathlib.Path | str],
    outputs: Mapping[str, str],
    pipeline: str = "batch_cf",
    started_at: str = LATER,
    **more: Any,
) -> pathlib.Path:
    """Write a run's folder: the outputs by name, and run.json with sizes and digests of inputs and outputs."""
    sizes = {str(path): os.path.getsize(path) for path in inputs}
    with open_folder(str(output), run_id, overwrite=True) as folder:
        for name, text in outputs.items():
            write(pathlib.Path(folder.path(name)), text)
        record = RunRecord(
            run_id, pipeline, "0", started_at, more.pop("options", {}), describe_inputs(sizes),
            parents=parents_of(list(sizes)), **more,
        )  # fmt: skip
        folder.commit(sorted({name.split("/")[0] for name in outputs}), record)
    return output


def model(run_id: str, weights: str = "weights") -> dict[str, str]:
    """The files of a model in a run's folder."""
    card = f'{{"run_id": "{run_id}", "pipeline": "batch_cf", "trained_at": "{LATER}"}}'
    return {"model/saved_model.pb": weights, "model/assets.extra/model_card.json": card}


def graph_of(*paths: pathlib.Path, check: bool = False) -> Graph:
    return build(Finder([place_of(str(path)) for path in paths]), check)


def names(graph: Graph) -> set[str]:
    """The nodes: kind and last part of the title."""
    return {f"{node.kind} {node.title.rpartition('/')[2]}" for node in graph.nodes.values()}


def edges(graph: Graph) -> set[tuple[str, str]]:
    ends = {key: node.title.rpartition("/")[2] for key, node in graph.nodes.items()}
    return {(ends[edge.source], ends[edge.target]) for edge in graph.edges}


def flags(graph: Graph) -> list[tuple[str, str, str]]:
    """The flags: last part of the node's title, kind, sentence."""
    found = graph.nodes.values()
    return [(node.title.rpartition("/")[2], flag.kind, flag.text) for node in found for flag in node.flags]


def keys_at(graph: Graph, path: pathlib.Path) -> list[str]:
    return nodes_at(graph, place_of(str(path)))

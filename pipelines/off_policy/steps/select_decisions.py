"""Choose the decisions of each block that are evaluated, and count the others by reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection, TaggedOutput

from pipelines.off_policy.selection import Selection, select
from transforms.attribution.joined.join import JoinedDecisions

__all__ = ["SelectDecisions", "SelectedBlocks"]


class SelectedBlocks(NamedTuple):
    """What SelectDecisions returns.

    Args:
        blocks: Decisions to evaluate, with the number of their shard.
        facts: Counts by reason.
    """

    blocks: PCollection[tuple[int, pa.RecordBatch]]
    facts: PCollection[dict[str, Any]]


@dataclasses.dataclass
class SelectDecisions(beam.PTransform[PCollection[tuple[int, JoinedDecisions]], SelectedBlocks]):
    """Choose decisions.

    Args:
        selection: Which decisions are evaluated.
    """

    selection: Selection

    def expand(self, joined: PCollection[tuple[int, JoinedDecisions]]) -> SelectedBlocks:
        """Apply `select` to every block."""
        selected = joined | "Select" >> beam.FlatMap(_select, self.selection).with_outputs("facts", main="blocks")
        return SelectedBlocks(selected.blocks, selected.facts)


def _select(
    numbered: tuple[int, JoinedDecisions], selection: Selection
) -> Iterator[tuple[int, pa.RecordBatch] | TaggedOutput[str, Any]]:
    shard, joined = numbered
    selected = select(joined, selection)
    if len(selected.decisions):
        yield shard, selected.decisions
    yield TaggedOutput("facts", dict(selected.counts))

"""Write the interactions of each block of joined decisions as a Parquet file."""

from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam

from pipelines.interactions.part_file import write_part
from transforms.attribution.joined.join import JoinedDecisions

__all__ = ["WriteInteractions"]


@dataclasses.dataclass
class WriteInteractions(
    beam.PTransform[beam.PCollection[tuple[int, JoinedDecisions]], beam.PCollection[dict[str, Any]]]
):
    """Write one file per shard to folder/interactions. The output has the counts of each shard, as facts.

    Args:
        kinds: Kinds of rewards that are interactions.
        folder: Where the run writes.
    """

    kinds: frozenset[str]
    folder: str

    def expand(self, blocks: beam.PCollection[tuple[int, JoinedDecisions]]) -> beam.PCollection[dict[str, Any]]:
        """Return the facts."""
        counts: beam.PCollection[dict[str, Any]] = blocks | "WritePart" >> beam.Map(write_part, self.kinds, self.folder)
        return counts

"""Gather the rows of train and holdout into one stored dataset."""

from __future__ import annotations

import dataclasses

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.combiners import ToList

from pipelines.evaluate import workspace
from pipelines.evaluate.dataset import build, compact

__all__ = ["BuildDataset"]


@dataclasses.dataclass
class BuildDataset(
    beam.PTransform[tuple[beam.PCollection[pa.RecordBatch], beam.PCollection[pa.RecordBatch]], beam.PCollection[str]]
):
    """Store the Dataset of (train blocks, holdout blocks) in the workspace.

    Args:
        protocol: `fold_in`, `per_user`, or None to choose by the holdout's rows.
        work: Folder of the workspace.
    """

    protocol: str | None
    work: str

    def expand(
        self, parts: tuple[beam.PCollection[pa.RecordBatch], beam.PCollection[pa.RecordBatch]]
    ) -> beam.PCollection[str]:
        """Return the name of the stored dataset."""
        train, holdout = parts
        compacted = (
            train | "CompactTrain" >> beam.Map(compact, holdout=False),
            holdout | "CompactHoldout" >> beam.Map(compact, holdout=True),
        )
        rows = compacted | "FlattenRows" >> beam.Flatten() | "GatherRows" >> ToList()
        dataset = rows | "BuildDataset" >> beam.Map(build, self.protocol)
        stored: beam.PCollection[str] = dataset | "StoreDataset" >> beam.Map(workspace.put, self.work, "dataset")
        return stored

"""Store all elements of a collection as one list in the workspace."""

from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam
from apache_beam.transforms.combiners import ToList

from pipelines.evaluate import workspace

__all__ = ["StoreList"]


@dataclasses.dataclass
class StoreList(beam.PTransform[beam.PCollection[Any], beam.PCollection[str]]):
    """Store all elements as one list.

    Args:
        work: Folder of the workspace.
        name: Name of the list there.
    """

    work: str
    name: str

    def expand(self, values: beam.PCollection[Any]) -> beam.PCollection[str]:
        """Return the name of the stored list."""
        gathered = values | "Gather" >> ToList()
        stored: beam.PCollection[str] = gathered | "Store" >> beam.Map(workspace.put, self.work, self.name)
        return stored

"""What the main process must know of a run (reports, faults, counts): named, and written as one file of facts."""

from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam

from transforms.runs.facts import WriteFacts, name_fault, name_report

__all__ = ["GatherFacts"]

_COUNTS = ("train_users", "validation_users", "test_users", "users_without_known_items", "users_too_short_to_hold_out")
"""Facts that are 0 where no worker says otherwise."""


@dataclasses.dataclass
class GatherFacts(beam.PTransform[tuple[beam.PCollection[Any], ...], beam.PCollection[str]]):
    """(reports, faults, further facts …) to one JSON object; see `transforms.runs.facts`."""

    uri: str

    def expand(self, collections: tuple[beam.PCollection[Any], ...]) -> beam.PCollection[str]:
        reports, faults, *others = collections
        named = [
            reports | "NameReports" >> beam.Map(name_report),
            faults | "NameFaults" >> beam.Map(name_fault),
            *others,
        ]
        facts = named | "Flatten" >> beam.Flatten()
        missing = {"faults": [], "new_reports": [], **dict.fromkeys(_COUNTS, 0)}
        written: beam.PCollection[str] = facts | "WriteFacts" >> WriteFacts(self.uri, missing)
        return written

"""Write what the workers report to the main process (reports, faults, counts) as one file of facts."""

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
    """Write (reports, faults, further facts …) as one JSON object, see `transforms.runs.facts`.

    Args:
        uri: The file.
        as_of_us: Latest time that the run believed. A fact too, because a resumed run keeps the features.
    """

    uri: str
    as_of_us: int | None

    def expand(self, collections: tuple[beam.PCollection[Any], ...]) -> beam.PCollection[str]:
        """Return the uri of the file of facts."""
        reports, faults, *others = collections
        named = [
            reports | "NameReports" >> beam.Map(name_report),
            faults | "NameFaults" >> beam.Map(name_fault),
            *others,
        ]
        facts = named | "Flatten" >> beam.Flatten()
        missing: dict[str, Any] = {
            "as_of_us": self.as_of_us,
            "faults": [],
            "new_reports": [],
            **dict.fromkeys(_COUNTS, 0),
        }
        written: beam.PCollection[str] = facts | "WriteFacts" >> WriteFacts(self.uri, missing)
        return written

"""Write what the workers report to the main process (rows, faults, pairs) as one file of facts."""

from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam

from transforms.interactions.reports import FileReport
from transforms.runs.facts import WriteFacts, name_report

__all__ = ["GatherFacts", "name_why_not"]


@dataclasses.dataclass
class GatherFacts(beam.PTransform[tuple[beam.PCollection[Any], ...], beam.PCollection[str]]):
    """Write file reports and any number of collections of facts as one JSON object.

    `transforms.runs.facts` describes the file.
    """

    uri: str

    def expand(self, collections: tuple[beam.PCollection[Any], ...]) -> beam.PCollection[str]:
        """Return the uri of the file of facts."""
        reports, *others = collections
        facts = [reports | "NameReports" >> beam.Map(_name_report), *others] | "Flatten" >> beam.Flatten()
        written: beam.PCollection[str] = facts | "WriteFacts" >> WriteFacts(self.uri)
        return written


def name_why_not(reason: str | None) -> tuple[str, Any]:
    """Return why the base's sums cannot be used as the fact `why_not`."""
    return "why_not", reason


def _name_report(tagged: tuple[str, FileReport]) -> tuple[str, Any]:
    origin, report = tagged
    return name_report(report, origin)

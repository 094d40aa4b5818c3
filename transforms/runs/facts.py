"""Write facts that the workers report to the main process (file reports, faults, counts) in one JSON file.

Facts travel in a file and not in counters, because some runners report counters late or count them again on a retry.
A fact is a name with a value. Numbers of one name are added. Lists of one name are joined. A value of another type must
be the only one of its name.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam

from transforms.files import storage
from transforms.interactions.reports import FileReport

__all__ = ["WriteFacts", "join_facts", "name_fault", "name_report", "reports_of"]


@dataclasses.dataclass
class WriteFacts(beam.PTransform[beam.PCollection[Any], beam.PCollection[str]]):
    """Write (name, value) pairs, or mappings of them, as one JSON object.

    Args:
        uri: The file.
        missing: Values of facts that no worker reported.
    """

    uri: str
    missing: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def expand(self, facts: beam.PCollection[Any]) -> beam.PCollection[str]:
        """Return the uri of the file."""
        joined = facts | "Join" >> beam.CombineGlobally(join_facts)
        written: beam.PCollection[str] = joined | "WriteJson" >> beam.Map(_write, self.uri, dict(self.missing))
        return written


def join_facts(facts: Iterable[tuple[str, Any] | dict[str, Any]]) -> dict[str, Any]:
    """Join facts to one value per name. Lists are sorted, and joined facts can be joined again."""
    joined: dict[str, Any] = {}
    for each in facts:
        for name, value in each.items() if isinstance(each, dict) else [each]:
            joined[name] = joined[name] + value if name in joined else value
    for value in joined.values():
        if isinstance(value, list):
            value.sort(key=json.dumps)
    return joined


def name_report(report: FileReport, origin: str = "new") -> tuple[str, Any]:
    """Return a file report as the fact `new_reports`, or `ORIGIN_reports`."""
    return f"{origin}_reports", [list(dataclasses.astuple(report))]


def reports_of(facts: Mapping[str, Any], origin: str = "new") -> list[FileReport]:
    """Return the file reports that `name_report` made facts of, none for an unknown origin."""
    return [FileReport(*report) for report in facts.get(f"{origin}_reports", [])]


def name_fault(fault: str) -> tuple[str, Any]:
    """Return a sentence for the user as a fact."""
    return "faults", [fault]


def _write(value: dict[str, Any], uri: str, missing: dict[str, Any]) -> str:
    storage.write_json(uri, missing | value)
    return uri

"""What the main process must know of a run (reports, faults, counts), as one JSON file that the workers write.

The facts travel in a file and not in counters, which some runners report late or count again on a retry. A fact is a
name with a number (they are added up), a list (they are joined) or any other value (of which there is one).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam

from transforms.files import storage
from transforms.interactions.read import FileReport

__all__ = ["WriteFacts", "join_facts", "name_fault", "name_report"]


@dataclasses.dataclass
class WriteFacts(beam.PTransform[beam.PCollection[Any], beam.PCollection[str]]):
    """(name, value) pairs, or mappings of them, to one JSON object; missing: facts that nobody may tell."""

    uri: str
    missing: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def expand(self, facts: beam.PCollection[Any]) -> beam.PCollection[str]:
        joined = facts | "Join" >> beam.CombineGlobally(join_facts)
        written: beam.PCollection[str] = joined | "WriteJson" >> beam.Map(_write, self.uri, dict(self.missing))
        return written


def join_facts(facts: Iterable[tuple[str, Any] | dict[str, Any]]) -> dict[str, Any]:
    """One value a name; lists sorted. Joined facts join again."""
    joined: dict[str, Any] = {}
    for each in facts:
        for name, value in each.items() if isinstance(each, dict) else [each]:
            joined[name] = joined[name] + value if name in joined else value
    for value in joined.values():
        if isinstance(value, list):
            value.sort(key=json.dumps)
    return joined


def name_report(report: FileReport, origin: str = "new") -> tuple[str, Any]:
    """A report as a fact: `new_reports`, or of another origin."""
    return f"{origin}_reports", [list(dataclasses.astuple(report))]


def name_fault(fault: str) -> tuple[str, Any]:
    """A sentence for the person as a fact."""
    return "faults", [fault]


def _write(value: dict[str, Any], uri: str, missing: dict[str, Any]) -> str:
    storage.write_json(uri, missing | value)
    return uri

"""What the main process must know of a run (rows, faults, pairs), as one JSON file.

The facts travel in a file and not in counters, which some runners report late or count again on a retry.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from transforms import storage
from transforms.interactions.read import FileReport

__all__ = ["GatherFacts", "join_facts"]


@dataclasses.dataclass
class GatherFacts(beam.PTransform[tuple[beam.PCollection[Any], ...], beam.PCollection[str]]):
    """(tagged reports, faults, verdict on the base, further facts …) to one JSON object; see `join_facts`."""

    uri: str

    def expand(self, collections: tuple[beam.PCollection[Any], ...]) -> beam.PCollection[str]:
        reports, faults, verdict, *others = collections
        named = [
            reports | "NameReports" >> beam.Map(_name_report),
            faults | "NameFaults" >> beam.Map(_name_fault),
            verdict | "NameNotes" >> beam.Map(_name_notes),
            *others,
        ]
        facts = named | "Flatten" >> beam.Flatten()
        written: beam.PCollection[str] = (
            facts | "Join" >> beam.CombineGlobally(join_facts) | "WriteJson" >> beam.Map(_write, self.uri)
        )
        return written


def join_facts(facts: Iterable[tuple[str, Any] | dict[str, Any]]) -> dict[str, Any]:
    """(name, number or list) to one value a name: numbers added up, lists joined, sorted. Joined facts join again."""
    joined: dict[str, Any] = {}
    for each in facts:
        for name, value in each.items() if isinstance(each, dict) else [each]:
            joined[name] = joined[name] + value if name in joined else value
    for value in joined.values():
        if isinstance(value, list):
            value.sort(key=json.dumps)
    return joined


def _name_report(tagged: tuple[str, FileReport]) -> tuple[str, Any]:
    origin, report = tagged
    return f"{origin}_reports", [list(dataclasses.astuple(report))]


def _name_fault(fault: str) -> tuple[str, Any]:
    return "faults", [fault]


def _name_notes(verdict: tuple[bool, list[str]]) -> tuple[str, Any]:
    return "notes", verdict[1]


def _write(value: dict[str, Any], uri: str) -> str:
    storage.write_json(uri, value)
    return uri

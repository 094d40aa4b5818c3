"""Read new interactions and the base run's interactions as tagged blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa

from pipelines.batch_cf.increment import Base
from transforms.dead_letters import DeadLetter
from transforms.interactions.files import InputFile
from transforms.interactions.format import InteractionFormat
from transforms.interactions.read import ReadInteractions
from transforms.interactions.reports import FileReport

__all__ = ["ReadBlocks", "TaggedRead"]

STORED = InteractionFormat(input_format="parquet", timestamp_unit="us")
"""Format of the interactions that a run stores for a later one. The filters were applied when they were first read."""


class TaggedRead(NamedTuple):
    """The outputs of ReadBlocks. A block is tagged True if the base's pair sums already hold it."""

    blocks: beam.PCollection[tuple[bool, pa.RecordBatch]]
    rejected: beam.PCollection[DeadLetter]
    reports: beam.PCollection[tuple[str, FileReport]]


@dataclasses.dataclass
class ReadBlocks(beam.PTransform[beam.pvalue.PBegin, TaggedRead]):
    """Read files to tagged blocks and dead letters, and to reports tagged new or base."""

    files: Sequence[InputFile]
    format: InteractionFormat
    base: Base | None

    def expand(self, root: beam.pvalue.PBegin) -> TaggedRead:
        """Return the blocks, the dead letters and the reports."""
        new = root | "ReadNew" >> ReadInteractions(self.files, self.format)
        blocks = new.blocks | "TagNew" >> beam.Map(_tag, False)
        reports = new.reports | "TagNewReport" >> beam.Map(_tag_report, "new")
        if self.base is None:
            return TaggedRead(blocks, new.rejected, reports)
        stored = root | "ReadBase" >> ReadInteractions(self.base.files, STORED)
        stored_blocks = stored.blocks | "TagBase" >> beam.Map(_tag, self.base.recompute is None)
        stored_reports = stored.reports | "TagBaseReport" >> beam.Map(_tag_report, "base")
        return TaggedRead(
            (blocks, stored_blocks) | "FlattenBlocks" >> beam.Flatten(),
            new.rejected,
            (reports, stored_reports) | "FlattenReports" >> beam.Flatten(),
        )


def _tag(block: pa.RecordBatch, from_base: bool) -> tuple[bool, pa.RecordBatch]:
    return from_base, block


def _tag_report(report: FileReport, origin: str) -> tuple[str, FileReport]:
    return origin, report

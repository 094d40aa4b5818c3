"""Read holdout files that have the column `given`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa

from pipelines.evaluate.holdout import read_given
from transforms.interactions.files import InputFile
from transforms.interactions.format import InteractionFormat
from transforms.interactions.read import Read
from transforms.interactions.reports import FileReport

__all__ = ["ReadGiven"]


@dataclasses.dataclass
class ReadGiven(beam.PTransform[beam.pvalue.PBegin, Read]):
    """Read holdout files to the outputs of ReadInteractions.

    `rejected` is always empty: a bad row is a fault of its file.

    Args:
        files: The holdout files.
        format: Names of the columns and the unit of the times.
    """

    files: Sequence[InputFile]
    format: InteractionFormat

    def expand(self, root: beam.pvalue.PBegin) -> Read:
        """Return the blocks, no dead letters, and the reports."""
        files = root | "ListFiles" >> beam.Create(list(self.files))
        outputs = files | "ReadFiles" >> beam.FlatMap(_read_file, self.format).with_outputs("reports", main="blocks")
        rejected = outputs.blocks | "RejectNothing" >> beam.FlatMap(_reject_nothing)
        return Read(outputs.blocks, rejected, outputs.reports)


def _read_file(
    file: InputFile, format: InteractionFormat
) -> Iterator[pa.RecordBatch | beam.pvalue.TaggedOutput[str, FileReport]]:
    for part in read_given(file, format):
        yield beam.pvalue.TaggedOutput("reports", part) if isinstance(part, FileReport) else part


def _reject_nothing(_: Any) -> tuple[()]:
    return ()

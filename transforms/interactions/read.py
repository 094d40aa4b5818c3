"""Read interaction files into validated blocks, with the rejected rows and one report per work unit.

This module wires the readers, and holds the check of the main process before a run (`check_first`). A worker never
raises for bad input. If a file cannot be read, its report has a fault. `reports` checks the reports after the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PBegin, PCollection, TaggedOutput

from transforms import progress
from transforms.dead_letters import DeadLetter
from transforms.errors import BadInput, BadUsage
from transforms.interactions.columns import AmbiguousColumns, Columns
from transforms.interactions.csv import open_csv
from transforms.interactions.files import FileFault, InputFile, describe, open_binary, open_text, sniff
from transforms.interactions.format import InteractionFormat
from transforms.interactions.jsonl import open_jsonl
from transforms.interactions.parquet import PART_BYTES, open_parquet
from transforms.interactions.reports import ROW_COUNTS, FileReport
from transforms.interactions.validate import RawBlock, Validated, validate

__all__ = [
    "Read",
    "ReadInteractions",
    "ReadUnitFn",
    "WorkUnit",
    "check_first",
    "read_unit",
    "work_units",
]

# Dead letters are kept one by one. A file that is mostly wrong (for example another unit or delimiter) would fill
# memory with them. Reading a unit stops with a fault above this many dead letters, if they are also more than half of
# its rows.
REJECTED_ROWS_LIMIT = 200_000


@dataclasses.dataclass(frozen=True, order=True)
class WorkUnit:
    """A file to read, or one part of a Parquet file: the row groups that begin in the part's PART_BYTES bytes."""

    file: InputFile
    part: int = 0


class Read(NamedTuple):
    """The outputs of ReadInteractions."""

    blocks: PCollection[pa.RecordBatch]
    rejected: PCollection[DeadLetter]
    reports: PCollection[FileReport]


@dataclasses.dataclass
class ReadInteractions(beam.PTransform[PBegin, Read]):
    """Read files into blocks of valid interactions, dead letters, and one report per work unit.

    A block is a RecordBatch with at least one row: user_id and item_id (dictionary<int32, string>, values distinct and
    all used), weight (float64, if the file has it) and timestamp (int64 microseconds since 1970, if the file has it).

    Args:
        files: Files to read, at least one.
        format: Format and columns of the files.
    """

    files: Sequence[InputFile]
    format: InteractionFormat

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("files is empty; pass at least one file to ReadInteractions")

    def expand(self, root: PBegin) -> Read:
        """Create the work units and read them."""
        units = root | "Units" >> beam.Create(work_units(self.files, self.format))
        read = units | "ReadUnits" >> beam.ParDo(ReadUnitFn(self.format)).with_outputs(
            "rejected", "reports", main="blocks"
        )
        return Read(read.blocks, read.rejected, read.reports)


class ReadUnitFn(beam.DoFn):
    """Run `read_unit`, tag its outputs and count them in the namespace `interactions`.

    Counters: ROW_COUNTS as in FileReport; files_faulty, the work units that could not be read; blocks, the blocks
    emitted.

    Args:
        format: Format and columns of the files.
    """

    def __init__(self, format: InteractionFormat) -> None:
        self._format = format
        names = (*ROW_COUNTS, "files_faulty", "blocks")
        self._counters = {name: Metrics.counter("interactions", name) for name in names}

    def process(self, unit: WorkUnit) -> Iterator[pa.RecordBatch | TaggedOutput[str, Any]]:
        """Read one unit. Blocks go to the main output, dead letters and the report to tagged outputs."""
        for output in read_unit(unit, self._format):
            if isinstance(output, DeadLetter):
                yield TaggedOutput("rejected", output)
            elif isinstance(output, FileReport):
                self._count(output)
                yield TaggedOutput("reports", output)
            else:
                self._counters["blocks"].inc()
                progress.advance("rows read", len(output))
                yield output

    def _count(self, report: FileReport) -> None:
        for name in ROW_COUNTS:
            self._counters[name].inc(getattr(report, name))
        self._counters["files_faulty"].inc(int(report.fault is not None))


def work_units(files: Sequence[InputFile], format: InteractionFormat) -> list[WorkUnit]:
    """Return the work units of the files. They are derived from sizes alone, so no file is opened."""
    whole = format.input_format in ("csv", "jsonl")
    return [
        WorkUnit(file, part)
        for file in files
        for part in range(1 if whole else max(1, -(-file.size_bytes // PART_BYTES)))
    ]


def read_unit(unit: WorkUnit, format: InteractionFormat) -> Iterator[pa.RecordBatch | DeadLetter | FileReport]:
    """Yield the blocks and dead letters of one unit, then its report. Never raises for a file's content."""
    uri = unit.file.uri
    report = FileReport(uri)
    try:
        with _open(unit, format) as opened:
            if opened is None:
                return
            columns, blocks = opened
            report = dataclasses.replace(
                report, has_weight=columns.weight is not None, has_timestamp=columns.timestamp is not None
            )
            for raw in blocks:
                checked = validate(raw, uri, columns, format)
                report = _add(report, checked)
                yield from checked.rejected
                if checked.block is not None:
                    yield checked.block
                _stop_if_hopeless(report, checked)
    except FileFault as fault:
        report = dataclasses.replace(report, fault=f"{uri}: {fault}")
    except Exception as error:  # OSError, EOFError, zlib.error, Arrow's errors, and those of object stores' clients
        report = dataclasses.replace(
            report, fault=f"{uri}: cannot be read ({describe(error)}); check that it is complete and readable"
        )
    yield report


def _add(report: FileReport, checked: Validated) -> FileReport:
    return dataclasses.replace(
        report,
        rows_read=report.rows_read + checked.rows_read,
        rows_rejected=report.rows_rejected + len(checked.rejected),
        rows_future=report.rows_future + checked.rows_future,
        header_rows=report.header_rows + checked.header_rows,
        bad_example=report.bad_example or _first_bad(checked.rejected),
        rows_filtered=report.rows_filtered + checked.rows_filtered,
    )


def _first_bad(letters: Sequence[DeadLetter]) -> str | None:
    """Return the first dead letter whose row counts as bad, so not one of a future row."""
    bad = (each for each in letters if not each.reason.startswith("future: "))
    return next((f"row {each.position}: {each.reason}" for each in bad), None)


def _stop_if_hopeless(report: FileReport, checked: Validated) -> None:
    if checked.rejected and report.rows_rejected > max(REJECTED_ROWS_LIMIT, report.rows_read // 2):
        raise FileFault(
            f"{report.rows_rejected} of the first {report.rows_read} rows are bad (the last: "
            f"{checked.rejected[-1].reason}); correct the file or the flags that describe it"
        )


def check_first(files: Sequence[InputFile], format: InteractionFormat) -> Columns:
    """Return the columns of the first file that has rows, to find early what would fail the whole run.

    Raises:
        BadInput: There is no file, or the first file cannot be read.
        BadUsage: Two of its columns could have one role, so a flag must decide.
    """
    if not files:
        raise BadInput("--interactions: matches no file; pass at least one")
    columns = _read_columns(files[0].uri, format)
    for file in files[1:]:
        if columns.known:
            break
        columns = _read_columns(file.uri, format)
    return columns


def _read_columns(uri: str, format: InteractionFormat) -> Columns:
    try:
        with _open(WorkUnit(InputFile(uri, 0)), format) as opened:
            assert opened is not None  # part 0 always opens
            return opened[0]
    except AmbiguousColumns as fault:
        raise BadUsage(f"{uri}: {fault}") from fault
    except FileFault as fault:
        raise BadInput(f"{uri}: {fault}") from fault
    except Exception as error:  # as in read_unit
        raise BadInput(f"{uri}: cannot be read ({describe(error)}); check that it is complete and readable") from error


@contextlib.contextmanager
def _open(unit: WorkUnit, format: InteractionFormat) -> Iterator[tuple[Columns, Iterator[RawBlock]] | None]:
    """Give the columns and raw blocks of a unit. None for a later part of a file that is not Parquet."""
    uri = unit.file.uri
    with open_binary(uri) as stream:
        found = sniff(stream)
        kind = found.kind if format.input_format == "auto" else format.input_format
        if found.kind is not None and (found.kind == "parquet") != (kind == "parquet"):
            raise FileFault(f"is {found.kind}, not {kind}; pass --input_format=auto or the format it has")
        if kind == "parquet":
            yield open_parquet(stream if "://" in uri else uri, format, unit.part)
        elif unit.part > 0:
            yield None
        elif kind is None and format.csv_header is None:
            raise FileFault("is empty; remove it, or pass --input_format=jsonl if an empty file means no rows")
        else:
            with open_text(stream, found.gzipped) as text:
                yield open_jsonl(text, format) if kind == "jsonl" else open_csv(text, format)

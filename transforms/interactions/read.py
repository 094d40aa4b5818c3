"""From interaction files to validated blocks: what was read, what was rejected, and whether the input can be trusted.

Wiring, plus the checks the main process makes before a run (`check_first`) and after it (`check_reports`). A worker
never raises for bad input: a file that cannot be read becomes a `FileReport` with a fault.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PBegin, PCollection, TaggedOutput

from transforms import progress
from transforms.dead_letters import DeadLetter
from transforms.errors import BadInput
from transforms.interactions.csv import open_csv
from transforms.interactions.files import FileFault, InputFile, describe, open_binary, open_text, sniff
from transforms.interactions.format import Columns, InteractionFormat
from transforms.interactions.jsonl import open_jsonl
from transforms.interactions.parquet import PART_BYTES, open_parquet
from transforms.interactions.validate import RawBlock, Validated, validate

__all__ = [
    "FileReport",
    "Read",
    "ReadInteractions",
    "ReadUnitFn",
    "WorkUnit",
    "check_first",
    "check_reports",
    "read_unit",
    "work_units",
]

# Dead letters are kept one by one. A file that is mostly wrong (another unit or delimiter) would fill memory with them
# only to be refused: past this many in one unit, if they are also the larger half, reading it stops with a fault.
REJECTED_ROWS_LIMIT = 200_000


@dataclasses.dataclass(frozen=True, order=True)
class WorkUnit:
    """A file, or one part of a Parquet file: the row groups that begin in bytes part * PART_BYTES and on."""

    file: InputFile
    part: int = 0


@dataclasses.dataclass(frozen=True)
class FileReport:
    """What became of one work unit; a large Parquet file has several, which add up.

    rows_read counts records, rows_rejected those of them that became dead letters, rows_filtered the good ones that
    --min_weight, --since or --until left out. fault: why the file cannot be used, one sentence with its uri, or None.
    """

    uri: str
    rows_read: int = 0
    rows_rejected: int = 0
    rows_filtered: int = 0
    has_weight: bool = False
    has_timestamp: bool = False
    fault: str | None = None


class Read(NamedTuple):
    """What ReadInteractions returns."""

    blocks: PCollection[pa.RecordBatch]
    rejected: PCollection[DeadLetter]
    reports: PCollection[FileReport]


@dataclasses.dataclass
class ReadInteractions(beam.PTransform[PBegin, Read]):
    """Files to blocks of valid interactions, dead letters, and one report per work unit.

    A block is a RecordBatch of user_id and item_id (dictionary<int32, string>, values distinct and all used), weight
    (float64, if the file has it) and timestamp (int64 microseconds since 1970, if the file has it); at least one row.
    """

    files: Sequence[InputFile]
    format: InteractionFormat

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("ReadInteractions needs at least one file")

    def expand(self, root: PBegin) -> Read:
        units = root | "Units" >> beam.Create(work_units(self.files, self.format))
        read = units | "ReadUnits" >> beam.ParDo(ReadUnitFn(self.format)).with_outputs(
            "rejected", "reports", main="blocks"
        )
        return Read(read.blocks, read.rejected, read.reports)


class ReadUnitFn(beam.DoFn):
    """`read_unit` with its outputs tagged and counted (namespace interactions).

    rows_read, rows_rejected, rows_filtered: as in FileReport. files_faulty: work units that could not be read.
    blocks: blocks emitted.
    """

    def __init__(self, format: InteractionFormat) -> None:
        self._format = format
        names = ("rows_read", "rows_rejected", "rows_filtered", "files_faulty", "blocks")
        self._counters = {name: Metrics.counter("interactions", name) for name in names}

    def process(self, unit: WorkUnit) -> Iterator[pa.RecordBatch | TaggedOutput[str, Any]]:
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
        for name in ("rows_read", "rows_rejected", "rows_filtered"):
            self._counters[name].inc(getattr(report, name))
        self._counters["files_faulty"].inc(int(report.fault is not None))


def work_units(files: Sequence[InputFile], format: InteractionFormat) -> list[WorkUnit]:
    """The units to read the files in; told from sizes alone, so nothing is opened here."""
    whole = format.input_format in ("csv", "jsonl")
    return [
        WorkUnit(file, part)
        for file in files
        for part in range(1 if whole else max(1, -(-file.size_bytes // PART_BYTES)))
    ]


def read_unit(unit: WorkUnit, format: InteractionFormat) -> Iterator[pa.RecordBatch | DeadLetter | FileReport]:
    """Blocks and dead letters of one unit, then its report, last. Never raises for what the file holds."""
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
    except Exception as error:  # OSError, EOFError, zlib.error, Arrow's, and whatever object stores' clients raise
        report = dataclasses.replace(
            report, fault=f"{uri}: cannot be read ({describe(error)}); is it whole, and may it be read?"
        )
    yield report


def _add(report: FileReport, checked: Validated) -> FileReport:
    return dataclasses.replace(
        report,
        rows_read=report.rows_read + checked.rows_read,
        rows_rejected=report.rows_rejected + len(checked.rejected),
        rows_filtered=report.rows_filtered + checked.rows_filtered,
    )


def _stop_if_hopeless(report: FileReport, checked: Validated) -> None:
    if checked.rejected and report.rows_rejected > max(REJECTED_ROWS_LIMIT, report.rows_read // 2):
        raise FileFault(
            f"{report.rows_rejected} of the first {report.rows_read} rows are bad (the last: "
            f"{checked.rejected[-1].reason}); correct the file or the flags that describe it"
        )


def check_first(files: Sequence[InputFile], format: InteractionFormat) -> Columns:
    """The columns of the first file. Raises BadInput early for what the whole run would fail on."""
    if not files:
        raise BadInput("--interactions: names no file; pass at least one")
    uri = files[0].uri
    try:
        with _open(WorkUnit(files[0]), format) as opened:
            assert opened is not None  # part 0 always opens
            return opened[0]
    except FileFault as fault:
        raise BadInput(f"{uri}: {fault}") from fault
    except Exception as error:  # as in read_unit
        raise BadInput(f"{uri}: cannot be read ({describe(error)}); is it whole, and may it be read?") from error


def check_reports(reports: Iterable[FileReport], max_bad_fraction: float, dead_letters: str = "dead_letters") -> None:
    """Raises BadInput for the first fault by uri, files of different columns, no rows, or too many bad rows.

    `dead_letters` is the folder to name to the user.
    """
    ordered = sorted(reports, key=lambda report: (report.uri, report.fault or ""))
    for report in ordered:
        if report.fault is not None:
            raise BadInput(report.fault)
    filled = [report for report in ordered if report.rows_read]  # an empty file says nothing about its columns
    for column in ("timestamp", "weight"):
        having = [report.uri for report in filled if getattr(report, f"has_{column}")]
        lacking = [report.uri for report in filled if not getattr(report, f"has_{column}")]
        if having and lacking:
            raise BadInput(
                f"{lacking[0]}: has no {column} column but {having[0]} has; pass --{column}_column or files of one kind"
            )
    rows_read = sum(report.rows_read for report in ordered)
    rows_rejected = sum(report.rows_rejected for report in ordered)
    if rows_read == 0:
        first = ordered[0].uri if ordered else "--interactions"
        more = f" and {len(ordered) - 1} more" if len(ordered) > 1 else ""
        raise BadInput(f"{first}{more}: no rows to read; pass files that hold interactions")
    if rows_rejected > max_bad_fraction * rows_read:
        worst = max(ordered, key=lambda report: report.rows_rejected)
        raise BadInput(
            f"{worst.uri}: {worst.rows_rejected} bad rows here, {rows_rejected} of {rows_read} in all, more than "
            f"--max_bad_fraction={max_bad_fraction} allows; see the reasons in {dead_letters}"
        )


@contextlib.contextmanager
def _open(unit: WorkUnit, format: InteractionFormat) -> Iterator[tuple[Columns, Iterator[RawBlock]] | None]:
    """The unit's columns and raw blocks; None for a further part of a file that turns out not to be Parquet."""
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

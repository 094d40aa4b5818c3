"""Report what a worker read of a file, and check the reports of a whole run.

A worker reports and the main process decides, so that a run is refused for the sum of all files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from transforms.errors import BadInput

__all__ = ["ROW_COUNTS", "FileReport", "check_reports", "future_warning"]

ROW_COUNTS = ("rows_read", "rows_rejected", "rows_future", "rows_filtered", "header_rows")
FUTURE_FRACTION = 0.01  # a larger share of future rows comes from a wrong unit more often than from wrong clocks


@dataclasses.dataclass(frozen=True)
class FileReport:
    """The result of one work unit. The reports of a large Parquet file's parts add up.

    Attributes:
        uri: Address of the file.
        rows_read: How many records were read.
        rows_rejected: How many of these became dead letters.
        rows_future: How many dead letters have no other fault than a time after --as_of.
        rows_filtered: How many valid rows --min_weight, --since or --until removed.
        header_rows: How many rows repeat the header of a CSV file. They are not among rows_read.
        bad_example: The first bad row as a phrase, `row 9: user is empty`. None without one.
        has_weight: Whether the file has the weight column.
        has_timestamp: Whether the file has the timestamp column.
        fault: Why the file cannot be used, one sentence that starts with its URI. None if it can.
    """

    uri: str
    rows_read: int = 0
    rows_rejected: int = 0
    rows_future: int = 0
    rows_filtered: int = 0
    header_rows: int = 0
    has_weight: bool = False
    has_timestamp: bool = False
    bad_example: str | None = None
    fault: str | None = None


def check_reports(reports: Iterable[FileReport], max_bad_fraction: float, dead_letters: str = "dead_letters") -> None:
    """Check the reports of a whole run.

    Args:
        reports: Reports of all work units.
        max_bad_fraction: Largest accepted fraction of rejected rows, 0 to 1. Future rows do not count.
        dead_letters: Folder of the dead letters, for the error message.

    Raises:
        BadInput: A file has a fault, files have different columns, there are no rows, or too many rows are bad. Of
            several faults, the first by URI is reported. Or every row that could be used is a future row.
    """
    ordered = sorted(reports, key=lambda report: (report.uri, report.fault or ""))
    for report in ordered:
        if report.fault is not None:
            raise BadInput(report.fault)
    filled = [report for report in ordered if report.rows_read]  # the columns of an empty file are unknown
    for column in ("timestamp", "weight"):
        having = [report.uri for report in filled if getattr(report, f"has_{column}")]
        lacking = [report.uri for report in filled if not getattr(report, f"has_{column}")]
        if having and lacking:
            raise BadInput(
                f"{lacking[0]}: has no {column} column but {having[0]} has; pass files of one "
                f"kind, or --{column}_column= with an empty name to ignore the column"
            )
    rows_read = sum(report.rows_read for report in ordered)
    rows_bad = sum(_count_bad(report) for report in ordered)
    if rows_read == 0:
        first = ordered[0].uri if ordered else "--interactions"
        more = f" and {len(ordered) - 1} more" if len(ordered) > 1 else ""
        raise BadInput(f"{first}{more}: no rows to read; pass files that hold interactions")
    rows_future = sum(report.rows_future for report in ordered)
    if rows_future and rows_future + rows_bad + sum(report.rows_filtered for report in ordered) == rows_read:
        raise BadInput(
            f"{ordered[0].uri}: {rows_future} of {rows_read} rows are later than --as_of and no other is left; see the "
            f"reasons in {dead_letters}, then pass --timestamp_unit for another unit or a later --as_of"
        )
    if rows_bad > max_bad_fraction * rows_read:
        worst = max(ordered, key=_count_bad)
        example = f" ({worst.bad_example})" if worst.bad_example else ""
        raise BadInput(
            f"{worst.uri}: {_count_bad(worst)} bad rows here, {rows_bad} of {rows_read} in all, more than "
            f"--max_bad_fraction={max_bad_fraction} allows{example}; see the reasons in {dead_letters}, then correct "
            "the rows or raise the flag to skip them"
        )


def future_warning(reports: Sequence[FileReport], as_of: str) -> str | None:
    """Return a sentence if more than 1% of the rows are future rows, otherwise None.

    Args:
        reports: Reports of all work units.
        as_of: Latest time that the run believes, as text.
    """
    rows_read = sum(report.rows_read for report in reports)
    rows_future = sum(report.rows_future for report in reports)
    if rows_future <= FUTURE_FRACTION * rows_read:
        return None
    worst = max(reports, key=lambda report: report.rows_future)
    return (
        f"{worst.uri}: {worst.rows_future:,} of the rows here, {rows_future:,} of {rows_read:,} in all, are later than "
        f"--as_of={as_of} and are dead letters; if the times have another unit, pass --timestamp_unit"
    )


def _count_bad(report: FileReport) -> int:
    return report.rows_rejected - report.rows_future

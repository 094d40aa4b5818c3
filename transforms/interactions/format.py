"""Describe the interaction files of a run: format, column names, units and filters.

This module holds values only. `options` defines the flags that fill them. `parquet`, `csv` and `jsonl` read the files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from transforms.interactions.files import FileFault

__all__ = ["Columns", "InteractionFormat", "TimestampUnit", "resolve_columns"]

TimestampUnit = Literal["s", "ms", "us"]


@dataclasses.dataclass(frozen=True)
class InteractionFormat:
    """One description for all files of a run.

    Attributes:
        input_format: Format of every file. "auto" detects it from the content.
        csv_delimiter: One ASCII character.
        csv_header: Column names of CSV files without a header line, in file order. None if the files have one.
        user_column: Column with the user's id.
        item_column: Column with the item's id.
        timestamp_column: Column with the time. A given name is required. None reads `timestamp` if the file has it.
        weight_column: Column with the weight. A given name is required. None reads `weight` if the file has it.
        timestamp_unit: Unit of numeric times since 1970.
        min_weight: Least weight to keep. Makes the weight required.
        since_us: Earliest time to keep, inclusive, microseconds since 1970. Makes the time required.
        until_us: Latest time to keep, inclusive, microseconds since 1970. Makes the time required.
        as_of_us: Latest time to believe, microseconds since 1970. A later row that `until_us` keeps is a dead letter.
            None believes every time.
    """

    input_format: Literal["auto", "parquet", "csv", "jsonl"] = "auto"
    csv_delimiter: str = ","
    csv_header: tuple[str, ...] | None = None
    user_column: str = "user_id"
    item_column: str = "item_id"
    timestamp_column: str | None = None
    weight_column: str | None = None
    timestamp_unit: TimestampUnit = "s"
    min_weight: float | None = None
    since_us: int | None = None
    until_us: int | None = None
    as_of_us: int | None = None


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns to read from one file, by their names in the file."""

    user: str
    item: str
    timestamp: str | None
    weight: str | None

    @property
    def names(self) -> list[str]:
        """All names, each once, in the order user, item, weight, timestamp."""
        names = (self.user, self.item, self.weight, self.timestamp)
        return list(dict.fromkeys(name for name in names if name is not None))


def resolve_columns(present: Sequence[str], format: InteractionFormat) -> Columns:
    """Choose the columns to read from a file with the columns `present`.

    Raises:
        FileFault: A required column is missing, or a wanted column appears twice.
    """
    columns = Columns(
        user=_required(present, format.user_column, "--user_column"),
        item=_required(present, format.item_column, "--item_column"),
        timestamp=_optional(
            present,
            format.timestamp_column,
            "timestamp",
            "--timestamp_column",
            {"--since": format.since_us, "--until": format.until_us},
        ),
        weight=_optional(
            present, format.weight_column, "weight", "--weight_column", {"--min_weight": format.min_weight}
        ),
    )
    for name in columns.names:
        if present.count(name) > 1:
            raise FileFault(f"has column {name} {present.count(name)} times; keep one of them")
    return columns


def _required(present: Sequence[str], name: str, flag: str, reason: str = "") -> str:
    if name in present:
        return name
    # The names come from the file. Escape and shorten them, so that the message stays one line.
    shown = [each if each.isprintable() else ascii(each) for each in present[:20]]
    listed = ", ".join(each[:60] for each in shown) + (", ..." if len(present) > 20 else "")
    raise FileFault(f"has no column {name}{reason} (it has {listed or 'none'}); pass {flag} or correct the file")


def _optional(
    present: Sequence[str], name: str | None, default: str, flag: str, filters: dict[str, float | None]
) -> str | None:
    if name is not None:
        return _required(present, name, flag)
    for filter_flag, value in filters.items():
        if value is not None:
            return _required(present, default, flag, f", which {filter_flag} needs")
    return default if default in present else None

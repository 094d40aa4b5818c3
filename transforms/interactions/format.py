"""Describe the interaction files of a run: format, column names, units and filters.

This module holds values only. `options` defines the flags that fill them. `columns` chooses the columns of a file.
`parquet`, `csv` and `jsonl` read the files.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["InteractionFormat", "TimestampUnit"]

TimestampUnit = Literal["s", "ms", "us"]


@dataclasses.dataclass(frozen=True)
class InteractionFormat:
    """One description for all files of a run.

    Attributes:
        input_format: Format of every file. "auto" detects it from the content.
        csv_delimiter: One ASCII character.
        csv_header: Column names of CSV files without a header line, in file order. None if the files have one.
        null_text: Text of an unquoted CSV value that is missing. Empty if no text means that.
        user_column: Column with the user's id. None finds it by its name (see `columns`), as in the next three.
        item_column: Column with the item's id.
        timestamp_column: Column with the time. A given name is required. An empty name reads no times.
        weight_column: Column with the weight. A given name is required. An empty name reads no weights.
        timestamp_unit: Unit of numeric times since 1970.
        min_weight: Least weight to keep. Makes the weight required.
        since_us: Earliest time to keep, inclusive, microseconds since 1970. Makes the time required.
        until_us: Latest time to keep, inclusive, microseconds since 1970. Makes the time required.
        as_of_us: Latest time to believe, microseconds since 1970. A later row that `until_us` keeps is a dead letter.
            None believes every time.
        names_from: URI of the file in which the names were found. None if flags give them.
    """

    input_format: Literal["auto", "parquet", "csv", "jsonl"] = "auto"
    csv_delimiter: str = ","
    csv_header: tuple[str, ...] | None = None
    null_text: str = r"\N"
    user_column: str | None = None
    item_column: str | None = None
    timestamp_column: str | None = None
    weight_column: str | None = None
    timestamp_unit: TimestampUnit = "s"
    min_weight: float | None = None
    since_us: int | None = None
    until_us: int | None = None
    as_of_us: int | None = None
    names_from: str | None = None

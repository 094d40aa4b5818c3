"""How the interaction files of one run are to be understood: their format, column names, units and filters.

Values only; the flags that fill them are in `options`, the reading is in `parquet`, `csv` and `jsonl`.
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
    """One understanding for all files of a run.

    `timestamp_column` and `weight_column`: None means "the column timestamp (weight) if the file has it"; a name given
    makes that column required, and so do the filters that need it. `since_us <= time <= until_us`, both inclusive.
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


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns to read from one file, by their names there."""

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
    """The columns of a file that has `present`. Raises FileFault for one that is missing or there twice."""
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
            raise FileFault(f"has column {name} {present.count(name)} times; leave one")
    return columns


def _required(present: Sequence[str], name: str, flag: str, reason: str = "") -> str:
    if name in present:
        return name
    # Names come from the file: one line in the message, whatever they hold.
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

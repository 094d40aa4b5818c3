"""Declare the flags for reading interactions, with the same names in every pipeline, and read their values."""

from __future__ import annotations

import argparse
import dataclasses
import math
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from transforms.errors import BadUsage
from transforms.interactions.columns import resolve_columns
from transforms.interactions.files import FileFault, split_globs
from transforms.interactions.format import InteractionFormat
from transforms.interactions.times import UNITS_US, parse_time

__all__ = [
    "InteractionOptions",
    "InteractionSettings",
    "check_options",
    "interaction_format",
    "interaction_globs",
    "interaction_settings",
]


class InteractionOptions(PipelineOptions):
    """Which interactions to read, and how."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        # Not required=True, because Beam parses the flags of every imported options class, also for other pipelines.
        parser.add_argument(
            "--interactions",
            metavar="GLOB[,GLOB]",
            help="files or folders of interactions, local, s3:// or gs://; Parquet, CSV or JSON lines, text also "
            "gzipped; a comma within brackets is part of the name (a[,]b.csv); required",
        )
        parser.add_argument(
            "--input_format",
            choices=("auto", "parquet", "csv", "jsonl"),
            default="auto",
            help="format of every file; auto detects the format of each file by its content (default: auto)",
        )
        parser.add_argument(
            "--csv_delimiter",
            default=",",
            metavar="CHARACTER",
            help="one ASCII character that separates values, or tab (only with CSV files; default: ,)",
        )
        parser.add_argument(
            "--csv_header",
            metavar="NAME[,NAME]",
            help="names of all columns in file order, for files without a header line (only with CSV files; default: "
            "the first line)",
        )
        parser.add_argument(
            "--null_text",
            default=r"\N",
            metavar="TEXT",
            help="unquoted value that means missing, for example NULL; an empty TEXT keeps every value (only with CSV "
            r"files; default: \N, as MySQL and Hive write)",
        )
        parser.add_argument(
            "--user_column",
            metavar="NAME",
            help="column with the user's id (default: user_id, or the one column with a name like user or customer_id)",
        )
        parser.add_argument(
            "--item_column",
            metavar="NAME",
            help="column with the item's id (default: item_id, or the one column with a name like item or product_id)",
        )
        parser.add_argument(
            "--timestamp_column",
            metavar="NAME",
            help="column with the time; an empty NAME reads no times (default: timestamp, or the one column with a "
            "name like ts, when or event_time; without one no times are read)",
        )
        parser.add_argument(
            "--weight_column",
            metavar="NAME",
            help="column with the weight; an empty NAME reads no weights (default: weight if the file has it)",
        )
        parser.add_argument(
            "--timestamp_unit",
            choices=tuple(UNITS_US),
            default="s",
            help="unit of numeric times since 1970: s, ms or us (default: s)",
        )
        parser.add_argument("--min_weight", type=float, help="skip interactions of smaller weight (default: none)")
        parser.add_argument(
            "--since", help="skip earlier interactions; RFC 3339 or epoch seconds, inclusive (default: none)"
        )
        parser.add_argument(
            "--until", help="skip later interactions; RFC 3339 or epoch seconds, inclusive (default: none)"
        )
        parser.add_argument(
            "--as_of",
            help="reject later interactions as dead letters with the reason future, which do not count for "
            "--max_bad_fraction; RFC 3339 or epoch seconds (default: 24 hours after the run starts)",
        )
        parser.add_argument(
            "--max_bad_fraction",
            type=float,
            default=0.01,
            help="fail when more than this fraction of rows is rejected, 0 to 1 (default: 0.01)",
        )
        parser.add_argument(
            "--items", metavar="FILE", help="catalogue of items: id, title and any further columns (default: none)"
        )
        parser.add_argument(
            "--items_id_column",
            metavar="NAME",
            help="column with the item's id (only with --items; default: as --item_column)",
        )
        parser.add_argument(
            "--items_title_column",
            metavar="NAME",
            help="column with the title (only with --items; default: title, or the one column with a name like name or "
            "course_name)",
        )


@dataclasses.dataclass(frozen=True)
class InteractionSettings:
    """The flags of InteractionOptions as plain values.

    Args:
        globs: Patterns of the files of interactions.
        format: How to read them.
        max_bad_fraction: Largest share of rejected rows.
        items: File of the catalogue, None without one.
        items_id_column: Column of the catalogue with the item's id. None finds it by its name.
        items_title_column: Column of the catalogue with the item's title. None finds it by its name.
    """

    globs: tuple[str, ...]
    format: InteractionFormat
    max_bad_fraction: float
    items: str | None
    items_id_column: str | None
    items_title_column: str | None


def interaction_settings(options: PipelineOptions) -> InteractionSettings:
    """Read the flags once.

    Args:
        options: The parsed command line.

    Returns:
        The values of the flags.

    Raises:
        BadUsage: A flag has a problem; the message names the first one.
    """
    view = options.view_as(InteractionOptions)
    return InteractionSettings(
        globs=tuple(interaction_globs(options)),
        format=interaction_format(options),
        max_bad_fraction=view.max_bad_fraction,
        items=view.items,
        items_id_column=view.items_id_column,
        items_title_column=view.items_title_column,
    )


def interaction_globs(options: PipelineOptions) -> list[str]:
    """Return the patterns of `--interactions`.

    Args:
        options: The parsed command line.

    Returns:
        At least one pattern for `files.match`.

    Raises:
        BadUsage: `--interactions` is missing.
    """
    globs = split_globs(options.view_as(InteractionOptions).interactions or "")
    if not globs:
        raise BadUsage("--interactions is missing; pass the files to read, for example --interactions='logs/*.parquet'")
    return globs


def check_options(options: PipelineOptions) -> list[str]:
    """Return every problem of these flags, one sentence each. No file is opened."""
    view = options.view_as(InteractionOptions)
    problems = []
    if not split_globs(view.interactions or ""):
        problems.append(
            "--interactions is missing; pass the files to read, for example --interactions='logs/*.parquet'"
        )
    if _delimiter(view.csv_delimiter) is None:
        problems.append(f"--csv_delimiter={view.csv_delimiter!r} is not one ASCII character other than a quote")
    problems += _header_problems(view)
    for flag in ("since", "until", "as_of"):
        text = getattr(view, flag)
        if text is not None and parse_time(text, "s") is None:
            problems.append(f"--{flag}={text} is neither epoch seconds nor RFC 3339 (such as 2026-01-31T00:00:00Z)")
    if not problems and view.since and view.until and _time(view.since) > _time(view.until):  # type: ignore[operator]
        problems.append(f"--since={view.since} lies after --until={view.until}; nothing would be read")
    if view.min_weight is not None and not (math.isfinite(view.min_weight) and view.min_weight >= 0):
        problems.append(f"--min_weight={view.min_weight} is not a finite number of at least 0")
    if not 0 <= view.max_bad_fraction <= 1:
        problems.append(f"--max_bad_fraction={view.max_bad_fraction} is not between 0 and 1")
    return problems


def interaction_format(options: PipelineOptions) -> InteractionFormat:
    """Return how to read the files.

    Args:
        options: The parsed command line.

    Returns:
        The format.

    Raises:
        BadUsage: A flag other than `--interactions` has a problem; the message names the first one.
    """
    problems = [problem for problem in check_options(options) if not problem.startswith("--interactions ")]
    if problems:
        raise BadUsage(problems[0])
    view = options.view_as(InteractionOptions)
    return dataclasses.replace(
        _column_names(view),
        input_format=view.input_format,
        csv_delimiter=_delimiter(view.csv_delimiter) or ",",
        csv_header=_header(view),
        null_text=view.null_text,
        timestamp_unit=view.timestamp_unit,
        min_weight=view.min_weight,
        since_us=_time(view.since),
        until_us=_time(view.until),
        as_of_us=_time(view.as_of),
    )


def _header(view: Any) -> tuple[str, ...] | None:
    return None if view.csv_header is None else tuple(view.csv_header.split(","))


def _header_problems(view: Any) -> list[str]:
    """Return what is wrong with the column names that the flags give, as far as no file is needed to tell."""
    needed = {"timestamp_column": ("since", "until"), "weight_column": ("min_weight",)}
    problems = [
        f"--{flag}= is empty; pass the column's name"
        for flag in ("user_column", "item_column")
        if getattr(view, flag) == ""
    ]
    problems += [
        f"--{flag} needs a column that --{column}= leaves out; pass one of the two flags"
        for column, flags in needed.items()
        for flag in flags
        if getattr(view, column) == "" and getattr(view, flag) is not None
    ]
    header = _header(view)
    if header is None or problems:
        return problems
    twice = [name for name in sorted(set(header)) if header.count(name) > 1]
    if twice:
        return [f"--csv_header={view.csv_header} names {name} twice" for name in twice]
    try:
        resolve_columns(header, _column_names(view))
    except FileFault as fault:
        return [f"--csv_header={view.csv_header} {fault}"]
    return []


def _column_names(view: Any) -> InteractionFormat:
    return InteractionFormat(
        user_column=view.user_column,
        item_column=view.item_column,
        timestamp_column=view.timestamp_column,
        weight_column=view.weight_column,
    )


def _delimiter(text: str) -> str | None:
    text = {"\\t": "\t", "tab": "\t"}.get(text, text)
    return text if len(text) == 1 and text.isascii() and text not in '"\r\n\0' else None


def _time(text: str | None) -> int | None:
    return None if text is None else parse_time(text, "s")

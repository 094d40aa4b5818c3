"""Read JSON lines, one object per line, as raw blocks.

A column exists if any record in the first block of lines that has records (16 MiB) has its key. Both null and an absent
key mean a missing value. orjson reads integers beyond 64 bits as floats, so write such ids as strings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import orjson
import pyarrow as pa

from transforms.interactions.columns import TIME, WEIGHT, Columns, Role, candidates, resolve_columns
from transforms.interactions.format import InteractionFormat
from transforms.interactions.lines import LINE_BLOCK_BYTES, LineBlock, read_line_blocks
from transforms.interactions.validate import RawBlock, shorten

__all__ = ["Records", "open_jsonl"]


class Records(NamedTuple):
    """The objects in a block of lines, the line index of each, and the lines without an object with the reason."""

    block: LineBlock
    rows: list[dict[str, Any]]
    lines: list[int] | range
    broken: dict[int, str]


def open_jsonl(
    stream: BinaryIO, format: InteractionFormat, block_bytes: int = LINE_BLOCK_BYTES
) -> tuple[Columns, Iterator[RawBlock]]:
    """Return the columns and the raw blocks of a text.

    Args:
        stream: The text, at its start.
        format: Column names of the run's files.
        block_bytes: Size of the blocks of lines to read, in bytes.

    Raises:
        FileFault: No record has a required column.
    """
    chunks = (_parse(block) for block in read_line_blocks(stream, block_bytes))
    early: list[Records] = []  # the blocks up to the first one with a record, usually one
    for records in chunks:
        early.append(records)
        if records.rows:
            present = list(dict.fromkeys(itertools.chain.from_iterable(records.rows)))
            columns = resolve_columns(present, format)
            break
    else:  # the file has no record, so the columns do not matter
        times, weights = format.timestamp_column or None, format.weight_column or None
        columns = Columns(format.user_column or "", format.item_column or "", times, weights, known=False)
    looked_for = {TIME: format.timestamp_column is None, WEIGHT: format.weight_column is None}
    found = {TIME: columns.timestamp, WEIGHT: columns.weight}
    absent = [role for role, by_rule in looked_for.items() if by_rule and found[role] is None]
    return columns, (_to_raw(records, columns, absent) for records in itertools.chain(early, chunks))


def _parse(block: LineBlock) -> Records:
    lines = block.data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    try:
        rows = [orjson.loads(line) for line in lines]
        if set(map(type, rows)) <= {dict}:
            return Records(block, rows, range(len(rows)), {})
    except orjson.JSONDecodeError:
        pass
    return _parse_one_by_one(block, lines)


def _parse_one_by_one(block: LineBlock, lines: list[bytes]) -> Records:
    rows: list[dict[str, Any]] = []
    kept: list[int] = []
    broken: dict[int, str] = {}
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        record: Any
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            broken[index] = f"is not JSON: {error.msg}"
            continue
        if isinstance(record, dict):
            rows.append(record)
            kept.append(index)
        else:
            broken[index] = f"is not a JSON object but {shorten(line.decode())}"
    return Records(block, rows, kept, broken)


def _to_raw(records: Records, columns: Columns, absent: list[Role]) -> RawBlock:
    block, rows, lines, broken = records
    values = {name: [record.get(name) for record in rows] for name in columns.names}
    faults: dict[int, str] = {}
    keys = set().union(*rows) - set(columns.names) if absent else set()
    for role in absent:
        for name in candidates(sorted(keys), role):
            for row, record in enumerate(rows):
                if name in record:
                    faults[row] = f"has {name}, which is missing at the start of the file; pass {role.flag}={name}"
    for optional in (columns.weight, columns.timestamp):
        if optional is not None:
            _note_impossible(values[optional], optional, {str, int, float}, "a number or a string", faults)
    for name in (columns.item, columns.user):  # the last reason wins, so that the order is user, item, time, weight
        _note_impossible(values[name], name, {str, int}, "a string or an integer", faults)
    return RawBlock(
        user=_to_column(values[columns.user], faults),
        item=_to_column(values[columns.item], faults),
        timestamp=None if columns.timestamp is None else _to_column(values[columns.timestamp], faults),
        weight=None if columns.weight is None else _to_column(values[columns.weight], faults),
        position=lambda row: block.first_line + lines[row],
        original=lambda row: block.line(lines[row]),
        faults=faults,
        unparsed=[(block.first_line + index, reason, block.line(index)) for index, reason in broken.items()],
    )


def _note_impossible(values: list[Any], name: str, kinds: set[type], wanted: str, faults: dict[int, str]) -> None:
    """Note the rows whose value has a type that the column cannot have. A bool is not an int here."""
    allowed = kinds | {type(None)}
    if set(map(type, values)) <= allowed:
        return
    for row, value in enumerate(values):
        if type(value) not in allowed:
            faults[row] = f"{name} {shorten(orjson.dumps(value).decode())} is not {wanted}"


def _to_column(values: list[Any], faults: dict[int, str]) -> pa.Array:
    """Return the values as integers, floats or strings, whichever holds all. Rows in `faults` become null."""
    if faults:
        values = [None if row in faults else value for row, value in enumerate(values)]
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {int}:
        try:
            return pa.array(values, pa.int64())
        except (OverflowError, pa.ArrowInvalid):
            pass
    if kinds == {float}:
        return pa.array(values, pa.float64())
    if kinds <= {str}:
        return pa.array(values, pa.string())
    return pa.array([v if v is None or type(v) is str else repr(v) for v in values], pa.string())
